//! The line, from its bytes to the pins at its end.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests may panic as tests do"
)]

mod bytes;
mod golden;
mod noise;
mod panel;
mod rig;
mod session;
