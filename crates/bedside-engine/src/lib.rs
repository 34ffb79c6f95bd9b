//! Inference backends behind one trait.
//!
//! Prepare, load, run: a [`Backend`] loads an ONNX graph from bytes, checks it against the
//! [`Signature`] that the caller expects, and gives a [`Session`]; a session runs [`Value`]s.
//! Values are cheap to clone and may live on the device, so that the features of an image
//! encoder go to the mask decoder without a copy.
//!
//! * [`TractCpu`]: tract on the CPU with our operators, the default
//! * [`TractStock`]: tract on the CPU alone, to compare with
//! * `Ort` (feature `ort`): the user's own onnxruntime, on the CPU, CUDA or TensorRT
//! * `TractCuda` (feature `cuda` or `cuda-13`): tract on an NVIDIA GPU
//! * [`FaultyBackend`]: any backend with scripted faults, for tests of what stands above
//! * [`conformance`]: what every backend must pass before it is believed

mod backend;
pub mod conformance;
#[cfg(any(feature = "ort", feature = "tract-cuda"))]
mod device;
mod error;
mod faulty;
mod guard;
#[cfg(feature = "ort")]
mod ort;
mod signature;
mod steady;
mod tract_cpu;
#[cfg(feature = "tract-cuda")]
mod tract_cuda;
mod value;
mod weights;

pub use bedside_bundle::Bytes;
pub use bedside_bundle::manifest::{DType, Dim, TensorSpec};

pub use backend::{Backend, LoadOptions, OpTime, Placement, Session};
pub use error::{EngineError, ErrorKind};
pub use faulty::{FaultyBackend, InjectedFault, Release};
#[cfg(feature = "ort")]
pub use ort::Ort;
pub use signature::Signature;
pub use tract_cpu::{TractCpu, TractStock};
#[cfg(feature = "tract-cuda")]
pub use tract_cuda::TractCuda;
pub use value::Value;

/// The backends that this build has, the default first.
pub fn backends() -> Vec<&'static dyn Backend> {
    vec![
        &TractCpu,
        &TractStock,
        #[cfg(feature = "ort")]
        &Ort::Cpu,
        #[cfg(feature = "ort")]
        &Ort::Cuda,
        #[cfg(feature = "ort")]
        &Ort::TensorRt,
        #[cfg(feature = "tract-cuda")]
        &TractCuda,
    ]
}

/// Backends that only some builds have, with the cargo feature that brings them in.
const OPTIONAL: [(&str, &str); 4] = [
    ("ort-cpu", "ort"),
    ("ort-cuda", "ort"),
    ("ort-tensorrt", "ort"),
    ("tract-cuda", "cuda"),
];

/// Names of all backends, the default first: [`backends`], then those that this build was made
/// without.
pub fn backend_names() -> Vec<&'static str> {
    let mut names: Vec<_> = backends().iter().map(|b| b.name()).collect();
    let absent = OPTIONAL.iter().map(|(name, _)| *name);
    let absent: Vec<_> = absent.filter(|name| !names.contains(name)).collect();
    names.extend(absent);
    names
}

/// The backend of a name.
///
/// # Errors
/// [`ErrorKind::Unavailable`] when there is none, or this build was made without it.
pub fn backend(name: &str) -> Result<&'static dyn Backend, EngineError> {
    let all = backends();
    if let Some(found) = all.iter().find(|b| b.name() == name) {
        return Ok(*found);
    }
    let message = match OPTIONAL.iter().find(|(optional, _)| *optional == name) {
        Some((_, feature)) => format!(
            "backend '{name}' is not in this build; hint: build with `--features {feature}`"
        ),
        None => {
            let known: Vec<_> = all.iter().map(|b| b.name()).collect();
            format!("no backend '{name}'; hint: one of {}", known.join(", "))
        }
    };
    Err(EngineError::new(ErrorKind::Unavailable, "", message))
}
