//! Where an engine's errors and panics become ours.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{EngineError, ErrorKind};

/// Call into an engine; its errors become ours of this kind, its panics of
/// [`ErrorKind::Panicked`]. Either way the message is one line.
pub(crate) fn guarded<T, E: fmt::Display>(
    engine: &str,
    label: &str,
    kind: ErrorKind,
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, EngineError> {
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            // The alternate form has the whole chain of causes.
            let what = one_line(&format!("{error:#}"));
            Err(EngineError::new(kind, label, format!("{engine}: {what}")))
        }
        Err(panic) => {
            let what = one_line(panic_text(panic.as_ref()));
            let message = format!("{engine} panicked: {what}");
            let error = EngineError::new(ErrorKind::Panicked, label, message);
            Err(error.with_hint("load the bundle again"))
        }
    }
}

/// What a caught panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
