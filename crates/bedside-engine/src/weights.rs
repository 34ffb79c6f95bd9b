//! The large weights of an ONNX model, which stay in its file until they are packed.

use std::collections::{HashMap, HashSet};

use bedside_bundle::onnx::{self, Element, Weight};
use bedside_kernels::Stored;
use tract_core::internal::*;
use tract_onnx::pb::GraphProto;

use crate::Bytes;

/// A model without its large initializers, and these by name.
///
/// # Errors
/// When the bytes are no protobuf message.
pub(crate) fn split(model: &Bytes) -> TractResult<(Vec<u8>, HashMap<String, Stored<'_>>)> {
    let (rest, weights) = onnx::split(model)?;
    let weights = weights.into_iter();
    let named = weights.map(|w| (w.name.to_owned(), stored(model, w)));
    Ok((rest, named.collect()))
}

fn stored<'a>(file: &'a Bytes, weight: Weight<'a>) -> Stored<'a> {
    let dtype = match weight.element {
        Element::F32 => DatumType::F32,
        Element::F16 => DatumType::F16,
        Element::I8 => DatumType::I8,
        Element::U8 => DatumType::U8,
        Element::I32 => DatumType::I32,
    };
    Stored {
        file,
        raw: weight.raw,
        dtype,
        shape: weight.shape,
    }
}

/// Those of `weights` that nothing in a graph reads but products with what depends on an input, as
/// their matrix: what the kernels pack from the file, so that tract need not see their values.
pub(crate) fn matrices<'a>(
    graph: &GraphProto,
    weights: &mut HashMap<String, Stored<'a>>,
) -> HashMap<String, Stored<'a>> {
    let mut others = HashSet::new();
    let inputs = graph.input.iter().map(|input| input.name.as_str());
    let mut varying: HashSet<&str> = inputs.collect();
    for node in &graph.node {
        let varies = |name: &String| varying.contains(name.as_str());
        let of_input = node.input.first().is_some_and(varies);
        if node.input.iter().any(varies) {
            varying.extend(node.output.iter().map(String::as_str));
        }
        let dtype = match node.op_type.as_str() {
            "MatMul" => Some(DatumType::F32),
            "MatMulInteger" => Some(DatumType::I8),
            _ => None,
        };
        for (at, name) in node.input.iter().enumerate() {
            let matrix = |w: &Stored<'_>| w.shape.len() == 2 && Some(w.dtype) == dtype;
            if at != 1 || !of_input || !weights.get(name).is_some_and(matrix) {
                others.insert(name.as_str());
            }
        }
    }
    let matrices = weights.extract_if(|name, _| !others.contains(name.as_str()));
    matrices.collect()
}
