//! Products with constant weights in tract's decluttered graph become this crate's.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tract_core::internal::*;
use tract_core::ops::dummy::Dummy;
use tract_core::ops::einsum::EinSum;
use tract_core::ops::element_wise::ElementWiseOp;
use tract_core::ops::konst::Const;
use tract_core::ops::nn::GeluExact;

use crate::kernel::cpu::Cpu;
use crate::kernel::epilogue::Epilogue;
use crate::kernel::lanes::LANES;
use crate::kernel::product::F32Panels;
use crate::ops::axes::Axes;
use crate::ops::extents;
use crate::ops::matmul::MatMul;
use crate::ops::projection::{Projection, ProjectionPlan};
use crate::ops::relayout::Relayout;
use crate::ops::view::View;
use crate::passes::norm::norm;
use crate::passes::{Constants, Stored};

/// Replace f32 products of an activation's innermost dimensions with constant weights, with the
/// bias, the limits or the GELU, and the sum that follow them; products of two activations; layer
/// normalisations; and moves between the two layouts of an image.
///
/// `model` is decluttered, which writes every such product as an EinSum. It is taken apart on the
/// way, so that no weights are held twice. What is stored of `constants` is packed from there.
///
/// # Errors
/// tract's, when the new graph can't be built.
pub(crate) fn project(
    mut model: TypedModel,
    constants: &Constants<'_>,
    cpu: Cpu,
) -> TractResult<TypedModel> {
    let mut target = TypedModel {
        symbols: model.symbols.clone(),
        ..TypedModel::default()
    };
    let mut wired: HashMap<OutletId, OutletId> = HashMap::new();
    let mut done = HashSet::new();
    // Outlets that have become the same as one before them.
    let mut same = HashMap::new();
    for input in model.input_outlets()? {
        if constants.source(&model, input.node).is_some() {
            // Wired where it is read, if it is.
            continue;
        }
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
        if node.op_is::<Const>() || constants.source(&model, id).is_some() {
            // Wired where it is read, if it is.
            continue;
        }
        if let Some(found) = FusedProjection::at(&model, node, &wired, constants, cpu)? {
            let inputs = found.inputs.iter().filter_map(|i| wired.get(i).copied());
            let inputs: TVec<OutletId> = inputs.collect();
            let op = Projection(Arc::new(found.plan));
            let outlet = target.wire_node(&node.name, op, &inputs)?[0];
            done.extend(found.taken);
            wired.insert(found.end, outlet);
            release(&mut model, found.weights);
            continue;
        }
        let fused = match matmul(&model, node, cpu)? {
            Some(fused) => Some(fused),
            None => norm(&model, node, cpu)?,
        };
        let inputs = fused.as_ref().map_or(&*node.inputs, |f| &f.inputs).iter();
        let inputs = inputs.map(|i| wire(&model, &mut target, &mut wired, constants, *i));
        let inputs = inputs.collect::<TractResult<TVec<_>>>()?;
        let (op, ends) = match fused {
            Some(fused) => {
                done.extend(fused.taken);
                same.extend(fused.same);
                (fused.op, vec![fused.end])
            }
            None => {
                let ends = (0..node.outputs.len()).map(|slot| OutletId::new(id, slot));
                let op = relayout(&model, node, cpu)?.unwrap_or_else(|| node.op.clone());
                (op, ends.collect())
            }
        };
        let outlets = target.wire_node(&node.name, op, &inputs)?;
        for (end, outlet) in ends.into_iter().zip(outlets) {
            wired.insert(end, outlet);
            if let Some(later) = same.remove(&end) {
                wired.insert(later, outlet);
            }
        }
    }
    let mut outputs = Vec::new();
    for outlet in model.output_outlets()? {
        let new = wire(&model, &mut target, &mut wired, constants, *outlet)?;
        if let Some(label) = model.outlet_label(*outlet) {
            target.set_outlet_label(new, label.to_owned())?;
        }
        outputs.push(new);
    }
    target.select_output_outlets(&outputs)?;
    Ok(target)
}

/// An operator that does the work of several nodes, and gives what the last of them did.
pub(crate) struct Fused {
    pub(crate) op: Box<dyn TypedOp>,
    pub(crate) inputs: Vec<OutletId>,
    pub(crate) taken: Vec<usize>,
    pub(crate) end: OutletId,
    /// An outlet at or behind the end, and one that it makes needless.
    pub(crate) same: Option<(OutletId, OutletId)>,
}

/// The operator for a product of two activations, of parts of them as they lie there, and for the
/// factor that follows it.
fn matmul(model: &TypedModel, node: &TypedNode, cpu: Cpu) -> TractResult<Option<Fused>> {
    let Some(op) = node.op_as::<EinSum>() else {
        return Ok(None);
    };
    let Some(axes) = Axes::real(model, node, op)? else {
        return Ok(None);
    };
    let mut inputs = node.inputs.to_vec();
    let sizes = inputs.iter().map(|i| Ok(&*model.outlet_fact(*i)?.shape));
    let sizes = sizes.collect::<TractResult<Vec<&[TDim]>>>()?;
    let &[a, b] = &*sizes else {
        return Ok(None);
    };
    let shape = &model.outlet_fact(node.id.into())?.shape;
    let Some((mut op, turned)) = MatMul::new(cpu, axes, [a, b], shape) else {
        return Ok(None);
    };
    if turned {
        inputs.reverse();
    }
    for (input, view) in inputs.iter_mut().zip(&mut op.views) {
        if let Some((whole, found)) = View::back(model, *input)? {
            (*input, *view) = (whole, Some(found));
        }
    }
    let end = OutletId::from(node.id);
    let mut fused = Fused {
        op: Box::new(op.clone()),
        inputs,
        taken: Vec::new(),
        end,
        same: None,
    };
    let mut at = end;
    while let [reader] = model.outlet_successors(at)
        && !model.outputs.contains(&at)
    {
        let reader = model.node(reader.node);
        let outlet = OutletId::from(reader.id);
        if reader.op_is::<AxisOp>() {
            at = outlet;
            continue;
        }
        if reader.op.name() == "Mul"
            && let Some(other) = reader.inputs.iter().find(|i| **i != at)
            && let Some(factor) = &model.outlet_fact(*other)?.konst
            && factor.len() == 1
            && model.outlet_fact(outlet)?.shape == model.outlet_fact(at)?.shape
        {
            op.factor = factor.cast_to_scalar::<f32>()?;
            fused.op = Box::new(op);
            fused.taken.push(reader.id);
            fused.same = Some((at, outlet));
        }
        break;
    }
    Ok(Some(fused))
}

/// An outlet of the new graph; constants come into it here.
fn wire(
    model: &TypedModel,
    target: &mut TypedModel,
    wired: &mut HashMap<OutletId, OutletId>,
    constants: &Constants<'_>,
    outlet: OutletId,
) -> TractResult<OutletId> {
    if let Some(found) = wired.get(&outlet) {
        return Ok(*found);
    }
    let node = model.node(outlet.node);
    let op = match constants.source(model, outlet.node) {
        Some(stored) => Box::new(Const::new(Arc::new(stored.tensor()?))?),
        None => node.op.clone(),
    };
    ensure!(op.is::<Const>(), "{outlet:?} is not there yet");
    let new = target.wire_node(&node.name, op, &[])?[0];
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
fn relayout(
    model: &TypedModel,
    node: &TypedNode,
    cpu: Cpu,
) -> TractResult<Option<Box<dyn TypedOp>>> {
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
        cpu,
        to_nhwc,
        code: None,
        out: None,
    })))
}

/// A product and what is computed with it.
struct FusedProjection {
    plan: ProjectionPlan,
    /// The activation, and what is added.
    inputs: Vec<OutletId>,
    weights: OutletId,
    taken: Vec<usize>,
    end: OutletId,
}

impl FusedProjection {
    fn at(
        model: &TypedModel,
        node: &TypedNode,
        wired: &HashMap<OutletId, OutletId>,
        constants: &Constants<'_>,
        cpu: Cpu,
    ) -> TractResult<Option<Self>> {
        let Some(op) = node.op_as::<EinSum>() else {
            return Ok(None);
        };
        let [input, weights] = *node.inputs else {
            return Ok(None);
        };
        let Some(axes) = Axes::real(model, node, op)? else {
            return Ok(None);
        };
        let facts = [model.outlet_fact(input)?, model.outlet_fact(weights)?];
        let stored = constants.at(model, weights);
        let constant = facts[1].konst.as_ref();
        let Some(weights_shape) = facts[1].shape.as_concrete() else {
            return Ok(None);
        };
        if stored.is_none() && constant.is_none() || !wired.contains_key(&input) {
            return Ok(None);
        }
        // Rows as they lie in memory.
        let rows = [&*axes.rows, &*axes.summed].concat();
        let stores = [&*axes.rows, &*axes.columns].concat();
        if !axes.batch.is_empty() || axes.order(0) != rows || axes.order(2) != stores {
            return Ok(None);
        }
        let whole = model.outlet_fact(node.id.into())?.shape.clone();
        let Some(shape) = extents([0, 1, 2].map(|of| &*axes.letters[of]), &whole) else {
            return Ok(None);
        };
        let steps = |role: &[char]| steps(role, &axes.letters[1], weights_shape);
        let (summed, columns) = (steps(&axes.summed), steps(&axes.columns));
        let (depth, width) = (summed.len(), columns.len());
        if width == 0 || depth == 0 {
            return Ok(None);
        }

        let mut bias = vec![0.0; width];
        let mut epilogue = Epilogue::default();
        let mut inputs = vec![input];
        let (mut taken, mut at) = (Vec::new(), OutletId::from(node.id));
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

        let bytes = stored.map(Stored::bytes).transpose()?;
        let values = match (&bytes, constant) {
            (Some(bytes), _) => &**bytes,
            (None, constant) => constant.map_or(&[][..], |c| c.as_bytes()),
        };
        let (values, _) = values.as_chunks::<4>();
        let even = columns.iter().enumerate().all(|(n, at)| n == *at);
        let row = |k: usize, first: usize, to: &mut [f32; LANES]| {
            let row = summed.get(k).and_then(|at| values.get(*at..));
            let row = row.unwrap_or_default();
            let columns = columns.get(first..).unwrap_or_default();
            match row.get(first..).and_then(|row| row.first_chunk()) {
                Some(whole) if even && LANES <= columns.len() => {
                    *to = whole.map(f32::from_ne_bytes);
                }
                _ => {
                    let found = columns.iter().map(|at| row.get(*at));
                    let found = found.map(|v| v.map_or(0.0, |v| f32::from_ne_bytes(*v)));
                    to.iter_mut().zip(found).for_each(|(to, v)| *to = v);
                }
            }
        };
        let panels = F32Panels::of_rows(depth, &bias, row);
        let plan = ProjectionPlan {
            cpu,
            panels,
            epilogue,
            weights: weights_shape.into(),
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
pub(crate) fn is_row(value: &Tensor, width: usize) -> bool {
    value.datum_type() == DatumType::F32
        && value.len() == width
        && value.shape().last() == Some(&width)
}

pub(crate) fn is_gelu(node: &TypedNode) -> bool {
    node.op_as::<ElementWiseOp>()
        .is_some_and(|op| op.0.is::<GeluExact>())
}

/// Where the elements of some dimensions of a tensor lie, the last dimension running fastest.
fn steps(role: &[char], letters: &[char], shape: &[usize]) -> Vec<usize> {
    let mut found = vec![0];
    for letter in role {
        let Some(at) = letters.iter().position(|l| l == letter) else {
            continue;
        };
        let (count, step) = (
            shape.get(at).copied().unwrap_or(1),
            shape
                .get(at + 1..)
                .unwrap_or_default()
                .iter()
                .product::<usize>(),
        );
        let inner = |from: usize| (0..count).map(move |i| from + i * step);
        found = found.into_iter().flat_map(inner).collect();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(expression: &str, a: &[usize], b: &[usize]) -> Option<Axes> {
        let dims = |s: &[usize]| s.iter().map(|d| d.to_dim()).collect::<TVec<TDim>>();
        Axes::new(expression, [&dims(a), &dims(b)])
    }

    fn letters(roles: [&[char]; 4]) -> [String; 4] {
        roles.map(|role| role.iter().collect())
    }

    #[test]
    fn letters_are_sorted_by_what_they_do() {
        let roles = |expression, a: &[usize], b: &[usize]| {
            let axes = found(expression, a, b)?;
            let roles: [&[char]; 4] = [&axes.batch, &axes.rows, &axes.summed, &axes.columns];
            Some(letters(roles).map(|s| s.to_owned()))
        };
        let of = |roles: [&str; 4]| Some(roles.map(str::to_owned));
        assert_eq!(
            roles("mk,kn->mn", &[2, 3], &[3, 4]),
            of(["", "m", "k", "n"])
        );
        // Of size 1, a letter does nothing wherever it stands.
        assert_eq!(
            roles("mak,nk->mn", &[2, 1, 3], &[4, 3]),
            of(["", "m", "k", "n"])
        );
        assert_eq!(
            roles("abmk,anbk->abn", &[2, 4, 1, 3], &[2, 5, 4, 3]),
            of(["ab", "", "k", "n"])
        );
        assert_eq!(
            roles("mk,bkan->man", &[2, 3], &[1, 3, 6, 7]),
            of(["", "m", "k", "an"])
        );
        // A sum over one input alone, a diagonal, and sizes that differ are no products.
        assert_eq!(roles("mak,nk->mn", &[2, 5, 3], &[4, 3]), None);
        assert_eq!(roles("mmk,kn->mn", &[2, 2, 3], &[3, 4]), None);
        assert_eq!(roles("mk,kn->mn", &[2, 1], &[3, 4]), None);
    }

    #[test]
    fn steps_run_over_the_last_dimension_first() {
        assert_eq!(
            steps(&['b', 'k'], &['n', 'b', 'k'], &[9, 2, 3]),
            [0, 1, 2, 3, 4, 5]
        );
        assert_eq!(steps(&['n'], &['n', 'b', 'k'], &[2, 2, 3]), [0, 6]);
        assert_eq!(steps(&[], &['n'], &[2]), [0]);
    }
}
