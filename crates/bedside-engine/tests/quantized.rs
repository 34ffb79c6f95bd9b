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

const CASES: [Case; 9] = [
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
        operators: &["Convolution.u8", "Upsample2x"],
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
    Case {
        name: "innermost",
        input: [1, 7, 7, 24],
        output: [1, 7, 7, 40],
        operators: &["ToCodes", "Depthwise", "Convolution.u8", "FromCodes"],
        step: 0.09,
    },
];

fn load(backend: &dyn Backend, case: &Case) -> Box<dyn Session> {
    let fixed = |shape: &[usize]| shape.iter().map(|n| Dim::Fixed(*n)).collect();
    load_as(backend, case.name, fixed(&case.input), fixed(&case.output))
}

fn load_as(backend: &dyn Backend, name: &str, x: Vec<Dim>, y: Vec<Dim>) -> Box<dyn Session> {
    let spec = |name: &str, shape| TensorSpec {
        name: name.to_owned(),
        dtype: DType::F32,
        shape,
    };
    let expected = Signature {
        inputs: vec![spec("x", x)],
        outputs: vec![spec("y", y)],
    };
    let options = LoadOptions::new(name, expected);
    let onnx = file(&format!("{name}.onnx"));
    backend.load(&onnx.into(), &options).unwrap()
}

#[test]
fn integers_are_onnxruntimes() {
    for case in &CASES {
        let mut session = load(&TractCpu, case);
        let x = Value::f32(&case.input, &numbers(&format!("{}.x.f32", case.name))).unwrap();
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
        let x = Value::f32(&case.input, &numbers(&format!("{}.x.f32", case.name))).unwrap();
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

/// Activations one after another, with their answers, of a graph that quantizes them as they come.
struct Dynamic {
    name: &'static str,
    input: &'static [usize],
    output: &'static [usize],
    products: usize,
    /// How far from onnxruntime's an answer may be.
    off: f32,
}

#[test]
fn products_of_what_is_quantized_as_it_comes_are_onnxruntimes() {
    let case = |name, input, output, products, off| Dynamic {
        name,
        input,
        output,
        products,
        off,
    };
    for case in [
        case("columns", &[2, 9, 30], &[2, 9, 37], 1, 0.0),
        case("whole", &[7, 24], &[7, 40], 1, 0.0),
        case("perceptron", &[1, 11, 20], &[1, 11, 20], 2, 0.0),
        // onnxruntime's erf is another polynomial.
        case("gelu", &[1, 11, 20], &[1, 11, 48], 1, 2e-5),
    ] {
        let fixed = |shape: &[usize]| shape.iter().map(|n| Dim::Fixed(*n)).collect();
        let (x, y) = (fixed(case.input), fixed(case.output));
        let mut session = load_as(&TractCpu, case.name, x, y);
        let inputs = numbers(&format!("{}.x.f32", case.name));
        let answers = numbers(&format!("{}.y.f32", case.name));
        let (reads, gives) = (
            case.input.iter().product::<usize>(),
            case.output.iter().product::<usize>(),
        );
        assert_eq!(inputs.len() / reads, answers.len() / gives);
        for (x, want) in inputs.chunks(reads).zip(answers.chunks(gives)) {
            let x = Value::f32(case.input, x).unwrap();
            let times = session.profile(std::slice::from_ref(&x)).unwrap();
            let ran: Vec<&str> = times.iter().map(|t| t.op.as_str()).collect();
            let all = ran.iter().filter(|op| **op != "Source");
            assert!(all.clone().all(|op| *op == "DynamicProduct"), "{ran:?}");
            assert_eq!(all.count(), case.products, "{}: {ran:?}", case.name);
            let outputs = session.run(&[x]).unwrap();
            for (got, want) in outputs[0].to_f32().unwrap().iter().zip(want) {
                let off = (got - want).abs();
                assert!(off <= case.off, "{}: {got} for {want}", case.name);
            }
        }
    }
}

/// A range over all prompts would make the answer to one depend on the others.
#[test]
fn a_prompt_has_onnxruntimes_answer_in_any_company() {
    let shape = |n| vec![Dim::Symbol("P".into()), Dim::Fixed(5), Dim::Fixed(n)];
    let mut session = load_as(&TractCpu, "prompts", shape(24), shape(40));
    let (x, want) = (numbers("prompts.x.f32"), numbers("prompts.y.f32"));
    for prompts in [1, 2, 6] {
        let x = Value::f32(&[prompts, 5, 24], &x[..prompts * 120]).unwrap();
        let outputs = session.run(&[x]).unwrap();
        let got = outputs[0].to_f32().unwrap();
        assert_eq!(*got, want[..prompts * 200]);
    }
}
