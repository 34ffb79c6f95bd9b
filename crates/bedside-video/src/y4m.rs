//! YUV4MPEG2: a header line, then `FRAME` lines with planes behind them.

use std::sync::Arc;
use std::time::Duration;

use bedside_core::{Clock, Frame, Phi, PixelFormat, YuvSpace};

use crate::convert::{halve_rows, quarter, with_matrix};
use crate::feed::{Arrival, Feed, Parcel};
use crate::{Source, SourceError, SourceInfo, size};

/// Longest header line in bytes; real ones have less than a hundred.
const MAX_LINE: usize = 4096;
/// How long a sender may take for its header: ffmpeg first connects and probes.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// The tag, ours alone, that gives the matrix; others guess it from the size.
pub(crate) const MATRIX_TAG: &str = "XBEDSIDE_MATRIX=";

/// What helps against a damaged header.
const RESEND: &str = "let ffmpeg write it anew with `-f yuv4mpegpipe`";

/// How the planes lie, and what becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chroma {
    Mono,
    C420,
    C422,
    C444,
}

impl Chroma {
    /// From what follows the `C` of a header. Siting is of no account here.
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "mono" => Self::Mono,
            "420" | "420jpeg" | "420mpeg2" | "420paldv" => Self::C420,
            "422" => Self::C422,
            "444" => Self::C444,
            _ => return None,
        })
    }

    /// Bytes of one chroma plane.
    fn plane_len(self, width: usize, height: usize) -> usize {
        match self {
            Self::Mono => 0,
            Self::C420 => width.div_ceil(2) * height.div_ceil(2),
            Self::C422 => width.div_ceil(2) * height,
            Self::C444 => width * height,
        }
    }
}

/// What a header line says.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Header {
    width: u32,
    height: u32,
    frames_per_second: Option<f64>,
    chroma: Chroma,
    space: YuvSpace,
}

impl Header {
    fn parse(line: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(line).unwrap_or_default();
        let mut tags = text.trim_end_matches('\n').split(' ');
        if tags.next() != Some("YUV4MPEG2") {
            return Err(format!("is not Y4M; hint: {RESEND}"));
        }
        let (mut width, mut height, mut rate) = (0, 0, None);
        let mut chroma = Chroma::C420;
        let (mut full, mut matrix) = (false, None);
        for tag in tags {
            let mut letters = tag.chars();
            let letter = letters.next();
            let value = letters.as_str();
            // No error quotes what stands in a file: that may be anything.
            let number = || {
                value
                    .parse()
                    .map_err(|_| format!("has no size in its header; hint: {RESEND}"))
            };
            match letter {
                Some('W') => width = number()?,
                Some('H') => height = number()?,
                Some('F') => rate = ratio(value),
                Some('C') => {
                    chroma = Chroma::parse(value).ok_or(
                        "has pixels of another form than 420, 422, 444 and mono of 8 bits; hint: \
                         `-pix_fmt yuv420p` makes ffmpeg convert",
                    )?;
                }
                Some('X') if value == "COLORRANGE=FULL" => full = true,
                Some('X') => matrix = tag.strip_prefix(MATRIX_TAG).or(matrix),
                // Interlacing, aspect and comments change no byte.
                _ => {}
            }
        }
        size::check(width, height).map_err(|why| format!("has {why}; hint: {RESEND}"))?;
        Ok(Self {
            width,
            height,
            frames_per_second: rate,
            chroma,
            space: with_matrix(matrix, height, full),
        })
    }
}

/// `30000:1001` as frames a second; `0:0` is unknown.
fn ratio(text: &str) -> Option<f64> {
    let (above, below) = text.split_once(':')?;
    let rate = f64::from(above.parse::<u32>().ok()?) / f64::from(below.parse::<u32>().ok()?);
    (0.001..=10_000.0).contains(&rate).then_some(rate)
}

/// Frames of a Y4M file or pipe.
pub(crate) struct Y4mSource {
    feed: Feed,
    /// The bytes of the next frame's `FRAME` line so far; with its line feed, planes follow.
    line: Vec<u8>,
    parcel: Parcel,
    chroma: Chroma,
    /// Memory for planes that are not handed out as they are.
    planes: Vec<u8>,
    info: SourceInfo,
    clock: Arc<dyn Clock>,
}

impl Y4mSource {
    pub(crate) fn new(
        name: Phi<String>,
        mut feed: Feed,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SourceError> {
        let mut line = Vec::new();
        feed.wait(Some(FIRST_WAIT));
        match feed.line(&mut line, MAX_LINE) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                return Err(SourceError::fatal(format!(
                    "{name}: nothing came for {} s; hint: see whether the sender runs",
                    FIRST_WAIT.as_secs()
                )));
            }
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Err(SourceError::fatal(format!(
                    "{name}: is not Y4M; hint: {RESEND}"
                )));
            }
            Err(error) => return Err(SourceError::io(&name, &error)),
        }
        if line.is_empty() {
            return Err(SourceError::fatal(format!(
                "{name}: is empty; hint: see whether the sender failed"
            )));
        }
        let header =
            Header::parse(&line).map_err(|why| SourceError::fatal(format!("{name}: {why}")))?;
        let converted = match header.chroma {
            Chroma::C422 => ", 4:2:2 halved to 4:2:0",
            Chroma::C444 => ", 4:4:4 halved to 4:2:0",
            Chroma::C420 | Chroma::Mono => "",
        };
        let info = SourceInfo {
            name: name.with_note(converted),
            width: header.width,
            height: header.height,
            format: match header.chroma {
                Chroma::Mono => PixelFormat::Gray8,
                _ => PixelFormat::I420,
            },
            yuv_space: header.space,
            frames_per_second: header.frames_per_second,
            live: feed.live(),
        };
        Ok(Self {
            feed,
            line: Vec::new(),
            parcel: Parcel::default(),
            chroma: header.chroma,
            planes: Vec::new(),
            info,
            clock,
        })
    }

    fn cut(&mut self) -> SourceError {
        self.line.clear();
        self.parcel = Parcel::default();
        SourceError::broken(format!(
            "{}: ends within a frame; hint: its writer was stopped, the frames before are whole",
            self.info.name
        ))
    }

    /// The planes of 4:2:2 and 4:4:4 as 4:2:0.
    fn reduce(&self, planes: &[u8], out: &mut Vec<u8>) {
        let (width, height) = (self.info.width as usize, self.info.height as usize);
        out.clear();
        let (luma, chroma) = planes
            .split_at_checked(width * height)
            .unwrap_or((planes, &[]));
        out.extend_from_slice(luma);
        for plane in chroma.chunks_exact(self.chroma.plane_len(width, height).max(1)) {
            match self.chroma {
                Chroma::C422 => halve_rows(plane, width.div_ceil(2), out),
                _ => quarter(plane, width, out),
            }
        }
    }
}

impl Source for Y4mSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, buffer: Vec<u8>) -> Result<Option<Frame>, SourceError> {
        self.feed.wait(None);
        if !self.line.ends_with(b"\n") {
            let ended = match self.feed.line(&mut self.line, MAX_LINE) {
                Ok(whole) => !whole,
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => false,
                Err(error) => return Err(SourceError::io(&self.info.name, &error)),
            };
            if ended && self.line.is_empty() {
                return Ok(None);
            }
            if ended {
                return Err(self.cut());
            }
            let is_frame = self.line.starts_with(b"FRAME\n") || self.line.starts_with(b"FRAME ");
            if !is_frame || !self.line.ends_with(b"\n") {
                return Err(SourceError::fatal(format!(
                    "{}: no FRAME where one must be; hint: the sender mixes something into the video",
                    self.info.name
                )));
            }
        }
        let (width, height) = (self.info.width as usize, self.info.height as usize);
        let length = width * height + 2 * self.chroma.plane_len(width, height);
        let as_is = matches!(self.chroma, Chroma::Mono | Chroma::C420);
        let (target, spare) = if as_is {
            (buffer, Vec::new())
        } else {
            (std::mem::take(&mut self.planes), buffer)
        };
        let arrival = self.parcel.receive(&mut self.feed, length, target);
        match arrival.map_err(|error| SourceError::io(&self.info.name, &error))? {
            Arrival::Whole(planes) => {
                self.line.clear();
                let now = self.clock.now();
                let data = if as_is {
                    planes
                } else {
                    let mut data = spare;
                    self.reduce(&planes, &mut data);
                    self.planes = planes;
                    data
                };
                self.info.frame(data, now).map(Some)
            }
            Arrival::Cut | Arrival::End => Err(self.cut()),
        }
    }
}
