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
use std::sync::Arc;

use rayon::prelude::*;

use crate::kernel::cpu::{Cpu, Dot, compiled_for_each};
use crate::kernel::epilogue::{Element, Epilogue, Place, copy};
use crate::kernel::lanes::{LANES, Lanes, lanes, multiply_add};
use crate::kernel::packed::Matrix;

/// Sums of `M` rows, for each of `N` panels.
pub(crate) type Tile<const M: usize, const N: usize> = [[[f32; LANES]; M]; N];

/// Weights [k, n] in panels, and how to multiply with them.
pub(crate) trait Panels: Sync {
    /// Elements of the rows that are multiplied.
    type Input: Copy + Default + Send + Sync + 'static;

    /// Length of a row.
    fn depth(&self) -> usize;

    /// Columns.
    fn width(&self) -> usize;

    /// How much of a row is multiplied at once, so that its panels stay in the nearest caches.
    fn stretch(&self) -> usize {
        self.depth()
    }

    /// Products of `M` rows, the first at `rows`, each `depth` after the one before, with the
    /// columns of `N` panels from `panel` on: those of the stretch from `start` on, added to `sums`,
    /// or to what sums start from.
    ///
    /// # Safety
    /// `rows` points to `M * depth` elements, `panel + N <= width / 16`, rounded up, and `start` is
    /// a multiple of `stretch` within `depth`.
    unsafe fn tile<const M: usize, const N: usize, const FMA: bool>(
        &self,
        panel: usize,
        rows: *const Self::Input,
        start: usize,
        sums: Option<Tile<M, N>>,
    ) -> Tile<M, N>;
}

impl<P: Panels> Panels for &P {
    type Input = P::Input;

    fn depth(&self) -> usize {
        (**self).depth()
    }

    fn width(&self) -> usize {
        (**self).width()
    }

    #[inline(always)]
    fn stretch(&self) -> usize {
        (**self).stretch()
    }

    #[inline(always)]
    unsafe fn tile<const M: usize, const N: usize, const FMA: bool>(
        &self,
        panel: usize,
        rows: *const P::Input,
        start: usize,
        sums: Option<Tile<M, N>>,
    ) -> Tile<M, N> {
        // SAFETY: the caller's.
        unsafe { (**self).tile::<M, N, FMA>(panel, rows, start, sums) }
    }
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
        let width = bias.len();
        let lanes_at = |at: usize| {
            let (panel, row) = (at / depth, at % depth);
            Lanes(std::array::from_fn(|lane| {
                let column = panel * LANES + lane;
                match column < width {
                    true => weight(row, column),
                    false => 0.0,
                }
            }))
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

impl Panels for F32Panels {
    type Input = f32;

    fn depth(&self) -> usize {
        self.depth
    }

    fn width(&self) -> usize {
        self.width
    }

    #[inline(always)]
    fn stretch(&self) -> usize {
        match self.depth {
            0..=1024 => self.depth,
            _ => 512,
        }
    }

    #[inline(always)]
    unsafe fn tile<const M: usize, const N: usize, const FMA: bool>(
        &self,
        panel: usize,
        rows: *const f32,
        start: usize,
        sums: Option<Tile<M, N>>,
    ) -> Tile<M, N> {
        // SAFETY: the panels are ours, and the caller vouches for the rows.
        unsafe {
            let bias = |n: usize| [self.bias.get_unchecked(panel + n).0; M];
            let mut sums = sums.unwrap_or_else(|| std::array::from_fn(bias));
            let weights = self.panels.as_ptr().add(panel * self.depth);
            for k in start..self.depth.min(start + self.stretch()) {
                let weights: [[f32; LANES]; N] =
                    std::array::from_fn(|n| (*weights.add(n * self.depth + k)).0);
                for m in 0..M {
                    let x = *rows.add(m * self.depth + k);
                    for n in 0..N {
                        for lane in 0..LANES {
                            let sum = &mut sums[n][m][lane];
                            *sum = multiply_add::<FMA>(x, weights[n][lane], *sum);
                        }
                    }
                }
            }
            sums
        }
    }
}

/// i8 weights for u8 rows, in groups of four along the row.
#[derive(Debug, Clone)]
pub(crate) struct I8Panels {
    /// A multiple of four.
    depth: usize,
    width: usize,
    panels: Arc<[Lanes<[i8; 4]>]>,
    /// Sum of each column's weights.
    totals: Arc<[Lanes<i32>]>,
    /// Added to every sum: the bias, and what the rows' zero point takes away.
    offsets: Vec<Lanes<i32>>,
}

impl I8Panels {
    /// Rows of `depth` elements, a multiple of four: `weight` gives 0 where there is none.
    ///
    /// `zero` is the code of 0 in the rows, `bias` is in units of the products.
    pub(crate) fn new(
        dot: Dot,
        depth: usize,
        zero: u8,
        bias: &[i32],
        weight: impl Fn(usize, usize) -> i8,
    ) -> Self {
        // The kernels read rows and panels four at a time, unchecked.
        assert!(depth.is_multiple_of(4));
        let width = bias.len();
        let groups = depth / 4;
        let mut panels = vec![Lanes([[0; 4]; LANES]); width.div_ceil(LANES) * groups];
        for (at, lanes) in panels.iter_mut().enumerate() {
            let (panel, group) = (at / groups, at % groups);
            for (lane, four) in lanes.0.iter_mut().enumerate() {
                let column = panel * LANES + lane;
                if column < width {
                    *four = std::array::from_fn(|i| weight(group * 4 + i, column));
                }
            }
        }
        let total = |panel: &[Lanes<[i8; 4]>]| {
            let mut total = Lanes([0; LANES]);
            for group in panel {
                for (total, four) in total.0.iter_mut().zip(group.0) {
                    *total += four.into_iter().map(i32::from).sum::<i32>();
                }
            }
            total
        };
        let mut offsets = lanes(bias);
        let made = Self {
            depth,
            width,
            totals: panels.chunks(groups.max(1)).map(total).collect(),
            panels: panels.into(),
            offsets: Vec::new(),
        };
        // `sdot` multiplies signed by signed: the kernel takes 128 from every code.
        made.shift(
            &mut offsets,
            i32::from(zero) - if dot == Dot::Sdot { 128 } else { 0 },
        );
        Self { offsets, ..made }
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
                *offset -= zero * total;
            }
        }
    }

    /// Weights of a panel, and what is added to its sums.
    ///
    /// # Safety
    /// `panel` is one of these panels.
    #[inline(always)]
    unsafe fn panel(&self, panel: usize) -> (*const Lanes<[i8; 4]>, &Lanes<i32>) {
        // SAFETY: there are `depth / 4` groups and one group of offsets a panel.
        unsafe {
            (
                self.panels.as_ptr().add(panel * (self.depth / 4)),
                self.offsets.get_unchecked(panel),
            )
        }
    }
}

/// Sums as f32, in stretches so short that they are exact, which are added as integers.
pub(crate) struct FloatDot<'a>(pub(crate) &'a I8Panels);

/// 2^24 / (255 * 128), down to a multiple of four: f32 holds sums of so many products exactly.
const EXACT: usize = 512;

impl Panels for FloatDot<'_> {
    type Input = u8;

    fn depth(&self) -> usize {
        self.0.depth
    }

    fn width(&self) -> usize {
        self.0.width
    }

    #[inline(always)]
    unsafe fn tile<const M: usize, const N: usize, const FMA: bool>(
        &self,
        panel: usize,
        rows: *const u8,
        _: usize,
        _: Option<Tile<M, N>>,
    ) -> Tile<M, N> {
        // SAFETY: the panels are ours, and the caller vouches for the rows.
        let one = |panel| unsafe {
            let (weights, offsets) = self.0.panel(panel);
            let mut sums = [offsets.0; M];
            for start in (0..self.0.depth).step_by(EXACT) {
                let mut exact = [[0.0f32; LANES]; M];
                for k in start..(start + EXACT).min(self.0.depth) {
                    let four = &(*weights.add(k / 4)).0;
                    let w: [f32; LANES] = std::array::from_fn(|lane| f32::from(four[lane][k % 4]));
                    for (m, sum) in exact.iter_mut().enumerate() {
                        let x = f32::from(*rows.add(m * self.0.depth + k));
                        for lane in 0..LANES {
                            sum[lane] = multiply_add::<FMA>(x, w[lane], sum[lane]);
                        }
                    }
                }
                for (sum, exact) in sums.iter_mut().zip(&exact) {
                    for lane in 0..LANES {
                        sum[lane] += exact[lane].to_int_unchecked::<i32>();
                    }
                }
            }
            sums.map(|sum| sum.map(|s| s as f32))
        };
        std::array::from_fn(|n| one(panel + n))
    }
}

#[cfg(target_arch = "x86_64")]
/// Sums by `vpdpbusd`.
pub(crate) struct Vnni<'a>(pub(crate) &'a I8Panels);

#[cfg(target_arch = "x86_64")]
impl Panels for Vnni<'_> {
    type Input = u8;

    fn depth(&self) -> usize {
        self.0.depth
    }

    fn width(&self) -> usize {
        self.0.width
    }

    #[inline(always)]
    unsafe fn tile<const M: usize, const N: usize, const FMA: bool>(
        &self,
        panel: usize,
        rows: *const u8,
        _: usize,
        _: Option<Tile<M, N>>,
    ) -> Tile<M, N> {
        use std::arch::x86_64::{
            _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32,
            _mm512_storeu_ps,
        };
        // SAFETY: the panels are ours, the caller vouches for the rows, and only functions compiled
        // for these instructions call this, on processors that have them.
        unsafe {
            let panels: [_; N] = std::array::from_fn(|n| self.0.panel(panel + n));
            let mut sums = panels
                .map(|(_, offsets)| [_mm512_loadu_si512(std::ptr::from_ref(offsets).cast()); M]);
            for k in 0..self.0.depth / 4 {
                let weights = panels.map(|(weights, _)| _mm512_loadu_si512(weights.add(k).cast()));
                for m in 0..M {
                    let four = rows.add(m * self.0.depth + 4 * k);
                    let four = _mm512_set1_epi32(four.cast::<i32>().read_unaligned());
                    for n in 0..N {
                        sums[n][m] = _mm512_dpbusd_epi32(sums[n][m], four, weights[n]);
                    }
                }
            }
            let mut out = [[[0.0; LANES]; M]; N];
            for (out, sum) in out.iter_mut().flatten().zip(sums.as_flattened()) {
                _mm512_storeu_ps(out.as_mut_ptr(), _mm512_cvtepi32_ps(*sum));
            }
            out
        }
    }
}

#[cfg(target_arch = "aarch64")]
/// Sums by `sdot`.
pub(crate) struct Sdot<'a>(pub(crate) &'a I8Panels);

#[cfg(target_arch = "aarch64")]
impl Panels for Sdot<'_> {
    type Input = u8;

    fn depth(&self) -> usize {
        self.0.depth
    }

    fn width(&self) -> usize {
        self.0.width
    }

    #[inline(always)]
    unsafe fn tile<const M: usize, const N: usize, const FMA: bool>(
        &self,
        panel: usize,
        rows: *const u8,
        _: usize,
        _: Option<Tile<M, N>>,
    ) -> Tile<M, N> {
        use std::arch::aarch64::{
            int32x4_t, vcvtq_f32_s32, vdupq_n_u8, vdupq_n_u32, veorq_u8, vld1q_s32, vld1q_u8,
            vreinterpretq_u8_u32, vst1q_f32,
        };
        // SAFETY: the panels are ours, the caller vouches for the rows, and only functions compiled
        // for these instructions call this, on processors that have them.
        unsafe {
            let mut tiles = [[[0.0; LANES]; M]; N];
            // No closures, which would be compiled without these instructions.
            for (n, tile) in tiles.iter_mut().enumerate() {
                let (weights, offsets) = self.0.panel(panel + n);
                let offsets: [int32x4_t; 4] =
                    std::array::from_fn(|q| vld1q_s32(offsets.0.as_ptr().add(4 * q)));
                let mut sums = [offsets; M];
                let mut codes = [vdupq_n_u8(0); M];
                let sixteens = self.0.depth / 16;
                for k in 0..sixteens {
                    for (m, codes) in codes.iter_mut().enumerate() {
                        let sixteen = vld1q_u8(rows.add(m * self.0.depth + 16 * k));
                        *codes = veorq_u8(sixteen, vdupq_n_u8(0x80));
                    }
                    let weights = weights.add(4 * k);
                    sdot::<M, 0>(&mut sums, weights, &codes);
                    sdot::<M, 1>(&mut sums, weights.add(1), &codes);
                    sdot::<M, 2>(&mut sums, weights.add(2), &codes);
                    sdot::<M, 3>(&mut sums, weights.add(3), &codes);
                }
                for k in 4 * sixteens..self.0.depth / 4 {
                    for (m, codes) in codes.iter_mut().enumerate() {
                        let four = rows.add(m * self.0.depth + 4 * k).cast::<u32>();
                        let four = vdupq_n_u32(four.read_unaligned() ^ 0x8080_8080);
                        *codes = vreinterpretq_u8_u32(four);
                    }
                    sdot::<M, 0>(&mut sums, weights.add(k), &codes);
                }
                for (out, sum) in tile.iter_mut().zip(sums) {
                    for (q, sum) in sum.into_iter().enumerate() {
                        vst1q_f32(out.as_mut_ptr().add(4 * q), vcvtq_f32_s32(sum));
                    }
                }
            }
            tiles
        }
    }
}

/// Add the products of each row's `FOUR`th four codes, which are signed, with a group of weights.
///
/// # Safety
/// `weights` points to a group, and the processor has these instructions.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
unsafe fn sdot<const M: usize, const FOUR: usize>(
    sums: &mut [[std::arch::aarch64::int32x4_t; 4]; M],
    weights: *const Lanes<[i8; 4]>,
    codes: &[std::arch::aarch64::uint8x16_t; M],
) {
    for q in 0..4 {
        // SAFETY: the caller's.
        unsafe {
            let weights = std::arch::aarch64::vld1q_s8(weights.cast::<i8>().add(16 * q));
            for (sums, codes) in sums.iter_mut().zip(codes) {
                // The intrinsic is not stable yet.
                std::arch::asm!(
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
    product(cpu.simd, panels, rows, out);
}

/// `out` [rows, width] from as many rows of codes.
pub(crate) fn product_u8<R: Element, O: Element>(
    cpu: Cpu,
    panels: &I8Panels,
    rows: &Rows<'_, u8, R>,
    out: &mut [O],
) {
    match cpu.dot {
        // SAFETY: values of `Dot` other than `Float` come from `Cpu::supported`, which asked the
        // processor.
        #[cfg(target_arch = "x86_64")]
        Dot::Vnni => unsafe { product_vnni(&Vnni(panels), rows, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Dot::Sdot => unsafe { product_sdot(&Sdot(panels), rows, out) },
        _ => product(cpu.simd, &FloatDot(panels), rows, out),
    }
}

compiled_for_each! {
    fn product<P: Panels, R: Element, O: Element>(
        panels: &P,
        rows: &Rows<'_, P::Input, R>,
        out: &mut [O],
    ) = tiles
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
fn product_vnni<R: Element, O: Element>(panels: &Vnni<'_>, rows: &Rows<'_, u8, R>, out: &mut [O]) {
    tiles::<12, 2, true, _, R, O>(panels, rows, out);
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "dotprod")]
fn product_sdot<R: Element, O: Element>(panels: &Sdot<'_>, rows: &Rows<'_, u8, R>, out: &mut [O]) {
    // What four rows need stays in registers; what six need does not.
    tiles::<4, 1, true, _, R, O>(panels, rows, out);
}

thread_local! {
    /// Sums of stretches before the last.
    static PARTIAL: RefCell<Vec<Lanes<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Stretch by stretch and panel by panel, so that a stretch of a panel stays in the nearest cache
/// while all rows pass by.
#[inline(always)]
fn tiles<
    const ROWS: usize,
    const PANELS: usize,
    const FMA: bool,
    P: Panels,
    R: Element,
    O: Element,
>(
    panels: &P,
    rows: &Rows<'_, P::Input, R>,
    out: &mut [O],
) {
    let count = out.len() / panels.width();
    assert!(rows.rows.len() >= count * panels.depth() && out.len() == count * panels.width());
    let mut partial = PARTIAL.take();
    if panels.stretch() < panels.depth() {
        partial.resize(count * panels.width().div_ceil(LANES), Lanes([0.0; LANES]));
    }
    for start in (0..panels.depth()).step_by(panels.stretch()) {
        let mut panel = 0;
        while panel < panels.width().div_ceil(LANES) {
            let mut down = Down {
                panels,
                rows,
                partial: &mut partial,
                out,
                panel,
                count,
                start,
            };
            let whole = panels.stretch() >= panels.depth();
            if panel + PANELS <= panels.width().div_ceil(LANES) {
                match whole {
                    true => down.all::<ROWS, PANELS, FMA, true>(),
                    false => down.all::<ROWS, PANELS, FMA, false>(),
                }
                panel += PANELS;
            } else {
                match whole {
                    true => down.all::<ROWS, 1, FMA, true>(),
                    false => down.all::<ROWS, 1, FMA, false>(),
                }
                panel += 1;
            }
        }
    }
    PARTIAL.set(partial);
}

/// A stretch of a panel, or of some side by side, that all rows pass.
struct Down<'a, P: Panels, R, O> {
    panels: &'a P,
    rows: &'a Rows<'a, P::Input, R>,
    partial: &'a mut [Lanes<f32>],
    out: &'a mut [O],
    panel: usize,
    /// Rows.
    count: usize,
    /// Start of the stretch.
    start: usize,
}

impl<P: Panels, R: Element, O: Element> Down<'_, P, R, O> {
    #[inline(always)]
    fn all<const ROWS: usize, const N: usize, const FMA: bool, const WHOLE: bool>(&mut self) {
        let mut row = 0;
        while row + ROWS <= self.count {
            row += self.tile::<ROWS, N, FMA, WHOLE>(row);
        }
        if ROWS > 6 && row + 6 <= self.count {
            row += self.tile::<6, N, FMA, WHOLE>(row);
        }
        if row + 4 <= self.count {
            row += self.tile::<4, N, FMA, WHOLE>(row);
        }
        while row < self.count {
            row += self.tile::<1, N, FMA, WHOLE>(row);
        }
    }

    /// `M` rows from `row` on; -> `M`. `WHOLE` when a stretch is all there is.
    #[inline(always)]
    fn tile<const M: usize, const N: usize, const FMA: bool, const WHOLE: bool>(
        &mut self,
        row: usize,
    ) -> usize {
        let kept = |n: usize| {
            let at = (self.panel + n) * self.count + row;
            at..at + M
        };
        let before = (!WHOLE && self.start > 0).then(|| {
            std::array::from_fn(|n| {
                let kept = self.partial.get(kept(n)).unwrap_or_default();
                std::array::from_fn(|m| kept.get(m).map_or([0.0; LANES], |lanes| lanes.0))
            })
        });
        // SAFETY: `tiles` has seen that there are so many rows, and counts panels and stretches.
        let sums = unsafe {
            let rows = self.rows.rows.as_ptr().add(row * self.panels.depth());
            self.panels
                .tile::<M, N, FMA>(self.panel, rows, self.start, before)
        };
        let last = WHOLE || self.start + self.panels.stretch() >= self.panels.depth();
        for (n, sums) in sums.iter().enumerate() {
            if !last {
                let kept = self.partial.get_mut(kept(n)).unwrap_or_default();
                kept.iter_mut().zip(sums).for_each(|(k, sum)| k.0 = *sum);
                continue;
            }
            let width = self.panels.width();
            let column = (self.panel + n) * LANES;
            let place = Place {
                column,
                columns: LANES.min(width - column),
                start: row * width + column,
                stride: width,
            };
            self.rows
                .epilogue
                .store::<M, FMA, R, O>(sums, place, self.rows.residual, self.out);
        }
        M
    }
}
