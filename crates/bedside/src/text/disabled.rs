//! What stands for the text encoder in builds without it.

use bedside_engine::Session;

use crate::error::{Error, ErrorKind};

/// There is none.
pub(crate) enum TextEncoder {}

impl TextEncoder {
    pub(crate) fn available() -> Result<(), Error> {
        Err(unavailable())
    }

    pub(crate) fn new(
        _: impl FnOnce() -> Result<Vec<u8>, Error>,
        _: impl FnOnce() -> Result<Box<dyn Session>, Error>,
        _: usize,
    ) -> Result<Self, Error> {
        Err(unavailable())
    }

    pub(crate) fn encode(&mut self, _: &str) -> Result<Vec<f32>, Error> {
        match *self {}
    }
}

fn unavailable() -> Error {
    Error::new(
        ErrorKind::Prompt,
        "this build reads no prompts outside the table; hint: build with the feature `text`",
    )
}
