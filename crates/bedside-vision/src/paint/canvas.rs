//! A frame that is painted into, in its own pixel format.

use std::ops::Range;

use bedside_core::{
    BoundingBox, ColourModel, Component, Frame, FrameError, FrameView, Mask, PixelFormat,
    Timestamp, YuvSpace,
};

use super::Band;
use super::brush::{Brush, FULL, Style};
use super::palette::Colour;
use crate::colour::RgbToYuv;

/// A copy of a frame that masks are painted into, with a band of words below it. Keeps its buffers
/// from frame to frame.
#[derive(Debug)]
pub struct Canvas {
    /// What was painted last; its memory is used again.
    painted: Option<Frame>,
    data: Vec<u8>,
    width: usize,
    /// Rows of the frame, and of frame and band together.
    frame_rows: usize,
    rows: usize,
    format: PixelFormat,
    yuv: YuvSpace,
    captured: Timestamp,
    brush: Brush,
}

impl Default for Canvas {
    fn default() -> Self {
        Self {
            painted: None,
            data: Vec::new(),
            width: 0,
            frame_rows: 0,
            rows: 0,
            format: PixelFormat::I420,
            yuv: YuvSpace::default(),
            captured: Timestamp::default(),
            brush: Brush::default(),
        }
    }
}

impl Canvas {
    /// Copy the frame, with room for a band of so many rows below. Gray frames become I420 of equal
    /// luma, BT.601 in full range; others keep their format.
    pub fn begin<'a>(&mut self, frame: impl Into<FrameView<'a>>, band: u32) {
        let frame = frame.into();
        let rows = frame.height() + band;
        (self.width, self.frame_rows) = (frame.width() as usize, frame.height() as usize);
        self.rows = rows as usize;
        self.captured = frame.captured();
        (self.format, self.yuv) = match frame.format().colour_model() {
            ColourModel::Gray => (PixelFormat::I420, YuvSpace::Bt601Full),
            ColourModel::Rgb | ColourModel::Yuv => (frame.format(), frame.yuv_space()),
        };
        if let Some(painted) = self.painted.take() {
            self.data = painted.into_data();
        }
        self.data
            .resize(self.format.byte_len(frame.width(), rows), 0);
        self.brush.fit(self.width);
        self.copy(&frame);
    }

    /// Paint into pixels of RGB that are there already.
    pub(crate) fn begin_rgb(&mut self, width: u32, height: u32, rgb: Vec<u8>, band: u32) {
        let rows = height + band;
        (self.width, self.frame_rows) = (width as usize, height as usize);
        (self.rows, self.format, self.data) = (rows as usize, PixelFormat::Rgb8, rgb);
        self.data.resize(self.format.byte_len(width, rows), 0);
        self.brush.fit(self.width);
    }

    fn copy(&mut self, frame: &FrameView<'_>) {
        let sizes = self.format.planes(self.width as u32, self.rows as u32);
        let mut rest = self.data.as_mut_slice();
        for (index, size) in sizes.into_iter().enumerate() {
            let (to, behind) = std::mem::take(&mut rest)
                .split_at_mut_checked(size.byte_len())
                .unwrap_or_default();
            rest = behind;
            let Some(from) = frame.planes().get(index) else {
                // Chroma of a gray frame.
                to.fill(128);
                continue;
            };
            match from.packed() {
                Some(bytes) => {
                    if let Some(to) = to.get_mut(..bytes.len()) {
                        to.copy_from_slice(bytes);
                    }
                }
                None => {
                    for (to, row) in to.chunks_exact_mut(size.row).zip(from.rows()) {
                        to.copy_from_slice(row);
                    }
                }
            }
        }
    }

    /// Paint a mask. Nothing is painted beyond the extents, nor of a mask of another size than the
    /// frame's: it does not say where in this frame the object is.
    pub fn mask(&mut self, mask: &Mask, extents: BoundingBox, colour: Colour, style: Style) {
        if (mask.width() as usize, mask.height() as usize) != (self.width, self.frame_rows) {
            return;
        }
        let mut brush = std::mem::take(&mut self.brush);
        brush.begin(style);
        let colour = self.components_of(colour);
        // Whole squares of pixels that share their chroma.
        let range = |start: u32, len: u32, end: usize| {
            let (start, len) = (start as usize, len as usize);
            start / 2 * 2..start.saturating_add(len).next_multiple_of(2).min(end)
        };
        let columns = range(extents.x, extents.width, self.width);
        for y in range(extents.y, extents.height, self.frame_rows).step_by(2) {
            brush.take(mask, y, &columns);
            self.blend(y, &columns, &brush, colour);
        }
        self.brush = brush;
    }

    /// A colour in the components of the format.
    fn components_of(&self, colour: Colour) -> [u8; 3] {
        match self.format.colour_model() {
            ColourModel::Gray | ColourModel::Rgb => colour.rgb(),
            ColourModel::Yuv => colour.yuv(&RgbToYuv::new(self.yuv)),
        }
    }

    /// The bytes of row `y` of the component's plane, from the sample of column `x` on.
    fn samples(&mut self, component: &Component, x: usize, y: usize) -> &mut [u8] {
        let sizes = self.format.planes(self.width as u32, self.rows as u32);
        let before = sizes.iter().take(component.plane);
        let plane: usize = before.map(|size| size.byte_len()).sum();
        let row = sizes.get(component.plane).map_or(0, |size| size.row);
        let start = plane + (y >> component.row_shift) * row;
        let first = (x >> component.column_shift) * component.step + component.offset;
        self.data
            .get_mut(start + first..start + row)
            .unwrap_or_default()
    }

    /// Blend two rows of the frame from row `y` on.
    fn blend(&mut self, y: usize, columns: &Range<usize>, brush: &Brush, colour: [u8; 3]) {
        let (format, left) = (self.format, columns.start);
        let lines = (y..self.frame_rows).zip(brush.rows());
        let [first, u, v] = format.components() else {
            return;
        };
        let [luma, u_target, v_target] = colour;
        if format.colour_model() == ColourModel::Rgb {
            for (y, row) in lines {
                blend_groups(self.samples(first, left, y), row, colour);
            }
            return;
        }
        for (y, row) in lines.clone() {
            blend_samples(self.samples(first, left, y), first.step, row, luma);
        }
        if u.row_shift == 0 {
            // Packed: each row has chroma of its own, which two pixels share.
            for (y, row) in lines {
                for (component, target) in [(u, u_target), (v, v_target)] {
                    let samples = self.samples(component, left, y);
                    let samples = samples.iter_mut().step_by(component.step);
                    for (sample, pair) in samples.zip(row.chunks(2)) {
                        let sum = pair.first().zip(pair.last()).map_or(0, |(a, b)| a + b);
                        *sample = mixed(*sample, target, sum / 2);
                    }
                }
            }
        } else if u.plane == v.plane {
            let (start, targets) = if u.offset < v.offset {
                (u, [u_target, v_target])
            } else {
                (v, [v_target, u_target])
            };
            blend_groups(self.samples(start, left, y), brush.halved(), targets);
        } else {
            for (component, target) in [(u, u_target), (v, v_target)] {
                let samples = self.samples(component, left, y);
                blend_samples(samples, component.step, brush.halved(), target);
            }
        }
    }

    /// Put the band below the frame.
    pub fn band(&mut self, band: &Band) {
        let mut inks = [[0; 3]; 256];
        for (ink, colour) in inks.iter_mut().zip(band.inks()) {
            *ink = self.components_of(*colour);
        }
        let ink = |at: &u8| inks.get(usize::from(*at)).copied().unwrap_or_default();
        let rgb = self.format.colour_model() == ColourModel::Rgb;
        for (y, row) in (self.frame_rows..self.rows).zip(band.rows()) {
            for (index, component) in self.format.components().iter().enumerate() {
                if rgb && index == 0 {
                    let pixels = self.samples(component, 0, y).as_chunks_mut::<3>().0;
                    for (pixel, at) in pixels.iter_mut().zip(row) {
                        *pixel = ink(at);
                    }
                }
                // Of two rows that share chroma, the first that lies in the band for sure gives it.
                let shared = component.row_shift == 1 && y % 2 == 1;
                if rgb || shared {
                    continue;
                }
                let (step, columns) = (component.step, 1 << component.column_shift);
                let samples = self.samples(component, 0, y).iter_mut().step_by(step);
                for (sample, at) in samples.zip(row.iter().step_by(columns)) {
                    *sample = ink(at).get(index).copied().unwrap_or_default();
                }
            }
        }
    }

    /// What was painted last.
    pub fn painted(&self) -> Option<&Frame> {
        self.painted.as_ref()
    }

    /// What was painted, as a frame.
    ///
    /// # Errors
    /// When frame and band together are larger than a frame may be.
    pub fn finish(&mut self) -> Result<&Frame, FrameError> {
        let data = std::mem::take(&mut self.data);
        let frame = Frame::new(self.width as u32, self.rows as u32, self.format, data)?;
        let frame = frame.with_yuv_space(self.yuv).captured_at(self.captured);
        Ok(self.painted.insert(frame))
    }

    /// What was painted, as bytes, with the number of rows.
    pub(crate) fn into_bytes(self) -> (u32, Vec<u8>) {
        (self.rows as u32, self.data)
    }
}

fn mixed(value: u8, target: u8, opacity: u16) -> u8 {
    let sum = u16::from(value) * (FULL - opacity) + u16::from(target) * opacity;
    ((sum + FULL / 2) / FULL) as u8
}

/// Blend groups of samples that lie side by side, all of a group alike.
fn blend_groups<const N: usize>(samples: &mut [u8], opacities: &[u16], targets: [u8; N]) {
    let groups = samples.as_chunks_mut::<N>().0;
    for (group, opacity) in groups.iter_mut().zip(opacities) {
        for (value, target) in group.iter_mut().zip(targets) {
            *value = mixed(*value, target, *opacity);
        }
    }
}

/// Blend samples that lie `step` bytes apart.
fn blend_samples(samples: &mut [u8], step: usize, opacities: &[u16], target: u8) {
    if step == 1 {
        // Apart, because this compiles to vectors.
        for (value, opacity) in samples.iter_mut().zip(opacities) {
            *value = mixed(*value, target, *opacity);
        }
    } else {
        for (value, opacity) in samples.iter_mut().step_by(step).zip(opacities) {
            *value = mixed(*value, target, *opacity);
        }
    }
}
