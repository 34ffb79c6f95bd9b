//! Products of two activations: attention, and masks from pixels.
#![allow(unsafe_code, reason = "threads write columns that lie side by side")]

use tract_core::internal::*;

use crate::kernel::cpu::Cpu;
use crate::kernel::epilogue::Sink;
use crate::kernel::lanes::LANES;
use crate::kernel::packed::{self, Matrix};
use crate::kernel::strided::{Loop, Part, Product, across, dots};
use crate::ops::axes::{Axes, least};
use crate::ops::view::View;
use crate::ops::{Extent, extents, filled, for_each, slice, threads};

/// A product of two activations, each read where it lies.
///
/// Every element is summed in an order of its own, so that a row has the same bits in any batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MatMul {
    cpu: Cpu,
    axes: Axes,
    strategy: Strategy,
    shape: Vec<Extent>,
    /// Parts of the inputs that are multiplied, where that is not the whole.
    pub(crate) views: [Option<View>; 2],
    /// What every sum is multiplied by.
    pub(crate) factor: f32,
}

impl Eq for MatMul {}

/// How a [`MatMul`] reads its second input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strategy {
    /// Columns lie innermost in it and in the output.
    Across,
    /// The summed dimension lies innermost in both inputs.
    Dot,
    /// In any layout: it is packed, for many rows. Columns lie innermost in the output.
    Packed,
}

impl MatMul {
    /// For axes whose innermost dimensions let a kernel read or write sixteen numbers at a time;
    /// and whether the inputs change places.
    ///
    /// `sizes` are the inputs'. The strategy is of the graph: it does not hang on how many items a batch
    /// has, so that an item has the same bits in any.
    pub(crate) fn new(
        cpu: Cpu,
        axes: Axes,
        sizes: [&[TDim]; 2],
        output: &[TDim],
    ) -> Option<(Self, bool)> {
        let made = |axes: Axes, strategy| {
            let shape = extents([0, 1, 2].map(|of| &*axes.letters[of]), output)?;
            let made = Self {
                cpu,
                axes,
                strategy,
                shape,
                views: [None, None],
                factor: 1.0,
            };
            Some(made)
        };
        let turned = axes.swapped();
        if packs(&axes, sizes) {
            return Some((made(axes, Strategy::Packed)?, false));
        }
        if packs(&turned, [sizes[1], sizes[0]]) {
            return Some((made(turned, Strategy::Packed)?, true));
        }
        let [a, b, out] = [0, 1, 2].map(|of| axes.order(of));
        let dot = ends(&a, &axes.summed) && ends(&b, &axes.summed);
        let across = ends(&b, &axes.columns) && ends(&out, &axes.columns);
        let strategy = if across {
            Strategy::Across
        } else {
            Strategy::Dot
        };
        let fits = whole(&axes) && (dot || across);
        Some((made(axes, strategy).filter(|_| fits)?, false))
    }

    /// Lengths of the loops, and the steps that they make in the inputs and the output.
    fn loops(&self, a: &[usize], b: &[usize]) -> TractResult<(Vec<Loop>, Product)> {
        let out = self.shape([a, b]);
        let shapes = [a, b, &*out];
        let steps = |letter: &char| {
            let mut found = Loop {
                count: 1,
                steps: [0; 3],
            };
            for ((letters, shape), step) in
                self.axes.letters.iter().zip(shapes).zip(&mut found.steps)
            {
                if let Some(at) = letters.iter().position(|l| l == letter) {
                    let inner = shape.get(at + 1..).unwrap_or_default();
                    *step = inner.iter().product();
                    found.count = shape.get(at).copied().context("rank")?;
                }
            }
            Ok::<_, TractError>(found)
        };
        // Letters that lie together, as one loop.
        let one = |role: &[char]| {
            let mut all = match role.last() {
                Some(last) => steps(last)?,
                None => Loop {
                    count: 1,
                    steps: [0; 3],
                },
            };
            for letter in role.iter().rev().skip(1) {
                all.count *= steps(letter)?.count;
            }
            Ok::<_, TractError>(all)
        };
        let (summed, columns) = (one(&self.axes.summed)?, one(&self.axes.columns)?);
        let mut outer = self
            .axes
            .batch
            .iter()
            .chain(&self.axes.rows)
            .map(steps)
            .collect::<TractResult<Vec<Loop>>>()?;
        // Rows share what they read of the second input: their loop is the inner one.
        let rows = match self.axes.rows.last() {
            Some(_) => outer.pop(),
            None => None,
        };
        let mut rows = rows.unwrap_or(Loop {
            count: 1,
            steps: [0; 3],
        });
        // Rows of several dimensions are one loop where they lie at even distances.
        while let Some(more) = outer.pop_if(|l| l.steps == rows.steps.map(|s| s * rows.count)) {
            rows.count *= more.count;
        }
        Ok((
            outer,
            Product {
                rows,
                summed,
                columns,
            },
        ))
    }

    /// The output's, from those of what is multiplied.
    fn shape<D: Clone + From<usize>>(&self, [a, b]: [&[D]; 2]) -> TVec<D> {
        self.shape.iter().map(|extent| extent.of(a, b)).collect()
    }
}

/// Whether the summed dimension and the columns each are one wherever they are: letters that lie
/// side by side.
fn whole(axes: &Axes) -> bool {
    let [a, b, out] = [0, 1, 2].map(|of| axes.order(of));
    let together = |role: &[char], order: &[char]| {
        role.is_empty() || order.windows(role.len()).any(|window| window == role)
    };
    together(&axes.summed, &a)
        && together(&axes.summed, &b)
        && together(&axes.columns, &b)
        && together(&axes.columns, &out)
}

fn ends(order: &[char], role: &[char]) -> bool {
    matches!((order.last(), role.last()), (Some(a), Some(b)) if a == b)
}

/// Whether so many rows read what is packed that it pays.
fn packs(axes: &Axes, sizes: [&[TDim]; 2]) -> bool {
    let least = |role: &[char], of: usize| -> usize {
        let sizes = axes.letters[of].iter().zip(sizes[of]);
        let sizes = sizes.filter(|(letter, _)| role.contains(letter));
        sizes.map(|(_, size)| least(size)).product()
    };
    let out = axes.order(2);
    whole(axes)
        && ends(&out, &axes.columns)
        && least(&axes.rows, 0) >= 24
        && least(&axes.columns, 1) >= LANES
        && least(&axes.summed, 0) >= LANES
}

impl Product {
    /// Columns that are packed at once: they stay in half a common L2 cache, and every thread gets
    /// its share.
    fn packed_width(&self, batches: usize) -> usize {
        const CACHE: usize = 256 << 10;
        let cached = CACHE / (self.summed.count.max(1) * size_of::<f32>());
        let share = match threads() {
            1 => self.columns.count,
            threads => self
                .columns
                .count
                .div_ceil((2 * threads).div_ceil(batches.max(1))),
        };
        share.min(cached).max(1).next_multiple_of(2 * LANES)
    }
}

impl Op for MatMul {
    fn name(&self) -> StaticName {
        "MatMul".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        let [a, b, out] = self.axes.letters.each_ref().map(|l| l.iter().collect());
        let (a, b, out): (String, String, String) = (a, b, out);
        Ok(vec![format!("{} {a},{b}->{out}", self.cpu)])
    }

    op_as_typed_op!();
}

impl EvalOp for MatMul {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (a, b) = args_2!(inputs);
        let [in_a, in_b] = &self.views;
        let (a_shape, a) = part(&a, in_a)?;
        let (b_shape, b) = part(&b, in_b)?;
        let shape = self.shape([a_shape, b_shape]);
        let (outer, product) = self.loops(a_shape, b_shape)?;
        let out = filled::<f32>(&shape, |out| {
            if product.summed.count == 0 {
                out.fill(0.0);
                return Ok(());
            }
            let batches: usize = outer.iter().map(|l| l.count).product();
            let work = batches * product.rows.count * product.summed.count * product.columns.count;
            // A thread's start is worth some 100,000 products.
            let width = match (self.strategy, work / batches.max(1)) {
                (_, 0..200_000) => product.columns.count,
                (Strategy::Packed, _) => product.packed_width(batches),
                _ => 512.min(product.columns.count),
            };
            let chunks = product.columns.count.div_ceil(width.max(1));
            let out = Sink::new(out);
            let one = |index: usize| {
                let (mut batch, chunk) = (index / chunks, index % chunks);
                let mut starts = [0; 3];
                for l in outer.iter().rev() {
                    for (start, step) in starts.iter_mut().zip(l.steps) {
                        *start += batch % l.count * step;
                    }
                    batch /= l.count;
                }
                let [a_start, b_start, out_start] = starts;
                let part = Part {
                    a: a.get(a_start..).unwrap_or_default(),
                    b: b.get(b_start..).unwrap_or_default(),
                    out,
                    out_start,
                    columns: chunk * width..((chunk + 1) * width).min(product.columns.count),
                    product,
                    factor: self.factor,
                };
                match self.strategy {
                    Strategy::Dot => dots(self.cpu.simd, &part),
                    Strategy::Across => across(self.cpu.simd, &part),
                    Strategy::Packed => packed(self.cpu, &part),
                }
            };
            match work {
                0..200_000 => (0..batches * chunks).for_each(one),
                _ => for_each(batches * chunks, one),
            }
            Ok(())
        })?;
        Ok(tvec!(out))
    }
}

impl TypedOp for MatMul {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let dims = |i: usize| match &self.views[i] {
            Some(view) => view.shape().iter().map(|d| d.to_dim()).collect(),
            None => inputs[i].shape.to_tvec(),
        };
        let (a, b): (TVec<TDim>, TVec<TDim>) = (dims(0), dims(1));
        Ok(tvec!(DatumType::F32.fact(self.shape([&*a, &*b]))))
    }

    as_op!();
}

/// What is multiplied of an input, and its shape.
fn part<'a>(input: &'a Tensor, view: &'a Option<View>) -> TractResult<(&'a [usize], &'a [f32])> {
    let whole = slice::<f32>(input)?;
    match view {
        Some(view) => Ok((view.shape(), view.of(whole).context("a view past the end")?)),
        None => Ok((input.shape(), whole)),
    }
}

fn packed(cpu: Cpu, part: &Part<'_>) {
    let Product {
        rows,
        summed,
        columns,
    } = part.product;
    let a = Matrix {
        values: part.a,
        rows: rows.count,
        columns: summed.count,
        steps: [rows.steps[0], summed.steps[0]],
    };
    let b = Matrix {
        values: part.b,
        rows: summed.count,
        columns: columns.count,
        steps: [summed.steps[1], columns.steps[1]],
    };
    let b = b.part(0..summed.count, part.columns.clone());
    packed::product(cpu, a, b, |first, block| {
        for (i, row) in block.chunks_mut(b.columns).enumerate() {
            row.iter_mut().for_each(|sum| *sum *= part.factor);
            let at = part.out_start + (first + i) * rows.steps[2] + part.columns.start;
            // SAFETY: no other part has these rows and columns.
            unsafe { part.out.put_row(at, row) };
        }
    });
}
