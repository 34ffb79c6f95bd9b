//! Products of rows of codes with panels of weights.
#![allow(
    unsafe_code,
    reason = "inner loops read without bounds checks; vector instructions that were asked for"
)]

use std::arch::aarch64::*;
use std::arch::asm;

use super::SIGN;
use crate::kernel::lanes::{LANES, Lanes};
use crate::kernel::product::{End, I8Panels, Job, Panels};
use crate::kernel::vector::{Array, Reals};

/// Four sums each of sixteen columns.
pub(super) type Sums = [int32x4_t; 4];

/// What the sums of a panel start from.
///
/// # Safety
/// There is such a panel.
#[inline(always)]
unsafe fn offsets(panels: &I8Panels, panel: usize) -> Sums {
    // SAFETY: the caller's.
    unsafe { load(panels.offsets.as_ptr().add(panel)) }
}

/// # Safety
/// `from` is there.
#[inline(always)]
pub(super) unsafe fn load(from: *const Lanes<i32>) -> Sums {
    // SAFETY: the caller's.
    unsafe {
        let from = from.cast::<i32>();
        let mut sums = [vdupq_n_s32(0); 4];
        for (q, sums) in sums.iter_mut().enumerate() {
            *sums = vld1q_s32(from.add(4 * q));
        }
        sums
    }
}

/// End sums.
///
/// # Safety
/// As of [`End::end`].
#[inline(always)]
unsafe fn end<E: End>(end: E, sums: Sums, panel: usize, to: *mut E::Out) {
    let mut reals = [0.0f32; LANES];
    // SAFETY: sixteen reals are written, and the caller vouches for the rest.
    unsafe {
        for (q, sums) in sums.into_iter().enumerate() {
            vst1q_f32(reals.as_mut_ptr().add(4 * q), vcvtq_f32_s32(sums));
        }
        end.end(Array::<f32>::load(reals.as_ptr()), panel, to);
    }
}

/// Sums by `smull`, `smlal` and `sadalp`, for processors without `sdot`. Where `CHAINED`, two
/// products are added as i16.
struct Narrow<'a, const CHAINED: bool>(&'a I8Panels);

impl<const CHAINED: bool> Panels for Narrow<'_, CHAINED> {
    type Input = u8;

    fn depth(&self) -> usize {
        self.0.depth()
    }

    fn count(&self) -> usize {
        self.0.offsets.len()
    }

    #[inline(always)]
    unsafe fn tile<const M: usize, const N: usize, E: End>(
        &self,
        panel: usize,
        rows: *const u8,
        _: usize,
        to: *mut E::Out,
        step: usize,
        ending: E,
    ) {
        let depth = self.0.depth();
        // SAFETY: the panels are ours, and the caller vouches for the rows and the rest.
        unsafe {
            for n in 0..N {
                let weights = self.0.panel(panel + n);
                // Two for each column: of the first and the last two of every four products.
                let mut halves = [[vdupq_n_s32(0); 8]; M];
                for k in (0..depth / 8 * 8).step_by(8) {
                    let mut codes = [[vdupq_n_s8(0); 2]; M];
                    for (m, codes) in codes.iter_mut().enumerate() {
                        let eight = veor_u8(vld1_u8(rows.add(m * depth + k)), vdup_n_u8(SIGN));
                        let fours = vreinterpret_s32_u8(eight);
                        *codes = [
                            vreinterpretq_s8_s32(vdupq_lane_s32::<0>(fours)),
                            vreinterpretq_s8_s32(vdupq_lane_s32::<1>(fours)),
                        ];
                    }
                    for q in 0..4 {
                        let first = vld1q_s8(weights.add(k * LANES + 16 * q));
                        let second = vld1q_s8(weights.add((k + 4) * LANES + 16 * q));
                        for (halves, codes) in halves.iter_mut().zip(&codes) {
                            let low = vmull_s8(vget_low_s8(first), vget_low_s8(codes[0]));
                            let high = vmull_high_s8(first, codes[0]);
                            let (a, b) = (2 * q, 2 * q + 1);
                            if CHAINED {
                                let low = vmlal_s8(low, vget_low_s8(second), vget_low_s8(codes[1]));
                                let high = vmlal_high_s8(high, second, codes[1]);
                                halves[a] = vpadalq_s16(halves[a], low);
                                halves[b] = vpadalq_s16(halves[b], high);
                            } else {
                                let low2 = vmull_s8(vget_low_s8(second), vget_low_s8(codes[1]));
                                let high2 = vmull_high_s8(second, codes[1]);
                                halves[a] = vpadalq_s16(vpadalq_s16(halves[a], low), low2);
                                halves[b] = vpadalq_s16(vpadalq_s16(halves[b], high), high2);
                            }
                        }
                    }
                }
                if !depth.is_multiple_of(8) {
                    let k = depth - 4;
                    for (m, halves) in halves.iter_mut().enumerate() {
                        let codes = four(rows.add(m * depth + k));
                        for q in 0..4 {
                            let weights = vld1q_s8(weights.add(k * LANES + 16 * q));
                            let low = vmull_s8(vget_low_s8(weights), vget_low_s8(codes));
                            let high = vmull_high_s8(weights, codes);
                            halves[2 * q] = vpadalq_s16(halves[2 * q], low);
                            halves[2 * q + 1] = vpadalq_s16(halves[2 * q + 1], high);
                        }
                    }
                }
                let offsets = offsets(self.0, panel + n);
                for (m, halves) in halves.iter().enumerate() {
                    let mut sums = offsets;
                    for q in 0..4 {
                        let whole = vpaddq_s32(halves[2 * q], halves[2 * q + 1]);
                        sums[q] = vaddq_s32(sums[q], whole);
                    }
                    end(ending, sums, panel + n, to.add(n * step + m));
                }
            }
        }
    }
}

/// Four codes of a row as i8, four times.
///
/// # Safety
/// They are there.
#[inline(always)]
unsafe fn four(from: *const u8) -> int8x16_t {
    // SAFETY: the caller's.
    unsafe {
        let four = from.cast::<u32>().read_unaligned() ^ u32::from_ne_bytes([SIGN; 4]);
        vreinterpretq_s8_u32(vdupq_n_u32(four))
    }
}

/// Sums by `sdot`.
struct Sdot<'a>(&'a I8Panels);

impl Panels for Sdot<'_> {
    type Input = u8;

    fn depth(&self) -> usize {
        self.0.depth()
    }

    fn count(&self) -> usize {
        self.0.offsets.len()
    }

    #[inline(always)]
    unsafe fn tile<const M: usize, const N: usize, E: End>(
        &self,
        panel: usize,
        rows: *const u8,
        _: usize,
        to: *mut E::Out,
        step: usize,
        ending: E,
    ) {
        let depth = self.0.depth();
        // SAFETY: the panels are ours, the caller vouches for the rows and the rest, and only
        // functions compiled for these instructions call this, on processors that have them.
        unsafe {
            for n in 0..N {
                let weights = self.0.panel(panel + n);
                let mut sums = [offsets(self.0, panel + n); M];
                let mut codes = [vdupq_n_s8(0); M];
                let sixteens = depth / 16 * 16;
                for k in (0..sixteens).step_by(16) {
                    for (m, codes) in codes.iter_mut().enumerate() {
                        let sixteen = vld1q_u8(rows.add(m * depth + k));
                        *codes = vreinterpretq_s8_u8(veorq_u8(sixteen, vdupq_n_u8(SIGN)));
                    }
                    let weights = weights.add(k * LANES);
                    sdot::<M, 0>(&mut sums, weights, &codes);
                    sdot::<M, 1>(&mut sums, weights.add(4 * LANES), &codes);
                    sdot::<M, 2>(&mut sums, weights.add(8 * LANES), &codes);
                    sdot::<M, 3>(&mut sums, weights.add(12 * LANES), &codes);
                }
                let mut k = sixteens;
                if depth - k >= 8 {
                    for (m, codes) in codes.iter_mut().enumerate() {
                        let eight = veor_u8(vld1_u8(rows.add(m * depth + k)), vdup_n_u8(SIGN));
                        *codes = vreinterpretq_s8_u8(vcombine_u8(eight, eight));
                    }
                    sdot::<M, 0>(&mut sums, weights.add(k * LANES), &codes);
                    sdot::<M, 1>(&mut sums, weights.add((k + 4) * LANES), &codes);
                    k += 8;
                }
                if k < depth {
                    for (m, codes) in codes.iter_mut().enumerate() {
                        *codes = four(rows.add(m * depth + k));
                    }
                    sdot::<M, 0>(&mut sums, weights.add(k * LANES), &codes);
                }
                for (m, sums) in sums.into_iter().enumerate() {
                    end(ending, sums, panel + n, to.add(n * step + m));
                }
            }
        }
    }
}

/// Add the products of each row's `FOUR`th four codes with a group of weights.
///
/// # Safety
/// `weights` points to a group, and the processor has these instructions.
#[inline(always)]
unsafe fn sdot<const M: usize, const FOUR: usize>(
    sums: &mut [Sums; M],
    weights: *const i8,
    codes: &[int8x16_t; M],
) {
    // SAFETY: the caller's.
    unsafe {
        let int8x16x4_t(a, b, c, d) = vld1q_s8_x4(weights);
        for (q, weights) in [a, b, c, d].into_iter().enumerate() {
            for (sums, codes) in sums.iter_mut().zip(codes) {
                // The intrinsic is not stable yet.
                asm!(
                    "sdot {sum:v}.4s, {weights:v}.16b, {codes:v}.4b[{four}]",
                    sum = inout(vreg) sums[q],
                    weights = in(vreg) weights,
                    codes = in(vreg) *codes,
                    four = const FOUR,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
        }
    }
}

/// Sums by `usmmla`, of two rows and two columns at a time.
struct Usmmla<'a>(&'a I8Panels);

impl Panels for Usmmla<'_> {
    type Input = u8;

    fn depth(&self) -> usize {
        self.0.depth()
    }

    fn count(&self) -> usize {
        self.0.offsets.len()
    }

    #[inline(always)]
    unsafe fn tile<const M: usize, const N: usize, E: End>(
        &self,
        panel: usize,
        rows: *const u8,
        _: usize,
        to: *mut E::Out,
        step: usize,
        ending: E,
    ) {
        let depth = self.0.depth();
        // SAFETY: the panels are ours, the caller vouches for the rows and the rest, and only
        // functions compiled for these instructions call this, on processors that have them.
        unsafe {
            for n in 0..N {
                let weights = self.0.panel(panel + n);
                // Of rows `2 * r` and `2 * r + 1` and of columns `2 * c` and `2 * c + 1`: four sums.
                let mut sums = [[vdupq_n_s32(0); 8]; M];
                let pairs = M.div_ceil(2);
                // The last row beside itself where their number is odd.
                let row = |m: usize| rows.add(m.min(M - 1) * depth);
                let sixteens = depth / 16 * 16;
                for k in (0..sixteens).step_by(16) {
                    let mut codes = [[vdupq_n_u8(0); 2]; M];
                    for r in 0..pairs {
                        let above = vreinterpretq_u64_u8(vld1q_u8(row(2 * r).add(k)));
                        let below = vreinterpretq_u64_u8(vld1q_u8(row(2 * r + 1).add(k)));
                        codes[r] = [
                            vreinterpretq_u8_u64(vzip1q_u64(above, below)),
                            vreinterpretq_u8_u64(vzip2q_u64(above, below)),
                        ];
                    }
                    for half in 0..2 {
                        let weights = weights.add((k + 8 * half) * LANES);
                        usmmla(&mut sums[..pairs], weights, |r| codes[r][half]);
                    }
                }
                // Eight or four more, of a panel that is filled up with zeros.
                let mut k = sixteens;
                while k < depth {
                    let mut codes = [vdupq_n_u8(0); M];
                    for r in 0..pairs {
                        let eight = |m: usize| match depth - k {
                            4 => vcreate_u8(row(m).add(k).cast::<u32>().read_unaligned().into()),
                            _ => vld1_u8(row(m).add(k)),
                        };
                        codes[r] = vcombine_u8(eight(2 * r), eight(2 * r + 1));
                    }
                    usmmla(&mut sums[..pairs], weights.add(k * LANES), |r| codes[r]);
                    k += 8;
                }
                let offsets = offsets(self.0, panel + n);
                for m in 0..M {
                    let mut row = offsets;
                    for (q, row) in row.iter_mut().enumerate() {
                        let [a, b] = [0, 1].map(|i| vreinterpretq_s64_s32(sums[m / 2][2 * q + i]));
                        let four = match m % 2 {
                            0 => vzip1q_s64(a, b),
                            _ => vzip2q_s64(a, b),
                        };
                        *row = vaddq_s32(*row, vreinterpretq_s32_s64(four));
                    }
                    end(ending, row, panel + n, to.add(n * step + m));
                }
            }
        }
    }
}

/// Add the products of pairs of rows, eight codes each, with a group of weights.
///
/// # Safety
/// `weights` points to a group, and the processor has these instructions.
#[inline(always)]
unsafe fn usmmla(
    sums: &mut [[int32x4_t; 8]],
    weights: *const i8,
    codes: impl Fn(usize) -> uint8x16_t,
) {
    for half in 0..2 {
        // SAFETY: the caller's.
        unsafe {
            let int8x16x4_t(a, b, c, d) = vld1q_s8_x4(weights.add(64 * half));
            for (q, weights) in [a, b, c, d].into_iter().enumerate() {
                for (r, sums) in sums.iter_mut().enumerate() {
                    // The intrinsic is not stable yet.
                    asm!(
                        "usmmla {sum:v}.4s, {codes:v}.16b, {weights:v}.16b",
                        sum = inout(vreg) sums[4 * half + q],
                        codes = in(vreg) codes(r),
                        weights = in(vreg) weights,
                        options(pure, nomem, nostack, preserves_flags),
                    );
                }
            }
        }
    }
}

/// Run a job with the instructions that these panels are for.
pub(in crate::kernel) fn each(panels: &I8Panels, rows: &[u8], job: impl Job) {
    use crate::kernel::cpu::Dot;

    #[target_feature(enable = "dotprod")]
    fn sdot(panels: &I8Panels, rows: &[u8], job: impl Job) {
        // What four rows need stays in registers; what six need does not.
        job.run::<_, 4, 1>(&Sdot(panels), rows);
    }
    #[target_feature(enable = "dotprod,i8mm")]
    fn usmmla(panels: &I8Panels, rows: &[u8], job: impl Job) {
        job.run::<_, 4, 1>(&Usmmla(panels), rows);
    }
    match panels.dot() {
        Dot::Wide if panels.chained => job.run::<_, 2, 1>(&Narrow::<true>(panels), rows),
        Dot::Wide => job.run::<_, 2, 1>(&Narrow::<false>(panels), rows),
        // SAFETY: values of `Dot` other than the least come from `Cpu::supported`, which asked the
        // processor.
        Dot::Sdot => unsafe { sdot(panels, rows, job) },
        // SAFETY: as above.
        Dot::Usmmla => unsafe { usmmla(panels, rows, job) },
    }
}
