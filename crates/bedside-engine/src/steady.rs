//! What a graph computes from inputs that seldom change, kept between runs.

use std::collections::HashSet;
use std::sync::Arc;

use tract_core::internal::*;
use tract_core::ops::konst::Const;
use tract_core::ops::source::TypedSource;

use crate::value::Value;

/// A graph in two: what depends on steady inputs alone, and the rest.
pub(crate) struct Split {
    /// Takes the steady inputs; gives all that the rest reads of it.
    pub(crate) early: TypedModel,
    /// Takes all inputs, then what `early` gives.
    pub(crate) late: TypedModel,
    /// Positions of the steady inputs.
    pub(crate) inputs: Vec<usize>,
}

/// Split a graph at what depends on the inputs at `steady` alone; `None` when that is nothing or
/// everything.
pub(crate) fn split(model: &TypedModel, steady: Vec<usize>) -> TractResult<Option<Split>> {
    let inputs = model.input_outlets()?;
    let sources: Vec<OutletId> = steady
        .iter()
        .filter_map(|i| inputs.get(*i).copied())
        .collect();
    // A node that needs another symbol can't run before that is known.
    let mut symbols = Vec::new();
    for source in &sources {
        let shape = &model.outlet_fact(*source)?.shape;
        symbols.extend(shape.iter().flat_map(|d| d.symbols()));
    }
    let mut early: HashSet<usize> = sources.iter().map(|source| source.node).collect();
    let order = model.eval_order()?;
    for id in &order {
        let node = model.node(*id);
        let is_early = |input: &OutletId| early.contains(&input.node);
        let is_const = |input: &OutletId| model.node(input.node).op_is::<Const>();
        let known = |fact: &TypedFact| {
            let mut dims = fact.shape.iter();
            dims.all(|d| d.symbols().iter().all(|s| symbols.contains(s)))
        };
        if node.inputs.iter().any(is_early)
            && node.inputs.iter().all(|i| is_early(i) || is_const(i))
            && node.outputs.iter().all(|o| known(&o.fact))
        {
            early.insert(*id);
        }
    }
    let computed = |node: usize| early.contains(&node) && !model.node(node).op_is::<TypedSource>();
    let mut border = Vec::new();
    for id in order.iter().filter(|id| computed(**id)) {
        for slot in 0..model.node(*id).outputs.len() {
            let outlet = OutletId::new(*id, slot);
            let readers = model.outlet_successors(outlet);
            if model.outputs.contains(&outlet) || readers.iter().any(|r| !early.contains(&r.node)) {
                border.push(outlet);
            }
        }
    }
    let rest = |id: &usize| !early.contains(id) && !model.node(*id).op_is::<Const>();
    if border.is_empty() || !order.iter().any(rest) {
        return Ok(None);
    }
    let mut late = model.clone();
    for outlet in &border {
        let fact = model.outlet_fact(*outlet)?.without_value();
        let name = format!("{}.{}.kept", model.node(outlet.node).name, outlet.slot);
        let source = late.add_source(name, fact)?;
        for reader in model.outlet_successors(*outlet) {
            if !early.contains(&reader.node) {
                late.add_edge(source, *reader)?;
            }
        }
        for output in late.outputs.iter_mut().filter(|o| *o == outlet) {
            *output = source;
        }
    }
    let mut first = model.clone();
    first.inputs = sources;
    first.select_output_outlets(&border)?;
    Ok(Some(Split {
        early: first.into_compact()?,
        late: late.into_compact()?,
        inputs: steady,
    }))
}

/// The early plan of a [`Split`], and what it gave last.
pub(crate) struct Steady {
    pub(crate) state: TypedSimpleState,
    pub(crate) inputs: Vec<usize>,
    /// The steady inputs of the last run, which hold them in memory, and what was made of them.
    last: Option<(Vec<Value>, Vec<Arc<Tensor>>)>,
}

impl Steady {
    pub(crate) fn new(state: TypedSimpleState, inputs: Vec<usize>) -> Self {
        Self {
            state,
            inputs,
            last: None,
        }
    }

    /// The same, with nothing kept yet.
    pub(crate) fn share(&self) -> TractResult<Self> {
        Ok(Self::new(self.state.plan().spawn()?, self.inputs.clone()))
    }

    /// What `run` makes of the steady ones of `inputs`, or made of the very same values before.
    /// `tensors` are the inputs as the plan takes them.
    pub(crate) fn outputs(
        &mut self,
        inputs: &[Value],
        tensors: &[TValue],
        run: impl FnOnce(&mut TypedSimpleState, TVec<TValue>) -> TractResult<TVec<TValue>>,
    ) -> TractResult<Vec<Arc<Tensor>>> {
        let values = self.inputs.iter().filter_map(|i| inputs.get(*i));
        if let Some((last, outputs)) = &self.last
            && values.clone().zip(last).all(|(a, b)| a.is(b))
        {
            return Ok(outputs.clone());
        }
        // What is kept is let go before there is more.
        self.last = None;
        let taken = self.inputs.iter().filter_map(|i| tensors.get(*i).cloned());
        let outputs = run(&mut self.state, taken.collect())?;
        let outputs: Vec<Arc<Tensor>> = outputs
            .into_iter()
            .map(IntoArcTensor::into_arc_tensor)
            .collect();
        self.last = Some((values.cloned().collect(), outputs.clone()));
        Ok(outputs)
    }
}
