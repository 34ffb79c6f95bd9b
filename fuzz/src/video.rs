//! What comes from cameras' files and pipes.

use std::path::Path;
use std::sync::Arc;

use bedside_core::ManualClock;
use bedside_video::{
    MAX_VIDEO_PIXELS, OpenOptions, Pace, RawFormat, SourceErrorKind, open, phantom_config, still,
};

use crate::{bounded, one_line, scratch};

/// Calls for a frame, of each input.
const CALLS: usize = 8;
/// Most bytes for what is read as it is: the largest picture as YUV 4:4:4, and as 4:2:0.
const PLAIN: u64 = 5 * MAX_VIDEO_PIXELS as u64;
/// Most bytes for JPEG: coefficients of a progressive picture, its planes in both forms, and what
/// is compressed.
const JPEG: u64 = 20 * MAX_VIDEO_PIXELS as u64;
/// Most bytes for H.264: as many, and the pictures that are kept for reference, each with its
/// motion.
const H264: u64 = JPEG + 12 * 184_320 * 256;
/// Most bytes for a still of 64 megapixels, with what its decoder may ask for.
const STILL: u64 = 1 << 30;

fn source(name: &str, data: &[u8], raw: Option<RawFormat>, most: u64) {
    let path = scratch::file(name, data);
    let mut options = OpenOptions::new(Arc::new(ManualClock::default()));
    options.pace = Pace::Fast;
    options.raw = raw;
    bounded(most, || frames(&path, &options));
}

fn frames(path: &Path, options: &OpenOptions) {
    let mut source = match open(path.to_str().expect("UTF-8"), options) {
        Ok(source) => source,
        Err(error) => return one_line(&error),
    };
    let info = source.info().clone();
    let pixels = u64::from(info.width) * u64::from(info.height);
    assert!((1..=u64::from(MAX_VIDEO_PIXELS)).contains(&pixels));
    let mut buffer = Vec::new();
    for _ in 0..CALLS {
        match source.next(std::mem::take(&mut buffer)) {
            Ok(Some(frame)) => {
                let of = (frame.width(), frame.height(), frame.format());
                assert_eq!(of, (info.width, info.height, info.format));
                buffer = frame.into_data();
            }
            Ok(None) => return,
            Err(error) => {
                one_line(&error);
                if error.kind() == SourceErrorKind::Fatal {
                    return;
                }
            }
        }
    }
}

/// YUV4MPEG2.
pub fn y4m(data: &[u8]) {
    source("a.y4m", data, None, PLAIN);
}

/// Motion JPEG in AVI.
pub fn avi(data: &[u8]) {
    source("a.avi", data, None, JPEG);
}

/// JPEG pictures one behind the other.
pub fn mjpeg(data: &[u8]) {
    source("a.mjpeg", data, None, JPEG);
}

/// H.264 in MP4, or in a transport stream.
pub fn mp4(data: &[u8]) {
    source("a.mp4", data, None, H264);
}

/// A still in any form; its content tells which.
pub fn still(data: &[u8]) {
    let path = scratch::file("a.png", data);
    bounded(STILL, || {
        if let Err(error) = still::read(&path) {
            one_line(&error);
        }
    });
}

/// What a person writes of a source: a phantom, or a raw format, whose frames then are all behind
/// the first line.
pub fn words(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (line, rest) = text.split_once('\n').unwrap_or((&text, ""));
    if let Ok(format) = line.parse::<RawFormat>() {
        assert_eq!(format.to_string().parse(), Ok(format));
        source("a.raw", rest.as_bytes(), Some(format), PLAIN);
    }
    if let Ok(config) = phantom_config(line) {
        assert!(config.width > 0 && config.height > 0 && config.frame_rate > 0.0);
    }
}
