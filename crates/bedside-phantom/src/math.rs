//! Arithmetic with one answer on every platform.
//!
//! Only `+ - * /`, `sqrt` and rounding are used, which IEEE 754 pins to the bit; the libraries
//! behind `f32::sin`, `exp` and `ln` differ between systems.

use std::f64::consts::TAU;

/// A point or displacement in the plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Vec2 {
    pub(crate) x: f32,
    pub(crate) y: f32,
}

impl Vec2 {
    pub(crate) const ZERO: Self = Self::new(0.0, 0.0);

    pub(crate) const fn new(x: f32, y: f32) -> Self {
        Self { x, y }
    }

    /// Unit vector at `turns` full turns from the x axis.
    pub(crate) fn at_turns(turns: f32) -> Self {
        let turns = f64::from(turns);
        Self::new(sin_turns(turns + 0.25), sin_turns(turns))
    }

    pub(crate) fn dot(self, other: Self) -> f32 {
        self.x * other.x + self.y * other.y
    }

    pub(crate) fn length(self) -> f32 {
        self.dot(self).sqrt()
    }

    /// Product of the two as complex numbers: turns and scales `self` by `other`.
    pub(crate) fn turned(self, other: Self) -> Self {
        Self::new(
            self.x * other.x - self.y * other.y,
            self.x * other.y + self.y * other.x,
        )
    }

    /// Component-wise product.
    pub(crate) fn scaled(self, x: f32, y: f32) -> Self {
        Self::new(self.x * x, self.y * y)
    }
}

impl std::ops::Add for Vec2 {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::new(self.x + other.x, self.y + other.y)
    }
}

impl std::ops::Sub for Vec2 {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self::new(self.x - other.x, self.y - other.y)
    }
}

impl std::ops::Mul<f32> for Vec2 {
    type Output = Self;

    fn mul(self, by: f32) -> Self {
        self.scaled(by, by)
    }
}

/// Sine of `turns` full turns.
pub(crate) fn sin_turns(turns: f64) -> f32 {
    let mut x = turns - turns.floor();
    if x >= 0.75 {
        x -= 1.0;
    } else if x > 0.25 {
        x = 0.5 - x;
    }
    // Taylor to degree 11 on a quarter turn: wrong by less than 1e-7.
    let (x, xx) = (x * TAU, x * TAU * x * TAU);
    let series = -1.0 / 39_916_800.0;
    let series = 1.0 / 362_880.0 + series * xx;
    let series = -1.0 / 5_040.0 + series * xx;
    let series = 1.0 / 120.0 + series * xx;
    let series = -1.0 / 6.0 + series * xx;
    (x * (1.0 + series * xx)) as f32
}

/// 2 to the power of `x`, relative error below 1e-5; clamped to the range of normal numbers.
pub(crate) fn exp2(x: f32) -> f32 {
    let x = x.clamp(-126.0, 126.0);
    let whole = x.floor();
    let f = x - whole;
    let series = 0.001_333_56 + f * 0.000_154_04;
    let series = 0.009_618_13 + f * series;
    let series = 0.055_504_11 + f * series;
    let series = 0.240_226_5 + f * series;
    let series = std::f32::consts::LN_2 + f * series;
    let power = f32::from_bits(((whole as i32 + 127) as u32) << 23);
    power * (1.0 + f * series)
}

/// e to the power of `x`.
pub(crate) fn exp(x: f32) -> f32 {
    exp2(x * std::f32::consts::LOG2_E)
}

/// Logarithm to base 2 of a positive normal number, absolute error below 2e-6.
pub(crate) fn log2(x: f32) -> f32 {
    let bits = x.max(f32::MIN_POSITIVE).to_bits();
    let exponent = (bits >> 23) as i32 - 127;
    let mantissa = f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000);
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let ss = s * s;
    let series = 1.0 + ss * (1.0 / 3.0 + ss * (0.2 + ss * (1.0 / 7.0 + ss / 9.0)));
    exponent as f32 + 2.0 * std::f32::consts::LOG2_E * s * series
}

/// A level in decibels as a factor of intensity.
pub(crate) fn from_db(db: f32) -> f32 {
    exp2(db * 0.332_192_8)
}

/// A factor of intensity in decibels.
pub(crate) fn to_db(intensity: f32) -> f32 {
    log2(intensity) * 3.010_3
}

/// 0 below `low`, 1 above `high`, smooth between.
pub(crate) fn smoothstep(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// From `a` at `t` 0 to `b` at `t` 1.
pub(crate) fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// A bell: 1 at 0, falling as a Gaussian of width `width`.
pub(crate) fn bell(x: f32, width: f32) -> f32 {
    let x = x / width;
    exp(-x * x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agree_with_the_standard_library() {
        for i in -4000..4000 {
            let x = f64::from(i) * 0.003_7;
            assert!(
                (f64::from(sin_turns(x)) - (x * TAU).sin()).abs() < 2e-7,
                "sin {x}"
            );
            let x = x as f32;
            assert!((exp(x) / x.exp() - 1.0).abs() < 2e-5, "exp {x}");
            let positive = x * x + 1e-6;
            assert!(
                (log2(positive) - positive.log2()).abs() < 5e-6,
                "log2 {positive}"
            );
        }
        assert!((to_db(from_db(-17.0)) + 17.0).abs() < 1e-4);
    }
}
