//! Inner loops, compiled for each set of vector instructions.

pub(crate) mod cpu;
pub(crate) mod depthwise;
pub(crate) mod epilogue;
pub(crate) mod lanes;
pub(crate) mod packed;
pub(crate) mod product;
pub(crate) mod vector;
