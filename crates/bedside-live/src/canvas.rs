//! A frame that is painted into, in any pixel format.

use bedside::{Frame, FrameError, Mask, PixelFormat, YuvSpace};

use crate::band::Band;
use crate::painter::painted_format;

/// Red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Colour {
    pub r: u8,
    pub g: u8,
    pub b: u8,
}

impl Colour {
    pub(crate) const fn new(r: u8, g: u8, b: u8) -> Self {
        Self { r, g, b }
    }

    /// Y, U and V, in 16-bit fixed point.
    fn yuv(self, space: &Coefficients) -> [u8; 3] {
        let rgb = [self.r, self.g, self.b].map(i32::from);
        let row = |[a, b, c]: [i32; 3], offset: i32| {
            let [r, g, b_] = rgb;
            let sum = a * r + b * g + c * b_ + (offset << 16) + (1 << 15);
            (sum >> 16).clamp(0, 255) as u8
        };
        [
            row(space.y, space.y_offset),
            row(space.u, 128),
            row(space.v, 128),
        ]
    }
}

/// From RGB to a YUV space: ITU-R BT.601-7 and BT.709-6.
#[derive(Debug, Clone, Copy, Default)]
struct Coefficients {
    y: [i32; 3],
    u: [i32; 3],
    v: [i32; 3],
    y_offset: i32,
}

impl Coefficients {
    fn new(space: YuvSpace) -> Self {
        let (kr, kb, full) = match space {
            YuvSpace::Bt601Limited => (0.299, 0.114, false),
            YuvSpace::Bt601Full => (0.299, 0.114, true),
            YuvSpace::Bt709Limited => (0.2126, 0.0722, false),
            YuvSpace::Bt709Full => (0.2126, 0.0722, true),
        };
        let kg = 1.0 - kr - kb;
        let (luma, chroma) = if full {
            (1.0, 1.0)
        } else {
            (219.0 / 255.0, 224.0 / 255.0)
        };
        let fixed = |row: [f64; 3], scale: f64| row.map(|v| (v * scale * 65536.0).round() as i32);
        let (blue, red) = (2.0 * (1.0 - kb), 2.0 * (1.0 - kr));
        Self {
            y: fixed([kr, kg, kb], luma),
            u: fixed([-kr / blue, -kg / blue, (1.0 - kb) / blue], chroma),
            v: fixed([(1.0 - kr) / red, -kg / red, -kb / red], chroma),
            y_offset: if full { 0 } else { 16 },
        }
    }
}

/// The frame that is painted into.
#[derive(Debug)]
pub(crate) struct Canvas {
    /// What was painted last; its memory is used again.
    done: Option<Frame>,
    data: Vec<u8>,
    width: usize,
    /// Rows of the picture, and with the band.
    picture: usize,
    height: usize,
    format: PixelFormat,
    yuv: YuvSpace,
    captured: bedside::Timestamp,
    space: Coefficients,
    /// Opacity of the mask's pixels in two rows, of 256.
    opacity: [Vec<u16>; 2],
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
            captured: bedside::Timestamp::default(),
            space: Coefficients::default(),
            opacity: [Vec::new(), Vec::new()],
        }
    }
}

impl Canvas {
    /// Copy the frame, with room for a band of so many rows below.
    pub(crate) fn begin(&mut self, frame: &Frame, band: u32) -> Result<(), FrameError> {
        // An odd last row of a chroma plane would be shared with the band.
        let picture = frame.height();
        let height = picture + band;
        bedside::frame::check_size(frame.width(), height)?;
        self.format = painted_format(frame.format());
        (self.width, self.picture) = (frame.width() as usize, picture as usize);
        self.height = height as usize;
        (self.yuv, self.captured) = (frame.yuv_space(), frame.captured());
        self.space = Coefficients::new(self.yuv);
        if let Some(done) = self.done.take() {
            self.data = done.into_data();
        }
        self.data
            .resize(self.format.byte_len(frame.width(), height), 0);
        for row in &mut self.opacity {
            row.clear();
            row.resize(self.width, 0);
        }
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

    /// Paint a mask of the picture's size: a fill of that opacity (of 256), and an outline; with
    /// `dash`, dashes of so many pixels.
    pub(crate) fn mask(&mut self, mask: &Mask, colour: Colour, fill: u16, dash: Option<usize>) {
        if (mask.width() as usize, mask.height() as usize) != (self.width, self.picture) {
            return;
        }
        let stroke = (self.width / 320).max(2);
        let (rows, width) = (mask.data(), self.width);
        let used = |y: usize| {
            let row = rows.get(y * width..(y + 1) * width);
            row.is_some_and(|row| row.contains(&1))
        };
        let mut pairs = std::mem::take(&mut self.opacity);
        for y in (0..self.picture).step_by(2) {
            if !used(y) && !used(y + 1) {
                continue;
            }
            for (line, row) in pairs.iter_mut().enumerate() {
                opacity(row, mask, y + line, fill, stroke, dash);
            }
            let [first, second] = &pairs;
            self.blend(y, first, second, colour);
        }
        self.opacity = pairs;
    }

    /// Blend two rows of the picture from row `y` on.
    fn blend(&mut self, y: usize, first: &[u16], second: &[u16], colour: Colour) {
        let (width, height, picture) = (self.width, self.height, self.picture);
        let half = width.div_ceil(2);
        let [luma, u, v] = colour.yuv(&self.space);
        let lines = [(y, first), (y + 1, second)]
            .into_iter()
            .filter(|(y, _)| *y < picture);
        let chroma = width * height;
        let average = |i: usize| -> u16 {
            let at = |row: &[u16], i: usize| row.get(i).copied().unwrap_or_default();
            let last = (2 * i + 1).min(width - 1);
            (at(first, 2 * i) + at(first, last) + at(second, 2 * i) + at(second, last)) / 4
        };
        match self.format {
            PixelFormat::Rgb8 | PixelFormat::Gray8 => {
                let rgb = [colour.r, colour.g, colour.b];
                for (y, row) in lines {
                    let pixels = self.data.get_mut(y * width * 3..).unwrap_or_default();
                    for (pixel, alpha) in pixels.as_chunks_mut::<3>().0.iter_mut().zip(row) {
                        for (value, target) in pixel.iter_mut().zip(rgb) {
                            *value = mixed(*value, target, *alpha);
                        }
                    }
                }
            }
            PixelFormat::Nv12 => {
                for (y, row) in lines {
                    blend_row(
                        self.data.get_mut(y * width..).unwrap_or_default(),
                        row,
                        luma,
                    );
                }
                let start = chroma + y / 2 * 2 * half;
                let pairs = self
                    .data
                    .get_mut(start..start + 2 * half)
                    .unwrap_or_default();
                for (i, pair) in pairs.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                    let alpha = average(i);
                    *pair = [mixed(pair[0], u, alpha), mixed(pair[1], v, alpha)];
                }
            }
            PixelFormat::I420 => {
                for (y, row) in lines {
                    blend_row(
                        self.data.get_mut(y * width..).unwrap_or_default(),
                        row,
                        luma,
                    );
                }
                let plane = half * height.div_ceil(2);
                for (start, target) in [(chroma, u), (chroma + plane, v)] {
                    let start = start + y / 2 * half;
                    let row = self.data.get_mut(start..start + half).unwrap_or_default();
                    for (i, value) in row.iter_mut().enumerate() {
                        *value = mixed(*value, target, average(i));
                    }
                }
            }
            PixelFormat::Yuyv => {
                for (y, row) in lines {
                    let quads = self.data.get_mut(y * half * 4..).unwrap_or_default();
                    for (quad, alphas) in quads.as_chunks_mut::<4>().0.iter_mut().zip(row.chunks(2))
                    {
                        let left = alphas.first().copied().unwrap_or_default();
                        let right = alphas.last().copied().unwrap_or_default();
                        let [y0, cb, y1, cr] = quad;
                        (*y0, *y1) = (mixed(*y0, luma, left), mixed(*y1, luma, right));
                        let alpha = (left + right) / 2;
                        (*cb, *cr) = (mixed(*cb, u, alpha), mixed(*cr, v, alpha));
                    }
                }
            }
        }
    }

    /// Put the band below the picture.
    pub(crate) fn band(&mut self, band: &Band) {
        let (width, height, half) = (self.width, self.height, self.width.div_ceil(2));
        let space = self.space;
        let chroma = width * height;
        let plane = half * height.div_ceil(2);
        for (y, row) in (self.picture..height).zip(band.rows()) {
            let colours = row
                .chunks(2)
                .map(|pair| pair.first().map_or([0; 3], |c| c.yuv(&space)));
            match self.format {
                PixelFormat::Rgb8 | PixelFormat::Gray8 => {
                    let pixels = self.data.get_mut(y * width * 3..).unwrap_or_default();
                    for (pixel, c) in pixels.as_chunks_mut::<3>().0.iter_mut().zip(row) {
                        *pixel = [c.r, c.g, c.b];
                    }
                }
                PixelFormat::Yuyv => {
                    let quads = self.data.get_mut(y * half * 4..).unwrap_or_default();
                    for ((quad, [_, u, v]), pair) in quads
                        .as_chunks_mut::<4>()
                        .0
                        .iter_mut()
                        .zip(colours)
                        .zip(row.chunks(2))
                    {
                        let luma = |c: Option<&Colour>| c.map_or(0, |c| c.yuv(&space)[0]);
                        *quad = [luma(pair.first()), u, luma(pair.last()), v];
                    }
                }
                PixelFormat::Nv12 | PixelFormat::I420 => {
                    let lumas = self
                        .data
                        .get_mut(y * width..(y + 1) * width)
                        .unwrap_or_default();
                    for (luma, c) in lumas.iter_mut().zip(row) {
                        *luma = c.yuv(&space)[0];
                    }
                    // The first row of each pair that lies in the band wholly gives the colour.
                    if y % 2 == 1 {
                        continue;
                    }
                    if self.format == PixelFormat::Nv12 {
                        let pairs = self
                            .data
                            .get_mut(chroma + y / 2 * 2 * half..)
                            .unwrap_or_default();
                        for (pair, [_, u, v]) in
                            pairs.as_chunks_mut::<2>().0.iter_mut().zip(colours)
                        {
                            *pair = [u, v];
                        }
                    } else {
                        let (us, vs) = self
                            .data
                            .get_mut(chroma..)
                            .and_then(|data| data.split_at_mut_checked(plane))
                            .unwrap_or_default();
                        let (us, vs) = (us.iter_mut(), vs.iter_mut());
                        let start = y / 2 * half;
                        for ((to_u, to_v), [_, u, v]) in
                            us.skip(start).zip(vs.skip(start)).zip(colours)
                        {
                            (*to_u, *to_v) = (u, v);
                        }
                    }
                }
            }
        }
    }

    /// What was painted last.
    pub(crate) fn done(&self) -> Option<&Frame> {
        self.done.as_ref()
    }

    /// What was painted, as a frame.
    pub(crate) fn finish(&mut self) -> Result<&Frame, FrameError> {
        let data = std::mem::take(&mut self.data);
        let frame = Frame::new(self.width as u32, self.height as u32, self.format, data)?;
        let frame = frame.with_yuv_space(self.yuv).captured_at(self.captured);
        Ok(self.done.insert(frame))
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

fn mixed(value: u8, target: u8, alpha: u16) -> u8 {
    let alpha = u32::from(alpha);
    ((u32::from(value) * (256 - alpha) + u32::from(target) * alpha + 128) >> 8) as u8
}

fn blend_row(values: &mut [u8], alphas: &[u16], target: u8) {
    for (value, alpha) in values.iter_mut().zip(alphas) {
        *value = mixed(*value, target, *alpha);
    }
}

/// Opacity of a mask's row: 256 on its outline, `fill` within, 0 outside.
fn opacity(out: &mut [u16], mask: &Mask, y: usize, fill: u16, stroke: usize, dash: Option<usize>) {
    let width = mask.width() as usize;
    let row = |y: usize| mask.data().get(y * width..(y + 1) * width);
    let Some(here) = row(y) else {
        out.fill(0);
        return;
    };
    // Beyond the picture's edge the object goes on.
    let above = y.checked_sub(stroke).and_then(row).unwrap_or(here);
    let below = row(y + stroke).unwrap_or(here);
    for (alpha, set) in out.iter_mut().zip(here) {
        *alpha = u16::from(*set) * fill;
    }
    let full = 256;
    let drawn = |x: usize| dash.is_none_or(|dash| ((x + y) / dash).is_multiple_of(2));
    let vertical = here.iter().zip(above.iter().zip(below)).zip(out.iter_mut());
    for (x, ((set, (above, below)), alpha)) in vertical.enumerate() {
        if set & !(above & below) & 1 == 1 && drawn(x) {
            *alpha = full;
        }
    }
    let (left, right) = (here, here.get(stroke..).unwrap_or_default());
    let pairs = left.iter().zip(right).enumerate();
    for (x, (left, right)) in pairs {
        // Of two pixels a stroke apart the set one is on the outline if the other is not set.
        if left != right {
            let at = if *left == 1 { x } else { x + stroke };
            if let Some(alpha) = out.get_mut(at).filter(|_| drawn(at)) {
                *alpha = full;
            }
        }
    }
}
