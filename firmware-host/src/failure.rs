//! What ends the daemon or its client, and the exit code that says why.

use std::fmt;
use std::process::ExitCode;

/// A failure as a person reads it: what, where, and `hint: ...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    message: String,
    /// Whether starting again can't help before a person has changed something.
    config: bool,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            config: false,
        }
    }

    /// Of the configuration: systemd does not start the daemon again then.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            config: true,
        }
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(if self.config { 2 } else { 1 })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<bedside_live::Error> for Failure {
    fn from(error: bedside_live::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<bedside::Error> for Failure {
    fn from(error: bedside::Error) -> Self {
        Self::new(error.to_string())
    }
}
