//! H.264 in an MPEG transport stream (ISO/IEC 13818-1): packets of 188 bytes, of which those of one
//! number carry the video. A picture lies in pieces among those of sound and tables, so the
//! whole of the video is put together in memory once, as an MP4 would have it.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use super::boxes::{MAX_PICTURES, MAX_SAMPLE, Movie, Sample, is_sequence_header};

const PACKET: usize = 188;
/// What each packet begins with.
const SYNC: u8 = 0x47;
/// H.264 in the table of streams.
const H264: u8 = 0x1b;
/// Ticks a second of the times at which pictures are shown, and after how many they begin anew.
const TICKS: f64 = 90_000.0;
const TURN: i64 = 1 << 33;
/// Most bytes of video that are held in memory.
const MAX_VIDEO: usize = 512 << 20;
/// Kinds of NAL units: a picture that needs no other, a picture header, what separates pictures.
const KEY: u8 = 5;
const PICTURE_HEADER: u8 = 8;
const DELIMITER: u8 = 9;

/// Whether it begins as such streams do.
pub(super) fn is_stream(file: &mut (impl Read + Seek)) -> io::Result<bool> {
    file.seek(SeekFrom::Start(0))?;
    let mut head = Vec::new();
    file.by_ref()
        .take(PACKET as u64 + 1)
        .read_to_end(&mut head)?;
    Ok(matches!(&*head, [SYNC, .., SYNC]) && head.len() > PACKET)
}

/// The first video, and its NAL units, each behind its length in four bytes. The inner error says why
/// there is none.
pub(super) fn read(file: &mut (impl Read + Seek)) -> io::Result<Result<(Movie, Vec<u8>), String>> {
    file.seek(SeekFrom::Start(0))?;
    let mut file = BufReader::with_capacity(64 << 10, file);
    let mut stream = Stream::default();
    let mut packet = [0; PACKET];
    loop {
        match file.read_exact(&mut packet) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            other => other?,
        }
        if packet.first() != Some(&SYNC) {
            // What fills up an even length, or a stream that lost its place.
            break;
        }
        if let Err(why) = stream.packet(&packet) {
            return Ok(Err(why));
        }
    }
    Ok(stream.finish())
}

/// What is known of a stream so far.
#[derive(Default)]
struct Stream {
    /// Number of the packets that tell what the program has.
    table: Option<u16>,
    /// Number of those of the video.
    video: Option<u16>,
    /// The picture that is being put together, as it comes.
    picture: Vec<u8>,
    started: bool,
    first_time: Option<i64>,
    units: Vec<u8>,
    samples: Vec<Sample>,
    sequence_headers: Vec<Vec<u8>>,
    picture_headers: Vec<Vec<u8>>,
}

impl Stream {
    fn packet(&mut self, packet: &[u8; PACKET]) -> Result<(), String> {
        let [_, high, low, flags, rest @ ..] = packet;
        let own = number(*high, *low);
        let payload = match flags & 0x30 {
            0x10 => Some(rest.as_slice()),
            // Behind what else the packet says.
            0x30 => rest
                .first()
                .and_then(|len| rest.get(1 + usize::from(*len)..)),
            _ => None,
        };
        // Damaged, scrambled or empty.
        let Some(payload) = payload.filter(|_| high & 0x80 == 0 && flags & 0xc0 == 0) else {
            return Ok(());
        };
        let starts = high & 0x40 != 0;
        if self.video == Some(own) {
            if starts {
                self.end_picture()?;
                self.started = true;
            }
            if self.started {
                self.picture.extend_from_slice(payload);
            }
            if self.picture.len() > MAX_SAMPLE as usize {
                return Err("has a picture of more than 16 MiB".to_owned());
            }
        } else if self.video.is_none() && starts {
            if own == 0 {
                self.table = section(payload).and_then(program);
            } else if self.table == Some(own) {
                self.video = section(payload).and_then(video);
            }
        }
        Ok(())
    }

    /// Take apart the picture that was put together.
    fn end_picture(&mut self) -> Result<(), String> {
        let picture = std::mem::take(&mut self.picture);
        if picture.is_empty() {
            return Ok(());
        }
        let (time, data) = elementary(&picture).ok_or("has a video packet without a time")?;
        let offset = self.units.len();
        let (mut is_sync, mut delimiters) = (false, 0);
        for nal in nal_units(data) {
            match nal.first().map(|head| head & 0x1f) {
                _ if is_sequence_header(nal) => keep(&mut self.sequence_headers, nal),
                Some(PICTURE_HEADER) => keep(&mut self.picture_headers, nal),
                Some(DELIMITER) => delimiters += 1,
                kind => {
                    is_sync |= kind == Some(KEY);
                    self.units.extend((nal.len() as u32).to_be_bytes());
                    self.units.extend_from_slice(nal);
                }
            }
        }
        if delimiters > 1 {
            return Err("has several pictures to a packet".to_owned());
        }
        if self.units.len() > MAX_VIDEO || self.samples.len() == MAX_PICTURES {
            return Err("is a transport stream of more than 512 MiB or 2^20 pictures".to_owned());
        }
        let first = *self.first_time.get_or_insert(time);
        // Within half a turn of the first, before or behind.
        let since = (time - first + TURN / 2).rem_euclid(TURN) - TURN / 2;
        self.samples.push(Sample {
            offset: offset as u64,
            size: (self.units.len() - offset) as u32,
            shown_at: since,
            is_sync,
        });
        self.picture = picture;
        self.picture.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<(Movie, Vec<u8>), String> {
        if self.video.is_none() {
            return Err("is a transport stream without H.264".to_owned());
        }
        // The last picture may be cut.
        match self.end_picture() {
            Err(why) if self.samples.is_empty() => return Err(why),
            _ => {}
        }
        let times = || self.samples.iter().map(|sample| sample.shown_at);
        let duration = times().max().unwrap_or_default() - times().min().unwrap_or_default();
        let rate = self.samples.len().saturating_sub(1) as f64 * TICKS / duration as f64;
        if self.samples.is_empty() {
            return Err("has no pictures".to_owned());
        }
        self.sequence_headers.append(&mut self.picture_headers);
        let movie = Movie {
            samples: self.samples,
            parameter_sets: self.sequence_headers,
            frames_per_second: (0.001..=10_000.0).contains(&rate).then_some(rate),
            length_size: 4,
        };
        Ok((movie, self.units))
    }
}

/// Most headers of a kind: as many as have numbers.
const MAX_HEADERS: usize = 256;

fn keep(headers: &mut Vec<Vec<u8>>, nal: &[u8]) {
    if headers.len() < MAX_HEADERS && !headers.iter().any(|known| known == nal) {
        headers.push(nal.to_vec());
    }
}

/// The section that begins in a packet, without its checksum; none where it goes on in another, which
/// those of one program do not.
fn section(payload: &[u8]) -> Option<&[u8]> {
    let (skip, rest) = payload.split_first()?;
    let section = rest.get(usize::from(*skip)..)?;
    let [_, high, low, ..] = *section else {
        return None;
    };
    let length = usize::from(u16::from_be_bytes([high & 0x0f, low]));
    section.get(..3 + length.checked_sub(4)?)
}

/// The number of packets in the last two bytes of these.
fn number(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high & 0x1f, low])
}

/// Where the first program's table is.
fn program(section: &[u8]) -> Option<u16> {
    let programs = section.get(8..)?.as_chunks::<4>().0;
    let mut programs = programs.iter().filter(|[a, b, ..]| (*a, *b) != (0, 0));
    programs.next().map(|[_, _, high, low]| number(*high, *low))
}

/// Where the first H.264 of a program is.
fn video(section: &[u8]) -> Option<u16> {
    let [2, _, _, _, _, _, _, _, _, _, high, low, rest @ ..] = section else {
        return None;
    };
    let told = usize::from(u16::from_be_bytes([high & 0x0f, *low]));
    let mut streams = rest.get(told..)?;
    while let [kind, high, low, more, len, rest @ ..] = streams {
        if *kind == H264 {
            return Some(number(*high, *low));
        }
        let told = usize::from(u16::from_be_bytes([more & 0x0f, *len]));
        streams = rest.get(told..)?;
    }
    None
}

/// When a packet of an elementary stream is shown, and its data.
fn elementary(packet: &[u8]) -> Option<(i64, &[u8])> {
    let [0, 0, 1, 0xe0..=0xef, _, _, _, flags, head, rest @ ..] = packet else {
        return None;
    };
    let (head, data) = rest.split_at_checked(usize::from(*head))?;
    let [a, b, c, d, e, ..] = head else {
        return None;
    };
    if flags & 0x80 == 0 {
        return None;
    }
    let [a, b, c, d, e] = [a, b, c, d, e].map(|byte| i64::from(*byte));
    let time = (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1;
    Some((time, data))
}

/// NAL units between start codes, without the zeros behind them.
fn nal_units(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let start = |data: &[u8]| data.windows(3).position(|bytes| bytes == [0, 0, 1]);
    data = start(data).map_or(&[], |at| data.get(at + 3..).unwrap_or_default());
    std::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let end = start(data).unwrap_or(data.len());
        let (nal, rest) = data.split_at_checked(end)?;
        data = rest.get(3..).unwrap_or_default();
        let zeros = nal.iter().rev().take_while(|byte| **byte == 0).count();
        nal.get(..nal.len() - zeros)
    })
}
