//! The crate's one error type.

use std::fmt;
use std::io;
use std::path::Path;

use bedside::Fault;
use serde::{Deserialize, Serialize};

/// Where a failure lies, and so who can fix it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The source gives no frames.
    Source,
    /// A prompt was refused, or there are too few or too many.
    Prompt,
    /// The model can't be loaded.
    Load,
    /// The model failed its self-test here.
    SelfTest,
    /// A pass of the model failed.
    Model,
    /// The model's process ended or made no sense; a fresh one may do better.
    Process,
    /// What was shown can't be handed on.
    Sink,
    /// The result log can't be written, or can't be read in full.
    Log,
    /// A setting can't be met.
    Config,
}

/// Why a session did not start, ended, or lacks a part. The text names the cause and, where there
/// is one, the remedy.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A failure in one line: cause and remedy.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Where the failure lies.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the operating system said, where it was asked. A
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) is a reader that had enough.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        let source = self.source.as_deref()?;
        source.downcast_ref::<io::Error>().map(io::Error::kind)
    }

    /// `what` is the file, device or pipe concerned.
    pub(crate) fn caused(
        kind: ErrorKind,
        what: impl fmt::Display,
        cause: io::Error,
        hint: &str,
    ) -> Self {
        Self {
            kind,
            message: format!("{what}: {cause}; hint: {hint}"),
            source: Some(Box::new(cause)),
        }
    }

    /// The same text under another kind, with `source` as the cause.
    pub(crate) fn of(
        kind: ErrorKind,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            kind,
            message: source.to_string(),
            source: Some(Box::new(source)),
        }
    }

    /// The same without the bundle's path, as a session tells it everywhere, and it may name a patient.
    pub(crate) fn without(mut self, bundle: &Path) -> Self {
        self.message = self.message.replace(&*bundle.to_string_lossy(), "bundle");
        self
    }

    /// What a session's state becomes when the model can't be loaded for this reason.
    pub(crate) fn fault(&self) -> Fault {
        match self.kind {
            ErrorKind::SelfTest => Fault::SelfTest,
            _ => Fault::Load,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The message already holds the cause's text: what lies below it is the next in the chain.
        self.source.as_deref().and_then(std::error::Error::source)
    }
}

impl From<bedside::Error> for Error {
    /// A refused prompt stays one; all else is a pass that failed.
    fn from(error: bedside::Error) -> Self {
        let kind = match error.kind() {
            bedside::ErrorKind::Prompt => ErrorKind::Prompt,
            _ => ErrorKind::Model,
        };
        Self::of(kind, error)
    }
}
