//! The soak: a session with random faults every few seconds, for as long as it is told.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::feeder::FRAME;
use crate::live::{Live, MAX_AGE, Setup, signal, status_field};
use crate::report::counts;
use crate::turn;

/// How long, in seconds, unless `BEDSIDE_SOAK` says otherwise.
const SECONDS: u64 = 30;
/// Faults of the model within so long that a session restarts it for: one more is a fault that stays.
const RESTARTS: usize = 3;
const WINDOW: Duration = Duration::from_secs(310);
/// From here on, memory must stay as it is: `BEDSIDE_SOAK` at least this long judges its slope.
const SLOPE_FROM: u64 = 600;

/// A sequence that looks random and repeats itself (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// One look at the process.
struct Sample {
    at: f64,
    resident: u64,
    threads: u64,
}

/// Something that goes wrong, and goes away if it can.
fn strike(
    live: &mut Live,
    dice: &mut Dice,
    restarts: &mut Vec<Instant>,
    done: &mut BTreeMap<&'static str, u64>,
) {
    let mut count = |what| *done.entry(what).or_insert(0) += 1;
    restarts.retain(|at| at.elapsed() < WINDOW);
    match dice.below(5) {
        // Killed, or stopped: for the watchdog to notice.
        0 | 1 if restarts.len() < RESTARTS => {
            if let Some(pid) = live.model() {
                restarts.push(Instant::now());
                let (name, what) = match dice.below(8) {
                    0 => ("STOP", "model stopped"),
                    1 | 2 => ("SEGV", "model crashed"),
                    3 | 4 => ("ABRT", "model aborted"),
                    _ => ("KILL", "model killed"),
                };
                // It may end by itself meanwhile.
                if std::process::Command::new("kill")
                    .args(["-s", name, &pid.to_string()])
                    .status()
                    .is_ok_and(|s| s.success())
                {
                    count(what);
                }
            }
        }
        2 => {
            live.feeder().pause();
            thread::sleep(Duration::from_millis(500 + dice.below(3_000)));
            live.feeder().resume();
            count("source silent");
        }
        3 => {
            // Bytes that are a frame, of noise.
            let mut noise = b"FRAME\n".to_vec();
            noise.extend((0..320 * 240 * 3 / 2).map(|_| dice.below(256) as u8));
            live.feeder().bytes(noise);
            count("frame of noise");
        }
        _ => {
            if let Some(sink) = live.commands().first().copied() {
                signal(sink, "STOP");
                thread::sleep(Duration::from_millis(500 + dice.below(2_000)));
                signal(sink, "CONT");
                count("sink stopped");
            }
        }
    }
}

#[test]
fn p_28_a_soak_with_random_faults_loses_no_frame_and_shows_no_old_mask() {
    let _turn = turn();
    let seconds = std::env::var("BEDSIDE_SOAK").map_or(SECONDS, |text| text.parse().unwrap());
    let length = Duration::from_secs(seconds);
    let mut setup = Setup::new();
    setup.sink("| exec cat >/dev/null");
    let mut live = Live::start(setup);
    assert!(
        live.until(|live| live.painted_since(0)),
        "no mask at the start"
    );
    let (mut dice, mut done) = (Dice(0x9e37_79b9_7f4a_7c15), BTreeMap::new());
    let mut restarts = Vec::new();
    let (start, mut samples) = (Instant::now(), Vec::new());
    let mut next = Duration::from_secs(2);
    while start.elapsed() < length && !live.ended() {
        if start.elapsed() >= next {
            strike(&mut live, &mut dice, &mut restarts, &mut done);
            next = start.elapsed() + Duration::from_millis(1_000 + dice.below(5_000));
        }
        samples.extend(sample(live.pid(), start));
        thread::sleep(Duration::from_millis(500));
    }
    let early = live.ended();
    let newest = live.newest() + 1;
    // The watchdog may be waiting for a model that was stopped.
    let recovered = live.until(|live| live.painted_since(newest));
    live.feeder().close();
    let (_, outcome) = live.finish();
    assert!(!early, "ended early: {}", outcome.stderr);

    let frames: Vec<&Value> = outcome.frames().collect();
    let masks = || {
        frames
            .iter()
            .filter_map(|f| f["masks"].as_array())
            .flatten()
    };
    let oldest = masks()
        .filter_map(|m| m["age_us"].as_u64())
        .max()
        .unwrap_or_default();
    // A picture that is shown again is as old as the silence.
    let new = frames.iter().filter(|frame| frame["repeated"] != true);
    let mut delays: Vec<u64> = new.filter_map(|f| f["delay_us"].as_u64()).collect();
    delays.sort_unstable();
    let share = |share: f64| {
        let rank = (delays.len() as f64 * share).ceil() as usize;
        delays
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default() as f64
            / 1e3
    };
    let end = outcome.end().cloned().unwrap_or_default();
    let [captured, shown, dropped, failed] = counts(&end);
    let (growth, threads) = trend(&samples);
    let took = start.elapsed().as_secs_f64();
    eprintln!(
        "soak of {took:.0} s: captured {captured} = shown {shown} + dropped {dropped} + failed {failed}, \
         {:.1} frames/s of {:.1}\nfaults {done:?}\nframes with masks {}, oldest mask {} ms\n\
         delay p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, most {:.2} ms\n\
         memory {:.1} MiB, growth {:.2} % over the later half, threads {threads:?}\nexit {}",
        shown as f64 / took,
        1.0 / FRAME.as_secs_f64(),
        frames
            .iter()
            .filter(|f| f["masks"].as_array().is_some_and(|m| !m.is_empty()))
            .count(),
        oldest / 1000,
        share(0.5),
        share(0.99),
        share(0.999),
        share(1.0),
        samples.last().map_or(0.0, |s| s.resident as f64 / 1024.0),
        growth * 100.0,
        outcome.exit(),
    );
    assert!(recovered, "no masks after the last fault");
    assert!(
        captured > 0 && captured == shown + dropped + failed,
        "{end}"
    );
    assert!(oldest / 1000 <= MAX_AGE, "a mask of {} ms", oldest / 1000);
    assert!(masks().next().is_some());
    assert_eq!(outcome.exit(), "0", "{}", outcome.stderr);
    let [least, most] = threads;
    assert!(most - least <= 2, "from {least} to {most} threads");
    if seconds >= SLOPE_FROM {
        assert!(
            growth.abs() <= 0.01,
            "memory grows by {:.2} %",
            growth * 100.0
        );
    }
}

fn sample(pid: u32, start: Instant) -> Option<Sample> {
    Some(Sample {
        at: start.elapsed().as_secs_f64(),
        resident: status_field(pid, "VmRSS:")?,
        threads: status_field(pid, "Threads:")?,
    })
}

/// Over the later half: the change of memory along its fitted line, as a share of its mean, and the
/// fewest and the most threads.
fn trend(samples: &[Sample]) -> (f64, [u64; 2]) {
    let later = &samples[samples.len() / 2..];
    let count = later.len().max(1) as f64;
    let mean = |of: fn(&Sample) -> f64| later.iter().map(of).sum::<f64>() / count;
    let (at, memory) = (mean(|s| s.at), mean(|s| s.resident as f64));
    let covariance: f64 = later
        .iter()
        .map(|s| (s.at - at) * (s.resident as f64 - memory))
        .sum();
    let variance: f64 = later.iter().map(|s| (s.at - at).powi(2)).sum();
    let span = later.last().map_or(0.0, |s| s.at) - later.first().map_or(0.0, |s| s.at);
    let growth = covariance / variance.max(1e-9) * span / memory.max(1.0);
    let threads = later.iter().map(|s| s.threads);
    let ends = [threads.clone().min(), threads.max()];
    (growth, ends.map(Option::unwrap_or_default))
}
