//! The codec beside pyigtl's bytes, and connections with peers that misbehave.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may panic as tests do"
)]

mod codec;
mod connection;
