//! The element by itself, in GStreamer's harness, and in pipelines.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests may panic and tell as tests do"
)]

mod answers;
mod element;
mod support;
