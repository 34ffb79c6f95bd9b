//! The two traits that a backend implements.

use crate::error::EngineError;
use crate::signature::Signature;
use crate::value::Value;

/// An inference engine on a device.
pub trait Backend: Send + Sync {
    /// Short name, such as "tract-cpu".
    fn name(&self) -> &'static str;

    /// Load an ONNX graph from bytes, which name no other files.
    ///
    /// # Errors
    /// [`Graph`](crate::ErrorKind::Graph) when the bytes can't be loaded,
    /// [`Signature`](crate::ErrorKind::Signature) when the graph is not the expected one,
    /// [`Panicked`](crate::ErrorKind::Panicked) when the engine panicked on them.
    fn load(&self, onnx: &[u8], options: &LoadOptions) -> Result<Box<dyn Session>, EngineError>;

    /// Run a real inference, to learn whether this device can.
    ///
    /// # Errors
    /// Those of loading and running, and [`Run`](crate::ErrorKind::Run) for a wrong answer.
    fn probe(&self) -> Result<(), EngineError> {
        crate::conformance::probe(self)
    }
}

/// How a graph is loaded.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// What errors call the graph.
    pub label: String,
    /// The signature that the graph must have.
    pub expected: Signature,
    /// Threads of one run, at least 1.
    pub threads: usize,
}

/// A graph, ready to run.
pub trait Session: Send {
    /// The graph's inputs and outputs.
    fn signature(&self) -> &Signature;

    /// Run the graph on one value an input, in the signature's order.
    ///
    /// Outputs may hold values that are no numbers: whoever reads them checks.
    ///
    /// # Errors
    /// [`Input`](crate::ErrorKind::Input) when the values do not fit,
    /// [`Run`](crate::ErrorKind::Run), [`Panicked`](crate::ErrorKind::Panicked) or
    /// [`DeviceLost`](crate::ErrorKind::DeviceLost) when the engine fails. After the last two
    /// the session only repeats the error: load the graph again.
    fn run(&mut self, inputs: &[Value]) -> Result<Vec<Value>, EngineError>;

    /// Run once and tell the time of every operator, in the order they ran.
    ///
    /// # Errors
    /// As [`run`](Self::run).
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
