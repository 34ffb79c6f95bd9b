//! Which device this is.

use std::fs;

/// Name of the board or, without one, of the processor, as the kernel gives it.
pub fn machine_name() -> Option<String> {
    let board = fs::read_to_string("/proc/device-tree/model").ok();
    let board = board.map(|s| s.trim_end_matches('\0').trim().to_owned());
    board.filter(|s| !s.is_empty()).or_else(|| {
        let processors = fs::read_to_string("/proc/cpuinfo").ok()?;
        processors.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == "model name").then(|| value.trim().to_owned())
        })
    })
}
