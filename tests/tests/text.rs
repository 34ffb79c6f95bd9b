//! Prompts outside the table, through a bundle's own tokenizer and text graph.
//!
//! The shipped bundle has none, so the test adds a pair whose answers are known; see
//! `text/make.py`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may panic as tests do"
)]

use std::fs;
use std::path::Path;

use bedside::engine::TractCpu;
use bedside::{Bundle, ErrorKind, Frame, Options, Prompt, Segmenter};
use bedside_phantom::{Phantom, PhantomConfig, PhantomKind};
use bedside_tests::workspace;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::watched::Watched;

const GRAPH: &[u8] = include_bytes!("../text/text.onnx");
const TOKENIZER: &[u8] = include_bytes!("../text/tokenizer.json");

/// The shipped bundle, unpacked to `folder`, with a text graph and `tokenizer` added.
fn with_text(folder: &Path, tokenizer: &[u8]) -> Bundle {
    let shipped = Bundle::open(workspace::root().join("models/edge/edge.bedside")).unwrap();
    let mut manifest = serde_json::to_value(shipped.manifest()).unwrap();
    let ids = |name: &str| json!({"name": name, "dtype": "i64", "shape": [1, "T"]});
    manifest["graphs"].as_array_mut().unwrap().push(json!({
        "part": "text.onnx",
        "inputs": [ids("input_ids"), ids("attention_mask"), ids("token_type_ids")],
        "outputs": [{"name": "tokens", "dtype": "f32", "shape": [1, "T", 384]}],
    }));
    manifest["text"] = json!({"graph": "text.onnx", "tokenizer": "tokenizer.json"});

    let mut files: Vec<(String, Vec<u8>)> = shipped
        .manifest()
        .parts
        .iter()
        .map(|part| {
            (
                part.name.clone(),
                shipped.part(&part.name).unwrap().to_vec(),
            )
        })
        .collect();
    files.push(("text.onnx".into(), GRAPH.to_vec()));
    files.push(("tokenizer.json".into(), tokenizer.to_vec()));
    files.sort();
    manifest["parts"] = files
        .iter()
        .map(|(name, bytes)| {
            let hash: String = Sha256::digest(bytes)
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect();
            json!({"name": name, "bytes": bytes.len(), "sha256": hash})
        })
        .collect::<Value>();
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    Bundle::open(folder).unwrap()
}

/// The engine that was named runs the text too.
#[test]
fn the_text_graph_runs_on_the_backend_of_the_rest_when_it_is_first_asked() {
    let folder = TempDir::new().unwrap();
    let bundle = with_text(folder.path(), TOKENIZER);
    let backend = Watched::new(None);
    let mut segmenter = Segmenter::new(bundle, backend.clone(), &Options::default()).unwrap();
    segmenter.prompts(&[Prompt::new("polyp")]).unwrap();
    assert_eq!(backend.loaded("text"), 0);
    for _ in 0..2 {
        segmenter.prompts(&[Prompt::new("scope")]).unwrap();
        assert_eq!((backend.loaded("text"), backend.ran("text")), (1, 1));
    }
}

fn options() -> Options {
    Options::default().with_cache(env!("CARGO_TARGET_TMPDIR"))
}

fn segmenter() -> Segmenter {
    let folder = TempDir::new().unwrap();
    let bundle = with_text(folder.path(), TOKENIZER);
    let mut segmenter = Segmenter::new(bundle, TractCpu, &options()).unwrap();
    // Loads the text graph while its folder is there.
    segmenter.prompts(&[Prompt::new("scope")]).unwrap();
    segmenter
}

fn polyp() -> Frame {
    let config = PhantomConfig {
        kind: PhantomKind::Polyp,
        width: 400,
        height: 320,
        seed: 11,
        frame_rate: 30.0,
        target: true,
    };
    Phantom::new(config).unwrap().frame_at(0).frame
}

#[test]
fn a_free_prompt_gets_the_mask_of_its_tokens() {
    let mut segmenter = segmenter();
    let prompts = [
        "polyp",
        "Soft growth inside a BOWEL by scope",
        "nothing of the kind",
    ]
    .map(Prompt::new);
    let set = segmenter.prompts(&prompts).unwrap();
    let found = segmenter.segment(&polyp(), &set).unwrap().findings;
    assert!(found[0].present && found[0].area > 0);
    assert_eq!(found[0].object.as_deref(), Some("colon polyp"));
    assert_eq!(found[1].object, None, "a free prompt names no object type");
    assert_eq!(found[1].prompt, "Soft growth inside a BOWEL by scope");
    assert_eq!(found[1].mask, found[0].mask);
    assert!(
        found[1].present,
        "what scores mean is calibrated for forms alone"
    );
    assert_eq!(found[1].validity, None, "no reference for a free prompt");
    assert_ne!(found[2].presence.to_bits(), found[0].presence.to_bits());
}

#[test]
fn a_text_graph_does_not_let_an_untrained_type_through() {
    let error = segmenter().prompts(&[Prompt::new("melanoma")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Prompt);
    assert!(error.to_string().contains("not trained on it"), "{error}");
}

#[test]
fn prompts_of_no_words_and_of_too_many_are_refused() {
    let mut segmenter = segmenter();
    let mut refused = |text: &str| {
        let error = segmenter.prompts(&[Prompt::new(text)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Prompt);
        error.to_string()
    };
    assert!(refused(" \t ").contains("hint: "));
    assert!(refused(&"bowel ".repeat(63)).contains("65 tokens; hint: use at most 64"));
    segmenter
        .prompts(&[Prompt::new("bowel ".repeat(62))])
        .unwrap();
}

#[test]
fn a_broken_tokenizer_is_the_bundles_fault() {
    let folder = TempDir::new().unwrap();
    let bundle = with_text(folder.path(), b"{}");
    let mut segmenter = Segmenter::new(bundle, TractCpu, &options()).unwrap();
    let error = segmenter.prompts(&[Prompt::new("scope")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bundle);
    assert!(error.to_string().contains("tokenizer"), "{error}");
    // What stands in the table needs no tokenizer.
    segmenter.prompts(&[Prompt::new("polyp")]).unwrap();
}
