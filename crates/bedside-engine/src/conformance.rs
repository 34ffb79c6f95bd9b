//! What a backend must pass before it is believed.
//!
//! Small graphs with the operators that bundles are made of, golden outputs by onnxruntime
//! (`conformance/make.py`), and the rules that the library above relies on.

use std::fmt;

use bedside_bundle::manifest::{DType, Dim, TensorSpec};

use crate::backend::{Backend, LoadOptions, Session};
use crate::error::{EngineError, ErrorKind};
use crate::signature::Signature;
use crate::value::Value;

/// Numbers of prompts and tokens in the golden runs.
const P: usize = 3;
const T: usize = 5;
/// Token rows in the runs that compare batches.
const ROWS: usize = 16;

/// A graph and what onnxruntime makes of it.
struct Case {
    name: &'static str,
    onnx: &'static [u8],
    inputs: &'static [(&'static str, &'static [Size])],
    outputs: &'static [(&'static str, &'static [Size], &'static [u8])],
    /// Largest difference allowed: rounding for f32, one quantum for int8.
    tolerance: f32,
}

#[derive(Clone, Copy)]
enum Size {
    N(usize),
    P,
    T,
}

use Size::N;

macro_rules! bytes {
    ($file:literal) => {
        include_bytes!(concat!("../conformance/", $file))
    };
}

const CONVOLUTIONS: Case = Case {
    name: "convolutions",
    onnx: bytes!("convolutions.onnx"),
    inputs: &[("image", &[N(1), N(3), N(24), N(28)])],
    outputs: &[(
        "features",
        &[N(1), N(8), N(12), N(14)],
        bytes!("convolutions.features.f32"),
    )],
    tolerance: 1e-4,
};

const ATTENTION: Case = Case {
    name: "attention",
    onnx: bytes!("attention.onnx"),
    inputs: &[
        ("memory", &[N(16), N(32)]),
        ("tokens", &[Size::P, Size::T, N(12)]),
        ("token_mask", &[Size::P, Size::T]),
    ],
    outputs: &[
        (
            "logits",
            &[Size::P, N(4), N(8)],
            bytes!("attention.logits.f32"),
        ),
        ("score", &[Size::P], bytes!("attention.score.f32")),
    ],
    tolerance: 1e-4,
};

const QUANTIZED_CONVOLUTION: Case = Case {
    name: "quantized convolution",
    onnx: bytes!("quantized_convolution.onnx"),
    inputs: &[("image", &[N(1), N(4), N(9), N(11)])],
    outputs: &[(
        "features",
        &[N(1), N(6), N(9), N(11)],
        bytes!("quantized_convolution.features.f32"),
    )],
    tolerance: 6.0 / 255.0 + 1e-4,
};

const DYNAMIC_MATMUL: Case = Case {
    name: "dynamic quantization",
    onnx: bytes!("dynamic_matmul.onnx"),
    inputs: &[("rows", &[N(7), N(16)])],
    outputs: &[("out", &[N(7), N(10)], bytes!("dynamic_matmul.out.f32"))],
    tolerance: 1e-4,
};

const CASES: [&Case; 4] = [
    &CONVOLUTIONS,
    &ATTENTION,
    &QUANTIZED_CONVOLUTION,
    &DYNAMIC_MATMUL,
];

/// A rule that a backend broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The rule.
    pub rule: String,
    /// How it was broken.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// Run the whole suite; all failures, none for a backend that conforms.
pub fn check(backend: &(impl Backend + ?Sized)) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut rule = |rule: String, result: Result<(), String>| {
        if let Err(what) = result {
            failures.push(Failure { rule, what });
        }
    };
    for case in CASES {
        rule(
            format!("{} as onnxruntime has it", case.name),
            golden(backend, case),
        );
    }
    rule(
        "same input, same bits, on 1 and 2 threads".into(),
        deterministic(backend),
    );
    rule(
        "same input, same bits, in sessions of several threads".into(),
        concurrent(backend),
    );
    rule(
        "a prompt gets the same bits in any company".into(),
        independent(backend),
    );
    rule(
        "inputs that do not fit are refused".into(),
        refuses_inputs(backend),
    );
    rule(
        "a graph of another signature is refused".into(),
        refuses_signature(backend),
    );
    rule(
        "bytes that are no graph are refused".into(),
        refuses_garbage(backend),
    );
    rule("external data is refused".into(), refuses_external(backend));
    rule(
        "a profile names operators with their times, or is refused".into(),
        profiles(backend),
    );
    failures
}

/// One real inference with a known answer.
pub(crate) fn probe(backend: &(impl Backend + ?Sized)) -> Result<(), EngineError> {
    golden(backend, &CONVOLUTIONS).map_err(|what| {
        EngineError::new(
            ErrorKind::Run,
            "",
            format!("backend {}: {what}", backend.name()),
        )
    })
}

impl Size {
    fn dim(self) -> Dim {
        match self {
            Self::N(n) => Dim::Fixed(n),
            Self::P => Dim::Symbol("P".into()),
            Self::T => Dim::Symbol("T".into()),
        }
    }

    fn number(self, prompts: usize) -> usize {
        match self {
            Self::N(n) => n,
            Self::P => prompts,
            Self::T => T,
        }
    }
}

fn spec(name: &str, shape: &[Size]) -> TensorSpec {
    let shape = shape.iter().map(|s| s.dim()).collect();
    TensorSpec {
        name: name.to_owned(),
        dtype: DType::F32,
        shape,
    }
}

impl Case {
    fn options(&self, threads: usize) -> LoadOptions {
        let expected = Signature {
            inputs: self
                .inputs
                .iter()
                .map(|(name, shape)| spec(name, shape))
                .collect(),
            outputs: self
                .outputs
                .iter()
                .map(|(name, shape, _)| spec(name, shape))
                .collect(),
        };
        LoadOptions {
            threads,
            ..LoadOptions::new(self.name, expected)
        }
    }

    fn load(
        &self,
        backend: &(impl Backend + ?Sized),
        threads: usize,
    ) -> Result<Box<dyn Session>, String> {
        backend
            .load(&self.onnx.to_vec().into(), &self.options(threads))
            .map_err(|e| e.to_string())
    }

    /// Input `k` holds `((7919 i + 104729 k) mod 2003) / 1001.5 - 1`.
    fn inputs(&self) -> Result<Vec<Value>, String> {
        self.inputs
            .iter()
            .enumerate()
            .map(|(k, (_, shape))| {
                let shape: Vec<usize> = shape.iter().map(|s| s.number(P)).collect();
                let data: Vec<f32> = (0..shape.iter().product::<usize>())
                    .map(|i| ((i * 7919 + k * 104_729) % 2003) as f32 / 1001.5 - 1.0)
                    .collect();
                Value::f32(&shape, &data).map_err(|e| e.to_string())
            })
            .collect()
    }
}

fn run(session: &mut dyn Session, inputs: &[Value]) -> Result<Vec<Vec<f32>>, String> {
    let outputs = session.run(inputs).map_err(|e| e.to_string())?;
    outputs
        .iter()
        .map(|v| {
            v.to_f32()
                .map(|data| data.into_owned())
                .map_err(|e| e.to_string())
        })
        .collect()
}

fn golden(backend: &(impl Backend + ?Sized), case: &Case) -> Result<(), String> {
    let mut session = case.load(backend, 1)?;
    let outputs = run(session.as_mut(), &case.inputs()?)?;
    if outputs.len() != case.outputs.len() {
        return Err(format!("{} outputs", outputs.len()));
    }
    for ((name, _, bytes), found) in case.outputs.iter().zip(outputs) {
        let (words, _) = bytes.as_chunks::<4>();
        let expected: Vec<f32> = words.iter().map(|w| f32::from_le_bytes(*w)).collect();
        if found.len() != expected.len() {
            return Err(format!(
                "{name} has {} values, not {}",
                found.len(),
                expected.len()
            ));
        }
        // Written so that NaN fails.
        let worst = found.iter().zip(&expected).find(|(a, b)| {
            let close = (**a - **b).abs() <= case.tolerance;
            !close
        });
        if let Some((a, b)) = worst {
            return Err(format!("{name} holds {a} where onnxruntime has {b}"));
        }
    }
    Ok(())
}

fn deterministic(backend: &(impl Backend + ?Sized)) -> Result<(), String> {
    for case in CASES {
        let inputs = case.inputs()?;
        let mut one = case.load(backend, 1)?;
        let mut two = case.load(backend, 2)?;
        let first = run(one.as_mut(), &inputs)?;
        for _ in 0..2 {
            if !same_bits(&run(one.as_mut(), &inputs)?, &first) {
                return Err(format!("{} differs from run to run", case.name));
            }
            if !same_bits(&run(two.as_mut(), &inputs)?, &first) {
                return Err(format!("{} differs on two threads", case.name));
            }
        }
    }
    Ok(())
}

/// Sessions of one backend that run at once, each on a thread of its own.
fn concurrent(backend: &(impl Backend + ?Sized)) -> Result<(), String> {
    for case in CASES {
        let inputs = case.inputs()?;
        let expected = run(case.load(backend, 1)?.as_mut(), &inputs)?;
        let repeat = || -> Result<(), String> {
            let mut session = case.load(backend, 1)?;
            for _ in 0..4 {
                if !same_bits(&run(session.as_mut(), &inputs)?, &expected) {
                    return Err(format!("{} differs beside other sessions", case.name));
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let running = [(); 3].map(|()| scope.spawn(repeat));
            let joined = running.map(|r| r.join().unwrap_or(Err("a session panicked".into())));
            joined.into_iter().collect::<Result<(), String>>()
        })?;
    }
    Ok(())
}

fn same_bits(a: &[Vec<f32>], b: &[Vec<f32>]) -> bool {
    let bits =
        |rows: &[Vec<f32>]| -> Vec<u32> { rows.iter().flatten().map(|v| v.to_bits()).collect() };
    bits(a) == bits(b)
}

/// Each prompt of batches of 1, 2, 3, 9 and 33 against a batch of its own. Rows are multiples of
/// 16 values, as the library pads them: engines sum unaligned rows in another order.
fn independent(backend: &(impl Backend + ?Sized)) -> Result<(), String> {
    let mut session = ATTENTION.load(backend, 1)?;
    let memory = ATTENTION.inputs()?.swap_remove(0);
    let tokens = |prompt: usize| -> Vec<f32> {
        (0..ROWS * 12)
            .map(|i| ((i * 31 + prompt * 577) % 211) as f32 / 105.0 - 1.0)
            .collect()
    };
    let mask = |prompt: usize| -> Vec<f32> {
        (0..ROWS)
            .map(|t| if t <= prompt % ROWS { 1.0 } else { 0.0 })
            .collect()
    };
    let mut batch = |prompts: &[usize]| -> Result<Vec<Vec<f32>>, String> {
        let p = prompts.len();
        let tokens: Vec<f32> = prompts.iter().flat_map(|p| tokens(*p)).collect();
        let mask: Vec<f32> = prompts.iter().flat_map(|p| mask(*p)).collect();
        let tokens = Value::f32(&[p, ROWS, 12], &tokens).map_err(|e| e.to_string())?;
        let mask = Value::f32(&[p, ROWS], &mask).map_err(|e| e.to_string())?;
        run(session.as_mut(), &[memory.clone(), tokens, mask])
    };
    for size in [1, 2, 3, 9, 33] {
        let prompts: Vec<usize> = (0..size).collect();
        let together = batch(&prompts)?;
        for prompt in prompts {
            let alone = batch(&[prompt])?;
            let row = together
                .iter()
                .map(|out| out.chunks_exact((out.len() / size).max(1)).nth(prompt))
                .map(|row| row.unwrap_or_default().to_vec())
                .collect::<Vec<_>>();
            if !same_bits(&row, &alone) {
                return Err(format!("prompt {prompt} of {size} is not as it is alone"));
            }
        }
    }
    Ok(())
}

fn expect_kind<T>(result: Result<T, EngineError>, kind: ErrorKind) -> Result<(), String> {
    match result {
        Ok(_) => Err("accepted".into()),
        Err(e) if e.kind() == kind => Ok(()),
        Err(e) => Err(format!("refused as {:?}, not {kind:?}: {e}", e.kind())),
    }
}

fn refuses_inputs(backend: &(impl Backend + ?Sized)) -> Result<(), String> {
    let mut session = ATTENTION.load(backend, 1)?;
    let good = ATTENTION.inputs()?;
    expect_kind(
        session.run(good.get(..2).unwrap_or_default()),
        ErrorKind::Input,
    )?;
    let value = |shape: &[usize]| {
        Value::f32(shape, &vec![0.5; shape.iter().product()]).map_err(|e| e.to_string())
    };
    for (position, shape) in [(0, vec![32, 16]), (2, vec![P, T + 1]), (1, vec![P, T * 12])] {
        let mut inputs = good.clone();
        if let Some(slot) = inputs.get_mut(position) {
            *slot = value(&shape)?;
        }
        expect_kind(session.run(&inputs), ErrorKind::Input)?;
    }
    run(session.as_mut(), &good)
        .map(|_| ())
        .map_err(|e| format!("good inputs after bad ones: {e}"))
}

fn refuses_signature(backend: &(impl Backend + ?Sized)) -> Result<(), String> {
    let options = LoadOptions {
        label: ATTENTION.name.into(),
        ..CONVOLUTIONS.options(1)
    };
    let onnx = ATTENTION.onnx.to_vec().into();
    expect_kind(backend.load(&onnx, &options), ErrorKind::Signature)?;
    let mut options = CONVOLUTIONS.options(1);
    if let Some(input) = options.expected.inputs.first_mut() {
        input.shape = [1, 3, 24, 24].map(Dim::Fixed).to_vec();
    }
    let onnx = CONVOLUTIONS.onnx.to_vec().into();
    expect_kind(backend.load(&onnx, &options), ErrorKind::Signature)
}

fn refuses_garbage(backend: &(impl Backend + ?Sized)) -> Result<(), String> {
    let onnx = CONVOLUTIONS.onnx;
    let half = onnx.get(..onnx.len() / 2).unwrap_or_default();
    for bytes in [&[][..], b"no graph at all", half] {
        match backend.load(&bytes.to_vec().into(), &CONVOLUTIONS.options(1)) {
            Ok(_) => return Err(format!("{} bytes were accepted", bytes.len())),
            Err(e) if e.graph() != CONVOLUTIONS.name => return Err(format!("no graph named: {e}")),
            Err(_) => {}
        }
    }
    Ok(())
}

fn refuses_external(backend: &(impl Backend + ?Sized)) -> Result<(), String> {
    let expected = Signature {
        inputs: vec![spec("x", &[N(1), N(4)])],
        outputs: vec![spec("y", &[N(1), N(4)])],
    };
    let options = LoadOptions::new("external", expected);
    let onnx = bytes!("external_data.onnx").to_vec().into();
    expect_kind(backend.load(&onnx, &options), ErrorKind::Graph)
}

fn profiles(backend: &(impl Backend + ?Sized)) -> Result<(), String> {
    let mut session = CONVOLUTIONS.load(backend, 1)?;
    let times = match session.profile(&CONVOLUTIONS.inputs()?) {
        Ok(times) => times,
        Err(e) if e.kind() == ErrorKind::Unavailable => return Ok(()),
        Err(e) => return Err(e.to_string()),
    };
    let named = times.iter().all(|t| !t.op.is_empty());
    if times.len() < 5 || !named || times.iter().all(|t| t.time.is_zero()) {
        return Err(format!("{} operators", times.len()));
    }
    Ok(())
}
