//! Logits to masks at the frame's own size, and what is told of them.

use bedside_core::{BoundingBox, Mask};

use crate::letterbox::Letterbox;

/// What is told of a mask.
#[derive(Debug, Clone, Copy, PartialEq)]
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

/// Call `each` with every row of the frame: its logits, or `None` where no logit of the row can
/// be above `least`.
pub(crate) fn rows(
    logits: &[f32],
    (height, width): (usize, usize),
    letterbox: &Letterbox,
    least: f32,
    mut each: impl FnMut(u32, Option<&[f32]>),
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
    let mut blended = vec![0.0; width];
    let mut row = vec![0.0; across.len()];
    let line = |i: usize| logits.get(i * width..(i + 1) * width).unwrap_or_default();
    for (y, tap) in (0..).zip(&down) {
        let mut highest = f32::NEG_INFINITY;
        for ((to, a), b) in blended.iter_mut().zip(line(tap.low)).zip(line(tap.high)) {
            *to = a + (b - a) * tap.weight;
            highest = highest.max(*to);
        }
        // Blending never rises above the highest of its ends.
        if highest <= least {
            each(y, None);
            continue;
        }
        for (to, tap) in row.iter_mut().zip(&across) {
            let (Some(a), Some(b)) = (blended.get(tap.low), blended.get(tap.high)) else {
                continue;
            };
            *to = a + (b - a) * tap.weight;
        }
        each(y, Some(&row));
    }
}

/// See [`Preprocessor::mask`](crate::Preprocessor::mask).
pub(crate) fn from_logits(
    logits: &[f32],
    size: (usize, usize),
    letterbox: &Letterbox,
    threshold: f32,
    rgb: &[u8],
) -> (Mask, MaskStats) {
    let width = letterbox.width() as usize;
    let mut data = vec![0; width * letterbox.height() as usize];
    let mut sums = Sums::default();
    let mut lines = data.chunks_exact_mut(width);
    rows(logits, size, letterbox, threshold, |y, row| {
        let (Some(line), Some(row)) = (lines.next(), row) else {
            return;
        };
        for (set, logit) in line.iter_mut().zip(row) {
            *set = u8::from(*logit > threshold);
        }
        sums.add(y, line, row, colours(rgb, y, width));
    });
    // The data has the mask's size, so this is always Some.
    let mask = Mask::from_bytes(letterbox.width(), letterbox.height(), data)
        .unwrap_or_else(|| Mask::empty(letterbox.width(), letterbox.height()));
    (mask, sums.stats())
}

/// See [`Preprocessor::stats`](crate::Preprocessor::stats).
pub(crate) fn stats(mask: &Mask, logits: &[f32], rgb: &[u8]) -> MaskStats {
    let width = (mask.width() as usize).max(1);
    let mut sums = Sums::default();
    let lines = mask
        .data()
        .chunks_exact(width)
        .zip(logits.chunks_exact(width));
    for (y, (line, row)) in (0..).zip(lines) {
        sums.add(y, line, row, colours(rgb, y, width));
    }
    sums.stats()
}

/// The colours of row `y`; none where the pixels are not of this frame. Mask, area and
/// probability never depend on them: a mask must not vanish for want of colours.
fn colours(rgb: &[u8], y: u32, width: usize) -> &[u8] {
    let start = y as usize * width * 3;
    rgb.get(start..start + width * 3).unwrap_or_default()
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
    fn add(&mut self, y: u32, line: &[u8], logits: &[f32], rgb: &[u8]) {
        let Some(first) = line.iter().position(|v| *v == 1) else {
            return;
        };
        let last = line.iter().rposition(|v| *v == 1).unwrap_or(first);
        let (first_x, last_x) = (first as u32, last as u32);
        self.extent = Some(match self.extent {
            None => [first_x, y, last_x, y],
            Some([left, top, right, _]) => [left.min(first_x), top, right.max(last_x), y],
        });
        // f32 within a row, f64 across rows: exact enough and quick.
        let (mut area, mut probability) = (0_u32, 0.0_f32);
        let mut colours = [0_u32; 3];
        let inside = first..last + 1;
        for (set, logit) in line.iter().zip(logits).take(inside.end).skip(inside.start) {
            if *set == 1 {
                area += 1;
                probability += 1.0 / (1.0 + (-logit).exp());
            }
        }
        let pixels = line.iter().zip(rgb.as_chunks::<3>().0);
        for (set, rgb) in pixels.take(inside.end).skip(inside.start) {
            if *set == 1 {
                for (sum, v) in colours.iter_mut().zip(rgb) {
                    *sum += u32::from(*v);
                }
            }
        }
        self.area += u64::from(area);
        self.probability += f64::from(probability);
        for (sum, v) in self.rgb.iter_mut().zip(colours) {
            *sum += u64::from(v);
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
