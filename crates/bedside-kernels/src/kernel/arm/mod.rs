//! Kernels of AArch64 for codes: what compilers don't find by themselves.
//!
//! Codes are multiplied as i8, less 128, or as u8 where the processor has `usmmla`.

pub(super) mod depthwise;
pub(super) mod product;

use std::arch::aarch64::*;

use super::lanes::LANES;

/// The bit in which a u8 and the i8 that is less by 128 differ.
pub(super) const SIGN: u8 = 0x80;

/// A code of each of sixteen channels.
pub(super) type Bytes = [u8; LANES];

/// Codes of steps from `zero`, rounded half to even, within what a code can say; NaN gives 0.
#[inline(always)]
pub(super) fn codes(steps: &[f32; LANES], zero: u8) -> [u8; LANES] {
    let mut codes = [0; LANES];
    #[allow(
        unsafe_code,
        reason = "vector instructions that every processor has; arrays read and written whole"
    )]
    // SAFETY: four times four steps are read, sixteen codes are written, and every AArch64 has NEON.
    unsafe {
        let least = vdupq_n_f32(-f32::from(zero));
        let mut rounded = [vdupq_n_s32(0); 4];
        for (q, rounded) in rounded.iter_mut().enumerate() {
            let four = vld1q_f32(steps.as_ptr().add(4 * q));
            // The limit above is what narrowing saturates to.
            *rounded = vcvtnq_s32_f32(vmaxnmq_f32(four, least));
        }
        let zero = vdupq_n_s16(zero.into());
        let narrow = |low, high| {
            let steps = vqmovn_high_s32(vqmovn_s32(low), high);
            vqaddq_s16(steps, zero)
        };
        let low = vqmovun_s16(narrow(rounded[0], rounded[1]));
        let all = vqmovun_high_s16(low, narrow(rounded[2], rounded[3]));
        vst1q_u8(codes.as_mut_ptr(), all);
    }
    codes
}
