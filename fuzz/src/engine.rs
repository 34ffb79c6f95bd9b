//! Bundles from their bytes to a loaded model.

use std::fs;
use std::path::{Path, PathBuf};

use bedside::bundle::BundleError;
use bedside::engine::TractCpu;
use bedside::{Bundle, Cache, Options, Prompt, Segmenter, Tuning, Unproven};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::onnx::{self, Element, Graph};
use crate::{one_line, scratch};

/// A bundle that every engine runs, as an exporter leaves it.
const SOURCE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../crates/bedside-cli/tests/golden/bundle"
);

/// That bundle in one file.
fn tiny() -> PathBuf {
    let folder = scratch::once("tiny", |folder| {
        fs::create_dir_all(folder).expect("a folder");
        bedside::bundle::pack(SOURCE, folder.join("tiny.bedside")).expect("a golden bundle");
    });
    folder.join("tiny.bedside")
}

fn options() -> Options {
    Options::default().with_threads(1)
}

/// A decoder in a tiny bundle: checked, loaded, and run on the bundle's own frames. Within the
/// bounds an engine may still fail, and must say so.
pub fn session(data: &[u8]) {
    let folder = with_part(&tiny(), "decoder.onnx", data).expect("a folder");
    let bundle = Bundle::open(folder).expect("a manifest that tells the part's size and hash");
    if let Err(error) = bundle.verify() {
        return one_line(&error);
    }
    let run = Unproven::load(bundle, TractCpu, &options()).and_then(|mut it| it.self_test());
    if let Err(error) = run {
        one_line(&error);
    }
}

/// The bundle packed in `tiny`, unpacked with other bytes in the place of one of its parts.
fn with_part(tiny: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, BundleError> {
    let folder = scratch::folder().join("changed");
    let bundle = Bundle::open(tiny)?;
    let mut manifest = serde_json::to_value(bundle.manifest()).unwrap_or_default();
    for part in manifest["parts"].as_array_mut().into_iter().flatten() {
        let own = part["name"].as_str().unwrap_or_default().to_owned();
        if own == name {
            (part["bytes"], part["sha256"]) = (json!(bytes.len()), json!(sha256(bytes)));
            scratch::write(&folder.join(&own), bytes);
        } else {
            scratch::write(&folder.join(&own), &bundle.part(&own)?);
        }
    }
    scratch::write(
        &folder.join("manifest.json"),
        manifest.to_string().as_bytes(),
    );
    Ok(folder)
}

/// In lower-case hexadecimal digits.
fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A `tokenizer.json` beside a text graph, asked for prompts outside the table.
pub fn tokenizer(data: &[u8]) {
    let tiny = Bundle::open(tiny()).expect("a golden bundle");
    let folder = scratch::once("text", |folder| {
        for part in &tiny.manifest().parts {
            let bytes = tiny.part(&part.name).expect("a golden part");
            scratch::write(&folder.join(&part.name), &bytes);
        }
        scratch::write(&folder.join("text.onnx"), &text_graph());
    });
    scratch::write(&folder.join("tokenizer.json"), data);
    let manifest = with_text(&tiny, data).to_string();
    scratch::write(&folder.join("manifest.json"), manifest.as_bytes());
    let bundle = Bundle::open(&folder).expect("its manifest");
    let loaded = Segmenter::new(bundle, TractCpu, &options());
    let mut segmenter = loaded.expect("a golden bundle proves itself");
    let long = "w ".repeat(200);
    for words in [
        "soft growth",
        "\u{fffd}\u{1f600} \u{131}I",
        "a.b-c  d/e",
        &long,
    ] {
        if let Err(error) = segmenter.prompts(&[Prompt::new(words)]) {
            one_line(&error);
        }
    }
}

/// The manifest, with a text graph and this tokenizer.
fn with_text(tiny: &Bundle, tokenizer: &[u8]) -> Value {
    let mut manifest = serde_json::to_value(tiny.manifest()).expect("JSON");
    let ids = json!({"name": "ids", "dtype": "i64", "shape": [1, "T"]});
    let tokens = json!({"name": "tokens", "dtype": "f32", "shape": [1, "T", 4]});
    let stated = json!({"part": "text.onnx", "inputs": [ids], "outputs": [tokens]});
    let graphs = manifest["graphs"].as_array_mut();
    graphs.expect("graphs").push(stated);
    manifest["text"] = json!({"graph": "text.onnx", "tokenizer": "tokenizer.json"});
    let parts = manifest["parts"].as_array_mut().expect("parts");
    for (name, bytes) in [
        ("text.onnx", &text_graph()[..]),
        ("tokenizer.json", tokenizer),
    ] {
        parts.push(json!({"name": name, "bytes": bytes.len(), "sha256": sha256(bytes)}));
    }
    parts.sort_by_key(|part| part["name"].as_str().map(str::to_owned));
    manifest
}

/// Tokens of four values for the ids below 16.
fn text_graph() -> Vec<u8> {
    let mut graph = Graph::default();
    graph.input(&onnx::end("ids", Element::I64, &["1", "T"]));
    graph.output(&onnx::end("tokens", Element::F32, &["1", "T", "4"]));
    let rows: Vec<f32> = (0..64_u8).map(f32::from).collect();
    graph.initializer(&onnx::reals("rows", &[16, 4], &rows));
    graph.node("Gather", &["rows", "ids"], "tokens", &[]);
    graph.model(17)
}

/// What is kept between starts: a tuning, and a proof of the self-test. Damaged or of anything
/// else it changes nothing.
pub fn cache(data: &[u8]) {
    let folder = scratch::folder().join("cache");
    let cache = Cache::at(&folder);
    let key = json!({
        "bedside": "0.1.0", "bundle": "0123456789abcdef", "machine": "", "backend": "tract-cpu",
        "fingerprint": "", "threads": 1, "side": 256,
    });
    let tuning = json!({"key": key, "measured_unix_s": 0, "precisions": []});
    let tuning: Tuning = serde_json::from_value(tuning).expect("a tuning");
    let path = cache.store(&tuning).expect("a file");
    scratch::write(&path, data);
    match cache.tuning(&tuning.key) {
        Ok(found) => drop(found.map(|found| found.fastest())),
        Err(error) => assert!(error.to_string().contains("; hint: ")),
    }
    fs::remove_file(path).expect("a file");
    let prove = || {
        let bundle = Bundle::open(tiny()).expect("a golden bundle");
        let loaded = Unproven::load(bundle, TractCpu, &options().with_cache(&folder));
        loaded
            .and_then(Unproven::prove)
            .expect("a golden bundle proves itself");
    };
    prove();
    let proofs = fs::read_dir(&folder).expect("a folder");
    for proof in proofs {
        scratch::write(&proof.expect("a file").path(), data);
    }
    prove();
}
