//! What a bundle is made of.

use std::fs;
use std::path::Path;

use bedside_bundle::manifest::Graph;
use bedside_bundle::{Bundle, PromptTable, onnx};
use bedside_core::{Modality, Prompt};
use serde_json::{Value, json};

use crate::{bounded, one_line, scratch};

/// A bundle of four pixels, packed and as an exporter leaves it.
const TINY: &[u8] = include_bytes!("../../crates/bedside-bundle/tests/golden/golden.bedside");
const SOURCE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../crates/bedside-bundle/tests/golden/source"
);
/// Most bytes that are allocated for an input, which has at most 64 KiB, and what is made of it.
const MOST: u64 = 16 << 20;

/// A bundle as one file: opened, every part checked.
pub fn archive(data: &[u8]) {
    let path = scratch::file("a.bedside", data);
    bounded(MOST, || drop(verified(&path)));
}

fn verified(path: &Path) -> Option<Bundle> {
    let opened = Bundle::open(path).and_then(|bundle| bundle.verify().map(|()| bundle));
    opened.inspect_err(one_line).ok()
}

/// A manifest, with the parts of a tiny bundle beside it.
pub fn manifest(data: &[u8]) {
    let folder = scratch::once("manifest", |folder| {
        let tiny = Bundle::open(scratch::file("tiny.bedside", TINY)).expect("a golden bundle");
        for part in &tiny.manifest().parts {
            let bytes = tiny.part(&part.name).expect("a golden part");
            scratch::write(&folder.join(&part.name), &bytes);
        }
    });
    scratch::write(&folder.join("manifest.json"), data);
    bounded(MOST, || {
        let Some(bundle) = verified(&folder) else {
            return;
        };
        // What is read can be written, and is read then.
        let again = serde_json::to_vec(bundle.manifest()).expect("JSON");
        scratch::write(&folder.join("manifest.json"), &again);
        Bundle::open(&folder).expect("its own manifest");
    });
}

/// What an exporter writes of a bundle, or of its prompts: packed, and opened again.
pub fn pack(data: &[u8]) {
    let folder = scratch::once("source", |folder| copy(Path::new(SOURCE), folder));
    let prompts = data.windows(11).any(|word| word == b"\"token_dim\"");
    let name = if prompts {
        "prompts.json"
    } else {
        "bundle.json"
    };
    let path = folder.join(name);
    scratch::write(&path, data);
    bounded(MOST, || {
        let out = scratch::folder().join("packed.bedside");
        match bedside_bundle::pack(&folder, &out) {
            Ok(bundle) => bundle.verify().expect("what was packed"),
            Err(error) => one_line(&error),
        }
    });
    fs::copy(Path::new(SOURCE).join(name), path).expect("a golden file");
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("a file").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            scratch::write(&to, &fs::read(&path).expect("a file"));
        }
    }
}

/// A prompt table, asked for what is in it; and the same bytes as a prompt.
pub fn prompts(data: &[u8]) {
    let tiny = scratch::once("tiny", |folder| {
        scratch::write(&folder.join("tiny.bedside"), TINY);
    });
    bounded(MOST, || {
        match PromptTable::from_bytes(data) {
            Ok(table) => {
                let again = PromptTable::from_bytes(&table.to_bytes().expect("its own bytes"));
                assert_eq!(again.as_ref().ok(), Some(&table));
                for form in table.forms().take(8) {
                    resolve(&table, &form.text());
                    resolve(&table, &form.target);
                }
            }
            Err(error) => one_line(&error),
        }
        let bundle = Bundle::open(tiny.join("tiny.bedside"));
        let table = bundle.and_then(|bundle| bundle.prompt_table());
        resolve(
            &table.expect("a golden table"),
            &String::from_utf8_lossy(data),
        );
    });
}

fn resolve(table: &PromptTable, text: &str) {
    let endoscopy = Prompt::new(text).with_modality(Modality::Endoscopy);
    for prompt in [Prompt::new(text), endoscopy] {
        match table.trained(&prompt) {
            Ok(entry) => assert!(!table.label(&prompt, entry.form()).is_empty()),
            Err(error) => one_line(&error),
        }
    }
}

/// A graph, as far as it is read without an engine.
pub fn graph(data: &[u8]) {
    let end = |name: &str, shape: Value| json!({"name": name, "dtype": "f32", "shape": shape});
    let stated = json!({
        "part": "decoder.f32.onnx",
        "inputs": [
            end("pixels", json!([1, 4, 2, 2])),
            end("tokens", json!(["P", "T", 4])),
            end("token_mask", json!(["P", "T"])),
        ],
        "outputs": [end("logits", json!(["P", 2, 2])), end("score", json!(["P"]))],
    });
    let stated: Graph = serde_json::from_value(stated).expect("a graph");
    bounded(MOST, || {
        for checked in [
            onnx::check_self_contained(data),
            onnx::check_bounds(data, &stated),
        ] {
            let _ = checked.inspect_err(one_line);
        }
        if let Ok((rest, weights)) = onnx::split(data) {
            let large: usize = weights.iter().map(|weight| weight.raw.len()).sum();
            assert!(rest.len() + large <= data.len(), "more than there is");
        }
    });
}
