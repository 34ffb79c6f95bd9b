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

pub mod bundle;
#[cfg(feature = "engine")]
pub mod dataset;
#[cfg(feature = "engine")]
pub mod engine;
#[cfg(feature = "engine")]
pub mod live;
#[cfg(feature = "engine")]
pub mod log;
pub mod mutate;
pub mod onnx;
#[cfg(feature = "engine")]
pub mod preview;
mod scratch;
pub mod video;
pub mod vision;

/// A parser, under a name.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its corpus is the folder of this name in `corpus/`.
    pub name: &'static str,
    /// Panics where a promise is broken.
    pub run: fn(&[u8]),
    /// Files and folders of files that belong to its corpus too, from the repository's root.
    pub seeds: &'static [&'static str],
}

const fn target(name: &'static str, run: fn(&[u8]), seeds: &'static [&'static str]) -> Target {
    Target { name, run, seeds }
}

/// Every target of this build.
pub const TARGETS: &[Target] = &[
    #[cfg(feature = "engine")]
    target("answers", live::answers, &[]),
    target(
        "archive",
        bundle::archive,
        &[
            "crates/bedside-bundle/tests/golden/golden.bedside",
            "crates/bedside-bundle/tests/golden/hostile",
        ],
    ),
    target(
        "avi",
        video::avi,
        &["crates/bedside-video/tests/golden/clip.avi"],
    ),
    #[cfg(feature = "engine")]
    target("cache", engine::cache, &[]),
    #[cfg(feature = "engine")]
    target("dataset", dataset::manifest, &[]),
    target(
        "graph",
        bundle::graph,
        &[
            "crates/bedside-bundle/tests/golden/onnx",
            "crates/bedside-bundle/tests/golden/source/decoder.f32.onnx",
        ],
    ),
    #[cfg(feature = "engine")]
    target("live", live::events, &[]),
    #[cfg(feature = "engine")]
    target("log", log::log, &[]),
    #[cfg(feature = "engine")]
    target("lower", engine::lower, &[]),
    target("manifest", bundle::manifest, &[]),
    target(
        "mjpeg",
        video::mjpeg,
        &["crates/bedside-video/tests/golden/clip.mjpeg"],
    ),
    target(
        "mp4",
        video::mp4,
        &[
            "crates/bedside-video/tests/golden/baseline.mp4",
            "crates/bedside-video/tests/golden/chroma.mp4",
            "crates/bedside-video/tests/golden/full.mp4",
            "crates/bedside-video/tests/golden/high.mp4",
            "crates/bedside-video/tests/golden/mpeg4.mp4",
        ],
    ),
    target(
        "pack",
        bundle::pack,
        &[
            "crates/bedside-bundle/tests/golden/source/bundle.json",
            "crates/bedside-bundle/tests/golden/source/prompts.json",
        ],
    ),
    #[cfg(feature = "engine")]
    target("preview", preview::requests, &[]),
    target("prompts", bundle::prompts, &[]),
    target("rle", vision::rle, &[]),
    #[cfg(feature = "engine")]
    target(
        "session",
        engine::session,
        &["crates/bedside-cli/tests/golden/bundle/decoder.onnx"],
    ),
    target(
        "still",
        video::still,
        &["crates/bedside-video/tests/golden/stills"],
    ),
    #[cfg(feature = "engine")]
    target(
        "tokenizer",
        engine::tokenizer,
        &["tests/text/tokenizer.json"],
    ),
    target("words", video::words, &[]),
    target("y4m", video::y4m, &[]),
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
