//! The fastest precision of the edge bundle, on backends whose speed and faults are scripted.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests may panic as tests do"
)]

use std::sync::Arc;
use std::time::Duration;

use bedside::engine::{InjectedFault, FaultyBackend, TractCpu};
use bedside::{Bundle, Options, Outcome, Precision, Tuning};
use bedside_tests::workspace;

const F32: &str = "encoder.f32.onnx";
const INT8: &str = "encoder.int8.onnx";
/// More than the encoders' times can differ by.
const SLOW: InjectedFault = InjectedFault::Slow(Duration::from_millis(250));
/// Each self-test runs the encoder once.
const SELF_TESTS: u64 = 3;

fn tune(script: impl Fn(&str, u64) -> Option<InjectedFault> + Send + Sync + 'static) -> Tuning {
    let bundle = Bundle::open(workspace::root().join("models/edge/edge.bedside")).unwrap();
    assert_eq!(bundle.manifest().self_tests.len() as u64, SELF_TESTS);
    let backend = FaultyBackend::new(Arc::new(TractCpu), script);
    bedside::tune(&bundle, &backend, &Options::default()).unwrap()
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
    let int8 = tune(|graph, _| (graph == F32).then_some(SLOW));
    assert_eq!(int8.fastest(), Some(Precision::Int8));
    let f32 = tune(|graph, _| (graph == INT8).then_some(SLOW));
    assert_eq!(f32.fastest(), Some(Precision::F32));
    let times: Vec<f64> = f32
        .precisions
        .iter()
        .filter_map(|t| t.outcome.milliseconds())
        .collect();
    assert!(
        times.len() == 2 && times.iter().any(|ms| *ms > 250.0),
        "{times:?}"
    );
}

/// A pass that is slow now and then says little of a precision.
#[test]
fn single_slow_passes_change_nothing() {
    let tuning = tune(|graph, run| match graph {
        F32 => Some(InjectedFault::Slow(Duration::from_millis(50))),
        _ => (run >= SELF_TESTS && run.is_multiple_of(4)).then_some(SLOW),
    });
    assert_eq!(tuning.fastest(), Some(Precision::Int8), "{tuning:?}");
}

#[test]
fn a_precision_that_fails_is_not_chosen_however_fast() {
    let nan = tune(|graph, _| match graph {
        F32 => Some(SLOW),
        INT8 => Some(InjectedFault::Nan),
        _ => None,
    });
    assert_eq!(nan.fastest(), Some(Precision::F32));
    assert!(!failure(&nan, Precision::Int8).is_empty());
    let later =
        tune(|graph, run| (graph == INT8 && run == SELF_TESTS + 2).then_some(InjectedFault::DeviceLost));
    assert_eq!(later.fastest(), Some(Precision::F32));
    assert!(failure(&later, Precision::Int8).contains("the device is lost"));
    let all = tune(|_, _| Some(InjectedFault::WrongShape));
    assert_eq!(all.fastest(), None);
}
