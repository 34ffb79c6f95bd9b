//! Between reals and codes.
#![allow(unsafe_code, reason = "vector instructions that were asked for")]

use super::cpu::compiled_for_each;
use super::epilogue::{Element, Quant};
use super::vector::Reals;

compiled_for_each! {
    /// Codes of reals, or reals of codes.
    pub(crate) fn recode<T: Element, O: Element>(quant: Quant, input: &[T], out: &mut [O]) = recode_body
}

#[inline(always)]
fn recode_body<V: Reals, const FMA: bool, T: Element, O: Element>(
    quant: Quant,
    input: &[T],
    out: &mut [O],
) {
    for (out, input) in out.iter_mut().zip(input) {
        let code = if O::CODED { Some(quant) } else { None };
        *out = O::store::<FMA>(input.real(Some(quant)), code);
    }
}
