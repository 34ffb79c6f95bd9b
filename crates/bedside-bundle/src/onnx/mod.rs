//! As much of the ONNX format as can be read without an engine: whether a model keeps all its
//! tensors inside, and its large weights.

mod external;
mod weights;
mod wire;

pub use external::check_self_contained;
pub use weights::{Element, Weight, split};

use crate::error::{BundleError, ErrorKind};

fn malformed(what: &str) -> BundleError {
    BundleError::new(
        ErrorKind::Graph,
        format!("not an ONNX model ({what})"),
        "export the graph again and check it with onnx.checker",
    )
}
