//! Sixteen numbers in registers: the arithmetic of the hot loops, written once and compiled for each
//! set of vector instructions.
//!
//! Intrinsics rather than arrays of numbers: what a loop over an array becomes depends on how much
//! of it the compiler inlines where, and an operation that it leaves in a function without the
//! instructions is a call into a library.
#![allow(unsafe_code, reason = "vector instructions that were asked for")]

use super::lanes::LANES;

/// Sixteen f32.
///
/// # Safety
/// Of every function: the processor has the instructions, and the caller is compiled for them.
/// Pointers point to sixteen elements, however aligned.
pub(crate) trait Reals: Copy {
    /// How many registers these are.
    const REGISTERS: usize;

    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// `self * factor + sum`, fused where the processor can.
    unsafe fn multiply_add(self, factor: Self, sum: Self) -> Self;
    unsafe fn multiply(self, factor: Self) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    /// The greater; where either is NaN, `other`.
    unsafe fn greater(self, other: Self) -> Self;
    /// The lesser; where either is NaN, `other`.
    unsafe fn lesser(self, other: Self) -> Self;
}

/// Sixteen i32, and how products of codes with weights are added to them.
///
/// # Safety
/// As of [`Reals`]. `weights` reads [`Self::GROUP`] weights for each of sixteen columns, `splat` as
/// many elements of a row.
#[cfg(not(target_arch = "aarch64"))]
pub(crate) trait Integers: Copy {
    /// Elements of rows.
    type Input: Copy + Default + 'static;
    /// A group of a row's elements, in every column.
    type Group: Copy;
    /// The sums as f32.
    type Real: Reals;
    /// Elements of a row that are multiplied at once.
    const GROUP: usize;

    unsafe fn load(from: *const i32) -> Self;
    unsafe fn weights(from: *const i8) -> Self;
    unsafe fn splat(from: *const Self::Input) -> Self::Group;
    /// Add the products of a group with its weights.
    unsafe fn dot(self, group: Self::Group, weights: Self) -> Self;
    unsafe fn real(self) -> Self::Real;
}

/// Arrays, for processors without vectors of their own here: compilers make some of these.
#[cfg(not(target_arch = "x86_64"))]
mod portable {
    #[cfg(not(target_arch = "aarch64"))]
    use super::Integers;
    use super::{LANES, Reals};
    use crate::kernel::lanes::multiply_add;

    #[derive(Clone, Copy)]
    pub(crate) struct Array<T>([T; LANES]);

    impl Reals for Array<f32> {
        const REGISTERS: usize = 4;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            Self([value; LANES])
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the caller's.
            Self(unsafe { from.cast::<[f32; LANES]>().read_unaligned() })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the caller's.
            unsafe { to.cast::<[f32; LANES]>().write_unaligned(self.0) }
        }
        #[inline(always)]
        unsafe fn multiply_add(self, factor: Self, mut sum: Self) -> Self {
            const FMA: bool = cfg!(target_arch = "aarch64");
            for lane in 0..LANES {
                sum.0[lane] = multiply_add::<FMA>(self.0[lane], factor.0[lane], sum.0[lane]);
            }
            sum
        }
        #[inline(always)]
        unsafe fn multiply(mut self, factor: Self) -> Self {
            for lane in 0..LANES {
                self.0[lane] *= factor.0[lane];
            }
            self
        }
        #[inline(always)]
        unsafe fn add(mut self, other: Self) -> Self {
            for lane in 0..LANES {
                self.0[lane] += other.0[lane];
            }
            self
        }
        #[inline(always)]
        unsafe fn greater(mut self, other: Self) -> Self {
            for lane in 0..LANES {
                if !(self.0[lane] > other.0[lane]) {
                    self.0[lane] = other.0[lane];
                }
            }
            self
        }
        #[inline(always)]
        unsafe fn lesser(mut self, other: Self) -> Self {
            for lane in 0..LANES {
                if !(self.0[lane] < other.0[lane]) {
                    self.0[lane] = other.0[lane];
                }
            }
            self
        }
    }

    /// Products of i16.
    #[cfg(not(target_arch = "aarch64"))]
    #[derive(Clone, Copy)]
    pub(crate) struct Wide {
        sums: [i32; LANES],
    }

    #[cfg(not(target_arch = "aarch64"))]
    impl Integers for Wide {
        type Input = i16;
        type Group = i16;
        type Real = Array<f32>;
        const GROUP: usize = 1;

        #[inline(always)]
        unsafe fn load(from: *const i32) -> Self {
            // SAFETY: the caller's.
            let sums = unsafe { from.cast::<[i32; LANES]>().read_unaligned() };
            Self { sums }
        }
        #[inline(always)]
        unsafe fn weights(from: *const i8) -> Self {
            // SAFETY: the caller's.
            let weights = unsafe { from.cast::<[i8; LANES]>().read_unaligned() };
            let mut sums = [0; LANES];
            for lane in 0..LANES {
                sums[lane] = i32::from(i16::from(weights[lane]));
            }
            Self { sums }
        }
        #[inline(always)]
        unsafe fn splat(from: *const i16) -> i16 {
            // SAFETY: the caller's.
            unsafe { *from }
        }
        #[inline(always)]
        unsafe fn dot(mut self, group: i16, weights: Self) -> Self {
            for lane in 0..LANES {
                // As the vector instructions do.
                let product = i32::from(group) * weights.sums[lane];
                self.sums[lane] = self.sums[lane].wrapping_add(product);
            }
            self
        }
        #[inline(always)]
        unsafe fn real(self) -> Array<f32> {
            let mut reals = [0.0; LANES];
            for lane in 0..LANES {
                reals[lane] = self.sums[lane] as f32;
            }
            Array(reals)
        }
    }
}
#[cfg(not(target_arch = "x86_64"))]
pub(crate) use portable::Array;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) use portable::Wide;

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{AvxVnni, Sse, Vnni512, Wide128, Wide256, Wide512, Ymm, Zmm};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Integers, LANES, Reals};

    /// [`Reals`] of `$count` registers of `$width` numbers each.
    macro_rules! reals {
        ($(#[$doc:meta])* $name:ident, [$register:ty; $count:literal], $width:literal,
         $splat:ident, $load:ident, $store:ident, $mul:ident, $add:ident, $max:ident, $min:ident, |$a:ident, $b:ident, $c:ident| $fma:expr) => {
            $(#[$doc])*
            #[derive(Clone, Copy)]
            pub(crate) struct $name([$register; $count]);

            const _: () = assert!($width * $count == LANES);

            impl Reals for $name {
                const REGISTERS: usize = $count;

                #[inline(always)]
                unsafe fn splat(value: f32) -> Self {
                    // SAFETY: the caller's.
                    Self([unsafe { $splat(value) }; $count])
                }
                #[inline(always)]
                unsafe fn load(from: *const f32) -> Self {
                    // SAFETY: the caller's.
                    unsafe {
                        let mut all = [$load(from); $count];
                        for i in 1..all.len() {
                            all[i] = $load(from.add($width * i));
                        }
                        Self(all)
                    }
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut f32) {
                    for i in 0..$count {
                        // SAFETY: the caller's.
                        unsafe { $store(to.add($width * i), self.0[i]) }
                    }
                }
                #[inline(always)]
                unsafe fn multiply_add(self, factor: Self, mut sum: Self) -> Self {
                    for i in 0..$count {
                        let ($a, $b, $c) = (self.0[i], factor.0[i], sum.0[i]);
                        // SAFETY: the caller's.
                        sum.0[i] = unsafe { $fma };
                    }
                    sum
                }
                pairs! { multiply $mul, add $add, greater $max, lesser $min }
            }
        };
    }

    /// Operations on two of these, register by register.
    macro_rules! pairs {
        ($($name:ident $op:ident),+) => {$(
            #[inline(always)]
            unsafe fn $name(mut self, other: Self) -> Self {
                for i in 0..self.0.len() {
                    // SAFETY: the caller's.
                    self.0[i] = unsafe { $op(self.0[i], other.0[i]) };
                }
                self
            }
        )+};
    }

    reals! {
        /// SSE2, which multiplies and adds apart.
        Sse, [__m128; 4], 4, _mm_set1_ps, _mm_loadu_ps, _mm_storeu_ps,
        _mm_mul_ps, _mm_add_ps, _mm_max_ps, _mm_min_ps,
        |a, b, c| _mm_add_ps(_mm_mul_ps(a, b), c)
    }
    reals! {
        /// AVX2 and FMA.
        Ymm, [__m256; 2], 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps,
        _mm256_mul_ps, _mm256_add_ps, _mm256_max_ps, _mm256_min_ps,
        |a, b, c| _mm256_fmadd_ps(a, b, c)
    }
    reals! {
        /// AVX-512.
        Zmm, [__m512; 1], 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps,
        _mm512_mul_ps, _mm512_add_ps, _mm512_max_ps, _mm512_min_ps,
        |a, b, c| _mm512_fmadd_ps(a, b, c)
    }

    /// [`Integers`] of `$count` registers of `$width` numbers each.
    macro_rules! integers {
        ($(#[$doc:meta])* $name:ident, [$register:ty; $count:literal], $width:literal,
         $input:ty, $group:literal, $load:ident, |$from:ident| $weights:expr, $splat:ident,
         |$sum:ident, $row:ident, $weight:ident| $dot:expr, $real:ident, $reals:ident) => {
            $(#[$doc])*
            #[derive(Clone, Copy)]
            pub(crate) struct $name([$register; $count]);

            const _: () = assert!($width * $count == LANES);

            impl Integers for $name {
                type Input = $input;
                type Group = $register;
                type Real = $reals;
                const GROUP: usize = $group;

                #[inline(always)]
                unsafe fn load(from: *const i32) -> Self {
                    // SAFETY: the caller's.
                    unsafe {
                        let mut all = [$load(from.cast()); $count];
                        for i in 1..all.len() {
                            all[i] = $load(from.add($width * i).cast());
                        }
                        Self(all)
                    }
                }
                #[inline(always)]
                unsafe fn weights($from: *const i8) -> Self {
                    // SAFETY: the caller's.
                    Self(unsafe { $weights })
                }
                #[inline(always)]
                unsafe fn splat(from: *const $input) -> $register {
                    // SAFETY: the caller's.
                    unsafe { $splat(from.cast::<i32>().read_unaligned()) }
                }
                #[inline(always)]
                unsafe fn dot(mut self, $row: $register, weights: Self) -> Self {
                    for i in 0..$count {
                        let ($sum, $weight) = (self.0[i], weights.0[i]);
                        // SAFETY: the caller's.
                        self.0[i] = unsafe { $dot };
                    }
                    self
                }
                #[inline(always)]
                unsafe fn real(self) -> $reals {
                    // SAFETY: the caller's.
                    $reals(self.0.map(|sums| unsafe { $real(sums) }))
                }
            }
        };
    }

    integers! {
        /// `pmaddwd` of SSE2.
        Wide128, [__m128i; 4], 4, i16, 2, _mm_loadu_si128,
        |from| {
            let (a, b) = (_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(16).cast()));
            // SSE2 widens by doubling bytes and shifting the lower away.
            [
                _mm_srai_epi16::<8>(_mm_unpacklo_epi8(a, a)),
                _mm_srai_epi16::<8>(_mm_unpackhi_epi8(a, a)),
                _mm_srai_epi16::<8>(_mm_unpacklo_epi8(b, b)),
                _mm_srai_epi16::<8>(_mm_unpackhi_epi8(b, b)),
            ]
        },
        _mm_set1_epi32, |sum, row, weight| _mm_add_epi32(sum, _mm_madd_epi16(row, weight)),
        _mm_cvtepi32_ps, Sse
    }
    integers! {
        /// `vpmaddwd` of AVX2.
        Wide256, [__m256i; 2], 8, i16, 2, _mm256_loadu_si256,
        |from| [
            _mm256_cvtepi8_epi16(_mm_loadu_si128(from.cast())),
            _mm256_cvtepi8_epi16(_mm_loadu_si128(from.add(16).cast())),
        ],
        _mm256_set1_epi32, |sum, row, weight| _mm256_add_epi32(sum, _mm256_madd_epi16(row, weight)),
        _mm256_cvtepi32_ps, Ymm
    }
    integers! {
        /// `vpmaddwd` of AVX-512BW.
        Wide512, [__m512i; 1], 16, i16, 2, _mm512_loadu_si512,
        |from| [_mm512_cvtepi8_epi16(_mm256_loadu_si256(from.cast()))],
        _mm512_set1_epi32, |sum, row, weight| _mm512_add_epi32(sum, _mm512_madd_epi16(row, weight)),
        _mm512_cvtepi32_ps, Zmm
    }
    integers! {
        /// `vpdpbusd` of AVX-VNNI.
        AvxVnni, [__m256i; 2], 8, u8, 4, _mm256_loadu_si256,
        |from| [
            _mm256_loadu_si256(from.cast()),
            _mm256_loadu_si256(from.add(32).cast()),
        ],
        _mm256_set1_epi32, |sum, row, weight| _mm256_dpbusd_avx_epi32(sum, row, weight),
        _mm256_cvtepi32_ps, Ymm
    }
    integers! {
        /// `vpdpbusd` of AVX-512 VNNI.
        Vnni512, [__m512i; 1], 16, u8, 4, _mm512_loadu_si512,
        |from| [_mm512_loadu_si512(from.cast())],
        _mm512_set1_epi32, |sum, row, weight| _mm512_dpbusd_epi32(sum, row, weight),
        _mm512_cvtepi32_ps, Zmm
    }
}
