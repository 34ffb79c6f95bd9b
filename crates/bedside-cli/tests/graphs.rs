//! Graphs at and beyond the bounds, through the command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bedside::Bundle;
use bedside_fuzz::graphs::decoder;
use bedside_fuzz::onnx::{self, Graph};
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

fn named(at: usize, length: usize) -> String {
    match at {
        0 => "first".to_owned(),
        at if at == length => "score".to_owned(),
        at => format!("t{at}"),
    }
}

/// Negations one behind the other, an even number of them.
fn chain(graph: &mut Graph, length: usize) {
    for at in 0..length {
        graph.node("Neg", &[&named(at, length)], &named(at + 1, length), &[]);
    }
}

/// Quotients and sums of the number of tokens, of which 0 is added to the score.
fn size(graph: &mut Graph, operations: usize) {
    graph.node("Shape", &["tokens"], "s0", &[]);
    for at in 0..operations {
        let operator = ["Div", "Add"][at % 2];
        let (from, to) = (format!("s{at}"), format!("s{}", at + 1));
        graph.node(operator, &[&from, "three"], &to, &[]);
    }
    let last = format!("s{operations}");
    graph.initializer(&onnx::reals("nothing", &[1], &[0.0]));
    graph.node("Cast", &[&last], "real", &[onnx::int("to", 1)]);
    graph.node("Mul", &["real", "nothing"], "zeros", &[]);
    graph.node(
        "ReduceSum",
        &["zeros", "zero"],
        "sum",
        &[onnx::int("keepdims", 0)],
    );
    graph.node("Add", &["first", "sum"], "score", &[]);
}

/// The tiny bundle as a folder with this decoder, hashes and all.
fn with_decoder(folder: &Path, model: &[u8]) -> PathBuf {
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

fn verify(model: &[u8]) -> Output {
    let temp = TempDir::new().unwrap();
    let folder = with_decoder(temp.path(), model);
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedside"));
    command.arg("verify").arg(folder);
    command.env("BEDSIDE_CACHE", temp.path()).output().unwrap()
}

/// At the bounds the engine's stack suffices, beyond them it sees nothing: an abort has no exit code.
#[test]
fn p_16_a_deep_graph_is_refused_before_it_can_end_the_process() {
    let good = [
        decoder(|g| g.node("Identity", &["first"], "score", &[])),
        decoder(|g| chain(g, 2_000)),
        decoder(|g| size(g, 32)),
    ];
    for model in good {
        let output = verify(&model);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{text}");
    }
    let bad = [
        (decoder(|g| chain(g, 20_000)), "nodes"),
        (decoder(|g| chain(g, 2_050)), "one behind the other"),
        (decoder(|g| size(g, 20_000)), "32 operations"),
        (decoder(|g| size(g, 34)), "32 operations"),
        (
            decoder(|g| g.node("Loop", &["first"], "score", &[])),
            "operator Loop",
        ),
    ];
    for (model, word) in bad {
        let output = verify(&model);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(5), "{text}");
        assert!(
            text.contains("decoder.onnx") && text.contains(word),
            "{text}"
        );
    }
}
