//! The sink on a display that does as a test says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its assertions do"
)]

mod connector;
mod fake;
mod picture;
mod turns;
