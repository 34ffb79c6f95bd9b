//! Messages out of a stream of bytes, however these are cut.

use std::io::{self, Read};

use crate::error::Error;
use crate::image::Picture;
use crate::message::{HEADER_LEN, Header, IMAGE, STRING};

/// Room for extended header and metadata, beside the content.
const ROOM_BESIDE: usize = 64 << 10;
/// Most bytes of a STRING's content: its length has 16 bits.
const MOST_TEXT: usize = 4 + 65_535;
/// Longest body of another message that is passed over; what says more is no message.
const LONGEST: u64 = 1 << 30;
/// Room is made for so many bytes at first, and doubled when they have come.
const FIRST_ROOM: usize = 64 << 10;

/// Messages as they come. Room is made for bytes that have come, not for those that a header
/// promises, at most 28 MiB in all, and is used again.
#[derive(Debug)]
pub struct Inbox {
    head: [u8; HEADER_LEN],
    /// Bytes of the head, and then of the body, that have come.
    head_filled: usize,
    body_filled: usize,
    header: Option<Header>,
    room: Vec<u8>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            head: [0; HEADER_LEN],
            head_filled: 0,
            body_filled: 0,
            header: None,
            room: Vec::new(),
        }
    }
}

impl Inbox {
    /// Whether a message has begun and not ended.
    pub fn is_within(&self) -> bool {
        self.head_filled > 0
    }

    /// The next message: its header, and its content where it is an IMAGE or a STRING, else nothing.
    /// `None` when the stream ends.
    ///
    /// # Errors
    /// Of kind [`Silent`](crate::ErrorKind::Silent) when reading ends with a timeout: another call
    /// goes on where this one was. [`Message`](crate::ErrorKind::Message) when a message is damaged or
    /// too large; it is passed over. [`Lost`](crate::ErrorKind::Lost) when what came is no header, or
    /// reading fails.
    pub fn receive(&mut self, from: &mut impl Read) -> Result<Option<(Header, &[u8])>, Error> {
        let header = match self.header {
            Some(header) => header,
            None => {
                while let Some(rest @ [_, ..]) = self.head.get_mut(self.head_filled..) {
                    match read(from, rest)? {
                        0 => return Ok(None),
                        n => self.head_filled += n,
                    }
                }
                let header = Header::parse(&self.head)?;
                if header.body_len > LONGEST {
                    return Err(Error::lost(format!(
                        "a message says that it has {} bytes; hint: see that the peer speaks \
                         OpenIGTLink",
                        header.body_len
                    )));
                }
                *self.header.insert(header)
            }
        };
        let most = match header.kind {
            IMAGE => Picture::MOST + ROOM_BESIDE,
            STRING => MOST_TEXT + ROOM_BESIDE,
            _ => 0,
        };
        let length = usize::try_from(header.body_len).unwrap_or(usize::MAX);
        let kept = length <= most;
        while self.body_filled < length {
            // What is not kept overwrites itself.
            let at = if kept { self.body_filled } else { 0 };
            if at == self.room.len() {
                let room = at.saturating_mul(2).max(FIRST_ROOM).min(length);
                self.room.resize(room, 0);
            }
            let end = self.room.len().min(at + length - self.body_filled);
            match read(from, self.room.get_mut(at..end).unwrap_or_default())? {
                0 => return Ok(None),
                n => self.body_filled += n,
            }
        }
        (self.head_filled, self.body_filled, self.header) = (0, 0, None);
        if most == 0 {
            return Ok(Some((header, &[])));
        }
        if !kept {
            return Err(Error::message(format!(
                "a message of {length} bytes was passed over; hint: at most {most} are taken"
            )));
        }
        let body = self.room.get(..length).unwrap_or_default();
        header.content(body).map(|content| Some((header, content)))
    }
}

fn read(from: &mut impl Read, place: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(place) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
