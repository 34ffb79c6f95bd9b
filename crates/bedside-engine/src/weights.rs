//! The large weights of an ONNX model as tensors, each copied once.

use std::collections::HashMap;

use bedside_bundle::onnx::{self, Element, Weight};
use tract_core::internal::*;

/// A model without its large initializers, and these by name.
///
/// # Errors
/// When the bytes are no protobuf message.
pub(crate) fn split(model: &[u8]) -> TractResult<(Vec<u8>, HashMap<String, Tensor>)> {
    let (rest, weights) = onnx::split(model)?;
    // On one thread: packing, on this thread too, then gets the memory that is let go on the way.
    // glibc does not hand memory from one thread's heap to another's.
    let tensors = weights.iter().map(|w| Ok((w.name.to_owned(), tensor(w)?)));
    Ok((rest, tensors.collect::<TractResult<_>>()?))
}

fn tensor(weight: &Weight<'_>) -> TractResult<Tensor> {
    let dtype = match weight.element {
        Element::F32 => DatumType::F32,
        Element::F16 => DatumType::F16,
        Element::I8 => DatumType::I8,
        Element::U8 => DatumType::U8,
        Element::I32 => DatumType::I32,
    };
    let mut tensor = Tensor::zero_dt(dtype, &weight.shape)?;
    tensor.as_bytes_mut().copy_from_slice(weight.raw);
    Ok(tensor)
}
