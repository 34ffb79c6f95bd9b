//! Products of activation rows with constant weights: the heart of convolutions and projections.
//!
//! Weights are packed in panels of sixteen columns; a tile is a few rows times one panel, with its
//! sums in registers. Rows are read where they lie, so nothing of an activation is packed, and
//! every row is summed in the same order whatever its neighbours: a row has the same bits in any
//! batch.
#![allow(
    unsafe_code,
    reason = "inner loops read without bounds checks; vector instructions that were asked for"
)]

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::cpu::{Cpu, Dot, Simd, compiled_for_each};
use super::epilogue::{Element, Epilogue, MAGIC, Place, Quant, Sink, copy};
use super::lanes::{LANES, Lanes, lanes};
use super::packed::Matrix;
#[cfg(not(target_arch = "x86_64"))]
use super::vector::Array;
#[cfg(not(target_arch = "aarch64"))]
use super::vector::Integers;
use super::vector::Reals;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
use super::vector::Wide;
#[cfg(target_arch = "x86_64")]
use super::vector::{AvxVnni, Sse, Vnni512, Wide128, Wide256, Wide512, Ymm, Zmm};

/// Rows, sixteen columns of `width` at a time, by element.
fn rows<T>(
    width: usize,
    weight: impl Fn(usize, usize) -> T,
) -> impl Fn(usize, usize, &mut [T; LANES]) {
    move |k, first, to| {
        let columns = first..width.min(first + LANES);
        to.iter_mut()
            .zip(columns)
            .for_each(|(to, column)| *to = weight(k, column));
    }
}

/// Four rows of a panel in groups of `G`: column after column in each.
fn grouped<const G: usize>(rows: &[[i8; LANES]; 4], to: &mut Lanes<[i8; 4]>) {
    let to = to.0.as_flattened_mut();
    for i in 0..4 {
        for lane in 0..LANES {
            to[i / G * G * LANES + lane * G + i % G] = rows[i][lane];
        }
    }
}

/// As [`grouped`] in groups of eight, whose columns take two such places: `half` of each is of these
/// rows.
fn eights(rows: &[[i8; LANES]; 4], half: usize, to: &mut [Lanes<[i8; 4]>]) {
    for lane in 0..LANES {
        for i in 0..4 {
            let at = lane * 8 + half * 4 + i;
            to[at / (4 * LANES)].0.as_flattened_mut()[at % (4 * LANES)] = rows[i][lane];
        }
    }
}

/// Takes sums as they are ready: of a panel, from a row on, one for each row that follows.
pub(crate) type Take<'a> = dyn FnMut(usize, usize, &[Lanes<f32>]) + 'a;

/// Weights [depth, columns] in panels, and how to multiply with them.
pub(super) trait Panels {
    /// Elements of the rows that are multiplied.
    type Input: Copy;

    /// Length of a row.
    fn depth(&self) -> usize;

    fn count(&self) -> usize;

    /// How much of a row is multiplied at once, so that its panels stay in the nearest caches.
    fn stretch(&self) -> usize {
        self.depth()
    }

    /// Add the products of `M` rows, the first at `rows`, each `depth` after the one before, with
    /// the columns of `N` panels from `panel` on: those of the stretch from `start` on. The sums of
    /// a panel are `sums[..M]`, those of the next `step` further on; the first stretch writes them,
    /// from what sums start from, whatever was there. What is stored is what `end` makes of them; of
    /// stretches before the last, the sums.
    ///
    /// # Safety
    /// The processor has the instructions. `rows` points to `M * depth` elements, `sums` to
    /// `(N - 1) * step + M`, `panel + N <= count`, and `start` is a multiple of `stretch` within
    /// `depth`.
    unsafe fn tile<const M: usize, const N: usize, E: End>(
        &self,
        panel: usize,
        rows: *const Self::Input,
        start: usize,
        sums: *mut E::Out,
        step: usize,
        end: E,
    );
}

/// What is done to sums before they leave the registers, as an [`Epilogue`] does it.
pub(super) trait End: Copy {
    /// Sixteen of what is stored.
    type Out;

    /// # Safety
    /// As of [`Reals`]; there is such a panel, and `to` is there.
    unsafe fn end<V: Reals>(self, sum: V, panel: usize, to: *mut Self::Out);
}

/// Nothing.
#[derive(Clone, Copy)]
struct Bare;

impl End for Bare {
    type Out = Lanes<f32>;

    #[inline(always)]
    unsafe fn end<V: Reals>(self, sum: V, _: usize, to: *mut Lanes<f32>) {
        // SAFETY: the caller's.
        unsafe { sum.store(to.cast()) }
    }
}

/// Sums are kept within limits; NaN stays.
#[derive(Clone, Copy)]
struct Clipped {
    low: f32,
    high: f32,
}

impl End for Clipped {
    type Out = Lanes<f32>;

    #[inline(always)]
    unsafe fn end<V: Reals>(self, sum: V, _: usize, to: *mut Lanes<f32>) {
        // SAFETY: the caller's.
        unsafe {
            let clipped = V::splat(self.high).lesser(V::splat(self.low).greater(sum));
            clipped.store(to.cast());
        }
    }
}

/// Sums become steps of a code.
#[derive(Clone, Copy)]
struct Stepped<'a> {
    /// For each panel.
    factors: &'a [Lanes<f32>],
    code: Quant,
}

impl End for Stepped<'_> {
    type Out = Lanes<f32>;

    #[inline(always)]
    unsafe fn end<V: Reals>(self, sum: V, panel: usize, to: *mut Lanes<f32>) {
        let zero = f32::from(self.code.zero);
        // SAFETY: the caller's.
        unsafe {
            let steps = sum.multiply(V::load(self.factors.as_ptr().add(panel).cast()));
            let steps = steps
                .greater(V::splat(-zero))
                .lesser(V::splat(255.0 - zero));
            let rounded = steps.add(V::splat(MAGIC)).add(V::splat(-MAGIC));
            rounded.store(to.cast());
        }
    }
}

/// Sums become codes, less 128.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy)]
struct Coded<'a>(Stepped<'a>);

#[cfg(target_arch = "aarch64")]
impl End for Coded<'_> {
    type Out = [u8; LANES];

    #[inline(always)]
    unsafe fn end<V: Reals>(self, sum: V, panel: usize, to: *mut [u8; LANES]) {
        let Stepped { factors, code } = self.0;
        let mut steps = [0.0; LANES];
        // SAFETY: the caller's.
        unsafe {
            let all = sum.multiply(V::load(factors.as_ptr().add(panel).cast()));
            all.store(steps.as_mut_ptr());
            *to = code.codes(&steps).map(|code| code ^ super::arm::SIGN);
        }
    }
}

/// What is done with panels and rows, compiled for each kind of them.
pub(super) trait Job {
    /// In tiles of `ROWS` rows and `N` panels at most: as many sums as the registers hold beside
    /// what is multiplied.
    fn run<P: Panels, const ROWS: usize, const N: usize>(self, panels: &P, rows: &[P::Input]);
}

/// Sums of `count` rows with some panels are handed on in chunks.
struct Chunks<'a, 'b> {
    range: Range<usize>,
    count: usize,
    take: &'a mut Take<'b>,
}

/// Sums of the pixels of some lines with some panels are stored in a map with padding, for rows
/// that are multiplied whole.
struct IntoLines<'a, 'b, E: End> {
    range: Range<usize>,
    to: &'a mut Lines<'b, E::Out>,
    end: E,
}

/// Lines of a map, sixteen channels at a time.
pub(crate) struct Lines<'a, C> {
    /// From the first pixel of the first panel on.
    pub(crate) lanes: &'a mut [C],
    /// How many.
    pub(crate) count: usize,
    /// Pixels of a line.
    pub(crate) width: usize,
    /// From a line to the next.
    pub(crate) line: usize,
    /// From a panel to the next.
    pub(crate) group: usize,
}

/// f32 weights.
#[derive(Debug, Clone, Default)]
pub(crate) struct F32Panels {
    depth: usize,
    width: usize,
    panels: Vec<Lanes<f32>>,
    /// What every sum starts from.
    bias: Vec<Lanes<f32>>,
}

impl F32Panels {
    /// From `weight(row, column)` and a bias for each column; on all threads of the pool.
    pub(crate) fn new(
        depth: usize,
        bias: &[f32],
        weight: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Self {
        Self::of_rows(depth, bias, rows(bias.len(), weight))
    }

    /// From `row(k, column, to)`, which writes sixteen columns of a row, and no more than there
    /// are, and a bias for each column; on all threads of the pool.
    pub(crate) fn of_rows(
        depth: usize,
        bias: &[f32],
        row: impl Fn(usize, usize, &mut [f32; LANES]) + Sync,
    ) -> Self {
        let width = bias.len();
        let lanes_at = |at: usize| {
            let mut lanes = Lanes([0.0; LANES]);
            row(at % depth, at / depth * LANES, &mut lanes.0);
            lanes
        };
        let count = width.div_ceil(LANES) * depth;
        let panels = (0..count)
            .into_par_iter()
            .with_min_len(1 << 12)
            .map(lanes_at);
        let panels = panels.collect();
        Self {
            depth,
            width,
            panels,
            bias: lanes(bias),
        }
    }

    /// Become the panels of a matrix [k, n]; sums start from 0.
    pub(crate) fn pack(&mut self, matrix: &Matrix<'_>) {
        let Matrix {
            values,
            rows: depth,
            columns: width,
            steps: [down, across],
        } = *matrix;
        (self.depth, self.width) = (depth, width);
        let count = width.div_ceil(LANES);
        self.bias.clear();
        self.bias.resize(count, Lanes([0.0; LANES]));
        // Lanes past the last column are computed with and never stored.
        self.panels.resize(count * depth, Lanes([0.0; LANES]));
        for (panel, lanes) in self.panels.chunks_exact_mut(depth.max(1)).enumerate() {
            let first = panel * LANES;
            if across == 1 {
                for (k, lanes) in lanes.iter_mut().enumerate() {
                    let from = values.get(k * down + first..).unwrap_or_default();
                    copy(from, &mut lanes.0);
                }
                continue;
            }
            for lane in 0..LANES.min(width - first) {
                let from = values.get((first + lane) * across..).unwrap_or_default();
                for (lanes, value) in lanes.iter_mut().zip(from.iter().step_by(down.max(1))) {
                    lanes.0[lane] = *value;
                }
            }
        }
    }
}

impl F32Panels {
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Sums of `count` rows with some panels, in the order of the rows for each panel.
    pub(crate) fn sums(
        &self,
        simd: Simd,
        panels: Range<usize>,
        rows: &[f32],
        count: usize,
        take: &mut Take<'_>,
    ) {
        self.each(
            simd,
            rows,
            Chunks {
                range: panels,
                count,
                take,
            },
        );
    }

    /// Whether rows are multiplied whole.
    pub(crate) fn whole(&self) -> bool {
        self.depth <= WHOLE
    }

    /// Sums of pixels with some panels, within limits, as lines; only for rows that are multiplied
    /// [whole](Self::whole).
    pub(crate) fn lines(
        &self,
        simd: Simd,
        panels: Range<usize>,
        rows: &[f32],
        to: &mut Lines<'_, Lanes<f32>>,
        (low, high): (f32, f32),
    ) {
        let (range, end) = (panels, Clipped { low, high });
        self.each(simd, rows, IntoLines { range, to, end });
    }

    fn each(&self, simd: Simd, rows: &[f32], job: impl Job) {
        match simd {
            #[cfg(target_arch = "x86_64")]
            Simd::Baseline => job.run::<_, 2, 1>(&OfReals::<Sse>::new(self), rows),
            #[cfg(not(target_arch = "x86_64"))]
            Simd::Baseline => job.run::<_, 6, 1>(&OfReals::<Array<f32>>::new(self), rows),
            // SAFETY: values of `Simd` other than the baseline come from `Cpu::supported`, which
            // asked the processor.
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => unsafe { avx2(&OfReals::new(self), rows, job) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 => unsafe { avx512(&OfReals::new(self), rows, job) },
        }
    }
}

/// Rows no longer than this are multiplied whole.
const WHOLE: usize = 1024;

/// [`F32Panels`], multiplied in vectors of `V`.
struct OfReals<'a, V>(&'a F32Panels, PhantomData<V>);

impl<'a, V> OfReals<'a, V> {
    fn new(panels: &'a F32Panels) -> Self {
        Self(panels, PhantomData)
    }
}

impl<V: Reals> Panels for OfReals<'_, V> {
    type Input = f32;

    fn depth(&self) -> usize {
        self.0.depth
    }

    fn count(&self) -> usize {
        self.0.bias.len()
    }

    #[inline(always)]
    fn stretch(&self) -> usize {
        match self.0.depth {
            0..=WHOLE => self.0.depth,
            _ => 512,
        }
    }

    #[inline(always)]
    unsafe fn tile<const M: usize, const N: usize, E: End>(
        &self,
        panel: usize,
        rows: *const f32,
        start: usize,
        sums: *mut E::Out,
        step: usize,
        end: E,
    ) {
        // SAFETY: the panels are ours, and the caller vouches for the rest.
        unsafe {
            let depth = self.0.depth;
            let last = depth.min(start + self.stretch());
            let weights = self.0.panels.as_ptr().add(panel * depth);
            let mut all = [[V::splat(0.0); M]; N];
            for n in 0..N {
                let bias = self.0.bias.as_ptr().add(panel + n);
                for m in 0..M {
                    let from: *const f32 = if start == 0 {
                        bias.cast()
                    } else {
                        sums.add(n * step + m).cast()
                    };
                    all[n][m] = V::load(from);
                }
            }
            for k in start..last {
                let mut columns = [V::splat(0.0); N];
                for n in 0..N {
                    columns[n] = V::load(weights.add(n * depth + k).cast());
                }
                for m in 0..M {
                    let x = V::splat(*rows.add(m * depth + k));
                    for n in 0..N {
                        all[n][m] = x.multiply_add(columns[n], all[n][m]);
                    }
                }
            }
            for n in 0..N {
                for m in 0..M {
                    end.end(all[n][m], panel + n, sums.add(n * step + m));
                }
            }
        }
    }
}

/// The longest row whose sums and offsets together stay within i32, whatever the codes.
pub(crate) const DEEPEST: usize = 1 << 15;

/// i8 weights for u8 rows.
#[derive(Debug, Clone)]
pub(crate) struct I8Panels {
    dot: Dot,
    /// A multiple of four.
    depth: usize,
    width: usize,
    /// Four rows of a panel each, in groups as [`Dot::group`] has them: column after column.
    panels: Arc<Vec<Lanes<[i8; 4]>>>,
    /// How many of these are a panel: rows are filled up to whole groups.
    fours: usize,
    /// Whether the sum of any two products of codes as i8 with these weights is an i16.
    #[cfg(target_arch = "aarch64")]
    pub(super) chained: bool,
    /// Sum of each column's weights.
    totals: Arc<Vec<Lanes<i32>>>,
    /// Added to every sum: the bias, and what the rows' zero point takes away.
    pub(super) offsets: Vec<Lanes<i32>>,
}

impl I8Panels {
    /// Rows of `depth` elements, a multiple of four and [`DEEPEST`] at most: `weight` gives 0 where there is none.
    ///
    /// `zero` is the code of 0 in the rows, `bias` is in units of the products.
    pub(crate) fn new(
        dot: Dot,
        depth: usize,
        zero: u8,
        bias: &[i32],
        weight: impl Fn(usize, usize) -> i8 + Sync,
    ) -> Self {
        Self::of_rows(dot, depth, zero, bias, rows(bias.len(), weight))
    }

    /// As [`new`](Self::new), from `row(k, column, to)`, which writes sixteen columns of a row, and
    /// no more than there are; on all threads of the pool.
    pub(crate) fn of_rows(
        dot: Dot,
        depth: usize,
        zero: u8,
        bias: &[i32],
        row: impl Fn(usize, usize, &mut [i8; LANES]) + Sync,
    ) -> Self {
        // The kernels read rows and panels four at a time, unchecked.
        assert!(depth.is_multiple_of(4) && depth <= DEEPEST);
        let (width, group) = (bias.len(), dot.group());
        let fours = depth.next_multiple_of(group) / 4;
        let mut panels = vec![Lanes([[0; 4]; LANES]); width.div_ceil(LANES) * fours];
        let mut totals = vec![Lanes([0; LANES]); width.div_ceil(LANES)];
        let all = panels.par_chunks_mut(fours.max(1)).zip(&mut totals);
        all.enumerate().for_each(|(panel, (lanes, total))| {
            for four in 0..depth / 4 {
                let mut rows = [[0; LANES]; 4];
                for (i, to) in rows.iter_mut().enumerate() {
                    row(4 * four + i, panel * LANES, to);
                    for lane in 0..LANES {
                        total.0[lane] += i32::from(to[lane]);
                    }
                }
                match group {
                    8 => eights(&rows, four % 2, &mut lanes[four / 2 * 2..]),
                    4 => grouped::<4>(&rows, &mut lanes[four]),
                    2 => grouped::<2>(&rows, &mut lanes[four]),
                    _ => grouped::<1>(&rows, &mut lanes[four]),
                }
            }
        });
        let mut offsets = lanes(bias);
        let made = Self {
            dot,
            depth,
            width,
            totals: totals.into(),
            fours,
            // Only of 128 times 128 there are two too many.
            #[cfg(target_arch = "aarch64")]
            chained: (panels.iter()).all(|four| !four.0.as_flattened().contains(&i8::MIN)),
            panels: panels.into(),
            offsets: Vec::new(),
        };
        made.shift(&mut offsets, i32::from(zero) - dot.taken());
        Self { offsets, ..made }
    }

    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    #[cfg(target_arch = "aarch64")]
    pub(super) fn dot(&self) -> Dot {
        self.dot
    }

    /// Where a panel's weights start.
    #[inline(always)]
    pub(super) fn panel(&self, panel: usize) -> *const i8 {
        self.panels.as_ptr().wrapping_add(panel * self.fours).cast()
    }

    /// The same weights for rows in which the code of 0 is greater by `zero`.
    pub(crate) fn with_zero(&self, zero: u8) -> Self {
        let mut made = self.clone();
        self.shift(&mut made.offsets, zero.into());
        made
    }

    /// Take `zero` times the columns' totals from their offsets.
    fn shift(&self, offsets: &mut [Lanes<i32>], zero: i32) {
        for (offset, total) in offsets.iter_mut().zip(self.totals.iter()) {
            for (offset, total) in offset.0.iter_mut().zip(total.0) {
                *offset = offset.wrapping_sub(zero * total);
            }
        }
    }

    /// Write into `wide` what the kernels read in place of rows, if they don't read codes.
    pub(crate) fn prepare(&self, simd: Simd, rows: &[u8], wide: &mut Vec<i16>) {
        if self.dot.widens() {
            wide.resize(rows.len(), 0);
            widen(simd, rows, wide);
        }
    }

    /// Rows as the kernels read them; `wide` is what [`Self::prepare`] made of them.
    pub(crate) fn codes<'a>(&self, rows: &'a [u8], wide: &'a [i16]) -> Codes<'a> {
        match self.dot.widens() {
            true => Codes::Wide(wide),
            false => Codes::Bytes(rows),
        }
    }

    /// Sums of `count` rows with some panels, in the order of the rows for each panel.
    pub(crate) fn sums(
        &self,
        simd: Simd,
        panels: Range<usize>,
        rows: Codes<'_>,
        count: usize,
        take: &mut Take<'_>,
    ) {
        self.each(
            simd,
            rows,
            Chunks {
                range: panels,
                count,
                take,
            },
        );
    }

    /// Sums of pixels with some panels, as lines in steps of a code: `factors` has a group for each
    /// panel.
    pub(crate) fn lines(
        &self,
        simd: Simd,
        panels: Range<usize>,
        rows: Codes<'_>,
        to: &mut Lines<'_, Lanes<f32>>,
        (factors, code): (&[Lanes<f32>], Quant),
    ) {
        assert!(factors.len() >= self.offsets.len());
        let (range, end) = (panels, Stepped { factors, code });
        self.each(simd, rows, IntoLines { range, to, end });
    }

    /// As [`Self::lines`], as codes less 128.
    #[cfg(target_arch = "aarch64")]
    pub(crate) fn lines_of_codes(
        &self,
        simd: Simd,
        panels: Range<usize>,
        rows: Codes<'_>,
        to: &mut Lines<'_, [u8; LANES]>,
        (factors, code): (&[Lanes<f32>], Quant),
    ) {
        assert!(factors.len() >= self.offsets.len());
        let (range, end) = (panels, Coded(Stepped { factors, code }));
        self.each(simd, rows, IntoLines { range, to, end });
    }

    fn each(&self, simd: Simd, rows: Codes<'_>, job: impl Job) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: values of `Simd` and `Dot` other than the least come from `Cpu::supported`, which
        // asked the processor.
        unsafe {
            match (rows, simd) {
                (Codes::Wide(rows), Simd::Baseline) => {
                    job.run::<_, 2, 1>(&OfCodes::<Wide128>::new(self), rows);
                }
                (Codes::Wide(rows), Simd::Avx2) => wide256(&OfCodes::new(self), rows, job),
                (Codes::Wide(rows), Simd::Avx512) => wide512(&OfCodes::new(self), rows, job),
                (Codes::Bytes(rows), Simd::Avx512) => vnni512(&OfCodes::new(self), rows, job),
                (Codes::Bytes(rows), _) => avxvnni(&OfCodes::new(self), rows, job),
            }
        }
        #[cfg(target_arch = "aarch64")]
        match (rows, simd) {
            (Codes::Bytes(rows), Simd::Baseline) => super::arm::product::each(self, rows, job),
            (Codes::Wide(_), _) => {}
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        match (rows, simd) {
            (Codes::Wide(rows), Simd::Baseline) => {
                job.run::<_, 4, 1>(&OfCodes::<Wide>::new(self), rows);
            }
            (Codes::Bytes(_), _) => {}
        }
    }
}

/// Rows of codes as a kernel reads them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Codes<'a> {
    Bytes(&'a [u8]),
    #[cfg_attr(
        target_arch = "aarch64",
        expect(dead_code, reason = "all kernels there read codes as they are")
    )]
    Wide(&'a [i16]),
}

compiled_for_each! {
    /// As many i16 from u8.
    fn widen(from: &[u8], to: &mut [i16]) = widen_body
}

#[inline(always)]
fn widen_body<V: Reals, const FMA: bool>(from: &[u8], to: &mut [i16]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = i16::from(*from);
    }
}

/// [`I8Panels`], multiplied in vectors of `V`.
#[cfg(not(target_arch = "aarch64"))]
struct OfCodes<'a, V>(&'a I8Panels, PhantomData<V>);

#[cfg(not(target_arch = "aarch64"))]
impl<'a, V: Integers> OfCodes<'a, V> {
    fn new(panels: &'a I8Panels) -> Self {
        assert!(panels.dot.group() == V::GROUP);
        Self(panels, PhantomData)
    }
}

#[cfg(not(target_arch = "aarch64"))]
impl<V: Integers> Panels for OfCodes<'_, V> {
    type Input = V::Input;

    fn depth(&self) -> usize {
        self.0.depth
    }

    fn count(&self) -> usize {
        self.0.offsets.len()
    }

    #[inline(always)]
    unsafe fn tile<const M: usize, const N: usize, E: End>(
        &self,
        panel: usize,
        rows: *const V::Input,
        _: usize,
        sums: *mut E::Out,
        step: usize,
        end: E,
    ) {
        // SAFETY: the panels are ours, and the caller vouches for the rest.
        unsafe {
            let depth = self.0.depth;
            let weights = self.0.panel(panel);
            let offsets = self.0.offsets.as_ptr().add(panel);
            let mut all = [[V::load(offsets.cast()); M]; N];
            for n in 1..N {
                all[n] = [V::load(offsets.add(n).cast()); M];
            }
            for k in (0..depth).step_by(V::GROUP) {
                let mut columns = [V::weights(weights.add(k * LANES)); N];
                for n in 1..N {
                    columns[n] = V::weights(weights.add((n * depth + k) * LANES));
                }
                for m in 0..M {
                    let group = V::splat(rows.add(m * depth + k));
                    for n in 0..N {
                        all[n][m] = all[n][m].dot(group, columns[n]);
                    }
                }
            }
            for n in 0..N {
                for m in 0..M {
                    end.end(all[n][m].real(), panel + n, sums.add(n * step + m));
                }
            }
        }
    }
}

/// What a product reads and how it ends.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a, T, R> {
    /// Rows of the panels' depth, one after another.
    pub(crate) rows: &'a [T],
    /// What the epilogue adds: as many elements as are stored; empty when it adds nothing.
    pub(crate) residual: &'a [R],
    /// How it ends.
    pub(crate) epilogue: &'a Epilogue,
}

/// `out` [rows, width] from as many rows of f32.
pub(crate) fn product_f32<R: Element, O: Element>(
    cpu: Cpu,
    panels: &F32Panels,
    rows: &Rows<'_, f32, R>,
    out: &mut [O],
) {
    let count = out.len() / panels.width;
    assert!(out.len() == count * panels.width);
    let all = 0..panels.bias.len();
    let take = &mut rows.finish(cpu.simd, panels.width, out);
    panels.sums(cpu.simd, all, rows.rows, count, take);
}

/// `out` [rows, width] from as many rows of codes.
pub(crate) fn product_u8<R: Element, O: Element>(
    cpu: Cpu,
    panels: &I8Panels,
    rows: &Rows<'_, u8, R>,
    out: &mut [O],
) {
    let count = out.len() / panels.width;
    assert!(out.len() == count * panels.width);
    let used = count
        .checked_mul(panels.depth)
        .and_then(|n| rows.rows.get(..n));
    let used = used.unwrap_or_default();
    let mut wide = WIDE.take();
    panels.prepare(cpu.simd, used, &mut wide);
    let codes = panels.codes(used, &wide);
    let all = 0..panels.offsets.len();
    let take = &mut rows.finish(cpu.simd, panels.width, out);
    panels.sums(cpu.simd, all, codes, count, take);
    WIDE.set(wide);
}

impl<T, R: Element> Rows<'_, T, R> {
    /// Ends sums and stores them in `out`, whose rows are `width` long.
    fn finish<O: Element>(
        &self,
        simd: Simd,
        width: usize,
        out: &mut [O],
    ) -> impl FnMut(usize, usize, &[Lanes<f32>]) {
        let out = Sink::new(out);
        move |panel, row, sums| {
            let column = panel * LANES;
            let place = Place {
                column,
                columns: LANES.min(width - column),
                start: row * width + column,
                stride: width,
            };
            // SAFETY: the output is lent to this alone.
            unsafe { self.epilogue.store(simd, sums, place, self.residual, out) };
        }
    }
}

thread_local! {
    /// Sums of stretches before the last.
    static PARTIAL: RefCell<Vec<Lanes<f32>>> = const { RefCell::new(Vec::new()) };
    /// Rows of codes that are multiplied as i16.
    pub(crate) static WIDE: RefCell<Vec<i16>> = const { RefCell::new(Vec::new()) };
}

/// Rows whose sums are ended together: they stay in the nearest cache, and are some tiles.
const CHUNK: usize = 48;

impl Job for Chunks<'_, '_> {
    /// Stretch by stretch and panel by panel, so that a stretch of a panel stays in the nearest cache
    /// while all rows pass by.
    #[inline(always)]
    fn run<P: Panels, const ROWS: usize, const N: usize>(self, panels: &P, rows: &[P::Input]) {
        let Self { range, count, take } = self;
        let depth = panels.depth();
        assert!(
            count
                .checked_mul(depth)
                .is_some_and(|all| all <= rows.len())
        );
        assert!(range.start <= range.end && range.end <= panels.count());
        let whole = panels.stretch() >= depth;
        let mut chunk = [[Lanes([0.0; LANES]); CHUNK]; N];
        let mut partial = PARTIAL.take();
        if !whole {
            partial.resize(count * range.len(), Lanes([0.0; LANES]));
        }
        for start in (0..depth).step_by(panels.stretch()) {
            let last = depth - start <= panels.stretch();
            let mut panel = range.start;
            while panel < range.end {
                let side = if range.end - panel < N { 1 } else { N };
                for first in (0..count).step_by(CHUNK) {
                    let len = CHUNK.min(count - first);
                    let (sums, step) = match whole {
                        true => (chunk.as_flattened_mut(), CHUNK),
                        false => {
                            let at = (panel - range.start) * count + first;
                            (partial.get_mut(at..).unwrap_or_default(), count)
                        }
                    };
                    assert!((side - 1) * step + len <= sums.len());
                    // SAFETY: so many rows, sums and panels there are.
                    unsafe {
                        let rows = rows.as_ptr().add(first * depth);
                        let sums = sums.as_mut_ptr();
                        match side == N {
                            true => column::<P, ROWS, N, _>(
                                panels, panel, rows, start, sums, step, len, Bare,
                            ),
                            false => column::<P, ROWS, 1, _>(
                                panels, panel, rows, start, sums, step, len, Bare,
                            ),
                        }
                    }
                    if last {
                        for n in 0..side {
                            take(panel + n, first, &sums[n * step..][..len]);
                        }
                    }
                }
                panel += side;
            }
        }
        PARTIAL.set(partial);
    }
}

impl<E: End> Job for IntoLines<'_, '_, E> {
    #[inline(always)]
    fn run<P: Panels, const ROWS: usize, const N: usize>(self, panels: &P, rows: &[P::Input]) {
        let Self { range, to, end } = self;
        let (depth, count) = (panels.depth(), range.len());
        if count == 0 || to.count == 0 {
            return;
        }
        let used = (count - 1) * to.group + (to.count - 1) * to.line + to.width;
        assert!(to.count * to.width * depth <= rows.len() && used <= to.lanes.len());
        assert!(range.end <= panels.count() && depth <= panels.stretch());
        let mut panel = range.start;
        while panel < range.end {
            let side = if range.end - panel < N { 1 } else { N };
            for y in 0..to.count {
                let at = (panel - range.start) * to.group + y * to.line;
                // SAFETY: so many rows, sums and panels there are.
                unsafe {
                    let rows = rows.as_ptr().add(y * to.width * depth);
                    let sums = to.lanes.as_mut_ptr().add(at);
                    let (step, len) = (to.group, to.width);
                    match side == N {
                        true => {
                            column::<P, ROWS, N, _>(panels, panel, rows, 0, sums, step, len, end)
                        }
                        false => {
                            column::<P, ROWS, 1, _>(panels, panel, rows, 0, sums, step, len, end)
                        }
                    }
                }
            }
            panel += side;
        }
    }
}

/// `len` rows, in tiles of `ROWS` or fewer.
///
/// # Safety
/// As of [`Panels::tile`], for `len` rows.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "a tile's, and how many rows")]
unsafe fn column<P: Panels, const ROWS: usize, const N: usize, E: End>(
    panels: &P,
    panel: usize,
    rows: *const P::Input,
    start: usize,
    sums: *mut E::Out,
    step: usize,
    len: usize,
    end: E,
) {
    let mut row = 0;
    // SAFETY: the caller's.
    unsafe {
        let at = |row: usize| (rows.add(row * panels.depth()), sums.add(row));
        // Two tiles of four rows rather than one of six and two of one.
        while row + ROWS <= len && !(ROWS == 6 && row + 8 == len) {
            let (rows, sums) = at(row);
            panels.tile::<ROWS, N, E>(panel, rows, start, sums, step, end);
            row += ROWS;
        }
        if ROWS > 8 && row + 8 <= len {
            let (rows, sums) = at(row);
            panels.tile::<8, N, E>(panel, rows, start, sums, step, end);
            row += 8;
        }
        while ROWS > 4 && row + 4 <= len {
            let (rows, sums) = at(row);
            panels.tile::<4, N, E>(panel, rows, start, sums, step, end);
            row += 4;
        }
        while row < len {
            let (rows, sums) = at(row);
            panels.tile::<1, N, E>(panel, rows, start, sums, step, end);
            row += 1;
        }
    }
}

/// A [`Job`] compiled for the instructions of a kind of panels.
#[cfg(target_arch = "x86_64")]
macro_rules! compiled_tiles {
    ($($name:ident: $panels:ty, $features:literal, $rows:literal, $side:literal;)+) => {$(
        #[target_feature(enable = $features)]
        fn $name(panels: &$panels, rows: &[<$panels as Panels>::Input], job: impl Job) {
            job.run::<$panels, $rows, $side>(panels, rows);
        }
    )+};
}

#[cfg(target_arch = "x86_64")]
compiled_tiles! {
    avx2: OfReals<'_, Ymm>, "avx2,fma", 6, 1;
    avx512: OfReals<'_, Zmm>, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma", 12, 2;
    wide256: OfCodes<'_, Wide256>, "avx2,fma", 6, 1;
    wide512: OfCodes<'_, Wide512>, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma", 12, 2;
    avxvnni: OfCodes<'_, AvxVnni>, "avxvnni,avx2,fma", 6, 1;
    vnni512: OfCodes<'_, Vnni512>, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma", 12, 2;
}
