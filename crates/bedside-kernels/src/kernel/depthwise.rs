//! Depthwise convolution: every channel with a small window of its own.
#![allow(unsafe_code, reason = "inner loops read without bounds checks")]

use std::ops::Range;

#[cfg(target_arch = "aarch64")]
use super::arm::{Bytes, SIGN, depthwise::Coded};
use super::cpu::{Cpu, Dot, Simd, compiled_for_each};
use super::epilogue::{Element, Epilogue, Place, Sink};
use super::lanes::{LANES, Lanes, flat, lanes};
use super::product::{Codes, F32Panels, I8Panels, Lines, WIDE};
use super::vector::Reals;

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
    /// The same weights as integers, for codes.
    #[cfg(target_arch = "aarch64")]
    coded: Option<Coded>,
}

/// The most taps of a window whose sums of codes are exact in f32: less than 2^24 / (255 * 128).
pub(crate) const MOST_TAPS: usize = 512;

/// How many outputs along a row are computed side by side: their windows share inputs.
pub(super) const RUN: usize = 4;

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
            #[cfg(target_arch = "aarch64")]
            coded: None,
        }
    }

    /// For codes, from integer weights, and biases in units of the products. Sums are exact while
    /// they are less than 2^24, for windows of [`MOST_TAPS`] at most.
    #[cfg_attr(
        not(target_arch = "aarch64"),
        expect(unused_variables, reason = "elsewhere sums of f32 are as quick")
    )]
    pub(crate) fn of_codes(
        dot: Dot,
        window: Window,
        zero: u8,
        bias: &[i32],
        weight: impl Fn(usize, usize) -> i8,
    ) -> Self {
        let reals: Vec<f32> = bias.iter().map(|b| *b as f32).collect();
        let made = Self::new(window, zero, &reals, |c, tap| f32::from(weight(c, tap)));
        #[cfg(target_arch = "aarch64")]
        let made = Self {
            coded: Some(Coded::new(dot, window, zero, bias, weight)),
            ..made
        };
        made
    }

    /// Bytes of a scratch row of sixteen channels.
    pub(crate) fn padded_bytes(&self) -> usize {
        #[cfg(target_arch = "aarch64")]
        if let Some(coded) = &self.coded {
            return coded.padded_width() * size_of::<Bytes>();
        }
        self.padded_width() * size_of::<Lanes<f32>>()
    }

    /// Columns of the scratch rows: the input's, with padding, and what a run may read too much.
    fn padded_width(&self) -> usize {
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
pub(crate) struct Padded<'a, C> {
    /// From the first row on that is not padding.
    lanes: &'a mut [C],
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

    /// Whether it can be had as codes.
    #[cfg(target_arch = "aarch64")]
    fn coded(&self) -> bool;

    /// Make ready for [`Self::fill`] with these input rows.
    fn prepare(&mut self, _cpu: Cpu, _rows: Range<usize>, _: &Window) {}

    /// Write some groups of sixteen channels of input rows `rows`.
    fn fill(
        &self,
        cpu: Cpu,
        blocks: Range<usize>,
        rows: Range<usize>,
        to: &mut Padded<'_, Lanes<f32>>,
        window: &Window,
    );

    /// As [`Self::fill`], with codes.
    #[cfg(target_arch = "aarch64")]
    fn fill_codes(
        &self,
        cpu: Cpu,
        blocks: Range<usize>,
        rows: Range<usize>,
        to: &mut Padded<'_, Bytes>,
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

    fn fill(
        &self,
        cpu: Cpu,
        blocks: Range<usize>,
        rows: Range<usize>,
        to: &mut Padded<'_, Lanes<f32>>,
        window: &Window,
    ) {
        self.lines(blocks, rows, to, window, |line, to| {
            spread(cpu.simd, line, window.channels, self.zero, to);
        });
    }

    #[cfg(target_arch = "aarch64")]
    fn coded(&self) -> bool {
        T::CODED
    }

    #[cfg(target_arch = "aarch64")]
    fn fill_codes(
        &self,
        _: Cpu,
        blocks: Range<usize>,
        rows: Range<usize>,
        to: &mut Padded<'_, Bytes>,
        window: &Window,
    ) {
        self.lines(blocks, rows, to, window, |line, to| {
            let mut codes = T::codes(line).unwrap_or_default();
            for to in to.iter_mut().take(window.input[1]) {
                match codes.first_chunk::<LANES>() {
                    Some(from) => *to = from.map(|code| code ^ SIGN),
                    None => (to.iter_mut().zip(codes)).for_each(|(to, code)| *to = code ^ SIGN),
                }
                codes = codes.get(window.channels..).unwrap_or_default();
            }
        });
    }
}

impl<T: Element> Map<'_, T> {
    /// Lines from some groups of channels on, and where they go.
    fn lines<C>(
        &self,
        blocks: Range<usize>,
        rows: Range<usize>,
        to: &mut Padded<'_, C>,
        window: &Window,
        copy: impl Fn(&[T], &mut [C]),
    ) {
        let (channels, width) = (window.channels, window.input[1]);
        let input = self.input.get(rows.start * width * channels..);
        let input = input.unwrap_or_default();
        for (n, block) in blocks.enumerate() {
            let lines = input.chunks(width * channels).take(rows.len());
            let to_lines = to.lanes.get_mut(n * to.group..).unwrap_or_default();
            for (line, to_line) in lines.zip(to_lines.chunks_mut(to.width)) {
                let to_line = to_line.get_mut(to.before..).unwrap_or_default();
                copy(line.get(block * LANES..).unwrap_or_default(), to_line);
            }
        }
    }
}

compiled_for_each! {
    /// Sixteen channels of each pixel of a line, less `zero`; `line` starts with the first of them.
    fn spread<T: Element>(line: &[T], channels: usize, zero: f32, to: &mut [Lanes<f32>]) = spread_body
}

#[inline(always)]
fn spread_body<V: Reals, const FMA: bool, T: Element>(
    line: &[T],
    channels: usize,
    zero: f32,
    to: &mut [Lanes<f32>],
) {
    for (pixel, to) in line.chunks(channels).zip(to) {
        // Whole groups apart: through memory of any length no vectors are made.
        if let Some(from) = pixel.first_chunk::<LANES>() {
            for lane in 0..LANES {
                to.0[lane] = from[lane].real(None) - zero;
            }
        } else {
            for (to, x) in to.0.iter_mut().zip(pixel) {
                *to = x.real(None) - zero;
            }
        }
    }
}

/// An activation that is never whole in memory: the product of the pixels of a smaller one.
pub(crate) struct Expansion<'a> {
    pixels: Pixels<'a>,
    epilogue: &'a Epilogue,
}

/// The smaller one, whole, and what it is multiplied with.
enum Pixels<'a> {
    F32(&'a [f32], &'a F32Panels),
    U8(CodedPixels<'a>),
}

struct CodedPixels<'a> {
    pixels: &'a [u8],
    panels: &'a I8Panels,
    /// Memory for what the kernels read in place of codes.
    wide: Vec<i16>,
    /// The first row that was made ready.
    first: usize,
}

impl<'a> Expansion<'a> {
    pub(crate) fn of_f32(pixels: &'a [f32], panels: &'a F32Panels, epilogue: &'a Epilogue) -> Self {
        let pixels = Pixels::F32(pixels, panels);
        Self { pixels, epilogue }
    }

    pub(crate) fn of_u8(pixels: &'a [u8], panels: &'a I8Panels, epilogue: &'a Epilogue) -> Self {
        let pixels = Pixels::U8(CodedPixels {
            pixels,
            panels,
            wide: Vec::new(),
            first: 0,
        });
        Self { pixels, epilogue }
    }

    /// Write rows whose epilogue needs no more than registers; false when it does.
    fn lines(
        &self,
        simd: Simd,
        blocks: &Range<usize>,
        rows: &Range<usize>,
        to: &mut Padded<'_, Lanes<f32>>,
        width: usize,
    ) -> bool {
        let mut lines = to.lines(rows.len(), width);
        match &self.pixels {
            Pixels::F32(pixels, panels) => {
                let Some(limits) = self.epilogue.limits().filter(|_| panels.whole()) else {
                    return false;
                };
                let from = pixels.get(rows.start * width * panels.depth()..);
                let from = from.unwrap_or_default();
                panels.lines(simd, blocks.clone(), from, &mut lines, limits);
            }
            Pixels::U8(pixels) => {
                let Some(steps) = self.epilogue.stepped() else {
                    return false;
                };
                let codes = pixels.codes(rows.start, width);
                pixels
                    .panels
                    .lines(simd, blocks.clone(), codes, &mut lines, steps);
            }
        }
        true
    }
}

impl<C> Padded<'_, C> {
    /// Where so many lines of the input go.
    fn lines(&mut self, count: usize, width: usize) -> Lines<'_, C> {
        Lines {
            lanes: self.lanes.get_mut(self.before..).unwrap_or_default(),
            count,
            width,
            line: self.width,
            group: self.group,
        }
    }
}

impl CodedPixels<'_> {
    /// From a row on, as the kernels read them.
    fn codes(&self, row: usize, width: usize) -> Codes<'_> {
        let line = width * self.panels.depth();
        let pixels = self.pixels.get(row * line..).unwrap_or_default();
        let wide = self.wide.get((row - self.first) * line..);
        self.panels.codes(pixels, wide.unwrap_or_default())
    }
}

impl Drop for Expansion<'_> {
    fn drop(&mut self) {
        if let Pixels::U8(pixels) = &mut self.pixels {
            WIDE.set(std::mem::take(&mut pixels.wide));
        }
    }
}

impl Source for Expansion<'_> {
    fn prepare(&mut self, cpu: Cpu, rows: Range<usize>, window: &Window) {
        if let Pixels::U8(pixels) = &mut self.pixels {
            let line = window.input[1] * pixels.panels.depth();
            let used = pixels.pixels.get(rows.start * line..rows.end * line);
            pixels.first = rows.start;
            pixels.wide = WIDE.take();
            let used = used.unwrap_or_default();
            pixels.panels.prepare(cpu.simd, used, &mut pixels.wide);
        }
    }

    fn fill(
        &self,
        cpu: Cpu,
        blocks: Range<usize>,
        rows: Range<usize>,
        to: &mut Padded<'_, Lanes<f32>>,
        window: &Window,
    ) {
        let width = window.input[1];
        if self.lines(cpu.simd, &blocks, &rows, to, width) {
            return;
        }
        let steps = [to.before, to.width, to.group];
        let out = Sink::new(flat(to.lanes));
        self.put(cpu.simd, blocks, rows, width, steps, out);
    }

    #[cfg(target_arch = "aarch64")]
    fn coded(&self) -> bool {
        self.epilogue.out.is_some()
    }

    #[cfg(target_arch = "aarch64")]
    fn fill_codes(
        &self,
        cpu: Cpu,
        blocks: Range<usize>,
        rows: Range<usize>,
        to: &mut Padded<'_, Bytes>,
        window: &Window,
    ) {
        let width = window.input[1];
        if let (Pixels::U8(pixels), Some(steps)) = (&self.pixels, self.epilogue.stepped()) {
            let codes = pixels.codes(rows.start, width);
            let mut lines = to.lines(rows.len(), width);
            (pixels.panels).lines_of_codes(cpu.simd, blocks, codes, &mut lines, steps);
            return;
        }
        let (count, height) = (blocks.len(), rows.len());
        let steps = [to.before, to.width, to.group];
        let out = Sink::new(to.lanes.as_flattened_mut());
        self.put(cpu.simd, blocks, rows, width, steps, out);
        for group in to.lanes.chunks_mut(to.group).take(count) {
            for line in group.chunks_mut(to.width).take(height) {
                let pixels = line.iter_mut().skip(to.before).take(width);
                pixels.for_each(|pixel| *pixel = pixel.map(|code| code ^ SIGN));
            }
        }
    }
}

impl Expansion<'_> {
    /// Write rows by way of the epilogue; `steps` are to the first pixel, from a line to the next and from
    /// a group of channels, in pixels.
    fn put<O: Element>(
        &self,
        simd: Simd,
        blocks: Range<usize>,
        rows: Range<usize>,
        width: usize,
        [before, line, group]: [usize; 3],
        out: Sink<'_, O>,
    ) {
        let count = rows.len() * width;
        let start = blocks.start;
        let mut take = |panel: usize, row: usize, sums: &[Lanes<f32>]| {
            let (mut row, mut sums) = (row, sums);
            while !sums.is_empty() {
                let (y, x) = (row / width, row % width);
                let (these, others) = sums.split_at(sums.len().min(width - x));
                let at = (panel - start) * group + y * line + before + x;
                let place = Place {
                    column: panel * LANES,
                    columns: LANES,
                    start: at * LANES,
                    stride: LANES,
                };
                // SAFETY: the scratch memory is lent to this alone.
                unsafe { self.epilogue.store::<f32, O>(simd, these, place, &[], out) };
                row += these.len();
                sums = others;
            }
        };
        match &self.pixels {
            Pixels::F32(pixels, panels) => {
                let from = pixels.get(rows.start * width * panels.depth()..);
                panels.sums(simd, blocks, from.unwrap_or_default(), count, &mut take);
            }
            Pixels::U8(pixels) => {
                let codes = pixels.codes(rows.start, width);
                let panels = pixels.panels;
                panels.sums(simd, blocks, codes, count, &mut take);
            }
        }
    }
}

/// A part of a depthwise convolution's output: some rows of some channels.
pub(crate) struct Strip<'a, R, O> {
    pub(crate) depthwise: &'a Depthwise,
    /// Output rows, at least one.
    pub(crate) rows: Range<usize>,
    /// The output row that [`Self::out`] starts with.
    pub(crate) first: usize,
    /// Groups of sixteen channels.
    pub(crate) blocks: Range<usize>,
    /// Of the same shape as [`Self::out`], or empty.
    pub(crate) residual: &'a [R],
    pub(crate) epilogue: &'a Epilogue,
    /// Memory, kept between calls.
    pub(crate) scratch: &'a mut Vec<Lanes<f32>>,
    /// The output from row [`Self::first`] on.
    pub(crate) out: Sink<'a, O>,
}

/// Compute a strip.
///
/// A few groups of sixteen channels at a time: the input rows that the strip needs, padded and as
/// f32, stay in the nearest caches while the window passes over them.
///
/// # Safety
/// No other thread writes the same strip.
pub(crate) unsafe fn strip<R: Element, O: Element>(
    cpu: Cpu,
    strip: Strip<'_, R, O>,
    source: &mut dyn Source,
) {
    let window = &strip.depthwise.window;
    // So narrow maps are mostly edges.
    const NARROW: usize = 24;
    let mut scratch = std::mem::take(strip.scratch);
    let reals = source.reals(window);
    if let Some(input) = reals.filter(|_| window.input[1] >= NARROW) {
        strip.direct(cpu.simd, input, &mut scratch);
        *strip.scratch = scratch;
        return;
    }
    #[cfg(target_arch = "aarch64")]
    if let (Some(coded), true) = (&strip.depthwise.coded, source.coded()) {
        let mut bytes = BYTES.take();
        let (padded, padding) = (coded.padded_width(), coded.padding);
        let fill = |source: &dyn Source, blocks, rows, to: &mut Padded<'_, _>| {
            source.fill_codes(cpu, blocks, rows, to, window);
        };
        strip.padded(
            cpu,
            source,
            &mut bytes,
            padded,
            padding,
            fill,
            |block, input, sums| {
                // SAFETY: the padded rows have room for the windows of a whole run.
                unsafe { coded.windows(block, input, padded, sums) };
            },
        );
        BYTES.set(bytes);
        *strip.scratch = scratch;
        return;
    }
    let (padded, padding) = (strip.depthwise.padded_width(), Lanes([0.0; LANES]));
    let fill = |source: &dyn Source, blocks, rows, to: &mut Padded<'_, _>| {
        source.fill(cpu, blocks, rows, to, window);
    };
    strip.padded(
        cpu,
        source,
        &mut scratch,
        padded,
        padding,
        fill,
        |block, input, sums| {
            let input = Input {
                at: input.cast(),
                pixel: LANES,
                line: padded * LANES,
            };
            windows(cpu.simd, strip.depthwise, block, input, sums);
        },
    );
    *strip.scratch = scratch;
}

#[cfg(target_arch = "aarch64")]
thread_local! {
    /// Padded rows of codes.
    static BYTES: std::cell::RefCell<Vec<Bytes>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// At least so many elements; memory that is there is not cleared.
pub(crate) fn grow<T: Copy>(memory: &mut Vec<T>, len: usize, value: T) {
    if memory.len() < len {
        memory.resize(len, value);
    }
}

/// Writes the sums of some whole runs, from a row and column of the output on, of a group of
/// channels.
type Compute<'a> = dyn FnMut(usize, usize, usize, &mut [Lanes<f32>]) + 'a;

/// Outputs of a row that are ended together, a multiple of [`RUN`].
const SPAN: usize = 32;

impl<R: Element, O: Element> Strip<'_, R, O> {
    /// Compute and store the strip from a copy of the input, in rows of `padded` pixels.
    #[allow(
        clippy::too_many_arguments,
        reason = "what is copied, and how it is read"
    )]
    fn padded<C: Copy>(
        &self,
        cpu: Cpu,
        source: &mut dyn Source,
        scratch: &mut Vec<C>,
        padded: usize,
        padding: C,
        fill: impl Fn(&dyn Source, Range<usize>, Range<usize>, &mut Padded<'_, C>),
        windows: impl Fn(usize, *const C, &mut [Lanes<f32>]),
    ) {
        let window = &self.depthwise.window;
        let Window {
            input: [height, width],
            kernel,
            stride,
            before,
            ..
        } = *window;
        let side = cpu.simd.panels();
        let tall = (self.rows.len() - 1) * stride[0] + kernel[0];
        let group = tall * padded;
        grow(scratch, side * group, padding);
        // Rows of the input that are read, and where the first of them lies in the scratch memory.
        let top = self.rows.start * stride[0];
        let first = top.saturating_sub(before[0]).min(height);
        let end = (top + tall).saturating_sub(before[0]);
        let inside = first..end.clamp(first, height);
        // The strip may lie below all of the input.
        let above = (first + before[0]).saturating_sub(top).min(tall);
        for scratch in scratch.chunks_exact_mut(group).take(side) {
            for (y, row) in scratch.chunks_exact_mut(padded).enumerate() {
                if y < above || y >= above + inside.len() {
                    row.fill(padding);
                } else {
                    row.iter_mut().take(before[1]).for_each(|p| *p = padding);
                    let right = row.iter_mut().skip(before[1] + width);
                    right.for_each(|p| *p = padding);
                }
            }
        }
        source.prepare(cpu, inside.clone(), window);
        let mut block = self.blocks.start;
        while block < self.blocks.end {
            let blocks = block..self.blocks.end.min(block + side);
            let mut to = Padded {
                lanes: scratch.get_mut(above * padded..).unwrap_or_default(),
                width: padded,
                before: before[1],
                group,
            };
            fill(source, blocks.clone(), inside.clone(), &mut to);
            for (block, scratch) in blocks.clone().zip(scratch.chunks_exact(group)) {
                self.spans(cpu.simd, block..block + 1, &mut |row, x, _, sums| {
                    let at = (row - self.rows.start) * stride[0] * padded + x * stride[1];
                    // SAFETY: the padded rows have room for the windows of a whole run.
                    windows(block, unsafe { scratch.as_ptr().add(at) }, sums);
                });
            }
            block = blocks.end;
        }
    }

    /// Compute and store the strip.
    fn spans(&self, simd: Simd, blocks: Range<usize>, compute: &mut Compute<'_>) {
        let Window {
            channels, output, ..
        } = self.depthwise.window;
        let mut sums = [Lanes([0.0; LANES]); SPAN];
        for row in self.rows.clone() {
            for x in (0..output[1]).step_by(SPAN) {
                let used = SPAN.min(output[1] - x);
                for block in blocks.clone() {
                    compute(row, x, block, &mut sums[..used.next_multiple_of(RUN)]);
                    let column = block * LANES;
                    let place = Place {
                        column,
                        columns: LANES.min(channels - column),
                        start: ((row - self.first) * output[1] + x) * channels + column,
                        stride: channels,
                    };
                    let (sums, residual) = (&sums[..used], self.residual);
                    // SAFETY: of this strip's rows and channels, which are the caller's.
                    unsafe { self.epilogue.store(simd, sums, place, residual, self.out) };
                }
            }
        }
    }

    /// Windows that lie within `input` read it where it lies; others read a padded copy.
    fn direct(&self, simd: Simd, input: &[f32], patch: &mut Vec<Lanes<f32>>) {
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
        grow(patch, kernel[0] * across, Lanes([0.0; LANES]));
        let within = |first: usize, before: usize, len: usize, all: usize| {
            first >= before && first - before + len <= all
        };
        self.spans(simd, self.blocks.clone(), &mut |row, x, block, sums| {
            let top = row * stride[0];
            let rows_within = within(top, before[0], kernel[0], height);
            let is_within =
                |x: usize| rows_within && within(x * stride[1], before[1], across, width);
            let mut done = 0;
            while done < sums.len() {
                let (from, left) = (done, (x + done) * stride[1]);
                done += RUN;
                let input = if is_within(x + from) {
                    while done < sums.len() && is_within(x + done) {
                        done += RUN;
                    }
                    let at = (top - before[0]) * width + left - before[1];
                    Input {
                        // SAFETY: the windows of these runs lie within the input, and so do the
                        // sixteen channels of its last pixel.
                        at: unsafe { input.as_ptr().add(at * channels + block * LANES) },
                        pixel: channels,
                        line: width * channels,
                    }
                } else {
                    for (ky, lanes) in patch.chunks_exact_mut(across).take(kernel[0]).enumerate() {
                        let y = (top + ky).wrapping_sub(before[0]);
                        let line = input.get(y.wrapping_mul(width * channels)..);
                        let line = line.filter(|_| y < height).unwrap_or_default();
                        for (kx, lanes) in lanes.iter_mut().enumerate() {
                            let x = (left + kx).wrapping_sub(before[1]);
                            let from = (x < width)
                                .then(|| x * channels + block * LANES)
                                .and_then(|pixel| line.get(pixel..)?.first_chunk::<LANES>());
                            lanes.0 = from.copied().unwrap_or([0.0; LANES]);
                        }
                    }
                    Input {
                        at: patch.as_ptr().cast(),
                        pixel: LANES,
                        line: across * LANES,
                    }
                };
                windows(simd, self.depthwise, block, input, &mut sums[from..done]);
            }
        });
    }
}

/// Where windows start: the rows and columns that whole runs read, sixteen channels each.
#[derive(Clone, Copy)]
struct Input {
    at: *const f32,
    /// Elements from a pixel to the next, and from a row.
    pixel: usize,
    line: usize,
}

compiled_for_each! {
    /// Sums of the windows of a group of channels, in runs, along a row of `input`.
    fn windows(depthwise: &Depthwise, block: usize, input: Input, sums: &mut [Lanes<f32>]) = windows_body
}

#[inline(always)]
fn windows_body<V: Reals, const FMA: bool>(
    depthwise: &Depthwise,
    block: usize,
    mut input: Input,
    sums: &mut [Lanes<f32>],
) {
    let Window { kernel, stride, .. } = depthwise.window;
    let taps = kernel[0] * kernel[1];
    let weights = depthwise.taps.get(block * taps..(block + 1) * taps);
    let (Some(weights), Some(bias)) = (weights, depthwise.bias.get(block)) else {
        return;
    };
    let weights = weights.as_ptr();
    for sums in sums.as_chunks_mut::<RUN>().0 {
        // SAFETY: `input` has the windows of whole runs, `weights` has the window's taps, and this
        // is compiled for the vectors of `V`.
        unsafe {
            match (kernel, stride[1]) {
                ([3, 3], 1) => run::<V>(input, [3, 3], 1, weights, bias, sums),
                ([5, 5], 1) => run::<V>(input, [5, 5], 1, weights, bias, sums),
                ([3, 3], 2) => run::<V>(input, [3, 3], 2, weights, bias, sums),
                ([5, 5], 2) => run::<V>(input, [5, 5], 2, weights, bias, sums),
                _ => run::<V>(input, kernel, stride[1], weights, bias, sums),
            }
            input.at = input.at.wrapping_add(RUN * stride[1] * input.pixel);
        }
    }
}

/// A run of outputs; where kernel and stride are constants, compiled for them.
///
/// # Safety
/// `input` has the rows and columns that a run reads; `weights` as many taps as the window has.
#[inline(always)]
unsafe fn run<V: Reals>(
    input: Input,
    kernel: [usize; 2],
    stride: usize,
    weights: *const Lanes<f32>,
    bias: &Lanes<f32>,
    to: &mut [Lanes<f32>; RUN],
) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [V::load(bias.0.as_ptr()); RUN];
        for ky in 0..kernel[0] {
            let row = input.at.add(ky * input.line);
            for kx in 0..kernel[1] {
                let weights = V::load(weights.add(ky * kernel[1] + kx).cast());
                for i in 0..RUN {
                    let x = V::load(row.add((kx + i * stride) * input.pixel));
                    sums[i] = x.multiply_add(weights, sums[i]);
                }
            }
        }
        for i in 0..RUN {
            sums[i].store(to[i].0.as_mut_ptr());
        }
    }
}
