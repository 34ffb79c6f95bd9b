//! Dense inverse search: patches that find their place in the other frame, blended to a field.

use super::TEXTURE;
use super::luma::Level;

/// Side of a patch in pixels.
const SIDE: usize = 8;

/// Pixels from one patch to the next, on both axes.
pub(super) const STRIDE: usize = 4;

/// Steps that a patch may take on a level.
const STEPS: usize = 6;

/// A step below this many pixels is the last.
const SHORT: f32 = 0.02;

/// Differences of luminance count no more than this, so that highlights and speckle that comes
/// and goes do not pull a patch along.
const CAP: f32 = 16.0;

/// Added to the squared gradients of a patch: without texture it stays where the coarser level
/// put it.
const DAMPING: f32 = 64.0;

/// Counts as texture when patches are weighed, so that those without agree where all are.
const TRUST: f32 = 0.1;

/// A displacement in pixels: to the right and down.
pub(super) type Shift = [f32; 2];

type Patch = [[f32; SIDE]; SIDE];

/// Where a patch lies in the other frame, and how well it fits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Match {
    pub(super) shift: Shift,
    /// Mean absolute difference of luminance there, both patches' means taken out.
    pub(super) residual: f32,
    /// Mean absolute difference of the patch's luminance from its mean.
    pub(super) contrast: f32,
    /// Mean squared gradient along the direction in which it is least.
    pub(super) texture: f32,
}

/// The buffers of one direction of search.
#[derive(Debug, Clone, Default)]
pub(super) struct Search {
    /// Row by row.
    pub(super) matches: Vec<Match>,
    /// Patches in a row.
    pub(super) columns: usize,
    field: Vec<Shift>,
    /// Sums of shift and of weight for each pixel, with room for patches that lean out.
    sums: [Vec<f32>; 3],
    /// A row of each, spread.
    lines: [Vec<f32>; 3],
}

/// Patches along a side.
fn patches(side: usize) -> usize {
    side.saturating_sub(SIDE).div_ceil(STRIDE) + 1
}

impl Search {
    /// Buffers for frames of this size.
    pub(super) fn new(width: usize, height: usize) -> Self {
        let (columns, rows) = (patches(width), patches(height));
        let sums = (columns * STRIDE + SIDE) * (rows * STRIDE + SIDE);
        Self {
            matches: vec![Match::default(); columns * rows],
            columns,
            field: vec![Shift::default(); width * height],
            sums: [0; 3].map(|_| vec![0.0; sums]),
            lines: [0; 3].map(|_| vec![0.0; columns * STRIDE + SIDE + 2 * STRIDE]),
        }
    }

    /// For each pixel of the finest level of `at`, row by row: the shift to where it is in `other`.
    pub(super) fn field(&self) -> &[Shift] {
        &self.field
    }

    /// Say that nothing moved.
    pub(super) fn clear(&mut self) {
        self.field.fill([0.0; 2]);
        self.matches.clear();
    }

    #[cfg(test)]
    pub(super) fn buffers(&self) -> Vec<(usize, usize)> {
        let sums = self.sums.iter().map(super::tests::buffer);
        let found = super::tests::buffer(&self.matches);
        let lines = self.lines.iter().map(super::tests::buffer);
        sums.chain(lines)
            .chain([found, super::tests::buffer(&self.field)])
            .collect()
    }

    /// Search all levels, given from fine to coarse.
    pub(super) fn run(&mut self, at: &[Level], other: &[Level]) {
        let mut coarse = None;
        for (at, other) in at.iter().zip(other).rev() {
            self.search(at, other, coarse);
            self.blend(at.width, at.height);
            coarse = Some((at.width, at.height));
        }
    }

    /// Let all patches of a level search, from where the coarser field puts them.
    fn search(&mut self, at: &Level, other: &Level, coarse: Option<(usize, usize)>) {
        let (columns, rows) = (patches(at.width), patches(at.height));
        self.columns = columns;
        let stride = columns * STRIDE + SIDE;
        for sums in &mut self.sums {
            sums.clear();
            sums.resize(stride * (rows * STRIDE + SIDE), 0.0);
        }
        self.matches.clear();
        for row in 0..rows {
            for column in 0..columns {
                let (x, y) = (column * STRIDE, row * STRIDE);
                let start = coarse.map_or([0.0; 2], |(width, height)| {
                    let middle = |at: usize, side: usize| ((at + SIDE / 2) / 2).min(side - 1);
                    let pixel = middle(y, height) * width + middle(x, width);
                    let shift = self.field.get(pixel).copied().unwrap_or_default();
                    shift.map(|v| v * 2.0)
                });
                // What the patch to the left found, or at the left rim the one above.
                let beside = if column == 0 { columns } else { 1 };
                let beside = self.matches.len().checked_sub(beside);
                let rival = beside
                    .and_then(|i| self.matches.get(i))
                    .map_or(start, |f| f.shift);
                let mut difference = [[0.0; SIDE]; SIDE];
                let found = Template::new(at, x, y).search(other, [start, rival], &mut difference);
                self.matches.push(found);
                let trust = (found.texture + TRUST) / (found.texture + TEXTURE);
                self.add(y * stride + x, stride, found.shift, trust, &difference);
            }
        }
    }

    /// Add a patch's shift to its pixels, by how far it is to be trusted, and less where the frames
    /// differ.
    #[inline]
    fn add(&mut self, first: usize, stride: usize, shift: Shift, trust: f32, difference: &Patch) {
        let [right, down, weights] = &mut self.sums;
        let [dx, dy] = shift;
        let right = right.get_mut(first..).unwrap_or_default();
        let down = down.get_mut(first..).unwrap_or_default();
        let weights = weights.get_mut(first..).unwrap_or_default();
        let rows = right.chunks_mut(stride).zip(down.chunks_mut(stride));
        for (((right, down), weights), difference) in
            rows.zip(weights.chunks_mut(stride)).zip(difference)
        {
            if let (Some(right), Some(down), Some(weights)) = (
                right.first_chunk_mut::<SIDE>(),
                down.first_chunk_mut::<SIDE>(),
                weights.first_chunk_mut::<SIDE>(),
            ) {
                let mut weight = [0.0; SIDE];
                for (weight, d) in weight.iter_mut().zip(difference) {
                    *weight = trust / d.abs().max(1.0);
                }
                for (sum, weight) in right.iter_mut().zip(weight) {
                    *sum += weight * dx;
                }
                for (sum, weight) in down.iter_mut().zip(weight) {
                    *sum += weight * dy;
                }
                for (sum, weight) in weights.iter_mut().zip(weight) {
                    *sum += weight;
                }
            }
        }
    }

    /// The field from the sums, each spread to the patches around by weights of 1, 2, 1.
    fn blend(&mut self, width: usize, height: usize) {
        let stride = self.columns * STRIDE + SIDE;
        self.field.resize(width * height, Shift::default());
        for (y, field) in self.field.chunks_exact_mut(width).enumerate() {
            for (sums, line) in self.sums.iter().zip(&mut self.lines) {
                line.clear();
                line.resize(stride + 2 * STRIDE, 0.0);
                let line = line.get_mut(STRIDE..).unwrap_or_default();
                let rows = [y.checked_sub(STRIDE), Some(y), Some(y), Some(y + STRIDE)];
                for row in rows.into_iter().flatten() {
                    let row = sums.get(row * stride..).unwrap_or_default();
                    for (sum, v) in line.iter_mut().zip(row.iter().take(stride)) {
                        *sum += v;
                    }
                }
            }
            let [right, down, weights] = &self.lines;
            let sums = spread(right).zip(spread(down)).zip(spread(weights));
            for (to, ((right, down), weight)) in field.iter_mut().zip(sums) {
                let share = 1.0 / weight;
                *to = [right * share, down * share];
            }
        }
    }
}

/// Each sum with twice its weight, and those one patch to the left and right.
fn spread(line: &[f32]) -> impl Iterator<Item = f32> {
    let from = |first: usize| line.get(first..).unwrap_or_default().iter();
    let around = from(0).zip(from(2 * STRIDE));
    around
        .zip(from(STRIDE))
        .map(|((a, b), own)| a + b + own + own)
}

/// A patch with what its search needs.
struct Template {
    x: f32,
    y: f32,
    patch: Patch,
    /// Gradients, their means taken out.
    right: Patch,
    down: Patch,
    /// The inverse of the damped sums of squared gradients: along x, mixed, along y.
    inverse: [f32; 3],
    texture: f32,
}

/// Sum of a function of all pixels of two patches.
#[inline]
fn total(a: &Patch, b: &Patch, of: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; SIDE];
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += of(*a, *b);
        }
    }
    lanes.iter().sum()
}

const PIXELS: f32 = (SIDE * SIDE) as f32;

impl Template {
    fn new(level: &Level, x: usize, y: usize) -> Self {
        let mut around = [[0.0; SIDE + 2]; SIDE + 2];
        for (to, from) in around.iter_mut().zip(level.around(x, y)) {
            *to = *from;
        }
        let [mut patch, mut right, mut down] = [[[0.0; SIDE]; SIDE]; 3];
        for (i, rows) in around.windows(3).enumerate() {
            if let ([above, row, below], Some(patch), Some(right), Some(down)) =
                (rows, patch.get_mut(i), right.get_mut(i), down.get_mut(i))
            {
                let inner = |row: &[f32; SIDE + 2], from: usize| -> [f32; SIDE] {
                    let part = row.get(from..).and_then(|row| row.first_chunk());
                    part.copied().unwrap_or_default()
                };
                *patch = inner(row, 1);
                for ((to, a), b) in right.iter_mut().zip(inner(row, 0)).zip(inner(row, 2)) {
                    *to = (b - a) * 0.5;
                }
                for ((to, a), b) in down.iter_mut().zip(inner(above, 1)).zip(inner(below, 1)) {
                    *to = (b - a) * 0.5;
                }
            }
        }
        for gradient in [&mut right, &mut down] {
            let mean = total(gradient, gradient, |a, _| a) / PIXELS;
            for v in gradient.as_flattened_mut() {
                *v -= mean;
            }
        }
        let xx = total(&right, &right, |a, b| a * b);
        let xy = total(&right, &down, |a, b| a * b);
        let yy = total(&down, &down, |a, b| a * b);
        let least = 0.5 * (xx + yy - ((xx - yy) * (xx - yy) + 4.0 * xy * xy).sqrt());
        let (xx, yy) = (xx + DAMPING, yy + DAMPING);
        let share = 1.0 / (xx * yy - xy * xy);
        Self {
            x: x as f32,
            y: y as f32,
            patch,
            right,
            down,
            inverse: [yy * share, -xy * share, xx * share],
            // Below zero by rounding alone.
            texture: (least / PIXELS).max(0.0),
        }
    }

    /// The place in `other` where the patch fits best, from the better of two places on;
    /// `difference` is then that of the pixels there.
    fn search(&self, other: &Level, starts: [Shift; 2], difference: &mut Patch) -> Match {
        let [start, rival] = starts;
        let mut here = [[0.0; SIDE]; SIDE];
        let mut best = (start, self.compare(other, start, difference));
        if !near(start, rival) {
            let error = self.compare(other, rival, &mut here);
            if error < best.1 {
                best = (rival, error);
                *difference = here;
            }
        }
        for _ in 0..STEPS {
            let shift = self.step(best.0, difference);
            if near(shift, best.0) {
                break;
            }
            let error = self.compare(other, shift, &mut here);
            if error >= best.1 {
                break;
            }
            best = (shift, error);
            *difference = here;
        }
        let mean = total(&self.patch, &self.patch, |a, _| a) / PIXELS;
        Match {
            shift: best.0,
            residual: total(difference, difference, |a, _| a.abs()) / PIXELS,
            contrast: total(&self.patch, &self.patch, |a, _| (a - mean).abs().min(CAP)) / PIXELS,
            texture: self.texture,
        }
    }

    /// Fill `difference` with that of the pixels when the patch is shifted, both patches' means
    /// taken out, each at most [`CAP`]; give the sum of its squares.
    #[inline]
    fn compare(&self, other: &Level, [dx, dy]: Shift, difference: &mut Patch) -> f32 {
        other.sample(self.x + dx, self.y + dy, difference);
        let mean = total(difference, &self.patch, |a, b| a - b) / PIXELS;
        for (here, patch) in difference.iter_mut().zip(&self.patch) {
            for (here, patch) in here.iter_mut().zip(patch) {
                *here = (*here - patch - mean).clamp(-CAP, CAP);
            }
        }
        total(difference, difference, |a, b| a * b)
    }

    /// The shift that should lessen the difference most, by the gradients.
    #[inline]
    fn step(&self, [dx, dy]: Shift, difference: &Patch) -> Shift {
        let right = total(difference, &self.right, |a, b| a * b);
        let down = total(difference, &self.down, |a, b| a * b);
        let [xx, xy, yy] = self.inverse;
        [dx - xx * right - xy * down, dy - xy * right - yy * down]
    }
}

/// Whether the way from one shift to another is not worth a look.
fn near([ax, ay]: Shift, [bx, by]: Shift) -> bool {
    (ax - bx) * (ax - bx) + (ay - by) * (ay - by) < SHORT * SHORT
}
