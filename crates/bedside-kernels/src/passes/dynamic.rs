//! Products of dynamically quantized activations become one operator.

use std::sync::Arc;

use tract_core::internal::*;
use tract_core::model::Rewriter;
use tract_core::ops::cast::Cast;
use tract_core::ops::einsum::EinSum;

use crate::kernel::cpu::Cpu;
use crate::kernel::epilogue::Epilogue;
use crate::kernel::lanes::LANES;
use crate::kernel::product::{DEEPEST, I8Panels};
use crate::ops::dynamic::{DynamicPlan, DynamicProduct, reader};
use crate::passes::{Constants, Stored};

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
pub(crate) fn dynamic(
    model: &mut TypedModel,
    constants: &Constants<'_>,
    cpu: Cpu,
) -> TractResult<()> {
    model.prop_consts()?;
    Rewriter::<Constants<'_>>::default()
        .with_rule_for(
            "dynamic product",
            move |constants, model, node, name, op| replaced(constants, cpu, model, node, name, op),
        )
        .rewrite(constants, model)
}

fn replaced(
    constants: &Constants<'_>,
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
    let fact = model.outlet_fact(weights)?;
    rule_if!(fact.datum_type == DatumType::I8);
    rule_if_some!(shape = fact.shape.as_concrete());
    let (outer, &[depth, width]) = shape.split_at(shape.len().max(2) - 2) else {
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

    let stored = constants
        .at(model, weights)
        .map(Stored::bytes)
        .transpose()?;
    let copied = constant(weights);
    let weights = match (&stored, &copied) {
        (Some(bytes), _) => &**bytes,
        (None, Some(tensor)) => tensor.as_bytes(),
        (None, None) => return Ok(None),
    };
    let scales = match scales.try_as_plain_ram()?.as_slice::<f32>()? {
        [one] => vec![*one; width],
        many => many.to_vec(),
    };
    let row = |k: usize, n: usize, to: &mut [i8; LANES]| {
        let row = weights.get(k * width + n..(k + 1) * width);
        let codes = row.unwrap_or_default().iter();
        to.iter_mut()
            .zip(codes)
            .for_each(|(to, code)| *to = code.cast_signed());
    };
    let deep = depth.next_multiple_of(4);
    let panels = I8Panels::of_rows(cpu.dot, deep, 0, &vec![0; width], row);
    let outermost = model.outlet_fact(codes)?.shape.first();
    let op = DynamicProduct(Arc::new(DynamicPlan {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_products_of_rows_are_taken() {
        assert!(of_rows("amk,akn,,,,,,,->amn"));
        assert!(of_rows("mk,kn,,,,n,n,,->mn"));
        assert!(!of_rows("amk,ank->amn"));
        assert!(!of_rows("akm,akn->amn"));
        assert!(!of_rows("amk,bkn->amn"));
    }
}
