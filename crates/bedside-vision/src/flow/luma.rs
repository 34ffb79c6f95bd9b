//! What flow works on: reduced luminance and its pyramid.

use bedside_core::{ColourModel, FrameView};

use super::LONGEST_SIDE;

/// Pixels around each level that repeat its rim, so that no patch is cut.
const RIM: usize = 12;

/// No level has a side below this, but for frames that are smaller themselves.
const SHORTEST_SIDE: usize = 12;

/// Bins of the histogram of luminance.
pub(super) const BINS: usize = 32;

/// Luminance of a frame, reduced by a whole factor until its longer side is at most
/// [`LONGEST_SIDE`], as a pyramid of halved levels. Keeps its buffers from frame to frame.
#[derive(Debug, Clone, Default)]
pub struct Luma {
    grid: Grid,
    levels: Vec<Level>,
    histogram: [u32; BINS],
    /// One row of bytes summed over the rows of a reduced pixel.
    sums: Vec<u16>,
}

/// How a frame and its reduced luminance lie over each other: reduced pixel `(x, y)` is the mean of
/// the `scale` x `scale` pixels of the frame from `(x * scale, y * scale)` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Grid {
    pub(super) frame: (u32, u32),
    pub(super) scale: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Grid {
    pub(super) fn of(width: u32, height: u32) -> Self {
        let scale = width.max(height).div_ceil(LONGEST_SIDE).max(1);
        Self {
            frame: (width, height),
            scale: scale as usize,
            width: width.div_ceil(scale) as usize,
            height: height.div_ceil(scale) as usize,
        }
    }

    pub(super) fn pixels(&self) -> usize {
        self.width * self.height
    }
}

impl Luma {
    /// Take over the luminance of a frame. Allocates only when the frame has another size than the
    /// one before.
    pub fn reduce<'a>(&mut self, frame: impl Into<FrameView<'a>>) {
        self.take(&frame.into());
    }

    fn take(&mut self, frame: &FrameView<'_>) {
        self.fit(Grid::of(frame.width(), frame.height()));
        if let Some(finest) = self.levels.first_mut() {
            average(frame, &self.grid, &mut self.sums, finest);
            finest.fill_rim();
            self.histogram = finest.histogram();
        }
        for fine in 0..self.levels.len() {
            if let Some([fine, coarse]) = self.levels.get_mut(fine..fine + 2) {
                coarse.halve(fine);
            }
        }
    }

    /// Width and height of the reduced luminance, in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.grid.width, self.grid.height)
    }

    /// Rows of the reduced luminance from top to bottom: the mean over each reduced pixel, 0 to 255.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.levels.first().into_iter().flat_map(Level::rows)
    }

    fn fit(&mut self, grid: Grid) {
        if self.grid == grid {
            return;
        }
        self.grid = grid;
        self.levels.clear();
        let (mut width, mut height) = (grid.width, grid.height);
        loop {
            self.levels.push(Level::new(width, height));
            (width, height) = (width.div_ceil(2), height.div_ceil(2));
            if width.min(height) < SHORTEST_SIDE {
                break;
            }
        }
    }

    #[cfg(test)]
    pub(super) fn buffers(&self) -> Vec<(usize, usize)> {
        let levels = self
            .levels
            .iter()
            .map(|level| super::tests::buffer(&level.data));
        levels.chain([super::tests::buffer(&self.sums)]).collect()
    }

    pub(super) fn grid(&self) -> &Grid {
        &self.grid
    }

    /// From the finest to the coarsest.
    pub(super) fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Share of the pixels that would have to change their bin for equal histograms.
    pub(super) fn histogram_distance(&self, other: &Self) -> f32 {
        let bins = self.histogram.iter().zip(&other.histogram);
        let moved: u32 = bins.map(|(a, b)| a.abs_diff(*b)).sum();
        moved as f32 * 0.5 / self.grid.pixels().max(1) as f32
    }
}

/// The mean luminance, 0 to 255, of each reduced pixel.
fn average(frame: &FrameView<'_>, grid: &Grid, sums: &mut Vec<u16>, level: &mut Level) {
    let Some(luma) = frame.format().components().first() else {
        return;
    };
    let (width, plane) = (frame.width() as usize, frame.plane_of(luma));
    let height = frame.height() as usize;
    for (reduced, to) in level.rows_mut().enumerate() {
        sums.clear();
        sums.resize(plane.size().row, 0);
        let first = reduced * grid.scale;
        let rows = first..(first + grid.scale).min(height);
        let count = rows.len() as f32;
        for y in rows {
            add(sums, plane.row(y));
        }
        if frame.format().colour_model() == ColourModel::Rgb {
            across(sums, grid.scale, count, to, |[r, g, b]| {
                0.299 * r as f32 + 0.587 * g as f32 + 0.114 * b as f32
            });
            continue;
        }
        // An odd row of YUYV ends with a luminance that is not a pixel.
        let pixels = sums.get(..width * luma.step).unwrap_or_default();
        match luma.step {
            2 => across(pixels, grid.scale, count, to, |[y, _]| y as f32),
            _ => across(pixels, grid.scale, count, to, |[y]| y as f32),
        }
    }
}

/// Add bytes to their sums.
fn add(sums: &mut [u16], row: &[u8]) {
    for (sum, byte) in sums.iter_mut().zip(row) {
        // At most 52 rows of a byte each, see `MAX_SIDE`.
        *sum = sum.wrapping_add(u16::from(*byte));
    }
}

/// Sum the pixels of `N` bytes over `scale` of them, and divide.
fn across<const N: usize>(
    sums: &[u16],
    scale: usize,
    rows: f32,
    to: &mut [f32],
    luminance: impl Fn([u32; N]) -> f32,
) {
    for (pixels, to) in sums.as_chunks::<N>().0.chunks(scale).zip(to) {
        let mut total = [0_u32; N];
        for pixel in pixels {
            for (total, sum) in total.iter_mut().zip(pixel) {
                *total = total.wrapping_add(u32::from(*sum));
            }
        }
        *to = luminance(total) / (rows * pixels.len() as f32);
    }
}

/// One level of the pyramid, with a rim of [`RIM`] pixels.
#[derive(Debug, Clone)]
pub(super) struct Level {
    pub(super) width: usize,
    pub(super) height: usize,
    stride: usize,
    data: Vec<f32>,
}

impl Level {
    fn new(width: usize, height: usize) -> Self {
        let stride = width + 2 * RIM;
        Self {
            width,
            height,
            stride,
            data: vec![0.0; stride * (height + 2 * RIM)],
        }
    }

    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        let rows = self.data.chunks_exact(self.stride).skip(RIM);
        rows.take(self.height)
            .map(|row| row.get(RIM..RIM + self.width).unwrap_or_default())
    }

    fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let width = self.width;
        let rows = self.data.chunks_exact_mut(self.stride).skip(RIM);
        rows.take(self.height)
            .map(move |row| row.get_mut(RIM..RIM + width).unwrap_or_default())
    }

    fn fill_rim(&mut self) {
        let (stride, width) = (self.stride, self.width);
        let whole = self.data.chunks_exact_mut(stride).skip(RIM);
        for row in whole.take(self.height) {
            if let Some((left, rest)) = row.split_at_mut_checked(RIM)
                && let Some((inner, right)) = rest.split_at_mut_checked(width)
            {
                left.fill(inner.first().copied().unwrap_or_default());
                right.fill(inner.last().copied().unwrap_or_default());
            }
        }
        let (first, last) = (RIM * stride, (RIM + self.height - 1) * stride);
        for rim in 0..RIM {
            self.data.copy_within(first..first + stride, rim * stride);
            let below = last + (rim + 1) * stride;
            self.data.copy_within(last..last + stride, below);
        }
    }

    /// Fill this level with the means of 2 x 2 pixels of the finer one.
    fn halve(&mut self, fine: &Self) {
        let stride = fine.stride;
        // Odd sides read one pixel of the rim.
        let pairs = fine.data.get(RIM * stride..).unwrap_or_default();
        for (pair, to) in pairs.chunks_exact(2 * stride).zip(self.rows_mut()) {
            let (above, below) = pair.split_at(stride);
            let above = above.get(RIM..).unwrap_or_default().as_chunks::<2>().0;
            let below = below.get(RIM..).unwrap_or_default().as_chunks::<2>().0;
            for ((to, [a, b]), [c, d]) in to.iter_mut().zip(above).zip(below) {
                *to = ((a + b) + (c + d)) * 0.25;
            }
        }
        self.fill_rim();
    }

    fn histogram(&self) -> [u32; BINS] {
        let mut histogram = [0; BINS];
        for value in self.rows().flatten() {
            if let Some(count) = histogram.get_mut(*value as usize * BINS / 256) {
                *count += 1;
            }
        }
        histogram
    }

    /// The nearest position to `(x, y)` from which 9 x 9 pixels can be read, in pixels of the
    /// data.
    fn inside(&self, x: f32, y: f32) -> (f32, f32) {
        let rim = RIM as f32;
        let clamp = |at: f32, side: usize| (at + rim).max(0.0).min(rim * 2.0 + side as f32 - 10.0);
        (clamp(x, self.width), clamp(y, self.height))
    }

    /// Rows of `N` pixels from column `x` and row `y` of the data on.
    fn window<const N: usize>(&self, x: usize, y: usize) -> impl Iterator<Item = &[f32; N]> {
        let rest = self.data.get(y * self.stride + x..).unwrap_or_default();
        rest.chunks(self.stride).filter_map(|row| row.first_chunk())
    }

    /// The 10 x 10 pixels around the patch of 8 x 8 whose corner is pixel `(x, y)`, row by row.
    pub(super) fn around(&self, x: usize, y: usize) -> impl Iterator<Item = &[f32; 10]> {
        self.window(x + RIM - 1, y + RIM - 1).take(10)
    }

    /// The patch of 8 x 8 whose corner is at `(x, y)`, interpolated, moved inside when it is not.
    #[inline]
    pub(super) fn sample(&self, x: f32, y: f32, patch: &mut [[f32; 8]; 8]) {
        let (x, y) = self.inside(x, y);
        let (left, top) = (x as usize, y as usize);
        let (right_share, below_share) = (x - left as f32, y - top as f32);
        let mut rows = self.window::<9>(left, top);
        let mut across = || {
            let row = rows.next().unwrap_or(&[0.0; 9]);
            let mut out = [0.0; 8];
            for ((out, a), b) in out.iter_mut().zip(row).zip(row.iter().skip(1)) {
                *out = a + (b - a) * right_share;
            }
            out
        };
        let mut above = across();
        for to in patch {
            let below = across();
            for ((to, a), b) in to.iter_mut().zip(above).zip(below) {
                *to = a + (b - a) * below_share;
            }
            above = below;
        }
    }
}
