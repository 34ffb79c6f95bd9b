//! As much of the ONNX format as can be read without an engine: whether a model keeps all its
//! tensors inside, how large it is and of which operators, and its large weights.

mod bounds;
mod declared;
mod external;
mod operators;
mod weights;
mod wire;

pub use bounds::check_bounds;
pub use external::check_self_contained;
pub use weights::{Element, Weight, split};

use crate::error::{BundleError, ErrorKind};

// Fields of the messages of `onnx.proto` that more than one reader here needs.
const MODEL_GRAPH: u32 = 7;
const GRAPH_INITIALIZER: u32 = 5;
const GRAPH_INPUT: u32 = 11;
const GRAPH_OUTPUT: u32 = 12;
/// Of an input or output.
const END_NAME: u32 = 1;
const TENSOR_DIMS: u32 = 1;
const TENSOR_DATA_TYPE: u32 = 2;
const TENSOR_NAME: u32 = 8;

fn malformed(what: &str) -> BundleError {
    BundleError::new(
        ErrorKind::Graph,
        format!("not an ONNX model ({what})"),
        "export the graph again and check it with onnx.checker",
    )
}
