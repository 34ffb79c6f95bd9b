//! Windows over codes, with integer weights.
//!
//! The padded rows hold codes as i8, less 128, sixteen channels of a pixel after another.
#![allow(
    unsafe_code,
    reason = "inner loops read without bounds checks; vector instructions that were asked for"
)]

use std::arch::aarch64::*;
use std::arch::asm;

use super::product::{Sums, load};
use super::{Bytes, SIGN};
use crate::kernel::cpu::Dot;
use crate::kernel::depthwise::{RUN, Window};
use crate::kernel::lanes::{LANES, Lanes, lanes};

/// Integer weights of a depthwise convolution.
#[derive(Debug, Clone)]
pub(in crate::kernel) struct Coded {
    dot: Dot,
    window: Window,
    /// For each sixteen channels, what is multiplied at once, as a [`Run`] reads it.
    taps: Vec<Bytes>,
    /// What the sums of each channel start from: the bias, and what the codes' zero takes away.
    offsets: Vec<Lanes<i32>>,
    /// Biases that are added to the sums as f32, -0 elsewhere; empty where there is none.
    late: Vec<Lanes<f32>>,
    /// The code of 0, as it lies in the padded rows.
    pub(in crate::kernel) padding: Bytes,
    /// Whether the sum of any two products is an i16.
    chained: bool,
}

/// Biases from here on are added as f32: with those below, sums stay far from the greatest i32.
const LATE: u32 = 1 << 23;

/// How many fours of pixels a window of `width` pixels spans, at each of which `shifts` windows
/// begin: at the first pixel, and at the second where steps are odd.
fn spans(width: usize, shifts: usize) -> usize {
    (width + shifts - 1).div_ceil(4)
}

fn shifts(stride: usize) -> usize {
    if stride.is_multiple_of(2) { 1 } else { 2 }
}

impl Coded {
    /// From `weight(channel, tap)` and a bias for each channel in units of the products, for windows
    /// of [`MOST_TAPS`](crate::kernel::depthwise::MOST_TAPS) at most.
    pub(in crate::kernel) fn new(
        dot: Dot,
        window: Window,
        zero: u8,
        bias: &[i32],
        weight: impl Fn(usize, usize) -> i8,
    ) -> Self {
        let [height, width] = window.kernel;
        let taps = height * width;
        // Channels with hardly a weight have so small a unit that their biases fill an i32.
        let is_late = |bias: i32| bias.unsigned_abs() >= LATE;
        let all = |c: usize| (0..taps).map(move |tap| (c, tap));
        let weights = |c: usize| all(c).map(|(c, tap)| weight(c, tap));
        let offsets: Vec<i32> = bias
            .iter()
            .enumerate()
            .map(|(c, bias)| {
                let total: i32 = weights(c).map(i32::from).sum();
                let early = if is_late(*bias) { 0 } else { *bias };
                early + (i32::from(SIGN) - i32::from(zero)) * total
            })
            .collect();
        let mut late = Vec::new();
        if bias.iter().any(|b| is_late(*b)) {
            // Nothing changes when -0 is added to it.
            let later = |b: &i32| if is_late(*b) { *b as f32 } else { -0.0 };
            late = lanes(&bias.iter().map(later).collect::<Vec<_>>());
        }
        let chained = (0..window.channels).all(|c| weights(c).all(|w| w > i8::MIN));
        let blocks = window.channels.div_ceil(LANES);
        let of = |block: usize, lane: usize, tap: Option<usize>| {
            let channel = block * LANES + lane;
            let tap = tap.filter(|_| channel < window.channels);
            tap.map_or(0, |tap| weight(channel, tap))
        };
        let mut found = Vec::new();
        for block in 0..blocks {
            if dot == Dot::Wide {
                let one =
                    |tap| -> Bytes { std::array::from_fn(|lane| of(block, lane, Some(tap)) as u8) };
                found.extend((0..taps).map(one));
                continue;
            }
            let shifts = shifts(window.stride[1]);
            for at in 0..height * spans(width, shifts) * shifts * 4 {
                let (quarter, at) = (at % 4, at / 4);
                let (shift, at) = (at % shifts, at / shifts);
                let (span, ky) = (at % spans(width, shifts), at / spans(width, shifts));
                found.push(std::array::from_fn(|byte| {
                    let kx = (4 * span + byte % 4).wrapping_sub(shift);
                    let tap = (kx < width).then_some(ky * width + kx);
                    of(block, 4 * quarter + byte / 4, tap) as u8
                }));
            }
        }
        Self {
            dot,
            window,
            taps: found,
            offsets: lanes(&offsets),
            late,
            padding: [zero ^ SIGN; LANES],
            chained,
        }
    }

    /// Columns of the padded rows: the input's, with padding, and what a run may read too much.
    pub(in crate::kernel) fn padded_width(&self) -> usize {
        let Window {
            input,
            output,
            kernel,
            stride: [_, stride],
            before,
            ..
        } = self.window;
        let runs = output[1].next_multiple_of(RUN) - RUN;
        let last = (RUN - 1) * stride / 2 * 2;
        let read = runs * stride + last + 4 * spans(kernel[1], 2);
        read.max(before[1] + input[1])
    }

    /// Sums of the windows of a group of channels, in runs, along a row of `input`; `line` is from a
    /// row to the next.
    ///
    /// # Safety
    /// `input` has the rows, as wide as [`Self::padded_width`] from the first column on, that the
    /// windows of whole runs read.
    pub(in crate::kernel) unsafe fn windows(
        &self,
        block: usize,
        input: *const Bytes,
        line: usize,
        sums: &mut [Lanes<f32>],
    ) {
        let Some(offsets) = self.offsets.get(block) else {
            return;
        };
        let per = self.taps.len() / self.offsets.len();
        let Window { kernel, stride, .. } = self.window;
        let shape = Shape {
            kernel,
            stride: stride[1],
            line,
        };
        let late = self.late.get(block);
        // SAFETY: the block has its taps; the caller vouches for the input, and values of `Dot` other
        // than the least come from `Cpu::supported`, which asked the processor.
        unsafe {
            let taps = self.taps.as_ptr().add(block * per).cast();
            let (input, offsets) = (input.cast(), load(offsets));
            match (self.dot, self.chained) {
                (Dot::Wide, true) => runs::<Narrow<true>>(shape, input, taps, offsets, late, sums),
                (Dot::Wide, false) => {
                    runs::<Narrow<false>>(shape, input, taps, offsets, late, sums)
                }
                _ => dots(shape, input, taps, offsets, late, sums),
            }
        }
    }
}

/// Of a window, and where the rows lie that it reads.
#[derive(Clone, Copy)]
struct Shape {
    kernel: [usize; 2],
    stride: usize,
    /// Pixels from a row to the next.
    line: usize,
}

/// How windows are multiplied.
trait Run {
    /// Sums of a run. Where `FIXED`, kernel and stride are constants.
    ///
    /// # Safety
    /// `input` has the rows and columns that a run reads, `taps` the window's, and the processor has
    /// the instructions.
    unsafe fn run<const FIXED: bool>(
        shape: Shape,
        input: *const [i8; LANES],
        taps: *const [i8; LANES],
        offsets: Sums,
    ) -> [Sums; RUN];
}

/// Sums of runs, one after another; where kernel and stride are common ones, compiled for them.
///
/// # Safety
/// As of [`Run::run`], for so many.
#[inline(always)]
unsafe fn runs<R: Run>(
    shape: Shape,
    mut input: *const [i8; LANES],
    taps: *const [i8; LANES],
    offsets: Sums,
    late: Option<&Lanes<f32>>,
    sums: &mut [Lanes<f32>],
) {
    for to in sums.as_chunks_mut::<RUN>().0 {
        // SAFETY: the caller's; four reals are written at a time.
        unsafe {
            macro_rules! run {
                ($kernel:expr, $stride:expr) => {{
                    let (kernel, stride) = ($kernel, $stride);
                    let shape = Shape {
                        kernel,
                        stride,
                        ..shape
                    };
                    R::run::<true>(shape, input, taps, offsets)
                }};
            }
            let sums = match (shape.kernel, shape.stride) {
                ([3, 3], 1) => run!([3, 3], 1),
                ([5, 5], 1) => run!([5, 5], 1),
                ([3, 3], 2) => run!([3, 3], 2),
                ([5, 5], 2) => run!([5, 5], 2),
                _ => R::run::<false>(shape, input, taps, offsets),
            };
            for (to, sums) in to.iter_mut().zip(sums) {
                for (q, sums) in sums.into_iter().enumerate() {
                    let mut reals = vcvtq_f32_s32(sums);
                    if let Some(late) = late {
                        reals = vaddq_f32(reals, vld1q_f32(late.0.as_ptr().add(4 * q)));
                    }
                    vst1q_f32(to.0.as_mut_ptr().add(4 * q), reals);
                }
            }
        }
        input = input.wrapping_add(RUN * shape.stride);
    }
}

/// By `smull` and `smlal`, tap by tap; where `CHAINED`, two products are added as i16.
struct Narrow<const CHAINED: bool>;

impl<const CHAINED: bool> Run for Narrow<CHAINED> {
    #[inline(always)]
    unsafe fn run<const FIXED: bool>(
        shape: Shape,
        input: *const [i8; LANES],
        taps: *const [i8; LANES],
        offsets: Sums,
    ) -> [Sums; RUN] {
        let [height, width] = shape.kernel;
        let mut sums = [offsets; RUN];
        let step = if CHAINED { 2 } else { 1 };
        for tap in (0..height * width).step_by(step) {
            let two = CHAINED && tap + 1 < height * width;
            // SAFETY: the caller's.
            unsafe {
                let pixel = |i: usize, tap: usize| {
                    let at = tap / width * shape.line + tap % width + i * shape.stride;
                    vld1q_s8(input.add(at).cast())
                };
                let first = vld1q_s8(taps.add(tap).cast());
                let second = vld1q_s8(taps.add(if two { tap + 1 } else { tap }).cast());
                for i in 0..RUN {
                    let x = pixel(i, tap);
                    let mut low = vmull_s8(vget_low_s8(x), vget_low_s8(first));
                    let mut high = vmull_high_s8(x, first);
                    if two {
                        let x = pixel(i, tap + 1);
                        low = vmlal_s8(low, vget_low_s8(x), vget_low_s8(second));
                        high = vmlal_high_s8(high, x, second);
                    }
                    sums[i][0] = vaddw_s16(sums[i][0], vget_low_s16(low));
                    sums[i][1] = vaddw_high_s16(sums[i][1], low);
                    sums[i][2] = vaddw_s16(sums[i][2], vget_low_s16(high));
                    sums[i][3] = vaddw_high_s16(sums[i][3], high);
                }
            }
        }
        sums
    }
}

/// By `sdot`, four pixels of a row at once.
struct Dots;

impl Run for Dots {
    #[inline(always)]
    unsafe fn run<const FIXED: bool>(
        shape: Shape,
        input: *const [i8; LANES],
        taps: *const [i8; LANES],
        offsets: Sums,
    ) -> [Sums; RUN] {
        let Shape {
            kernel: [height, width],
            stride,
            line,
        } = shape;
        let shifts = shifts(stride);
        let spans = spans(width, shifts);
        // Fours of pixels that the run reads, one each two pixels.
        let count = (RUN - 1) * stride / 2 + 2 * spans - 1;
        let mut sums = [offsets; RUN];
        for ky in 0..height {
            // SAFETY: the caller's.
            unsafe {
                let row = input.add(ky * line);
                let taps = taps.add(ky * spans * shifts * 4);
                let mut before = pair(row);
                macro_rules! four {
                    ($at:expr) => {
                        let next = pair(row.add(2 * $at + 2));
                        let fours = fours(before, next);
                        before = next;
                        for i in 0..RUN {
                            let (first, shift) = (i * stride / 2, i * stride % 2);
                            if $at < first || ($at - first) % 2 == 1 || ($at - first) / 2 >= spans {
                                continue;
                            }
                            let taps = taps.add((($at - first) / 2 * shifts + shift) * 4);
                            for q in 0..4 {
                                sdot(&mut sums[i][q], vld1q_s8(taps.add(q).cast()), fours[q]);
                            }
                        }
                    };
                }
                if FIXED {
                    // Compilers don't unroll a loop of so much.
                    macro_rules! fours {
                        ($($at:literal)+) => {$(if $at < count { four!($at); })+};
                    }
                    fours!(0 1 2 3 4 5);
                } else {
                    for at in 0..count {
                        four!(at);
                    }
                }
            }
        }
        sums
    }
}

/// Add products to each of four sums.
///
/// # Safety
/// The processor has this instruction.
#[inline(always)]
unsafe fn sdot(sum: &mut int32x4_t, weights: int8x16_t, codes: int8x16_t) {
    // The intrinsic is not stable yet.
    // SAFETY: the caller's.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {weights:v}.16b, {codes:v}.16b",
            sum = inout(vreg) *sum,
            weights = in(vreg) weights,
            codes = in(vreg) codes,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
}

/// # Safety
/// As of [`Dots::run`].
#[target_feature(enable = "dotprod")]
unsafe fn dots(
    shape: Shape,
    input: *const [i8; LANES],
    taps: *const [i8; LANES],
    offsets: Sums,
    late: Option<&Lanes<f32>>,
    sums: &mut [Lanes<f32>],
) {
    // SAFETY: the caller's.
    unsafe { runs::<Dots>(shape, input, taps, offsets, late, sums) }
}

/// Each channel of two pixels side by side.
///
/// # Safety
/// Both are there.
#[inline(always)]
unsafe fn pair(from: *const [i8; LANES]) -> [int16x8_t; 2] {
    // SAFETY: the caller's.
    unsafe {
        let (a, b) = (vld1q_s8(from.cast()), vld1q_s8(from.add(1).cast()));
        [vzip1q_s8(a, b), vzip2q_s8(a, b)].map(|pair| vreinterpretq_s16_s8(pair))
    }
}

/// Each channel of two pairs side by side.
#[inline(always)]
fn fours(a: [int16x8_t; 2], b: [int16x8_t; 2]) -> [int8x16_t; 4] {
    // SAFETY: every AArch64 has NEON.
    unsafe {
        [
            vzip1q_s16(a[0], b[0]),
            vzip2q_s16(a[0], b[0]),
            vzip1q_s16(a[1], b[1]),
            vzip2q_s16(a[1], b[1]),
        ]
        .map(|four| vreinterpretq_s8_s16(four))
    }
}
