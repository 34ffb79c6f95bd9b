//! Where an MP4 file has its pictures: boxes within boxes, each with a length and a name
//! (ISO/IEC 14496-12 and -15). Every length is checked against what is there.

use std::io::{self, Read, Seek, SeekFrom};

/// Most boxes that are looked at for the table of contents.
const MAX_BOXES: usize = 4096;
/// Most bytes of the table of contents, which has up to 32 a picture.
const MAX_MOOV: u64 = 32 << 20;
/// Most pictures, and so most rows of any table: ten hours of 30 a second.
pub(crate) const MAX_PICTURES: usize = 1 << 20;
/// Most bytes of one compressed picture.
pub(crate) const MAX_SAMPLE: u32 = 16 << 20;

/// One compressed picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) offset: u64,
    pub(crate) size: u32,
    /// In the track's own ticks.
    pub(crate) shown_at: i64,
    /// Whether it needs no picture before it.
    pub(crate) is_sync: bool,
}

/// The first video track.
#[derive(Debug, PartialEq)]
pub(crate) struct Movie {
    /// In the order of decoding.
    pub(crate) samples: Vec<Sample>,
    /// Sequence headers, then picture headers, as NAL units.
    pub(crate) parameter_sets: Vec<Vec<u8>>,
    pub(crate) frames_per_second: Option<f64>,
    /// Bytes of the length before each NAL unit: 1 to 4.
    pub(crate) length_size: usize,
}

impl Movie {
    /// The inner error says why the file is of no use.
    pub(crate) fn read(file: &mut (impl Read + Seek)) -> io::Result<Result<Self, String>> {
        let end = file.seek(SeekFrom::End(0))?;
        let mut at = 0;
        for _ in 0..MAX_BOXES {
            let Some((kind, head, size)) = box_head(file, at, end)? else {
                break;
            };
            if &kind == b"moov" {
                let size = size - head;
                if size > MAX_MOOV {
                    return Ok(Err("has a table of contents of more than 32 MiB".to_owned()));
                }
                let mut moov = vec![0; usize::try_from(size).unwrap_or_default()];
                file.seek(SeekFrom::Start(at + head))?;
                file.read_exact(&mut moov)?;
                return Ok(Self::parse(&moov));
            }
            at += size;
        }
        Ok(Err("is not an MP4, or was never finished".to_owned()))
    }

    pub(crate) fn parse(moov: &[u8]) -> Result<Self, String> {
        let is_video = |trak: &&[u8]| {
            let handler = path(trak, &[b"mdia", b"hdlr"]);
            handler.is_some_and(|body| body.get(8..12) == Some(b"vide"))
        };
        let trak = boxes(moov)
            .filter(|(kind, _)| kind == b"trak")
            .map(|(_, body)| body)
            .find(is_video)
            .ok_or("has no video track")?;
        let table = path(trak, &[b"mdia", b"minf", b"stbl"]).ok_or("has no table of pictures")?;
        let (parameter_sets, length_size) = codec(find(table, b"stsd").unwrap_or_default())?;
        let samples = samples(table).ok_or("has a damaged table of pictures, or more than 2^20")?;
        if samples.is_empty() {
            let fragmented = find(moov, b"mvex").is_some();
            return Err(if fragmented {
                "is fragmented".to_owned()
            } else {
                "has no pictures".to_owned()
            });
        }
        let ticks = path(trak, &[b"mdia", b"mdhd"]).and_then(|body| {
            let mut body = Fields(body);
            let long = body.u32()? >> 24 == 1;
            body.take(if long { 16 } else { 8 })?;
            body.u32()
        });
        let frames_per_second = ticks.and_then(|ticks| {
            let duration = total_duration(find(table, b"stts")?)?;
            let rate = samples.len() as f64 * f64::from(ticks) / duration as f64;
            (0.001..=10_000.0).contains(&rate).then_some(rate)
        });
        Ok(Self {
            samples,
            parameter_sets,
            frames_per_second,
            length_size,
        })
    }

    /// A sample as a decoder wants it: NAL units behind start codes, the parameter sets before
    /// them where asked. False when a length points outside, or the decoder would be told of
    /// another size than the header that was looked at tells: by another sequence header, or by
    /// a start code within a unit.
    pub(crate) fn annex_b(&self, sample: &[u8], parameters: bool, out: &mut Vec<u8>) -> bool {
        let mut unit = |nal: &[u8]| {
            out.extend_from_slice(&[0, 0, 0, 1]);
            out.extend_from_slice(nal);
            !nal.windows(3).any(|bytes| bytes == [0, 0, 1])
        };
        if parameters && !self.parameter_sets.iter().all(|nal| unit(nal)) {
            return false;
        }
        let mut rest = Fields(sample);
        while !rest.0.is_empty() {
            let Some(length) = rest.take(self.length_size) else {
                return false;
            };
            let length = length.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
            let Some(nal) = rest.take(length) else {
                return false;
            };
            let known = || self.parameter_sets.iter().any(|set| set == nal);
            if !unit(nal) || is_sequence_header(nal) && !known() {
                return false;
            }
        }
        true
    }
}

pub(crate) fn is_sequence_header(nal: &[u8]) -> bool {
    nal.first().is_some_and(|head| head & 0x1f == 7)
}

/// Big-endian fields, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn u16(&mut self) -> Option<u16> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*bytes))
    }

    fn u32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*bytes))
    }

    /// The rows of a table that says how many it has, `N` numbers each; none where that is a lie,
    /// or more than any table needs.
    fn rows<const N: usize>(&mut self) -> Option<impl Iterator<Item = [u32; N]> + use<'a, N>> {
        let count = Some(self.u32()? as usize).filter(|count| *count <= MAX_PICTURES)?;
        let bytes = self.take(count.checked_mul(4 * N)?)?;
        Some(bytes.chunks_exact(4 * N).map(|row| {
            let mut row = Fields(row);
            std::array::from_fn(|_| row.u32().unwrap_or_default())
        }))
    }
}

/// Name, bytes of the head, and bytes of the whole of the box at `at`; `None` where it is no box.
fn box_head(
    file: &mut (impl Read + Seek),
    at: u64,
    end: u64,
) -> io::Result<Option<([u8; 4], u64, u64)>> {
    let mut head = [0; 16];
    let wanted = usize::try_from(end - at).unwrap_or(16).min(16);
    let Some(bytes) = head.get_mut(..wanted) else {
        return Ok(None);
    };
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(bytes)?;
    let mut fields = Fields(bytes);
    let size = fields.u32().map(u64::from);
    let Some(kind) = fields.take(4).and_then(|kind| kind.first_chunk().copied()) else {
        return Ok(None);
    };
    let (head, size) = match size {
        // A box of length 0 reaches to the end, one of length 1 has a longer length.
        Some(0) => (8, end - at),
        Some(1) => {
            let long = fields.u32().zip(fields.u32());
            (
                16,
                long.map_or(0, |(high, low)| u64::from(high) << 32 | u64::from(low)),
            )
        }
        size => (8, size.unwrap_or_default()),
    };
    Ok((size >= head && size <= end - at).then_some((kind, head, size)))
}

/// The boxes within a box, up to one that is none.
fn boxes(body: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = Fields(body);
    std::iter::from_fn(move || {
        let size = rest.u32()? as usize;
        let kind = rest.take(4)?.first_chunk().copied()?;
        let body = match size {
            0 => rest.take(rest.0.len())?,
            size => rest.take(size.checked_sub(8)?)?,
        };
        Some((kind, body))
    })
}

fn find<'a>(body: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    boxes(body)
        .find(|(found, _)| found == kind)
        .map(|(_, body)| body)
}

fn path<'a>(body: &'a [u8], kinds: &[&[u8; 4]]) -> Option<&'a [u8]> {
    kinds.iter().try_fold(body, |body, kind| find(body, kind))
}

/// Parameter sets and bytes of a NAL unit's length, from `stsd`.
fn codec(stsd: &[u8]) -> Result<(Vec<Vec<u8>>, usize), String> {
    let entries = stsd.get(8..).unwrap_or_default();
    let (kind, entry) = boxes(entries)
        .next()
        .ok_or("does not say how it is coded")?;
    if !matches!(&kind, b"avc1" | b"avc3") {
        // By the names that are known: a file's own bytes may say anything.
        let coding = match &kind {
            b"hvc1" | b"hev1" => " but as HEVC",
            b"av01" => " but as AV1",
            b"vp08" | b"vp09" => " but as VP8 or VP9",
            b"mp4v" => " but as MPEG-4 Part 2",
            _ => "",
        };
        return Err(format!("is not coded as H.264{coding}"));
    }
    let config = entry.get(78..).and_then(|rest| find(rest, b"avcC"));
    let config = config.and_then(|config| {
        let mut config = Fields(config);
        config.take(4)?;
        let length_size = usize::from(config.u8()? & 3) + 1;
        let mut sets = Vec::new();
        for mask in [0x1f, 0xff] {
            for _ in 0..config.u8()? & mask {
                let length = config.u16()?;
                sets.push(config.take(length.into())?.to_vec());
            }
        }
        Some((sets, length_size))
    });
    config.ok_or_else(|| "has a damaged H.264 header".to_owned())
}

/// Every sample, from the tables of sizes, chunks and times.
fn samples(table: &[u8]) -> Option<Vec<Sample>> {
    // Version and flags come before every table.
    let full = |kind| find(table, kind).and_then(|body| Some(Fields(body.get(4..)?)));
    let mut sizes = full(b"stsz")?;
    let same = sizes.u32()?;
    let sizes: Vec<u32> = if same == 0 {
        sizes.rows::<1>()?.map(|[size]| size).collect()
    } else {
        // Nothing but the count says how many: it must not ask for any memory.
        let count = sizes.u32()? as usize;
        vec![same; (count <= MAX_PICTURES).then_some(count)?]
    };
    if sizes.iter().any(|size| *size > MAX_SAMPLE) {
        return None;
    }
    let offsets: Vec<u64> = match full(b"stco") {
        Some(mut table) => table.rows::<1>()?.map(|[at]| at.into()).collect(),
        None => {
            let long = |[high, low]: [u32; 2]| u64::from(high) << 32 | u64::from(low);
            full(b"co64")?.rows::<2>()?.map(long).collect()
        }
    };
    let runs: Vec<[u32; 3]> = full(b"stsc")?.rows()?.collect();
    let mut durations = full(b"stts")?.rows::<2>()?.flat_map(repeat);
    let mut delays = match full(b"ctts") {
        Some(mut table) => Some(table.rows::<2>()?.flat_map(repeat)),
        None => None,
    };
    let syncs: Option<Vec<u32>> = match full(b"stss") {
        Some(mut table) => Some(table.rows::<1>()?.map(|[number]| number).collect()),
        None => None,
    };

    let mut samples = Vec::with_capacity(sizes.len());
    let mut sizes = sizes.into_iter();
    let mut run = runs.iter().peekable();
    let mut per_chunk = 0;
    let mut time = 0i64;
    for (chunk, offset) in (1..).zip(offsets) {
        while let Some([_, count, _]) = run.next_if(|[first, ..]| *first <= chunk) {
            per_chunk = *count;
        }
        let mut offset = offset;
        for size in sizes.by_ref().take(per_chunk as usize) {
            let number = samples.len() as u32 + 1;
            let delay = delays.as_mut().and_then(Iterator::next);
            samples.push(Sample {
                offset,
                size,
                // Negative ones need version 1; in version 0 none is that large.
                shown_at: time + i64::from(delay.unwrap_or_default().cast_signed()),
                is_sync: syncs
                    .as_ref()
                    .is_none_or(|all| all.binary_search(&number).is_ok()),
            });
            offset = offset.checked_add(size.into())?;
            time += i64::from(durations.next().unwrap_or_default());
        }
    }
    sizes.next().is_none().then_some(samples)
}

/// A run of equal values.
fn repeat([count, value]: [u32; 2]) -> impl Iterator<Item = u32> {
    std::iter::repeat_n(value, count as usize)
}

/// The sum of all durations of `stts`, in ticks.
fn total_duration(stts: &[u8]) -> Option<u64> {
    let rows = Fields(stts.get(4..)?).rows::<2>()?;
    let total = rows
        .map(|[count, ticks]| u64::from(count) * u64::from(ticks))
        .fold(0, u64::saturating_add);
    (total > 0).then_some(total)
}
