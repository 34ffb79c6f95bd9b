//! A part of a tensor, read where it lies.

use tract_core::internal::*;
use tract_core::ops::array::Gather;

/// Elements that lie together in a tensor, in a shape of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    start: usize,
    shape: TVec<usize>,
}

impl View {
    /// Follow an outlet back over operators that pick one index of an outermost dimension or only
    /// change the shape; -> the outlet of a larger tensor, and where in it this one lies. `None`
    /// where nothing is picked.
    pub(crate) fn back(
        model: &TypedModel,
        outlet: OutletId,
    ) -> TractResult<Option<(OutletId, Self)>> {
        let Some(shape) = concrete(model, outlet)? else {
            return Ok(None);
        };
        let (mut at, mut start, mut found) = (outlet, 0, None);
        loop {
            let node = model.node(at.node);
            let Some(input) = node.inputs.first().copied() else {
                break;
            };
            let Some(whole) = concrete(model, input)? else {
                break;
            };
            match (node.op_as::<AxisOp>(), node.op_as::<Gather>()) {
                (Some(AxisOp::Add(_) | AxisOp::Rm(_) | AxisOp::Reshape(..)), _) => {}
                (_, Some(gather)) => match picked(model, node, gather, &whole)? {
                    Some(elements) => {
                        start += elements;
                        found = Some(input);
                    }
                    None => break,
                },
                _ => break,
            }
            at = input;
        }
        Ok(found.map(|outlet| (outlet, Self { start, shape })))
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The part's elements among those of the whole.
    pub(crate) fn of<'a, T>(&self, whole: &'a [T]) -> Option<&'a [T]> {
        let end = self.start + self.shape.iter().product::<usize>();
        whole.get(self.start..end)
    }
}

fn concrete(model: &TypedModel, outlet: OutletId) -> TractResult<Option<TVec<usize>>> {
    let shape = &model.outlet_fact(outlet)?.shape;
    Ok(shape.as_concrete().map(|s| s.into()))
}

/// The elements before what a Gather picks, when that lies together: one index of a dimension with
/// none but ones before it.
fn picked(
    model: &TypedModel,
    node: &TypedNode,
    gather: &Gather,
    shape: &[usize],
) -> TractResult<Option<usize>> {
    let Some(indices) = node.inputs.get(1) else {
        return Ok(None);
    };
    let indices = model.outlet_fact(*indices)?.konst.clone();
    let Some(index) = indices.filter(|i| i.len() == 1) else {
        return Ok(None);
    };
    let index = index.cast_to_scalar::<i64>()?;
    let (Some(before), Some(count), Some(inner)) = (
        shape.get(..gather.axis),
        shape.get(gather.axis),
        shape.get(gather.axis + 1..),
    ) else {
        return Ok(None);
    };
    let index = match index {
        0.. => usize::try_from(index).ok(),
        _ => count.checked_add_signed(isize::try_from(index)?),
    };
    let index = index.filter(|i| i < count && before.iter().all(|d| *d == 1));
    Ok(index.map(|i| i * inner.iter().product::<usize>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Picks `indices` one after the other from a [1, 3, 2, 4] tensor, the first along `axis`, and
    /// names the node that the view reaches back to.
    fn back(axis: usize, indices: [i64; 2]) -> (String, usize, Vec<usize>) {
        let mut model = TypedModel::default();
        let mut at = model.add_source("x", f32::fact([1, 3, 2, 4])).unwrap();
        let index = |i: i64| Tensor::from(i);
        for (i, (axis, picked)) in [axis, 1].into_iter().zip(indices).enumerate() {
            let picked = model.add_const(format!("i{i}"), index(picked)).unwrap();
            let op = Gather::new(axis);
            at = model.wire_node(format!("g{i}"), op, &[at, picked]).unwrap()[0];
        }
        let (outlet, view) = View::back(&model, at).unwrap().unwrap();
        let name = model.node(outlet.node).name.clone();
        (name, view.start, view.shape.to_vec())
    }

    #[test]
    fn only_what_lies_together_is_seen() {
        // Of [1, 3, 2, 4], the second of three and then the last of two.
        assert_eq!(back(1, [1, -1]), ("x".to_owned(), 12, vec![1, 4]));
        assert_eq!(back(1, [-1, 0]), ("x".to_owned(), 16, vec![1, 4]));
        // The first pick is of a dimension that others lie around.
        assert_eq!(back(2, [1, 0]), ("g0".to_owned(), 0, vec![1, 4]));
    }
}
