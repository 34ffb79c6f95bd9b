//! Frames without any header, one after the other.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bedside_core::{Clock, Frame, Phi, PixelFormat};

use crate::convert::usual_space;
use crate::feed::{Arrival, Feed, Parcel};
use crate::{Source, SourceError, SourceInfo, size};

/// What raw bytes mean, written as `1280x720:nv12@30`; the rate may be left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RawFormat {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Pixel format; rows are tightly packed.
    pub format: PixelFormat,
    /// Frames a second.
    pub frames_per_second: Option<f64>,
}

const FORMATS: [(&str, PixelFormat); 5] = [
    ("nv12", PixelFormat::Nv12),
    ("i420", PixelFormat::I420),
    ("yuyv", PixelFormat::Yuyv),
    ("gray8", PixelFormat::Gray8),
    ("rgb8", PixelFormat::Rgb8),
];

impl FromStr for RawFormat {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let refuse = |why: &str| {
            SourceError::fatal(format!(
                "raw format '{text}': {why}; hint: write it as 1280x720:nv12@30, with one of nv12, \
                 i420, yuyv, gray8, rgb8"
            ))
        };
        let (size, rest) = text.split_once(':').ok_or_else(|| refuse("no ':'"))?;
        let (format, rate) = match rest.split_once('@') {
            Some((format, rate)) => (format, Some(rate)),
            None => (rest, None),
        };
        let (width, height) = parse_size(size).map_err(|why| refuse(&why))?;
        let format = FORMATS
            .iter()
            .find(|(name, _)| *name == format)
            .ok_or_else(|| refuse("unknown pixel format"))?
            .1;
        let frames_per_second = match rate {
            Some(rate) => Some(parse_rate(rate).ok_or_else(|| refuse("not a frame rate"))?),
            None => None,
        };
        Ok(Self {
            width,
            height,
            format,
            frames_per_second,
        })
    }
}

impl fmt::Display for RawFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = FORMATS.iter().find(|(_, format)| *format == self.format);
        let name = name.map_or("", |(name, _)| name);
        write!(f, "{}x{}:{name}", self.width, self.height)?;
        match self.frames_per_second {
            Some(rate) => write!(f, "@{rate}"),
            None => Ok(()),
        }
    }
}

/// A size such as `640x480`, or why it is none.
pub(crate) fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once('x').and_then(|(width, height)| {
        Some((width.parse::<u32>().ok()?, height.parse::<u32>().ok()?))
    });
    let (width, height) = sides.ok_or_else(|| format!("'{text}' is not a size such as 640x480"))?;
    size::check(width, height)?;
    Ok((width, height))
}

/// Frames a second, written as `30`, `29.97` or `30000/1001`.
pub(crate) fn parse_rate(text: &str) -> Option<f64> {
    let rate = match text.split_once('/') {
        Some((above, below)) => above.parse::<f64>().ok()? / below.parse::<f64>().ok()?,
        None => text.parse().ok()?,
    };
    (0.001..=10_000.0).contains(&rate).then_some(rate)
}

/// Raw frames from a file or pipe.
pub(crate) struct RawSource {
    feed: Feed,
    parcel: Parcel,
    info: SourceInfo,
    clock: Arc<dyn Clock>,
}

impl RawSource {
    pub(crate) fn new(
        name: Phi<String>,
        feed: Feed,
        format: RawFormat,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SourceError> {
        let RawFormat { width, height, .. } = format;
        size::check(width, height).map_err(|why| SourceError::fatal(format!("{name}: {why}")))?;
        let info = SourceInfo {
            name,
            width,
            height,
            format: format.format,
            yuv_space: usual_space(height),
            frames_per_second: format.frames_per_second,
            live: feed.live(),
        };
        Ok(Self {
            feed,
            parcel: Parcel::default(),
            info,
            clock,
        })
    }
}

impl Source for RawSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, buffer: Vec<u8>) -> Result<Option<Frame>, SourceError> {
        let info = &self.info;
        self.feed.wait(None);
        let length = info.format.byte_len(info.width, info.height);
        let arrival = self.parcel.receive(&mut self.feed, length, buffer);
        match arrival.map_err(|error| SourceError::io(&info.name, &error))? {
            Arrival::Whole(data) => info.frame(data, self.clock.now()).map(Some),
            Arrival::Cut => {
                self.parcel = Parcel::default();
                Err(SourceError::broken(format!(
                    "{}: ends within a frame; hint: check the raw format's size",
                    info.name
                )))
            }
            Arrival::End => Ok(None),
        }
    }
}
