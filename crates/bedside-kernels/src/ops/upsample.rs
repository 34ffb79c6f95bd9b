//! Images of twice the size.

use tract_core::internal::*;

use crate::kernel::epilogue::Element;
use crate::ops::{filled, for_blocks, slice};

/// Every pixel four times: twice the height and the width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upsample2x;

impl Upsample2x {
    fn run<T: Element>(&self, shape: &[usize], input: &[T], out: &mut [T]) {
        let [_, _, width, channels] = *shape else {
            return;
        };
        let row = 2 * width * channels;
        for_blocks(out, 16 * row, |index, out| {
            for (y, out) in out.chunks_mut(row).enumerate() {
                let from = (index * 16 + y) / 2 * width * channels;
                let from = input.get(from..).unwrap_or_default();
                for (out, pixel) in out
                    .chunks_exact_mut(2 * channels)
                    .zip(from.chunks_exact(channels))
                {
                    out.chunks_exact_mut(channels)
                        .for_each(|o| o.copy_from_slice(pixel));
                }
            }
        });
    }
}

impl Op for Upsample2x {
    fn name(&self) -> StaticName {
        "Upsample2x".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Upsample2x {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let [n, h, w, c] = *input.shape() else {
            bail!("not NHWC")
        };
        let shape = [n, 2 * h, 2 * w, c];
        let out = match input.datum_type() {
            DatumType::U8 => filled::<u8>(&shape, |out| {
                self.run(input.shape(), slice(&input)?, out);
                Ok(())
            })?,
            _ => filled::<f32>(&shape, |out| {
                self.run(input.shape(), slice(&input)?, out);
                Ok(())
            })?,
        };
        Ok(tvec!(out))
    }
}

impl TypedOp for Upsample2x {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut shape = inputs[0].shape.clone();
        for axis in [1, 2] {
            let doubled = shape[axis].clone() * 2;
            shape.set(axis, doubled);
        }
        Ok(tvec!(inputs[0].datum_type.fact(shape)))
    }

    as_op!();
}
