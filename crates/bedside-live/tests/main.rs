//! Live sessions from outside, in one binary: each binary more is linked against tract.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may panic as tests do"
)]

mod absence;
mod away;
mod clock;
mod examples;
mod journal;
mod log;
mod rig;
mod scene;
mod session;
