//! The crate's one error type.

use std::fmt;

/// Where a failure lies, and so who can fix it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A task, an export or a mask can't be used.
    Input,
    /// A fault of bedside itself.
    Internal,
}

/// Why a file can't be used. The text is one line that names the cause and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
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

    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Input,
            // Files are quoted, and could steer the terminal that an error is printed on.
            message: message.into().replace(char::is_control, " "),
        }
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Internal,
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
