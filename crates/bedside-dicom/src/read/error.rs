//! Why a file or a frame of it can't be had.

use std::fmt;

/// What is wrong, for programs that act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file can't be read.
    Io,
    /// The file is not DICOM.
    NotDicom,
    /// What the file says contradicts itself, or it is cut short.
    Damaged,
    /// More pixels, bytes or nesting than are read.
    TooLarge,
    /// A kind of DICOM that is not read.
    Unsupported,
    /// DICOM without pictures, such as a report.
    NoPixels,
    /// The frame asked for is beyond the last.
    NoSuchFrame,
}

/// Why there is no frame. The text is one line, the cause and a remedy; it quotes nothing from the
/// file but numbers and UIDs of formats, so it tells nothing of the patient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message }
    }

    pub(crate) fn damaged(what: impl fmt::Display) -> Self {
        let message = format!("is damaged: {what}; hint: copy or export the file again");
        Self::new(ErrorKind::Damaged, message)
    }

    pub(crate) fn unsupported(what: impl fmt::Display, hint: &str) -> Self {
        let message = format!("holds {what}, which is not read; hint: {hint}");
        Self::new(ErrorKind::Unsupported, message)
    }

    pub(crate) fn too_large(what: impl fmt::Display) -> Self {
        let message = format!("is too large: {what}; hint: export it smaller or in parts");
        Self::new(ErrorKind::TooLarge, message)
    }

    /// What is wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            return Self::damaged("it is cut short");
        }
        let message =
            format!("could not be read: {error}; hint: check the path and who may read it");
        Self::new(ErrorKind::Io, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
