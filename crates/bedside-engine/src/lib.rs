//! Inference backends behind one trait.
//!
//! Prepare, load, run: a [`Backend`] loads an ONNX graph from bytes, checks it against the
//! [`Signature`] that the caller expects, and gives a [`Session`]; a session runs [`Value`]s.
//! Values are cheap to clone and may live on the device, so that the features of an image
//! encoder go to the mask decoder without a copy.
//!
//! * [`TractCpu`]: tract on the CPU with our operators, the default
//! * [`TractStock`]: tract on the CPU alone, to compare with
//! * [`FaultyBackend`]: any backend with scripted faults, for tests of what stands above
//! * [`conformance`]: what every backend must pass before it is believed

mod backend;
pub mod conformance;
mod error;
mod faulty;
mod signature;
mod tract_cpu;
mod value;
mod weights;

pub use backend::{Backend, LoadOptions, OpTime, Session};
pub use error::{EngineError, ErrorKind};
pub use faulty::{Fault, FaultyBackend, Release};
pub use signature::{DType, Dim, Signature, TensorSpec};
pub use tract_cpu::{TractCpu, TractStock};
pub use value::Value;

/// The backends that this build has, the default first.
pub fn backends() -> [&'static dyn Backend; 2] {
    [&TractCpu, &TractStock]
}
