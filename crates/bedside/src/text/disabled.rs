//! What stands for the text encoder in builds without it.

use bedside_engine::Session;

use crate::error::{Error, ErrorKind};

/// There is none.
pub(crate) enum TextEncoder {}

impl TextEncoder {
    pub(crate) fn new(
        _: impl FnOnce() -> Result<Vec<u8>, Error>,
        _: impl FnOnce() -> Result<Box<dyn Session>, Error>,
        _: usize,
    ) -> Result<Self, Error> {
        Err(Error::new(
            ErrorKind::Prompt,
            "prompts outside the table are not in this build; hint: build with `--features text`",
        ))
    }

    pub(crate) fn encode(&mut self, _: &str) -> Result<Vec<f32>, Error> {
        match *self {}
    }
}
