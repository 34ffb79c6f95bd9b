//! What stands where in a file: the header as an object, and the place of each frame's bytes.
//!
//! The header is walked once token by token before an object is built of it, so that lengths that
//! lie and sequences without end are found before they cost memory or stack. Pixel data stays in
//! the file until a frame is asked for.

use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::ops::Range;

use dicom_core::{Length, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{DefaultDicomObject, FileMetaTable, InMemDicomObject};
use dicom_parser::dataset::LazyDataToken;
use dicom_parser::dataset::lazy_read::LazyDataSetReader;
use dicom_parser::stateful::decode::StatefulDecode;
use dicom_transfer_syntax_registry::{TransferSyntaxIndex, TransferSyntaxRegistry};
use flate2::read::DeflateDecoder;

use super::{Error, ErrorKind};

/// Where a file's bytes come from.
pub(crate) trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

/// Most bytes of a header, private elements of scanners included.
const MAX_HEADER: u64 = 128 << 20;
/// Most elements of a header.
const MAX_ELEMENTS: u32 = 500_000;
/// Deepest nesting of sequences; those of the standard have less than ten.
const MAX_DEPTH: u32 = 32;
/// Most bytes of the group that tells the transfer syntax.
const MAX_META: u32 = 64 << 10;
/// Most bytes of a deflated dataset once inflated.
const MAX_INFLATED: u64 = 128 << 20;
/// Most bytes of one encoded frame.
const MAX_ENCODED: u64 = 256 << 20;
/// Most pieces of encoded pixel data.
const MAX_FRAGMENTS: usize = 1 << 20;

/// Explicit VR Big Endian, retired, but still found.
pub(crate) const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

/// Preamble and "DICM".
const START: usize = 132;
const NOT_DICOM: &str = "is no DICOM file; hint: DICOM files begin with 128 bytes and 'DICM'; what \
    lacks them can be given them (for example by `dcmconv`)";

/// An opened file.
pub(crate) struct File {
    pub(crate) header: DefaultDicomObject,
    pub(crate) source: Box<dyn Source>,
    pub(crate) data: PixelData,
}

/// Where pixel data lies.
pub(crate) enum PixelData {
    /// All frames one after another.
    Native(Native),
    /// Frames in pieces, each a place in the file and a length.
    Encapsulated {
        fragments: Vec<(u64, u32)>,
        /// Offsets of frames from the first piece; empty where the file does not tell.
        offsets: Vec<u64>,
    },
}

/// A stretch of uncompressed frames.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Native {
    pub(crate) start: u64,
    pub(crate) len: u64,
    /// Whether bytes are to be swapped in pairs: words of a big-endian file.
    pub(crate) big_endian: bool,
    /// Whether the data are words even where samples are bytes.
    pub(crate) words: bool,
}

/// Place of the pixel data's value, as the walk found it.
struct Found {
    value: u64,
    /// None: encapsulated.
    len: Option<u32>,
    words: bool,
}

impl File {
    pub(crate) fn open(mut source: Box<dyn Source>) -> Result<Self, Error> {
        let (meta, mut start) = read_meta(&mut source)?;
        let syntax = meta.transfer_syntax().to_owned();
        if syntax == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
            source.seek(SeekFrom::Start(start))?;
            source = Box::new(Cursor::new(inflate(source)?));
            start = 0;
        }
        let end = source.seek(SeekFrom::End(0))?;
        let encoding = match syntax.as_str() {
            uids::IMPLICIT_VR_LITTLE_ENDIAN | BIG_ENDIAN => syntax.as_str(),
            // All others write their header so.
            _ => uids::EXPLICIT_VR_LITTLE_ENDIAN,
        };
        let encoding = TransferSyntaxRegistry.get(encoding);
        let encoding = encoding.ok_or_else(|| Error::damaged("no encoding of its header"))?;

        source.seek(SeekFrom::Start(start))?;
        let reader = LazyDataSetReader::new_with_ts(BufReader::new(&mut source), encoding);
        let reader = reader.map_err(|_| Error::damaged("its header can't be read"))?;
        let found = walk(reader, start, end)?;

        // Tag, VR, two reserved bytes and length; without VR, tag and length alone.
        let head = if syntax == uids::IMPLICIT_VR_LITTLE_ENDIAN {
            8
        } else {
            12
        };
        let header_end = found.value.checked_sub(head).filter(|end| *end >= start);
        let header_end = header_end.ok_or_else(|| Error::damaged("its pixel data lies nowhere"))?;
        source.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        Read::take(&mut *source, header_end - start).read_to_end(&mut bytes)?;
        let header = InMemDicomObject::read_dataset_with_ts(&*bytes, encoding)
            .map_err(|_| Error::damaged("its header can't be read"))?;

        let data = match found.len {
            Some(len) if found.value.saturating_add(len.into()) > end => {
                return Err(Error::damaged("its pixel data is cut short"));
            }
            Some(len) => PixelData::Native(Native {
                start: found.value,
                len: len.into(),
                big_endian: syntax == BIG_ENDIAN,
                words: found.words,
            }),
            None => encapsulated(&mut source, found.value, end, &header)?,
        };
        Ok(Self {
            header: header.with_exact_meta(meta),
            source,
            data,
        })
    }

    /// Bytes at a place that the file was found to have.
    fn read(&mut self, at: u64, len: u64, into: &mut Vec<u8>) -> Result<(), Error> {
        self.source.seek(SeekFrom::Start(at))?;
        let before = into.len() as u64;
        Read::take(&mut self.source, len).read_to_end(into)?;
        if into.len() as u64 != before + len {
            return Err(Error::damaged("it is cut short"));
        }
        Ok(())
    }

    /// The bytes of frame `index` of uncompressed frames of `len` bytes, little-endian.
    pub(crate) fn native(
        &mut self,
        native: Native,
        index: u32,
        len: u64,
        words: bool,
    ) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let offset = u64::from(index).saturating_mul(len);
        if !(native.big_endian && (words || native.words)) {
            self.read(native.start.saturating_add(offset), len, &mut bytes)?;
            return Ok(bytes);
        }
        // Words may straddle two frames of bytes.
        let from = offset & !1;
        let to = offset.saturating_add(len).next_multiple_of(2);
        self.read(native.start.saturating_add(from), to - from, &mut bytes)?;
        for pair in bytes.as_chunks_mut::<2>().0 {
            pair.swap(0, 1);
        }
        bytes.drain(..usize::from(from != offset));
        bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        Ok(bytes)
    }

    /// The bytes of a frame in pieces.
    pub(crate) fn joined(&mut self, pieces: &[(u64, u32)]) -> Result<Vec<u8>, Error> {
        let len: u64 = pieces.iter().map(|piece| u64::from(piece.1)).sum();
        if len > MAX_ENCODED {
            return Err(Error::too_large(format_args!(
                "a frame of {len} bytes, encoded; at most {} MiB are read",
                MAX_ENCODED >> 20
            )));
        }
        let mut bytes = Vec::new();
        for (at, len) in pieces {
            self.read(*at, (*len).into(), &mut bytes)?;
        }
        Ok(bytes)
    }

    /// Which pieces each frame has.
    pub(crate) fn frames(&mut self, count: u32) -> Result<Vec<Range<usize>>, Error> {
        let (fragments, offsets) = match &self.data {
            PixelData::Native(_) => return Ok(Vec::new()),
            PixelData::Encapsulated { fragments, offsets } => (fragments.clone(), offsets),
        };
        let (pieces, count) = (fragments.len(), count as usize);
        if pieces < count {
            return Err(Error::damaged(format_args!(
                "its header tells of {count} frames, but there are {pieces}"
            )));
        }
        let starts: Vec<usize> = if count == 1 {
            vec![0]
        } else if pieces == count {
            (0..count).collect()
        } else if offsets.len() == count {
            let first = fragments.first().map_or(0, |piece| piece.0);
            let place = |offset: &u64| {
                let at = first.checked_add(*offset)?;
                fragments.binary_search_by_key(&at, |piece| piece.0).ok()
            };
            let starts: Option<Vec<_>> = offsets.iter().map(place).collect();
            starts.ok_or_else(|| Error::damaged("its table of frames points beside them"))?
        } else {
            self.starts_by_content(&fragments)?
        };
        let rising = starts.iter().zip(starts.iter().skip(1)).all(|(a, b)| a < b);
        if starts.len() != count || starts.first() != Some(&0) || !rising {
            return Err(Error::damaged(format_args!(
                "the pieces of its {count} frames can't be told apart"
            )));
        }
        let ends = starts.iter().skip(1).copied().chain([pieces]);
        Ok(starts
            .iter()
            .copied()
            .zip(ends)
            .map(|(a, b)| a..b)
            .collect())
    }

    /// Pieces that begin as JPEG and JPEG 2000 pictures do.
    fn starts_by_content(&mut self, fragments: &[(u64, u32)]) -> Result<Vec<usize>, Error> {
        let mut starts = Vec::new();
        for (index, (at, len)) in fragments.iter().enumerate() {
            let mut begin = Vec::new();
            self.read(*at, u64::from(*len).min(3), &mut begin)?;
            if matches!(*begin, [0xff, 0xd8, 0xff] | [0xff, 0x4f, 0xff]) {
                starts.push(index);
            }
        }
        Ok(starts)
    }
}

/// The group that tells the transfer syntax, and where the dataset behind it starts.
fn read_meta(source: &mut dyn Source) -> Result<(FileMetaTable, u64), Error> {
    let not_dicom = || Error::new(ErrorKind::NotDicom, NOT_DICOM);
    // Preamble, "DICM" and the element that tells the group's length.
    let mut start = Vec::new();
    Read::take(&mut *source, START as u64 + 12).read_to_end(&mut start)?;
    let Some(head) = start
        .get(START - 4..)
        .filter(|head| head.starts_with(b"DICM"))
    else {
        return Err(not_dicom());
    };
    let [.., a, b, c, d] = *head else {
        return Err(not_dicom());
    };
    if !matches!(head.get(4..12), Some([2, 0, 0, 0, b'U', b'L', 4, 0])) {
        return Err(Error::damaged(
            "the group that tells its transfer syntax has no length",
        ));
    }
    let len = u32::from_le_bytes([a, b, c, d]);
    if len > MAX_META {
        return Err(Error::damaged(format_args!(
            "{len} bytes to tell its transfer syntax"
        )));
    }
    let mut meta = head.to_vec();
    Read::take(&mut *source, len.into()).read_to_end(&mut meta)?;
    if meta.len() != head.len() + len as usize {
        return Err(Error::damaged("it is cut short"));
    }
    // The library makes room for a value before it sees whether it is there.
    let mut rest = meta.get(head.len()..).unwrap_or_default();
    while let [_, _, _, _, v, r, short @ ..] = rest {
        // What is no VR at all is taken for an unknown one, which has a long length.
        let long = !matches!(
            VR::from_binary([*v, *r]),
            Some(
                VR::AE
                    | VR::AS
                    | VR::AT
                    | VR::CS
                    | VR::DA
                    | VR::DS
                    | VR::DT
                    | VR::FL
                    | VR::FD
                    | VR::IS
                    | VR::LO
                    | VR::LT
                    | VR::PN
                    | VR::SH
                    | VR::SL
                    | VR::SS
                    | VR::ST
                    | VR::TM
                    | VR::UI
                    | VR::UL
                    | VR::US
            )
        );
        let (len, value) = match short {
            [_, _, a, b, c, d, value @ ..] if long => (u32::from_le_bytes([*a, *b, *c, *d]), value),
            [a, b, value @ ..] if !long => (u16::from_le_bytes([*a, *b]).into(), value),
            _ => return Err(Error::damaged("its transfer syntax can't be read")),
        };
        let next = value.get(len as usize..);
        rest = next.ok_or_else(|| Error::damaged("a length in its first group lies"))?;
    }
    let table = FileMetaTable::from_reader(&*meta);
    let table = table.map_err(|_| Error::damaged("its transfer syntax can't be read"))?;
    Ok((table, (START as u64 + 12) + u64::from(len)))
}

fn inflate(source: Box<dyn Source>) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    DeflateDecoder::new(BufReader::new(source))
        .take(MAX_INFLATED + 1)
        .read_to_end(&mut bytes)
        .map_err(|_| Error::damaged("it can't be inflated"))?;
    if bytes.len() as u64 > MAX_INFLATED {
        return Err(Error::too_large(format_args!(
            "more than {} MiB once inflated",
            MAX_INFLATED >> 20
        )));
    }
    Ok(bytes)
}

/// Go through the header, from `start` to the pixel data; nothing of it is kept.
fn walk<S: StatefulDecode>(
    mut reader: LazyDataSetReader<S>,
    start: u64,
    end: u64,
) -> Result<Found, Error> {
    let (mut depth, mut elements) = (0_u32, 0_u32);
    while let Some(token) = reader.advance() {
        let token = token.map_err(|_| Error::damaged("its header can't be read"))?;
        elements += 1;
        if elements > MAX_ELEMENTS {
            return Err(Error::too_large(format_args!(
                "a header of more than {MAX_ELEMENTS} elements"
            )));
        }
        match token {
            LazyDataToken::PixelSequenceStart if depth == 0 => {
                return Ok(Found {
                    value: reader.into_decoder().position(),
                    len: None,
                    words: false,
                });
            }
            LazyDataToken::SequenceStart { .. } | LazyDataToken::PixelSequenceStart => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(Error::too_large(format_args!(
                        "more than {MAX_DEPTH} sequences one in another"
                    )));
                }
            }
            LazyDataToken::SequenceEnd => depth = depth.saturating_sub(1),
            LazyDataToken::LazyValue { header, decoder } => {
                let len = header.len.get();
                let len = len.ok_or_else(|| Error::damaged("a value without an end"))?;
                if depth == 0 && header.tag == tags::PIXEL_DATA {
                    return Ok(Found {
                        value: decoder.position(),
                        len: Some(len),
                        words: header.vr == VR::OW,
                    });
                }
                // The library reads whole numbers, and takes what is left over for the next element.
                if len % size(header.vr) != 0 {
                    return Err(Error::damaged("a length in its header lies"));
                }
                skip(decoder, len, start, end)?;
            }
            LazyDataToken::LazyItemValue { len, decoder } => skip(decoder, len, start, end)?,
            _ => {}
        }
    }
    Err(Error::new(
        ErrorKind::NoPixels,
        "holds no pictures that are read; hint: name the image, not the report or the directory \
         that refers to it",
    ))
}

/// Bytes of one of the numbers that values of a VR are made of; 1 for what is no numbers.
fn size(vr: VR) -> u32 {
    match vr {
        VR::US | VR::SS | VR::OW => 2,
        VR::UL | VR::SL | VR::FL | VR::AT | VR::OF | VR::OL => 4,
        VR::FD | VR::OD | VR::OV | VR::SV | VR::UV => 8,
        _ => 1,
    }
}

fn skip(decoder: &mut impl StatefulDecode, len: u32, start: u64, end: u64) -> Result<(), Error> {
    let after = decoder.position().saturating_add(len.into());
    if after > end {
        return Err(Error::damaged(
            "a length in its header lies, or it is cut short",
        ));
    }
    if after - start > MAX_HEADER {
        return Err(Error::too_large(format_args!(
            "a header of more than {} MiB",
            MAX_HEADER >> 20
        )));
    }
    let skipped = decoder.skip_bytes(len);
    skipped.map_err(|_| Error::damaged("its header can't be read"))
}

/// The pieces of encoded frames, whose items begin at `at`.
fn encapsulated(
    source: &mut dyn Source,
    mut at: u64,
    end: u64,
    header: &InMemDicomObject,
) -> Result<PixelData, Error> {
    let cut = || Error::damaged("its pixel data is cut short, or lengths in it lie");
    let (mut fragments, mut table) = (Vec::new(), None);
    loop {
        source.seek(SeekFrom::Start(at))?;
        let mut item = [0; 8];
        source.read_exact(&mut item)?;
        let [group, g, element, e, len @ ..] = item;
        let len = u32::from_le_bytes(len);
        let tag = Tag(
            u16::from_le_bytes([group, g]),
            u16::from_le_bytes([element, e]),
        );
        at = at.saturating_add(8);
        match tag {
            Tag(0xfffe, 0xe000) if Length(len).is_defined() => {}
            Tag(0xfffe, 0xe0dd) => break,
            _ => return Err(cut()),
        }
        let after = at.saturating_add(len.into());
        if after > end {
            return Err(cut());
        }
        if table.is_none() {
            let mut bytes = Vec::new();
            Read::take(&mut *source, len.into()).read_to_end(&mut bytes)?;
            let offsets = bytes.as_chunks::<4>().0.iter();
            table = Some(offsets.map(|v| u64::from(u32::from_le_bytes(*v))).collect());
        } else if fragments.len() < MAX_FRAGMENTS {
            fragments.push((at, len));
        } else {
            return Err(Error::too_large(format_args!(
                "pixel data in more than {MAX_FRAGMENTS} pieces"
            )));
        }
        at = after;
    }
    let extended = header.get(tags::EXTENDED_OFFSET_TABLE);
    let extended = extended.and_then(|element| element.to_multi_int::<u64>().ok());
    Ok(PixelData::Encapsulated {
        fragments,
        offsets: extended.or(table).unwrap_or_default(),
    })
}
