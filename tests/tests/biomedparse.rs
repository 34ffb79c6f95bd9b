//! The exporter's graphs in tract, against onnxruntime's answers; see `biomedparse/make.py`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may panic as tests do"
)]

use std::fs;
use std::path::{Path, PathBuf};

use bedside::bundle::manifest::Graph;
use bedside::engine::{Backend, LoadOptions, Session, Signature, TractCpu, Value};
use bedside_tests::workspace;
use serde_json::Value as Json;

/// Folder of the graphs: the small network's, or a full-size one that `BEDSIDE_BIOMEDPARSE` names.
fn folder() -> PathBuf {
    std::env::var_os("BEDSIDE_BIOMEDPARSE").map_or_else(
        || workspace::root().join("tests/biomedparse"),
        PathBuf::from,
    )
}

fn graph(described: &Json, name: &str) -> Graph {
    serde_json::from_value(described[name].clone()).unwrap()
}

fn load(folder: &Path, graph: &Graph) -> Box<dyn Session> {
    let mut options = LoadOptions::new(&*graph.part, Signature::from(graph));
    options.threads = 2;
    let onnx = fs::read(folder.join(&graph.part)).unwrap();
    TractCpu.load(&onnx.into(), &options).unwrap()
}

fn numbers(folder: &Path, name: &str) -> Vec<f32> {
    fs::read(folder.join(format!("{name}.f32")))
        .unwrap()
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

/// Largest difference over the largest magnitude; panics on NaN.
fn relative_error(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    assert!(got.iter().chain(want).all(|v| v.is_finite()));
    let scale = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let off = got.iter().zip(want).map(|(g, w)| (g - w).abs());
    assert!(scale > 0.0, "a dead network proves nothing");
    off.fold(0.0, f32::max) / scale
}

#[test]
fn exported_graphs_answer_in_tract_as_in_onnxruntime() {
    let folder = folder();
    let described: Json =
        serde_json::from_slice(&fs::read(folder.join("graphs.json")).unwrap()).unwrap();
    let value = |name: &str| {
        let shape: Vec<usize> = serde_json::from_value(described["shapes"][name].clone()).unwrap();
        Value::f32(&shape, &numbers(&folder, name)).unwrap()
    };
    let (encoder, decoder) = (graph(&described, "encoder"), graph(&described, "decoder"));
    let features = load(&folder, &encoder).run(&[value("image")]).unwrap();
    let inputs: Vec<Value> = decoder
        .inputs
        .iter()
        .map(|input| {
            let feature = encoder.outputs.iter().position(|o| o.name == input.name);
            feature.map_or_else(|| value(&input.name), |i| features[i].clone())
        })
        .collect();
    let mut session = load(&folder, &decoder);
    let outputs = session.run(&inputs).unwrap();
    let at = |name: &str| {
        let i = decoder.outputs.iter().position(|o| o.name == name).unwrap();
        outputs[i].to_f32().unwrap().into_owned()
    };

    let (got, want) = (at("logits"), numbers(&folder, "logits"));
    let error = relative_error(&got, &want);
    let signs = got
        .iter()
        .zip(&want)
        .filter(|(g, w)| (**g > 0.0) == (**w > 0.0));
    let agreement = signs.count() as f64 / want.len() as f64;
    let scores = relative_error(&at("score"), &numbers(&folder, "score"));
    println!("logits {error:.1e} relative, signs {agreement:.6}, scores {scores:.1e}");
    assert!(error <= 1e-3, "logits differ by {error} of the largest");
    assert!(agreement >= 0.9999, "{agreement} of the signs agree");
    assert!(scores <= 1e-3, "scores differ by {scores} of the largest");
    // The prompts are told apart, or agreement would prove little.
    let size = want.len() / 5;
    assert!(relative_error(&want[..size], &want[size..2 * size]) > 0.01);
}
