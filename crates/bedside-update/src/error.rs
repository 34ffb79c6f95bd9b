//! Why an update is refused.

use std::fmt;
use std::path::Path;

use bedside_bundle::BundleError;

/// Kinds of [`UpdateError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused to read or write.
    Io,
    /// A folder of keys holds none, or what is no public key.
    Keys,
    /// The bundle has no signature.
    Unsigned,
    /// None of the keys signed the bundle, or it was changed since.
    Untrusted,
    /// The bundle itself is refused.
    Bundle,
    /// The bundle is older than the active one.
    Older,
    /// The bundle's own test frames did not get their masks on this device.
    SelfTest,
    /// Another program updates, or an update is on trial.
    Busy,
    /// There is no bundle to run or to go back to, or the record of which is active is damaged.
    State,
}

/// Why an update is refused, and what to do about it.
#[derive(Debug)]
pub struct UpdateError {
    kind: ErrorKind,
    message: String,
}

impl UpdateError {
    pub(crate) fn new(kind: ErrorKind, what: impl fmt::Display, hint: &str) -> Self {
        let message = format!("{what}; hint: {hint}");
        Self { kind, message }
    }

    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => "check the path",
            std::io::ErrorKind::PermissionDenied => "check who may read and write there",
            std::io::ErrorKind::StorageFull => "free some space",
            _ => "check the storage",
        };
        Self::new(ErrorKind::Io, format!("{}: {error}", path.display()), hint)
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl From<BundleError> for UpdateError {
    fn from(error: BundleError) -> Self {
        Self {
            kind: ErrorKind::Bundle,
            message: error.to_string(),
        }
    }
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for UpdateError {}
