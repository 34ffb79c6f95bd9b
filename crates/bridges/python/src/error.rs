//! bedside's errors as Python's exceptions.

use bedside::ErrorKind;
use pyo3::{PyErr, import_exception};

import_exception!(bedside.errors, Error);
import_exception!(bedside.errors, BundleError);
import_exception!(bedside.errors, SelfTestError);
import_exception!(bedside.errors, PromptError);
import_exception!(bedside.errors, FrameError);
import_exception!(bedside.errors, EngineError);
import_exception!(bedside.errors, MismatchError);
import_exception!(bedside.errors, ConfigError);
import_exception!(bedside.errors, CacheError);

/// The exception of an error's kind, with its text.
pub(crate) fn exception(error: bedside::Error) -> PyErr {
    raise(error.kind(), error.to_string())
}

/// The exception of a kind.
pub(crate) fn raise(kind: ErrorKind, text: String) -> PyErr {
    match kind {
        ErrorKind::Bundle => BundleError::new_err(text),
        ErrorKind::SelfTest => SelfTestError::new_err(text),
        ErrorKind::Prompt => PromptError::new_err(text),
        ErrorKind::Frame => FrameError::new_err(text),
        ErrorKind::Engine => EngineError::new_err(text),
        ErrorKind::Mismatch => MismatchError::new_err(text),
        ErrorKind::Config => ConfigError::new_err(text),
        ErrorKind::Cache => CacheError::new_err(text),
        _ => Error::new_err(text),
    }
}

/// An image that can't be used.
pub(crate) fn bad_image(text: impl Into<String>) -> PyErr {
    FrameError::new_err(text.into())
}
