//! What is known of this process's use of the machine.

use std::fs;

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
