//! Products of activations with constant weights.

use std::sync::Arc;

use tract_core::internal::*;

use crate::kernel::cpu::Cpu;
use crate::kernel::epilogue::Epilogue;
use crate::kernel::product::{F32Panels, Rows, product_f32};
use crate::ops::{Extent, block_rows, filled, for_blocks, slice};

/// A product with constant weights over the innermost dimensions, with all that follows it.
#[derive(Debug)]
pub(crate) struct ProjectionPlan {
    pub(crate) cpu: Cpu,
    pub(crate) panels: F32Panels,
    pub(crate) epilogue: Epilogue,
    /// Shape of the weights as the graph had them.
    pub(crate) weights: TVec<usize>,
    pub(crate) shape: Vec<Extent>,
}

/// See [`ProjectionPlan`]. Inputs: the activation, and what is added if anything is.
#[derive(Debug, Clone)]
pub(crate) struct Projection(pub(crate) Arc<ProjectionPlan>);

impl PartialEq for Projection {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Projection {}

impl ProjectionPlan {
    fn shape<D: Clone + From<usize>>(&self, input: &[D]) -> TVec<D> {
        let weights: TVec<D> = self.weights.iter().map(|d| (*d).into()).collect();
        let extent = |extent: &Extent| extent.of(input, &weights);
        self.shape.iter().map(extent).collect()
    }
}

impl Op for Projection {
    fn name(&self) -> StaticName {
        "Projection".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        let ProjectionPlan { cpu, panels, .. } = &*self.0;
        Ok(vec![format!(
            "{cpu} {} to {}",
            panels.depth(),
            panels.width()
        )])
    }

    op_as_typed_op!();
}

impl EvalOp for Projection {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let plan = &*self.0;
        let input = slice::<f32>(&inputs[0])?;
        let added = inputs
            .get(1)
            .map(|r| slice::<f32>(r))
            .transpose()?
            .unwrap_or_default();
        let (depth, width) = (plan.panels.depth(), plan.panels.width());
        let out = filled::<f32>(&plan.shape(inputs[0].shape()), |out| {
            let block = block_rows(out.len() / width, depth.min(512) * size_of::<f32>());
            for_blocks(out, block * width, |index, out| {
                let rows = input.get(index * block * depth..).unwrap_or_default();
                let residual = added.get(index * block * width..).unwrap_or_default();
                let epilogue = &plan.epilogue;
                let rows = Rows {
                    rows,
                    residual,
                    epilogue,
                };
                product_f32(plan.cpu, &plan.panels, &rows, out);
            });
            Ok(())
        })?;
        Ok(tvec!(out))
    }
}

impl TypedOp for Projection {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(DatumType::F32.fact(self.0.shape(&inputs[0].shape))))
    }

    as_op!();
}
