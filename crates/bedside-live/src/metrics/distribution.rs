//! Durations counted: in fixed buckets for Prometheus, and finely for percentiles.

use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest duration told apart, in microseconds: an hour. Percentiles of longer ones say this.
const LONGEST: u64 = 3_600_000_000;
/// Percentiles are right to three digits.
const DIGITS: u8 = 3;

/// All durations of one kind since the start, in memory of one size.
#[derive(Debug)]
pub(super) struct Distribution {
    /// Upper bounds of the buckets, milliseconds.
    bounds: &'static [f64],
    /// Held while one number is counted, or a copy is made: some ten microseconds.
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    /// One more than bounds: the last is for what is above all of them.
    buckets: Vec<u64>,
    /// Microseconds.
    fine: Histogram<u32>,
    nanos: u64,
    least: Duration,
    most: Duration,
}

/// What was measured of one kind of duration, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// The shortest.
    pub min_ms: f64,
    /// Their mean.
    pub mean_ms: f64,
    /// Half of them were at most this long; this and the following are right to 0.1 %.
    pub p50_ms: f64,
    /// So were 90 %,
    pub p90_ms: f64,
    /// 95 %,
    pub p95_ms: f64,
    /// 99 %,
    pub p99_ms: f64,
    /// and 99.9 %.
    pub p99_9_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Standard deviation.
    pub std_dev_ms: f64,
}

impl Distribution {
    /// `bounds` are in milliseconds and rise.
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "constants that every other test would find wrong"
        )]
        let fine = Histogram::new_with_bounds(1, LONGEST, DIGITS).expect("sound bounds");
        Self {
            bounds,
            counts: Mutex::new(Counts {
                buckets: vec![0; bounds.len() + 1],
                fine,
                nanos: 0,
                least: Duration::MAX,
                most: Duration::ZERO,
            }),
        }
    }

    pub(super) fn record(&self, duration: Duration) {
        let ms = millis(duration);
        let bucket = self.bounds.partition_point(|bound| *bound < ms);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let mut counts = self.lock();
        if let Some(count) = counts.buckets.get_mut(bucket) {
            *count += 1;
        }
        counts
            .fine
            .saturating_record(nanos.saturating_add(500) / 1000);
        counts.nanos = counts.nanos.saturating_add(nanos);
        counts.least = counts.least.min(duration);
        counts.most = counts.most.max(duration);
    }

    /// `None` when nothing was measured.
    pub(super) fn latency(&self) -> Option<Latency> {
        let (fine, nanos, least, most) = {
            let counts = self.lock();
            (counts.fine.clone(), counts.nanos, counts.least, counts.most)
        };
        let count = fine.len();
        let percentile = |permille: u64| {
            // The rank in integers, and then the middle of its step: 99.9 / 100 * 1000 as f64 is
            // more than 999, which would give the rank above.
            let rank = u128::from(count) * u128::from(permille);
            let quantile = (rank.div_ceil(1000) as f64 - 0.5) / count as f64;
            let micros = Duration::from_micros(fine.value_at_quantile(quantile));
            // The fine counts round: no percentile lies outside what was measured.
            millis(micros.clamp(least, most))
        };
        (!fine.is_empty()).then(|| Latency {
            count,
            min_ms: millis(least),
            mean_ms: nanos as f64 / count as f64 / 1e6,
            p50_ms: percentile(500),
            p90_ms: percentile(900),
            p95_ms: percentile(950),
            p99_ms: percentile(990),
            p99_9_ms: percentile(999),
            max_ms: millis(most),
            std_dev_ms: fine.stdev() / 1e3,
        })
    }

    /// Lines of a Prometheus histogram.
    pub(super) fn samples(&self, name: &str, text: &mut String) {
        let (buckets, nanos) = {
            let counts = self.lock();
            (counts.buckets.clone(), counts.nanos)
        };
        let mut count = 0;
        let above = std::iter::once("+Inf".to_owned());
        let bounds = self.bounds.iter().map(|ms| (ms / 1e3).to_string());
        for (bound, bucket) in bounds.chain(above).zip(buckets) {
            count += bucket;
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(text, "{name}_sum {}", nanos as f64 / 1e9);
        let _ = writeln!(text, "{name}_count {count}");
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Counts are whole after every statement.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_measured_is_nothing_said() {
        assert_eq!(Distribution::new(&[1.0]).latency(), None);
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let distribution = Distribution::new(&[1.0, 2.5]);
        for micros in [0, 1000, 1001, 2500, 2501, 9_000_000_000] {
            distribution.record(Duration::from_micros(micros));
        }
        let mut text = String::new();
        distribution.samples("x", &mut text);
        assert_eq!(
            text,
            "x_bucket{le=\"0.001\"} 2\nx_bucket{le=\"0.0025\"} 4\nx_bucket{le=\"+Inf\"} 6\n\
             x_sum 9000.007002\nx_count 6\n"
        );
        assert_eq!(distribution.latency().unwrap().max_ms, 9e6);
    }

    #[test]
    fn of_a_thousand_the_last_but_one_is_the_99_9th_percentile() {
        let distribution = Distribution::new(&[]);
        for _ in 0..999 {
            distribution.record(Duration::from_millis(1));
        }
        distribution.record(Duration::from_millis(100));
        assert_eq!(distribution.latency().unwrap().p99_9_ms, 1.0);
    }

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_sorted_durations(
            mut micros in prop::collection::vec(1_u64..10_000_000, 1..2000)
        ) {
            let distribution = Distribution::new(&[]);
            for m in &micros {
                distribution.record(Duration::from_micros(*m));
            }
            micros.sort_unstable();
            let n = micros.len();
            let latency = distribution.latency().unwrap();
            let near = |got: f64, expected: f64| (got - expected).abs() <= expected * 1.1e-3;
            for (got, permille) in [
                (latency.p50_ms, 500),
                (latency.p90_ms, 900),
                (latency.p95_ms, 950),
                (latency.p99_ms, 990),
                (latency.p99_9_ms, 999),
            ] {
                let rank = (n * permille).div_ceil(1000);
                let expected = micros[rank - 1] as f64 / 1e3;
                prop_assert!(near(got, expected), "{permille}: {got} is not {expected}");
            }
            let mean = micros.iter().sum::<u64>() as f64 / n as f64 / 1e3;
            let variance = micros.iter().map(|m| (*m as f64 / 1e3 - mean).powi(2)).sum::<f64>();
            let deviation = (variance / n as f64).sqrt();
            prop_assert!((latency.mean_ms - mean).abs() <= 1e-9 * mean);
            prop_assert!((latency.std_dev_ms - deviation).abs() <= 2e-3 * mean.max(deviation));
            prop_assert_eq!(latency.count, n as u64);
            prop_assert_eq!(latency.min_ms, micros[0] as f64 / 1e3);
            prop_assert_eq!(latency.max_ms, micros[n - 1] as f64 / 1e3);
        }
    }
}
