//! Sums of two activations.

use tract_core::internal::*;

use crate::kernel::cpu::Cpu;
use crate::kernel::epilogue::{Element, Epilogue, Place, Quant, Sink};
use crate::kernel::lanes::{LANES, Lanes, flat};
use crate::ops::{block_rows, filled, for_blocks, slice, stored};

/// The sum of two activations, the second of the same shape or one value a channel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sum {
    pub(crate) cpu: Cpu,
    /// The first's code, when it is coded.
    pub(crate) code: Option<Quant>,
    pub(crate) epilogue: Epilogue,
}

impl Eq for Sum {}

impl Sum {
    fn run<T: Element, R: Element, O: Element>(
        &self,
        channels: usize,
        a: &[T],
        b: &[R],
        out: &mut [O],
    ) {
        let spread = b.len() == channels;
        let block = block_rows(out.len() / channels, channels * 8) * channels;
        for_blocks(out, block, |index, out| {
            let first = index * block;
            let a = a.get(first..).unwrap_or_default();
            if spread {
                for (out, a) in out.chunks_mut(channels).zip(a.chunks(channels)) {
                    self.add(a, b, out);
                }
            } else {
                self.add(a, b.get(first..).unwrap_or_default(), out);
            }
        });
    }

    /// Element by element.
    fn add<T: Element, R: Element, O: Element>(&self, a: &[T], b: &[R], out: &mut [O]) {
        /// As many as stay in the nearest cache.
        const GROUPS: usize = 32;
        let mut reals = [Lanes([0.0; LANES]); GROUPS];
        let mut done = 0;
        while done < out.len() {
            // What fills no group is one of its own.
            let left = out.len() - done;
            let (columns, groups) = match left / LANES {
                0 => (left, 1),
                groups => (LANES, groups.min(GROUPS)),
            };
            let len = columns * groups;
            let (from, to) = (a.get(done..).unwrap_or_default(), &mut reals[..groups]);
            for (real, x) in flat(to).iter_mut().zip(from) {
                *real = x.real(self.code);
            }
            let place = Place {
                column: 0,
                columns,
                start: done,
                stride: LANES,
            };
            let sink = Sink::new(out);
            #[allow(unsafe_code, reason = "elements that lie side by side")]
            // SAFETY: the output is lent to this alone.
            unsafe {
                self.epilogue.store(self.cpu.simd, to, place, b, sink);
            }
            done += len;
        }
    }
}

impl Op for Sum {
    fn name(&self) -> StaticName {
        "Sum".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Sum {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (a, b) = args_2!(inputs);
        let shape = a.shape().to_vec();
        let channels = shape.last().copied().unwrap_or(1);
        // What is shorter would leave outputs as the memory had them.
        ensure!(
            b.len() == a.len() || b.len() == channels,
            "a sum of {a:?} and {b:?}"
        );
        let coded = |t: &Tensor| t.datum_type() == DatumType::U8;
        macro_rules! run {
            ($a:ty, $b:ty, $o:ty) => {
                filled(&shape, |out| {
                    self.run::<$a, $b, $o>(channels, slice(&a)?, slice(&b)?, out);
                    Ok(())
                })?
            };
        }
        let out = match (coded(&a), coded(&b), self.epilogue.out.is_some()) {
            (true, true, true) => run!(u8, u8, u8),
            (true, true, false) => run!(u8, u8, f32),
            (true, false, true) => run!(u8, f32, u8),
            (true, false, false) => run!(u8, f32, f32),
            (false, true, true) => run!(f32, u8, u8),
            (false, true, false) => run!(f32, u8, f32),
            (false, false, true) => run!(f32, f32, u8),
            (false, false, false) => run!(f32, f32, f32),
        };
        Ok(tvec!(out))
    }
}

impl TypedOp for Sum {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(stored(&self.epilogue).fact(inputs[0].shape.clone())))
    }

    as_op!();
}
