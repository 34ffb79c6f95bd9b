//! Images from one layout to the other.

use tract_core::internal::*;

use crate::kernel::cpu::Cpu;
use crate::kernel::epilogue::{Element, Quant};
use crate::kernel::lanes::LANES;
use crate::kernel::turn::{interleave, turn};
use crate::ops::{filled, for_blocks, slice};

/// Between [1, channels, h, w] and [1, h, w, channels]; codes become real where `code` says how,
/// and reals become codes where `out` does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Relayout {
    pub(crate) cpu: Cpu,
    /// To NHWC, else from it.
    pub(crate) to_nhwc: bool,
    pub(crate) code: Option<Quant>,
    pub(crate) out: Option<Quant>,
}

impl Eq for Relayout {}

impl Relayout {
    fn shape(&self, from: &[usize]) -> TractResult<[usize; 4]> {
        let [n, a, b, c] = *from else {
            bail!("rank {}, not 4", from.len())
        };
        Ok(if self.to_nhwc {
            [n, b, c, a]
        } else {
            [n, c, a, b]
        })
    }

    /// A matrix [rows, columns] is turned, sixteen columns at a time.
    fn run<T: Element, O: Element>(&self, columns: usize, input: &[T], out: &mut [O]) {
        let rows = input.len() / columns;
        let (simd, code, to) = (self.cpu.simd, self.code, self.out);
        // So few channels are interleaved pixel by pixel.
        const FEW: usize = 4;
        const BLOCK: usize = 64 * LANES;
        let few = rows <= FEW;
        for_blocks(out, if few { BLOCK } else { LANES } * rows, |index, out| {
            let first = index * if few { BLOCK } else { LANES };
            let input = input.get(first..).unwrap_or_default();
            match few {
                true => interleave(simd, input, columns, rows, code, to, out),
                false => turn(simd, input, columns, rows, code, to, out),
            }
        });
    }
}

impl Op for Relayout {
    fn name(&self) -> StaticName {
        if self.to_nhwc {
            "ToNHWC".into()
        } else {
            "FromNHWC".into()
        }
    }

    op_as_typed_op!();
}

impl EvalOp for Relayout {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let shape = self.shape(input.shape())?;
        let columns = match self.to_nhwc {
            true => shape[1] * shape[2],
            false => shape[1],
        };
        macro_rules! run {
            ($t:ty, $o:ty) => {
                filled(&shape, |out| {
                    self.run::<$t, $o>(columns, slice(&input)?, out);
                    Ok(())
                })?
            };
        }
        let out = match (input.datum_type(), self.out.is_some(), self.code.is_some()) {
            (DatumType::U8, true, _) => run!(u8, u8),
            (DatumType::U8, false, _) => run!(u8, f32),
            (_, true, _) => run!(f32, u8),
            (_, false, _) => run!(f32, f32),
        };
        Ok(tvec!(out))
    }
}

impl TypedOp for Relayout {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape = inputs[0].shape.as_concrete().context("shape of symbols")?;
        let dtype = if self.out.is_some() {
            DatumType::U8
        } else {
            DatumType::F32
        };
        Ok(tvec!(dtype.fact(self.shape(shape)?)))
    }

    as_op!();
}
