//! Bundles whose graphs take several sides of the input: masks are onnxruntime's at each.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may panic as tests do"
)]

use bedside::engine::{Backend, TractCpu, TractStock};
use bedside::{
    Bundle, ErrorKind, Frame, Options, PixelFormat, Precision, Prompt, Segmenter, Unproven,
    side_for,
};
use bedside_bundle::pack;
use bedside_tests::workspace;
use tempfile::TempDir;

fn bundle(temp: &TempDir) -> Bundle {
    let source = workspace::root().join("tests/sides/source");
    pack(&source, temp.path().join("sides.bedside")).unwrap()
}

fn options(temp: &TempDir) -> Options {
    Options::default().with_cache(temp.path().join("cache"))
}

/// IoU of the self-tests of a side, whose masks are those of onnxruntime in f32.
fn proved(backend: impl Backend + 'static, precision: Precision, side: u32) -> Vec<f64> {
    let temp = TempDir::new().unwrap();
    let options = options(&temp).with_precision(precision).with_side(side);
    let mut unproven = Unproven::load(bundle(&temp), backend, &options).unwrap();
    let cases = unproven.self_test().unwrap();
    cases.iter().map(|case| case.iou).collect()
}

#[test]
fn one_graph_gives_the_masks_of_every_side() {
    for side in [32, 64] {
        let exact = proved(TractCpu, Precision::F32, side);
        assert_eq!(exact.len(), 1, "the tests of a side are its own");
        assert!(exact[0] > 0.999, "{side}: {exact:?}");
        assert!(proved(TractStock, Precision::F32, side)[0] > 0.999);
        let coded = proved(TractCpu, Precision::Int8, side);
        assert!(coded[0] > 0.9, "{side}: {coded:?}");
    }
}

#[test]
fn a_side_is_asked_for_or_suits_the_prompts() {
    let temp = TempDir::new().unwrap();
    let bundle = bundle(&temp);
    let table = bundle.prompt_table().unwrap();
    let side = |words: &[&str]| {
        let prompts: Vec<_> = words.iter().map(|w| Prompt::new(*w)).collect();
        side_for(bundle.manifest(), &table, &prompts)
    };
    assert_eq!(side(&[]), 32);
    assert_eq!(side(&["polyp"]), 32);
    assert_eq!(side(&["polyp", "breast tumor"]), 64);
    assert_eq!(side(&["nothing of the table"]), 32);

    let load = |options| Segmenter::new(bundle.clone(), TractCpu, &options);
    assert_eq!(load(options(&temp)).unwrap().side(), 32);
    assert_eq!(load(options(&temp).with_side(64)).unwrap().side(), 64);
    let error = load(options(&temp).with_side(48)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    assert!(text.contains("hint: it has 32, 64"), "{text}");
}

/// A proof at one side says nothing of another.
#[test]
fn p_17_each_side_is_proved_by_itself() {
    let temp = TempDir::new().unwrap();
    let bundle = bundle(&temp);
    for side in [32, 64, 32] {
        let options = options(&temp).with_side(side);
        Segmenter::new(bundle.clone(), TractCpu, &options).unwrap();
    }
    let kept = std::fs::read_dir(temp.path().join("cache")).unwrap();
    assert_eq!(kept.count(), 2);
}

/// The score of one form, once as the sigmoid has it and once as it was calibrated.
#[test]
fn a_form_may_say_what_its_scores_mean() {
    let temp = TempDir::new().unwrap();
    let bundle = bundle(&temp);
    let test = bundle.manifest().self_tests[0].clone();
    let rgb = bundle.part(&test.part).unwrap();
    let frame = Frame::new(test.width, test.height, PixelFormat::Rgb8, rgb).unwrap();
    let find = |options: Options| {
        let mut segmenter = Segmenter::new(bundle.clone(), TractCpu, &options).unwrap();
        let words = ["polyp", "breast tumor"].map(Prompt::new);
        let prompts = segmenter.prompts(&words).unwrap();
        segmenter.segment(&frame, &prompts).unwrap().findings
    };
    let found = find(options(&temp));
    // onnxruntime's scores are 0.4036 and 0.0078.
    let expected = [0.4036_f32, 0.5 * 0.0078 - 1.0].map(|logit| 1.0 / (1.0 + (-logit).exp()));
    for (found, expected) in found.iter().zip(expected) {
        assert!((found.presence - expected).abs() < 1e-3, "{found:?}");
    }
    assert_eq!([found[0].present, found[1].present], [true, false]);
    // What whoever runs it asks for goes before what the bundle asks for.
    assert!(find(options(&temp).with_presence(0.2))[1].present);
}
