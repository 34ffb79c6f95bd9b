//! Inner loops, compiled for each set of vector instructions.

#[cfg(target_arch = "aarch64")]
mod arm;
pub(crate) mod cpu;
pub(crate) mod depthwise;
pub(crate) mod epilogue;
pub(crate) mod lanes;
pub(crate) mod norm;
pub(crate) mod packed;
pub(crate) mod product;
pub(crate) mod range;
pub(crate) mod recode;
pub(crate) mod softmax;
pub(crate) mod strided;
pub(crate) mod turn;
pub(crate) mod vector;
