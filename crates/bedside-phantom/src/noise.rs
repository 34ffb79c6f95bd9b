//! Chance: one stream of numbers to choose a scene's parameters, and smooth fields over the plane.

use crate::math::Vec2;

/// SplitMix64 (Steele, Lea and Flood 2014): ten lines whose stream no update can change.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    /// A stream of its own for each `seed` and `purpose`.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        let mut rng = Self(seed);
        let start = rng.next_u64() ^ purpose.wrapping_mul(0xd134_2543_de82_ef95);
        Self(start)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// Uniform in `low..high`.
    pub(crate) fn range(&mut self, low: f32, high: f32) -> f32 {
        let unit = (self.next_u64() >> 40) as f32 / (1u32 << 24) as f32;
        low + (high - low) * unit
    }

    pub(crate) fn chance(&mut self, probability: f32) -> bool {
        self.range(0.0, 1.0) < probability
    }

    /// One of two numbers that differ in sign alone.
    pub(crate) fn sign(&mut self, x: f32) -> f32 {
        if self.chance(0.5) { x } else { -x }
    }

    /// Approximately normal with mean 0 and standard deviation 1: the sum of four uniforms.
    pub(crate) fn normal(&mut self) -> f32 {
        let bits = self.next_u64();
        let sum = [0, 16, 32, 48].map(|s| ((bits >> s) & 0xffff) as f32 / 65_536.0 - 0.5);
        // Four uniforms have a variance of 4 / 12.
        sum.iter().sum::<f32>() * 1.732_050_8
    }
}

/// A well-mixed number for a cell of an integer lattice.
pub(crate) fn hash(x: i32, y: i32, seed: u32) -> u32 {
    let h = (x as u32).wrapping_mul(0x9e37_79b1) ^ (y as u32).wrapping_mul(0x85eb_ca77) ^ seed;
    let h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
    let h = (h ^ (h >> 12)).wrapping_mul(0x297a_2d39);
    h ^ (h >> 15)
}

/// A smooth random field (gradient noise): mean 0, mostly within -1..1, about one hill a unit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field(u32);

impl Field {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self(rng.next_u32())
    }

    pub(crate) fn at(self, p: Vec2) -> f32 {
        let (fx, fy) = (p.x.floor(), p.y.floor());
        let (x, y) = (p.x - fx, p.y - fy);
        let (ix, iy) = (fx as i32, fy as i32);
        let corner = |dx: i32, dy: i32| {
            let h = hash(ix.wrapping_add(dx), iy.wrapping_add(dy), self.0);
            let gx = (h & 0xffff) as f32 / 32_768.0 - 1.0;
            let gy = (h >> 16) as f32 / 32_768.0 - 1.0;
            gx * (x - dx as f32) + gy * (y - dy as f32)
        };
        let ease = |t: f32| t * t * t * (t * (t * 6.0 - 15.0) + 10.0);
        let (u, v) = (ease(x), ease(y));
        let top = corner(0, 0) + (corner(1, 0) - corner(0, 0)) * u;
        let bottom = corner(0, 1) + (corner(1, 1) - corner(0, 1)) * u;
        (top + (bottom - top) * v) * 2.0
    }

    /// Hills with smaller hills on them.
    pub(crate) fn fractal(self, p: Vec2) -> f32 {
        self.at(p) * 0.62 + Self(self.0 ^ 0x5bd1_e995).at(p * 2.37) * 0.34
    }

    /// Thin lines of height 1 where the field crosses zero, about `width` of a hill wide.
    pub(crate) fn lines(self, p: Vec2, width: f32) -> f32 {
        let x = 1.0 - (self.at(p) / width).abs();
        if x > 0.0 {
            x * x * (3.0 - 2.0 * x)
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_splitmix64() {
        // First numbers of the reference implementation for seed 1234567.
        let mut rng = Rng(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973];
        assert_eq!([rng.next_u64(), rng.next_u64()], expected);
    }

    #[test]
    fn fields_are_smooth_centred_and_of_unit_scale() {
        let field = Field::new(&mut Rng::new(7, 0));
        let (mut sum, mut squares, mut step) = (0.0, 0.0, 0f32);
        let n = 200;
        for i in 0..n * n {
            let p = Vec2::new((i % n) as f32 * 0.17, (i / n) as f32 * 0.17);
            let v = field.at(p);
            sum += v;
            squares += v * v;
            step = step.max((field.at(p + Vec2::new(0.001, 0.0)) - v).abs());
        }
        let count = (n * n) as f32;
        let deviation = (squares / count).sqrt();
        assert!((sum / count).abs() < 0.05, "mean {}", sum / count);
        assert!((0.25..0.7).contains(&deviation), "deviation {deviation}");
        assert!(step < 0.01, "step {step}");
    }

    #[test]
    fn fields_take_any_point() {
        let field = Field::new(&mut Rng::new(7, 0));
        for far in [1e9, -1e9, 3e38, -3e38] {
            let v = field.at(Vec2::new(far, 0.5));
            assert!(v.is_finite(), "{far}: {v}");
        }
    }
}
