//! Files in, frames out, objects out: against pydicom, and against whatever a file may hold.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests may panic as tests do"
)]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

mod bounds;
mod conform;
mod deidentify;
mod golden;
mod phantom;
mod region;
mod tags;
mod video;
mod view;
mod write;

/// One file of `golden/matrix.gz`; see `golden.py`.
struct Golden {
    name: String,
    file: Vec<u8>,
    frames: usize,
    /// The CRC-32 of each frame, or where they are lossy all of them, one after another.
    expected: Vec<u8>,
    /// The most by which a sample may differ.
    most: u8,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn matrix() -> Vec<Golden> {
    let packed = fs::read(folder().join("matrix.gz")).unwrap();
    let mut all = Vec::new();
    let unpacked = flate2::read::GzDecoder::new(&*packed).read_to_end(&mut all);
    unpacked.unwrap();
    let mut rest = &*all;
    let mut part = || {
        let (len, after) = rest.split_first_chunk()?;
        let (part, after) = after.split_at(u32::from_le_bytes(*len) as usize);
        rest = after;
        Some(part.to_vec())
    };
    let mut found = Vec::new();
    while let Some(head) = part() {
        let head: serde_json::Value = serde_json::from_slice(&head).unwrap();
        found.push(Golden {
            name: head["name"].as_str().unwrap().to_owned(),
            file: part().unwrap(),
            frames: head["frames"].as_u64().unwrap() as usize,
            expected: part().unwrap(),
            most: head["most"].as_u64().unwrap() as u8,
        });
    }
    found
}
