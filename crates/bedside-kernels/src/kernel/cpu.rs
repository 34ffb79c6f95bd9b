//! Which instructions the kernels use.

use std::fmt;
use std::sync::OnceLock;

/// Vector instructions that kernels are compiled for.
///
/// The same Rust source is compiled once for each; only the int8 dot product is written in
/// intrinsics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Simd {
    /// What every processor of the architecture has: SSE2 on x86-64, NEON on aarch64.
    Baseline,
    /// 256-bit vectors with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// How four u8 times i8 products are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dot {
    /// As f32, in sums short enough to be exact.
    Float,
    /// `vpdpbusd` on 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Vnni,
    /// `sdot`, from Cortex-A55 and A76 on.
    Sdot,
}

/// A choice of kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpu {
    /// For f32, and all but the dot products of int8.
    pub(crate) simd: Simd,
    /// For int8.
    pub(crate) dot: Dot,
}

impl Cpu {
    /// The best for this processor, unless the environment variable `BEDSIDE_CPU` names another
    /// that it supports.
    ///
    /// # Errors
    /// When `BEDSIDE_CPU` names none of these; the text names them.
    pub fn detect() -> Result<Self, String> {
        static FOUND: OnceLock<Result<Cpu, String>> = OnceLock::new();
        let choose = || Self::choose(std::env::var("BEDSIDE_CPU").ok().as_deref());
        FOUND.get_or_init(choose).clone()
    }

    pub(crate) fn choose(wanted: Option<&str>) -> Result<Self, String> {
        let supported = Self::supported();
        let found = match wanted {
            None => supported.last(),
            Some(wanted) => supported.iter().find(|cpu| cpu.to_string() == wanted),
        };
        found.copied().ok_or_else(|| {
            let names: Vec<String> = supported.iter().map(Self::to_string).collect();
            format!(
                "BEDSIDE_CPU={}: not supported here; hint: one of {}, or unset it",
                wanted.unwrap_or_default(),
                names.join(", ")
            )
        })
    }

    /// Everything that this processor can run, the best last.
    pub fn supported() -> Vec<Self> {
        let mut found = vec![Self {
            simd: Simd::Baseline,
            dot: Dot::Float,
        }];
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("dotprod") {
            found.push(Self {
                simd: Simd::Baseline,
                dot: Dot::Sdot,
            });
        }
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.push(Self {
                    simd: Simd::Avx2,
                    dot: Dot::Float,
                });
            }
            if found.len() > 1 && ["f", "bw", "dq", "vl"].into_iter().all(avx512) {
                for (dot, has) in [(Dot::Float, true), (Dot::Vnni, avx512("vnni"))] {
                    if has {
                        found.push(Self {
                            simd: Simd::Avx512,
                            dot,
                        });
                    }
                }
            }
        }
        found
    }
}

#[cfg(target_arch = "x86_64")]
fn avx512(part: &str) -> bool {
    match part {
        "f" => is_x86_feature_detected!("avx512f"),
        "bw" => is_x86_feature_detected!("avx512bw"),
        "dq" => is_x86_feature_detected!("avx512dq"),
        "vl" => is_x86_feature_detected!("avx512vl"),
        "vnni" => is_x86_feature_detected!("avx512vnni"),
        _ => false,
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let simd = match self.simd {
            Simd::Baseline if cfg!(target_arch = "aarch64") => "neon",
            Simd::Baseline => "baseline",
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 => "avx512",
        };
        let dot = match self.dot {
            Dot::Float => "",
            #[cfg(target_arch = "x86_64")]
            Dot::Vnni => "+vnni",
            Dot::Sdot => "+dot",
        };
        write!(f, "{simd}{dot}")
    }
}

/// Defines `$name`, which runs `$body::<ROWS, PANELS, FMA>` compiled for the instructions of a
/// [`Simd`].
///
/// `ROWS` times `PANELS` is how many groups of sixteen f32 fill that register file, a few left for
/// operands.
/// The body must be `#[inline(always)]`, or it would be compiled for the baseline.
macro_rules! compiled_for_each {
    ($(#[$doc:meta])* $vis:vis fn $name:ident $(<$($g:ident: $bound:path),+>)? ($($arg:ident: $ty:ty),* $(,)?) = $body:ident) => {
        $(#[$doc])*
        $vis fn $name $(<$($g: $bound),+>)? (simd: $crate::kernel::cpu::Simd, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2 $(<$($g: $bound),+>)? ($($arg: $ty),*) {
                $body::<6, 1, true $(, $($g),+)?>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512 $(<$($g: $bound),+>)? ($($arg: $ty),*) {
                $body::<12, 2, true $(, $($g),+)?>($($arg),*)
            }
            match simd {
                $crate::kernel::cpu::Simd::Baseline => {
                    $body::<6, 1, { cfg!(target_arch = "aarch64") } $(, $($g),+)?>($($arg),*)
                }
                // SAFETY: values of `Simd` other than the baseline come from `Cpu::supported`,
                // which asked the processor.
                #[cfg(target_arch = "x86_64")]
                $crate::kernel::cpu::Simd::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::kernel::cpu::Simd::Avx512 => unsafe { avx512($($arg),*) },
            }
        }
    };
}
pub(crate) use compiled_for_each;
