//! Every backend that is here against the suite, and the suite against backends that are broken.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may panic as tests do"
)]

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bedside_engine::{
    Backend, DType, Dim, EngineError, ErrorKind, FaultyBackend, InjectedFault, LoadOptions,
    Release, Session, Signature, TensorSpec, TractCpu, TractStock, Value, backend, backends,
    conformance,
};

/// The backends of this build that can run here; what the others lack is told.
fn available() -> Vec<&'static dyn Backend> {
    let mut all = backends();
    all.retain(|backend| match backend.available() {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            let text = error.to_string();
            assert!(text.contains("; hint: ") && !text.contains('\n'), "{text}");
            // Seen even where the harness captures output.
            let told = format!("skipped: {}: {text}\n", backend.name());
            let _ = std::io::stderr().write_all(told.as_bytes());
            false
        }
    });
    all
}

#[test]
fn every_backend_that_is_here_conforms() {
    let available = available();
    assert!(available.len() >= 2, "tract on the CPU is always there");
    for backend in available {
        let name = backend.name();
        let failures = conformance::check(backend);
        assert!(failures.is_empty(), "{name}: {failures:#?}");
        backend.probe().unwrap();
        println!("{name} conforms");
    }
}

/// Whoever names a library wants it tested.
#[cfg(feature = "ort")]
#[test]
fn a_named_onnxruntime_is_there() {
    if std::env::var_os("ORT_DYLIB_PATH").is_some() {
        backend("ort-cpu").unwrap().available().unwrap();
    }
}

#[test]
fn a_backend_is_known_by_its_name() {
    for known in backends() {
        assert_eq!(backend(known.name()).unwrap().name(), known.name());
    }
    let wrong = |name| {
        let error = backend(name).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        error.to_string()
    };
    let unknown = wrong("tract");
    assert!(
        unknown.contains("one of tract-cpu, tract-stock"),
        "{unknown}"
    );
    let compiled: Vec<_> = backends().iter().map(|b| b.name()).collect();
    for (name, feature) in [
        ("ort-cpu", "--features ort"),
        ("tract-cuda", "--features cuda"),
    ] {
        if !compiled.contains(&name) {
            let absent = wrong(name);
            assert!(absent.contains(feature), "{absent}");
        }
    }
}

#[test]
fn a_required_device_is_not_the_cpu() {
    for backend in available() {
        if ["tract-cpu", "tract-stock", "ort-cpu"].contains(&backend.name()) {
            let error = load_tiny(backend, true).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        }
    }
}

#[test]
fn tract_tells_the_times_of_operators() {
    for backend in [&TractCpu as &dyn Backend, &TractStock] {
        let (mut session, inputs) = tiny(backend);
        assert!(!session.profile(&inputs).unwrap().is_empty());
    }
}

/// A suite that a broken backend passes is worth nothing.
#[test]
fn the_suite_finds_broken_backends() {
    for (inner, fault) in available().into_iter().flat_map(|b| {
        [
            InjectedFault::Nan,
            InjectedFault::WrongShape,
            InjectedFault::DeviceLost,
        ]
        .map(|fault| (b, fault))
    }) {
        let told = format!("{fault:?} of {}", inner.name());
        let broken = FaultyBackend::new(Arc::new(inner), move |_, _| Some(fault.clone()));
        assert!(
            !conformance::check(&broken).is_empty(),
            "{told} went unnoticed"
        );
        assert!(broken.probe().is_err(), "{told} passed the probe");
    }
    // A fault in the second run only breaks determinism.
    let drifting = FaultyBackend::new(Arc::new(TractCpu), |_, run| {
        (run == 2).then_some(InjectedFault::Nan)
    });
    assert!(
        conformance::check(&drifting)
            .iter()
            .any(|f| f.rule.contains("same bits"))
    );
}

fn load_tiny(backend: &dyn Backend, require_device: bool) -> Result<Box<dyn Session>, EngineError> {
    let spec = |name: &str, shape: [usize; 2]| TensorSpec {
        name: name.into(),
        dtype: DType::F32,
        shape: shape.map(Dim::Fixed).to_vec(),
    };
    let expected = Signature {
        inputs: vec![spec("rows", [7, 16])],
        outputs: vec![spec("out", [7, 10])],
    };
    let mut options = LoadOptions::new("tiny", expected);
    options.require_device = require_device;
    let onnx = include_bytes!("../conformance/dynamic_matmul.onnx").to_vec();
    backend.load(&onnx.into(), &options)
}

fn tiny(backend: &dyn Backend) -> (Box<dyn Session>, Vec<Value>) {
    let data: Vec<f32> = (0..112).map(|i| i as f32 / 56.0 - 1.0).collect();
    let inputs = vec![Value::f32(&[7, 16], &data).unwrap()];
    (load_tiny(backend, false).unwrap(), inputs)
}

#[test]
fn faults_come_when_the_script_says_so() {
    available().into_iter().for_each(faults_come);
}

fn faults_come(inner: &'static dyn Backend) {
    let release = Release::default();
    let hang = release.clone();
    let backend = FaultyBackend::new(Arc::new(inner), move |graph, run| {
        assert_eq!(graph, "tiny");
        match run {
            1 => Some(InjectedFault::Slow(Duration::from_millis(30))),
            2 => Some(InjectedFault::Hang(hang.clone())),
            3 => Some(InjectedFault::Panic),
            4 => Some(InjectedFault::Nan),
            5 => Some(InjectedFault::WrongShape),
            7 => Some(InjectedFault::DeviceLost),
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
    assert!(Value::f32(&[2, 3], &[0.0; 5]).is_err());
    let ids = Value::i64(&[1, 4], &[101, 7, 8, 102]).unwrap();
    assert_eq!((ids.shape(), ids.dtype()), (&[1, 4][..], Some(DType::I64)));
    assert!(ids.to_f32().is_err());
}
