//! Reads a result log again.

use std::fs::File;
use std::path::Path;

use super::frame::{HEAD, Piece, Pieces, decode};
use super::{damaged, read_header, unreadable};
use crate::error::Error;
use crate::record::Record;

/// The records of a result log, in order.
///
/// Damage between records is an error in its place, and reading goes on behind it. Bytes at the
/// end that are no whole record are what a kill leaves, or a record that is just being written:
/// they end the reading, and [`torn`](Self::torn) counts them.
#[derive(Debug)]
pub struct Reader {
    pieces: Pieces<File>,
    torn: u64,
    ended: bool,
}

impl Reader {
    /// Open a log; one that is being written may be read, too.
    ///
    /// # Errors
    /// A file that can't be read, is no result log, or is of a later version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let mut file = File::open(path).map_err(unreadable)?;
        let header = read_header(&mut file)?;
        Ok(Self {
            pieces: Pieces::new(file, header.length),
            torn: 0,
            ended: false,
        })
    }

    /// Bytes at the end that are no whole record, known once the records are read.
    pub fn torn(&self) -> u64 {
        self.torn
    }
}

impl Iterator for Reader {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.pieces.next() {
            Ok(Some(Piece::Whole { at, payload })) => {
                let bytes = (HEAD + payload.len()) as u64;
                Some(decode(payload).ok_or_else(|| damaged(at, bytes)))
            }
            Ok(Some(Piece::Damage { at, bytes })) => Some(Err(damaged(at, bytes))),
            Ok(Some(Piece::Tail { bytes, .. })) => {
                (self.torn, self.ended) = (bytes, true);
                None
            }
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(cause) => {
                self.ended = true;
                Some(Err(unreadable(cause)))
            }
        }
    }
}
