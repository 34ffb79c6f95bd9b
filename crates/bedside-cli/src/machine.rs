//! What is known of the machine, for reports that travel.

use std::fs;

/// Name of the processor or board, as the kernel tells it.
pub(crate) fn name() -> Option<String> {
    let board = fs::read_to_string("/proc/device-tree/model").ok();
    let board = board.map(|s| s.trim_end_matches('\0').trim().to_owned());
    board
        .filter(|s| !s.is_empty())
        .or_else(|| field("/proc/cpuinfo", "model name"))
}

/// Largest resident memory of this process so far, in bytes.
pub(crate) fn peak_memory() -> Option<u64> {
    kib(&field("/proc/self/status", "VmHWM")?)
}

/// The value of the first line `key : value`.
fn field(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim().to_owned())
    })
}

/// Bytes of a count such as `5120 kB`.
fn kib(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_the_kernel_are_read() {
        assert_eq!(kib("5120 kB"), Some(5120 * 1024));
        assert_eq!(kib("lots"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn peak_memory_grows_with_use() {
        let before = peak_memory().unwrap();
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(peak_memory().unwrap() >= before + (32 << 20));
        std::hint::black_box(&block);
    }
}
