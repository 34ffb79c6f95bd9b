//! The crate's one error type.

use std::fmt;
use std::io;

/// Why the page can't be served, and so who can fix it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Other machines would reach the address, and that was not allowed.
    Exposed,
    /// The address can't be listened on.
    Address,
    /// The server could not start, or ended.
    Server,
}

/// Why there is no page. The text names the address, the cause and the remedy.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    io: Option<io::Error>,
}

impl Error {
    /// Why the page can't be served.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            io: None,
        }
    }

    /// `what` is the address or part concerned.
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
