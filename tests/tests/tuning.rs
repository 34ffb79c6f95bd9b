//! The fastest precision of the edge bundle, on backends whose speed and faults are scripted.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests may panic as tests do"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bedside::engine::{FaultyBackend, InjectedFault, TractCpu};
use bedside::{Bundle, ManualClock, Options, Outcome, Precision, Tuning};
use bedside_tests::workspace;

const F32: &str = "encoder.f32.onnx";
const INT8: &str = "encoder.int8.onnx";
/// Each self-test runs the encoder once.
const SELF_TESTS: u64 = 3;

/// A run of a graph takes the milliseconds that the script gives for it, and no time besides.
fn tune(
    script: impl Fn(&str, u64) -> (u64, Option<InjectedFault>) + Send + Sync + 'static,
) -> Tuning {
    let bundle = Bundle::open(workspace::root().join("models/edge/edge.bedside")).unwrap();
    let manifest = bundle.manifest();
    let tests = manifest.self_tests_at(manifest.input.side);
    assert_eq!(tests.count() as u64, SELF_TESTS);
    let clock = Arc::new(ManualClock::default());
    let time = clock.clone();
    let backend = FaultyBackend::new(Arc::new(TractCpu), move |graph, run| {
        let (ms, fault) = script(graph, run);
        time.advance(Duration::from_millis(ms));
        fault
    });
    bedside::tune(&bundle, backend, &Options::default(), &*clock)
}

fn times(tuning: &Tuning) -> Vec<(Precision, Option<f64>)> {
    let tried = tuning.precisions.iter();
    let times = tried.map(|t| (t.precision, t.outcome.milliseconds()));
    times.collect()
}

fn failure(tuning: &Tuning, precision: Precision) -> &str {
    let tried = tuning.precisions.iter().find(|t| t.precision == precision);
    match &tried.unwrap().outcome {
        Outcome::Failed(why) => why,
        Outcome::Milliseconds(ms) => panic!("{precision} took {ms} ms"),
    }
}

#[test]
fn the_choice_follows_the_times() {
    for (f32, int8, fastest) in [(30, 20, Precision::Int8), (20, 30, Precision::F32)] {
        let tuning = tune(move |graph, _| match graph {
            F32 => (f32, None),
            INT8 => (int8, None),
            _ => (1, None),
        });
        assert_eq!(tuning.fastest(), Some(fastest));
        let mut times = times(&tuning);
        times.sort_by_key(|(precision, _)| *precision != Precision::F32);
        let expected = [
            (Precision::F32, Some(f32 as f64 + 1.0)),
            (Precision::Int8, Some(int8 as f64 + 1.0)),
        ];
        assert_eq!(times, expected);
    }
}

/// A pass that is slow now and then says little of a precision.
#[test]
fn single_slow_passes_change_nothing() {
    let tuning = tune(|graph, run| match graph {
        F32 => (30, None),
        INT8 if run >= SELF_TESTS && run.is_multiple_of(4) => (1000, None),
        INT8 => (20, None),
        _ => (1, None),
    });
    assert_eq!(tuning.fastest(), Some(Precision::Int8), "{tuning:?}");
}

/// Nine rounds of two passes that take a second each would be eighteen seconds.
#[test]
fn long_passes_end_it_early() {
    let rounds = Arc::new(AtomicU64::new(0));
    let last = rounds.clone();
    tune(move |graph, run| {
        if graph == F32 {
            last.store((run + 1).saturating_sub(SELF_TESTS), Ordering::Relaxed);
        }
        (500, None)
    });
    // Two graphs of half a second for each of two precisions: five seconds are not over before
    // the third round, and are before the fourth.
    assert_eq!(rounds.load(Ordering::Relaxed), 3);
}

#[test]
fn a_precision_that_fails_is_not_chosen_however_fast() {
    let fast = |graph: &str| if graph == INT8 { 1 } else { 250 };
    let nan = tune(move |graph, _| (fast(graph), (graph == INT8).then_some(InjectedFault::Nan)));
    assert_eq!(nan.fastest(), Some(Precision::F32));
    assert!(!failure(&nan, Precision::Int8).is_empty());
    let later = tune(move |graph, run| {
        let lost = graph == INT8 && run == SELF_TESTS + 2;
        (fast(graph), lost.then_some(InjectedFault::DeviceLost))
    });
    assert_eq!(later.fastest(), Some(Precision::F32));
    assert!(failure(&later, Precision::Int8).contains("the device is lost"));
    let all = tune(|_, _| (1, Some(InjectedFault::WrongShape)));
    assert_eq!(all.fastest(), None);
}
