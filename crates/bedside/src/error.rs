//! The library's one error type.

use std::fmt;

use bedside_bundle::{BundleError, PromptError};
use bedside_engine::EngineError;

/// Where a failure lies, and so who can fix it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bundle is damaged, missing a part or of an unknown form.
    Bundle,
    /// A prompt is unknown, ambiguous, or of a type that the weights were not trained on.
    Prompt,
    /// The frame can't be segmented.
    Frame,
    /// The backend failed, or answered with NaN, infinite or absurd values.
    Engine,
    /// The bundle's own test frames did not get their masks on this backend and precision.
    SelfTest,
    /// Prompts of another bundle or precision, or features of another segmenter or orientation.
    Mismatch,
    /// An option is out of its range.
    Config,
    /// What was measured on this device could not be kept or read; no run needs it.
    Cache,
}

/// Why nothing was segmented. The text names the cause and, where there is one, the remedy.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Where the failure lies.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    fn caused(kind: ErrorKind, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self {
            kind,
            message: source.to_string(),
            source: Some(Box::new(source)),
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
        // The message already is the cause's text: what lies below it is the next in the chain.
        self.source.as_deref().and_then(std::error::Error::source)
    }
}

impl From<BundleError> for Error {
    fn from(source: BundleError) -> Self {
        Self::caused(ErrorKind::Bundle, source)
    }
}

impl From<EngineError> for Error {
    fn from(source: EngineError) -> Self {
        Self::caused(ErrorKind::Engine, source)
    }
}

impl From<PromptError> for Error {
    fn from(source: PromptError) -> Self {
        Self::caused(ErrorKind::Prompt, source)
    }
}
