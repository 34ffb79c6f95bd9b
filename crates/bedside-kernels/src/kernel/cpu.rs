//! Which instructions the kernels use.

use std::fmt;
use std::sync::OnceLock;

/// Vector instructions that kernels are compiled for.
///
/// The same Rust source is compiled once for each.
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

impl Simd {
    /// Panels of weights that a tile spans at most.
    pub(crate) fn panels(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 2,
            _ => 1,
        }
    }
}

/// How products of u8 and i8 are summed; always exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dot {
    /// By what every processor of the architecture has: `pmaddwd` on x86-64, `smlal` on aarch64.
    Wide,
    /// Four at once by `vpdpbusd`, as wide as the vectors for f32.
    #[cfg(target_arch = "x86_64")]
    Vnni,
    /// Four at once by `sdot`, from Cortex-A55 and A76 on.
    #[cfg(target_arch = "aarch64")]
    Sdot,
    /// Eight at once, of two rows and two columns, by `usmmla`: ARMv8.6, and some before.
    #[cfg(target_arch = "aarch64")]
    Usmmla,
}

impl Dot {
    /// How many elements of a row are multiplied at once; a panel's weights lie in such groups.
    pub(crate) fn group(self) -> usize {
        match self {
            Self::Wide if cfg!(target_arch = "x86_64") => 2,
            Self::Wide if cfg!(target_arch = "aarch64") => 4,
            Self::Wide => 1,
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => 4,
            #[cfg(target_arch = "aarch64")]
            Self::Sdot => 4,
            #[cfg(target_arch = "aarch64")]
            Self::Usmmla => 8,
        }
    }

    /// Whether codes are multiplied as i16, which something has to make of them.
    pub(crate) fn widens(self) -> bool {
        self == Self::Wide && !cfg!(target_arch = "aarch64")
    }

    /// What a kernel takes from every code: where weights are multiplied with i8.
    pub(crate) fn taken(self) -> i32 {
        match self {
            #[cfg(target_arch = "aarch64")]
            Self::Wide | Self::Sdot => 128,
            _ => 0,
        }
    }
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
        let kind = |simd, dot| Self { simd, dot };
        let mut found = vec![kind(Simd::Baseline, Dot::Wide)];
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("dotprod") {
            found.push(kind(Simd::Baseline, Dot::Sdot));
            if std::arch::is_aarch64_feature_detected!("i8mm") {
                found.push(kind(Simd::Baseline, Dot::Usmmla));
            }
        }
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            found.push(kind(Simd::Avx2, Dot::Wide));
            if is_x86_feature_detected!("avxvnni") {
                found.push(kind(Simd::Avx2, Dot::Vnni));
            }
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                found.push(kind(Simd::Avx512, Dot::Wide));
                if is_x86_feature_detected!("avx512vnni") {
                    found.push(kind(Simd::Avx512, Dot::Vnni));
                }
            }
        }
        found
    }
}

/// Bytes of a core's own cache, the L2: where the system tells, else what is common.
pub(crate) fn cache() -> usize {
    const COMMON: usize = 1 << 20;
    static FOUND: OnceLock<usize> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let said = std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cache/index2/size");
        let found = said.ok().and_then(|said| {
            let kilobytes: usize = said.trim().strip_suffix('K')?.parse().ok()?;
            Some(kilobytes << 10)
        });
        found.map_or(COMMON, |size| size.clamp(COMMON / 4, 4 * COMMON))
    })
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
            Dot::Wide => "",
            #[cfg(target_arch = "x86_64")]
            Dot::Vnni => "+vnni",
            #[cfg(target_arch = "aarch64")]
            Dot::Sdot => "+dot",
            #[cfg(target_arch = "aarch64")]
            Dot::Usmmla => "+dot+i8mm",
        };
        write!(f, "{simd}{dot}")
    }
}

/// Defines `$name`, which runs `$body::<V, FMA>` compiled for the instructions of a [`Simd`]: `V`
/// are its [`Reals`](super::vector::Reals), `FMA` tells whether it multiplies and adds at once.
///
/// The body, and all that it calls for arithmetic, must be `#[inline(always)]`, or it would be
/// compiled for the baseline. So would a closure that is handed to a function of another crate.
macro_rules! compiled_for_each {
    ($(#[$doc:meta])* $vis:vis fn $name:ident $(<$($g:ident: $bound:path),+>)? ($($arg:ident: $ty:ty),* $(,)?) = $body:ident) => {
        $(#[$doc])*
        $vis fn $name $(<$($g: $bound),+>)? (simd: $crate::kernel::cpu::Simd, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2 $(<$($g: $bound),+>)? ($($arg: $ty),*) {
                $body::<$crate::kernel::vector::Ymm, true $(, $($g),+)?>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512 $(<$($g: $bound),+>)? ($($arg: $ty),*) {
                $body::<$crate::kernel::vector::Zmm, true $(, $($g),+)?>($($arg),*)
            }
            match simd {
                #[cfg(target_arch = "x86_64")]
                $crate::kernel::cpu::Simd::Baseline => {
                    $body::<$crate::kernel::vector::Sse, false $(, $($g),+)?>($($arg),*)
                }
                #[cfg(not(target_arch = "x86_64"))]
                $crate::kernel::cpu::Simd::Baseline => {
                    const FMA: bool = cfg!(target_arch = "aarch64");
                    $body::<$crate::kernel::vector::Array<f32>, FMA $(, $($g),+)?>($($arg),*)
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
