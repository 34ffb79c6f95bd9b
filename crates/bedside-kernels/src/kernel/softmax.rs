//! The rows of a softmax.
#![allow(unsafe_code, reason = "vector instructions that were asked for")]

use super::cpu::compiled_for_each;
use super::epilogue::{MAGIC, polynomial};
use super::lanes::{LANES, multiply_add};
use super::vector::Reals;

compiled_for_each! {
    /// Add the mask to a row of scores, unless it is empty; then each becomes its exponential, over
    /// that of the greatest. `total` becomes their sum.
    pub(crate) fn weigh(scores: &mut [f32], mask: &[f32], total: &mut f32) = weigh_body
}

#[inline(always)]
fn weigh_body<V: Reals, const FMA: bool>(scores: &mut [f32], mask: &[f32], total: &mut f32) {
    let (whole, rest) = scores.as_chunks_mut::<LANES>();
    let mut last = [f32::NEG_INFINITY; LANES];
    last[..rest.len()].copy_from_slice(rest);
    let mut highest = [f32::NEG_INFINITY; LANES];
    let (masks, mask_rest) = mask.as_chunks::<LANES>();
    let mut last_mask = [0.0; LANES];
    last_mask[..mask_rest.len()].copy_from_slice(mask_rest);
    for (scores, mask) in whole.iter_mut().zip(masks) {
        add(scores, mask);
    }
    add(&mut last, &last_mask);
    for scores in whole.iter().chain([&last]) {
        for lane in 0..LANES {
            let x = scores[lane];
            highest[lane] = if x > highest[lane] { x } else { highest[lane] };
        }
    }
    let highest = highest.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0f32; LANES];
    for scores in whole {
        for lane in 0..LANES {
            scores[lane] = exp::<FMA>(scores[lane] - highest);
            sums[lane] += scores[lane];
        }
    }
    for lane in 0..LANES {
        last[lane] = exp::<FMA>(last[lane] - highest);
    }
    *total = sums.iter().sum();
    for (score, exp) in rest.iter_mut().zip(last) {
        *score = exp;
        *total += exp;
    }
}

#[inline(always)]
fn add(to: &mut [f32; LANES], values: &[f32; LANES]) {
    for lane in 0..LANES {
        to[lane] += values[lane];
    }
}

/// e to the power of `x`, which is 0 or less, within some 1e-7 of it; what is less than 1e-38
/// becomes that.
///
/// The polynomial is Cephes' (expf), within half a power of two.
#[inline(always)]
fn exp<const FMA: bool>(x: f32) -> f32 {
    // NaN stays.
    let x = if x < -87.0 { -87.0 } else { x };
    // A whole number in the lowest bits.
    let shifted = multiply_add::<FMA>(x, std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    let r = multiply_add::<FMA>(n, -0.693_359_4, x);
    let r = multiply_add::<FMA>(n, 2.121_944_4e-4, r);
    let terms = [
        1.987_569_1e-4,
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ];
    let sum = polynomial::<FMA, 6>(terms, r);
    let power = multiply_add::<FMA>(sum, r * r, r) + 1.0;
    let scale = (shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits());
    power * f32::from_bits(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_near() {
        for i in 0..=8_700 {
            let x = -0.01 * i as f32;
            let want = f64::from(x).exp();
            for got in [exp::<true>(x), exp::<false>(x)] {
                assert!((f64::from(got) / want - 1.0).abs() < 2e-7, "{got} for {x}");
            }
        }
        assert!(exp::<false>(f32::NEG_INFINITY) < 1e-37 && exp::<false>(f32::NAN).is_nan());
    }
}
