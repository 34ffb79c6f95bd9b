//! Packing, opening, and everything that must be refused.
//!
//! `golden/make.py` writes the golden files with Python's zipfile and its own postcard.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bedside_bundle::manifest::{Dim, Manifest};
use bedside_bundle::{Bundle, BundleError, ErrorKind, Precision, pack};
use bedside_core::{Form, Modality, Prompt};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_tree(&path, &target);
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}

/// A folder with `source/` as an exporter writes it.
fn source() -> (TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let source = temp.path().join("source");
    copy_tree(&golden("source"), &source);
    (temp, source)
}

/// A folder bundle with the same content as `golden.bedside`.
fn unpacked() -> (TempDir, PathBuf) {
    let bundle = Bundle::open(golden("golden.bedside")).unwrap();
    let (temp, folder) = source();
    fs::remove_file(folder.join("bundle.json")).unwrap();
    fs::remove_file(folder.join("prompts.json")).unwrap();
    fs::write(
        folder.join("prompts.postcard"),
        bundle.part("prompts.postcard").unwrap(),
    )
    .unwrap();
    let manifest = serde_json::to_vec(bundle.manifest()).unwrap();
    fs::write(folder.join("manifest.json"), manifest).unwrap();
    (temp, folder)
}

fn open_and_verify(path: &Path) -> Result<Bundle, BundleError> {
    let bundle = Bundle::open(path)?;
    bundle.verify()?;
    Ok(bundle)
}

/// Refused with this kind, and a text that tells where, what and a remedy.
fn refused(result: Result<Bundle, BundleError>, kind: ErrorKind, text: &str) {
    let error = result.expect_err(text);
    assert_eq!(error.kind(), kind, "{error}");
    let shown = error.to_string();
    assert!(shown.contains(text), "{text:?} is not in: {shown}");
    assert!(
        shown.contains("; hint: ") && error.path().is_some(),
        "{shown}"
    );
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, serde_json::to_vec(&value).unwrap()).unwrap();
}

#[test]
fn packing_gives_the_bytes_that_python_wrote() {
    let (temp, source) = source();
    let out = temp.path().join("tiny.bedside");
    pack(&source, &out).unwrap();
    let (ours, theirs) = (
        fs::read(&out).unwrap(),
        fs::read(golden("golden.bedside")).unwrap(),
    );
    assert!(ours == theirs, "{}", String::from_utf8_lossy(&ours));
    let mut names: Vec<_> = fs::read_dir(temp.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["source", "tiny.bedside"], "nothing is left behind");
}

#[test]
fn a_bundle_and_its_folder_tell_the_same() {
    let (_temp, folder) = unpacked();
    let file = open_and_verify(&golden("golden.bedside")).unwrap();
    let folder = open_and_verify(&folder).unwrap();
    assert_eq!(file.manifest(), folder.manifest());
    assert_ne!(
        file.digest(),
        folder.digest(),
        "that manifest was written without spaces"
    );
    for part in &file.manifest().parts {
        let bytes = file.part(&part.name).unwrap();
        assert_eq!(bytes, folder.part(&part.name).unwrap());
        if let Ok(original) = fs::read(golden("source").join(&part.name)) {
            assert_eq!(bytes, original, "{}", part.name);
        }
    }
}

#[test]
fn the_manifest_is_told_as_written() {
    let bundle = Bundle::open(golden("golden.bedside")).unwrap();
    let m = bundle.manifest();
    assert_eq!(
        (m.name.as_str(), m.default_precision),
        ("tiny", Precision::F32)
    );
    assert_eq!(m.input.mean, [123.675, 116.28, 103.53]);
    assert!(m.transposed(Modality::Ultrasound, "heart"));
    assert!(!m.transposed(Modality::Ultrasound, "breast"));
    assert!(!m.transposed(Modality::Mri, "heart"));

    let variant = bundle.variant(Precision::Int8).unwrap();
    assert_eq!(variant.encoder, "encoder.int8.onnx");
    assert_eq!(variant.decoder, "decoder.f32.onnx");
    let decoder = m.graph(&variant.decoder).unwrap();
    assert_eq!(decoder.inputs[1].shape[2], Dim::Fixed(4));
    let error = bundle.variant(Precision::F16).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSuchVariant);
    assert!(error.hint().contains("f32, int8"), "{error}");
    assert!(m.text.is_none());
    assert_eq!(
        bundle.part("nothing").unwrap_err().kind(),
        ErrorKind::NoSuchPart
    );
}

#[test]
fn the_prompt_table_keeps_forms_apart() {
    let bundle = Bundle::open(golden("golden.bedside")).unwrap();
    let table = bundle.prompt_table().unwrap();
    assert_eq!((table.token_dim(), table.entries().len()), (4, 4));
    let trained: Vec<String> = table.trained_forms().map(Form::text).collect();
    assert_eq!(trained, ["polyp in colon endoscope"]);

    let polyp = table.trained(&Prompt::new("polyp")).unwrap();
    let tokens = polyp.tokens_f32();
    let prompts: Value =
        serde_json::from_slice(&fs::read(golden("source/prompts.json")).unwrap()).unwrap();
    let wanted: Vec<f64> = prompts["entries"][0]["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()))
        .collect();
    assert_eq!(tokens.len(), wanted.len());
    for (got, want) in tokens.iter().zip(&wanted) {
        assert!((f64::from(*got) - want).abs() < 1e-3, "{got} for {want}");
    }

    let told: Vec<bool> = table
        .forms()
        .map(|f| bundle.manifest().validity(f, Precision::F32).is_some())
        .collect();
    assert_eq!(
        told,
        [false, false, true, false],
        "FLAIR alone has a reference"
    );
    let flair = table.forms().nth(2).unwrap();
    assert!(bundle.manifest().validity(flair, Precision::Int8).is_none());
}

#[test]
fn p_15_every_flipped_bit_is_found() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("flipped.bedside");
    fs::copy(golden("golden.bedside"), &path).unwrap();
    let good = fs::read(&path).unwrap();
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let mut put = |at: usize, byte: u8| {
        file.seek(SeekFrom::Start(at as u64)).unwrap();
        file.write_all(&[byte]).unwrap();
    };
    for (at, byte) in good.iter().enumerate() {
        put(at, byte ^ (1 << (at % 8)));
        assert!(
            open_and_verify(&path).is_err(),
            "bit {} of byte {at}",
            at % 8
        );
        put(at, *byte);
    }
    open_and_verify(&path).unwrap();
}

#[test]
fn every_truncation_is_found() {
    let good = fs::read(golden("golden.bedside")).unwrap();
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("cut.bedside");
    for length in (0..good.len()).step_by(61).chain([good.len() - 1]) {
        fs::write(&path, &good[..length]).unwrap();
        refused(Bundle::open(&path), ErrorKind::Archive, "");
    }
}

#[test]
fn hostile_archives_are_refused_each_for_its_own_reason() {
    let mut seen = 0;
    for entry in fs::read_dir(golden("hostile")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let error = Bundle::open(&path).unwrap_err();
        let kind = format!("{:?}", error.kind());
        assert_eq!(
            name.split('-').next(),
            Some(kind.as_str()),
            "{name}: {error}"
        );
        assert!(error.to_string().contains("; hint: "), "{error}");
        seen += 1;
    }
    assert_eq!(seen, 14);
}

#[test]
fn a_damaged_part_is_found_when_it_is_read() {
    let (_temp, folder) = unpacked();
    let bundle = Bundle::open(&folder).unwrap();
    let path = folder.join("selftest/0.rgb");
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 4;
    fs::write(&path, &bytes).unwrap();
    let error = bundle.part("selftest/0.rgb").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.part(), Some("selftest/0.rgb"));
    bytes.push(0);
    fs::write(&path, &bytes).unwrap();
    assert_eq!(
        bundle.part("selftest/0.rgb").unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    refused(Bundle::open(&folder), ErrorKind::Corrupt, "selftest/0.rgb");
    bundle.part("selftest/1.rgb").unwrap();
}

#[test]
fn p_15_a_folder_holds_the_listed_files_and_no_links() {
    let (_temp, folder) = unpacked();
    fs::write(folder.join("notes.txt"), "extra").unwrap();
    refused(Bundle::open(&folder), ErrorKind::Unlisted, "notes.txt");
    fs::remove_file(folder.join("notes.txt")).unwrap();

    let card = folder.join("model-card.md");
    let elsewhere = folder.parent().unwrap().join("card");
    fs::rename(&card, &elsewhere).unwrap();
    refused(Bundle::open(&folder), ErrorKind::Missing, "model-card.md");

    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&elsewhere, &card).unwrap();
        refused(Bundle::open(&folder), ErrorKind::Link, "model-card.md");
        fs::remove_file(&card).unwrap();
        let frames = folder.join("selftest");
        fs::rename(&frames, folder.parent().unwrap().join("frames")).unwrap();
        std::os::unix::fs::symlink("../frames", &frames).unwrap();
        refused(Bundle::open(&folder), ErrorKind::Link, "selftest");
    }
    fs::remove_dir_all(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    refused(Bundle::open(&folder), ErrorKind::Io, "manifest.json");
    refused(
        Bundle::open(folder.join("nothing")),
        ErrorKind::Io,
        "nothing",
    );
}

#[test]
fn an_update_renamed_over_an_open_bundle_does_not_mix_with_it() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("a.bedside");
    fs::copy(golden("golden.bedside"), &path).unwrap();
    let bundle = Bundle::open(&path).unwrap();
    fs::write(temp.path().join("new"), "another bundle").unwrap();
    fs::rename(temp.path().join("new"), &path).unwrap();
    bundle.verify().unwrap();
}

/// Pack the source with one value of `bundle.json` replaced, or put in.
fn pack_with(pointer: &str, value: Value) -> Result<Bundle, BundleError> {
    pack_changed(source(), pointer, value)
}

fn pack_changed(
    (temp, source): (TempDir, PathBuf),
    pointer: &str,
    value: Value,
) -> Result<Bundle, BundleError> {
    edit(&source.join("bundle.json"), |json| {
        match json.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => {
                let (parent, name) = pointer.rsplit_once('/').unwrap();
                json.pointer_mut(parent).unwrap()[name] = value;
            }
        }
    });
    let out = temp.path().join("out.bedside");
    let result = pack(&source, &out);
    assert_eq!(out.exists(), result.is_ok());
    result
}

#[test]
fn senseless_manifests_are_refused() {
    use ErrorKind::{Contract, Format, Manifest, Missing};
    pack_with("/version", json!("0.2.0")).unwrap();
    for (pointer, value, kind, text) in [
        (
            "/format",
            json!(7),
            Format,
            "format 7, this bedside reads formats 1 to 3; hint: update bedside",
        ),
        ("/format", json!(0), Format, "format 0"),
        ("/format", json!("1"), Manifest, "invalid type"),
        ("/colour", json!(1), Manifest, "unknown field `colour`"),
        ("/input/side", json!(0), Manifest, "input.side"),
        ("/input/side", json!(16), Contract, "image"),
        ("/input/std/1", json!(0.0), Manifest, "input.std"),
        ("/input/mean/1", json!(1e39), Manifest, "input"),
        ("/input/resize", json!("nearest"), Manifest, "nearest"),
        ("/name", json!("../x"), Manifest, "name"),
        ("/version", json!(""), Manifest, "version"),
        ("/licence", json!("\u{1b}[2J"), Manifest, "licence"),
        (
            "/training_data",
            json!([{"name": "frames", "terms": ""}]),
            Manifest,
            "training_data",
        ),
        ("/default_precision", json!("f16"), Manifest, "f16"),
        ("/variants", json!([]), Manifest, "default_precision"),
        ("/variants/1/precision", json!("f32"), Manifest, "twice"),
        (
            "/variants/0/encoder",
            json!("other.onnx"),
            Manifest,
            "serves no variant",
        ),
        ("/graphs/2/part", json!("decoder.bin"), Manifest, "decoder"),
        (
            "/graphs/1/part",
            json!("encoder.f32.onnx"),
            Manifest,
            "twice",
        ),
        (
            "/graphs/0/outputs/0/shape",
            json!([1, 4, 2, 3]),
            Contract,
            "pixels",
        ),
        (
            "/graphs/0/outputs/0/name",
            json!("voxels"),
            Contract,
            "pixels",
        ),
        ("/graphs/0/outputs/0/shape/1", json!(0), Contract, "shape"),
        ("/graphs/0/inputs", json!([]), Contract, "one input"),
        (
            "/graphs/2/inputs/1/name",
            json!("token"),
            Contract,
            "\"tokens\" is missing",
        ),
        (
            "/graphs/2/inputs/1/shape",
            json!(["P", "P", 4]),
            Contract,
            "token",
        ),
        (
            "/graphs/2/inputs/1/shape/2",
            json!(5),
            Contract,
            "is not 'tokens' f32 [P,T,5]",
        ),
        (
            "/graphs/2/inputs/2/shape",
            json!(["T", "P"]),
            Contract,
            "token_mask",
        ),
        (
            "/graphs/2/outputs/0/shape",
            json!(["P", 2]),
            Contract,
            "logits",
        ),
        ("/graphs/2/outputs/1/shape", json!([1]), Contract, "score"),
        ("/graphs/2/outputs/1/dtype", json!("i64"), Contract, "score"),
        (
            "/meta_objects",
            json!(["lesion"]),
            Contract,
            "\"meta\" is missing",
        ),
        ("/thresholds/presence", json!(1.5), Manifest, "thresholds"),
        ("/orientation/0/site", json!("hart"), Manifest, "hart"),
        ("/orientation/0/modality", json!("sonar"), Manifest, "sonar"),
        (
            "/windows",
            json!([{"site": "knee", "low": -150, "high": 250}]),
            Manifest,
            "no form of ct at \"knee\"",
        ),
        (
            "/windows",
            json!([{"site": "liver", "low": 230, "high": -25}]),
            Manifest,
            "230 to -25 at \"liver\"",
        ),
        (
            "/windows",
            json!([{"site": "liver", "low": 0, "high": 1}, {"site": "liver", "low": 0, "high": 2}]),
            Manifest,
            "a site twice",
        ),
        ("/validity/0/prob/1", json!(0.0), Manifest, "Beta"),
        (
            "/validity/0/acquisition",
            json!("T2"),
            Manifest,
            "brain tumor core",
        ),
        ("/validity/0/precision", json!("f16"), Manifest, "f16"),
        (
            "/input/other_sides",
            json!([16]),
            Manifest,
            "format 1; hint: pack it as format 3",
        ),
        (
            "/forms",
            json!([{"object": "colon polyp", "modality": "endoscopy", "site": "colon"}]),
            Manifest,
            "format 1; hint: pack it as format 3",
        ),
        ("/self_tests/0/side", json!(8), Manifest, "format 3"),
        ("/self_tests", json!([]), Manifest, "self_tests"),
        ("/self_tests/0/mask", json!([30]), Manifest, "pixel set"),
        (
            "/self_tests/0/mask/4",
            json!(17),
            Manifest,
            "selftest/0.rgb",
        ),
        (
            "/self_tests/0/mask",
            json!([6, 3, 0, 5, 16]),
            Manifest,
            "selftest/0.rgb",
        ),
        (
            "/self_tests/0/mask",
            json!([4294967295u32, 4294967295u32]),
            Manifest,
            "cover",
        ),
        ("/self_tests/0/width", json!(100_000), Manifest, "size"),
        ("/self_tests/0/min_iou", json!(0.0), Manifest, "min_iou"),
        (
            "/self_tests/0/prompt",
            json!("tumor"),
            Manifest,
            "unknown prompt",
        ),
        (
            "/self_tests/0/part",
            json!("selftest/9.rgb"),
            Missing,
            "selftest/9.rgb",
        ),
        (
            "/self_tests/0/part",
            json!("model-card.md"),
            Manifest,
            "90 bytes",
        ),
        (
            "/text",
            json!({"graph": "text.onnx", "tokenizer": "t"}),
            Manifest,
            "text.onnx",
        ),
        (
            "/parts",
            json!([{"name": "a", "bytes": 1, "sha256": ""}]),
            Manifest,
            "parts",
        ),
    ] {
        refused(pack_with(pointer, value), kind, text);
    }
}

#[test]
fn tokens_have_to_fit_the_decoder() {
    let (temp, source) = source();
    edit(&source.join("prompts.json"), |json| {
        json["token_dim"] = json!(5);
        for entry in json["entries"].as_array_mut().unwrap() {
            for row in entry["tokens"].as_array_mut().unwrap() {
                row.as_array_mut().unwrap().push(json!(0.5));
            }
        }
    });
    let packed = pack(&source, temp.path().join("out.bedside"));
    refused(packed, ErrorKind::Contract, "tokens of 5 values");
}

/// `source/` packed as format 2.
fn packed_exactly() -> (TempDir, Bundle) {
    let (temp, source) = source();
    edit(&source.join("bundle.json"), |json| {
        json["format"] = json!(2)
    });
    let bundle = pack(&source, temp.path().join("out.bedside")).unwrap();
    (temp, bundle)
}

#[test]
fn format_2_keeps_tokens_as_the_exporter_wrote_them() {
    let (_temp, bundle) = packed_exactly();
    let bytes = bundle.part("prompts.postcard").unwrap();
    assert_eq!(bytes, fs::read(golden("prompts-2.postcard")).unwrap());
    let prompts: Value =
        serde_json::from_slice(&fs::read(golden("source/prompts.json")).unwrap()).unwrap();
    let table = bundle.prompt_table().unwrap();
    for (entry, wanted) in table
        .entries()
        .iter()
        .zip(prompts["entries"].as_array().unwrap())
    {
        let wanted: Vec<Vec<f32>> = serde_json::from_value(wanted["tokens"].clone()).unwrap();
        assert_eq!(entry.tokens_f32(), wanted.concat());
    }
    let rounded = Bundle::open(golden("golden.bedside")).unwrap();
    assert_eq!(rounded.manifest().format, 1, "older bundles are read");
    assert_ne!(rounded.prompt_table().unwrap().entries(), table.entries());
}

#[test]
fn a_prompt_table_belongs_to_the_format_of_its_bundle() {
    let (temp, bundle) = packed_exactly();
    let (_old, folder) = unpacked();
    // Old readers see the format first and refuse what they would not understand.
    let exact = bundle.part("prompts.postcard").unwrap();
    fs::write(folder.join("prompts.postcard"), &exact).unwrap();
    edit(&folder.join("manifest.json"), |json| {
        for part in json["parts"].as_array_mut().unwrap() {
            if part["name"] == "prompts.postcard" {
                *part = serde_json::to_value(bundle.manifest().part("prompts.postcard")).unwrap();
            }
        }
    });
    let text = "table of version 2 in a bundle of format 1";
    refused(open_and_verify(&folder), ErrorKind::PromptTable, text);
    edit(&folder.join("manifest.json"), |json| {
        json["format"] = json!(2)
    });
    open_and_verify(&folder).unwrap();
    drop(temp);
}

/// A graph that gives `rows` f32 [1,T,4] for `ids` i64 [1,T], as far as its ends tell.
fn text_graph() -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    let end = |name: &[u8], element: u8, dims: &[&[u8]]| {
        let dims: Vec<u8> = dims.iter().flat_map(|dim| field(1, dim)).collect();
        let kind = [&[8, element], &*field(2, &dims)].concat();
        [field(1, name), field(2, &field(1, &kind))].concat()
    };
    let [one, four, symbol] = [&[8, 1][..], &[8, 4], &[18, 1, b'T']];
    let graph = [
        field(
            1,
            &[field(1, b"ids"), field(2, b"rows"), field(4, b"Identity")].concat(),
        ),
        field(11, &end(b"ids", 7, &[one, symbol])),
        field(12, &end(b"rows", 1, &[one, symbol, four])),
    ];
    [field(7, &graph.concat()), field(8, &[16, 17])].concat()
}

#[test]
fn a_text_graph_has_to_fit_the_decoder() {
    let pack_text = |dim: usize| {
        let (temp, source) = source();
        fs::write(source.join("text.onnx"), text_graph()).unwrap();
        fs::write(source.join("tokenizer.json"), "{}").unwrap();
        edit(&source.join("bundle.json"), |json| {
            let ids = json!({"name": "ids", "dtype": "i64", "shape": [1, "T"]});
            let rows = json!({"name": "rows", "dtype": "f32", "shape": [1, "T", dim]});
            let graph = json!({"part": "text.onnx", "inputs": [ids], "outputs": [rows]});
            json["graphs"].as_array_mut().unwrap().push(graph);
            json["text"] = json!({"graph": "text.onnx", "tokenizer": "tokenizer.json"});
        });
        pack(&source, temp.path().join("out.bedside"))
    };
    let bundle = pack_text(4).unwrap();
    assert_eq!(bundle.manifest().text.as_ref().unwrap().graph, "text.onnx");
    refused(pack_text(5), ErrorKind::Contract, "text.onnx");
}

#[test]
fn sources_that_make_no_good_bundle_leave_the_old_one() {
    type Spoil = fn(&Path);
    let cases: [(Spoil, ErrorKind, &str); 12] = [
        (
            |s| fs::remove_file(s.join("bundle.json")).unwrap(),
            ErrorKind::Missing,
            "bundle.json",
        ),
        (
            |s| fs::remove_file(s.join("prompts.json")).unwrap(),
            ErrorKind::Missing,
            "prompts.json",
        ),
        (
            |s| fs::remove_file(s.join("encoder.f32.onnx")).unwrap(),
            ErrorKind::Missing,
            "encoder.f32.onnx",
        ),
        (
            |s| fs::write(s.join("manifest.json"), "{}").unwrap(),
            ErrorKind::Duplicate,
            "manifest.json",
        ),
        (
            |s| fs::write(s.join("a b"), "").unwrap(),
            ErrorKind::PartName,
            "a b",
        ),
        (
            |s| fs::write(s.join(".git"), "").unwrap(),
            ErrorKind::PartName,
            ".git",
        ),
        (
            |s| {
                fs::copy(s.join("encoder.f32.onnx"), s.join("old.onnx")).unwrap();
            },
            ErrorKind::Manifest,
            "old.onnx",
        ),
        (
            |s| fs::write(s.join("encoder.int8.onnx"), "weights").unwrap(),
            ErrorKind::Graph,
            "encoder.int8.onnx",
        ),
        (
            |s| {
                fs::copy(golden("onnx/branch.onnx"), s.join("encoder.int8.onnx")).unwrap();
            },
            ErrorKind::ExternalData,
            "encoder.int8.onnx",
        ),
        (
            |s| {
                edit(&s.join("prompts.json"), |j| {
                    j["entries"][0]["object"] = json!("colon pollyp")
                })
            },
            ErrorKind::PromptTable,
            "colon pollyp",
        ),
        (
            |s| {
                edit(&s.join("prompts.json"), |j| {
                    j["entries"][0]["tokens"][0] = json!([1, 2, 3])
                })
            },
            ErrorKind::PromptTable,
            "differ in length",
        ),
        (
            |s| {
                edit(&s.join("prompts.json"), |j| {
                    j["entries"][0]["tokens"][0][0] = json!(1e6)
                })
            },
            ErrorKind::PromptTable,
            "not finite",
        ),
    ];
    for (spoil, kind, text) in cases {
        let (temp, source) = source();
        let out = temp.path().join("out.bedside");
        fs::write(&out, "the old bundle").unwrap();
        spoil(&source);
        refused(pack(&source, &out), kind, text);
        assert_eq!(fs::read(&out).unwrap(), b"the old bundle");
        assert_eq!(
            fs::read_dir(temp.path()).unwrap().count(),
            2,
            "a temporary file is left"
        );
    }
    let (_temp, source) = source();
    refused(
        pack(&source, source.join("out.bedside")),
        ErrorKind::Unlisted,
        "beside that folder",
    );
}

#[test]
fn an_object_outside_the_ontology_needs_its_target() {
    let (temp, source) = source();
    edit(&source.join("prompts.json"), |json| {
        json["entries"][0]["object"] = json!("surgical clip");
        json["entries"][0]["target"] = json!("clip");
    });
    edit(&source.join("bundle.json"), |json| {
        json["self_tests"][0]["prompt"] = json!("clip")
    });
    let bundle = pack(&source, temp.path().join("out.bedside")).unwrap();
    let table = bundle.prompt_table().unwrap();
    assert_eq!(
        table.forms().next().unwrap().text(),
        "clip in colon endoscope"
    );
}

/// A folder bundle with its manifest replaced.
fn open_manifest(folder: &Path, manifest: &[u8]) -> Result<Bundle, BundleError> {
    fs::write(folder.join("manifest.json"), manifest).unwrap();
    open_and_verify(folder)
}

#[test]
fn p_15_part_lists_that_do_not_tell_the_truth_are_refused() {
    let (_temp, folder) = unpacked();
    let manifest: Manifest =
        serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let with = |change: &dyn Fn(&mut Manifest)| {
        let mut m = manifest.clone();
        change(&mut m);
        open_manifest(&folder, &serde_json::to_vec(&m).unwrap())
    };
    with(&|_| {}).unwrap();
    refused(with(&|m| m.parts.swap(0, 1)), ErrorKind::Manifest, "sorted");
    refused(
        with(&|m| m.parts[0].bytes += 1),
        ErrorKind::Corrupt,
        "decoder.f32.onnx",
    );
    refused(
        with(&|m| m.parts[0].sha256 = "0".repeat(64)),
        ErrorKind::Corrupt,
        "SHA-256",
    );
    let upper = |m: &mut Manifest| m.parts[0].sha256.make_ascii_uppercase();
    refused(with(&upper), ErrorKind::Manifest, "lower-case");
    refused(
        with(&|m| drop(m.parts.remove(0))),
        ErrorKind::Unlisted,
        "decoder.f32.onnx",
    );
    refused(
        with(&|m| m.parts.push(m.parts[0].clone())),
        ErrorKind::Duplicate,
        "decoder.f32.onnx",
    );
    let outside = |m: &mut Manifest| {
        let name = "../card".to_owned();
        m.parts.push(bedside_bundle::manifest::Part {
            name,
            ..m.parts[0].clone()
        });
    };
    refused(with(&outside), ErrorKind::Missing, "../card");
    let huge = format!("{{\"format\": 1, \"name\": \"{}\"}}", "x".repeat(1 << 20));
    refused(
        open_manifest(&folder, huge.as_bytes()),
        ErrorKind::TooLarge,
        "manifest.json",
    );
    let deep = "[".repeat(100_000);
    refused(
        open_manifest(&folder, deep.as_bytes()),
        ErrorKind::Manifest,
        "manifest.json",
    );
}

/// Any JSON value, biased to what upsets arithmetic.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop_oneof![
            Just(0i64),
            Just(-1),
            Just(i64::MAX),
            Just(i64::from(u32::MAX))
        ]
        .prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-zP./\\\\]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        prop::collection::vec(inner, 0..4).prop_map(Value::from)
    })
}

/// JSON pointers to every value of a tree.
fn pointers(value: &Value, prefix: &str, all: &mut Vec<String>) {
    all.push(prefix.to_owned());
    match value {
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                pointers(item, &format!("{prefix}/{i}"), all);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                pointers(field, &format!("{prefix}/{name}"), all);
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_file_gives_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("any.bedside");
        fs::write(&path, bytes).unwrap();
        prop_assert!(Bundle::open(&path).is_err());
    }

    #[test]
    fn any_manifest_gives_an_answer(at in any::<prop::sample::Index>(), value in any_json()) {
        static FOLDER: LazyLock<(TempDir, PathBuf)> = LazyLock::new(unpacked);
        let bundle = Bundle::open(golden("golden.bedside")).unwrap();
        let mut manifest = serde_json::to_value(bundle.manifest()).unwrap();
        let mut all = Vec::new();
        pointers(&manifest, "", &mut all);
        *manifest.pointer_mut(&all[at.index(all.len())]).unwrap() = value;
        if let Err(e) = open_manifest(&FOLDER.1, &serde_json::to_vec(&manifest).unwrap()) {
            prop_assert!(e.to_string().chars().all(|c| !c.is_control()), "{e}");
        }
    }

    #[test]
    fn any_overwritten_span_is_found_or_changes_nothing(
        at in any::<prop::sample::Index>(),
        span in prop::collection::vec(any::<u8>(), 1..64),
    ) {
        let good = fs::read(golden("golden.bedside")).unwrap();
        let mut bad = good.clone();
        for (byte, new) in bad.iter_mut().skip(at.index(good.len())).zip(span) {
            *byte = new;
        }
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("bad.bedside");
        fs::write(&path, &bad).unwrap();
        prop_assert_eq!(open_and_verify(&path).is_ok(), bad == good);
    }
}

/// The bundle of two sides that the end-to-end tests run, changed at a pointer.
fn pack_sides(pointer: &str, value: Value) -> Result<Bundle, BundleError> {
    let temp = tempfile::tempdir().unwrap();
    let source = temp.path().join("source");
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sides/source");
    copy_tree(&made, &source);
    pack_changed((temp, source), pointer, value)
}

#[test]
fn graphs_are_described_for_every_side() {
    let form = |side: u32, slope: f64, threshold: f64| {
        json!([{"object": "colon polyp", "modality": "endoscopy", "site": "colon", "side": side,
            "presence": {"slope": slope, "offset": 0.0, "threshold": threshold}}])
    };
    pack_sides("/forms", form(64, 2.0, 0.5)).unwrap();
    let image = "/graphs/0/inputs/0/shape/2";
    let pixels = "/graphs/0/outputs/0/shape/2";
    for (pointer, value, kind, text) in [
        ("/format", json!(2), ErrorKind::Manifest, "format 3"),
        (
            "/input/other_sides",
            json!([32]),
            ErrorKind::Manifest,
            "a side twice",
        ),
        (
            "/input/other_sides",
            json!([0]),
            ErrorKind::Manifest,
            "1 to 4096",
        ),
        (
            "/input/other_sides",
            json!([66]),
            ErrorKind::Contract,
            "no part of side 66",
        ),
        (
            "/input/other_sides",
            json!([64, 96]),
            ErrorKind::Manifest,
            "at side 96",
        ),
        (image, json!(32), ErrorKind::Contract, "image"),
        (image, json!("side/2"), ErrorKind::Contract, "image"),
        (pixels, json!("side/8"), ErrorKind::Contract, "pixels"),
        (
            pixels,
            json!("side/0"),
            ErrorKind::Contract,
            "no part of side 32",
        ),
        (
            pixels,
            json!("side+4"),
            ErrorKind::Contract,
            "no part of side 32",
        ),
        (
            pixels,
            json!("side*side*side*side*side*side*side*side*side*side*side*side*side"),
            ErrorKind::Contract,
            "no part of side 32",
        ),
        ("/forms", form(48, 2.0, 0.5), ErrorKind::Manifest, "side 48"),
        (
            "/forms",
            form(64, 0.0, 0.5),
            ErrorKind::Manifest,
            "slope above 0",
        ),
        (
            "/forms",
            form(64, 2.0, 1.5),
            ErrorKind::Manifest,
            "threshold from 0 to 1",
        ),
        (
            "/forms/0/object",
            json!("liver"),
            ErrorKind::Manifest,
            "no form",
        ),
        (
            "/modalities",
            json!(["ct", "ct"]),
            ErrorKind::Manifest,
            "one twice",
        ),
        (
            "/modalities",
            json!(["ct", "mri", "oct", "x-ray"]),
            ErrorKind::Contract,
            "n at least 4",
        ),
        (
            "/familiarity/least",
            json!(2),
            ErrorKind::Manifest,
            "out of range",
        ),
        (
            "/familiarity/domains/0/std",
            json!(0),
            ErrorKind::Manifest,
            "out of range",
        ),
        (
            "/familiarity/domains/0/count",
            json!(0),
            ErrorKind::Manifest,
            "out of range",
        ),
        (
            "/familiarity/domains/0/count",
            json!(9),
            ErrorKind::Contract,
            "n at least 9",
        ),
        (
            "/familiarity/domains/0/site",
            json!("brain"),
            ErrorKind::Manifest,
            "no form of",
        ),
        (
            "/self_tests/1/side",
            json!(48),
            ErrorKind::Manifest,
            "side 48",
        ),
        (
            "/self_tests/1/side",
            json!(32),
            ErrorKind::Manifest,
            "at side 64",
        ),
    ] {
        refused(pack_sides(pointer, value), kind, text);
    }
}
