//! What a session and a model in a process of its own say to each other.
//!
//! Each message is two lengths (u32, little-endian), a [`postcard`] value of the first length, and
//! bytes of the second: the pixels of a frame, or of masks with eight to a byte. The reader says
//! how much it takes of both before it makes room for them.

use std::io::{self, Read, Write};
use std::ops::Range;

use bedside::{Finding, Mask, PixelFormat, Prompt, YuvSpace};
use bedside_core::text::one_line;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;

/// Most bytes of a value that go with each prompt: its words, or what was found.
const PER_PROMPT: usize = 4 << 10;
/// Most bytes of a value besides these: a question, or an error's text.
const BASE: usize = 64 << 10;
/// Longest prompt, in bytes.
pub(super) const WORDS: usize = 2 << 10;
/// Longest line of text, in bytes as they come.
pub(super) const LINE: usize = 400;

/// What the session asks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Answer these from here on, at this side of the input.
    Prompts(Vec<Prompt>, Option<u32>),
    /// Find the prompts at these places in the frame whose bytes follow.
    Segment(Picture, Range<usize>),
}

/// A frame without its bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Picture {
    pub width: u32,
    pub height: u32,
    pub format: PixelFormat,
    pub yuv_space: YuvSpace,
    /// Nanoseconds on the session's clock.
    pub captured: u64,
}

/// What the model says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// Loaded, or ready for the prompts.
    Done,
    /// The findings; the masks of those that are present follow, in order.
    Found(Vec<Finding>),
    /// Why not.
    Failed(ErrorKind, String),
}

/// A question with its number, and an answer with that of its question.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Numbered<T> {
    pub number: u64,
    pub what: T,
}

/// How much of a message is taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    value: usize,
    bytes: usize,
}

impl Limit {
    /// For so many prompts, and so many bytes behind the value.
    pub(super) fn new(prompts: usize, bytes: usize) -> Self {
        let value = BASE.saturating_add(prompts.saturating_mul(PER_PROMPT));
        Self { value, bytes }
    }
}

/// Send a value and the bytes that go with it.
pub(super) fn send(to: &mut impl Write, value: &impl Serialize, bytes: &[u8]) -> io::Result<()> {
    let value = postcard::to_stdvec(value).map_err(io::Error::other)?;
    let length = |part: &[u8]| u32::try_from(part.len()).map_err(|_| invalid("too long"));
    let mut head = Vec::with_capacity(8 + value.len());
    head.extend(length(&value)?.to_le_bytes());
    head.extend(length(bytes)?.to_le_bytes());
    head.extend(value);
    to.write_all(&head)?;
    to.write_all(bytes)
}

/// Receive a value, and into `bytes` what goes with it.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] when the other side has gone, [`io::ErrorKind::InvalidData`]
/// for a message that is longer than the limit or no such value.
pub(super) fn receive<T: DeserializeOwned>(
    from: &mut impl Read,
    limit: Limit,
    bytes: &mut Vec<u8>,
) -> io::Result<T> {
    let mut lengths = [[0; 4]; 2];
    from.read_exact(lengths.as_flattened_mut())?;
    let [value, behind] = lengths.map(|length| u32::from_le_bytes(length) as usize);
    if value > limit.value || behind > limit.bytes {
        return Err(invalid("a message that is too long"));
    }
    read(from, value, bytes)?;
    let value = postcard::from_bytes(bytes).map_err(|_| invalid("a message that is broken"))?;
    read(from, behind, bytes)?;
    Ok(value)
}

/// Read so many bytes, making room for no more than come.
fn read(from: &mut impl Read, length: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.clear();
    let read = from.take(length as u64).read_to_end(bytes)?;
    match read == length {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// What another process said, as one line that changes no terminal.
pub(super) fn line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text.get(..LINE).unwrap_or(text));
    one_line(&text)
}

pub(super) fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Bytes of a packed mask.
pub(super) fn packed_len(width: u32, height: u32) -> usize {
    (width as usize * height as usize).div_ceil(8)
}

/// Append a mask's pixels, the first in the lowest bit.
pub(super) fn pack(mask: &Mask, to: &mut Vec<u8>) {
    /// Moves the lowest bit of byte `i` to bit `i` of the highest byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let pack = |eight: [u8; 8]| (u64::from_le_bytes(eight).wrapping_mul(GATHER) >> 56) as u8;
    let (eights, rest) = mask.data().as_chunks::<8>();
    to.extend(eights.iter().map(|eight| pack(*eight)));
    if !rest.is_empty() {
        let mut last = [0; 8];
        last.iter_mut()
            .zip(rest)
            .for_each(|(to, pixel)| *to = *pixel);
        to.push(pack(last));
    }
}

/// The mask that was packed; `None` for another number of bytes.
pub(super) fn unpack(width: u32, height: u32, packed: &[u8]) -> Option<Mask> {
    if packed.len() != packed_len(width, height) {
        return None;
    }
    let pixels = width as usize * height as usize;
    let mut data = Vec::with_capacity(packed.len() * 8);
    for byte in packed {
        data.extend_from_slice(&spread(*byte).to_le_bytes());
    }
    data.truncate(pixels);
    Mask::from_bytes(width, height, data)
}

/// Eight bytes of 0 or 1, the lowest bit first.
fn spread(byte: u8) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Bit `i` alone in byte `i`, and then whether there is any.
    let bits = u64::from(byte).wrapping_mul(ONES) & 0x8040_2010_0804_0201;
    (bits + 0x7f * ONES) >> 7 & ONES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit() -> Limit {
        Limit::new(1, 100)
    }

    proptest! {
        #[test]
        fn masks_come_back_as_they_went(
            (width, data) in (1_usize..40, 1_usize..20).prop_flat_map(|(width, height)| {
                (Just(width), prop::collection::vec(0_u8..2, width * height))
            }),
        ) {
            let (width, height) = (width as u32, (data.len() / width) as u32);
            let mask = Mask::from_bytes(width, height, data).unwrap();
            let mut packed = Vec::new();
            pack(&mask, &mut packed);
            prop_assert_eq!(packed.len(), packed_len(width, height));
            prop_assert_eq!(unpack(width, height, &packed), Some(mask));
            packed.push(0);
            prop_assert_eq!(unpack(width, height, &packed), None);
        }

        #[test]
        fn any_bytes_give_an_answer_and_take_no_room_for_what_does_not_come(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut room = Vec::new();
            let _ = receive::<Numbered<Answer>>(&mut bytes.as_slice(), limit(), &mut room);
            let _ = receive::<Numbered<Ask>>(&mut bytes.as_slice(), limit(), &mut room);
            prop_assert!(room.capacity() <= 1 << 10, "{}", room.capacity());
        }
    }

    #[test]
    fn messages_come_back_as_they_went_and_long_ones_are_refused() {
        let mut sent = Vec::new();
        let what = Answer::Failed(ErrorKind::Prompt, "no such words".to_owned());
        send(&mut sent, &Numbered { number: 7, what }, &[1, 2, 3]).unwrap();
        let mut bytes = Vec::new();
        let got: Numbered<Answer> = receive(&mut sent.as_slice(), limit(), &mut bytes).unwrap();
        assert_eq!((got.number, bytes.as_slice()), (7, &[1, 2, 3][..]));
        assert!(
            matches!(got.what, Answer::Failed(ErrorKind::Prompt, text) if text == "no such words")
        );
        for length in 0..sent.len() {
            let cut = receive::<Numbered<Answer>>(&mut &sent[..length], limit(), &mut bytes);
            assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
        let few = Limit::new(1, 2);
        let long = receive::<Numbered<Answer>>(&mut sent.as_slice(), few, &mut bytes);
        assert_eq!(long.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let claims = [u32::MAX.to_le_bytes(), [0; 4]].concat();
        let long = receive::<Numbered<Answer>>(&mut claims.as_slice(), limit(), &mut bytes);
        assert_eq!(long.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
