//! A frame that is painted into, in any pixel format.

use std::ops::Range;

use bedside_core::frame::check_size;
use bedside_core::{BoundingBox, Frame, FrameError, Mask, PixelFormat, Timestamp, YuvSpace};

use super::band::Band;
use super::brush::{Brush, FULL, Style};
use crate::colour::RgbToYuv;

/// Red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour {
    pub r: u8,
    pub g: u8,
    pub b: u8,
}

impl Colour {
    pub const fn new(r: u8, g: u8, b: u8) -> Self {
        Self { r, g, b }
    }

    fn rgb(self) -> [u8; 3] {
        [self.r, self.g, self.b]
    }

    /// Y, U and V.
    fn yuv(self, to_yuv: &RgbToYuv) -> [u8; 3] {
        let [u, v] = to_yuv.chroma(self.rgb());
        [to_yuv.luma(self.rgb()), u, v]
    }
}

/// The frame that is painted into.
#[derive(Debug)]
pub struct Canvas {
    /// What was painted last; its memory is used again.
    done: Option<Frame>,
    data: Vec<u8>,
    width: usize,
    /// Rows of the picture, and with the band.
    picture: usize,
    height: usize,
    format: PixelFormat,
    yuv: YuvSpace,
    captured: Timestamp,
    brush: Brush,
}

impl Default for Canvas {
    fn default() -> Self {
        Self {
            done: None,
            data: Vec::new(),
            width: 0,
            picture: 0,
            height: 0,
            format: PixelFormat::Rgb8,
            yuv: YuvSpace::default(),
            captured: Timestamp::default(),
            brush: Brush::default(),
        }
    }
}

impl Canvas {
    /// Copy the frame, with room for a band of so many rows below.
    pub fn begin(&mut self, frame: &Frame, band: u32) -> Result<(), FrameError> {
        let picture = frame.height();
        let height = picture + band;
        check_size(frame.width(), height)?;
        self.format = painted_format(frame.format());
        (self.width, self.picture) = (frame.width() as usize, picture as usize);
        self.height = height as usize;
        (self.yuv, self.captured) = (frame.yuv_space(), frame.captured());
        if let Some(done) = self.done.take() {
            self.data = done.into_data();
        }
        self.data
            .resize(self.format.byte_len(frame.width(), height), 0);
        self.brush.fit(self.width);
        self.copy(frame);
        Ok(())
    }

    fn copy(&mut self, frame: &Frame) {
        let from = frame.data();
        if frame.format() == PixelFormat::Gray8 {
            for (rgb, gray) in self.data.as_chunks_mut::<3>().0.iter_mut().zip(from) {
                *rgb = [*gray; 3];
            }
            return;
        }
        let here = planes(self.format, self.width, self.height);
        let there = planes(self.format, self.width, self.picture);
        let (mut to, mut from) = (self.data.as_mut_slice(), from);
        for (here, there) in here.into_iter().zip(there) {
            let (plane, rest) = std::mem::take(&mut to)
                .split_at_mut_checked(here)
                .unwrap_or_default();
            let (source, tail) = from.split_at_checked(there).unwrap_or_default();
            if let Some(plane) = plane.get_mut(..source.len()) {
                plane.copy_from_slice(source);
            }
            (to, from) = (rest, tail);
        }
    }

    /// Paint a mask of the picture's size: a fill of that opacity, of [`FULL`], and an outline,
    /// whose dashes have so many pixels unless 0.
    /// Nothing beyond the extents is painted.
    pub fn mask(
        &mut self,
        mask: &Mask,
        extents: BoundingBox,
        colour: Colour,
        fill: u16,
        dash: usize,
    ) {
        if (mask.width() as usize, mask.height() as usize) != (self.width, self.picture) {
            return;
        }
        let stroke = (self.width / 320).max(2);
        let mut brush = std::mem::take(&mut self.brush);
        brush.begin(Style { fill, stroke, dash });
        // Whole squares of pixels that share their chroma.
        let range = |start: u32, len: u32, end: usize| {
            let (start, len) = (start as usize, len as usize);
            start / 2 * 2..start.saturating_add(len).next_multiple_of(2).min(end)
        };
        let columns = range(extents.x, extents.width, self.width);
        for y in range(extents.y, extents.height, self.picture).step_by(2) {
            brush.take(mask, y, &columns);
            self.blend(y, &columns, &brush, colour);
        }
        self.brush = brush;
    }

    /// Blend two rows of the picture from row `y` on.
    fn blend(&mut self, y: usize, columns: &Range<usize>, brush: &Brush, colour: Colour) {
        let (width, height) = (self.width, self.height);
        let half = width.div_ceil(2);
        let chroma = width * height;
        let [luma, u, v] = colour.yuv(&RgbToYuv::new(self.yuv));
        let lines = (y..self.picture).zip(brush.rows());
        let left = columns.start / 2;
        let data = self.data.as_mut_slice();
        match self.format {
            PixelFormat::Rgb8 | PixelFormat::Gray8 => {
                for (y, row) in lines {
                    let pixels = tail(data, (y * width + columns.start) * 3)
                        .as_chunks_mut::<3>()
                        .0;
                    for (pixel, opacity) in pixels.iter_mut().zip(row) {
                        for (value, target) in pixel.iter_mut().zip(colour.rgb()) {
                            *value = mixed(*value, target, *opacity);
                        }
                    }
                }
            }
            PixelFormat::Nv12 => {
                for (y, row) in lines {
                    blend_row(tail(data, y * width + columns.start), row, luma);
                }
                let pairs = tail(data, chroma + (y / 2 * half + left) * 2)
                    .as_chunks_mut::<2>()
                    .0;
                for (pair, opacity) in pairs.iter_mut().zip(brush.halved()) {
                    *pair = [mixed(pair[0], u, *opacity), mixed(pair[1], v, *opacity)];
                }
            }
            PixelFormat::I420 => {
                for (y, row) in lines {
                    blend_row(tail(data, y * width + columns.start), row, luma);
                }
                let plane = half * height.div_ceil(2);
                for (start, target) in [(chroma, u), (chroma + plane, v)] {
                    blend_row(
                        tail(data, start + y / 2 * half + left),
                        brush.halved(),
                        target,
                    );
                }
            }
            PixelFormat::Yuyv => {
                for (y, row) in lines {
                    let quads = tail(data, (y * half + left) * 4).as_chunks_mut::<4>().0;
                    for (quad, opacities) in quads.iter_mut().zip(row.chunks(2)) {
                        let first = opacities.first().copied().unwrap_or_default();
                        let last = opacities.last().copied().unwrap_or_default();
                        let [y0, cb, y1, cr] = quad;
                        (*y0, *y1) = (mixed(*y0, luma, first), mixed(*y1, luma, last));
                        let both = (first + last) / 2;
                        (*cb, *cr) = (mixed(*cb, u, both), mixed(*cr, v, both));
                    }
                }
            }
        }
    }

    /// Put the band below the picture.
    pub fn band(&mut self, band: &Band) {
        let (width, height, half) = (self.width, self.height, self.width.div_ceil(2));
        let chroma = width * height;
        let plane = half * height.div_ceil(2);
        let to_yuv = RgbToYuv::new(self.yuv);
        let mut inks = [[0; 3]; 256];
        for (ink, colour) in inks.iter_mut().zip(band.inks()) {
            *ink = match self.format {
                PixelFormat::Rgb8 | PixelFormat::Gray8 => colour.rgb(),
                _ => colour.yuv(&to_yuv),
            };
        }
        let ink = |at: &u8| inks.get(usize::from(*at)).copied().unwrap_or_default();
        let data = self.data.as_mut_slice();
        for (y, row) in (self.picture..height).zip(band.rows()) {
            let pairs = row.chunks(2).map(|pair| match pair {
                [a, b] => [ink(a), ink(b)],
                [a] => [ink(a); 2],
                _ => [[0; 3]; 2],
            });
            match self.format {
                PixelFormat::Rgb8 | PixelFormat::Gray8 => {
                    let pixels = tail(data, y * width * 3).as_chunks_mut::<3>().0;
                    for (pixel, at) in pixels.iter_mut().zip(row) {
                        *pixel = ink(at);
                    }
                }
                PixelFormat::Yuyv => {
                    let quads = tail(data, y * half * 4).as_chunks_mut::<4>().0;
                    for (quad, [[y0, u, v], [y1, ..]]) in quads.iter_mut().zip(pairs) {
                        *quad = [y0, u, y1, v];
                    }
                }
                PixelFormat::Nv12 | PixelFormat::I420 => {
                    for (luma, at) in tail(data, y * width).iter_mut().zip(row) {
                        [*luma, ..] = ink(at);
                    }
                    // Of a pair of rows the one that lies in the band for sure gives the colour.
                    if y % 2 == 1 {
                        continue;
                    }
                    let start = y / 2 * half;
                    if self.format == PixelFormat::Nv12 {
                        let samples = tail(data, chroma + 2 * start).as_chunks_mut::<2>().0;
                        for (sample, [[_, u, v], _]) in samples.iter_mut().zip(pairs) {
                            *sample = [u, v];
                        }
                    } else {
                        let (us, vs) = tail(data, chroma)
                            .split_at_mut_checked(plane)
                            .unwrap_or_default();
                        let samples = us.iter_mut().skip(start).zip(vs.iter_mut().skip(start));
                        for ((to_u, to_v), [[_, u, v], _]) in samples.zip(pairs) {
                            (*to_u, *to_v) = (u, v);
                        }
                    }
                }
            }
        }
    }

    /// What was painted last.
    pub fn done(&self) -> Option<&Frame> {
        self.done.as_ref()
    }

    /// What was painted, as a frame.
    pub fn finish(&mut self) -> Result<&Frame, FrameError> {
        let data = std::mem::take(&mut self.data);
        let frame = Frame::new(self.width as u32, self.height as u32, self.format, data)?;
        let frame = frame.with_yuv_space(self.yuv).captured_at(self.captured);
        Ok(self.done.insert(frame))
    }
}

/// The format that a painted frame of this format has.
pub fn painted_format(format: PixelFormat) -> PixelFormat {
    match format {
        PixelFormat::Gray8 => PixelFormat::Rgb8,
        other => other,
    }
}

/// Bytes of each plane.
fn planes(format: PixelFormat, width: usize, height: usize) -> [usize; 3] {
    let half = width.div_ceil(2) * height.div_ceil(2);
    match format {
        PixelFormat::Rgb8 => [width * height * 3, 0, 0],
        PixelFormat::Gray8 => [width * height, 0, 0],
        PixelFormat::Nv12 => [width * height, 2 * half, 0],
        PixelFormat::I420 => [width * height, half, half],
        PixelFormat::Yuyv => [width.div_ceil(2) * 4 * height, 0, 0],
    }
}

/// The bytes from a place on; none beyond the end.
fn tail(data: &mut [u8], start: usize) -> &mut [u8] {
    data.get_mut(start..).unwrap_or_default()
}

fn mixed(value: u8, target: u8, opacity: u16) -> u8 {
    let sum = u16::from(value) * (FULL - opacity) + u16::from(target) * opacity;
    ((sum + FULL / 2) / FULL) as u8
}

fn blend_row(values: &mut [u8], opacities: &[u16], target: u8) {
    for (value, opacity) in values.iter_mut().zip(opacities) {
        *value = mixed(*value, target, *opacity);
    }
}
