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

    /// A frame that does not come back whole is an error: a short one would be a wrong mask.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, ObjectError> {
        let mut bytes = Vec::with_capacity(self.len);
        let inflated = DeflateDecoder::new(&*self.deflated).read_to_end(&mut bytes);
        match inflated {
            Ok(len) if len == self.len => Ok(bytes),
            _ => Err(ObjectError::Library(
                "a mask that was kept deflated can't be inflated; hint: run it again".to_owned(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_whole_or_not_at_all() {
        let frame: Vec<u8> = (0..999_u32).map(|i| (i * i % 251) as u8).collect();
        let whole = Packed::of(&frame).unwrap();
        assert_eq!(whole.bytes(), Ok(frame));
        for len in 0..whole.deflated.len() {
            let cut = Packed {
                deflated: whole.deflated.get(..len).unwrap().into(),
                ..whole.clone()
            };
            assert!(cut.bytes().is_err(), "{len}");
        }
        let mut changed = whole.clone();
        changed.deflated = [6, 0, 0].into();
        assert!(changed.bytes().is_err());
        changed = whole.clone();
        changed.len += 1;
        assert!(changed.bytes().is_err());
    }
}
