//! Motion JPEG in RIFF AVI, as capture boxes write it.
//!
//! A file is a row of chunks with a name and a length; lists only group them. So lists are entered
//! and forgotten, and the picture chunks come by in order, in files of more than 1 GiB too. The
//! index is not needed.

use std::io::{self, Read};
use std::sync::Arc;

use bedside_core::{Clock, Frame, Phi, PixelFormat, YuvSpace};

use crate::feed::Feed;
use crate::jpeg::{Decoder, MAX_PICTURE};
use crate::mjpeg::read_whole;
use crate::{Source, SourceError, SourceInfo, size};

/// Most bytes of a header chunk.
const MAX_HEADER: usize = 64 << 10;

/// What the headers tell of the first video stream.
#[derive(Debug, Default)]
struct Headers {
    streams: u8,
    video: Option<u8>,
    codec: [u8; 4],
    width: u32,
    height: u32,
    frames_per_second: Option<f64>,
}

impl Headers {
    /// `strh`: kind, codec, and frames a second as `rate / scale`.
    fn stream(&mut self, body: &[u8]) {
        let index = self.streams;
        self.streams = self.streams.saturating_add(1);
        if self.video.is_none() && body.starts_with(b"vids") {
            self.video = Some(index);
            let (scale, rate) = (u32_at(body, 20), u32_at(body, 24));
            let rate = f64::from(rate) / f64::from(scale);
            self.frames_per_second = (0.001..=10_000.0).contains(&rate).then_some(rate);
        }
    }

    /// `strf`, which follows its `strh`: a bitmap's header, where the stream is a video.
    fn format(&mut self, body: &[u8]) {
        if self.video.is_some() && self.video == self.streams.checked_sub(1) {
            self.width = u32_at(body, 4);
            // Bitmaps may stand on their heads; pictures in JPEG do not.
            self.height = u32_at(body, 8).cast_signed().unsigned_abs();
            self.codec = u32_at(body, 16).to_le_bytes();
        }
    }
}

/// A little-endian number, 0 where there is none.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Pictures of an AVI file.
pub(crate) struct AviSource {
    feed: Feed,
    /// Index of the video among the streams.
    video: u8,
    jpeg: Vec<u8>,
    decoder: Decoder,
    info: SourceInfo,
    clock: Arc<dyn Clock>,
}

impl AviSource {
    pub(crate) fn new(
        name: Phi<String>,
        mut feed: Feed,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SourceError> {
        let refuse = |why: &str| {
            SourceError::fatal(format!(
                "{name}: {why}; hint: `ffmpeg -i FILE -c:v mjpeg -q:v 3 out.avi` converts it"
            ))
        };
        let io = |error| SourceError::io(&name, &error);
        let headers = headers(&mut feed).map_err(io)?;
        let headers = headers.ok_or_else(|| refuse("is not an AVI with a video in it"))?;
        let video = headers.video.ok_or_else(|| refuse("has no video stream"))?;
        if !headers.codec.eq_ignore_ascii_case(b"MJPG") {
            return Err(refuse("is not coded as MJPG"));
        }
        size::check(headers.width, headers.height).map_err(|why| refuse(&format!("has {why}")))?;
        let info = SourceInfo {
            name: name.clone(),
            width: headers.width,
            height: headers.height,
            format: PixelFormat::I420,
            yuv_space: YuvSpace::Bt601Full,
            frames_per_second: headers.frames_per_second,
            live: false,
        };
        Ok(Self {
            feed,
            video,
            jpeg: Vec::new(),
            decoder: Decoder::default(),
            info,
            clock,
        })
    }

    /// Put the next picture into `self.jpeg`; false at the end.
    fn picture(&mut self) -> Result<bool, SourceError> {
        loop {
            let io = |error| SourceError::io(&self.info.name, &error);
            let Some((kind, length)) = chunk(&mut self.feed).map_err(io)? else {
                return Ok(false);
            };
            let [tens, ones, b'd', b'b' | b'c'] = kind else {
                skip(&mut self.feed, length).map_err(io)?;
                continue;
            };
            let index = tens.wrapping_sub(b'0').wrapping_mul(10);
            let index = index.wrapping_add(ones.wrapping_sub(b'0'));
            // An empty chunk says that the recorder dropped a frame.
            if index != self.video || length == 0 {
                skip(&mut self.feed, length).map_err(io)?;
                continue;
            }
            if length > MAX_PICTURE {
                skip(&mut self.feed, length).map_err(io)?;
                return Err(SourceError::broken(format!(
                    "{}: a picture of {length} bytes",
                    self.info.name
                )));
            }
            let whole = read_whole(&mut self.feed, length, &mut self.jpeg).map_err(io)?;
            if !whole {
                return Err(SourceError::broken(format!(
                    "{}: ends within a picture; hint: its writer was stopped, the frames before \
                     are whole",
                    self.info.name
                )));
            }
            pad(&mut self.feed, length).map_err(io)?;
            return Ok(true);
        }
    }
}

impl Source for AviSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, mut buffer: Vec<u8>) -> Result<Option<Frame>, SourceError> {
        if !self.picture()? {
            return Ok(None);
        }
        let now = self.clock.now();
        let decoded = self.decoder.decode(&self.jpeg, &self.info, &mut buffer);
        decoded.map_err(|why| SourceError::broken(format!("{}: {why}", self.info.name)))?;
        self.info.frame(buffer, now).map(Some)
    }
}

/// Read up to the pictures; `None` where there are none.
fn headers(feed: &mut Feed) -> io::Result<Option<Headers>> {
    let mut found = Headers::default();
    let mut body = Vec::new();
    let mut riff = [0; 12];
    match feed.read_exact(&mut riff) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        _ if !(riff.starts_with(b"RIFF") && riff.ends_with(b"AVI ")) => return Ok(None),
        _ => {}
    }
    loop {
        let Some((kind, length)) = chunk(feed)? else {
            return Ok(None);
        };
        if &kind == b"movi" {
            return Ok(Some(found));
        }
        let wanted = matches!(&kind, b"strh" | b"strf");
        if !wanted || length > MAX_HEADER {
            skip(feed, length)?;
            continue;
        }
        if !read_whole(feed, length, &mut body)? {
            return Ok(None);
        }
        pad(feed, length)?;
        if &kind == b"strh" {
            found.stream(&body);
        } else {
            found.format(&body);
        }
    }
}

/// Name and length of the next chunk. A list is given by its own name, with no length: what it
/// holds comes next.
fn chunk(feed: &mut Feed) -> io::Result<Option<([u8; 4], usize)>> {
    let mut head = [0; 8];
    match feed.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let [a, b, c, d, length @ ..] = head;
    let kind = [a, b, c, d];
    if !matches!(&kind, b"RIFF" | b"LIST") {
        return Ok(Some((kind, u32::from_le_bytes(length) as usize)));
    }
    let mut name = [0; 4];
    match feed.read_exact(&mut name) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        other => other.map(|()| Some((name, 0))),
    }
}

/// Pass over a chunk's bytes.
fn skip(feed: &mut Feed, length: usize) -> io::Result<()> {
    io::copy(&mut feed.by_ref().take(length as u64), &mut io::sink())?;
    pad(feed, length)
}

/// Chunks begin at even places: pass over the byte between.
fn pad(feed: &mut Feed, length: usize) -> io::Result<()> {
    let padding = length as u64 % 2;
    io::copy(&mut feed.by_ref().take(padding), &mut io::sink()).map(|_| ())
}
