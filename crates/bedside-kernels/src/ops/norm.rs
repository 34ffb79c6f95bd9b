//! Layer normalisation, which tract's reader writes as six operators.

use std::sync::Arc;

use tract_core::internal::*;

use crate::kernel::cpu::Cpu;
use crate::kernel::norm::{Affine, normalise};
use crate::ops::{filled, for_blocks, slice};

/// Every row, less its mean and over its deviation, then scaled and shifted by column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Norm {
    pub(crate) cpu: Cpu,
    pub(crate) plan: Arc<Affine>,
}

impl Eq for Norm {}

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
