//! Rewrites of tract's graph.

use std::collections::HashMap;

use tract_core::internal::*;

use crate::kernel::cpu::{Cpu, cache};

mod attention;
mod dynamic;
mod norm;
pub(crate) mod project;
pub(crate) mod rewrite;
mod stored;

pub use rewrite::Coded;
pub use stored::Stored;

/// What is known of a graph's constants.
#[derive(Debug, Default)]
pub struct Constants<'a> {
    /// Those that the ONNX graph dequantizes, by the name that their reals have in the model; one
    /// that is missing here leaves its convolution in f32.
    pub coded: HashMap<String, Coded>,
    /// Those that the model has as inputs of these names, with no value.
    pub stored: HashMap<String, Stored<'a>>,
}

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
/// takes convolutions apart. Stored constants are no inputs of the new graph.
///
/// # Errors
/// tract's, when the new graph can't be built.
pub fn lower(model: TypedModel, constants: &Constants<'_>, cpu: Cpu) -> TractResult<TypedModel> {
    let mut lowered = rewrite::rewrite(&model, &constants.coded, cpu, cache())?;
    // No older model lives on beside a newer one: weights are let go as they are packed.
    drop(model);
    dynamic::dynamic(&mut lowered, constants, cpu)?;
    let mut decluttered = lowered.into_decluttered()?;
    attention::attention(&mut decluttered, cpu)?;
    project::project(decluttered, constants, cpu)?.into_compact()
}
