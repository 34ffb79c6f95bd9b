//! Why a source has no frame.

use std::fmt;
use std::io;

/// What can be done after a [`SourceError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceErrorKind {
    /// This frame is unreadable; the next call goes on behind it.
    Broken,
    /// No frame within about a second; the next call goes on waiting.
    Silent,
    /// The device is gone; every later call tries to open it again, and says so until it is back.
    Lost,
    /// There is never another frame: not a video, not supported, or it can't be read.
    Fatal,
}

/// Why a source has no frame. The text is one line: the cause and, where there is one, a remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    kind: SourceErrorKind,
    message: String,
}

impl SourceError {
    /// An error of a source's own; for sources outside this crate too.
    pub fn new(kind: SourceErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// What can be done.
    pub fn kind(&self) -> SourceErrorKind {
        self.kind
    }

    pub(crate) fn broken(message: impl Into<String>) -> Self {
        Self::new(SourceErrorKind::Broken, message)
    }

    pub(crate) fn fatal(message: impl Into<String>) -> Self {
        Self::new(SourceErrorKind::Fatal, message)
    }

    /// A failure to open or read `name`, which is one that may be told; a wait that ended is [`SourceErrorKind::Silent`].
    pub(crate) fn io(name: impl fmt::Display, error: &io::Error) -> Self {
        let fatal = |hint: &str| Self::fatal(format!("{name}: {error}; hint: {hint}"));
        match error.kind() {
            io::ErrorKind::TimedOut => {
                let message = format!(
                    "{name}: no frame for a second; hint: see whether the sender still runs"
                );
                Self::new(SourceErrorKind::Silent, message)
            }
            io::ErrorKind::NotFound => fatal("check the path"),
            io::ErrorKind::PermissionDenied => fatal("check who may read it"),
            _ => fatal("see whether the disk or the sender is well"),
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SourceError {}
