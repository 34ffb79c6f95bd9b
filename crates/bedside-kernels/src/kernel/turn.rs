//! Matrices with rows and columns in each other's place.
#![allow(
    unsafe_code,
    reason = "vector instructions that every processor has; loops without bounds checks"
)]

use super::cpu::compiled_for_each;
use super::epilogue::{Element, Quant};
use super::lanes::LANES;
use super::vector::Reals;

/// Rows that are turned together: each column's part of the output is some whole cache lines.
/// Columns of many maps are powers of two, so that lines of few of them stay in the nearest cache.
const TALL: usize = 64;

compiled_for_each! {
    /// Sixteen columns or fewer of a matrix, one after another: `input` starts with the first of
    /// them and has `step` elements from a row to the next. Codes become real where `code` says
    /// how, and reals become codes where `to` does.
    pub(crate) fn turn<T: Element, O: Element>(
        input: &[T],
        step: usize,
        rows: usize,
        code: Option<Quant>,
        to: Option<Quant>,
        out: &mut [O],
    ) = turn_body
}

#[inline(always)]
fn turn_body<V: Reals, const FMA: bool, T: Element, O: Element>(
    input: &[T],
    step: usize,
    rows: usize,
    code: Option<Quant>,
    to: Option<Quant>,
    out: &mut [O],
) {
    let width = out.len() / rows.max(1);
    // What is no code stays as it is.
    let (zero, scale) = code.map_or((0.0, 1.0), |code| (f32::from(code.zero), code.scale));
    let mut tall = [[0.0; LANES]; TALL];
    let mut wide = [[0.0; TALL]; LANES];
    for start in (0..rows).step_by(TALL) {
        let used = TALL.min(rows - start);
        let lines = input.get(start * step..).unwrap_or_default();
        for (line, reals) in lines.chunks(step).zip(&mut tall[..used]) {
            // Whole groups apart: through memory of any length no vectors are made.
            match line.first_chunk::<LANES>().filter(|_| width == LANES) {
                Some(from) => {
                    for lane in 0..LANES {
                        reals[lane] = (from[lane].real(None) - zero) * scale;
                    }
                }
                None => {
                    for (real, x) in reals.iter_mut().zip(line) {
                        *real = (x.real(None) - zero) * scale;
                    }
                }
            }
        }
        for row in (0..TALL).step_by(4) {
            for lane in (0..LANES).step_by(4) {
                // SAFETY: four rows and four lanes of both, which are multiples of four.
                unsafe {
                    let from = tall.as_ptr().add(row).cast::<f32>().add(lane);
                    let to = wide.as_mut_ptr().add(lane).cast::<f32>().add(row);
                    square(from, LANES, to, TALL);
                }
            }
        }
        for (reals, out) in wide.iter().zip(out.chunks_mut(rows)) {
            let out = out.get_mut(start..start + used).unwrap_or_default();
            match out.first_chunk_mut::<TALL>() {
                Some(out) => {
                    for i in 0..TALL {
                        out[i] = O::store::<FMA>(reals[i], to);
                    }
                }
                None => {
                    for (out, real) in out.iter_mut().zip(reals) {
                        *out = O::store::<FMA>(*real, to);
                    }
                }
            }
        }
    }
}

compiled_for_each! {
    /// The rows of a matrix number by number, from one column on: `input` starts with that of the
    /// first row and has `step` elements from a row to the next.
    pub(crate) fn interleave<T: Element, O: Element>(
        input: &[T],
        step: usize,
        rows: usize,
        code: Option<Quant>,
        to: Option<Quant>,
        out: &mut [O],
    ) = interleave_body
}

#[inline(always)]
fn interleave_body<V: Reals, const FMA: bool, T: Element, O: Element>(
    input: &[T],
    step: usize,
    rows: usize,
    code: Option<Quant>,
    to: Option<Quant>,
    out: &mut [O],
) {
    for (i, out) in out.chunks_mut(TALL * rows.max(1)).enumerate() {
        let input = input.get(i * TALL..).unwrap_or_default();
        // The three colours of an image apart: vectors are made of what is known to be three.
        let colours = [0, 1, 2].map(|row| input.get(row * step..)?.first_chunk::<TALL>());
        if let (3, [Some(a), Some(b), Some(c)], Some(out)) =
            (rows, colours, out.first_chunk_mut::<{ 3 * TALL }>())
        {
            let mut stored = [[O::default(); TALL]; 3];
            for (stored, from) in stored.iter_mut().zip([a, b, c]) {
                for i in 0..TALL {
                    stored[i] = O::store::<FMA>(from[i].real(code), to);
                }
            }
            for i in 0..TALL {
                out[3 * i] = stored[0][i];
                out[3 * i + 1] = stored[1][i];
                out[3 * i + 2] = stored[2][i];
            }
            continue;
        }
        for row in 0..rows {
            let line = input.get(row * step..).unwrap_or_default();
            for (out, x) in out.iter_mut().skip(row).step_by(rows).zip(line) {
                *out = O::store::<FMA>(x.real(code), to);
            }
        }
    }
}

/// Four rows of four numbers, `step` from each other, as four rows that are `to_step` from each
/// other.
///
/// # Safety
/// `from` and `to` point to as many.
#[inline(always)]
unsafe fn square(from: *const f32, step: usize, to: *mut f32, to_step: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's; every x86-64 has SSE.
    unsafe {
        use std::arch::x86_64::{_MM_TRANSPOSE4_PS, _mm_loadu_ps, _mm_storeu_ps};
        let mut a = _mm_loadu_ps(from);
        let mut b = _mm_loadu_ps(from.add(step));
        let mut c = _mm_loadu_ps(from.add(2 * step));
        let mut d = _mm_loadu_ps(from.add(3 * step));
        _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
        _mm_storeu_ps(to, a);
        _mm_storeu_ps(to.add(to_step), b);
        _mm_storeu_ps(to.add(2 * to_step), c);
        _mm_storeu_ps(to.add(3 * to_step), d);
    }
    #[cfg(not(target_arch = "x86_64"))]
    for row in 0..4 {
        for lane in 0..4 {
            // SAFETY: the caller's.
            unsafe { *to.add(lane * to_step + row) = *from.add(row * step + lane) };
        }
    }
}
