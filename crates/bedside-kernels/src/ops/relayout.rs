//! Images from one layout to the other.

use tract_core::internal::*;

use crate::kernel::epilogue::{Element, Quant, copy};
use crate::kernel::lanes::LANES;
use crate::ops::{filled, for_blocks, slice};

/// Between [1, channels, h, w] and [1, h, w, channels]; codes become real where `code` says how,
/// and reals become codes where `out` does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Relayout {
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

    /// A matrix [rows, columns] is turned, in squares of sixteen.
    fn run<T: Element, O: Element>(&self, columns: usize, input: &[T], out: &mut [O]) {
        let rows = input.len() / columns;
        if rows <= FEW {
            return self.interleave(rows, columns, input, out);
        }
        for_blocks(out, LANES * rows, |index, out| {
            let first = index * LANES;
            let width = out.len() / rows;
            for start in (0..rows).step_by(LANES) {
                let mut square = [[O::default(); LANES]; LANES];
                let lines = input.chunks(columns).skip(start).take(LANES);
                for (row, line) in lines.enumerate() {
                    let mut from = [T::default(); LANES];
                    copy(
                        line.get(first..first + width).unwrap_or_default(),
                        &mut from,
                    );
                    for lane in 0..LANES {
                        square[lane][row] = O::store::<false>(from[lane].real(self.code), self.out);
                    }
                }
                for (line, out) in square.iter().zip(out.chunks_mut(rows)) {
                    copy(line, out.get_mut(start..).unwrap_or_default());
                }
            }
        });
    }
}

/// So few channels are interleaved pixel by pixel.
const FEW: usize = 4;

impl Relayout {
    fn interleave<T: Element, O: Element>(
        &self,
        rows: usize,
        columns: usize,
        input: &[T],
        out: &mut [O],
    ) {
        const BLOCK: usize = 64 * LANES;
        for_blocks(out, BLOCK * rows, |index, out| {
            for (i, out) in out.chunks_mut(LANES * rows).enumerate() {
                let first = index * BLOCK + i * LANES;
                for (row, line) in input.chunks_exact(columns).enumerate() {
                    let mut from = [T::default(); LANES];
                    copy(line.get(first..).unwrap_or_default(), &mut from);
                    let stored = from.map(|x| O::store::<false>(x.real(self.code), self.out));
                    let targets = out.iter_mut().skip(row).step_by(rows);
                    targets.zip(stored).for_each(|(t, s)| *t = s);
                }
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
