//! Sixteen numbers, the width that all kernels work in.

/// How many columns (output channels) a kernel computes side by side.
pub(crate) const LANES: usize = 16;

/// Sixteen numbers on a cache line of their own.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Lanes<T>(pub(crate) [T; LANES]);

/// The numbers of groups that lie together.
pub(crate) fn flat(lanes: &mut [Lanes<f32>]) -> &mut [f32] {
    let len = lanes.len() * LANES;
    #[allow(unsafe_code, reason = "one view of the same memory for another")]
    // SAFETY: a group is its sixteen numbers and nothing else.
    unsafe {
        std::slice::from_raw_parts_mut(lanes.as_mut_ptr().cast(), len)
    }
}

/// `values` in groups of sixteen, the last filled up with zeros.
pub(crate) fn lanes<T: Copy + Default>(values: &[T]) -> Vec<Lanes<T>> {
    values
        .chunks(LANES)
        .map(|chunk| {
            let mut lanes = Lanes([T::default(); LANES]);
            lanes.0.iter_mut().zip(chunk).for_each(|(l, v)| *l = *v);
            lanes
        })
        .collect()
}

/// `a * b + c`, fused where the processor can; a call into a library where it can't would be slow.
#[inline(always)]
pub(crate) fn multiply_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}
