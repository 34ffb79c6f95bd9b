//! JPEG out, from YUV without a way through RGB.

use std::io::Write;

use bedside_core::{Frame, PixelFormat, YuvSpace};
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
    let picture = Picture {
        frame,
        matrix: Matrix::new(frame.yuv_space()),
    };
    let encoded = encoder.encode_image(picture);
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
    /// Write to `out`, which `name` tells in errors. `quality` is 1 to 100.
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
        let ((kr, kb), full) = (space.luma_weights(), space.is_full_range());
        let kg = 1.0 - kr - kb;
        let (luma, chroma) = if full {
            (1.0, 1.0)
        } else {
            (255.0 / 219.0, 255.0 / 224.0)
        };
        let (to_red, to_blue) = (2.0 * (1.0 - kr), 2.0 * (1.0 - kb));
        // BT.601 luma of the colour that U, or V, alone makes.
        let u_luma = 0.114 * to_blue - 0.587 * to_blue * kb / kg;
        let v_luma = 0.299 * to_red - 0.587 * to_red * kr / kg;
        let fixed = |v: f64| (v * f64::from(1 << SHIFT)).round() as i32;
        let scaled = |row: [f64; 3]| row.map(|v| fixed(v * chroma));
        Self {
            black: if full { 0 } else { 16 },
            luma: fixed(luma),
            u: scaled([u_luma, (to_blue - u_luma) / 1.772, -u_luma / 1.402]),
            v: scaled([v_luma, -v_luma / 1.772, (to_red - v_luma) / 1.402]),
        }
    }

    /// Append a row from `[y0, y1, u, v]` for each two pixels; of the last one maybe only one.
    fn row(&self, width: usize, quads: impl Iterator<Item = [u8; 4]>, to: &mut [Vec<u8>; 4]) {
        let [luma, blue, red, _] = to;
        let [luma, blue, red] = [luma, blue, red].map(|plane| {
            let start = plane.len();
            plane.resize(start + width, 0);
            plane.split_at_mut(start).1.chunks_mut(2)
        });
        let byte = |v: i32| (v >> SHIFT).clamp(0, 255) as u8;
        let half = 1 << (SHIFT - 1);
        let gray = (128 << SHIFT) + half;
        let ([y_u, blue_u, red_u], [y_v, blue_v, red_v]) = (self.u, self.v);
        for (((luma, blue), red), [y0, y1, u, v]) in luma.zip(blue).zip(red).zip(quads) {
            let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
            let colour = y_u * u + y_v * v + half;
            for (pixel, y) in luma.iter_mut().zip([y0, y1]) {
                *pixel = byte((i32::from(y) - self.black) * self.luma + colour);
            }
            blue.fill(byte(blue_u * u + blue_v * v + gray));
            red.fill(byte(red_u * u + red_v * v + gray));
        }
    }
}

/// A frame as the encoder asks for it: row by row, with as much chroma as luma.
struct Picture<'a> {
    frame: &'a Frame,
    matrix: Matrix,
}

/// Row `at` of rows of `length` bytes.
fn row(plane: &[u8], at: usize, length: usize) -> &[u8] {
    plane
        .get(at * length..(at + 1) * length)
        .unwrap_or_default()
}

/// Luma two by two; the last of an odd row is told twice.
fn pairs(luma: &[u8]) -> impl Iterator<Item = [u8; 2]> + '_ {
    let (pairs, single) = luma.as_chunks::<2>();
    pairs.iter().copied().chain(single.iter().map(|y| [*y; 2]))
}

impl ImageBuffer for Picture<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        match self.frame.format() {
            PixelFormat::Gray8 => JpegColorType::Luma,
            _ => JpegColorType::Ycbcr,
        }
    }

    fn width(&self) -> u16 {
        self.frame.width() as u16
    }

    fn height(&self) -> u16 {
        self.frame.height() as u16
    }

    fn fill_buffers(&self, y: u16, buffers: &mut [Vec<u8>; 4]) {
        let (width, height) = (self.frame.width() as usize, self.frame.height() as usize);
        let (half_width, at) = (width.div_ceil(2), usize::from(y));
        let data = self.frame.data();
        let (luma, chroma) = data.split_at_checked(width * height).unwrap_or((data, &[]));
        match self.frame.format() {
            PixelFormat::Gray8 => {
                let [gray, ..] = buffers;
                gray.extend_from_slice(row(data, at, width));
            }
            PixelFormat::Rgb8 => {
                let [luma, blue, red, _] = buffers;
                for &[r, g, b] in row(data, at, 3 * width).as_chunks::<3>().0 {
                    let (y, cb, cr) = rgb_to_ycbcr(r, g, b);
                    luma.push(y);
                    blue.push(cb);
                    red.push(cr);
                }
            }
            PixelFormat::Nv12 => {
                let chroma = row(chroma, at / 2, 2 * half_width).as_chunks::<2>().0;
                let quads = pairs(row(luma, at, width)).zip(chroma);
                let quads = quads.map(|([a, b], [u, v])| [a, b, *u, *v]);
                self.matrix.row(width, quads, buffers);
            }
            PixelFormat::I420 => {
                let (u, v) = chroma.split_at(chroma.len() / 2);
                let chroma = row(u, at / 2, half_width)
                    .iter()
                    .zip(row(v, at / 2, half_width));
                let quads = pairs(row(luma, at, width)).zip(chroma);
                let quads = quads.map(|([a, b], (u, v))| [a, b, *u, *v]);
                self.matrix.row(width, quads, buffers);
            }
            PixelFormat::Yuyv => {
                let quads = row(data, at, 4 * half_width).as_chunks::<4>().0.iter();
                let quads = quads.map(|[y0, u, y1, v]| [*y0, *y1, *u, *v]);
                self.matrix.row(width, quads, buffers);
            }
        }
    }
}
