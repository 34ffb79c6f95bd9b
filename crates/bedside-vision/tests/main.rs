//! Pixels from outside the crate, in one binary.

mod common;
mod flow;
mod frames;
mod golden;
mod overlay;
mod paint;
mod properties;
