//! What a machine does to a finished frame: blur, writing, noise.

use crate::math::Vec2;
use crate::noise::{Rng, hash};
use crate::scene::Viewport;

/// Blur each row and column with the weights `side, 1 - 2 * side, side`.
///
/// `planes` holds one value a pixel and channel, channels interleaved.
pub(crate) fn soften(planes: &mut [f32], width: usize, channels: usize, side: f32) {
    if side <= 0.0 {
        return;
    }
    let stride = width * channels;
    let blend = |before: f32, here: f32, after: f32| here + side * (before + after - 2.0 * here);
    // Columns first: `above` holds the row above as it was.
    let mut above: Vec<f32> = planes.iter().take(stride).copied().collect();
    let mut rest = planes;
    while !rest.is_empty() {
        let (row, below) = rest.split_at_mut(stride.min(rest.len()));
        for (i, (value, above)) in row.iter_mut().zip(&mut above).enumerate() {
            let here = *value;
            *value = blend(*above, here, below.get(i).copied().unwrap_or(here));
            *above = here;
        }
        soften_row(row, channels, blend);
        rest = below;
    }
}

fn soften_row(row: &mut [f32], channels: usize, blend: impl Fn(f32, f32, f32) -> f32) {
    let mut before = [0.0; 3];
    for (slot, value) in before.iter_mut().zip(row.iter()) {
        *slot = *value;
    }
    for i in 0..row.len() {
        let after = row.get(i + channels).copied();
        let (Some(slot), Some(value)) = (before.get_mut(i % channels), row.get_mut(i)) else {
            continue;
        };
        let here = *value;
        *value = blend(*slot, here, after.unwrap_or(here));
        *slot = here;
    }
}

/// Rows of 3 x 5 glyphs, three bits a row from the top: digits, then `/`, `:` and space.
const GLYPHS: [u16; 13] = [
    0b111_101_101_101_111,
    0b010_110_010_010_111,
    0b111_001_111_100_111,
    0b111_001_111_001_111,
    0b101_101_111_001_001,
    0b111_100_111_001_111,
    0b111_100_111_101_111,
    0b111_001_010_010_010,
    0b111_101_111_101_111,
    0b111_101_111_001_111,
    0b001_001_010_100_100,
    0b000_010_000_010_000,
    0,
];

/// The lines of figures that machines write over their frames.
#[derive(Debug, Clone)]
pub(crate) struct Writing {
    /// Upper left corner, as shares of the frame's sides.
    at: Vec2,
    /// Height of a line as a share of the frame's height.
    size: f32,
    lines: Vec<[u8; 10]>,
}

impl Writing {
    pub(crate) fn new(rng: &mut Rng, at: Vec2, size: f32, lines: usize) -> Self {
        let mut figure = || (rng.next_u32() % 10) as u8;
        let mut line = |seconds: bool| {
            let (mark, tail) = if seconds {
                (11, [12, 12])
            } else {
                (10, [figure(), figure()])
            };
            [
                figure(),
                figure(),
                mark,
                figure(),
                figure(),
                mark,
                figure(),
                figure(),
                tail[0],
                tail[1],
            ]
        };
        let lines = (0..lines).map(|i| line(i % 2 == 1)).collect();
        Self { at, size, lines }
    }

    /// Draw into interleaved channels of 0 to 1.
    pub(crate) fn draw(&self, planes: &mut [f32], view: &Viewport, channels: usize, level: f32) {
        let (width, height) = (view.width as usize, view.height as usize);
        // Whole dots, as in a machine's character generator.
        let dot = ((self.size * view.height as f32 / 8.0).round() as usize).max(1);
        let left = (self.at.x * view.width as f32) as usize;
        let top = (self.at.y * view.height as f32) as usize;
        for (row, line) in self.lines.iter().enumerate() {
            for (column, figure) in line.iter().enumerate() {
                let glyph = GLYPHS.get(usize::from(*figure)).copied().unwrap_or(0);
                for bit in (0..15).filter(|bit| glyph >> (14 - bit) & 1 == 1) {
                    let x0 = left + (column * 4 + bit % 3) * dot;
                    let y0 = top + (row * 8 + bit / 3) * dot;
                    for y in y0..(y0 + dot).min(height) {
                        let from = (y * width + x0.min(width)) * channels;
                        let to = (y * width + (x0 + dot).min(width)) * channels;
                        if let Some(span) = planes.get_mut(from..to) {
                            span.fill(level);
                        }
                    }
                }
            }
        }
    }
}

/// Values of 0 to 1 as bytes, with sensor noise of `noise` (full range) that changes with
/// `frame`; black stays black, as outside the aperture.
pub(crate) fn to_bytes(planes: &[f32], noise: f32, frame: u64) -> Vec<u8> {
    let seed = (frame as u32) ^ ((frame >> 32) as u32).wrapping_mul(0x9e37_79b1);
    planes
        .iter()
        .enumerate()
        .map(|(i, value)| {
            // Two uniforms make a triangle: near enough to a sensor's noise.
            let bits = hash(i as i32, 0, seed);
            let chance = ((bits & 0xffff) as f32 + (bits >> 16) as f32) / 65_535.0 - 1.0;
            let level = if *value > 0.0 {
                value + chance * noise
            } else {
                0.0
            };
            (level.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softening_spreads_a_dot_and_keeps_its_sum() {
        let mut plane = vec![0.0; 49];
        plane[24] = 1.0;
        soften(&mut plane, 7, 1, 0.25);
        assert!((plane[24] - 0.25).abs() < 1e-6);
        assert!((plane[23] - 0.125).abs() < 1e-6 && (plane[17] - 0.125).abs() < 1e-6);
        assert!((plane[16] - 0.0625).abs() < 1e-6 && (plane[32] - 0.0625).abs() < 1e-6);
        assert!((plane.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn softening_keeps_channels_apart_and_flat_stays_flat() {
        let mut planes: Vec<f32> = (0..5 * 4).flat_map(|_| [0.2, 0.5, 0.9]).collect();
        let before = planes.clone();
        soften(&mut planes, 5, 3, 0.2);
        assert!(
            planes
                .iter()
                .zip(&before)
                .all(|(a, b)| (a - b).abs() < 1e-6)
        );
    }

    #[test]
    fn writing_stays_inside_a_picture_of_any_size() {
        let writing = Writing::new(&mut Rng::new(1, 1), Vec2::new(0.9, 0.9), 0.05, 5);
        for (width, height) in [(1, 1), (3, 200), (200, 3), (40, 40)] {
            let view = Viewport::new(width, height);
            let mut planes = vec![0.0; (width * height * 3) as usize];
            writing.draw(&mut planes, &view, 3, 1.0);
            assert!(planes.iter().all(|v| *v == 0.0 || *v == 1.0));
        }
    }
}
