//! Rewrites of tract's graph.

use std::collections::HashMap;

use tract_core::internal::*;

use crate::kernel::cpu::{Cpu, cache};

mod attention;
mod dynamic;
mod norm;
pub(crate) mod project;
pub(crate) mod rewrite;

pub use rewrite::Coded;

/// Replace what this crate has operators for, and declutter the rest.
///
/// * Convolutions of one image with constant weights, in f32 or between a DequantizeLinear and a
///   QuantizeLinear, with the sums, limits and codes that follow them.
/// * Products of an activation, quantized as it comes, with constant i8 weights.
/// * Attention with enough queries that packing its keys and values pays.
/// * f32 products with constant weights and of two activations, layer normalisations, and moves
///   between the two layouts of an image.
///
/// All else stays as it is. `model` is as tract's ONNX reader types it, before decluttering, which
/// takes convolutions apart. `coded` are constants that the ONNX graph dequantizes, by the name that
/// their reals have in `model`; one that is missing there leaves its convolution in f32.
///
/// # Errors
/// tract's, when the new graph can't be built.
pub fn lower(
    model: TypedModel,
    coded: &HashMap<String, Coded>,
    cpu: Cpu,
) -> TractResult<TypedModel> {
    let mut lowered = rewrite::rewrite(&model, coded, cpu, cache())?;
    // No older model lives on beside a newer one: weights are let go as they are packed.
    drop(model);
    dynamic::dynamic(&mut lowered, cpu)?;
    let mut decluttered = lowered.into_decluttered()?;
    attention::attention(&mut decluttered, cpu)?;
    project::project(decluttered, cpu)?.into_compact()
}
