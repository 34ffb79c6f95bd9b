//! Quantized graphs in integers, against onnxruntime's integers; see `quantized/make.py`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

use std::fs;
use std::path::PathBuf;

use bedside_engine::{
    Backend, DType, Dim, LoadOptions, Session, Signature, TensorSpec, TractCpu, TractStock, Value,
};

fn file(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/quantized");
    fs::read(folder.join(name)).unwrap()
}

fn numbers(name: &str) -> Vec<f32> {
    file(name)
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

struct Case {
    name: &'static str,
    input: [usize; 4],
    output: [usize; 4],
    /// Operators that must be there, and the distance of two codes of the output.
    operators: &'static [&'static str],
    step: f32,
}

const CASES: [Case; 8] = [
    Case {
        name: "pointwise",
        input: [1, 24, 6, 6],
        output: [1, 40, 6, 6],
        operators: &["Convolution.u8"],
        step: 0.05,
    },
    Case {
        name: "strided",
        input: [1, 3, 11, 11],
        output: [1, 20, 6, 6],
        operators: &["Convolution.u8"],
        step: 0.02,
    },
    Case {
        name: "depthwise",
        input: [1, 40, 9, 9],
        output: [1, 40, 5, 5],
        operators: &["Depthwise"],
        step: 0.02,
    },
    Case {
        name: "residual",
        input: [1, 16, 5, 5],
        output: [1, 16, 5, 5],
        operators: &["Convolution.u8"],
        step: 0.05,
    },
    Case {
        name: "twice",
        input: [1, 16, 4, 4],
        output: [1, 16, 8, 8],
        operators: &["Convolution.u8", "Twice"],
        step: 0.37,
    },
    Case {
        name: "mixed",
        input: [1, 16, 5, 5],
        output: [1, 16, 5, 5],
        operators: &["Convolution.f32"],
        step: 0.013,
    },
    Case {
        name: "codes",
        input: [1, 8, 6, 6],
        output: [1, 24, 6, 6],
        operators: &["Convolution.u8"],
        step: 1.0,
    },
    Case {
        name: "rescaled",
        input: [1, 8, 6, 6],
        output: [1, 8, 6, 6],
        operators: &["Convolution.u8"],
        step: 0.06,
    },
];

fn load(backend: &dyn Backend, case: &Case) -> Box<dyn Session> {
    let spec = |name: &str, shape: &[usize]| TensorSpec {
        name: name.to_owned(),
        dtype: DType::F32,
        shape: shape.iter().map(|n| Dim::Fixed(*n)).collect(),
    };
    let options = LoadOptions {
        label: case.name.to_owned(),
        expected: Signature {
            inputs: vec![spec("x", &case.input)],
            outputs: vec![spec("y", &case.output)],
        },
        threads: 1,
        require_device: false,
    };
    backend
        .load(&file(&format!("{}.onnx", case.name)), &options)
        .unwrap()
}

#[test]
fn integers_are_onnxruntimes() {
    for case in &CASES {
        let mut session = load(&TractCpu, case);
        let x = Value::f32(&case.input, numbers(&format!("{}.x.f32", case.name))).unwrap();
        let times = session.profile(std::slice::from_ref(&x)).unwrap();
        let ran: Vec<&str> = times.iter().map(|t| t.op.as_str()).collect();
        for operator in case.operators {
            assert!(ran.contains(operator), "{}: {ran:?}", case.name);
        }
        let slow = ["Conv", "OptMatMul"];
        assert!(
            !ran.iter().any(|op| slow.contains(op)),
            "{}: {ran:?}",
            case.name
        );

        let outputs = session.run(&[x]).unwrap();
        let got = outputs[0].to_f32().unwrap();
        let want = numbers(&format!("{}.y.f32", case.name));
        assert_eq!(got.len(), want.len());
        let apart = got
            .iter()
            .zip(&want)
            .filter(|(g, w)| (**g - **w).abs() > case.step / 2.0);
        let apart = apart.count();
        println!("{}: {apart} of {} codes differ", case.name, want.len());
        assert_eq!(apart, 0, "{}", case.name);
    }
}

/// tract alone computes the same graph in f32 between conversions: at most one step away.
#[test]
fn integers_are_near_tracts_reals() {
    for case in &CASES {
        let x = Value::f32(&case.input, numbers(&format!("{}.x.f32", case.name))).unwrap();
        let run = |backend: &dyn Backend| {
            let outputs = load(backend, case).run(std::slice::from_ref(&x)).unwrap();
            outputs[0].to_f32().unwrap().into_owned()
        };
        let (own, stock) = (run(&TractCpu), run(&TractStock));
        let off = own.iter().zip(&stock).map(|(a, b)| (a - b).abs());
        let off = off.fold(0.0, f32::max);
        assert!(off <= case.step * 1.01, "{}: {off}", case.name);
    }
}
