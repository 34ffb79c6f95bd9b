//! Products whose activation is quantized as it comes: its range is known only at run time.
//!
//! ONNX writes such a product as DynamicQuantizeLinear, MatMulInteger, Cast and Mul. Here it is one
//! operator: a pass over the activation finds its range, then each block of rows is made codes and
//! multiplied while it lies in the nearest caches.
#![allow(unsafe_code, reason = "vector instructions that were asked for")]

use std::sync::Arc;

use rayon::prelude::*;
use tract_core::internal::*;
use tract_core::model::Rewriter;
use tract_core::ops::cast::Cast;
use tract_core::ops::einsum::EinSum;

use crate::kernel::cpu::{Cpu, compiled_for_each};
use crate::kernel::epilogue::{Epilogue, MAGIC, Quant};
use crate::kernel::lanes::{LANES, lanes};
use crate::kernel::product::{I8Panels, Rows, product_u8};
use crate::kernel::vector::Reals;
use crate::ops::{CODES, block_rows, filled, for_blocks, slice, threads};
use crate::passes::project::{is_gelu, is_row};

/// The longest row whose sums and offsets together stay within i32, whatever the codes.
const DEEPEST: usize = 1 << 15;

/// Replace products of an activation, quantized as it comes, with constant i8 weights of zero
/// point 0. Decluttering the model then puts the bias, the limits or the GELU, and the sum that
/// follow a product into its operator.
///
/// The results are those of the ONNX operators bit for bit, but for two things. Where the outermost
/// dimension is a symbol, a batch, each of its items has a range of its own, so that it has the same
/// result in any company: ONNX's of a batch of one. And where an activation holds what is not
/// finite no result is finite; codes would hide it.
///
/// # Errors
/// tract's, when the new graph can't be built.
pub fn dynamic(model: &mut TypedModel, cpu: Cpu) -> TractResult<()> {
    model.prop_consts()?;
    Rewriter::default()
        .with_rule_for("dynamic product", move |(), model, node, name, op| {
            replaced(cpu, model, node, name, op)
        })
        .rewrite(&(), model)
}

fn replaced(
    cpu: Cpu,
    model: &TypedModel,
    node: &TypedNode,
    name: &str,
    op: &EinSum,
) -> TractResult<Option<TypedModelPatch>> {
    let constant = |outlet: OutletId| model.outlet_fact(outlet).ok()?.konst.clone();
    let is = |outlet: OutletId, value: f32| {
        let all = |t: &Tensor| {
            let reals = t.cast_to::<f32>().ok()?;
            let reals = reals.try_as_plain_ram().ok()?;
            Some(reals.as_slice::<f32>().ok()?.iter().all(|v| *v == value))
        };
        constant(outlet).and_then(|t| all(&t)).unwrap_or(false)
    };
    let [
        codes,
        weights,
        bias,
        zero,
        scale,
        zeros,
        scales,
        out_zero,
        out_scale,
    ] = *node.inputs
    else {
        return Ok(None);
    };
    let quantizer = model.node(codes.node);
    let part = |slot| OutletId::new(quantizer.id, slot);
    rule_if!(quantizer.op.name() == "DynamicQuantizeLinearU8");
    rule_if!(codes == part(0) && zero == part(2));
    rule_if!(op.q_params == Some(DatumType::I32) && op.operating_dt == DatumType::I32);
    rule_if!([bias, zeros, out_zero].into_iter().all(|o| is(o, 0.0)));
    rule_if!([scale, scales, out_scale].into_iter().all(|o| is(o, 1.0)));
    rule_if!(of_rows(&op.axes.to_string()));
    rule_if_some!(weights = constant(weights));
    rule_if!(weights.datum_type() == DatumType::I8);
    let (outer, &[depth, width]) = weights.shape().split_at(weights.rank().max(2) - 2) else {
        return Ok(None);
    };
    rule_if!(outer.iter().all(|n| *n == 1) && width > 0 && (1..=DEEPEST).contains(&depth));
    rule_if!(model.outlet_fact(codes)?.shape.last() == Some(&depth.to_dim()));

    rule_if_some!(cast = reader(model, node.id));
    rule_if!(cast.op_as::<Cast>().is_some_and(|c| c.to == DatumType::F32));
    rule_if_some!(scaled = reader(model, cast.id));
    rule_if!(scaled.op.name() == "Mul" && scaled.inputs.len() == 2);
    rule_if_some!(factor = scaled.inputs.iter().find(|i| i.node != cast.id));
    let factor = model.node(plain(model, *factor).node);
    rule_if!(factor.op.name() == "Mul" && factor.inputs.len() == 2);
    let whole = |i: &OutletId| plain(model, *i) == part(1);
    rule_if!(factor.inputs.iter().any(whole));
    rule_if_some!(scales = factor.inputs.iter().find_map(|i| constant(*i)));
    rule_if!(scales.datum_type() == DatumType::F32);
    rule_if!(scales.len() == 1 || scales.shape().last() == Some(&width) && scales.len() == width);

    let weights = weights.try_as_plain_ram()?.as_slice::<i8>()?;
    let scales = match scales.try_as_plain_ram()?.as_slice::<f32>()? {
        [one] => vec![*one; width],
        many => many.to_vec(),
    };
    let panels = I8Panels::new(
        cpu.dot,
        depth.next_multiple_of(4),
        0,
        &vec![0; width],
        |k, n| weights.get(k * width + n).copied().unwrap_or(0),
    );
    let outermost = model.outlet_fact(codes)?.shape.first();
    let op = DynamicProduct(Arc::new(Plan {
        cpu,
        batch: outermost.is_some_and(|n| n.to_usize().is_err()),
        depth,
        panels,
        scales,
        epilogue: Epilogue::default(),
    }));
    let mut patch = TypedModelPatch::default();
    let input = patch.tap_model(model, quantizer.inputs[0])?;
    let outlet = patch.wire_node(name, op, &[input])?[0];
    patch.shunt_outside(model, scaled.id.into(), outlet)?;
    Ok(Some(patch))
}

/// The only node that reads another, when that is no output of the graph.
fn reader(model: &TypedModel, id: usize) -> Option<&TypedNode> {
    match model.outlet_successors(id.into()) {
        [one] if !model.outputs.contains(&id.into()) => Some(model.node(one.node)),
        _ => None,
    }
}

/// An outlet before dimensions of 1 were put outside of its own.
fn plain(model: &TypedModel, mut outlet: OutletId) -> OutletId {
    while let Some(AxisOp::Add(0)) = model.node(outlet.node).op_as() {
        outlet = model.node(outlet.node).inputs[0];
    }
    outlet
}

/// Whether an expression begins "amk,akn" and ends "->amn".
fn of_rows(expression: &str) -> bool {
    let Some((inputs, output)) = expression.split_once("->") else {
        return false;
    };
    let mut inputs = inputs.split(',').map(|i| i.chars().collect::<Vec<_>>());
    let (Some(rows), Some(weights)) = (inputs.next(), inputs.next()) else {
        return false;
    };
    let output: Vec<char> = output.chars().collect();
    match (rows.as_slice(), weights.as_slice(), output.as_slice()) {
        ([outer @ .., m, k], [between @ .., l, n], [all @ .., o, p]) => {
            (outer, m, k, n) == (between, o, l, p) && outer == all && !rows.contains(n)
        }
        _ => false,
    }
}

/// A product with constant weights, and what follows it.
#[derive(Debug, Clone)]
struct Plan {
    cpu: Cpu,
    /// Whether the outermost dimension is of items that know nothing of each other.
    batch: bool,
    /// Length of a row.
    depth: usize,
    /// For codes whose zero is 0, as deep as their fours are.
    panels: I8Panels,
    /// Of each column's weights.
    scales: Vec<f32>,
    /// Its factor is made when the activation's scale is known.
    epilogue: Epilogue,
}

impl Plan {
    /// Of an activation, or of one item of a batch.
    fn run(&self, input: &[f32], residual: &[f32], out: &mut [f32]) {
        let code = Range::of(self.cpu, input).code();
        let factors: Vec<f32> = self.scales.iter().map(|scale| code.scale * scale).collect();
        let epilogue = &Epilogue {
            factor: Some(lanes(&factors)),
            ..self.epilogue.clone()
        };
        let panels = self.panels.with_zero(code.zero);
        let (depth, width) = (self.depth.next_multiple_of(4), self.scales.len());
        let block = block_rows(out.len() / width, depth);
        for_blocks(out, block * width, |index, out| {
            let rows = input.get(index * block * self.depth..).unwrap_or_default();
            let residual = residual.get(index * block * width..).unwrap_or_default();
            CODES.with_borrow_mut(|codes| {
                codes.resize(out.len() / width * depth, 0);
                encode(self.cpu.simd, code, rows, self.depth, codes);
                let rows = Rows {
                    rows: codes,
                    residual,
                    epilogue,
                };
                product_u8(self.cpu, &panels, &rows, out);
            });
        });
    }
}

/// What an activation's values lie between, 0 with them.
#[derive(Debug, Clone, Copy, Default)]
struct Range {
    low: f32,
    high: f32,
    /// 0, or NaN when there was a value that is not finite.
    flaw: f32,
}

impl Range {
    fn of(cpu: Cpu, values: &[f32]) -> Self {
        const BLOCK: usize = 64 << 10;
        let one = |values: &[f32]| {
            let mut range = Self::default();
            widen(cpu.simd, values, &mut range);
            range
        };
        if threads() > 1 && values.len() > BLOCK {
            let parts = values.par_chunks(BLOCK).map(one);
            parts.reduce(Self::default, Self::with)
        } else {
            one(values)
        }
    }

    fn with(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            flaw: self.flaw + other.flaw,
        }
    }

    /// As ONNX's DynamicQuantizeLinear has it; the scale is NaN when a value was not finite.
    fn code(self) -> Quant {
        let scale = match self.high - self.low {
            0.0 => 1.0,
            range => range / 255.0,
        };
        let zero = ((-self.low / scale).clamp(0.0, 255.0) + MAGIC) - MAGIC;
        Quant {
            scale: scale + self.flaw,
            zero: zero as u8,
        }
    }
}

compiled_for_each! {
    /// Make a range one that holds `values` too.
    fn widen(values: &[f32], range: &mut Range) = widen_body
}

#[inline(always)]
fn widen_body<V: Reals, const FMA: bool>(values: &[f32], range: &mut Range) {
    // Each is a vector or two, and waits for no other.
    const SIDE: usize = 4 * LANES;
    let (mut low, mut high, mut flaw) = ([0.0f32; SIDE], [0.0f32; SIDE], [0.0f32; SIDE]);
    let (whole, rest) = values.as_chunks::<SIDE>();
    let mut last = [0.0; SIDE];
    last[..rest.len()].copy_from_slice(rest);
    for values in whole.iter().chain([&last]) {
        for lane in 0..SIDE {
            let x = values[lane];
            low[lane] = if x < low[lane] { x } else { low[lane] };
            high[lane] = if x > high[lane] { x } else { high[lane] };
            flaw[lane] += x * 0.0;
        }
    }
    for ((low, high), flaw) in low.into_iter().zip(high).zip(flaw) {
        *range = range.with(Range { low, high, flaw });
    }
}

compiled_for_each! {
    /// Codes of `rows`, each filled up to a multiple of four.
    fn encode(code: Quant, rows: &[f32], depth: usize, codes: &mut [u8]) = encode_body
}

#[inline(always)]
fn encode_body<V: Reals, const FMA: bool>(
    code: Quant,
    rows: &[f32],
    depth: usize,
    codes: &mut [u8],
) {
    let codes = codes.chunks_exact_mut(depth.next_multiple_of(4));
    for (row, codes) in rows.chunks_exact(depth).zip(codes) {
        for (real, code_) in row.iter().zip(codes) {
            *code_ = code.quantize::<FMA>(*real);
        }
    }
}

/// See [`Plan`]. Inputs: the activation, and what is added if anything is.
#[derive(Debug, Clone)]
struct DynamicProduct(Arc<Plan>);

impl PartialEq for DynamicProduct {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for DynamicProduct {}

impl Op for DynamicProduct {
    fn name(&self) -> StaticName {
        "DynamicProduct".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        let Plan { cpu, depth, .. } = *self.0;
        let width = self.0.scales.len();
        Ok(vec![format!("{cpu} {depth} to {width}")])
    }

    op_as_typed_op!();
}

impl EvalOp for DynamicProduct {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let plan = &*self.0;
        let input = slice::<f32>(&inputs[0])?;
        let residual = inputs.get(1).map(|r| slice::<f32>(r)).transpose()?;
        let residual = residual.unwrap_or_default();
        let mut shape = inputs[0].shape().to_vec();
        let items = match shape.first() {
            Some(items) if plan.batch => *items,
            _ => 1,
        };
        if let Some(last) = shape.last_mut() {
            *last = plan.scales.len();
        }
        let out = filled(&shape, |out| {
            let (reads, writes) = (input.len() / items, out.len() / items);
            let parts = input.chunks(reads).zip(out.chunks_mut(writes));
            for (item, (input, out)) in parts.enumerate() {
                let residual = residual.get(item * writes..).unwrap_or_default();
                plan.run(input, residual, out);
            }
            Ok(())
        })?;
        Ok(tvec!(out))
    }
}

impl TypedOp for DynamicProduct {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut shape = inputs[0].shape.clone();
        shape.set(shape.rank() - 1, self.0.scales.len().to_dim());
        Ok(tvec!(DatumType::F32.fact(shape)))
    }

    /// Takes in one step of what follows.
    fn declutter(
        &self,
        model: &TypedModel,
        node: &TypedNode,
    ) -> TractResult<Option<TypedModelPatch>> {
        rule_if_some!(reader = reader(model, node.id));
        let shape = &model.outlet_fact(node.id.into())?.shape;
        rule_if!(model.outlet_fact(reader.id.into())?.shape == *shape);
        let mut plan = (*self.0).clone();
        let mut inputs = node.inputs.clone();
        let Epilogue {
            bias,
            residual,
            clip,
            gelu,
            ..
        } = &mut plan.epilogue;
        let other = reader.inputs.iter().find(|i| i.node != node.id).copied();
        let other = other.map(|o| Ok((o, model.outlet_fact(o)?)) as TractResult<_>);
        let other = other.transpose()?;
        let constant = other.and_then(|(_, fact): (_, &TypedFact)| fact.konst.as_ref());
        rule_if!(clip.is_none() && !*gelu);
        match (reader.op.name().as_ref(), other, constant) {
            ("Add", _, Some(value))
                if bias.is_none() && residual.is_none() && is_row(value, plan.scales.len()) =>
            {
                *bias = Some(lanes(value.try_as_plain_ram()?.as_slice::<f32>()?));
            }
            ("Add", Some((other, fact)), None) if residual.is_none() && fact.shape == *shape => {
                inputs.push(other);
                *residual = Some(None);
            }
            ("Max", _, Some(value)) if value.len() == 1 => {
                *clip = Some((value.cast_to_scalar::<f32>()?, f32::INFINITY));
            }
            _ if residual.is_none() && is_gelu(reader) => *gelu = true,
            _ => return Ok(None),
        }
        let mut patch = TypedModelPatch::default();
        let inputs = patch.taps(model, &inputs)?;
        let outlet = patch.wire_node(&reader.name, Self(Arc::new(plan)), &inputs)?[0];
        patch.shunt_outside(model, reader.id.into(), outlet)?;
        Ok(Some(patch))
    }

    fn cost(&self, inputs: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        let products = inputs[0].shape.volume() * self.0.scales.len().to_dim();
        Ok(tvec!((Cost::FMA(i32::datum_type()), products)))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::{noise, weights};

    /// The ONNX operators, one after another and element by element.
    struct Written {
        scale: f32,
        zero: i32,
        codes: Vec<i32>,
    }

    impl Written {
        fn out(values: &[f32]) -> Self {
            let low = values.iter().copied().fold(0.0, f32::min);
            let high = values.iter().copied().fold(0.0, f32::max);
            let scale = if high == low {
                1.0
            } else {
                (high - low) / 255.0
            };
            let zero = (-low / scale).clamp(0.0, 255.0).round_ties_even() as i32;
            let code = |x: &f32| ((x / scale).round_ties_even() as i32 + zero).clamp(0, 255);
            let codes = values.iter().map(code).collect();
            Self { scale, zero, codes }
        }
    }

    fn plan(cpu: Cpu, depth: usize, scales: &[f32], weights: &[i8]) -> Plan {
        let width = scales.len();
        let weight = |k: usize, n: usize| weights.get(k * width + n).copied().unwrap_or(0);
        Plan {
            cpu,
            batch: false,
            depth,
            panels: I8Panels::new(
                cpu.dot,
                depth.next_multiple_of(4),
                0,
                &vec![0; width],
                weight,
            ),
            scales: scales.to_vec(),
            epilogue: Epilogue::default(),
        }
    }

    proptest! {
        #[test]
        fn products_are_those_of_the_written_operators(
            m in 1usize..40,
            k in 1usize..300,
            n in 1usize..70,
            kind in 0..5,
            biased: bool,
            added: bool,
            limited: bool,
            seed: u32,
        ) {
            let values: Vec<f32> = noise(m * k, seed).into_iter().map(|x| match kind {
                0 => 3.0 * x,
                1 => x - 1.5,
                2 => x + 40.0,
                3 => -0.7,
                _ => 0.0,
            }).collect();
            let (b, scales) = (weights(k * n, seed ^ 1), noise(n, seed ^ 2));
            let (bias, residual) = (noise(n, seed ^ 3), noise(m * n, seed ^ 4));
            let written = Written::out(&values);
            let want: Vec<f32> = (0..m * n).map(|i| {
                let (row, column) = (i / n, i % n);
                let terms = (0..k).map(|k_| (written.codes[row * k + k_] - written.zero) * i32::from(b[k_ * n + column]));
                let mut v = terms.sum::<i32>() as f32 * (written.scale * scales[column]);
                if biased { v += bias[column]; }
                if added { v += residual[i]; }
                if limited { v = v.max(0.0); }
                v
            }).collect();
            for cpu in Cpu::supported() {
                let mut plan = plan(cpu, k, &scales, &b);
                plan.epilogue = Epilogue {
                    bias: biased.then(|| lanes(&bias)),
                    residual: added.then_some(None),
                    clip: limited.then_some((0.0, f32::INFINITY)),
                    ..Epilogue::default()
                };
                let mut out = vec![f32::NAN; m * n];
                plan.run(&values, &residual, &mut out);
                prop_assert_eq!(&out, &want, "{}", cpu);
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let (m, k, n) = (300, 257, 33);
        let (x, b, scales) = (noise(m * k, 1), weights(k * n, 2), noise(n, 3));
        let plan = plan(Cpu::detect().unwrap(), k, &scales, &b);
        let run = || {
            let mut out = vec![f32::NAN; m * n];
            plan.run(&x, &[], &mut out);
            out
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
        assert_eq!(run(), pool.unwrap().install(run));
    }

    #[test]
    fn what_is_not_finite_is_not_hidden() {
        let (m, k, n) = (5, 70, 20);
        let (b, scales) = (weights(k * n, 2), noise(n, 3));
        for flaw in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 63, 64, m * k - 1] {
                let mut x = noise(m * k, 1);
                x[at] = flaw;
                for cpu in Cpu::supported() {
                    let mut out = vec![0.0; m * n];
                    plan(cpu, k, &scales, &b).run(&x, &[], &mut out);
                    assert!(!out.iter().any(|v| v.is_finite()), "{flaw} at {at}");
                }
            }
        }
    }

    /// The largest sums there are.
    #[test]
    fn the_deepest_sums_do_not_wrap() {
        for (x, want) in [
            (1.0, 255 * DEEPEST as i32 * -128),
            (-1.0, 255 * DEEPEST as i32 * 128),
        ] {
            for cpu in Cpu::supported() {
                let plan = plan(cpu, DEEPEST, &[1.0], &vec![-128; DEEPEST]);
                let mut out = [0.0];
                plan.run(&vec![x; DEEPEST], &[], &mut out);
                assert_eq!(out[0], want as f32 * (1.0 / 255.0), "{cpu}");
            }
        }
    }

    #[test]
    fn only_products_of_rows_are_taken() {
        assert!(of_rows("amk,akn,,,,,,,->amn"));
        assert!(of_rows("mk,kn,,,,n,n,,->mn"));
        assert!(!of_rows("amk,ank->amn"));
        assert!(!of_rows("akm,akn->amn"));
        assert!(!of_rows("amk,bkn->amn"));
    }
}
