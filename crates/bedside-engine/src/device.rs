//! What is known of a GPU beside what an engine says of it.

use std::fs;

/// Version of NVIDIA's driver, as it gives it.
pub(crate) fn nvidia_driver() -> Option<String> {
    let version = fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    let words: Vec<&str> = version.lines().next()?.split_whitespace().collect();
    Some(words.join(" "))
}
