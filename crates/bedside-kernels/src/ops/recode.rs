//! Between reals and codes where no other operator does it on its way.

use tract_core::internal::*;

use crate::kernel::cpu::Cpu;
use crate::kernel::epilogue::{Element, Quant};
use crate::kernel::recode::recode;
use crate::ops::{filled, for_blocks, slice};

/// Codes of reals, or reals of codes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recode {
    pub(crate) cpu: Cpu,
    pub(crate) quant: Quant,
    /// To codes, else from them.
    pub(crate) to_codes: bool,
}

impl Eq for Recode {}

impl Recode {
    fn run<T: Element, O: Element>(&self, input: &[T], out: &mut [O]) {
        const BLOCK: usize = 32 << 10;
        for_blocks(out, BLOCK, |index, out| {
            let input = input.get(index * BLOCK..).unwrap_or_default();
            recode(self.cpu.simd, self.quant, input, out);
        });
    }
}

impl Op for Recode {
    fn name(&self) -> StaticName {
        if self.to_codes {
            "ToCodes".into()
        } else {
            "FromCodes".into()
        }
    }

    op_as_typed_op!();
}

impl EvalOp for Recode {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let shape = input.shape();
        Ok(tvec!(match self.to_codes {
            true => filled(shape, |out| {
                self.run::<f32, u8>(slice(&input)?, out);
                Ok(())
            })?,
            false => filled(shape, |out| {
                self.run::<u8, f32>(slice(&input)?, out);
                Ok(())
            })?,
        }))
    }
}

impl TypedOp for Recode {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let dtype = if self.to_codes {
            DatumType::U8
        } else {
            DatumType::F32
        };
        Ok(tvec!(dtype.fact(inputs[0].shape.clone())))
    }

    fn axes_mapping(
        &self,
        inputs: &[&TypedFact],
        outputs: &[&TypedFact],
    ) -> TractResult<AxesMapping> {
        AxesMapping::natural(inputs, outputs)
    }

    fn change_axes(
        &self,
        model: &TypedModel,
        node: &TypedNode,
        _: InOut,
        change: &AxisOp,
    ) -> TractResult<Option<AxisChangeConsequence>> {
        Ok(Some(AxisChangeConsequence::new(model, node, None, change)))
    }

    as_op!();
}
