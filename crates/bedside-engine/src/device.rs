//! What is known of a GPU beside what an engine says of it.

use std::fs;

/// NVIDIA's driver and the GPUs that it drives, as it names them; which of them a process sees is an
/// environment variable's choice. `None` where the driver does not say.
pub(crate) fn nvidia() -> Option<String> {
    let version = fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    let mut found = vec![version.lines().next()?.to_owned()];
    for gpu in fs::read_dir("/proc/driver/nvidia/gpus").ok()? {
        let about = fs::read_to_string(gpu.ok()?.path().join("information")).ok()?;
        let named = |l: &&str| l.starts_with("Model:") || l.starts_with("GPU UUID:");
        found.push(about.lines().filter(named).collect());
    }
    found.sort_unstable();
    found.extend(std::env::var("CUDA_VISIBLE_DEVICES"));
    let words: Vec<&str> = found.iter().flat_map(|f| f.split_whitespace()).collect();
    Some(words.join(" "))
}
