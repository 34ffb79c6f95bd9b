//! How a record lies in the file, and finding records among damage.

use std::io::{self, Read};

use bedside::BoundingBox;
use serde::Deserialize;

use crate::record::{FrameRecord, MaskRecord, Name, Record};

/// First byte of a payload.
pub(super) const SESSION: u8 = 0;
pub(super) const PROMPTS: u8 = 1;
const FRAME_1: u8 = 2;
const FRAME: u8 = 4;

/// Opens every record. No UTF-8 text holds its first or its last byte.
const MARK: [u8; 4] = [0xFF, 0xB5, 0x1D, 0xFE];
/// Mark, length and CRC-32.
pub(super) const HEAD: usize = 12;
/// Longest payload. A length beyond it is damage, so a reader needs no more memory than this.
pub(super) const MAX_PAYLOAD: usize = 256 * 1024;
/// Bytes asked of the system at once.
const CHUNK: usize = 64 * 1024;
/// Bytes that may be summed in vain for each byte of the file, beyond a few of the longest records.
/// Damage by chance hardly ever shows a mark; a file of forged ones would have each of its bytes
/// summed twenty thousand times.
const VAIN_PER_BYTE: u64 = 4;
const VAIN: u64 = 16 * MAX_PAYLOAD as u64;

/// Append a record's payload to what `buffer` holds.
pub(crate) fn encode(record: &Record, buffer: &mut Vec<u8>) -> postcard::Result<()> {
    match record {
        Record::Frame(frame) => encode_frame(frame, buffer),
        // The place among the variants is the first byte.
        other => {
            *buffer = postcard::to_extend(other, std::mem::take(buffer))?;
            Ok(())
        }
    }
}

/// The same for [`Record::Frame`], whose parts the caller keeps.
pub(crate) fn encode_frame(frame: &FrameRecord, buffer: &mut Vec<u8>) -> postcard::Result<()> {
    buffer.push(FRAME);
    *buffer = postcard::to_extend(frame, std::mem::take(buffer))?;
    Ok(())
}

/// The record of a payload; `None` where the bytes are none, or there are more of them.
pub(crate) fn decode(payload: &[u8]) -> Option<Record> {
    match payload.split_first()? {
        (&FRAME, fields) => whole(fields).map(Record::Frame),
        (&FRAME_1, fields) => {
            let frame: Frame1 = whole(fields)?;
            Some(Record::Frame(frame.into()))
        }
        _ => whole(payload),
    }
}

fn whole<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}

/// A frame as version 1 of the format has it.
#[derive(Deserialize)]
struct Frame1 {
    frame: u64,
    captured_ns: u64,
    delay_us: u64,
    state: Name,
    reason: Name,
    masks: Vec<Mask1>,
    absent: Vec<Name>,
}

#[derive(Deserialize)]
struct Mask1 {
    prompt: Name,
    made_for: u64,
    age_us: u64,
    confidence: f32,
    presence: f32,
    area: u64,
    bounding_box: Option<BoundingBox>,
}

impl From<Frame1> for FrameRecord {
    fn from(old: Frame1) -> Self {
        Self {
            frame: old.frame,
            captured_ns: old.captured_ns,
            delay_us: old.delay_us,
            state: old.state,
            reason: old.reason,
            masks: old.masks.into_iter().map(MaskRecord::from).collect(),
            absent: old.absent,
            uncertain: Vec::new(),
            unanswered: Vec::new(),
            repeated: false,
        }
    }
}

impl From<Mask1> for MaskRecord {
    fn from(old: Mask1) -> Self {
        Self {
            prompt: old.prompt,
            made_for: old.made_for,
            age_us: old.age_us,
            confidence: old.confidence,
            presence: old.presence,
            area: old.area,
            bounding_box: old.bounding_box,
            validity: None,
        }
    }
}

/// Fill `buffer` with a payload as it lies in the file; `None` for one that is too long.
pub(super) fn enclose(payload: &[u8], buffer: &mut Vec<u8>) -> Option<()> {
    let length = u32::try_from(payload.len()).ok()?;
    if payload.len() > MAX_PAYLOAD {
        return None;
    }
    buffer.clear();
    buffer.extend_from_slice(&MARK);
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&checksum(length, payload).to_le_bytes());
    buffer.extend_from_slice(payload);
    Some(())
}

/// The length is covered too: a flipped one must not pass for another record's.
fn checksum(length: u32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// A stretch of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// One whole record.
    Whole { at: u64, payload: &'a [u8] },
    /// Bytes that are no record, with a whole one behind them.
    Damage { at: u64, bytes: u64 },
    /// Bytes that are no record, up to the end.
    Tail { at: u64, bytes: u64 },
}

/// Walks through a file piece by piece, in bounded memory.
#[derive(Debug)]
pub(super) struct Pieces<R> {
    input: R,
    /// What was read and is not yet passed, from `start` on.
    window: Vec<u8>,
    start: usize,
    /// Place of `start` in the file.
    at: u64,
    /// Bytes summed for marks that open no record.
    vain: u64,
}

impl<R: Read> Pieces<R> {
    /// `at` is the place of the input's next byte in the file.
    pub(super) fn new(input: R, at: u64) -> Self {
        Self {
            input,
            window: Vec::new(),
            start: 0,
            at,
            vain: 0,
        }
    }

    /// The next piece; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Piece<'_>>> {
        let at = self.at;
        loop {
            if let Some(size) = self.whole()? {
                if self.at > at {
                    // The record behind the damage is the next piece.
                    let bytes = self.at - at;
                    return Ok(Some(Piece::Damage { at, bytes }));
                }
                let from = self.start + HEAD;
                self.pass(size);
                let payload = self.window.get(from..self.start).unwrap_or_default();
                return Ok(Some(Piece::Whole { at, payload }));
            }
            if !self.seek()? {
                let bytes = self.at - at;
                return Ok((bytes > 0).then_some(Piece::Tail { at, bytes }));
            }
        }
    }

    /// Size of the record that begins here, if one does and it is sound.
    fn whole(&mut self) -> io::Result<Option<usize>> {
        self.fill(HEAD)?;
        let Some([m0, m1, m2, m3, l0, l1, l2, l3, c0, c1, c2, c3]) = self.rest().first_chunk()
        else {
            return Ok(None);
        };
        let (mark, sum) = ([*m0, *m1, *m2, *m3], [*c0, *c1, *c2, *c3]);
        let length = u32::from_le_bytes([*l0, *l1, *l2, *l3]);
        let payload = length as usize;
        let most = VAIN + VAIN_PER_BYTE * self.at;
        if mark != MARK || payload > MAX_PAYLOAD || self.vain + u64::from(length) > most {
            return Ok(None);
        }
        self.fill(HEAD + payload)?;
        let Some(payload) = self.rest().get(HEAD..HEAD + payload) else {
            return Ok(None);
        };
        if checksum(length, payload) == u32::from_le_bytes(sum) {
            return Ok(Some(HEAD + payload.len()));
        }
        self.vain += u64::from(length);
        Ok(None)
    }

    /// Go on to the next byte that may open a record; false at the end.
    fn seek(&mut self) -> io::Result<bool> {
        self.pass(self.rest().len().min(1));
        loop {
            let open = self.rest().iter().position(|b| *b == MARK[0]);
            self.pass(open.unwrap_or(self.rest().len()));
            if open.is_some() {
                return Ok(true);
            }
            self.fill(1)?;
            if self.rest().is_empty() {
                return Ok(false);
            }
        }
    }

    fn rest(&self) -> &[u8] {
        self.window.get(self.start..).unwrap_or_default()
    }

    fn pass(&mut self, bytes: usize) {
        self.start += bytes;
        self.at += bytes as u64;
    }

    /// Read until the rest has this many bytes, or the file ends.
    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        let missing = bytes.saturating_sub(self.rest().len());
        if missing > 0 {
            self.window.drain(..self.start);
            self.start = 0;
            let most = missing.max(CHUNK) as u64;
            (&mut self.input).take(most).read_to_end(&mut self.window)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(file: &[u8]) -> Vec<(u64, Result<Vec<u8>, u64>)> {
        let mut pieces = Pieces::new(file, 0);
        let mut found = Vec::new();
        while let Some(piece) = pieces.next().unwrap() {
            found.push(match piece {
                Piece::Whole { at, payload } => (at, Ok(payload.to_vec())),
                Piece::Damage { at, bytes } | Piece::Tail { at, bytes } => (at, Err(bytes)),
            });
        }
        found
    }

    fn enclosed(payload: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::new();
        enclose(payload, &mut buffer).unwrap();
        buffer
    }

    #[test]
    fn a_record_lies_as_the_format_says() {
        // CRC-32 of 03 00 00 00 'a' 'b' 'c', from Python's zlib.crc32.
        let expected = b"\xFF\xB5\x1D\xFE\x03\0\0\0\x33\x5D\xE1\x66abc";
        assert_eq!(enclosed(b"abc"), expected);
    }

    #[test]
    fn records_around_damage_are_found() {
        let (a, b) = (enclosed(b"one"), enclosed(&vec![7; 3 * CHUNK]));
        let garbage = [&[0xFF; 9][..], &MARK, &[1, 0, 0, 0]].concat();
        let file = [&a[..], &garbage, &b, &a, &a[..14]].concat();
        let (begin, middle) = (a.len() as u64, garbage.len() as u64);
        let after = begin + middle + b.len() as u64;
        assert_eq!(
            pieces(&file),
            [
                (0, Ok(b"one".to_vec())),
                (begin, Err(middle)),
                (begin + middle, Ok(vec![7; 3 * CHUNK])),
                (after, Ok(b"one".to_vec())),
                (after + begin, Err(14)),
            ]
        );
    }

    #[test]
    fn a_record_that_runs_into_the_next_hides_none() {
        let mut long = enclosed(b"one");
        long[4] = 200;
        let file = [&long[..], &enclosed(b"two"), &enclosed(&[0; 400])].concat();
        let size = long.len() as u64;
        assert_eq!(
            pieces(&file)[..2],
            [(0, Err(size)), (size, Ok(b"two".to_vec()))]
        );
    }

    #[test]
    fn a_frame_is_encoded_as_its_record() {
        let frame = FrameRecord {
            frame: 300,
            state: "active".into(),
            ..FrameRecord::default()
        };
        let (mut alone, mut record) = (vec![1], vec![1]);
        encode_frame(&frame, &mut alone).unwrap();
        encode(&Record::Frame(frame), &mut record).unwrap();
        assert_eq!(alone, record);
    }

    #[test]
    fn forged_marks_cost_no_more_than_their_file() {
        let forged = [&MARK[..], &(MAX_PAYLOAD as u32).to_le_bytes(), &[0; 4]].concat();
        let garbage = forged.repeat(6 * MAX_PAYLOAD / HEAD);
        let file = [&garbage, &enclosed(b"behind")[..]].concat();
        let mut reader = Pieces::new(&file[..], 0);
        let bytes = garbage.len() as u64;
        assert_eq!(
            reader.next().unwrap(),
            Some(Piece::Damage { at: 0, bytes }),
            "a short record behind is found"
        );
        let most = VAIN + VAIN_PER_BYTE * file.len() as u64;
        assert!((bytes..=most).contains(&reader.vain), "{}", reader.vain);
    }

    #[test]
    fn payloads_are_bounded() {
        let mut buffer = Vec::new();
        assert!(enclose(&vec![0; MAX_PAYLOAD], &mut buffer).is_some());
        assert_eq!(pieces(&buffer).len(), 1);
        assert!(enclose(&vec![0; MAX_PAYLOAD + 1], &mut buffer).is_none());
    }
}
