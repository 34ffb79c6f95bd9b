//! Where an engine's errors and panics become ours.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bedside_core::text::one_line;

use crate::error::{EngineError, ErrorKind};

/// Call into an engine; its errors become ours of this kind, its panics of
/// [`ErrorKind::Panicked`]. Either way the message is one line. Of a panic it has only what the
/// engine's source says word by word: what it puts together may quote a picture.
pub(crate) fn guarded<T, E: fmt::Display>(
    engine: &str,
    label: &str,
    kind: ErrorKind,
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, EngineError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            // The alternate form has the whole chain of causes.
            let what = one_line(&format!("{error:#}"));
            Err(EngineError::new(kind, label, format!("{engine}: {what}")))
        }
        Err(panic) => {
            let message = match panic.downcast_ref::<&str>() {
                Some(literal) => format!("{engine} panicked: {}", one_line(literal)),
                None => format!("{engine} panicked"),
            };
            let error = EngineError::new(ErrorKind::Panicked, label, message);
            Err(error.with_hint("load the bundle again"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::panic, reason = "what is tested")]
    fn p_21_an_error_of_a_panic_quotes_nothing_that_the_engine_was_given() {
        let said = |call: fn() -> Result<(), EngineError>| {
            let error = guarded("engine", "model", ErrorKind::Run, call).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Panicked);
            format!("{error} {error:?}")
        };
        let given = "ZZPATIENTZZ".to_owned();
        assert!(said(|| panic!("a literal")).contains("engine panicked: a literal"));
        let panic = guarded(
            "engine",
            "model",
            ErrorKind::Run,
            || -> Result<(), EngineError> { panic!("unexpected {given}") },
        );
        let error = panic.unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("ZZPATIENTZZ"),
            "{error}"
        );
    }
}
