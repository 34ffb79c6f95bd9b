//! Bundles whose decoder has what is put into it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bedside::Bundle;
use bedside_fuzz::onnx::{self, Element, Graph};
use serde_json::json;
use sha2::{Digest, Sha256};

/// The tiny bundle's decoder, whose score goes through what `between` adds from `first` to `score`.
pub(crate) fn decoder(between: impl FnOnce(&mut Graph)) -> Vec<u8> {
    let mut graph = Graph::default();
    graph.input(&onnx::end("pixels", Element::F32, &["1", "3", "8", "8"]));
    graph.input(&onnx::end("tokens", Element::F32, &["P", "T", "4"]));
    graph.input(&onnx::end("token_mask", Element::F32, &["P", "T"]));
    graph.output(&onnx::end("logits", Element::F32, &["P", "8", "8"]));
    graph.output(&onnx::end("score", Element::F32, &["P"]));
    let lists: [(&str, &[i64]); 7] = [
        ("zero", &[0]),
        ("one", &[1]),
        ("two", &[2]),
        ("three", &[3]),
        ("four", &[4]),
        ("flat", &[3, 64]),
        ("square", &[-1, 8, 8]),
    ];
    for (name, values) in lists {
        graph.initializer(&onnx::integers(name, values));
    }
    let flat = &[onnx::int("keepdims", 0)];
    graph.node("Unsqueeze", &["token_mask", "two"], "weights", &[]);
    graph.node("Mul", &["tokens", "weights"], "masked", &[]);
    graph.node("ReduceSum", &["masked", "one"], "token", flat);
    graph.node("Slice", &["token", "zero", "three", "one"], "colour", &[]);
    graph.node("Slice", &["token", "three", "four", "one"], "bias", &[]);
    graph.node("Reshape", &["pixels", "flat"], "cells", &[]);
    graph.node("MatMul", &["colour", "cells"], "products", &[]);
    graph.node("Add", &["products", "bias"], "sums", &[]);
    graph.node("Reshape", &["sums", "square"], "logits", &[]);
    let inner = &[onnx::ints("axes", &[1, 2]), onnx::int("keepdims", 0)];
    graph.node("ReduceMax", &["logits"], "first", inner);
    between(&mut graph);
    graph.model(17)
}

fn named(at: usize, length: usize) -> String {
    match at {
        0 => "first".to_owned(),
        at if at == length => "score".to_owned(),
        at => format!("t{at}"),
    }
}

/// Negations one behind the other, an even number of them.
pub(crate) fn chain(graph: &mut Graph, length: usize) {
    for at in 0..length {
        graph.node("Neg", &[&named(at, length)], &named(at + 1, length), &[]);
    }
}

/// The tiny bundle as a folder with this decoder, hashes and all.
pub(crate) fn with_decoder(folder: &Path, model: &[u8]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bundle");
    let packed = folder.join("tiny.bedside");
    let pack = Command::new(env!("CARGO_BIN_EXE_bedside"))
        .arg("pack")
        .args([&source, &packed])
        .output();
    assert!(pack.unwrap().status.success());
    let bundle = Bundle::open(packed).unwrap();
    let mut manifest = serde_json::to_value(bundle.manifest()).unwrap();
    let folder = folder.join("bundle");
    for part in manifest["parts"].as_array_mut().unwrap() {
        let name = part["name"].as_str().unwrap().to_owned();
        let path = folder.join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if name == "decoder.onnx" {
            let hash: String = Sha256::digest(model)
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect();
            part["bytes"] = json!(model.len());
            part["sha256"] = json!(hash);
            fs::write(path, model).unwrap();
        } else {
            fs::write(path, bundle.part(&name).unwrap()).unwrap();
        }
    }
    fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    folder
}
