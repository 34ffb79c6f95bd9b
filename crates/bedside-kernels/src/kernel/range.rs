//! Activations that are made codes as they come.
#![allow(unsafe_code, reason = "vector instructions that were asked for")]

use rayon::prelude::*;

use super::cpu::{Cpu, compiled_for_each};
use super::epilogue::{MAGIC, Quant};
use super::lanes::LANES;
use super::vector::Reals;
use crate::ops::threads;

/// What an activation's values lie between, 0 with them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Range {
    low: f32,
    high: f32,
    /// 0, or NaN when there was a value that is not finite.
    flaw: f32,
}

impl Range {
    pub(crate) fn of(cpu: Cpu, values: &[f32]) -> Self {
        const BLOCK: usize = 64 << 10;
        let one = |values: &[f32]| {
            let mut range = Self::default();
            widen(cpu.simd, values, &mut range);
            range
        };
        if threads() > 1 && values.len() > BLOCK {
            let parts = values.par_chunks(BLOCK).map(one);
            parts.reduce(Self::default, Self::with)
        } else {
            one(values)
        }
    }

    fn with(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            flaw: self.flaw + other.flaw,
        }
    }

    /// As ONNX's DynamicQuantizeLinear has it; the scale is NaN when a value was not finite.
    pub(crate) fn code(self) -> Quant {
        let scale = match self.high - self.low {
            0.0 => 1.0,
            range => range / 255.0,
        };
        let zero = ((-self.low / scale).clamp(0.0, 255.0) + MAGIC) - MAGIC;
        Quant {
            scale: scale + self.flaw,
            zero: zero as u8,
        }
    }
}

compiled_for_each! {
    /// Make a range one that holds `values` too.
    fn widen(values: &[f32], range: &mut Range) = widen_body
}

#[inline(always)]
fn widen_body<V: Reals, const FMA: bool>(values: &[f32], range: &mut Range) {
    // Each is a vector or two, and waits for no other.
    const SIDE: usize = 4 * LANES;
    let (mut low, mut high, mut flaw) = ([0.0f32; SIDE], [0.0f32; SIDE], [0.0f32; SIDE]);
    let (whole, rest) = values.as_chunks::<SIDE>();
    let mut last = [0.0; SIDE];
    last[..rest.len()].copy_from_slice(rest);
    for values in whole.iter().chain([&last]) {
        for lane in 0..SIDE {
            let x = values[lane];
            low[lane] = if x < low[lane] { x } else { low[lane] };
            high[lane] = if x > high[lane] { x } else { high[lane] };
            flaw[lane] += x * 0.0;
        }
    }
    for ((low, high), flaw) in low.into_iter().zip(high).zip(flaw) {
        *range = range.with(Range { low, high, flaw });
    }
}

compiled_for_each! {
    /// Codes of `rows`, each filled up to a multiple of four.
    pub(crate) fn encode(code: Quant, rows: &[f32], depth: usize, codes: &mut [u8]) = encode_body
}

#[inline(always)]
fn encode_body<V: Reals, const FMA: bool>(
    code: Quant,
    rows: &[f32],
    depth: usize,
    codes: &mut [u8],
) {
    let codes = codes.chunks_exact_mut(depth.next_multiple_of(4));
    for (row, codes) in rows.chunks_exact(depth).zip(codes) {
        for (real, code_) in row.iter().zip(codes) {
            *code_ = code.quantize::<FMA>(*real);
        }
    }
}
