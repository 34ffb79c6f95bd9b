//! Depthwise convolution: every channel with a small window of its own.
#![allow(unsafe_code, reason = "inner loops read without bounds checks")]

use crate::cpu::{Cpu, compiled_for_each};
use crate::epilogue::{Element, Epilogue, Place};
use crate::lanes::{LANES, Lanes, lanes, multiply_add};

/// Shape of a depthwise convolution over [h, w, channels].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Channels, of input and output.
    pub(crate) channels: usize,
    /// Input height and width.
    pub(crate) input: [usize; 2],
    /// Output height and width.
    pub(crate) output: [usize; 2],
    /// Window height and width.
    pub(crate) kernel: [usize; 2],
    /// Steps of the window down and right.
    pub(crate) stride: [usize; 2],
    /// Rows above and columns to the left that are padding.
    pub(crate) before: [usize; 2],
}

/// Weights of a depthwise convolution, and its shape.
#[derive(Debug, Clone)]
pub(crate) struct Depthwise {
    pub(crate) window: Window,
    /// For each sixteen channels, those of every tap of the window.
    taps: Vec<Lanes<f32>>,
    /// What the sums of each channel start from.
    bias: Vec<Lanes<f32>>,
    /// Taken from codes, so that padding is 0.
    zero: f32,
}

/// How many outputs along a row are computed side by side: their windows share inputs.
const RUN: usize = 4;

impl Depthwise {
    /// From `weight(channel, tap)` and a bias for each channel; `zero` is the input's code of 0,
    /// 0 for f32.
    pub(crate) fn new(
        window: Window,
        zero: u8,
        bias: &[f32],
        weight: impl Fn(usize, usize) -> f32,
    ) -> Self {
        let taps = window.kernel.iter().product::<usize>();
        let blocks = window.channels.div_ceil(LANES);
        let taps = (0..blocks * taps)
            .map(|at| {
                Lanes(std::array::from_fn(|lane| {
                    let channel = at / taps * LANES + lane;
                    if channel < window.channels {
                        weight(channel, at % taps)
                    } else {
                        0.0
                    }
                }))
            })
            .collect();
        Self {
            window,
            taps,
            bias: lanes(bias),
            zero: f32::from(zero),
        }
    }

    /// Columns of the scratch rows: the input's, with padding, and what a run may read too much.
    fn padded_width(&self) -> usize {
        let Window {
            output,
            kernel,
            stride,
            ..
        } = self.window;
        (output[1].next_multiple_of(RUN) - 1) * stride[1] + kernel[1]
    }
}

/// Rows from `first` on of a depthwise convolution's output.
pub(crate) struct Strip<'a, T, R> {
    pub(crate) depthwise: &'a Depthwise,
    /// The whole input [h, w, channels].
    pub(crate) input: &'a [T],
    /// First output row.
    pub(crate) first: usize,
    /// Of the same rows as the output, or empty.
    pub(crate) residual: &'a [R],
    pub(crate) epilogue: &'a Epilogue,
    /// Memory for [`strip`], kept between calls.
    pub(crate) scratch: &'a mut Vec<Lanes<f32>>,
}

/// Compute as many rows as `out` holds.
pub(crate) fn strip<T: Element, R: Element, O: Element>(
    cpu: Cpu,
    strip: Strip<'_, T, R>,
    out: &mut [O],
) {
    compiled(cpu.simd, strip, out);
}

compiled_for_each! {
    fn compiled<T: Element, R: Element, O: Element>(
        strip: Strip<'_, T, R>,
        out: &mut [O],
    ) = body
}

/// Sixteen channels at a time: the input rows that the strip needs, padded and as f32, stay in
/// the nearest caches while the window passes over them.
#[inline(always)]
fn body<const ROWS: usize, const FMA: bool, T: Element, R: Element, O: Element>(
    strip: Strip<'_, T, R>,
    out: &mut [O],
) {
    let Depthwise { window, zero, .. } = *strip.depthwise;
    let Window {
        channels,
        input: [height, width],
        output: [_, out_width],
        kernel,
        stride,
        before,
    } = window;
    let row_len = out_width * channels;
    let rows = out.len() / row_len;
    assert!(strip.input.len() == height * width * channels && out.len() == rows * row_len);
    let padded = strip.depthwise.padded_width();
    let tall = (rows - 1) * stride[0] + kernel[0];
    strip.scratch.clear();
    strip.scratch.resize(tall * padded, Lanes([0.0; LANES]));
    let scratch = strip.scratch.as_mut_slice();
    let top = strip.first * stride[0];
    let taps = kernel[0] * kernel[1];
    let usable = width.min(padded.saturating_sub(before[1]));

    for block in 0..channels.div_ceil(LANES) {
        let channel = block * LANES;
        let used = LANES.min(channels - channel);
        for (y, padded_row) in scratch.chunks_exact_mut(padded).enumerate() {
            let Some(y) = (top + y).checked_sub(before[0]).filter(|y| *y < height) else {
                padded_row.fill(Lanes([0.0; LANES]));
                continue;
            };
            let source = strip.input.get(y * width * channels..).unwrap_or_default();
            let pixels = source.chunks(channels).take(usable);
            let targets = padded_row.iter_mut().skip(before[1]);
            for (pixel, target) in pixels.zip(targets) {
                if let Some(from) = pixel.get(channel..).and_then(|p| p.first_chunk::<LANES>()) {
                    let (from, mut reals) = (*from, [0.0; LANES]);
                    for lane in 0..LANES {
                        reals[lane] = from[lane].real(None) - zero;
                    }
                    target.0 = reals;
                } else {
                    let from = pixel.iter().skip(channel).take(used);
                    for (lane, from) in target.0.iter_mut().zip(from) {
                        *lane = from.real(None) - zero;
                    }
                }
            }
        }
        let weights = strip.depthwise.taps.get(block * taps..(block + 1) * taps);
        let (Some(weights), Some(bias)) = (weights, strip.depthwise.bias.get(block)) else {
            return;
        };
        for (y, out_row) in out.chunks_exact_mut(row_len).enumerate() {
            let residual_row = strip.residual.get(y * row_len..).unwrap_or_default();
            let scratch = scratch.get(y * stride[0] * padded..).unwrap_or_default();
            for x in (0..out_width).step_by(RUN) {
                // SAFETY: `padded_width` and `tall` leave room for the windows of a whole run.
                let sums = unsafe {
                    let at = scratch.as_ptr().add(x * stride[1]);
                    match (kernel, stride[1]) {
                        ([3, 3], 1) => run::<FMA, 3, 1>(at, padded, 3, weights.as_ptr(), bias),
                        ([5, 5], 1) => run::<FMA, 5, 1>(at, padded, 5, weights.as_ptr(), bias),
                        ([3, 3], 2) => run::<FMA, 3, 2>(at, padded, 3, weights.as_ptr(), bias),
                        ([5, 5], 2) => run::<FMA, 5, 2>(at, padded, 5, weights.as_ptr(), bias),
                        _ => any::<FMA>(at, padded, kernel, stride[1], weights.as_ptr(), bias),
                    }
                };
                let place = Place {
                    column: channel,
                    columns: used,
                    start: x * channels + channel,
                    stride: channels,
                };
                // Columns past the row's end have no place in it.
                strip
                    .epilogue
                    .store::<RUN, FMA, R, O>(&sums, place, residual_row, out_row);
            }
        }
    }
}

/// A run of outputs of a window `KW` wide with a stride of `S`.
///
/// # Safety
/// `input` points to `kh` rows, `padded` apart, of the columns that a run reads; `weights` to as
/// many taps as the window has.
#[inline(always)]
unsafe fn run<const FMA: bool, const KW: usize, const S: usize>(
    input: *const Lanes<f32>,
    padded: usize,
    kh: usize,
    weights: *const Lanes<f32>,
    bias: &Lanes<f32>,
) -> [[f32; LANES]; RUN] {
    let mut sums = [bias.0; RUN];
    for ky in 0..kh {
        for kx in 0..KW {
            // SAFETY: the caller's.
            unsafe {
                let weights = (*weights.add(ky * KW + kx)).0;
                for (i, sum) in sums.iter_mut().enumerate() {
                    let x = (*input.add(ky * padded + kx + i * S)).0;
                    for lane in 0..LANES {
                        sum[lane] = multiply_add::<FMA>(x[lane], weights[lane], sum[lane]);
                    }
                }
            }
        }
    }
    sums
}

/// A run of outputs of any window.
///
/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn any<const FMA: bool>(
    input: *const Lanes<f32>,
    padded: usize,
    kernel: [usize; 2],
    stride: usize,
    weights: *const Lanes<f32>,
    bias: &Lanes<f32>,
) -> [[f32; LANES]; RUN] {
    let mut sums = [bias.0; RUN];
    for ky in 0..kernel[0] {
        for kx in 0..kernel[1] {
            // SAFETY: the caller's.
            unsafe {
                let weights = (*weights.add(ky * kernel[1] + kx)).0;
                for (i, sum) in sums.iter_mut().enumerate() {
                    let x = (*input.add(ky * padded + kx + i * stride)).0;
                    for lane in 0..LANES {
                        sum[lane] = multiply_add::<FMA>(x[lane], weights[lane], sum[lane]);
                    }
                }
            }
        }
    }
    sums
}
