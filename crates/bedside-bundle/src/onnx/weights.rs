//! The large weights of a model, apart from the rest of it.
//!
//! Engines copy a model whole, decode it into messages that own their bytes, and make tensors of
//! these: three times the size of the file. With the large initializers taken out of the bytes
//! first, each is copied once, and what is left for the engine's reader is small.

use std::collections::HashSet;

use super::wire::{Field, Fields, Value, put_bytes, varint};
use super::{END_NAME, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, MODEL_GRAPH, malformed};
use super::{TENSOR_DATA_TYPE, TENSOR_DIMS, TENSOR_NAME};
use crate::error::BundleError;

/// Smaller tensors, such as shapes and scales, stay in the model: the reader looks into some.
const LARGE: usize = 4096;

const TENSOR_RAW_DATA: u32 = 9;

/// A model without its large initializers, and these.
///
/// # Errors
/// [`ErrorKind::Graph`](crate::ErrorKind::Graph) when the bytes are not protobuf messages.
pub fn split(onnx: &[u8]) -> Result<(Vec<u8>, Vec<Weight<'_>>), BundleError> {
    let mut rest: Vec<u8> = Vec::new();
    let mut found = Vec::new();
    for field in Fields(onnx) {
        let field = field?;
        match field.value {
            Value::Bytes(graph) if field.number == MODEL_GRAPH => {
                let ends = ends(graph)?;
                let mut small: Vec<u8> = Vec::new();
                for field in Fields(graph) {
                    let field = field?;
                    match Weight::of(&field)? {
                        Some(weight) if !ends.contains(weight.name.as_bytes()) => {
                            found.push(weight);
                        }
                        _ => small.extend(field.whole),
                    }
                }
                put_bytes(&mut rest, MODEL_GRAPH, &small);
            }
            _ => rest.extend(field.whole),
        }
    }
    Ok((rest, found))
}

/// Names of a graph's inputs and outputs, which the reader must find: old exporters list
/// initializers among the inputs.
fn ends(graph: &[u8]) -> Result<HashSet<&[u8]>, BundleError> {
    let mut names = HashSet::new();
    for field in Fields(graph) {
        let field = field?;
        let Value::Bytes(info) = field.value else {
            continue;
        };
        if [GRAPH_INPUT, GRAPH_OUTPUT].contains(&field.number) {
            for field in Fields(info) {
                let field = field?;
                if let (END_NAME, Value::Bytes(name)) = (field.number, field.value) {
                    names.insert(name);
                }
            }
        }
    }
    Ok(names)
}

/// A large initializer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weight<'a> {
    /// Its name in the graph.
    pub name: &'a str,
    /// Type of its elements.
    pub element: Element,
    /// Its dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Its elements, row-major, little-endian; as many bytes as type and shape ask for.
    pub raw: &'a [u8],
}

/// Type of a weight's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Element {
    F32,
    F16,
    I8,
    U8,
    I32,
}

impl Element {
    /// By the number that `TensorProto.DataType` gives it; `None` for other types.
    fn numbered(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::F32,
            2 => Self::U8,
            3 => Self::I8,
            6 => Self::I32,
            10 => Self::F16,
            _ => return None,
        })
    }

    /// Bytes of one.
    fn size(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::F16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }
}

impl<'a> Weight<'a> {
    /// The field of a graph as a weight; none when it is another field, small, or holds its values
    /// in a way that exporters do not use for large tensors.
    fn of(field: &Field<'a>) -> Result<Option<Self>, BundleError> {
        let Value::Bytes(tensor) = field.value else {
            return Ok(None);
        };
        if field.number != GRAPH_INITIALIZER || tensor.len() < LARGE {
            return Ok(None);
        }
        let (mut name, mut element, mut raw) = ("", None, None);
        let mut shape = Vec::new();
        for field in Fields(tensor) {
            let field = field?;
            match (field.number, field.value) {
                (TENSOR_DIMS, Value::Number(n)) => shape.push(n),
                (TENSOR_DIMS, Value::Bytes(mut packed)) => {
                    while !packed.is_empty() {
                        shape
                            .push(varint(&mut packed).ok_or_else(|| malformed("broken protobuf"))?);
                    }
                }
                (TENSOR_DATA_TYPE, Value::Number(n)) => element = Element::numbered(n),
                (TENSOR_NAME, Value::Bytes(bytes)) => {
                    name = std::str::from_utf8(bytes)
                        .map_err(|_| malformed("a name that is not UTF-8"))?;
                }
                (TENSOR_RAW_DATA, Value::Bytes(bytes)) => raw = Some(bytes),
                _ => return Ok(None),
            }
        }
        let shape = shape.into_iter().map(usize::try_from);
        let (Ok(shape), Some(element), Some(raw)) =
            (shape.collect::<Result<Vec<_>, _>>(), element, raw)
        else {
            return Ok(None);
        };
        let volume = shape
            .iter()
            .try_fold(element.size(), |v, d| v.checked_mul(*d));
        Ok((volume == Some(raw.len())).then_some(Self {
            name,
            element,
            shape,
            raw,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::put_varint;
    use super::*;

    fn bytes(number: u32, content: &[u8]) -> Vec<u8> {
        let mut field = Vec::new();
        put_bytes(&mut field, number, content);
        field
    }

    fn number(number: u32, value: u64) -> Vec<u8> {
        let mut field = Vec::new();
        put_varint(&mut field, u64::from(number << 3));
        put_varint(&mut field, value);
        field
    }

    fn initializer(name: &str, dims: &[u64], values: usize) -> Vec<u8> {
        let raw: Vec<u8> = (0..values).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let dims = dims.iter().flat_map(|d| number(TENSOR_DIMS, *d));
        let mut tensor: Vec<u8> = dims.collect();
        tensor.extend(number(TENSOR_DATA_TYPE, 1));
        tensor.extend(bytes(TENSOR_NAME, name.as_bytes()));
        tensor.extend(bytes(TENSOR_RAW_DATA, &raw));
        bytes(GRAPH_INITIALIZER, &tensor)
    }

    fn model(graph: &[Vec<u8>]) -> Vec<u8> {
        [
            number(1, 8),
            bytes(MODEL_GRAPH, &graph.concat()),
            bytes(2, b"maker"),
        ]
        .concat()
    }

    #[test]
    fn large_initializers_come_out_and_all_else_stays_as_it_is() {
        let node = bytes(1, b"\x22\x03Add");
        let small = initializer("small", &[2, 3], 6);
        let large = initializer("large", &[40, 50], 2_000);
        let whole = model(&[small.clone(), large, node.clone()]);
        let (rest, weights) = split(&whole).unwrap();
        assert_eq!(rest, model(&[small, node]));
        let [weight] = &weights[..] else {
            panic!("{} weights", weights.len());
        };
        assert_eq!((weight.name, weight.element), ("large", Element::F32));
        assert_eq!(weight.shape, [40, 50]);
        let values = weight.raw.as_chunks::<4>().0;
        assert_eq!(values.len(), 2_000);
        let values = values.iter().map(|b| f32::from_le_bytes(*b));
        assert!(values.enumerate().all(|(i, v)| v == i as f32));
    }

    /// tract makes an input of an input whose initializer is gone, and does not find such an output.
    #[test]
    fn initializers_that_are_inputs_or_outputs_stay() {
        let large = initializer("large", &[40, 50], 2_000);
        for end in [GRAPH_INPUT, GRAPH_OUTPUT] {
            let model = model(&[large.clone(), bytes(end, &bytes(END_NAME, b"large"))]);
            let (rest, weights) = split(&model).unwrap();
            assert!(weights.is_empty() && rest == model);
        }
    }

    /// The reader has the error for these.
    #[test]
    fn weights_that_do_not_fit_their_shape_stay() {
        for dims in [&[40, 51][..], &[u64::MAX, 2], &[], &[1 << 40, 1 << 40]] {
            let model = model(&[initializer("large", dims, 2_000)]);
            let (rest, weights) = split(&model).unwrap();
            assert!(weights.is_empty() && rest == model, "{dims:?}");
        }
    }

    #[test]
    fn broken_models_are_an_error() {
        let good = model(&[initializer("large", &[40, 50], 2_000)]);
        for cut in [1, 3, 5, 100, good.len() - 3] {
            assert!(split(&good[..cut]).is_err(), "{cut}");
        }
    }
}
