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

use crate::cpu::{Cpu, compiled_for_each};
use crate::epilogue::{Epilogue, Quant};
use crate::lanes::{LANES, lanes};
use crate::ops::{CODES, block_rows, filled, for_blocks, slice, threads};
use crate::product::{I8Panels, Rows, product_u8};
use crate::project::{is_gelu, is_row};

/// The longest row whose sums and offsets together stay within i32, whatever the codes.
const DEEPEST: usize = 1 << 15;

/// Replace products of an activation, quantized as it comes, with constant i8 weights of zero
/// point 0. Decluttering the model then puts the bias, the limits or the GELU, and the sum that
/// follow a product into its operator.
///
/// The results are those of the ONNX operators bit for bit, but where the activation holds what is
/// not finite: then no result is finite, while codes would hide it.
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
    let op = DynamicProduct(Arc::new(Plan {
        cpu,
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
        let zero = (-self.low / scale).clamp(0.0, 255.0).round_ties_even();
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
fn widen_body<const ROWS: usize, const PANELS: usize, const FMA: bool>(
    values: &[f32],
    range: &mut Range,
) {
    // Each is a vector or two, and waits for no other.
    const SIDE: usize = 4 * LANES;
    let (mut low, mut high, mut flaw) = ([0.0f32; SIDE], [0.0f32; SIDE], [0.0f32; SIDE]);
    let mut take = |values: &[f32; SIDE]| {
        for lane in 0..SIDE {
            let x = values[lane];
            low[lane] = if x < low[lane] { x } else { low[lane] };
            high[lane] = if x > high[lane] { x } else { high[lane] };
            flaw[lane] += x * 0.0;
        }
    };
    let (whole, rest) = values.as_chunks::<SIDE>();
    whole.iter().for_each(&mut take);
    let mut last = [0.0; SIDE];
    last.iter_mut().zip(rest).for_each(|(l, r)| *l = *r);
    take(&last);
    for ((low, high), flaw) in low.into_iter().zip(high).zip(flaw) {
        *range = range.with(Range { low, high, flaw });
    }
}

compiled_for_each! {
    /// Codes of `rows`, each filled up to a multiple of four.
    fn encode(code: Quant, rows: &[f32], depth: usize, codes: &mut [u8]) = encode_body
}

#[inline(always)]
fn encode_body<const ROWS: usize, const PANELS: usize, const FMA: bool>(
    code: Quant,
    rows: &[f32],
    depth: usize,
    codes: &mut [u8],
) {
    let codes = codes.chunks_exact_mut(depth.next_multiple_of(4));
    for (row, codes) in rows.chunks_exact(depth).zip(codes) {
        for (real, code_) in row.iter().zip(codes) {
            *code_ = code.quantize(*real);
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
        let input = slice::<f32>(&inputs[0])?;
        let residual = inputs.get(1).map(|r| slice::<f32>(r)).transpose()?;
        let mut shape = inputs[0].shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.0.scales.len();
        }
        let out = filled(&shape, |out| {
            self.0.run(input, residual.unwrap_or_default(), out);
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
