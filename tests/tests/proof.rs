//! No mask before the bundle's own test frames have come out right here.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests may panic as tests do"
)]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bedside::engine::{
    Backend, Bytes, EngineError, FaultyBackend, InjectedFault, LoadOptions, Session, TractCpu,
};
use bedside::{Bundle, ErrorKind, Options, Precision, Segmenter, Unproven};
use bedside_tests::workspace;
use tempfile::TempDir;

use crate::watched::Watched;

/// Test frames of the edge bundle, each a run of the encoder.
const SELF_TESTS: usize = 3;

fn bundle() -> Bundle {
    Bundle::open(workspace::root().join("models/edge/edge.bedside")).unwrap()
}

/// Runs of the encoder in one start.
fn start(backend: &Watched, precision: Precision, cache: &Path) -> usize {
    let options = Options::default()
        .with_precision(precision)
        .with_cache(cache);
    Segmenter::new(bundle(), backend.clone(), &options).unwrap();
    backend.ran("encoder")
}

/// The one file of a cache.
fn file(cache: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(cache).unwrap().collect();
    assert_eq!(files.len(), 1);
    files.into_iter().next().unwrap().unwrap().path()
}

/// The engine reads a graph while its hash is taken: nothing of it is used when that is wrong, and
/// it is the damage that is told, not what the engine made of it. The proof that the bundle has
/// passed its tests hides none.
#[test]
fn a_graph_that_is_damaged_is_refused_whatever_was_proved() {
    let temp = TempDir::new().unwrap();
    let options = Options::default()
        .with_precision(Precision::F32)
        .with_cache(temp.path().join("cache"));
    Segmenter::new(bundle(), TractCpu, &options).unwrap();
    let whole = fs::read(bundle().path()).unwrap();
    let variant = bundle().variant(Precision::F32).unwrap().clone();
    for name in [variant.encoder, variant.decoder] {
        let part = bundle().part(&name).unwrap();
        let start = whole.windows(part.len()).position(|w| w == part).unwrap();
        for at in [0, 1, part.len() / 3, part.len() / 2, part.len() - 1] {
            let mut damaged = whole.clone();
            damaged[start + at] ^= 0x10;
            let path = temp.path().join("damaged.bedside");
            fs::write(&path, damaged).unwrap();
            let damaged = Bundle::open(&path).unwrap();
            let error = Segmenter::new(damaged, TractCpu, &options).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Bundle, "{error}");
            let text = error.to_string();
            assert!(
                text.contains(&name) && text.contains("copy the bundle"),
                "{text}"
            );
        }
    }
}

/// An engine beside which somebody writes to the bundle.
#[derive(Debug)]
struct Beside(PathBuf);

impl Backend for Beside {
    fn name(&self) -> &'static str {
        TractCpu.name()
    }

    fn load(&self, onnx: &Bytes, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        let loaded = TractCpu.load(onnx, options);
        let file = File::options().write(true).open(&self.0).unwrap();
        // The same bytes, so that the hash is right whenever it is taken.
        let whole = fs::read(&self.0).unwrap();
        file.write_all_at(whole.get(..1).unwrap(), 0).unwrap();
        loaded
    }
}

/// The hash may have passed a stretch before it was overwritten, and the engine come behind.
#[test]
fn a_bundle_that_is_written_to_while_it_is_loaded_is_refused() {
    let temp = TempDir::new().unwrap();
    let path = temp.path().join("edge.bedside");
    fs::copy(bundle().path(), &path).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(UNIX_EPOCH).unwrap();
    let written = Bundle::open(&path).unwrap();
    let error = Segmenter::new(written, Beside(path), &Options::default())
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Bundle, "{error}");
    let text = error.to_string();
    assert!(
        text.contains("written to while it was read") && text.contains("hint: "),
        "{text}"
    );
}

#[test]
fn p_17_a_backend_that_gives_wrong_masks_is_refused() {
    for precision in [Precision::F32, Precision::Int8] {
        let temp = TempDir::new().unwrap();
        let options = Options::default()
            .with_precision(precision)
            .with_cache(temp.path());
        // The third test frame alone comes out wrong.
        let backend = FaultyBackend::new(Arc::new(TractCpu), |graph, run| {
            (graph.starts_with("decoder") && run == 2).then_some(InjectedFault::Negated)
        });
        let result = Segmenter::new(bundle(), backend.clone(), &options);
        let error = result.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::SelfTest, "{error}");
        let test = bundle().manifest().self_tests.last().unwrap().clone();
        let words = [
            format!("self-test '{}': IoU 0.0000", test.prompt),
            format!("{:.4} needed", test.min_iou),
            format!("faulty at {precision}"),
            "hint: ".to_owned(),
        ];
        for word in words {
            assert!(error.to_string().contains(&word), "{error}");
        }
        // Whoever looks at the cases sees all of them.
        let mut unproven = Unproven::load(bundle(), backend, &options).unwrap();
        let passed: Vec<bool> = unproven
            .self_test()
            .unwrap()
            .iter()
            .map(|case| case.passed())
            .collect();
        assert_eq!(passed, [true, true, false]);
        assert!(fs::read_dir(temp.path()).unwrap().next().is_none());
    }
}

#[test]
fn p_17_a_proof_is_remembered_for_what_it_was_made_with_alone() {
    let temp = TempDir::new().unwrap();
    let cache = temp.path().join("cache");
    let backend = Watched::new(Some("one"));
    assert_eq!(start(&backend, Precision::F32, &cache), SELF_TESTS);
    assert_eq!(start(&backend, Precision::F32, &cache), 0);
    assert_eq!(start(&backend, Precision::Int8, &cache), SELF_TESTS);
    assert_eq!(start(&backend, Precision::Int8, &cache), 0);
    let other = Watched::new(Some("two"));
    assert_eq!(start(&other, Precision::F32, &cache), SELF_TESTS);
    assert_eq!(start(&other, Precision::F32, &cache), 0);
    // Nothing is kept of a backend of which it is not known what decides its numbers.
    let unknown = Watched::new(None);
    assert_eq!(start(&unknown, Precision::F32, &cache), SELF_TESTS);
    assert_eq!(start(&unknown, Precision::F32, &cache), SELF_TESTS);
    assert_eq!(start(&other, Precision::F32, &cache), 0);
}

#[test]
fn p_17_a_damaged_or_foreign_proof_proves_nothing() {
    let temp = TempDir::new().unwrap();
    let cache = temp.path().join("cache");
    let backend = Watched::new(Some("one"));
    start(&backend, Precision::F32, &cache);
    let proof = file(&cache);
    let good = fs::read_to_string(&proof).unwrap();
    let int8 = temp.path().join("int8");
    start(&backend, Precision::Int8, &int8);
    let other = fs::read_to_string(file(&int8)).unwrap();
    let digest = bundle().digest().to_owned();
    for (what, bad) in [
        ("empty", String::new()),
        ("cut", good.split_at(good.len() / 2).0.to_owned()),
        ("other JSON", "{\"key\": 1}".to_owned()),
        ("of int8", other),
        (
            "of another bundle",
            good.replace(&digest, &digest.chars().rev().collect::<String>()),
        ),
        ("without cases", {
            let mut json: serde_json::Value = serde_json::from_str(&good).unwrap();
            json["cases"] = serde_json::json!([]);
            json.to_string()
        }),
        (
            "with a case that failed",
            good.replacen("\"iou\": ", "\"iou\": -", 1),
        ),
        ("huge", " ".repeat(1 << 20) + &good),
    ] {
        assert_ne!(bad, good, "{what}");
        fs::write(&proof, bad).unwrap();
        assert_eq!(
            start(&backend, Precision::F32, &cache),
            SELF_TESTS,
            "{what}"
        );
        // It is written anew, whole.
        assert_eq!(fs::read_to_string(&proof).unwrap(), good, "{what}");
        assert_eq!(start(&backend, Precision::F32, &cache), 0, "{what}");
    }
    // A file that can't be read or written costs the time of the tests.
    fs::remove_file(&proof).unwrap();
    fs::create_dir(&proof).unwrap();
    assert_eq!(start(&backend, Precision::F32, &cache), SELF_TESTS);
    let nowhere = file(&int8).join("below");
    assert_eq!(start(&backend, Precision::F32, &nowhere), SELF_TESTS);
}

/// Whoever asks for masks of absent objects too still gets what the bundle's maker tested.
#[test]
fn the_proof_is_of_the_bundles_own_threshold() {
    let temp = TempDir::new().unwrap();
    for presence in [0.0, 1.0] {
        let options = Options::default()
            .with_presence(presence)
            .with_cache(temp.path());
        Segmenter::new(bundle(), Watched::new(None), &options).unwrap();
    }
}

#[test]
fn a_presence_that_is_no_probability_is_refused() {
    for presence in [50.0, -0.1, f32::NAN] {
        let options = Options::default().with_presence(presence);
        let error = Unproven::load(bundle(), TractCpu, &options);
        let error = error.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    }
}
