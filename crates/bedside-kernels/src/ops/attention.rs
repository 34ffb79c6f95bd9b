//! Attention in one operator: scores of queries and keys, a mask added, softmax, and the values
//! that they weigh.
//!
//! Keys and values are packed once for all queries; of the scores only those of a few queries are
//! ever in memory.
#![allow(unsafe_code, reason = "threads write rows that lie side by side")]

use std::cell::RefCell;

use tract_core::internal::*;

use crate::kernel::cpu::Cpu;
use crate::kernel::epilogue::{Epilogue, Sink};
use crate::kernel::packed::Matrix;
use crate::kernel::product::{F32Panels, Rows, product_f32};
use crate::kernel::softmax::weigh;
use crate::ops::axes::Axes;
use crate::ops::{Extent, extents, filled, for_each, slice, threads};

/// Inputs: queries, keys, values, and a mask if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attention {
    cpu: Cpu,
    /// Letters of queries, keys, values, the mask and the output, a dimension each.
    pub(crate) letters: [Vec<char>; 5],
    /// Of dimensions that the keys or the values have too.
    outer: Vec<char>,
    pub(crate) row: char,
    depth: char,
    pub(crate) key: char,
    /// Innermost in the output.
    value: char,
    shape: Vec<Extent>,
}

impl Attention {
    /// From the two products: `weighing`'s first input are the scores, whose dimension `axis`
    /// softmax makes 1.
    pub(crate) fn new(
        cpu: Cpu,
        scoring: Axes,
        weighing: Axes,
        axis: usize,
        output: &[TDim],
    ) -> Option<Self> {
        // The second product's letters become the first's; what the scores lack has a new one.
        let [queries, keys, scores] = scoring.letters.clone();
        let [weights, values, out] = &weighing.letters;
        let named = |letter: &char| match weights.iter().position(|l| l == letter) {
            Some(at) => scores.get(at).copied(),
            None => char::from_u32(0xE000 + u32::from(*letter)),
        };
        let all = |letters: &[char]| letters.iter().map(named).collect::<Option<Vec<char>>>();
        let (values, out) = (all(values)?, all(out)?);
        let one = |role: &[char]| match *role {
            [letter] => Some(letter),
            _ => None,
        };
        let (depth, key) = (one(&scoring.summed)?, one(&scoring.columns)?);
        let value = one(&all(&weighing.columns)?)?;
        let weighing_rows = all(&weighing.rows)?;
        let mut outer = [&*scoring.batch, &*scoring.rows].concat();
        let others = [&*all(&weighing.batch)?, &*weighing_rows].concat();
        let same = outer.len() == others.len() && outer.iter().all(|l| others.contains(l));
        // Queries that share keys and values.
        let shared = |l: &&char| scoring.rows.contains(l) && weighing_rows.contains(l);
        let row = *outer.iter().rev().find(shared)?;
        outer.retain(|l| *l != row);
        let fits = same
            && scores.get(axis) == Some(&key)
            && all(&weighing.summed)? == [key]
            && all(&weighing.order(2))?.last() == Some(&value);
        let shape = extents([&queries, &values, &out], output)?;
        fits.then_some(Self {
            cpu,
            letters: [queries, keys, values, scores, out],
            outer,
            row,
            depth,
            key,
            value,
            shape,
        })
    }

    fn shape<D: Clone + From<usize>>(&self, queries: &[D], values: &[D]) -> TVec<D> {
        let extent = |extent: &Extent| extent.of(queries, values);
        self.shape.iter().map(extent).collect()
    }

    /// A dimension's length, and the elements that a step of it passes in each tensor.
    fn along(&self, letter: char, shapes: &[&[usize]; 5]) -> TractResult<Loop> {
        let mut along = Loop {
            count: 1,
            steps: [0; 5],
        };
        let tensors = self.letters.iter().zip(shapes).zip(&mut along.steps);
        for ((letters, shape), step) in tensors {
            let Some(at) = letters.iter().position(|l| *l == letter) else {
                continue;
            };
            // A mask is spread over dimensions of 1, and absent it has none.
            let count = shape.get(at).copied().unwrap_or(1);
            if count > 1 {
                ensure!(along.count == 1 || along.count == count, "sizes differ");
                along.count = count;
                *step = shape.get(at + 1..).unwrap_or_default().iter().product();
            }
        }
        // Else threads would write the same rows.
        let out = self.letters[4].iter().position(|l| *l == letter);
        let out = out.and_then(|at| shapes[4].get(at));
        ensure!(
            out.is_none_or(|count| *count == along.count),
            "sizes differ"
        );
        Ok(along)
    }
}

/// A loop, and its steps in queries, keys, values, mask and output.
#[derive(Debug, Clone, Copy)]
struct Loop {
    count: usize,
    steps: [usize; 5],
}

#[derive(Default)]
struct Scratch {
    keys: F32Panels,
    values: F32Panels,
    queries: Vec<f32>,
    scores: Vec<f32>,
    totals: Vec<f32>,
    out: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Some queries of one item, and what they look at.
struct Part<'a> {
    cpu: Cpu,
    queries: Matrix<'a>,
    keys: Matrix<'a>,
    values: Matrix<'a>,
    /// From the first row's first element on, and elements from a row to the next; if there is one.
    mask: Option<(&'a [f32], usize)>,
}

impl Part<'_> {
    /// `put` takes a row of the output.
    fn run(&self, mut put: impl FnMut(usize, &[f32])) {
        // Scores of so many rows stay in half a common L2 cache.
        const CACHE: usize = 256 << 10;
        let keys = self.keys.columns;
        let block = (CACHE / (keys * size_of::<f32>())).clamp(12, 96);
        // Whole tiles: what is left over of them is multiplied more slowly.
        let block = block.next_multiple_of(12);
        fn plain<'a>(rows: &'a [f32], epilogue: &'a Epilogue) -> Rows<'a, f32, f32> {
            Rows {
                rows,
                residual: &[],
                epilogue,
            }
        }
        let bare = &Epilogue::default();
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.keys.pack(&self.keys);
            scratch.values.pack(&self.values);
            for first in (0..self.queries.rows).step_by(block) {
                let last = (first + block).min(self.queries.rows);
                let queries = self.queries.part(first..last, 0..self.queries.columns);
                let queries = plain(queries.gathered(&mut scratch.queries), bare);
                scratch.scores.resize((last - first) * keys, 0.0);
                product_f32(self.cpu, &scratch.keys, &queries, &mut scratch.scores);
                scratch.totals.clear();
                for (row, scores) in (first..last).zip(scratch.scores.chunks_mut(keys)) {
                    let mask = self.mask.map(|(mask, step)| &mask[row * step..][..keys]);
                    let mut total = 0.0;
                    weigh(self.cpu.simd, scores, mask.unwrap_or_default(), &mut total);
                    scratch.totals.push(total);
                }
                let width = self.values.columns;
                scratch.out.resize((last - first) * width, 0.0);
                let weights = plain(&scratch.scores, bare);
                product_f32(self.cpu, &scratch.values, &weights, &mut scratch.out);
                let rows = scratch.out.chunks_mut(width).zip(&scratch.totals);
                for (row, (out, total)) in (first..last).zip(rows) {
                    out.iter_mut().for_each(|v| *v /= total);
                    put(row, out);
                }
            }
        });
    }
}

impl Op for Attention {
    fn name(&self) -> StaticName {
        "Attention".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(vec![self.cpu.to_string()])
    }

    op_as_typed_op!();
}

impl EvalOp for Attention {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [queries, keys, values] = [0, 1, 2].map(|i| &inputs[i]);
        let mask = inputs.get(3);
        ensure!(
            queries.len() == 0 || keys.len() > 0,
            "attention without keys"
        );
        let shape = self.shape(queries.shape(), values.shape());
        let shapes = [
            queries.shape(),
            keys.shape(),
            values.shape(),
            mask.map_or(&[][..], |m| m.shape()),
            &shape,
        ];
        let along = |letter: &char| self.along(*letter, &shapes);
        let outer = self.outer.iter().map(along);
        let outer = outer.collect::<TractResult<Vec<Loop>>>()?;
        let [row, depth, key, value] = [self.row, self.depth, self.key, self.value];
        let [row, depth, key, value] = [along(&row)?, along(&depth)?, along(&key)?, along(&value)?];
        let [queries, keys, values] = [slice(queries)?, slice(keys)?, slice(values)?];
        let mask = mask.map(|m| slice::<f32>(m)).transpose()?;
        let cpu = self.cpu;
        let out = filled::<f32>(&shape, |out| {
            let items: usize = outer.iter().map(|l| l.count).product();
            // Every thread gets its share; what shares an item packs it again.
            let parts = match threads() {
                1 => 1,
                threads => (2 * threads).div_ceil(items.max(1)),
            };
            let rows = row.count.div_ceil(parts);
            let sink = Sink::new(out);
            for_each(items * parts, |index| {
                let (mut item, part) = (index / parts, index % parts);
                let rows = part * rows..((part + 1) * rows).min(row.count);
                if rows.is_empty() {
                    return;
                }
                let mut starts = row.steps.map(|step| step * rows.start);
                for l in outer.iter().rev() {
                    for (start, step) in starts.iter_mut().zip(l.steps) {
                        *start += item % l.count * step;
                    }
                    item /= l.count;
                }
                fn from(values: &[f32], start: usize) -> &[f32] {
                    values.get(start..).unwrap_or_default()
                }
                let part = Part {
                    cpu,
                    queries: Matrix {
                        values: from(queries, starts[0]),
                        rows: rows.len(),
                        columns: depth.count,
                        steps: [row.steps[0], depth.steps[0]],
                    },
                    keys: Matrix {
                        values: from(keys, starts[1]),
                        rows: depth.count,
                        columns: key.count,
                        steps: [depth.steps[1], key.steps[1]],
                    },
                    values: Matrix {
                        values: from(values, starts[2]),
                        rows: key.count,
                        columns: value.count,
                        steps: [key.steps[2], value.steps[2]],
                    },
                    mask: mask.map(|mask| (from(mask, starts[3]), row.steps[3])),
                };
                part.run(|row_, out| {
                    let at = starts[4] + row_ * row.steps[4];
                    // SAFETY: no other part is of these rows of this item.
                    unsafe { sink.put_row(at, out) };
                });
            });
            Ok(())
        })?;
        Ok(tvec!(out))
    }
}

impl TypedOp for Attention {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape = self.shape::<TDim>(&inputs[0].shape, &inputs[2].shape);
        Ok(tvec!(DatumType::F32.fact(shape)))
    }

    as_op!();
}
