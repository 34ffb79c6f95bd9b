//! Monotonic time, always injected: no decision reads the wall clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use std::time::Instant;

/// A moment on a [`Clock`], in nanoseconds since that clock's own start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `nanos` nanoseconds after the clock's start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero if it lies in the future.
    pub const fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Where time comes from. Tests hand in a [`ManualClock`], devices a [`MonotonicClock`].
pub trait Clock: Send + Sync {
    /// The present moment; never earlier than an answer given before.
    fn now(&self) -> Timestamp;
}

/// The operating system's monotonic clock, counted from the value's creation. On Linux and Android
/// the time that the machine is suspended counts (`CLOCK_BOOTTIME`), so that after a resume what was
/// known before is as old as it is; elsewhere that depends on the system.
#[derive(Debug, Clone, Copy)]
pub struct MonotonicClock(Start);

#[cfg(any(target_os = "linux", target_os = "android"))]
type Start = Boot;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
type Start = Instant;

/// A moment, as time since the machine was booted.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[derive(Debug, Clone, Copy)]
struct Boot(Duration);

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Boot {
    fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // The kernel gives neither negative seconds nor a billion nanoseconds.
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(now.tv_nsec).unwrap_or_default();
        Self(Duration::from_secs(seconds) + Duration::from_nanos(nanos.into()))
    }

    fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

impl MonotonicClock {
    /// A clock that starts now.
    pub fn new() -> Self {
        Self(Start::now())
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Timestamp {
        // 2^64 ns are 584 years of uptime.
        Timestamp(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// A clock that moves only by [`advance`](Self::advance), for tests and replays.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Move time forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        // Saturating: time never wraps to the past.
        let _ = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |t| {
                Some(t.saturating_add(nanos))
            });
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set for the process that runs on a machine which slept.
    #[cfg(target_os = "linux")]
    const SLEPT: &str = "BEDSIDE_TEST_SLEPT";

    #[test]
    fn the_systems_clock_starts_at_zero_and_goes_on() {
        let clock = MonotonicClock::new();
        let first = clock.now();
        assert!(first.since(Timestamp::default()) < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(2));
        let passed = clock.now().since(first);
        assert!(passed >= Duration::from_millis(2), "{passed:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn p_04_a_suspended_machines_time_counts() {
        use std::process::Command;

        // The kernel's count of seconds since boot, suspended ones among them.
        let uptime = || {
            let text = std::fs::read_to_string("/proc/uptime").unwrap();
            let seconds: f64 = text.split(' ').next().unwrap().parse().unwrap();
            Duration::from_secs_f64(seconds)
        };
        // Of hundredths of a second.
        let coarse = Duration::from_millis(20);
        let (before, boot, after) = (uptime(), Boot::now().0, uptime());
        assert!(
            boot + coarse >= before && boot <= after + coarse,
            "{boot:?}"
        );
        // A machine that was never suspended has the same time on every clock: once more as one that
        // slept for a day.
        if std::env::var_os(SLEPT).is_some() {
            return;
        }
        let slept = |program: &std::ffi::OsStr| {
            let mut command = Command::new("unshare");
            command.args(["-rT", "--boottime", "86400"]).arg(program);
            command.env(SLEPT, "1");
            command
        };
        let probed = slept("true".as_ref()).output();
        if !probed.is_ok_and(|probed| probed.status.success()) {
            println!("skipped: no time of one's own to be had");
            return;
        }
        let ran = slept(std::env::current_exe().unwrap().as_os_str())
            .args([
                "time::tests::p_04_a_suspended_machines_time_counts",
                "--exact",
            ])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && told.contains("1 passed"), "{told}");
    }

    #[test]
    fn manual_time_moves_only_forward() {
        let clock = ManualClock::default();
        let start = clock.now();
        clock.advance(Duration::from_millis(5));
        let later = clock.now();
        assert_eq!(later.since(start), Duration::from_millis(5));
        assert_eq!(start.since(later), Duration::ZERO);
        clock.advance(Duration::MAX);
        clock.advance(Duration::from_secs(1));
        assert!(clock.now() >= later);
    }
}
