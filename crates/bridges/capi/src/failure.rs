//! What a call comes to: a status, and a message kept for the thread.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use runtime::{Error, ErrorKind, FrameError};

use crate::types::bedside_status as Status;

/// Why a call did nothing.
#[derive(Debug)]
pub(crate) struct Failure {
    status: Status,
    message: String,
}

impl Failure {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::new(Status::Argument, message)
    }

    pub(crate) fn null(name: &str) -> Self {
        Self::argument(format!("{name} is NULL; hint: pass an address"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Bundle => Status::Bundle,
            ErrorKind::Prompt => Status::Prompt,
            ErrorKind::Frame => Status::Frame,
            ErrorKind::Engine => Status::Engine,
            ErrorKind::SelfTest => Status::SelfTest,
            ErrorKind::Mismatch => Status::Mismatch,
            ErrorKind::Config => Status::Config,
            ErrorKind::Cache => Status::Cache,
            _ => Status::Internal,
        };
        Self::new(status, error.to_string())
    }
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Self {
        let hint = "hint: pass the size, format and strides that the bytes have";
        Self::new(Status::Frame, format!("{error}; {hint}"))
    }
}

thread_local! {
    static MESSAGE: RefCell<CString> = RefCell::default();
}

/// Run a call's work: whatever becomes of it, a panic included, is a status, and its message the
/// thread's.
pub(crate) fn status_of(work: impl FnOnce() -> Result<(), Failure>) -> Status {
    let caught = catch_unwind(AssertUnwindSafe(work));
    match caught.unwrap_or_else(|panic| Err(of_panic(&*panic))) {
        Ok(()) => Status::Ok,
        Err(Failure { status, message }) => {
            keep(message);
            status
        }
    }
}

/// The message of the thread's last failure, until the next one; empty before the first.
pub(crate) fn message() -> *const c_char {
    // A thread that ends has no message any more.
    MESSAGE
        .try_with(|message| message.borrow().as_ptr())
        .unwrap_or(c"".as_ptr())
}

fn keep(message: String) {
    let mut bytes = message.into_bytes();
    bytes.retain(|byte| *byte != 0);
    let message = CString::new(bytes).unwrap_or_default();
    let _ = MESSAGE.try_with(|kept| *kept.borrow_mut() = message);
}

fn of_panic(panic: &(dyn Any + Send)) -> Failure {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
    let words = words.unwrap_or("a panic without words");
    let message = format!("a fault of bedside: {words}; hint: free the segmenter and report this");
    Failure::new(Status::Internal, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last() -> String {
        MESSAGE.with_borrow(|message| message.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_panic_is_a_status_with_its_words() {
        assert_eq!(status_of(|| panic!("over {}", 7)), Status::Internal);
        assert!(last().contains("over 7") && last().contains("hint:"));
        let odd = || std::panic::panic_any(7);
        assert_eq!(status_of(odd), Status::Internal);
    }

    #[test]
    fn a_message_stays_until_the_next_failure_of_its_thread() {
        let fail = |text: &str| status_of(|| Err(Failure::argument(text)));
        assert_eq!(fail("one\0two"), Status::Argument);
        assert_eq!(status_of(|| Ok(())), Status::Ok);
        std::thread::spawn(move || {
            assert_eq!(last(), "");
            fail("elsewhere");
        })
        .join()
        .unwrap();
        assert_eq!(last(), "onetwo");
    }
}
