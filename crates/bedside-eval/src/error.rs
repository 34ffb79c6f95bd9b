//! The crate's one error type.

use std::fmt;

use serde::Serialize;

/// Where a failure lies, and so who can fix it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// A manifest, picture, mask or clip can't be used.
    Input,
    /// A clip has no true masks, or a phantom was given some.
    Masks,
    /// The bundle can't be trusted.
    Bundle,
    /// A prompt was refused.
    Prompt,
    /// The engine failed.
    Engine,
    /// A fault of bedside itself.
    Internal,
}

/// Why something was not evaluated. The text names the cause and, where there is one, the remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// Where the failure lies.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The same failure with the thing it happened to named in front.
    #[must_use]
    pub fn at(self, what: impl fmt::Display) -> Self {
        Self {
            message: format!("{what}: {}", self.message),
            ..self
        }
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<bedside::Error> for Error {
    fn from(error: bedside::Error) -> Self {
        let kind = match error.kind() {
            bedside::ErrorKind::Bundle => ErrorKind::Bundle,
            bedside::ErrorKind::Prompt => ErrorKind::Prompt,
            bedside::ErrorKind::Frame => ErrorKind::Input,
            bedside::ErrorKind::Engine | bedside::ErrorKind::SelfTest => ErrorKind::Engine,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<bedside_video::SourceError> for Error {
    fn from(error: bedside_video::SourceError) -> Self {
        Self::new(ErrorKind::Input, error.to_string())
    }
}

impl From<bedside_live::Error> for Error {
    fn from(error: bedside_live::Error) -> Self {
        let kind = match error.kind() {
            bedside_live::ErrorKind::Prompt => ErrorKind::Prompt,
            _ => ErrorKind::Engine,
        };
        Self::new(kind, error.to_string())
    }
}
