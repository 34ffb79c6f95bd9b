//! Operators for [tract](https://docs.rs/tract-core) that image networks spend their time in.
//!
//! tract reads the graph, optimises and schedules it; [`lower`] replaces convolutions, and what
//! follows them up to the next, with operators of this crate. They keep activations as
//! [1, h, w, channels], f32 or u8 codes, so that sixteen channels lie side by side and nothing is
//! packed at run time. Quantized graphs (QDQ) run in integers, as onnxruntime runs them.
//!
//! Here, and in one line of `bedside-map`, stands the workspace's `unsafe` code: inner loops without bounds
//! checks, instructions chosen at run time, and output memory that is not cleared first.

#[cfg(test)]
mod blocks;
#[cfg(test)]
mod extremes;
mod kernel;
mod ops;
mod passes;
#[cfg(test)]
mod tests;

pub use kernel::cpu::Cpu;
pub use passes::{Coded, Constants, Stored, lower};
