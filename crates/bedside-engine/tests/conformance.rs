//! tract against the suite, and the suite against backends that are broken.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::sync::Arc;
use std::time::Duration;

use bedside_engine::{
    Backend, DType, Dim, ErrorKind, Fault, FaultyBackend, LoadOptions, Release, Session, Signature,
    TensorSpec, TractCpu, Value, conformance,
};

#[test]
fn tract_cpu_conforms() {
    let failures = conformance::check(&TractCpu);
    assert!(failures.is_empty(), "{failures:#?}");
    TractCpu.probe().unwrap();
}

/// A suite that a broken backend passes is worth nothing.
#[test]
fn the_suite_finds_broken_backends() {
    for fault in [Fault::NotANumber, Fault::WrongShape, Fault::DeviceLost] {
        let told = format!("{fault:?}");
        let broken = FaultyBackend::new(Arc::new(TractCpu), move |_, _| Some(fault.clone()));
        assert!(
            !conformance::check(&broken).is_empty(),
            "{told} went unnoticed"
        );
        assert!(broken.probe().is_err(), "{told} passed the probe");
    }
    // A fault in the second run only breaks determinism.
    let drifting = FaultyBackend::new(Arc::new(TractCpu), |_, run| {
        (run == 2).then_some(Fault::NotANumber)
    });
    assert!(
        conformance::check(&drifting)
            .iter()
            .any(|f| f.rule.contains("same bits"))
    );
}

fn tiny(backend: &dyn Backend) -> (Box<dyn Session>, Vec<Value>) {
    let spec = |name: &str, shape: [usize; 2]| TensorSpec {
        name: name.into(),
        dtype: DType::F32,
        shape: shape.map(Dim::Fixed).to_vec(),
    };
    let options = LoadOptions {
        label: "tiny".into(),
        expected: Signature {
            inputs: vec![spec("rows", [7, 16])],
            outputs: vec![spec("out", [7, 10])],
        },
        threads: 1,
    };
    let onnx = include_bytes!("../conformance/dynamic_matmul.onnx");
    let inputs =
        vec![Value::f32(&[7, 16], (0..112).map(|i| i as f32 / 56.0 - 1.0).collect()).unwrap()];
    (backend.load(onnx, &options).unwrap(), inputs)
}

#[test]
fn faults_come_when_the_script_says_so() {
    let release = Release::default();
    let hang = release.clone();
    let backend = FaultyBackend::new(Arc::new(TractCpu), move |graph, run| {
        assert_eq!(graph, "tiny");
        match run {
            1 => Some(Fault::Slow(Duration::from_millis(30))),
            2 => Some(Fault::Hang(hang.clone())),
            3 => Some(Fault::Panic),
            4 => Some(Fault::NotANumber),
            5 => Some(Fault::WrongShape),
            7 => Some(Fault::DeviceLost),
            _ => None,
        }
    });
    let (mut session, inputs) = tiny(&backend);
    let good = session.run(&inputs).unwrap()[0]
        .to_f32()
        .unwrap()
        .into_owned();

    let start = std::time::Instant::now();
    session.run(&inputs).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(30));

    let hanging = std::thread::spawn({
        let inputs = inputs.clone();
        move || {
            session.run(&inputs).unwrap();
            session
        }
    });
    std::thread::sleep(Duration::from_millis(50));
    assert!(!hanging.is_finished());
    release.release();
    let mut session = hanging.join().unwrap();

    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| session.run(&inputs)));
    assert!(panicked.is_err());
    assert!(
        session.run(&inputs).unwrap()[0]
            .to_f32()
            .unwrap()
            .iter()
            .all(|v| v.is_nan())
    );
    assert_eq!(session.run(&inputs).unwrap()[0].shape(), [7, 9]);
    assert_eq!(
        *session.run(&inputs).unwrap()[0].to_f32().unwrap(),
        good,
        "no fault, no change"
    );
    for _ in 0..2 {
        assert_eq!(
            session.run(&inputs).unwrap_err().kind(),
            ErrorKind::DeviceLost
        );
    }
}

#[test]
fn values_know_their_shape() {
    assert!(Value::f32(&[2, 3], vec![0.0; 5]).is_err());
    let ids = Value::i64(&[1, 4], vec![101, 7, 8, 102]).unwrap();
    assert_eq!((ids.shape(), ids.dtype()), (&[1, 4][..], Some(DType::I64)));
    assert!(ids.to_f32().is_err());
}
