//! Logits to masks at the frame's own size, and their statistics.

use std::ops::Range;

use bedside_core::{BoundingBox, Mask};

use crate::letterbox::Letterbox;

/// Pixels that are worked on at a time, so that loops compile to vectors.
const LANES: usize = 16;

/// Statistics of a mask.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct MaskStats {
    /// Set pixels.
    pub area: u64,
    /// Extents; `None` for an empty mask.
    pub bounding_box: Option<BoundingBox>,
    /// Mean of the sigmoid of the logits over set pixels, 0 for an empty mask.
    pub mean_probability: f32,
    /// Means of red, green and blue over set pixels, divided by 256 as BiomedParse does.
    pub mean_rgb: [f32; 3],
}

/// Intersection over union; 1 for two empty masks, 0 for masks of different sizes.
pub fn iou(a: &Mask, b: &Mask) -> f64 {
    match overlap(a, b) {
        Some((_, 0)) => 1.0,
        Some((both, sum)) => both as f64 / (sum - both) as f64,
        None => 0.0,
    }
}

/// Dice coefficient; 1 for two empty masks, 0 for masks of different sizes.
pub fn dice(a: &Mask, b: &Mask) -> f64 {
    match overlap(a, b) {
        Some((_, 0)) => 1.0,
        Some((both, sum)) => 2.0 * both as f64 / sum as f64,
        None => 0.0,
    }
}

/// Pixels set in both, and the sum of the areas; `None` when the sizes differ.
fn overlap(a: &Mask, b: &Mask) -> Option<(u64, u64)> {
    let same = a.width() == b.width() && a.height() == b.height();
    let both = a
        .data()
        .iter()
        .zip(b.data())
        .map(|(a, b)| u64::from(a & b))
        .sum();
    same.then(|| (both, a.area() + b.area()))
}

/// Where a pixel of the frame falls between two neighbours of the logits.
#[derive(Debug, Clone, Copy)]
struct Tap {
    low: usize,
    high: usize,
    weight: f32,
}

/// Taps of `count` frame pixels that start `offset` pixels into a square of `square` pixels, on
/// `n` logits; the rule of PyTorch's bilinear `interpolate` with `align_corners=False`.
fn taps(count: u32, offset: u32, square: u32, n: usize) -> Vec<Tap> {
    let scale = n as f32 / square as f32;
    (0..count)
        .map(|i| {
            let at = ((i + offset) as f32 + 0.5) * scale - 0.5;
            let at = at.max(0.0);
            let low = (at as usize).min(n.saturating_sub(1));
            Tap {
                low,
                high: (low + 1).min(n.saturating_sub(1)),
                weight: at - low as f32,
            }
        })
        .collect()
}

/// Call `each` with every row of the frame: the column of its first logit that can be above
/// `least`, and the logits from there to the last such; no logits where none can be.
fn rows(
    logits: &[f32],
    (height, width): (usize, usize),
    letterbox: &Letterbox,
    least: f32,
    mut each: impl FnMut(u32, usize, &[f32]),
) {
    // The frame is upright, the logits may lie on their side: turn them, they are few.
    let turned: Vec<f32>;
    let (logits, height, width) = if letterbox.transposed() {
        turned = (0..height * width)
            .map(|i| {
                logits
                    .get(i % height * width + i / height)
                    .copied()
                    .unwrap_or(f32::MIN)
            })
            .collect();
        (turned.as_slice(), width, height)
    } else {
        (logits, height, width)
    };
    let square = letterbox.square();
    let across = taps(letterbox.width(), letterbox.left(), square, width);
    let down = taps(letterbox.height(), letterbox.top(), square, height);
    // Pixels between a column of logits and the next lie side by side and share both ends: these
    // are the first pixels of each column, and the end of the last.
    let starts: Vec<usize> = (0..=width)
        .map(|column| across.partition_point(|tap| tap.low < column))
        .collect();
    // Room for the last pixels to be blended as many at a time as the others.
    let mut weights: Vec<f32> = across.iter().map(|tap| tap.weight).collect();
    weights.resize(weights.len() + LANES, 0.0);
    let mut row = vec![0.0; weights.len()];
    // The last column is its own neighbour.
    let mut blended = vec![0.0; width + 1];
    let line = |i: usize| logits.get(i * width..(i + 1) * width).unwrap_or_default();
    let spans: Vec<Range<usize>> = (0..height).map(|i| above(line(i), least)).collect();
    let span = |i: usize| spans.get(i).cloned().unwrap_or_default();
    for (y, tap) in (0..).zip(&down) {
        // Blending never rises above the higher of its ends, so only pixels with an end in the
        // span of either row count.
        let span = union(span(tap.low), span(tap.high));
        if span.is_empty() {
            each(y, 0, &[]);
            continue;
        }
        let columns = span.start.saturating_sub(1)..span.end;
        let ends = columns.start..columns.end + 1;
        let part = ends.start..ends.end.min(width);
        let [low, high] =
            [tap.low, tap.high].map(|i| line(i).get(part.clone()).unwrap_or_default());
        let blends = blended.get_mut(ends.clone()).unwrap_or_default();
        for ((to, a), b) in blends.iter_mut().zip(low).zip(high) {
            *to = a + (b - a) * tap.weight;
        }
        if ends.end > width
            && let [.., last, beyond] = blends
        {
            *beyond = *last;
        }
        let bounds = starts.get(ends).unwrap_or_default();
        for (bounds, ends) in bounds.windows(2).zip(blends.windows(2)) {
            if let ([start, end], [a, b]) = (bounds, ends) {
                blend(*a, *b, *start..*end, &weights, &mut row);
            }
        }
        if let [start, .., end] = bounds {
            each(y, *start, row.get(*start..*end).unwrap_or_default());
        }
    }
}

/// From the first to the last value above `least`.
fn above(values: &[f32], least: f32) -> Range<usize> {
    let first = values.iter().position(|v| *v > least);
    let last = values.iter().rposition(|v| *v > least);
    first
        .zip(last)
        .map_or(0..0, |(first, last)| first..last + 1)
}

/// The least range that holds both.
fn union(a: Range<usize>, b: Range<usize>) -> Range<usize> {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b,
        (_, true) => a,
        _ => a.start.min(b.start)..a.end.max(b.end),
    }
}

/// Blend `a` with `b` for a range of pixels; a few pixels after it are overwritten, too, so that
/// always [`LANES`] are blended.
#[inline]
fn blend(a: f32, b: f32, pixels: Range<usize>, weights: &[f32], row: &mut [f32]) {
    let step = b - a;
    for x in pixels.step_by(LANES) {
        let to = row.get_mut(x..).and_then(|r| r.first_chunk_mut::<LANES>());
        let weights = weights.get(x..).and_then(|w| w.first_chunk::<LANES>());
        if let (Some(to), Some(weights)) = (to, weights) {
            for (to, weight) in to.iter_mut().zip(weights) {
                *to = a + step * weight;
            }
        }
    }
}

/// One prompt's logits, row-major `(rows, columns)` over the square, at the frame's own size.
pub fn at_frame_size(logits: &[f32], size: (usize, usize), letterbox: &Letterbox) -> Vec<f32> {
    let (width, height) = (letterbox.width() as usize, letterbox.height() as usize);
    let mut out = Vec::with_capacity(width * height);
    rows(logits, size, letterbox, f32::NEG_INFINITY, |_, x, row| {
        let end = out.len() + width;
        out.resize(out.len() + x, f32::NEG_INFINITY);
        out.extend_from_slice(row);
        out.resize(end, f32::NEG_INFINITY);
    });
    out
}

/// Mask and statistics from one prompt's logits, row-major `(rows, columns)` over the square:
/// exactly the crop of their bilinear enlargement (half-pixel centres) to the frame's size, set
/// where above `threshold`. `rgb` are the frame's interleaved pixels. The mask takes the memory of
/// `buffer`, whatever is in it.
pub fn from_logits(
    logits: &[f32],
    size: (usize, usize),
    letterbox: &Letterbox,
    threshold: f32,
    rgb: &[u8],
    buffer: Vec<u8>,
) -> (Mask, MaskStats) {
    let width = letterbox.width() as usize;
    let mut data = buffer;
    data.clear();
    data.resize(width * letterbox.height() as usize, 0);
    let mut sums = Sums::default();
    let mut lines = data.chunks_exact_mut(width);
    rows(logits, size, letterbox, threshold, |y, x, row| {
        let line = lines.next().and_then(|l| l.get_mut(x..x + row.len()));
        let line = line.unwrap_or_default();
        for (set, logit) in line.iter_mut().zip(row) {
            *set = u8::from(*logit > threshold);
        }
        sums.add((x, y), line, row, colours(rgb, (x, y), width));
    });
    // The data has the mask's size, so this is always Some.
    let mask = Mask::from_bytes(letterbox.width(), letterbox.height(), data)
        .unwrap_or_else(|| Mask::empty(letterbox.width(), letterbox.height()));
    (mask, sums.stats())
}

/// Statistics of a mask whose logits are known at the frame's own size, as [`at_frame_size`] gives
/// them. `rgb` are the frame's interleaved pixels.
pub fn stats(mask: &Mask, logits: &[f32], rgb: &[u8]) -> MaskStats {
    let width = (mask.width() as usize).max(1);
    let mut sums = Sums::default();
    let lines = mask
        .data()
        .chunks_exact(width)
        .zip(logits.chunks_exact(width));
    for (y, (line, row)) in (0..).zip(lines) {
        sums.add((0, y), line, row, colours(rgb, (0, y), width));
    }
    sums.stats()
}

/// The colours of row `y` from column `x`; none where the pixels are not of this frame. Mask, area
/// and probability never depend on them: a mask must not vanish for want of colours.
fn colours(rgb: &[u8], (x, y): (usize, u32), width: usize) -> &[u8] {
    let start = y as usize * width;
    rgb.get((start + x) * 3..(start + width) * 3)
        .unwrap_or_default()
}

/// 1 / (1 + e^-x), off by less than 1e-6: in steps that compile to vectors, which `exp` does not.
#[inline]
fn sigmoid(x: f32) -> f32 {
    // Added, it leaves the nearest integer in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // e^-x is 2^n 2^f with |f| <= 1/2; beyond these ends it would leave the range of f32.
    let exponent = x.clamp(-87.0, 87.0) * -std::f32::consts::LOG2_E;
    let rounded = exponent + ROUND;
    let f = exponent - (rounded - ROUND);
    // 2^f to 1e-7, interpolated at Chebyshev's nodes.
    let power = 1.339_086_3e-3;
    let power = power * f + 9.676_032e-3;
    let power = power * f + 5.550_357e-2;
    let power = power * f + 2.402_210_7e-1;
    let power = power * f + 6.931_472e-1;
    let power = power * f + 1.0;
    let scale = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    1.0 / (1.0 + power * scale)
}

/// Sums over set pixels, row by row.
#[derive(Default)]
struct Sums {
    area: u64,
    probability: f64,
    rgb: [u64; 3],
    /// Left, top, right, bottom, all inside.
    extent: Option<[u32; 4]>,
}

impl Sums {
    /// Add pixels of a row, from column `x` of row `y`.
    fn add(&mut self, (x, y): (usize, u32), line: &[u8], logits: &[f32], rgb: &[u8]) {
        let Some(first) = line.iter().position(|v| *v == 1) else {
            return;
        };
        let last = line.iter().rposition(|v| *v == 1).unwrap_or(first);
        let (first_x, last_x) = ((x + first) as u32, (x + last) as u32);
        self.extent = Some(match self.extent {
            None => [first_x, y, last_x, y],
            Some([left, top, right, _]) => [left.min(first_x), top, right.max(last_x), y],
        });
        let line = line.get(first..last + 1).unwrap_or_default();
        let logits = logits.get(first..last + 1).unwrap_or_default();
        let rgb = rgb.get(first * 3..(last + 1) * 3).unwrap_or_default();
        // A row has far fewer pixels than would overflow; without a check this is quick.
        let area = line
            .iter()
            .fold(0_u32, |n, set| n.wrapping_add(u32::from(*set)));
        self.area += u64::from(area);
        self.probability += probabilities(line, logits);
        for (sum, v) in self.rgb.iter_mut().zip(sum_colours(line, rgb)) {
            *sum += v;
        }
    }

    fn stats(&self) -> MaskStats {
        let count = self.area.max(1) as f64;
        MaskStats {
            area: self.area,
            bounding_box: self.extent.map(|[left, top, right, bottom]| BoundingBox {
                x: left,
                y: top,
                width: right - left + 1,
                height: bottom - top + 1,
            }),
            mean_probability: (self.probability / count) as f32,
            mean_rgb: self.rgb.map(|sum| (sum as f64 / count / 256.0) as f32),
        }
    }
}

/// Sum of the sigmoids of the logits of set pixels: f32 in each lane of a row, f64 beyond.
fn probabilities(line: &[u8], logits: &[f32]) -> f64 {
    let mut lanes = [0.0_f32; LANES];
    let mut add = |logits: &[f32; LANES]| {
        for (sum, logit) in lanes.iter_mut().zip(logits) {
            *sum += sigmoid(*logit);
        }
    };
    // The sigmoid of the lowest logit is nothing.
    let inside = |line: &[u8], logits: &[f32]| {
        let mut inside = [f32::NEG_INFINITY; LANES];
        for ((to, set), logit) in inside.iter_mut().zip(line).zip(logits) {
            if *set == 1 {
                *to = *logit;
            }
        }
        inside
    };
    let (sets, rest) = line.as_chunks::<LANES>();
    let (chunks, last) = logits.as_chunks::<LANES>();
    for (set, logits) in sets.iter().zip(chunks) {
        if *set == [1; LANES] {
            add(logits);
        } else {
            add(&inside(set, logits));
        }
    }
    add(&inside(rest, last));
    lanes.iter().copied().map(f64::from).sum()
}

/// Sums of red, green and blue of set pixels.
fn sum_colours(line: &[u8], rgb: &[u8]) -> [u64; 3] {
    // One sum for each byte of the chunk: the colours need not be taken apart, and no sum of a
    // row comes near an overflow.
    let mut lanes = [0_u32; 3 * LANES];
    let mut sums = [0; 3];
    let (sets, rest) = line.as_chunks::<LANES>();
    let (chunks, last) = rgb.as_chunks::<{ 3 * LANES }>();
    for (set, chunk) in sets.iter().zip(chunks) {
        if *set == [1; LANES] {
            add_bytes(&mut lanes, chunk);
        } else {
            add_pixels(&mut sums, set, chunk);
        }
    }
    add_pixels(&mut sums, rest, last);
    for pixel in lanes.as_chunks::<3>().0 {
        for (sum, v) in sums.iter_mut().zip(pixel) {
            *sum += u64::from(*v);
        }
    }
    sums
}

/// Apart, because inlined the sums are kept in single registers and added one by one.
#[inline(never)]
fn add_bytes(sums: &mut [u32; 3 * LANES], bytes: &[u8; 3 * LANES]) {
    for (sum, v) in sums.iter_mut().zip(bytes) {
        *sum = sum.wrapping_add(u32::from(*v));
    }
}

fn add_pixels(sums: &mut [u64; 3], line: &[u8], rgb: &[u8]) {
    for (_, pixel) in line
        .iter()
        .zip(rgb.as_chunks::<3>().0)
        .filter(|(set, _)| **set == 1)
    {
        for (sum, v) in sums.iter_mut().zip(pixel) {
            *sum += u64::from(*v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigmoids_are_exact_to_a_millionth_everywhere() {
        // Every f32 of 2^-20 to 2^8 or so in steps, both signs, and what lies beyond.
        let steps = (0..1_000_000_u32).map(|i| f32::from_bits(0x3580_0000 + i * 115));
        let odd = [0.0, 1e-40, 86.9, 87.0, 87.1, 200.0, f32::MAX, f32::INFINITY];
        for x in steps.chain(odd).flat_map(|x| [x, -x]) {
            let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
            let found = f64::from(sigmoid(x));
            assert!((found - exact).abs() < 1e-6, "{x}: {found} is not {exact}");
            // Small probabilities are as exact for their size, too.
            assert!(
                x < -16.0 || (found / exact - 1.0).abs() < 1e-6,
                "{x}: {found}"
            );
        }
        assert!(sigmoid(f32::NAN).is_nan());
    }
}
