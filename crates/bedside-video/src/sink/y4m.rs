//! YUV4MPEG2 out: 4:2:0, 8 bits.

use std::fmt;
use std::io::Write;

use bedside_core::{Frame, YuvSpace};

use crate::convert::{i420_space, to_i420};
use crate::sink::{Sink, SinkError, SinkErrorKind};
use crate::y4m::MATRIX_TAG;

/// Y4M to a file or pipe. The header follows from the first frame.
pub struct Y4mSink<W> {
    name: String,
    out: W,
    frames_per_second: f64,
    shape: Option<Shape>,
    /// One frame with its `FRAME` line, so that it is written at once.
    bytes: Vec<u8>,
}

/// What all frames share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    width: u32,
    height: u32,
    space: YuvSpace,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{} {:?}", self.width, self.height, self.space)
    }
}

impl<W: Write + Send> Y4mSink<W> {
    /// Write to `out`, which errors call `name`.
    pub fn new(name: &str, out: W, frames_per_second: f64) -> Self {
        Self {
            name: name.to_owned(),
            out,
            frames_per_second,
            shape: None,
            bytes: Vec::new(),
        }
    }

    fn header(&self, shape: Shape) -> String {
        let (above, below) = ratio(self.frames_per_second);
        let full = shape.space.is_full_range();
        let range = if full { "FULL" } else { "LIMITED" };
        let matrix = match shape.space {
            YuvSpace::Bt601Limited | YuvSpace::Bt601Full => "601",
            YuvSpace::Bt709Limited | YuvSpace::Bt709Full => "709",
        };
        let Shape { width, height, .. } = shape;
        format!(
            "YUV4MPEG2 W{width} H{height} F{above}:{below} Ip A1:1 C420jpeg XCOLORRANGE={range} \
             {MATRIX_TAG}{matrix}\n"
        )
    }
}

/// Frames a second as the ratio that video has it: 29.97 is 30000:1001.
fn ratio(frames_per_second: f64) -> (u32, u32) {
    let near = |value: f64| (value - value.round()).abs() < 1e-3 && value >= 1.0;
    match frames_per_second {
        rate if near(rate) => (rate.round() as u32, 1),
        rate if near(rate * 1.001) => ((rate * 1.001).round() as u32 * 1000, 1001),
        rate => ((rate * 1000.0).round().max(1.0) as u32, 1000),
    }
}

impl<W: Write + Send> Sink for Y4mSink<W> {
    fn write(&mut self, frame: &Frame) -> Result<(), SinkError> {
        let shape = Shape {
            width: frame.width(),
            height: frame.height(),
            space: i420_space(frame),
        };
        self.bytes.clear();
        match self.shape {
            None => {
                let header = self.header(shape);
                self.bytes.extend_from_slice(header.as_bytes());
                self.shape = Some(shape);
            }
            Some(first) if first != shape => {
                let message = format!(
                    "{}: {shape} after frames of {first}; hint: write it to another file",
                    self.name
                );
                return Err(SinkError::new(SinkErrorKind::Frame, message));
            }
            Some(_) => {}
        }
        self.bytes.extend_from_slice(b"FRAME\n");
        to_i420(frame, &mut self.bytes);
        let written = self.out.write_all(&self.bytes);
        written.map_err(|error| SinkError::io(&self.name, &error))
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        let flushed = self.out.flush();
        flushed.map_err(|error| SinkError::io(&self.name, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_written_as_video_has_them() {
        let rates = [25.0, 29.97, 59.94, 23.976, 12.5, 0.5, 30000.0 / 1001.0];
        assert_eq!(
            rates.map(ratio),
            [
                (25, 1),
                (30000, 1001),
                (60000, 1001),
                (24000, 1001),
                (12500, 1000),
                (500, 1000),
                (30000, 1001)
            ]
        );
    }
}
