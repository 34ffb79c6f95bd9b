//! Depthwise convolution: every channel with a small window of its own.
#![allow(unsafe_code, reason = "inner loops read without bounds checks")]

use std::marker::PhantomData;
use std::ops::Range;

use crate::kernel::cpu::{Cpu, Dot, compiled_for_each};
use crate::kernel::epilogue::{Element, Epilogue, Sink};
use crate::kernel::lanes::{LANES, Lanes, lanes, multiply_add};
#[cfg(target_arch = "aarch64")]
use crate::kernel::product::Sdot;
#[cfg(target_arch = "x86_64")]
use crate::kernel::product::Vnni;
use crate::kernel::product::{F32Panels, FloatDot, I8Panels, Panels};

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
    pub(crate) zero: f32,
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
    pub(crate) fn padded_width(&self) -> usize {
        let Window {
            input,
            output,
            kernel,
            stride,
            before,
            ..
        } = self.window;
        let read = (output[1].next_multiple_of(RUN) - 1) * stride[1] + kernel[1];
        read.max(before[1] + input[1])
    }
}

/// Rows of a map with padding, sixteen channels at a time.
pub(crate) struct Padded<'a> {
    /// From the first row on that is not padding.
    lanes: &'a mut [Lanes<f32>],
    /// Length of a row; its first pixel that is not padding stands `before` from its start.
    width: usize,
    before: usize,
    /// From a group of channels to the next.
    group: usize,
}

/// What windows pass over, [h, w, channels], as f32 of which padding is 0.
pub(crate) trait Source {
    /// The whole of it where it lies, when that is f32 in whole groups of sixteen channels.
    fn reals(&self, _: &Window) -> Option<&[f32]> {
        None
    }

    /// Write `N` groups of sixteen channels, from the `block`th on, of input rows `rows`.
    fn fill<const ROWS: usize, const N: usize, const FMA: bool>(
        &self,
        block: usize,
        rows: Range<usize>,
        to: &mut Padded<'_>,
        window: &Window,
    );
}

/// An activation that lies in memory.
pub(crate) struct Map<'a, T> {
    /// The whole of it.
    pub(crate) input: &'a [T],
    /// Taken from codes, so that padding is 0.
    pub(crate) zero: f32,
}

impl<T: Element> Source for Map<'_, T> {
    fn reals(&self, window: &Window) -> Option<&[f32]> {
        let whole = window.channels.is_multiple_of(LANES);
        T::reals(self.input).filter(|_| whole)
    }

    #[inline(always)]
    fn fill<const ROWS: usize, const N: usize, const FMA: bool>(
        &self,
        block: usize,
        rows: Range<usize>,
        to: &mut Padded<'_>,
        window: &Window,
    ) {
        let (channels, width) = (window.channels, window.input[1]);
        let input = self.input.get(rows.start * width * channels..);
        let input = input.unwrap_or_default();
        for n in 0..N {
            let channel = (block + n) * LANES;
            let lines = input.chunks(width * channels).take(rows.len());
            let to_lines = to.lanes.get_mut(n * to.group..).unwrap_or_default();
            for (line, to_line) in lines.zip(to_lines.chunks_mut(to.width)) {
                let targets = to_line.iter_mut().skip(to.before);
                for (pixel, target) in line.chunks(channels).zip(targets) {
                    let pixel = pixel.get(channel..).unwrap_or_default();
                    // Whole groups apart: through memory of any length no vectors are made.
                    if let Some(from) = pixel.first_chunk::<LANES>() {
                        target.0 = from.map(|x| x.real(None) - self.zero);
                    } else {
                        for (to, x) in target.0.iter_mut().zip(pixel) {
                            *to = x.real(None) - self.zero;
                        }
                    }
                }
            }
        }
    }
}

/// An activation that is never whole in memory: the product of the pixels of a smaller one.
pub(crate) struct Expansion<'a, P: Panels, E> {
    /// The smaller one, whole.
    pub(crate) pixels: &'a [P::Input],
    pub(crate) panels: P,
    pub(crate) epilogue: &'a Epilogue,
    /// What the window reads: f32, or steps of a code.
    pub(crate) element: PhantomData<E>,
}

impl<P: Panels, E: Element> Source for Expansion<'_, P, E> {
    #[inline(always)]
    fn fill<const ROWS: usize, const N: usize, const FMA: bool>(
        &self,
        block: usize,
        rows: Range<usize>,
        to: &mut Padded<'_>,
        window: &Window,
    ) {
        let width = window.input[1];
        let count = rows.len() * width;
        assert!(rows.end * width * self.panels.depth() <= self.pixels.len());
        assert!(self.panels.stretch() >= self.panels.depth());
        assert!(block + N <= self.panels.width().div_ceil(LANES));
        let mut tiles = Tiles {
            expansion: self,
            block,
            first: rows.start * width,
            at: (to.before, 0),
            to,
            width,
        };
        let mut pixel = 0;
        while pixel + ROWS <= count {
            pixel += tiles.next::<ROWS, N, FMA>(pixel);
        }
        if ROWS > 6 && pixel + 6 <= count {
            pixel += tiles.next::<6, N, FMA>(pixel);
        }
        if pixel + 4 <= count {
            pixel += tiles.next::<4, N, FMA>(pixel);
        }
        while pixel < count {
            pixel += tiles.next::<1, N, FMA>(pixel);
        }
    }
}

/// Where the products of an [`Expansion`] go.
struct Tiles<'a, 'b, P: Panels, E> {
    expansion: &'a Expansion<'a, P, E>,
    block: usize,
    /// First pixel.
    first: usize,
    to: &'a mut Padded<'b>,
    width: usize,
    /// Where the next pixel goes, and its column in the input.
    at: (usize, usize),
}

impl<P: Panels, E: Element> Tiles<'_, '_, P, E> {
    /// `M` pixels from `pixel` on; -> `M`.
    #[inline(always)]
    fn next<const M: usize, const N: usize, const FMA: bool>(&mut self, pixel: usize) -> usize {
        let Expansion {
            pixels,
            panels,
            epilogue,
            ..
        } = self.expansion;
        // SAFETY: `fill` has seen that there are so many pixels and panels.
        let sums = unsafe {
            let at = pixels.as_ptr().add((self.first + pixel) * panels.depth());
            panels.tile::<M, N, FMA>(self.block, at, 0, None)
        };
        let (group, padding) = (self.to.group, self.to.width - self.width);
        let (mut at, mut x) = self.at;
        for (n, sums) in sums.iter().enumerate() {
            (at, x) = self.at;
            let none = |_| [].as_slice();
            let column = (self.block + n) * LANES;
            epilogue.finish::<M, FMA, E, E>(sums, column, none, |_, values| {
                if let Some(to) = self.to.lanes.get_mut(n * group + at) {
                    to.0 = values.map(|v| v.real(None));
                }
                (at, x) = (at + 1, x + 1);
                if x == self.width {
                    (at, x) = (at + padding, 0);
                }
            });
        }
        self.at = (at, x);
        M
    }
}

/// A part of a depthwise convolution's output: some rows of some channels.
pub(crate) struct Strip<'a, S, R, O> {
    pub(crate) depthwise: &'a Depthwise,
    pub(crate) source: S,
    /// Output rows, at least one.
    pub(crate) rows: Range<usize>,
    /// Groups of sixteen channels.
    pub(crate) blocks: Range<usize>,
    /// Of the same shape as the whole output, or empty.
    pub(crate) residual: &'a [R],
    pub(crate) epilogue: &'a Epilogue,
    /// Memory, kept between calls.
    pub(crate) scratch: &'a mut Vec<Lanes<f32>>,
    /// The whole output.
    pub(crate) out: Sink<'a, O>,
}

/// Compute a strip.
///
/// # Safety
/// No other thread writes the same strip.
pub(crate) unsafe fn strip<S: Source, R: Element, O: Element>(cpu: Cpu, strip: Strip<'_, S, R, O>) {
    compiled(cpu.simd, strip);
}

/// Compute a strip whose source is the product of `panels` with `pixels`.
///
/// # Safety
/// No other thread writes the same strip.
pub(crate) unsafe fn expanded_f32<O: Element>(
    cpu: Cpu,
    panels: &F32Panels,
    strip: Strip<'_, (&[f32], &Epilogue), f32, O>,
) {
    compiled(cpu.simd, strip.expanding::<_, f32>(panels));
}

/// As [`expanded_f32`], of codes.
///
/// # Safety
/// No other thread writes the same strip.
pub(crate) unsafe fn expanded_u8<E: Element, O: Element>(
    cpu: Cpu,
    panels: &I8Panels,
    strip: Strip<'_, (&[u8], &Epilogue), f32, O>,
) {
    match cpu.dot {
        // SAFETY: values of `Dot` other than `Float` come from `Cpu::supported`, which asked the
        // processor.
        #[cfg(target_arch = "x86_64")]
        Dot::Vnni => unsafe { vnni(strip.expanding::<_, E>(Vnni(panels))) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Dot::Sdot => unsafe { sdot(strip.expanding::<_, E>(Sdot(panels))) },
        _ => compiled(cpu.simd, strip.expanding::<_, E>(FloatDot(panels))),
    }
}

impl<'a, S, R, O> Strip<'a, S, R, O> {
    /// The same strip of another source.
    pub(crate) fn of<T>(self, source: T) -> Strip<'a, T, R, O> {
        Strip {
            source,
            depthwise: self.depthwise,
            rows: self.rows,
            blocks: self.blocks,
            residual: self.residual,
            epilogue: self.epilogue,
            scratch: self.scratch,
            out: self.out,
        }
    }
}

impl<'a, T, O> Strip<'a, (&'a [T], &'a Epilogue), f32, O> {
    fn expanding<P: Panels<Input = T>, E>(
        self,
        panels: P,
    ) -> Strip<'a, Expansion<'a, P, E>, f32, O> {
        let (pixels, epilogue) = self.source;
        self.of(Expansion {
            pixels,
            panels,
            epilogue,
            element: PhantomData,
        })
    }
}

compiled_for_each! {
    fn compiled<S: Source, R: Element, O: Element>(strip: Strip<'_, S, R, O>) = body
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
fn vnni<S: Source, R: Element, O: Element>(strip: Strip<'_, S, R, O>) {
    body::<12, 2, true, S, R, O>(strip);
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "dotprod")]
fn sdot<S: Source, R: Element, O: Element>(strip: Strip<'_, S, R, O>) {
    body::<4, 1, true, S, R, O>(strip);
}

/// A few groups of sixteen channels at a time: the input rows that the strip needs, padded and as
/// f32, stay in the nearest caches while the window passes over them.
#[inline(always)]
fn body<
    const ROWS: usize,
    const PANELS: usize,
    const FMA: bool,
    S: Source,
    R: Element,
    O: Element,
>(
    strip: Strip<'_, S, R, O>,
) {
    let Window {
        input: [height, width],
        kernel,
        stride,
        before,
        ..
    } = strip.depthwise.window;
    // So narrow maps are mostly edges.
    const NARROW: usize = 24;
    let mut scratch = std::mem::take(strip.scratch);
    let reals = strip.source.reals(&strip.depthwise.window);
    if let Some(input) = reals.filter(|_| width >= NARROW) {
        strip.direct::<FMA>(input, &mut scratch);
        *strip.scratch = scratch;
        return;
    }
    let padded = strip.depthwise.padded_width();
    let tall = (strip.rows.len() - 1) * stride[0] + kernel[0];
    let group = tall * padded;
    let zero = Lanes([0.0; LANES]);
    scratch.resize(PANELS * group, zero);
    // Rows of the input that are read, and where the first of them lies in the scratch memory.
    let top = strip.rows.start * stride[0];
    let first = top.saturating_sub(before[0]).min(height);
    let end = (top + tall).saturating_sub(before[0]);
    let inside = first..end.clamp(first, height);
    // The strip may lie below all of the input.
    let above = (first + before[0]).saturating_sub(top).min(tall);
    for scratch in scratch.chunks_exact_mut(group) {
        for (y, row) in scratch.chunks_exact_mut(padded).enumerate() {
            if y < above || y >= above + inside.len() {
                row.fill(zero);
            } else {
                row.iter_mut().take(before[1]).for_each(|p| *p = zero);
                let right = row.iter_mut().skip(before[1] + width);
                right.for_each(|p| *p = zero);
            }
        }
    }
    let mut block = strip.blocks.start;
    while block < strip.blocks.end {
        let mut to = Padded {
            lanes: scratch.get_mut(above * padded..).unwrap_or_default(),
            width: padded,
            before: before[1],
            group,
        };
        let (rows, window) = (inside.clone(), &strip.depthwise.window);
        let blocks = if block + PANELS <= strip.blocks.end {
            strip
                .source
                .fill::<ROWS, PANELS, FMA>(block, rows, &mut to, window);
            PANELS
        } else {
            strip
                .source
                .fill::<ROWS, 1, FMA>(block, rows, &mut to, window);
            1
        };
        for scratch in scratch.chunks_exact(group).take(blocks) {
            strip.convolve::<FMA>(block..block + 1, |row, x, _| {
                let at = (row - strip.rows.start) * stride[0] * padded + x * stride[1];
                // SAFETY: the padded rows have room for the windows of a whole run.
                let at = unsafe { scratch.as_ptr().add(at) };
                (at.cast(), [LANES, padded * LANES])
            });
            block += 1;
        }
    }
    *strip.scratch = scratch;
}

impl<S, R: Element, O: Element> Strip<'_, S, R, O> {
    /// Windows that lie within `input` read it where it lies; others read a padded copy.
    #[inline(always)]
    fn direct<const FMA: bool>(&self, input: &[f32], patch: &mut Vec<Lanes<f32>>) {
        let Window {
            channels,
            input: [height, width],
            kernel,
            stride,
            before,
            ..
        } = self.depthwise.window;
        assert!(input.len() == height * width * channels && channels.is_multiple_of(LANES));
        let across = (RUN - 1) * stride[1] + kernel[1];
        patch.resize(kernel[0] * across, Lanes([0.0; LANES]));
        self.convolve::<FMA>(self.blocks.clone(), |row, x, block| {
            let (top, left) = (row * stride[0], x * stride[1]);
            let inside = |first: usize, before: usize, len: usize, all: usize| {
                first >= before && first - before + len <= all
            };
            if inside(top, before[0], kernel[0], height) && inside(left, before[1], across, width) {
                let at = (top - before[0]) * width + left - before[1];
                // SAFETY: the windows of the run lie within the input, and so do the sixteen
                // channels of its last pixel.
                let at = unsafe { input.as_ptr().add(at * channels + block * LANES) };
                return (at, [channels, width * channels]);
            }
            for (at, lanes) in patch.iter_mut().enumerate() {
                let y = (top + at / across).wrapping_sub(before[0]);
                let x = (left + at % across).wrapping_sub(before[1]);
                let pixel =
                    (y < height && x < width).then(|| (y * width + x) * channels + block * LANES);
                let from = pixel.and_then(|p| input.get(p..)?.first_chunk::<LANES>());
                lanes.0 = from.copied().unwrap_or([0.0; LANES]);
            }
            (patch.as_ptr().cast(), [LANES, across * LANES])
        });
    }

    /// Pass the windows of sixteen channels over the input: `window` tells for an output row, the
    /// first column of a run and a group of channels where its windows start, and the steps to the
    /// next pixel and row.
    #[inline(always)]
    fn convolve<const FMA: bool>(
        &self,
        blocks: Range<usize>,
        mut window: impl FnMut(usize, usize, usize) -> (*const f32, [usize; 2]),
    ) {
        let Window {
            channels,
            output: [_, out_width],
            kernel,
            stride,
            ..
        } = self.depthwise.window;
        let taps = kernel[0] * kernel[1];
        let Depthwise {
            taps: weights,
            bias,
            ..
        } = self.depthwise;
        assert!(blocks.end * taps <= weights.len() && blocks.end <= bias.len());
        for row in self.rows.clone() {
            for x in (0..out_width).step_by(RUN) {
                for block in blocks.clone() {
                    let channel = block * LANES;
                    let used = LANES.min(channels - channel);
                    let (at, steps) = window(row, x, block);
                    // SAFETY: the windows of a whole run are there, and so are the group's weights.
                    let sums = unsafe {
                        let weights = weights.as_ptr().add(block * taps);
                        let bias = bias.get_unchecked(block);
                        match (kernel, stride[1]) {
                            ([3, 3], 1) => run::<FMA, 3, 1>(at, steps, 3, weights, bias),
                            ([5, 5], 1) => run::<FMA, 5, 1>(at, steps, 5, weights, bias),
                            ([3, 3], 2) => run::<FMA, 3, 2>(at, steps, 3, weights, bias),
                            ([5, 5], 2) => run::<FMA, 5, 2>(at, steps, 5, weights, bias),
                            _ => any::<FMA>(at, steps, kernel, stride[1], weights, bias),
                        }
                    };
                    let start = (row * out_width + x) * channels + channel;
                    let residual = |m: usize| {
                        let at = start + m * channels;
                        self.residual.get(at..at + used).unwrap_or_default()
                    };
                    let put = |m: usize, values: [O; LANES]| {
                        // Columns past the row's end have no place in it.
                        if x + m < out_width {
                            // SAFETY: of this strip's rows and channels, which are the caller's.
                            unsafe { self.out.put(start + m * channels, used, &values) };
                        }
                    };
                    self.epilogue
                        .finish::<RUN, FMA, R, O>(&sums, channel, residual, put);
                }
            }
        }
    }
}

/// A run of outputs of a window `KW` wide with a stride of `S`.
///
/// # Safety
/// `input` points to `kh` rows, `line` elements apart, of the columns that a run reads, `pixel`
/// elements apart, sixteen elements each; `weights` to as many taps as the window has.
#[inline(always)]
unsafe fn run<const FMA: bool, const KW: usize, const S: usize>(
    input: *const f32,
    [pixel, line]: [usize; 2],
    kh: usize,
    weights: *const Lanes<f32>,
    bias: &Lanes<f32>,
) -> [[f32; LANES]; RUN] {
    let mut sums = [bias.0; RUN];
    for ky in 0..kh {
        // SAFETY: the caller's.
        let row = unsafe { input.add(ky * line) };
        for kx in 0..KW {
            // SAFETY: the caller's.
            unsafe {
                let weights = (*weights.add(ky * KW + kx)).0;
                for (i, sum) in sums.iter_mut().enumerate() {
                    let x = sixteen(row.add((kx + i * S) * pixel));
                    for lane in 0..LANES {
                        sum[lane] = multiply_add::<FMA>(x[lane], weights[lane], sum[lane]);
                    }
                }
            }
        }
    }
    sums
}

/// Sixteen elements.
///
/// # Safety
/// They are there.
#[inline(always)]
unsafe fn sixteen(from: *const f32) -> [f32; LANES] {
    // SAFETY: the caller's.
    unsafe { from.cast::<[f32; LANES]>().read_unaligned() }
}

/// A run of outputs of any window.
///
/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn any<const FMA: bool>(
    input: *const f32,
    [pixel, line]: [usize; 2],
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
                    let x = sixteen(input.add(ky * line + (kx + i * stride) * pixel));
                    for lane in 0..LANES {
                        sum[lane] = multiply_add::<FMA>(x[lane], weights[lane], sum[lane]);
                    }
                }
            }
        }
    }
    sums
}
