//! The crate's one error type.

use std::fmt;
use std::io;

/// What can be done after an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An address can't be understood, connected to or listened on.
    Address,
    /// Nothing came for a while; what came before is kept, and reading can go on.
    Silent,
    /// This message can't be used; the next one can be read.
    Message,
    /// What came is not OpenIGTLink, or the connection is gone: it must be closed.
    Lost,
}

/// Why there is no message. The text is one line that names the cause and, where there is one, the
/// remedy; nothing of what a peer said is quoted but numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// What can be done.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub(crate) fn message(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Message, message)
    }

    pub(crate) fn lost(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Lost, message)
    }
}

/// A wait that ended is [`ErrorKind::Silent`], all else [`ErrorKind::Lost`].
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                Self::new(ErrorKind::Silent, "nothing came")
            }
            _ => Self::lost(format!("the connection failed: {error}")),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
