//! The crate's one error type.

use std::fmt;
use std::io;

/// Where a failure lies, and so who can mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Frames don't come.
    Source,
    /// The model can't be loaded or asked.
    Model,
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
    io: Option<io::Error>,
}

impl Error {
    /// Where the failure lies.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the operating system said, where it was asked. A
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) is a reader that had enough.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        self.io.as_ref().map(io::Error::kind)
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            io: None,
        }
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
            io: Some(cause),
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
        self.io.as_ref().and_then(std::error::Error::source)
    }
}
