//! Layer normalisation of rows.
#![allow(unsafe_code, reason = "vector instructions that were asked for")]

use super::cpu::compiled_for_each;
use super::lanes::{LANES, multiply_add};
use super::vector::Reals;

/// What is added to the variance, and the scale and shift of each column.
#[derive(Debug, PartialEq)]
pub(crate) struct Affine {
    pub(crate) epsilon: f32,
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
}

compiled_for_each! {
    pub(crate) fn normalise(plan: &Affine, rows: &[f32], out: &mut [f32]) = normalise_body
}

#[inline(always)]
fn normalise_body<V: Reals, const FMA: bool>(plan: &Affine, rows: &[f32], out: &mut [f32]) {
    let width = plan.scale.len();
    for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let mean = sum_of_powers::<1>(row, 0.0) / width as f32;
        let variance = sum_of_powers::<2>(row, mean) / width as f32;
        let factor = (variance + plan.epsilon).sqrt().recip();
        let columns = plan.scale.iter().zip(&plan.shift);
        for ((out, x), (scale, shift)) in out.iter_mut().zip(row).zip(columns) {
            *out = multiply_add::<FMA>((x - mean) * factor, *scale, *shift);
        }
    }
}

/// Sum of the first or second power of each value less `mean`, sixteen side by side.
#[inline(always)]
fn sum_of_powers<const POWER: usize>(values: &[f32], mean: f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += power::<POWER>(x - mean);
    }
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += power::<POWER>(chunk[lane] - mean);
        }
    }
    sums.iter().sum()
}

#[inline(always)]
fn power<const POWER: usize>(x: f32) -> f32 {
    if POWER == 1 { x } else { x * x }
}
