//! What the device tells of itself: memory and temperature, where Linux offers them.

use std::fs;
use std::path::Path;

/// Where Linux describes this process.
const STATUS: &str = "/proc/self/status";

/// Memory of this process that is in RAM, bytes; `None` where the system does not say.
pub fn resident_memory() -> Option<u64> {
    memory_in(Path::new(STATUS), "VmRSS:")
}

/// The most that [`resident_memory`] has been so far, bytes.
pub fn peak_memory() -> Option<u64> {
    memory_in(Path::new(STATUS), "VmHWM:")
}

/// Temperature of the hottest thermal zone, degrees Celsius; `None` where there is none to read.
pub fn temperature() -> Option<f32> {
    temperature_in(Path::new("/sys/class/thermal"))
}

fn memory_in(status: &Path, field: &str) -> Option<u64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn temperature_in(zones: &Path) -> Option<f32> {
    fs::read_dir(zones)
        .ok()?
        .filter_map(|zone| {
            let zone = zone.ok()?;
            let name = zone.file_name();
            name.to_str()?.strip_prefix("thermal_zone")?;
            let text = fs::read_to_string(zone.path().join("temp")).ok()?;
            let millidegrees: i32 = text.trim().parse().ok()?;
            Some(millidegrees as f32 / 1000.0)
        })
        // Zones of parts that are switched off report values such as -274.
        .filter(|celsius| (-40.0..=150.0).contains(celsius))
        .max_by(f32::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(folder: &Path, name: &str, temp: &str) {
        fs::create_dir(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("temp"), temp).unwrap();
    }

    #[test]
    fn the_hottest_plausible_zone_counts() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(temperature_in(folder.path()), None);
        zone(folder.path(), "thermal_zone0", "41500\n");
        zone(folder.path(), "thermal_zone1", "67250\n");
        zone(folder.path(), "thermal_zone2", "-274000\n");
        zone(folder.path(), "thermal_zone3", "none\n");
        zone(folder.path(), "cooling_device0", "99000\n");
        fs::create_dir(folder.path().join("thermal_zone4")).unwrap();
        assert_eq!(temperature_in(folder.path()), Some(67.25));
        assert_eq!(temperature_in(&folder.path().join("absent")), None);
    }

    #[test]
    fn memory_is_read_in_kibibytes() {
        let folder = tempfile::tempdir().unwrap();
        let status = folder.path().join("status");
        fs::write(
            &status,
            "Name:\tbedside\nVmHWM:\t30720 kB\nVmRSS:\t   20480 kB\nRssAnon:\t 7 kB\n",
        )
        .unwrap();
        assert_eq!(memory_in(&status, "VmRSS:"), Some(20 << 20));
        assert_eq!(memory_in(&status, "VmHWM:"), Some(30 << 20));
        for damaged in [
            "",
            "VmRSS:\n",
            "VmRSS: -1 kB\n",
            "VmRSS: 99999999999999999 kB\n",
        ] {
            fs::write(&status, damaged).unwrap();
            assert_eq!(memory_in(&status, "VmRSS:"), None, "{damaged:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_its_peak_grows_with_use() {
        assert!(resident_memory().is_some_and(|bytes| bytes > 100_000));
        let before = peak_memory().unwrap();
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(peak_memory().unwrap() >= before + (32 << 20));
        std::hint::black_box(&block);
    }
}
