//! Products with constant weights in tract's decluttered graph become this crate's.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tract_core::internal::*;
use tract_core::ops::dummy::Dummy;
use tract_core::ops::einsum::EinSum;
use tract_core::ops::element_wise::ElementWiseOp;
use tract_core::ops::konst::Const;
use tract_core::ops::nn::GeluExact;

use crate::cpu::Cpu;
use crate::epilogue::Epilogue;
use crate::ops::{Extent, Projection, ProjectionPlan, Relayout};
use crate::product::F32Panels;

/// Replace f32 products of an activation's innermost dimensions with constant weights, with the
/// bias, the limits or the GELU, and the sum that follow them; and moves between the two layouts
/// of an image.
///
/// `model` is decluttered, which writes every such product as an EinSum. It is taken apart on the
/// way, so that no weights are held twice.
///
/// # Errors
/// tract's, when the new graph can't be built.
pub fn project(mut model: TypedModel, cpu: Cpu) -> TractResult<TypedModel> {
    let mut target = TypedModel {
        symbols: model.symbols.clone(),
        ..TypedModel::default()
    };
    let mut wired: HashMap<OutletId, OutletId> = HashMap::new();
    let mut done = HashSet::new();
    for input in model.input_outlets()? {
        let name = &model.node(input.node).name;
        let fact = model.outlet_fact(*input)?.clone();
        wired.insert(*input, target.add_source(name, fact)?);
        done.insert(input.node);
    }
    for id in model.eval_order()? {
        if done.contains(&id) {
            continue;
        }
        let node = model.node(id);
        if node.op_is::<Const>() {
            // Wired where it is read, if it is.
            continue;
        }
        if let Some(found) = Found::at(&model, node, &wired, cpu)? {
            let inputs = found.inputs.iter().filter_map(|i| wired.get(i).copied());
            let inputs: TVec<OutletId> = inputs.collect();
            let op = Projection(Arc::new(found.plan));
            let outlet = target.wire_node(&node.name, op, &inputs)?[0];
            done.extend(found.taken);
            wired.insert(found.end, outlet);
            release(&mut model, found.weights);
            continue;
        }
        let inputs = node.inputs.iter();
        let inputs = inputs.map(|i| wire(&model, &mut target, &mut wired, *i));
        let inputs = inputs.collect::<TractResult<TVec<_>>>()?;
        let op = relayout(&model, node)?.unwrap_or_else(|| node.op.clone());
        for (slot, outlet) in target
            .wire_node(&node.name, op, &inputs)?
            .into_iter()
            .enumerate()
        {
            wired.insert(OutletId::new(id, slot), outlet);
        }
    }
    let mut outputs = Vec::new();
    for outlet in model.output_outlets()? {
        let new = wire(&model, &mut target, &mut wired, *outlet)?;
        if let Some(label) = model.outlet_label(*outlet) {
            target.set_outlet_label(new, label.to_owned())?;
        }
        outputs.push(new);
    }
    target.select_output_outlets(&outputs)?;
    Ok(target)
}

/// An outlet of the new graph; constants come into it here.
fn wire(
    model: &TypedModel,
    target: &mut TypedModel,
    wired: &mut HashMap<OutletId, OutletId>,
    outlet: OutletId,
) -> TractResult<OutletId> {
    if let Some(found) = wired.get(&outlet) {
        return Ok(*found);
    }
    let node = model.node(outlet.node);
    ensure!(node.op_is::<Const>(), "{outlet:?} is not there yet");
    let new = target.wire_node(&node.name, node.op.clone(), &[])?[0];
    wired.insert(outlet, new);
    Ok(new)
}

/// Let go of a constant that had one reader.
fn release(model: &mut TypedModel, outlet: OutletId) {
    let readers = model.outlet_successors(outlet).len();
    let node = &mut model.nodes[outlet.node];
    if readers == 1 && node.op_is::<Const>() {
        node.op = Box::new(Dummy::new());
        node.outputs[outlet.slot].fact.konst = None;
    }
}

/// The operator for an axis that is moved past two others in an f32 image, which tract moves
/// element by element on one thread.
fn relayout(model: &TypedModel, node: &TypedNode) -> TractResult<Option<Box<dyn TypedOp>>> {
    let to_nhwc = match node.op_as::<AxisOp>() {
        Some(AxisOp::Move(1, 3)) => true,
        Some(AxisOp::Move(3, 1)) => false,
        _ => return Ok(None),
    };
    let fact = model.outlet_fact(node.inputs[0])?;
    let image = fact
        .shape
        .as_concrete()
        .is_some_and(|s| s.len() == 4 && s[0] == 1);
    if !image || fact.datum_type != DatumType::F32 {
        return Ok(None);
    }
    Ok(Some(Box::new(Relayout {
        to_nhwc,
        code: None,
        out: None,
    })))
}

/// A product and what is computed with it.
struct Found {
    plan: ProjectionPlan,
    /// The activation, and what is added.
    inputs: Vec<OutletId>,
    weights: OutletId,
    taken: Vec<usize>,
    end: OutletId,
}

impl Found {
    fn at(
        model: &TypedModel,
        node: &TypedNode,
        wired: &HashMap<OutletId, OutletId>,
        cpu: Cpu,
    ) -> TractResult<Option<Self>> {
        let Some(op) = node.op_as::<EinSum>() else {
            return Ok(None);
        };
        let [input, weights] = *node.inputs else {
            return Ok(None);
        };
        let facts = [model.outlet_fact(input)?, model.outlet_fact(weights)?];
        let real = facts.iter().all(|f| f.datum_type == DatumType::F32)
            && op.operating_dt == DatumType::F32;
        let (Some(constant), None, true) = (facts[1].konst.as_ref(), op.q_params, real) else {
            return Ok(None);
        };
        let Some((summed, shape)) = axes(&op.axes.to_string()) else {
            return Ok(None);
        };
        // What is summed over must be as long in the activation as in the weights.
        let inner = facts[0].shape.iter().skip(facts[0].rank() - summed);
        let same = inner.zip(constant.shape()).all(|(a, b)| *a == b.to_dim());
        if !same {
            return Ok(None);
        }
        // A dimension that does not come out is summed over: of one alone that says nothing.
        let rows = facts[0].rank() - summed;
        let left = (0..rows).filter(|axis| !shape.contains(&Extent::Of(*axis)));
        if left
            .into_iter()
            .any(|axis| facts[0].shape[axis] != 1.to_dim())
        {
            return Ok(None);
        }
        let width = constant.shape().last().copied().unwrap_or(0);
        let depth = constant.shape().iter().take(summed).product();
        if width == 0 || depth == 0 {
            return Ok(None);
        }

        let mut bias = vec![0.0; width];
        let mut epilogue = Epilogue::default();
        let mut inputs = vec![input];
        let (mut taken, mut at) = (Vec::new(), OutletId::from(node.id));
        let whole = model.outlet_fact(at)?.shape.clone();
        let mut biased = false;
        while let [reader] = model.outlet_successors(at) {
            let reader = model.node(reader.node);
            if model.outputs.contains(&at) || model.outlet_fact(reader.id.into())?.shape != whole {
                break;
            }
            let after = epilogue.gelu || epilogue.clip.is_some();
            let other = reader.inputs.iter().find(|i| **i != at).copied();
            let value = other
                .map(|o| model.outlet_fact(o))
                .transpose()?
                .and_then(|f| f.konst.clone());
            match (reader.op.name().as_ref(), value, other) {
                ("Add", Some(value), _)
                    if !biased && !after && inputs.len() == 1 && is_row(&value, width) =>
                {
                    bias.copy_from_slice(value.try_as_plain_ram()?.as_slice::<f32>()?);
                    biased = true;
                }
                // What is added must be there before the product is.
                ("Add", None, Some(other))
                    if !after
                        && inputs.len() == 1
                        && wired.contains_key(&other)
                        && model.outlet_fact(other)?.shape == whole =>
                {
                    inputs.push(other);
                    epilogue.residual = Some(None);
                }
                ("Max", Some(value), _) if !after && value.len() == 1 => {
                    let low = value.cast_to_scalar::<f32>()?;
                    epilogue.clip = Some((low, f32::INFINITY));
                }
                _ if !after && inputs.len() == 1 && is_gelu(reader) => epilogue.gelu = true,
                _ => break,
            }
            at = reader.id.into();
            taken.push(reader.id);
        }

        let values = constant.try_as_plain_ram()?.as_slice::<f32>()?;
        let weight = |k: usize, n: usize| values.get(k * width + n).copied().unwrap_or(0.0);
        let panels = F32Panels::new(depth, &bias, weight);
        let plan = ProjectionPlan {
            cpu,
            panels,
            epilogue,
            shape,
        };
        Ok(Some(Self {
            plan,
            inputs,
            weights,
            taken,
            end: at,
        }))
    }
}

/// Whether a constant is one value a column.
fn is_row(value: &Tensor, width: usize) -> bool {
    value.datum_type() == DatumType::F32
        && value.len() == width
        && value.shape().last() == Some(&width)
}

fn is_gelu(node: &TypedNode) -> bool {
    node.op_as::<ElementWiseOp>()
        .is_some_and(|op| op.0.is::<GeluExact>())
}

/// How many dimensions "amk,kn->amn" and the like sum over, and what the output's are of.
///
/// The summed dimensions are the activation's innermost and the weights' outermost, in the same
/// order; the weights' other dimension is the output's innermost; what is left of the activation
/// comes out in its order, with dimensions of 1 left out or put in anywhere.
fn axes(expression: &str) -> Option<(usize, Vec<Extent>)> {
    let (inputs, output) = expression.split_once("->")?;
    let (input, weights) = inputs.split_once(',')?;
    let (input, weights): (Vec<char>, Vec<char>) =
        (input.chars().collect(), weights.chars().collect());
    let output: Vec<char> = output.chars().collect();
    let (column, summed) = weights.split_last()?;
    let rows = input.strip_suffix(summed)?;
    let kept = output.strip_suffix(&[*column])?;
    if summed.is_empty() || input.contains(column) || summed.iter().any(|s| output.contains(s)) {
        return None;
    }
    let of = |axis: &char| rows.iter().position(|r| r == axis);
    let from: Vec<usize> = kept.iter().filter_map(of).collect();
    if !from.is_sorted_by(|a, b| a < b) {
        return None;
    }
    let extent = |axis: &char| of(axis).map_or(Extent::One, Extent::Of);
    let shape = kept.iter().map(extent).chain([Extent::Width]).collect();
    Some((summed.len(), shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_products_that_read_rows_as_they_lie_are_taken() {
        use Extent::{Of, One, Width};
        assert_eq!(axes("mk,kn->mn"), Some((1, vec![Of(0), Width])));
        assert_eq!(axes("amk,kn->amn"), Some((1, vec![Of(0), Of(1), Width])));
        assert_eq!(axes("amk,kn->mn"), Some((1, vec![Of(1), Width])));
        assert_eq!(axes("mk,kn->amn"), Some((1, vec![One, Of(0), Width])));
        assert_eq!(axes("ambk,bkn->amn"), Some((2, vec![Of(0), Of(1), Width])));
        for other in [
            "amk,kn->anm",
            "akm,kn->amn",
            "amk,nk->amn",
            "amk,kn->man",
            "amk,akn->amn",
            "ambk,kbn->amn",
            "mn,kn->mn",
        ] {
            assert_eq!(axes(other), None, "{other}");
        }
    }
}
