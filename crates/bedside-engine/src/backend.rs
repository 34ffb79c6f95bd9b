//! The two traits that a backend implements.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bedside_bundle::Bytes;

use crate::error::{EngineError, ErrorKind};
use crate::signature::Signature;
use crate::value::Value;

/// An inference engine on a device.
pub trait Backend: Send + Sync {
    /// Short name, such as "tract-cpu".
    fn name(&self) -> &'static str;

    /// What decides the numbers that this backend computes here, beside its name, the version of
    /// bedside and the machine: instructions, or versions of libraries and drivers. `None` when
    /// that is not known; then nothing learned of the backend is kept for later starts.
    fn fingerprint(&self) -> Option<String> {
        None
    }

    /// Whether what the backend needs beside this program is here: libraries, drivers, a device.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable), naming what is missing.
    fn available(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Load an ONNX graph from bytes, which name no other files. None of them is kept.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the backend is, or when a device is
    /// required and would not run all of the graph,
    /// [`Graph`](crate::ErrorKind::Graph) when the bytes can't be loaded,
    /// [`Signature`](crate::ErrorKind::Signature) when the graph is not the expected one,
    /// [`Panicked`](crate::ErrorKind::Panicked) when the engine panicked on them.
    fn load(&self, onnx: &Bytes, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError>;

    /// Run a real inference, to learn whether this device can.
    ///
    /// # Errors
    /// Those of loading and running, and [`Run`](crate::ErrorKind::Run) for a wrong answer.
    fn probe(&self) -> Result<(), EngineError> {
        crate::conformance::probe(self)
    }
}

/// A pointer to a backend is that backend.
macro_rules! pointer {
    ($pointer:ty) => {
        impl<B: Backend + ?Sized> Backend for $pointer {
            fn name(&self) -> &'static str {
                (**self).name()
            }

            fn fingerprint(&self) -> Option<String> {
                (**self).fingerprint()
            }

            fn available(&self) -> Result<(), EngineError> {
                (**self).available()
            }

            fn load(
                &self,
                onnx: &Bytes,
                options: &LoadOptions,
            ) -> Result<Box<dyn Session>, EngineError> {
                (**self).load(onnx, options)
            }

            fn probe(&self) -> Result<(), EngineError> {
                (**self).probe()
            }
        }
    };
}

pointer!(&B);
pointer!(Arc<B>);

/// How a graph is loaded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadOptions {
    /// What errors call the graph.
    pub label: String,
    /// The signature that the graph must have.
    pub expected: Signature,
    /// Threads of one run, at least 1.
    pub threads: usize,
    /// Refuse to load unless every operator runs on the backend's device, none on the CPU.
    pub require_device: bool,
    /// Inputs that many runs are given the same [`Value`] of (a clone, not one that is equal), as
    /// the prompts beside the frames of a video. A backend may keep what depends on these alone
    /// for as long as they stay.
    pub steady: Vec<String>,
    /// Folder of bedside's for what the backend compiles, so that later starts are fast; nothing
    /// is kept without it.
    pub cache: Option<PathBuf>,
}

impl LoadOptions {
    /// On one thread, with no device required, nothing steady and nothing kept.
    pub fn new(label: impl Into<String>, expected: Signature) -> Self {
        Self {
            label: label.into(),
            expected,
            threads: 1,
            require_device: false,
            steady: Vec::new(),
            cache: None,
        }
    }

    /// What a backend that has only the CPU says to a required device.
    pub(crate) fn refuse_device(&self, backend: &str) -> Result<(), EngineError> {
        if !self.require_device {
            return Ok(());
        }
        Err(EngineError::new(
            ErrorKind::Unavailable,
            &self.label,
            format!("{backend} runs on the CPU; hint: name another backend, or require no device"),
        ))
    }
}

/// Which nodes of a loaded graph run on the backend's device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// Nodes that run on the device; constants and copies between device and host don't count.
    pub device: usize,
    /// Nodes that fell back to the CPU, by kind of operator.
    pub host: BTreeMap<String, usize>,
}

impl Placement {
    /// All nodes, on the device or not.
    pub fn nodes(&self) -> usize {
        self.device + self.host.values().sum::<usize>()
    }
}

/// "118 of 120 nodes on the device, on the CPU: 2 Resize".
impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} nodes on the device", self.device, self.nodes())?;
        for (i, (op, nodes)) in self.host.iter().enumerate() {
            let before = if i == 0 { ", on the CPU: " } else { ", " };
            write!(f, "{before}{nodes} {op}")?;
        }
        Ok(())
    }
}

/// A graph, ready to run.
pub trait Session: Send {
    /// The graph's inputs and outputs.
    fn signature(&self) -> &Signature;

    /// Run the graph on one value an input, in the signature's order.
    ///
    /// Outputs may hold NaN or infinite values: whoever reads them checks.
    ///
    /// # Errors
    /// [`Input`](crate::ErrorKind::Input) when the values do not fit,
    /// [`Run`](crate::ErrorKind::Run), [`Panicked`](crate::ErrorKind::Panicked) or
    /// [`DeviceLost`](crate::ErrorKind::DeviceLost) when the engine fails. After the last two
    /// the session only repeats the error: load the graph again.
    fn run(&mut self, inputs: &[Value]) -> Result<Vec<Value>, EngineError>;

    /// A further session of this graph with the same weights in memory, to run on another thread at
    /// the same time; `None` where the backend has none but those that it loads.
    ///
    /// # Errors
    /// [`Run`](crate::ErrorKind::Run) when the engine fails.
    fn share(&self) -> Result<Option<Box<dyn Session>>, EngineError> {
        Ok(None)
    }

    /// Which nodes run on the device; `None` when there is no device or the engine does not say.
    fn placement(&self) -> Option<&Placement> {
        None
    }

    /// Run once and tell the time of every operator, in the order they ran. What is kept of an
    /// earlier run ([`LoadOptions::steady`]) is not run.
    ///
    /// # Errors
    /// As [`run`](Self::run), and [`Unavailable`](crate::ErrorKind::Unavailable) when the engine
    /// tells no such times.
    fn profile(&mut self, inputs: &[Value]) -> Result<Vec<OpTime>, EngineError>;
}

/// Time of one operator in one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpTime {
    /// Name of the node in the optimised graph.
    pub node: String,
    /// Kind of operator, as the engine calls it.
    pub op: String,
    /// Wall time.
    pub time: std::time::Duration,
}
