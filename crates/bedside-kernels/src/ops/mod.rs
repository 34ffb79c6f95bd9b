//! Operators of tract's graph. Activations are [1, h, w, channels], f32 or u8 codes.

pub(crate) mod attention;
pub(crate) mod axes;
pub(crate) mod convolution;
pub(crate) mod dynamic;
pub(crate) mod matmul;
pub(crate) mod norm;
pub(crate) mod projection;
pub(crate) mod recode;
pub(crate) mod relayout;
pub(crate) mod sum;
pub(crate) mod upsample;
pub(crate) mod view;

use rayon::prelude::*;
use tract_core::internal::*;

use crate::kernel::epilogue::{Element, Epilogue};

/// Run `work(index, block)` on blocks of `len` elements, beside each other where the caller runs
/// in a pool of threads.
pub(crate) fn for_blocks<O: Send>(
    out: &mut [O],
    len: usize,
    work: impl Fn(usize, &mut [O]) + Sync,
) {
    if threads() > 1 && out.len() > len {
        out.par_chunks_mut(len)
            .enumerate()
            .for_each(|(i, block)| work(i, block));
    } else {
        for (i, block) in out.chunks_mut(len).enumerate() {
            work(i, block);
        }
    }
}

/// Run `work(index)` for every index below `count`, beside each other as [`for_blocks`] does.
pub(crate) fn for_each(count: usize, work: impl Fn(usize) + Send + Sync) {
    if threads() > 1 {
        (0..count).into_par_iter().for_each(work);
    } else {
        (0..count).for_each(work);
    }
}

/// Threads of the pool that this runs in, 1 outside of any.
pub(crate) fn threads() -> usize {
    rayon::current_thread_index().map_or(1, |_| rayon::current_num_threads())
}

/// How many of `rows` make a block: bytes of a row that it reads fill half a common L2 cache at
/// most, and every thread gets its share.
pub(crate) fn block_rows(rows: usize, bytes: usize) -> usize {
    const CACHE: usize = 256 << 10;
    let share = match threads() {
        1 => rows,
        threads => rows.div_ceil(2 * threads),
    };
    share
        .min((CACHE / bytes.max(1)).max(24))
        .next_multiple_of(12)
}

/// An activation's elements.
pub(crate) fn slice<T: Datum>(tensor: &Tensor) -> TractResult<&[T]> {
    tensor.try_as_plain_ram()?.as_slice::<T>()
}

/// A tensor that `fill` writes whole.
pub(crate) fn filled<O: Datum + Element>(
    shape: &[usize],
    fill: impl FnOnce(&mut [O]) -> TractResult<()>,
) -> TractResult<TValue> {
    #[allow(
        unsafe_code,
        reason = "clearing what is then written whole costs a pass over it"
    )]
    // SAFETY: every operator here writes all elements, or fails, before anything reads one.
    let mut out = unsafe { Tensor::uninitialized::<O>(shape)? };
    if out.len() > 0 {
        fill(out.try_as_plain_ram_mut()?.as_slice_mut::<O>()?)?;
    }
    Ok(out.into_tvalue())
}

/// The type of what an epilogue stores.
pub(crate) fn stored(epilogue: &Epilogue) -> DatumType {
    if epilogue.out.is_some() {
        DatumType::U8
    } else {
        DatumType::F32
    }
}

/// Where a dimension of a product's output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// A dimension of the first input.
    First(usize),
    /// A dimension of the second input, which may be the weights.
    Second(usize),
    One,
}

impl Extent {
    pub(crate) fn of<D: Clone + From<usize>>(self, first: &[D], second: &[D]) -> D {
        let found = match self {
            Self::First(axis) => first.get(axis),
            Self::Second(axis) => second.get(axis),
            Self::One => None,
        };
        found.cloned().unwrap_or_else(|| 1.into())
    }
}

/// The output's dimensions, from the letters of the two inputs and the output; `None` when one that is not 1 comes from nowhere.
pub(crate) fn extents([first, second, out]: [&[char]; 3], output: &[TDim]) -> Option<Vec<Extent>> {
    let extent = |(letter, size): (&char, &TDim)| {
        let at = |of: &[char]| of.iter().position(|l| l == letter);
        match (*size == 1.to_dim(), at(first), at(second)) {
            (true, _, _) => Some(Extent::One),
            (_, Some(axis), _) => Some(Extent::First(axis)),
            (_, _, Some(axis)) => Some(Extent::Second(axis)),
            _ => None,
        }
    };
    out.iter().zip(output).map(extent).collect()
}
