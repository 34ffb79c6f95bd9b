//! Why a bundle is refused.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Kinds of [`BundleError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused to read or write.
    Io,
    /// The file is no bundle archive: no zip, cut off, with bytes before or after it, or not in
    /// the one layout that bundles have.
    Archive,
    /// An entry is compressed or encrypted.
    Compressed,
    /// The bundle was made in a format that this version does not read.
    Format,
    /// The manifest is not well formed, or what it says can't be.
    Manifest,
    /// The graphs' tensors break the model contract.
    Contract,
    /// A part's name could lead out of the bundle or is not plain.
    PartName,
    /// An entry is a link or another thing that is not a plain file.
    Link,
    /// Two parts have one name.
    Duplicate,
    /// A part of the manifest is not there.
    Missing,
    /// A file is there that the manifest does not list.
    Unlisted,
    /// A cap on size or number is passed.
    TooLarge,
    /// A part's bytes are not those that the manifest promises.
    Corrupt,
    /// A graph is not an ONNX model.
    Graph,
    /// A graph names other files.
    ExternalData,
    /// The prompt table is not well formed.
    PromptTable,
    /// The bundle holds no part of that name.
    NoSuchPart,
    /// The bundle holds no variant of that precision.
    NoSuchVariant,
}

/// Why a bundle or a part of it is refused, where, and what to do about it.
#[derive(Debug)]
pub struct BundleError {
    kind: ErrorKind,
    path: Option<PathBuf>,
    part: Option<String>,
    message: String,
    hint: Cow<'static, str>,
    source: Option<io::Error>,
}

impl BundleError {
    pub(crate) fn new(
        kind: ErrorKind,
        message: impl Into<String>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            kind,
            path: None,
            part: None,
            message: message.into(),
            hint: hint.into(),
            source: None,
        }
    }

    pub(crate) fn io(what: &str, source: io::Error) -> Self {
        let hint = match source.kind() {
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::PermissionDenied => "check who may read and write there",
            io::ErrorKind::StorageFull => "free some space",
            _ => "check the storage, then copy the bundle again",
        };
        Self {
            source: Some(source),
            ..Self::new(ErrorKind::Io, format!("could not {what}"), hint)
        }
    }

    /// Name the bundle, unless it is named already.
    pub(crate) fn at(mut self, path: &Path) -> Self {
        self.path.get_or_insert_with(|| path.to_owned());
        self
    }

    /// Name the part, unless it is named already.
    pub(crate) fn in_part(mut self, part: &str) -> Self {
        self.part.get_or_insert_with(|| part.to_owned());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The bundle's path.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The part that is at fault, where it is one.
    pub fn part(&self) -> Option<&str> {
        self.part.as_deref()
    }

    /// What to do about it.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.display())?;
        }
        if let Some(part) = &self.part {
            write!(f, "{part}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        write!(f, "; hint: {}", self.hint)
    }
}

impl std::error::Error for BundleError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| e as _)
    }
}
