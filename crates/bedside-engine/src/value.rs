//! Tensors that go in and out of sessions.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bedside_bundle::manifest::DType;
use tract_core::prelude::{Datum, DatumType, Tensor};

use crate::error::{EngineError, ErrorKind};

/// A tensor that a session takes or gives. Cheap to clone: clones share the data.
#[derive(Clone)]
pub struct Value(Arc<Tensor>);

impl Value {
    /// An f32 tensor of `shape`, row-major.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] unless `data` has as many elements as `shape` asks for.
    pub fn f32(shape: &[usize], data: &[f32]) -> Result<Self, EngineError> {
        Self::new(shape, data)
    }

    /// An i64 tensor of `shape`, row-major.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] unless `data` has as many elements as `shape` asks for.
    pub fn i64(shape: &[usize], data: &[i64]) -> Result<Self, EngineError> {
        Self::new(shape, data)
    }

    fn new<T: Datum + Copy>(shape: &[usize], data: &[T]) -> Result<Self, EngineError> {
        if shape.iter().product::<usize>() != data.len() {
            return Err(EngineError::new(
                ErrorKind::Input,
                "",
                format!("{} elements for a tensor of shape {shape:?}", data.len()),
            ));
        }
        let tensor = Tensor::from_shape(shape, data)
            .map_err(|e| EngineError::new(ErrorKind::Input, "", format!("{e:#}")))?;
        Ok(Self(Arc::new(tensor)))
    }

    /// Its dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    /// Type of its elements; `None` for a type that no signature names.
    pub fn dtype(&self) -> Option<DType> {
        match self.0.datum_type() {
            DatumType::F32 => Some(DType::F32),
            DatumType::I64 => Some(DType::I64),
            _ => None,
        }
    }

    /// The elements on the host, row-major.
    ///
    /// # Errors
    /// [`ErrorKind::Run`] when the elements are not f32.
    pub fn to_f32(&self) -> Result<Cow<'_, [f32]>, EngineError> {
        let view = self
            .0
            .try_as_plain_ram()
            .and_then(|plain| plain.as_slice::<f32>());
        view.map(Cow::Borrowed)
            .map_err(|e| EngineError::new(ErrorKind::Run, "", format!("not an f32 tensor: {e:#}")))
    }

    /// Whether both share their data.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn from_tensor(tensor: Arc<Tensor>) -> Self {
        Self(tensor)
    }

    pub(crate) fn tensor(&self) -> &Arc<Tensor> {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({:?} {:?})", self.0.datum_type(), self.0.shape())
    }
}
