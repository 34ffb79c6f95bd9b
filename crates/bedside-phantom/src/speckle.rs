//! Speckle: what coherent sound makes of tissue finer than its wavelength.

use crate::math::{Vec2, exp};
use crate::noise::Rng;

/// Side of the tile; a power of two, so that it repeats without seams.
const SIDE: usize = 512;

/// Standard deviation of the point spread, in cells of the tile.
const SPREAD: f32 = 1.5;

/// Echoes of many scatterers: a complex Gaussian field, correlated over a few cells, of which the
/// magnitude is Rayleigh distributed.
#[derive(Debug, Clone)]
pub(crate) struct Speckle {
    /// Real and imaginary part, each of variance 1/2.
    tile: Vec<[f32; 2]>,
}

impl Speckle {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let white: Vec<_> = (0..SIDE * SIDE)
            .map(|_| [rng.normal(), rng.normal()])
            .collect();
        let mut tile = transposed_blur(&transposed_blur(&white));
        let power: f64 = tile
            .iter()
            .flatten()
            .map(|v| f64::from(*v) * f64::from(*v))
            .sum::<f64>();
        let scale = (1.0 / (power / (SIDE * SIDE) as f64).sqrt()) as f32;
        for value in tile.iter_mut().flatten() {
            *value *= scale;
        }
        Self { tile }
    }

    /// Intensity at a point, in cells; exponentially distributed with a mean of about 1.
    pub(crate) fn intensity(&self, p: Vec2) -> f32 {
        let (fx, fy) = (p.x.floor(), p.y.floor());
        let (u, v) = (p.x - fx, p.y - fy);
        let (x, y) = (fx as i32 as usize, fy as i32 as usize);
        let row = |y: usize| (y % SIDE) * SIDE;
        let cell =
            |x: usize, row: usize| self.tile.get(row + x % SIDE).copied().unwrap_or_default();
        let (top, bottom) = (row(y), row(y.wrapping_add(1)));
        let next = x.wrapping_add(1);
        let (a, b, c, d) = (
            cell(x, top),
            cell(next, top),
            cell(x, bottom),
            cell(next, bottom),
        );
        let blend = |a: f32, b: f32, c: f32, d: f32| {
            let (top, bottom) = (a + (b - a) * u, c + (d - c) * u);
            top + (bottom - top) * v
        };
        let real = blend(a[0], b[0], c[0], d[0]);
        let imaginary = blend(a[1], b[1], c[1], d[1]);
        real * real + imaginary * imaginary
    }

    /// Mean intensity of `looks` independent samples, as machines compound several beams.
    pub(crate) fn compounded(&self, p: Vec2, looks: u32) -> f32 {
        let sum: f32 = (0..looks)
            .map(|look| self.intensity(p + Vec2::new(173.0, 211.0) * look as f32))
            .sum();
        sum / looks as f32
    }
}

/// Blur along rows, then swap rows and columns.
fn transposed_blur(tile: &[[f32; 2]]) -> Vec<[f32; 2]> {
    const REACH: usize = 4;
    let kernel: Vec<f32> = (0..=2 * REACH)
        .map(|i| (i as f32 - REACH as f32) / SPREAD)
        .map(|x| exp(-0.5 * x * x))
        .collect();
    let mut out = vec![[0.0; 2]; tile.len()];
    for (y, row) in tile.chunks_exact(SIDE).enumerate() {
        for x in 0..SIDE {
            let window = row.iter().cycle().skip(x).take(kernel.len());
            let sum = window
                .zip(&kernel)
                .fold([0.0; 2], |[re, im], ([a, b], k)| [re + a * k, im + b * k]);
            if let Some(to) = out.get_mut(x * SIDE + y) {
                *to = sum;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let square = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>();
        (mean, (square / values.len() as f64).sqrt())
    }

    #[test]
    fn amplitudes_are_rayleigh_distributed() {
        let speckle = Speckle::new(&mut Rng::new(11, 0));
        let mut amplitudes = Vec::new();
        for y in 0..400 {
            for x in 0..400 {
                let p = Vec2::new(x as f32 * 1.27, y as f32 * 1.27);
                amplitudes.push(f64::from(speckle.intensity(p)).sqrt());
            }
        }
        // Mean over standard deviation of a Rayleigh variable: sqrt(pi / (4 - pi)) = 1.913.
        let (mean, deviation) = mean_and_deviation(&amplitudes);
        assert!(
            (mean / deviation - 1.913).abs() < 0.06,
            "{}",
            mean / deviation
        );
        // Its median over its mean: sqrt(ln 4) / sqrt(pi / 2) = 0.9394.
        amplitudes.sort_by(f64::total_cmp);
        let median = amplitudes[amplitudes.len() / 2];
        assert!((median / mean - 0.9394).abs() < 0.01, "{}", median / mean);
    }

    #[test]
    fn compounding_steadies_by_the_root_of_the_looks() {
        let speckle = Speckle::new(&mut Rng::new(11, 0));
        let ratio = |looks| {
            let values: Vec<f64> = (0..40_000)
                .map(|i| Vec2::new((i % 200) as f32 * 2.3, (i / 200) as f32 * 2.3))
                .map(|p| f64::from(speckle.compounded(p, looks)))
                .collect();
            let (mean, deviation) = mean_and_deviation(&values);
            mean / deviation
        };
        assert!((ratio(1) - 1.0).abs() < 0.05, "{}", ratio(1));
        assert!((ratio(3) - 3f64.sqrt()).abs() < 0.1, "{}", ratio(3));
    }

    #[test]
    fn neighbours_are_alike_and_the_tile_has_no_seam() {
        let speckle = Speckle::new(&mut Rng::new(5, 0));
        for y in [-3.0, 0.3, 250.0, 511.9] {
            let (a, b) = (Vec2::new(-0.01, y), Vec2::new(0.01, y));
            let step = (speckle.intensity(a) - speckle.intensity(b)).abs();
            assert!(step < 0.1, "{step} at row {y}");
        }
    }
}
