//! Processor, memory, clock, heat and limits, as Linux tells of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bedside::{Clock, MonotonicClock};
use bedside_kernels::Cpu;
use bedside_live::CadenceConfig;
use serde_json::json;

use super::{Check, Level};

/// Memory below which a session with the edge model is likely to meet the system's killer.
const LEAST_MEMORY: u64 = 256 << 20;
/// Memory that leaves room for what else a device runs.
const MEMORY: u64 = 1 << 30;
/// Files that a session with viewers at its page needs, and that leave room.
const FILES: (u64, u64) = (64, 256);
/// Clocks that are slow to read, or coarse.
const SLOW_CLOCKS: [&str; 4] = ["acpi_pm", "hpet", "jiffies", "refined-jiffies"];
/// A step of the clock that shows in ages and latencies.
const COARSE: Duration = Duration::from_millis(1);

pub(super) fn checks() -> Vec<Check> {
    vec![processor(), cores(), memory(), clock(), heat(), files()]
}

fn processor() -> Check {
    let machine = bedside::machine_name();
    let kinds: Vec<String> = Cpu::supported().iter().map(Cpu::to_string).collect();
    let chosen = Cpu::detect().map(|cpu| cpu.to_string());
    let facts = json!({
        "machine": machine, "architecture": std::env::consts::ARCH,
        "kernels": chosen.as_ref().ok(), "supported": kinds,
    });
    let name = machine.as_deref().unwrap_or("unknown machine");
    let text = |chosen: &str| {
        format!(
            "{name} ({}), kernels {chosen} of {}",
            std::env::consts::ARCH,
            kinds.join(", ")
        )
    };
    match chosen {
        Err(why) => Check::new("processor", Level::Problem, why, facts),
        Ok(chosen) if chosen == "baseline" => {
            let hint = "a processor with AVX2, or BEDSIDE_CPU unset, is several times as fast";
            let text = format!("{}; hint: {hint}", text(&chosen));
            Check::new("processor", Level::Warning, text, facts)
        }
        Ok(chosen) => Check::ok("processor", text(&chosen), facts),
    }
}

fn cores() -> Check {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    let facts = json!({ "cores": cores, "load": load });
    let busy = load.map_or("load unknown".to_owned(), |load| format!("load {load:.1}"));
    let text = format!("{cores} for this process, {busy}");
    if cores == 1 {
        let text = format!("{text}; hint: the model takes turns with the video, give it two");
        return Check::new("cores", Level::Warning, text, facts);
    }
    if load.is_some_and(|load| load >= cores as f64) {
        let text = format!("{text}; hint: other work runs, and the speed below is beside it");
        return Check::new("cores", Level::Warning, text, facts);
    }
    Check::ok("cores", text, facts)
}

fn memory() -> Check {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let (total, free) = (
        kibibytes(&info, "MemTotal:"),
        kibibytes(&info, "MemAvailable:"),
    );
    let group = group(Path::new("/sys/fs/cgroup"), Path::new("/proc/self/cgroup"));
    let left = group.map(|(limit, used)| limit.saturating_sub(used));
    let available = free.into_iter().chain(left).min();
    let facts = json!({
        "total_bytes": total, "available_bytes": available,
        "limit_bytes": group.map(|(limit, _)| limit),
    });
    let mib =
        |bytes: Option<u64>| bytes.map_or("unknown".to_owned(), |b| format!("{} MiB", b >> 20));
    let limit = match group {
        Some((limit, _)) => format!(", limit of its group {} MiB", limit >> 20),
        None => String::new(),
    };
    let text = format!("{} available of {}{limit}", mib(available), mib(total));
    let level = match available {
        Some(bytes) if bytes < LEAST_MEMORY => Level::Problem,
        Some(bytes) if bytes >= MEMORY => return Check::ok("memory", text, facts),
        _ => Level::Warning,
    };
    let text = format!("{text}; hint: end other programs, or raise the limit, to 1 GiB or more");
    Check::new("memory", level, text, facts)
}

fn kibibytes(meminfo: &str, field: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Limit and use of memory of the control group with the least left, this process's or one above.
fn group(root: &Path, membership: &Path) -> Option<(u64, u64)> {
    let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let text = fs::read_to_string(membership).ok()?;
    // `ID:CONTROLLERS:PATH` a line. Version 2 has no controllers, version 1 a tree for each.
    let own = text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        let (top, names) = match controllers {
            "" => (root.to_owned(), ["memory.max", "memory.current"]),
            "memory" => (
                root.join("memory"),
                ["memory.limit_in_bytes", "memory.usage_in_bytes"],
            ),
            _ => return None,
        };
        Some((top.join(path), top, names))
    });
    let limits = own.flat_map(|(own, top, [limit, used])| {
        let groups = own.ancestors().take_while(|group| group.starts_with(&top));
        let pair = |group: &Path| Some((number(group.join(limit))?, number(group.join(used))?));
        groups.filter_map(pair).collect::<Vec<_>>()
    });
    // Version 1 writes no limit as a number near 2^63.
    limits
        .filter(|(limit, _)| *limit < 1 << 60)
        .min_by_key(|(limit, used)| limit.saturating_sub(*used))
}

fn clock() -> Check {
    let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let source = fs::read_to_string(source).ok();
    let source = source.as_deref().map(str::trim);
    let step = step(&MonotonicClock::new());
    let facts = json!({ "source": source, "step_ns": step.map(|s| s.as_nanos() as u64) });
    let steps = step.map_or("more than 100 ms".to_owned(), |step| format!("{step:?}"));
    let name = source.unwrap_or("unknown source");
    let text = format!("{name}, steps of {steps}");
    let slow = source.is_some_and(|source| SLOW_CLOCKS.contains(&source));
    if slow || step.is_none_or(|step| step > COARSE) {
        let text = format!("{text}; hint: have the kernel use the processor's own counter");
        return Check::new("clock", Level::Warning, text, facts);
    }
    Check::ok("clock", text, facts)
}

/// The smallest step between two readings; `None` when the clock stands still.
fn step(clock: &dyn Clock) -> Option<Duration> {
    let start = std::time::Instant::now();
    let mut last = clock.now();
    let mut least: Option<Duration> = None;
    let mut steps = 0;
    while steps < 1000 && start.elapsed() < Duration::from_millis(100) {
        let now = clock.now();
        let step = now.since(last);
        if !step.is_zero() {
            least = Some(least.map_or(step, |least| least.min(step)));
            steps += 1;
        }
        last = now;
    }
    least
}

fn heat() -> Check {
    let celsius = bedside_live::temperature();
    let throttled = throttled(Path::new("/sys/devices/system/cpu"));
    let facts = json!({ "celsius": celsius, "throttled": throttled });
    let hot = CadenceConfig::default().hot;
    let Some(celsius) = celsius else {
        let text = "no sensor can be read; hint: a hot device is not noticed; in a container, \
                    show it /sys/class/thermal";
        return Check::new("heat", Level::Warning, text, facts);
    };
    let times = throttled.map_or(String::new(), |n| {
        format!(", throttled {n} times since boot")
    });
    let text = format!("{celsius:.0} °C, inference slows down from {hot:.0} °C{times}");
    if celsius >= hot || throttled.is_some_and(|n| n > 0) {
        let text = format!("{text}; hint: see to fans and vents");
        return Check::new("heat", Level::Warning, text, facts);
    }
    Check::ok("heat", text, facts)
}

/// How often cores were slowed down for their heat; `None` where the kernel does not count.
fn throttled(cores: &Path) -> Option<u64> {
    let counts = fs::read_dir(cores).ok()?.flatten().filter_map(|core| {
        let count = core.path().join("thermal_throttle/core_throttle_count");
        fs::read_to_string(count).ok()?.trim().parse::<u64>().ok()
    });
    counts.reduce(u64::saturating_add)
}

fn files() -> Check {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit = open_files(&limits);
    let facts = json!({ "open_files": limit });
    let text = limit.map_or("unknown".to_owned(), |n| format!("{n} open at most"));
    let (least, enough) = FILES;
    let level = match limit {
        Some(n) if n < least => Level::Problem,
        Some(n) if n < enough => Level::Warning,
        _ => return Check::ok("files", text, facts),
    };
    let text = format!("{text}; hint: `ulimit -n 1024`, or LimitNOFILE= of its service");
    Check::new("files", level, text, facts)
}

fn open_files(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        soft => soft.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_group_counts() {
        let temp = tempfile::tempdir().unwrap();
        let (root, member) = (temp.path().join("root"), temp.path().join("cgroup"));
        let write = |group: &str, name: &str, text: &str| {
            fs::create_dir_all(root.join(group)).unwrap();
            fs::write(root.join(group).join(name), text).unwrap();
        };
        assert_eq!(group(&root, &member), None);
        fs::write(&member, "0::/a/b\n").unwrap();
        assert_eq!(group(&root, &member), None);
        write("a/b", "memory.max", "max\n");
        write("a/b", "memory.current", "70\n");
        assert_eq!(group(&root, &member), None);
        write("a", "memory.max", "100\n");
        write("a", "memory.current", "90\n");
        write("", "memory.max", "500\n");
        write("", "memory.current", "100\n");
        assert_eq!(group(&root, &member), Some((100, 90)));
        fs::write(&member, "5:cpu,cpuacct:/x\n4:memory:/c\nbroken\n").unwrap();
        write("memory/c", "memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/c", "memory.usage_in_bytes", "7\n");
        assert_eq!(group(&root, &member), None);
        write("memory/c", "memory.limit_in_bytes", "800\n");
        assert_eq!(group(&root, &member), Some((800, 7)));
    }

    #[test]
    fn kernel_texts_are_read_and_damaged_ones_say_nothing() {
        let info = "MemTotal:       16384 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(kibibytes(info, "MemTotal:"), Some(16 << 20));
        assert_eq!(kibibytes(info, "MemAvailable:"), Some(1 << 20));
        assert_eq!(kibibytes("MemTotal: -1 kB", "MemTotal:"), None);
        let limits = "Limit  Soft Limit\nMax open files            1024   4096   files\n";
        assert_eq!(open_files(limits), Some(1024));
        assert_eq!(open_files("Max open files  unlimited  x"), Some(u64::MAX));
        assert_eq!(open_files(""), None);
    }

    #[test]
    fn throttling_of_all_cores_is_summed_up() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(throttled(temp.path()), None);
        for (core, count) in [("cpu0", "2\n"), ("cpu1", "3\n"), ("cpufreq", "x")] {
            let folder = temp.path().join(core).join("thermal_throttle");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("core_throttle_count"), count).unwrap();
        }
        assert_eq!(throttled(temp.path()), Some(5));
        assert_eq!(throttled(&temp.path().join("absent")), None);
    }

    #[test]
    fn a_clock_that_stands_still_has_no_step() {
        assert_eq!(step(&bedside::ManualClock::default()), None);
        assert!(step(&MonotonicClock::new()).is_some());
    }
}
