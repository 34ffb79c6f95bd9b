//! Layer normalisation, which tract's reader writes as six operators.

use std::sync::Arc;

use tract_core::internal::*;
use tract_core::ops::nn::{Reduce, Reducer, RmsNorm};

use crate::kernel::cpu::Cpu;
use crate::kernel::norm::Affine;
use crate::ops::norm::Norm;
use crate::passes::project::{Fused, is_row};

/// The normalisation that begins with a node: sum, mean, difference, root mean square, scale
/// and shift of an f32 tensor's innermost dimension.
pub(crate) fn norm(model: &TypedModel, node: &TypedNode, cpu: Cpu) -> TractResult<Option<Fused>> {
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
        let same =
            node.op.name() == name && model.outlet_fact(node.id.into()).ok()?.shape == fact.shape;
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
    let mut plan = Affine {
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
        op: Box::new(Norm { cpu, plan }),
        inputs: vec![input],
        taken,
        end,
        same: None,
    }))
}
