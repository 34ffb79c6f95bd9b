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

    /// The bytes of row `y` of the component's plane, from the group of samples of column `x` on.
    fn groups(&mut self, component: &Component, x: usize, y: usize) -> &mut [u8] {
        let sizes = self.format.planes(self.width as u32, self.rows as u32);
        let before = sizes.iter().take(component.plane);
        let plane: usize = before.map(|size| size.byte_len()).sum();
        let row = sizes.get(component.plane).map_or(0, |size| size.row);
        let start = plane + (y >> component.row_shift) * row;
        let first = (x >> component.column_shift) * component.step;
        self.data
            .get_mut(start + first..start + row)
            .unwrap_or_default()
    }

    /// The same from the component's own sample on.
    fn samples(&mut self, component: &Component, x: usize, y: usize) -> &mut [u8] {
        let groups = self.groups(component, x, y);
        groups.get_mut(component.offset..).unwrap_or_default()
    }

    /// Blend two rows of the frame from row `y` on.
    fn blend(&mut self, y: usize, columns: &Range<usize>, brush: &Brush, colour: [u8; 3]) {
        let left = columns.start;
        let lines = (y..self.frame_rows).zip(brush.rows());
        let [first, u, v] = self.format.components() else {
            return;
        };
        let [luma, u_target, v_target] = colour;
        if self.format.colour_model() == ColourModel::Rgb {
            for (y, row) in lines {
                blend_groups(self.groups(first, left, y), row, colour);
            }
            return;
        }
        if u.plane == first.plane {
            for (y, row) in lines {
                blend_packed(self.groups(u, left, y), row, first.offset == 0, {
                    let mut targets = [luma; 4];
                    for (component, target) in [(u, u_target), (v, v_target)] {
                        if let Some(to) = targets.get_mut(component.offset) {
                            *to = target;
                        }
                    }
                    targets
                });
            }
            return;
        }
        for (y, row) in lines {
            blend_groups(self.groups(first, left, y), row, [luma]);
        }
        if u.plane == v.plane {
            let targets = if u.offset < v.offset {
                [u_target, v_target]
            } else {
                [v_target, u_target]
            };
            blend_groups(self.groups(u, left, y), brush.halved(), targets);
        } else {
            blend_groups(self.groups(u, left, y), brush.halved(), [u_target]);
            blend_groups(self.groups(v, left, y), brush.halved(), [v_target]);
        }
    }

    /// Put the band below the frame.
    pub fn band(&mut self, band: &Band) {
        let mut inks = [[0; 3]; 256];
        for (ink, colour) in inks.iter_mut().zip(band.inks()) {
            *ink = self.components_of(*colour);
        }
        let rows = self.frame_rows..self.rows;
        if self.format.colour_model() == ColourModel::Rgb {
            for (y, row) in rows.zip(band.rows()) {
                if let Some(first) = self.format.components().first() {
                    let pixels = self.groups(first, 0, y).as_chunks_mut::<3>().0;
                    for (pixel, at) in pixels.iter_mut().zip(row) {
                        *pixel = inks.get(usize::from(*at)).copied().unwrap_or_default();
                    }
                }
            }
            return;
        }
        for (index, component) in self.format.components().iter().enumerate() {
            let values = inks.map(|ink| ink.get(index).copied().unwrap_or_default());
            let (step, columns) = (component.step, 1 << component.column_shift);
            for (y, row) in rows.clone().zip(band.rows()) {
                // Of two rows that share chroma, the first that lies in the band for sure gives it.
                if component.row_shift == 1 && y % 2 == 1 {
                    continue;
                }
                let samples = self.samples(component, 0, y).iter_mut().step_by(step);
                for (sample, at) in samples.zip(row.iter().step_by(columns)) {
                    *sample = values.get(usize::from(*at)).copied().unwrap_or_default();
                }
            }
        }
    }

    /// Put an even gray in the place of what was painted last, or was about to be.
    pub fn blank(&mut self) {
        if let Some(painted) = self.painted.take() {
            self.data = painted.into_data();
        }
        self.data.clear();
        let len = self.format.byte_len(self.width as u32, self.rows as u32);
        self.data.resize(len, 128);
        // Before the first frame there is none to replace.
        let _ = self.finish();
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
    // At most 255 * 256 + 128: without a check for overflow this compiles to vectors.
    let kept = u16::from(value).wrapping_mul(FULL.wrapping_sub(opacity));
    let sum = kept.wrapping_add(u16::from(target).wrapping_mul(opacity));
    (sum.wrapping_add(FULL / 2) / FULL) as u8
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

/// Blend groups of two pixels of a row that share their chroma: their lumas at every other byte,
/// from the first or the second on, and chroma between.
fn blend_packed(bytes: &mut [u8], opacities: &[u16], luma_first: bool, targets: [u8; 4]) {
    let groups = bytes.as_chunks_mut::<4>().0.iter_mut();
    for (group, pair) in groups.zip(opacities.chunks(2)) {
        let first = pair.first().copied().unwrap_or_default();
        let last = pair.last().copied().unwrap_or_default();
        let both = first.wrapping_add(last) / 2;
        let opacities = if luma_first {
            [first, both, last, both]
        } else {
            [both, first, both, last]
        };
        for ((value, target), opacity) in group.iter_mut().zip(targets).zip(opacities) {
            *value = mixed(*value, target, opacity);
        }
    }
}
