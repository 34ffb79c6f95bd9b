//! Finding ONNX models that name other files.
//!
//! An ONNX tensor may keep its values in another file, which an engine would then open: a model
//! could read any file of the device. A bundle's graphs hold all their values themselves, so
//! every tensor that says otherwise is refused before an engine sees the bytes. Only what is
//! needed for that is read of the protobuf: the path from the model to each tensor.

use super::wire::{Field, Fields, Value};
use super::{MODEL_GRAPH, TENSOR_NAME, malformed};
use crate::error::{BundleError, ErrorKind};

/// Subgraphs nest by three messages each (graph, node, attribute).
const MAX_DEPTH: usize = 64;

/// The messages of `onnx.proto` that lead to tensors.
#[derive(Clone, Copy, PartialEq)]
enum Message {
    Model,
    Training,
    Function,
    Graph,
    Node,
    Attribute,
    SparseTensor,
    Tensor,
}

impl Message {
    /// The message in `field`, if it leads to tensors.
    fn child(self, field: u32) -> Option<Self> {
        Some(match (self, field) {
            (Self::Model, 7) | (Self::Training, 1 | 2) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) => Self::Tensor,
            (Self::SparseTensor, 1 | 2) => Self::Tensor,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::SparseTensor,
            _ => return None,
        })
    }
}

const TENSOR_EXTERNAL_DATA: u32 = 13;
const TENSOR_DATA_LOCATION: u32 = 14;

/// Refuse bytes that are not an ONNX model, and models that keep tensors in other files.
///
/// # Errors
/// [`ErrorKind::Graph`] and [`ErrorKind::ExternalData`].
pub fn check_self_contained(model: &[u8]) -> Result<(), BundleError> {
    walk(Message::Model, model, 0)?;
    let is_graph = |f: &Result<Field<'_>, _>| f.as_ref().is_ok_and(|f| f.number == MODEL_GRAPH);
    let graphs = Fields(model).filter(is_graph).count();
    if graphs == 1 {
        Ok(())
    } else {
        Err(malformed(&format!("{graphs} graphs")))
    }
}

fn walk(message: Message, bytes: &[u8], depth: usize) -> Result<(), BundleError> {
    if depth > MAX_DEPTH {
        return Err(malformed("graphs nested too deep"));
    }
    for field in Fields(bytes) {
        let Field { number, value, .. } = field?;
        if message == Message::Tensor {
            match (number, value) {
                (TENSOR_DATA_LOCATION, Value::Number(0)) => {}
                (TENSOR_DATA_LOCATION | TENSOR_EXTERNAL_DATA, _) => return Err(external(bytes)),
                _ => {}
            }
        } else if let Some(child) = message.child(number) {
            let Value::Bytes(bytes) = value else {
                return Err(malformed("a message with the wire type of a number"));
            };
            walk(child, bytes, depth + 1)?;
        }
    }
    Ok(())
}

fn external(tensor: &[u8]) -> BundleError {
    let name = Fields(tensor).find_map(|f| match f {
        Ok(Field {
            number: TENSOR_NAME,
            value: Value::Bytes(name),
            ..
        }) => Some(String::from_utf8_lossy(name)),
        _ => None,
    });
    let name: String = name.unwrap_or_default().chars().take(80).collect();
    BundleError::new(
        ErrorKind::ExternalData,
        format!("tensor {name:?} keeps its values in another file"),
        "save the model with all tensors inside (onnx.save with save_as_external_data=False)",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DECODER: &[u8] = include_bytes!("../../tests/golden/source/decoder.f32.onnx");

    #[test]
    fn models_that_hold_their_tensors_pass() {
        check_self_contained(DECODER).unwrap();
        check_self_contained(include_bytes!("../../tests/golden/source/encoder.f32.onnx")).unwrap();
    }

    #[test]
    fn p_16_external_data_is_found_wherever_tensors_live() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/onnx");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let error = check_self_contained(&std::fs::read(&path).unwrap()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ExternalData, "{path:?}: {error}");
            assert!(error.to_string().contains("\"weights\""), "{error}");
            seen += 1;
        }
        assert_eq!(seen, 7);
    }

    #[test]
    fn what_is_no_model_is_refused() {
        let deep = (0..100).fold(Vec::new(), |inner, i| {
            let key = if i == 99 { 7 } else { [6, 5, 1][i % 3] };
            wrap(key, &inner)
        });
        let twice = [DECODER, DECODER].concat();
        let group = [0x3b, 0x3c];
        let long_key = [0xba, 0x80, 0x80, 0x80, 0x80, 0x01, 0x00];
        let cut = &DECODER[..DECODER.len() - 1];
        for bad in [
            b"".as_slice(),
            b"\x00",
            b"PK\x03\x04",
            &deep,
            &twice,
            &group,
            &long_key,
            cut,
        ] {
            let error = check_self_contained(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Graph, "{bad:?}");
        }
    }

    fn wrap(field: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![field << 3 | 2];
        let mut n = bytes.len();
        while n >= 0x80 {
            out.push(n as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
        out.extend(bytes);
        out
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = check_self_contained(&bytes);
            let _ = check_self_contained(&wrap(7, &bytes));
        }

        #[test]
        fn damaged_models_give_an_answer(at in 0..DECODER.len(), byte in any::<u8>()) {
            let mut model = DECODER.to_vec();
            model[at] = byte;
            let _ = check_self_contained(&model);
        }
    }
}
