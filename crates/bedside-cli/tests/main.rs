//! The command from outside, in one binary: each binary more is linked against everything.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test's helpers fail, and say what they skip, as a test does"
)]

mod annotate;
mod cli;
mod deep;
#[cfg(feature = "dicom")]
mod dicom;
#[cfg(feature = "dicom")]
mod dicom_node;
mod doctor;
mod eval;
mod graphs;
mod kinds;
mod live;
mod live_rig;
#[cfg(target_os = "linux")]
mod model_process;
mod network;
mod outputs;
mod preview_browser;
mod privacy;
mod update;
