//! Why a backend gave no answer.

use std::fmt;

/// Kinds of [`EngineError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The backend, what it needs on this device, or what was asked of it, is not to be had here.
    Unavailable,
    /// The bytes are no graph that this backend can load.
    Graph,
    /// Names, types or shapes of a graph are not those that were expected.
    Signature,
    /// The inputs of a run do not fit the session's signature.
    Input,
    /// The backend failed while running.
    Run,
    /// The backend panicked; its session answers no more.
    Panicked,
    /// The device went away; its sessions answer no more.
    DeviceLost,
}

/// An error of a backend: kind, graph, cause and, where there is one, the remedy.
#[derive(Debug, Clone)]
pub struct EngineError {
    kind: ErrorKind,
    graph: String,
    message: String,
}

impl EngineError {
    /// An error in the graph labelled `graph`.
    pub fn new(kind: ErrorKind, graph: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            graph: graph.into(),
            message: message.into(),
        }
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The same error with a remedy.
    #[must_use]
    pub(crate) fn with_hint(mut self, remedy: &str) -> Self {
        let cause = self.message.trim_end_matches('.');
        self.message = format!("{cause}; hint: {remedy}");
        self
    }

    /// Label of the graph, empty where none was involved.
    pub fn graph(&self) -> &str {
        &self.graph
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.graph.is_empty() {
            write!(f, "graph {}: ", self.graph)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for EngineError {}
