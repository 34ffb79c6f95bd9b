//! Layer normalisation, which tract's reader writes as six operators.
#![allow(unsafe_code, reason = "vector instructions that were asked for")]

use std::sync::Arc;

use tract_core::internal::*;
use tract_core::ops::nn::{Reduce, Reducer, RmsNorm};

use crate::kernel::cpu::{Cpu, compiled_for_each};
use crate::kernel::lanes::{LANES, multiply_add};
use crate::kernel::vector::Reals;
use crate::ops::{filled, for_blocks, slice};
use crate::passes::project::{Fused, is_row};

/// Every row, less its mean and over its deviation, then scaled and shifted by column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Norm {
    cpu: Cpu,
    plan: Arc<Plan>,
}

#[derive(Debug, PartialEq)]
struct Plan {
    epsilon: f32,
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Eq for Norm {}

impl Norm {
    /// The normalisation that begins with a node: sum, mean, difference, root mean square, scale
    /// and shift of an f32 tensor's innermost dimension.
    pub(crate) fn at(model: &TypedModel, node: &TypedNode, cpu: Cpu) -> TractResult<Option<Fused>> {
        let input = match (node.op_as::<Reduce>(), &*node.inputs) {
            (Some(op), [input]) if op.reducer == Reducer::Sum => *input,
            _ => return Ok(None),
        };
        let fact = model.outlet_fact(input)?;
        let Some(last) = fact.rank().checked_sub(1) else {
            return Ok(None);
        };
        let over_rows = node.op_as::<Reduce>().is_some_and(|op| *op.axes == [last]);
        let width = fact.shape.get(last).and_then(|d| d.to_usize().ok());
        let Some(width) = width.filter(|w| *w > 0) else {
            return Ok(None);
        };
        if !over_rows || fact.datum_type != DatumType::F32 {
            return Ok(None);
        }
        // Each is read by the next alone.
        let next = |node: &TypedNode| match &*node.outputs {
            [out] if !model.outputs.contains(&node.id.into()) => match &*out.successors {
                [one] => Some(model.node(one.node)),
                _ => None,
            },
            _ => None,
        };
        let constant = |node: &TypedNode| {
            let values = node.inputs.iter().map(|i| model.outlet_fact(*i));
            values.filter_map(|f| f.ok()?.konst.clone()).next()
        };
        let Some(mean) = next(node).filter(|n| n.op.name() == "Mul") else {
            return Ok(None);
        };
        let inverse = constant(mean).filter(|c| c.len() == 1);
        let inverse = inverse.map(|c| c.cast_to_scalar::<f32>()).transpose()?;
        let is_mean = inverse.is_some_and(|i| (i * width as f32 - 1.0).abs() < 1e-5);
        let less = |n: &&TypedNode| n.op.name() == "Sub" && *n.inputs == [input, mean.id.into()];
        let Some(difference) = next(mean).filter(less).filter(|_| is_mean) else {
            return Ok(None);
        };
        let Some(normal) = next(difference) else {
            return Ok(None);
        };
        let Some(op) = normal.op_as::<RmsNorm>().filter(|op| op.axis == last) else {
            return Ok(None);
        };
        let row = |node: &TypedNode, name: &str| {
            let same = node.op.name() == name
                && model.outlet_fact(node.id.into()).ok()?.shape == fact.shape;
            let row = constant(node).filter(|c| same && is_row(c, width))?;
            Some(
                row.try_as_plain_ram()
                    .ok()?
                    .as_slice::<f32>()
                    .ok()?
                    .to_vec(),
            )
        };
        let mut taken = vec![mean.id, difference.id, normal.id];
        let mut plan = Plan {
            epsilon: op.eps.cast_to_scalar::<f32>()?,
            scale: vec![1.0; width],
            shift: vec![0.0; width],
        };
        if let Some((node, scale)) = next(normal).and_then(|n| Some((n, row(n, "Mul")?))) {
            plan.scale = scale;
            taken.push(node.id);
            if let Some((node, shift)) = next(node).and_then(|n| Some((n, row(n, "Add")?))) {
                plan.shift = shift;
                taken.push(node.id);
            }
        }
        let end = taken.last().copied().unwrap_or(normal.id).into();
        let plan = Arc::new(plan);
        Ok(Some(Fused {
            op: Box::new(Self { cpu, plan }),
            inputs: vec![input],
            taken,
            end,
            same: None,
        }))
    }
}

impl Op for Norm {
    fn name(&self) -> StaticName {
        "Norm".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Norm {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let values = slice::<f32>(&input)?;
        let width = self.plan.scale.len();
        let out = filled::<f32>(input.shape(), |out| {
            let block = 8192_usize.div_ceil(width) * width;
            for_blocks(out, block, |index, out| {
                let rows = values.get(index * block..).unwrap_or_default();
                normalise(self.cpu.simd, &self.plan, rows, out);
            });
            Ok(())
        })?;
        Ok(tvec!(out))
    }
}

impl TypedOp for Norm {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }

    as_op!();
}

compiled_for_each! {
    fn normalise(plan: &Plan, rows: &[f32], out: &mut [f32]) = normalise_body
}

#[inline(always)]
fn normalise_body<V: Reals, const FMA: bool>(plan: &Plan, rows: &[f32], out: &mut [f32]) {
    let width = plan.scale.len();
    for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let mean = sum_of_powers::<1>(row, 0.0) / width as f32;
        let variance = sum_of_powers::<2>(row, mean) / width as f32;
        let factor = (variance + plan.epsilon).sqrt().recip();
        let columns = plan.scale.iter().zip(&plan.shift);
        for ((out, x), (scale, shift)) in out.iter_mut().zip(row).zip(columns) {
            *out = multiply_add::<FMA>((x - mean) * factor, *scale, *shift);
        }
    }
}

/// Sum of the first or second power of each value less `mean`, sixteen side by side.
#[inline(always)]
fn sum_of_powers<const POWER: usize>(values: &[f32], mean: f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += power::<POWER>(x - mean);
    }
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += power::<POWER>(chunk[lane] - mean);
        }
    }
    sums.iter().sum()
}

#[inline(always)]
fn power<const POWER: usize>(x: f32) -> f32 {
    if POWER == 1 { x } else { x * x }
}
