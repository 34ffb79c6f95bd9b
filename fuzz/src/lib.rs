//! Fuzz targets for every parser of outside bytes, and their corpora.
//!
//! A target takes any bytes, and panics where a promise is broken: by a panic in what it calls, by
//! more memory than a bound allows, by an answer that can't be. `tests/main.rs` gives each its
//! corpus, and random changes of it; the package in `guided/` lets libFuzzer search by coverage,
//! under the address sanitizer. `docs/testing.md` tells how.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a target tells by a panic; targets are for tests alone"
)]

#[cfg(feature = "engine")]
pub mod annotate;
pub mod bundle;
#[cfg(feature = "engine")]
pub mod dataset;
pub mod dicom;
pub mod dimse;
#[cfg(feature = "engine")]
pub mod engine;
#[cfg(feature = "engine")]
pub mod graphs;
pub mod igtl;
pub mod link;
#[cfg(feature = "engine")]
pub mod live;
#[cfg(feature = "engine")]
pub mod log;
pub mod mutate;
pub mod onnx;
#[cfg(feature = "engine")]
pub mod preview;
mod scratch;
pub mod segmentation;
pub mod video;
pub mod vision;

/// A parser, by the name of its corpus' folder in `corpus/`.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of this build.
pub const TARGETS: &[Target] = &[
    #[cfg(feature = "engine")]
    ("annotations", annotate::annotations),
    #[cfg(feature = "engine")]
    ("answers", live::answers),
    ("archive", bundle::archive),
    ("avi", video::avi),
    #[cfg(feature = "engine")]
    ("cache", engine::cache),
    #[cfg(feature = "engine")]
    ("dataset", dataset::manifest),
    ("dicom", dicom::dicom),
    ("dimse", dimse::dimse),
    ("graph", bundle::graph),
    ("igtl", igtl::igtl),
    ("link", link::link),
    #[cfg(feature = "engine")]
    ("live", live::events),
    #[cfg(feature = "engine")]
    ("log", log::log),
    #[cfg(feature = "engine")]
    ("lower", graphs::lower),
    ("manifest", bundle::manifest),
    ("mjpeg", video::mjpeg),
    ("mp4", video::mp4),
    #[cfg(feature = "engine")]
    ("nodes", graphs::nodes),
    ("pack", bundle::pack),
    #[cfg(feature = "engine")]
    ("preview", preview::requests),
    ("prompts", bundle::prompts),
    ("rle", vision::rle),
    ("segmentation", segmentation::segmentation),
    #[cfg(feature = "engine")]
    ("session", engine::session),
    ("still", video::still),
    #[cfg(feature = "engine")]
    ("tokenizer", engine::tokenizer),
    ("words", video::words),
    ("y4m", video::y4m),
];

/// Run `work`, and panic when this thread had more than `most` bytes allocated at a time.
fn bounded(most: u64, work: impl FnOnce()) {
    let counted = allocation_counter::measure(work);
    assert!(
        counted.bytes_max <= most,
        "{} bytes were allocated at a time, at most {most} may be",
        counted.bytes_max
    );
}

/// An error is one line that changes no terminal.
fn one_line(error: &impl ToString) {
    let text = error.to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
}
