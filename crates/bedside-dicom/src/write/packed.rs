//! Frames of masks and probabilities in little memory: what a cine of thousands of frames has of them
//! is kept until the last is known.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use super::error::ObjectError;

/// The bytes of a frame, deflated: of a mask mostly runs of zeros and of ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packed {
    len: usize,
    deflated: Box<[u8]>,
}

impl Packed {
    pub(super) fn of(bytes: &[u8]) -> Result<Self, ObjectError> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        let deflated = encoder.write_all(bytes).and_then(|()| encoder.finish());
        let deflated = deflated.map_err(|e| ObjectError::Library(e.to_string()))?;
        Ok(Self {
            len: bytes.len(),
            deflated: deflated.into(),
        })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len);
        let read = DeflateDecoder::new(&*self.deflated).read_to_end(&mut bytes);
        debug_assert!(read.is_ok(), "what was deflated here");
        bytes
    }
}
