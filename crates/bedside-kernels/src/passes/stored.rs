//! Constants that stay in the model's file until they are packed.

use bedside_map::Bytes;
use tract_core::internal::*;

use crate::passes::Constants;

/// A constant where it lies in the model's file: its elements row-major, little-endian, without
/// gaps and at any address.
#[derive(Debug, Clone)]
pub struct Stored<'a> {
    /// The file.
    pub file: &'a Bytes,
    /// The constant's bytes in it.
    pub raw: &'a [u8],
    /// Of its elements: numbers of a fixed size.
    pub dtype: DatumType,
    /// Its dimensions, outermost first.
    pub shape: Vec<usize>,
}

impl Stored<'_> {
    /// Its bytes, which count against this process's memory for as long as they are held.
    pub(crate) fn bytes(&self) -> TractResult<Bytes> {
        Ok(self.file.again(self.raw)?)
    }

    /// A copy of it.
    ///
    /// # Errors
    /// When the file can't be read, or has another number of bytes for it.
    pub fn tensor(&self) -> TractResult<Tensor> {
        let bytes = self.bytes()?;
        let mut tensor = Tensor::zero_dt(self.dtype, &self.shape)?;
        let to = tensor.as_bytes_mut();
        ensure!(
            to.len() == bytes.len(),
            "{} bytes of a constant",
            bytes.len()
        );
        to.copy_from_slice(&bytes);
        Ok(tensor)
    }
}

impl<'a> Constants<'a> {
    /// The constant that `outlet` is, be it in another shape.
    pub(crate) fn at(&self, model: &TypedModel, mut outlet: OutletId) -> Option<&Stored<'a>> {
        while let Some(AxisOp::Add(_) | AxisOp::Rm(_) | AxisOp::Reshape(..)) =
            model.node(outlet.node).op_as()
        {
            outlet = *model.node(outlet.node).inputs.first()?;
        }
        self.source(model, outlet.node)
    }

    /// The constant that a source of the graph stands for.
    pub(crate) fn source(&self, model: &TypedModel, node: usize) -> Option<&Stored<'a>> {
        let node = model.node(node);
        let known = self.stored.get(&node.name);
        known.filter(|_| node.op_is::<tract_core::ops::source::TypedSource>())
    }
}
