//! What all messages have: a header, from version 2 on an extended header and metadata around the
//! content, and a checksum. All numbers are big-endian.

use crc::{CRC_64_ECMA_182, Crc, Table};

use crate::error::Error;

/// Bytes of a header.
pub const HEADER_LEN: usize = 58;
/// Bytes of the extended header that we write; others may have more.
const EXTENDED_LEN: usize = 12;
/// Character sets, as IANA numbers them.
const ASCII: u16 = 3;
const UTF_8: u16 = 106;

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_ECMA_182);

/// A text of fixed length, filled up with zeros: a message's type or the name of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<const N: usize>([u8; N]);

impl<const N: usize> Name<N> {
    /// The text, cut to `N` bytes.
    pub const fn new(text: &str) -> Self {
        let mut bytes = [0; N];
        let (mut from, mut to): (&[u8], &mut [u8]) = (text.as_bytes(), &mut bytes);
        while let ([first, rest @ ..], [place, places @ ..]) = (from, to) {
            *place = *first;
            (from, to) = (rest, places);
        }
        Self(bytes)
    }

    /// Whether this is the text, in capitals or not.
    pub fn is(&self, text: &str) -> bool {
        self.0.eq_ignore_ascii_case(&Self::new(text).0)
    }

    /// As it is read: what follows the first zero does not count.
    fn read(mut bytes: [u8; N]) -> Self {
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(N);
        bytes.iter_mut().skip(end).for_each(|b| *b = 0);
        Self(bytes)
    }
}

/// Type of a message.
pub type Kind = Name<12>;
/// Name of a device.
pub type Device = Name<20>;

/// A picture or a label map.
pub const IMAGE: Kind = Kind::new("IMAGE");
/// A text.
pub const STRING: Kind = Kind::new("STRING");
/// How a device is.
pub const STATUS: Kind = Kind::new("STATUS");

/// The header of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// 1, or 2 where the body has an extended header and metadata.
    pub version: u16,
    /// Type of the message.
    pub kind: Kind,
    /// Whom it is from or of.
    pub device: Device,
    /// Seconds since 1970 (UTC), in units of 2^-32 s.
    pub timestamp: u64,
    /// Bytes of the body.
    pub body_len: u64,
    /// CRC-64 (ECMA-182) of the body.
    pub crc: u64,
}

impl Header {
    /// The header in its bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](crate::ErrorKind::Lost) when its version is neither 1 nor 2: nothing tells
    /// where the next message begins.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, Error> {
        let mut fields = Fields(bytes);
        let header = (|| {
            Some(Self {
                version: fields.u16()?,
                kind: Kind::read(fields.array()?),
                device: Device::read(fields.array()?),
                timestamp: fields.u64()?,
                body_len: fields.u64()?,
                crc: fields.u64()?,
            })
        })();
        match header {
            Some(header) if matches!(header.version, 1 | 2) => Ok(header),
            _ => Err(Error::lost(
                "what came is no header of version 1 or 2; hint: see that the peer speaks OpenIGTLink",
            )),
        }
    }

    /// The bytes that [`parse`](Self::parse) reads.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let fields: [&[u8]; 6] = [
            &self.version.to_be_bytes(),
            &self.kind.0,
            &self.device.0,
            &self.timestamp.to_be_bytes(),
            &self.body_len.to_be_bytes(),
            &self.crc.to_be_bytes(),
        ];
        let all = fields.into_iter().flatten();
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// A message's content, out of its body.
    ///
    /// # Errors
    /// [`ErrorKind::Message`](crate::ErrorKind::Message) when the body is not the one that the
    /// checksum is of, or has no room for what its extended header tells of.
    pub fn content<'a>(&self, body: &'a [u8]) -> Result<&'a [u8], Error> {
        if body.len() as u64 != self.body_len || CRC.checksum(body) != self.crc {
            return Err(Error::message(
                "a message came damaged: its checksum (CRC-64) is another one",
            ));
        }
        if self.version == 1 {
            return Ok(body);
        }
        let mut fields = Fields(body);
        let content = (|| {
            let extended = usize::from(fields.u16()?);
            let metadata_header = usize::from(fields.u16()?);
            let metadata = usize::try_from(fields.u32()?).ok()?;
            let end = body.len().checked_sub(metadata_header)?;
            let end = end.checked_sub(metadata)?;
            body.get(extended.max(EXTENDED_LEN)..end)
        })();
        content.ok_or_else(|| Error::message("a message is shorter than its extended header says"))
    }
}

/// What stands around a content that is written.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// Version of the header: 1, or 2, which has metadata.
    pub version: u16,
    /// Name of the device, of which 20 bytes are kept.
    pub device: &'a str,
    /// Seconds since 1970 (UTC), in units of 2^-32 s.
    pub timestamp: u64,
    /// Keys and values, few and short; left out in version 1.
    pub metadata: &'a [(&'a str, &'a str)],
}

/// Append a message to `out`.
pub(crate) fn write(
    out: &mut Vec<u8>,
    kind: Kind,
    envelope: &Envelope<'_>,
    content: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    if envelope.version == 1 {
        content(out);
    } else {
        let (mut index, mut texts) = (Vec::new(), Vec::new());
        index.extend_from_slice(&(envelope.metadata.len() as u16).to_be_bytes());
        for (key, value) in envelope.metadata {
            let set = if value.is_ascii() { ASCII } else { UTF_8 };
            index.extend_from_slice(&(key.len() as u16).to_be_bytes());
            index.extend_from_slice(&set.to_be_bytes());
            index.extend_from_slice(&(value.len() as u32).to_be_bytes());
            texts.extend_from_slice(key.as_bytes());
            texts.extend_from_slice(value.as_bytes());
        }
        out.extend_from_slice(&(EXTENDED_LEN as u16).to_be_bytes());
        out.extend_from_slice(&(index.len() as u16).to_be_bytes());
        out.extend_from_slice(&(texts.len() as u32).to_be_bytes());
        // No number of its own, by which an answer could ask for it.
        out.extend_from_slice(&0_u32.to_be_bytes());
        content(out);
        out.append(&mut index);
        out.append(&mut texts);
    }
    let message = out.get_mut(start..).unwrap_or_default();
    if let Some((head, body)) = message.split_first_chunk_mut() {
        let header = Header {
            version: envelope.version,
            kind,
            device: Device::new(envelope.device),
            timestamp: envelope.timestamp,
            body_len: body.len() as u64,
            crc: CRC.checksum(body),
        };
        *head = header.to_bytes();
    }
}

/// The text of a STRING message, out of its content.
///
/// # Errors
/// [`ErrorKind::Message`](crate::ErrorKind::Message) when it is cut short, or in another character
/// set than ASCII and UTF-8.
pub fn text(content: &[u8]) -> Result<&str, Error> {
    let mut fields = Fields(content);
    let (set, length) = fields
        .u16()
        .zip(fields.u16())
        .ok_or_else(|| Error::message("a STRING is shorter than its header"))?;
    if !matches!(set, ASCII | UTF_8) {
        return Err(Error::message(format!(
            "a STRING is in character set {set}; hint: send ASCII (3) or UTF-8 (106)"
        )));
    }
    let bytes = fields.0.get(..usize::from(length));
    let bytes = bytes.ok_or_else(|| Error::message("a STRING is shorter than it says"))?;
    let text = std::str::from_utf8(bytes);
    text.map_err(|_| Error::message("a STRING is not in the character set that it names"))
}

/// Codes of a [`Status`], as the protocol numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Code {
    /// All is well.
    Ok = 1,
    /// What should come does not.
    Timeout = 7,
    /// What was asked for is refused.
    Configuration = 10,
    /// Not yet, or not now.
    NotReady = 13,
    /// A person stopped it.
    Manual = 14,
    /// Something broke.
    Failure = 18,
}

/// The content of a STATUS message.
#[derive(Debug, Clone, Copy)]
pub struct Status<'a> {
    /// How it is.
    pub code: Code,
    /// What the code's sender wants to say beside it.
    pub subcode: i64,
    /// One or two words, of which 20 bytes are kept.
    pub name: &'a str,
    /// For people and programs.
    pub text: &'a str,
}

impl Status<'_> {
    /// Append the message to `out`.
    pub fn write(&self, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
        write(out, STATUS, envelope, |body| {
            body.extend_from_slice(&(self.code as u16).to_be_bytes());
            body.extend_from_slice(&self.subcode.to_be_bytes());
            body.extend_from_slice(&Device::new(self.name).0);
            body.extend_from_slice(self.text.as_bytes());
            body.push(0);
        });
    }
}

/// Numbers one behind the other.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}
