//! JPEG pictures one behind the other, as many cameras' tools write them.

use std::io::{BufRead, Read};
use std::sync::Arc;

use bedside_core::{Clock, Frame, Phi, PixelFormat, YuvSpace};

use crate::feed::Feed;
use crate::jpeg::{self, Boundary, Decoder, MAX_PICTURE, Walk};
use crate::{Source, SourceError, SourceInfo};

/// Frames of a file.
pub(crate) struct MjpegSource {
    splitter: Splitter,
    /// Whether the next frame is the first, from which the size is known.
    first: bool,
    decoder: Decoder,
    info: SourceInfo,
    clock: Arc<dyn Clock>,
}

impl MjpegSource {
    pub(crate) fn new(
        name: Phi<String>,
        feed: Feed,
        frames_per_second: f64,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SourceError> {
        let mut splitter = Splitter {
            name,
            feed,
            bytes: Vec::new(),
            taken: 0,
        };
        let hint = "hint: an .mjpeg file is JPEG pictures one behind the other";
        let name = splitter.name.clone();
        let refuse = |why: String| SourceError::fatal(format!("{name}: {why}; {hint}"));
        let first = match splitter.next() {
            Ok(first) => first.ok_or_else(|| refuse("no picture in it".to_owned()))?,
            Err(error) => return Err(refuse(error.to_string())),
        };
        let (width, height, gray) = jpeg::facts(first).map_err(refuse)?;
        let info = SourceInfo {
            name: splitter.name.clone(),
            width,
            height,
            format: if gray {
                PixelFormat::Gray8
            } else {
                PixelFormat::I420
            },
            yuv_space: YuvSpace::Bt601Full,
            frames_per_second: Some(frames_per_second),
            live: false,
        };
        Ok(Self {
            splitter,
            first: true,
            decoder: Decoder::default(),
            info,
            clock,
        })
    }
}

impl Source for MjpegSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, mut buffer: Vec<u8>) -> Result<Option<Frame>, SourceError> {
        let picture = if std::mem::take(&mut self.first) {
            Some(self.splitter.current())
        } else {
            self.splitter.next()?
        };
        let Some(picture) = picture else {
            return Ok(None);
        };
        let now = self.clock.now();
        let decoded = self.decoder.decode(picture, &self.info, &mut buffer);
        decoded.map_err(|why| SourceError::broken(format!("{}: {why}", self.info.name)))?;
        self.info.frame(buffer, now).map(Some)
    }
}

/// Splits a file into JPEG images.
struct Splitter {
    name: Phi<String>,
    feed: Feed,
    bytes: Vec<u8>,
    /// Bytes of the picture that was handed out last.
    taken: usize,
}

impl Splitter {
    fn current(&self) -> &[u8] {
        self.bytes.get(..self.taken).unwrap_or_default()
    }

    /// The bytes of the next picture.
    fn next(&mut self) -> Result<Option<&[u8]>, SourceError> {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        let mut walk = Walk::default();
        loop {
            let broken = |why: &str| {
                Err(SourceError::broken(format!(
                    "{}: {why}; hint: the pictures around are whole",
                    self.name
                )))
            };
            match walk.on(&self.bytes) {
                Boundary::End(end) => {
                    self.taken = end;
                    return Ok(Some(self.current()));
                }
                Boundary::Begin(at) => {
                    let error = broken("a picture breaks off");
                    self.bytes.drain(..at);
                    return error;
                }
                Boundary::More if self.bytes.len() > MAX_PICTURE => {
                    let error = broken("a picture without end");
                    self.bytes.clear();
                    return error;
                }
                Boundary::More => {}
            }
            let io = |error| SourceError::io(&self.name, &error);
            let more = self.feed.fill_buf().map_err(io)?;
            let count = more.len();
            self.bytes.extend_from_slice(more);
            self.feed.consume(count);
            if count == 0 {
                // Zeros and line feeds behind the last picture are no picture.
                let rest = std::mem::take(&mut self.bytes);
                return if rest.windows(2).any(|pair| pair == [0xff, 0xd8]) {
                    Err(SourceError::broken(format!(
                        "{}: ends within a picture; hint: its writer was stopped",
                        self.name
                    )))
                } else {
                    Ok(None)
                };
            }
        }
    }
}

/// Read exactly `length` bytes into `bytes`; false where the feed ends before. Memory is asked for
/// as bytes come, not as a header promises them.
pub(crate) fn read_whole(
    feed: &mut impl Read,
    length: usize,
    bytes: &mut Vec<u8>,
) -> std::io::Result<bool> {
    bytes.clear();
    let count = feed.by_ref().take(length as u64).read_to_end(bytes)?;
    Ok(count == length)
}
