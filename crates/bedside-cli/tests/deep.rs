//! Bundles whose decoder has what is put into it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bedside::Bundle;
use bedside_fuzz::onnx::Graph;
use serde_json::json;
use sha2::{Digest, Sha256};

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
