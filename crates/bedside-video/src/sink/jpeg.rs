//! JPEG out, from YUV without a way through RGB.

use std::io::Write;

use bedside_core::{ColourModel, Frame, FrameView, YuvRowReader, YuvSpace};
use bedside_vision::colour::{black, convert_weights};
use jpeg_encoder::{Encoder, ImageBuffer, JpegColorType, SamplingFactor, rgb_to_ycbcr};

use crate::sink::{Sink, SinkError, SinkErrorKind};

/// Put `frame` as a JPEG of 4:2:0 into `out`; what was in it is replaced. `quality` is 1 to 100.
///
/// # Errors
/// When the encoder refuses the frame, which none of this crate's sources provokes.
pub fn encode_jpeg(out: &mut Vec<u8>, frame: &Frame, quality: u8) -> Result<(), SinkError> {
    out.clear();
    let mut encoder = Encoder::new(out, quality.clamp(1, 100));
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    let encoded = encoder.encode_image(Rows {
        frame: frame.view(),
        matrix: Matrix::new(frame.yuv_space()),
    });
    encoded.map_err(|error| SinkError::new(SinkErrorKind::Frame, format!("JPEG: {error}")))
}

/// JPEG pictures one behind the other.
pub struct MjpegSink<W> {
    name: String,
    out: W,
    quality: u8,
    size: Option<(u32, u32)>,
    bytes: Vec<u8>,
}

impl<W: Write + Send> MjpegSink<W> {
    /// Write to `out`, which errors call `name`. `quality` is 1 to 100.
    pub fn new(name: &str, out: W, quality: u8) -> Self {
        Self {
            name: name.to_owned(),
            out,
            quality,
            size: None,
            bytes: Vec::new(),
        }
    }
}

impl<W: Write + Send> Sink for MjpegSink<W> {
    fn write(&mut self, frame: &Frame) -> Result<(), SinkError> {
        let (width, height) = (frame.width(), frame.height());
        let first = *self.size.get_or_insert((width, height));
        if first != (width, height) {
            let message = format!(
                "{}: {width}x{height} after frames of {}x{}; hint: write it to another file",
                self.name, first.0, first.1
            );
            return Err(SinkError::new(SinkErrorKind::Frame, message));
        }
        encode_jpeg(&mut self.bytes, frame, self.quality)?;
        let written = self.out.write_all(&self.bytes);
        written.map_err(|error| SinkError::io(&self.name, &error))
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        let flushed = self.out.flush();
        flushed.map_err(|error| SinkError::io(&self.name, &error))
    }
}

/// Fixed-point bits of [`Matrix`].
const SHIFT: u32 = 16;

/// From a frame's YUV to JPEG's: BT.601 in full range. Gray stays gray, so chroma follows from
/// chroma alone.
struct Matrix {
    black: i32,
    luma: i32,
    /// What U and V add to Y, Cb and Cr.
    u: [i32; 3],
    v: [i32; 3],
}

impl Matrix {
    fn new(space: YuvSpace) -> Self {
        let fixed = |v: f64| (v * f64::from(1 << SHIFT)).round() as i32;
        let weights = convert_weights(space, YuvSpace::Bt601Full);
        let [
            [luma, u_luma, v_luma],
            [_, u_blue, v_blue],
            [_, u_red, v_red],
        ] = weights.map(|row| row.map(fixed));
        Self {
            black: black(space),
            luma,
            u: [u_luma, u_blue, u_red],
            v: [v_luma, v_blue, v_red],
        }
    }
}

/// Appends a row of YUV to the encoder's buffers.
struct YuvRow<'a> {
    matrix: &'a Matrix,
    width: usize,
    to: &'a mut [Vec<u8>; 4],
}

impl YuvRowReader for YuvRow<'_> {
    fn read(self, pairs: impl Iterator<Item = [u8; 4]>) {
        let Self { matrix, width, to } = self;
        let [luma, blue, red, _] = to;
        let [luma, blue, red] = [luma, blue, red].map(|plane| {
            let start = plane.len();
            plane.resize(start + width, 0);
            plane.split_at_mut(start).1.chunks_mut(2)
        });
        let byte = |v: i32| (v >> SHIFT).clamp(0, 255) as u8;
        let half = 1 << (SHIFT - 1);
        let gray = (128 << SHIFT) + half;
        let ([y_u, blue_u, red_u], [y_v, blue_v, red_v]) = (matrix.u, matrix.v);
        for (((luma, blue), red), [y0, y1, u, v]) in luma.zip(blue).zip(red).zip(pairs) {
            let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
            let colour = y_u * u + y_v * v + half;
            for (pixel, y) in luma.iter_mut().zip([y0, y1]) {
                *pixel = byte((i32::from(y) - matrix.black) * matrix.luma + colour);
            }
            blue.fill(byte(blue_u * u + blue_v * v + gray));
            red.fill(byte(red_u * u + red_v * v + gray));
        }
    }
}

/// A frame as the encoder asks for it: row by row, with as much chroma as luma.
struct Rows<'a> {
    frame: FrameView<'a>,
    matrix: Matrix,
}

impl ImageBuffer for Rows<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        match self.frame.format().colour_model() {
            ColourModel::Gray => JpegColorType::Luma,
            ColourModel::Rgb | ColourModel::Yuv => JpegColorType::Ycbcr,
        }
    }

    fn width(&self) -> u16 {
        self.frame.width() as u16
    }

    fn height(&self) -> u16 {
        self.frame.height() as u16
    }

    fn fill_buffers(&self, y: u16, buffers: &mut [Vec<u8>; 4]) {
        let y = usize::from(y);
        let row = self.frame.planes().first().map(|plane| plane.row(y));
        let row = row.unwrap_or_default();
        match self.frame.format().colour_model() {
            ColourModel::Gray => {
                let [gray, ..] = buffers;
                gray.extend_from_slice(row);
            }
            ColourModel::Rgb => {
                let [luma, blue, red, _] = buffers;
                for &[r, g, b] in row.as_chunks::<3>().0 {
                    let (y, cb, cr) = rgb_to_ycbcr(r, g, b);
                    luma.push(y);
                    blue.push(cb);
                    red.push(cr);
                }
            }
            ColourModel::Yuv => {
                let row = YuvRow {
                    matrix: &self.matrix,
                    width: self.frame.width() as usize,
                    to: buffers,
                };
                self.frame.yuv_row(y, row);
            }
        }
    }
}
