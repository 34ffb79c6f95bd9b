//! The daemon through its binary, on a phantom.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its assertions do"
)]

mod cart;
mod config;
mod control;
mod emulated;
mod faults;
mod link;
#[path = "../mcu/drill/src/qemu.rs"]
mod qemu;
mod service;
