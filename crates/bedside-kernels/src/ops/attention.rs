//! Attention in one operator: scores of queries and keys, a mask added, softmax, and the values
//! that they weigh.
//!
//! Keys and values are packed once for all queries; of the scores only those of a few queries are
//! ever in memory.
#![allow(unsafe_code, reason = "threads write rows that lie side by side")]

use std::cell::RefCell;

use tract_core::internal::*;
use tract_core::model::Rewriter;
use tract_core::ops::einsum::EinSum;
use tract_core::ops::nn::{Softmax, SoftmaxKind};

use crate::kernel::cpu::{Cpu, compiled_for_each};
use crate::kernel::epilogue::{Epilogue, MAGIC, Sink, polynomial};
use crate::kernel::lanes::{LANES, multiply_add};
use crate::kernel::packed::Matrix;
use crate::kernel::product::{F32Panels, Rows, product_f32};
use crate::kernel::vector::Reals;
use crate::ops::axes::{Axes, least};
use crate::ops::{Extent, extents, filled, for_each, slice, threads};

/// Replace attention with enough queries that packing its keys and values pays.
///
/// `model` is decluttered, which leaves nothing but a sum between the two products and the softmax.
///
/// # Errors
/// tract's, when the new graph can't be built.
pub fn attention(model: &mut TypedModel, cpu: Cpu) -> TractResult<()> {
    Rewriter::default()
        .with_rule_for("attention", move |(), model, node, name, op| {
            replaced(cpu, model, node, name, op)
        })
        .rewrite(&(), model)
}

/// From the second product back to the first.
fn replaced(
    cpu: Cpu,
    model: &TypedModel,
    node: &TypedNode,
    name: &str,
    op: &EinSum,
) -> TractResult<Option<TypedModelPatch>> {
    rule_if_some!(weighing = Axes::real(model, node, op)?);
    let softmax = |outlet: &OutletId| model.node(outlet.node).op_is::<Softmax>();
    let weighing = match node.inputs.iter().position(softmax) {
        Some(0) => weighing,
        Some(_) => weighing.turned(),
        None => return Ok(None),
    };
    let (weights, others): (TVec<_>, TVec<_>) = node.inputs.iter().copied().partition(softmax);
    let (&[weights], &[values]) = (&*weights, &*others) else {
        return Ok(None);
    };
    let alone =
        |outlet| model.outlet_successors(outlet).len() == 1 && !model.outputs.contains(&outlet);
    let of_scores = |outlet: OutletId| {
        let node = model.node(outlet.node);
        (alone(outlet) && node.op_is::<EinSum>()).then_some(node)
    };
    rule_if!(alone(weights));
    let softmax = model.node(weights.node);
    rule_if_some!(op = softmax.op_as::<Softmax>());
    let &[axis] = &*op.axes else {
        return Ok(None);
    };
    rule_if!(op.kind == SoftmaxKind::Softmax);
    let sum = model.node(softmax.inputs[0].node);
    let (product, mask) = match (sum.op.name().as_ref(), &*sum.inputs) {
        ("Add", &[a, b]) => match (of_scores(a), of_scores(b)) {
            (Some(product), _) => (product, Some(b)),
            (None, Some(product)) => (product, Some(a)),
            (None, None) => return Ok(None),
        },
        _ => (sum, None),
    };
    rule_if!(alone(softmax.inputs[0]));
    rule_if_some!(op = product.op_as::<EinSum>());
    rule_if_some!(scoring = Axes::real(model, product, op)?);
    let [queries, keys] = [0, 1].map(|i| product.inputs[i]);
    let mut inputs = tvec!(queries, keys, values);
    inputs.extend(mask);
    let facts = inputs.iter().map(|i| model.outlet_fact(*i));
    let facts = facts.collect::<TractResult<TVec<_>>>()?;
    let scores = &model.outlet_fact(softmax.inputs[0])?.shape;
    rule_if!(model.outlet_fact(product.id.into())?.shape == *scores);
    if let Some(mask) = facts.get(3) {
        let fits = |(mask, scores): (&TDim, &TDim)| mask == scores || *mask == 1.to_dim();
        rule_if!(mask.datum_type == DatumType::F32 && mask.rank() == scores.rank());
        rule_if!(mask.shape.iter().zip(scores.iter()).all(fits));
        rule_if!(mask.shape[axis] == scores[axis]);
    }
    let out = &model.outlet_fact(node.id.into())?.shape;
    rule_if_some!(op = Attention::new(cpu, scoring, weighing, axis, out));
    let enough = |letter: char, of: usize, count: usize| {
        let at = op.letters[of].iter().position(|l| *l == letter);
        at.is_some_and(|at| least(&facts[of].shape[at]) >= count)
    };
    rule_if!(enough(op.row, 0, 24) && enough(op.key, 1, LANES));
    let mut patch = TypedModelPatch::default();
    let inputs = patch.taps(model, &inputs)?;
    let outlet = patch.wire_node(name, op, &inputs)?[0];
    patch.shunt_outside(model, node.id.into(), outlet)?;
    Ok(Some(patch))
}

/// Inputs: queries, keys, values, and a mask if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Attention {
    cpu: Cpu,
    /// Letters of queries, keys, values, the mask and the output, a dimension each.
    letters: [Vec<char>; 5],
    /// Of dimensions that the keys or the values have too.
    outer: Vec<char>,
    row: char,
    depth: char,
    key: char,
    /// Innermost in the output.
    value: char,
    shape: Vec<Extent>,
}

impl Attention {
    /// From the two products: `weighing`'s first input are the scores, whose dimension `axis`
    /// softmax makes 1.
    fn new(cpu: Cpu, scoring: Axes, weighing: Axes, axis: usize, output: &[TDim]) -> Option<Self> {
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
    fn along(&self, letter: char, shapes: &[&[usize]; 5]) -> TractResult<Along> {
        let mut along = Along {
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
        Ok(along)
    }
}

/// A loop, and its steps in queries, keys, values, mask and output.
#[derive(Debug, Clone, Copy)]
struct Along {
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
                    let mask = self.mask.map(|(mask, step)| {
                        let mask = mask.get(row * step..).unwrap_or_default();
                        mask.get(..keys).unwrap_or_default()
                    });
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

compiled_for_each! {
    /// Add the mask to a row of scores, unless it is empty; then each becomes its exponential, over
    /// that of the greatest. `total` becomes their sum.
    fn weigh(scores: &mut [f32], mask: &[f32], total: &mut f32) = weigh_body
}

#[inline(always)]
fn weigh_body<V: Reals, const FMA: bool>(scores: &mut [f32], mask: &[f32], total: &mut f32) {
    let (whole, rest) = scores.as_chunks_mut::<LANES>();
    let mut last = [f32::NEG_INFINITY; LANES];
    last[..rest.len()].copy_from_slice(rest);
    let mut highest = [f32::NEG_INFINITY; LANES];
    let (masks, mask_rest) = mask.as_chunks::<LANES>();
    let mut last_mask = [0.0; LANES];
    last_mask[..mask_rest.len()].copy_from_slice(mask_rest);
    for (scores, mask) in whole.iter_mut().zip(masks) {
        add(scores, mask);
    }
    add(&mut last, &last_mask);
    for scores in whole.iter().chain([&last]) {
        for lane in 0..LANES {
            let x = scores[lane];
            highest[lane] = if x > highest[lane] { x } else { highest[lane] };
        }
    }
    let highest = highest.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0f32; LANES];
    for scores in whole {
        for lane in 0..LANES {
            scores[lane] = exp::<FMA>(scores[lane] - highest);
            sums[lane] += scores[lane];
        }
    }
    for lane in 0..LANES {
        last[lane] = exp::<FMA>(last[lane] - highest);
    }
    *total = sums.iter().sum();
    for (score, exp) in rest.iter_mut().zip(last) {
        *score = exp;
        *total += exp;
    }
}

#[inline(always)]
fn add(to: &mut [f32; LANES], values: &[f32; LANES]) {
    for lane in 0..LANES {
        to[lane] += values[lane];
    }
}

/// e to the power of `x`, which is 0 or less, within some 1e-7 of it; what is less than 1e-38
/// becomes that.
///
/// The polynomial is Cephes' (expf), within half a power of two.
#[inline(always)]
fn exp<const FMA: bool>(x: f32) -> f32 {
    // NaN stays.
    let x = if x < -87.0 { -87.0 } else { x };
    // A whole number in the lowest bits.
    let shifted = multiply_add::<FMA>(x, std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    let r = multiply_add::<FMA>(n, -0.693_359_4, x);
    let r = multiply_add::<FMA>(n, 2.121_944_4e-4, r);
    let terms = [
        1.987_569_1e-4,
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ];
    let sum = polynomial::<FMA, 6>(terms, r);
    let power = multiply_add::<FMA>(sum, r * r, r) + 1.0;
    let scale = (shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits());
    power * f32::from_bits(scale)
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
        let outer = outer.collect::<TractResult<Vec<Along>>>()?;
        let [row, depth, key, value] = [self.row, self.depth, self.key, self.value];
        let [row, depth, key, value] = [along(&row)?, along(&depth)?, along(&key)?, along(&value)?];
        let [queries, keys, values] = [slice(queries)?, slice(keys)?, slice(values)?];
        let mask = mask.map(|m| slice::<f32>(m)).transpose()?;
        let cpu = self.cpu;
        let out = filled::<f32>(&shape, |out| {
            if key.count == 0 {
                // A sum over nothing.
                out.fill(0.0);
                return Ok(());
            }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tract_core::ops::math::add;

    use super::*;
    use crate::tests::noise;

    /// Two products, their shapes, and the mask's when there is one.
    struct Case {
        scoring: &'static str,
        weighing: &'static str,
        queries: Vec<usize>,
        keys: Vec<usize>,
        values: Vec<usize>,
        mask: Option<Vec<usize>>,
        axis: usize,
    }

    impl Case {
        fn shapes(&self) -> Vec<&[usize]> {
            let three = [&*self.queries, &*self.keys, &*self.values].into_iter();
            three.chain(self.mask.as_deref()).collect()
        }

        fn inputs(&self, seed: u32) -> Vec<Tensor> {
            let tensor = |(i, shape): (usize, &&[usize])| {
                let values = noise(shape.iter().product(), seed ^ i as u32);
                let values: Vec<f32> = values.iter().map(|v| v * 3.0).collect();
                Tensor::from_shape(shape, &values).unwrap()
            };
            self.shapes().iter().enumerate().map(tensor).collect()
        }

        /// The graph as tract has it, and with our operator if it is wanted.
        fn model(&self, own: Option<Cpu>) -> TypedModel {
            let mut model = TypedModel::default();
            let sources: Vec<OutletId> = (self.shapes().iter().enumerate())
                .map(|(i, s)| model.add_source(format!("{i}"), f32::fact(*s)).unwrap())
                .collect();
            let product = |axes: &str| EinSum::new(axes.parse().unwrap(), f32::datum_type());
            let mut at = model
                .wire_node("scores", product(self.scoring), &sources[..2])
                .unwrap();
            if let Some(mask) = sources.get(3) {
                at = model.wire_node("sum", add(), &[*mask, at[0]]).unwrap();
            }
            let softmax = Softmax::new(tvec!(self.axis), None, SoftmaxKind::Softmax);
            at = model.wire_node("softmax", softmax, &at).unwrap();
            let values_first = self.weighing.starts_with("hnv");
            let inputs = match values_first {
                true => [sources[2], at[0]],
                false => [at[0], sources[2]],
            };
            at = model
                .wire_node("out", product(self.weighing), &inputs)
                .unwrap();
            model.select_output_outlets(&at).unwrap();
            let mut model = model.into_decluttered().unwrap();
            if let Some(cpu) = own {
                attention(&mut model, cpu).unwrap();
                assert!(model.nodes().iter().any(|n| n.op_is::<Attention>()));
            }
            model
        }

        fn run(&self, own: Option<Cpu>, inputs: &[Tensor]) -> Vec<f32> {
            let plan = self.model(own).into_runnable().unwrap();
            let inputs = inputs.iter().cloned().map(Tensor::into_tvalue).collect();
            let out = plan.run(inputs).unwrap();
            let plain = out[0].try_as_plain_ram().unwrap();
            plain.as_slice::<f32>().unwrap().to_vec()
        }
    }

    fn cases(p: usize, h: usize, m: usize, n: usize, d: usize, v: usize) -> [Case; 3] {
        [
            Case {
                scoring: "mhd,hdn->hmn",
                weighing: "hmn,hnv->mhv",
                queries: vec![m, h, d],
                keys: vec![h, d, n],
                values: vec![h, n, v],
                mask: Some(vec![1, m, n]),
                axis: 2,
            },
            Case {
                scoring: "pmhd,pnhd->phmn",
                weighing: "phmn,pnhv->pmhv",
                queries: vec![p, m, h, d],
                keys: vec![p, n, h, d],
                values: vec![p, n, h, v],
                mask: Some(vec![p, 1, 1, n]),
                axis: 3,
            },
            Case {
                scoring: "hmd,hnd->hmn",
                weighing: "hnv,hmn->hmv",
                queries: vec![h, m, d],
                keys: vec![h, n, d],
                values: vec![h, n, v],
                mask: None,
                axis: 2,
            },
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn attention_is_its_operators_one_after_another(
            p in 2usize..4, h in 2usize..4, m in 24usize..120, n in 16usize..90,
            d in 2usize..40, v in 2usize..40, seed: u32,
        ) {
            for case in cases(p, h, m, n, d, v) {
                let inputs = case.inputs(seed);
                let want = case.run(None, &inputs);
                for cpu in Cpu::supported() {
                    let got = case.run(Some(cpu), &inputs);
                    prop_assert_eq!(got.len(), want.len());
                    for (got, want) in got.iter().zip(&want) {
                        prop_assert!((got - want).abs() < 1e-4, "{}: {} for {}", cpu, got, want);
                    }
                }
            }
        }
    }

    #[test]
    fn neither_company_nor_threads_change_a_bit() {
        let cpu = Cpu::detect().unwrap();
        let [_, many, _] = cases(5, 2, 30, 37, 20, 24);
        let [_, two, _] = cases(2, 2, 30, 37, 20, 24);
        let inputs = many.inputs(7);
        let first: Vec<_> = inputs.iter().map(|t| t.slice(0, 0, 2).unwrap()).collect();
        let all = many.run(Some(cpu), &inputs);
        let alone = two.run(Some(cpu), &first);
        assert_eq!(all[..alone.len()], alone);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
        let threaded = pool.unwrap().install(|| many.run(Some(cpu), &inputs));
        assert_eq!(all, threaded);
    }

    #[test]
    fn what_is_not_finite_is_not_hidden() {
        let [_, _, case] = cases(1, 2, 25, 37, 20, 24);
        let mut inputs = case.inputs(3);
        for flaw in [f32::NAN, f32::INFINITY] {
            inputs[1]
                .try_as_plain_ram_mut()
                .unwrap()
                .as_slice_mut::<f32>()
                .unwrap()[0] = flaw;
            for cpu in Cpu::supported() {
                let out = case.run(Some(cpu), &inputs);
                // Every query of the first head meets the flaw; some have it as minus infinity.
                assert!(out.iter().take(25 * 24).any(|v| v.is_nan()));
                assert!(out.iter().skip(25 * 24).all(|v| v.is_finite()));
            }
        }
    }

    #[test]
    fn few_queries_are_left_alone() {
        let [case, _, _] = cases(2, 2, 23, 37, 20, 24);
        let mut model = case.model(None);
        attention(&mut model, Cpu::detect().unwrap()).unwrap();
        assert!(!model.nodes().iter().any(|n| n.op_is::<Attention>()));
    }

    #[test]
    fn exponentials_are_near() {
        for i in 0..=8_700 {
            let x = -0.01 * i as f32;
            let want = f64::from(x).exp();
            for got in [exp::<true>(x), exp::<false>(x)] {
                assert!((f64::from(got) / want - 1.0).abs() < 2e-7, "{got} for {x}");
            }
        }
        assert!(exp::<false>(f32::NEG_INFINITY) < 1e-37 && exp::<false>(f32::NAN).is_nan());
    }
}
