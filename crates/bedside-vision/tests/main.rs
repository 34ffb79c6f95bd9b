//! Pixels from outside the crate, in one binary.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may panic as tests do"
)]

mod common;
mod fit;
mod flow;
mod frames;
mod golden;
mod overlay;
mod paint;
mod properties;
