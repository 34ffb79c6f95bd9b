//! Bundles whose graphs take several sides of the input: masks are onnxruntime's at each.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may panic as tests do"
)]

use std::sync::Arc;

use bedside::engine::{Backend, TractCpu, TractStock};
use bedside::{
    Bundle, ErrorKind, Frame, Modality, Options, PixelFormat, Precision, Prompt, Segmentation,
    Segmenter, Unproven, Withheld, side_for,
};
use bedside_bundle::pack;
use bedside_live::{BundleLoader, Loader};
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
fn a_live_model_goes_to_smaller_sides_and_back_with_the_masks_of_each() {
    let temp = TempDir::new().unwrap();
    let bundle = bundle(&temp);
    let prompts = [Prompt::new("polyp"), Prompt::new("ulcer")];
    let loader = |options| BundleLoader::new(bundle.clone(), Arc::new(TractCpu), options).unwrap();
    let free = loader(options(&temp));
    assert_eq!(free.sides(&prompts), [64, 32]);
    assert_eq!(free.sides(&prompts[..1]), [32]);
    let fixed = loader(options(&temp).with_side(64));
    assert_eq!(fixed.sides(&prompts[..1]), [64]);

    let size = 48;
    let pixels = (0..size * size * 3).map(|i| (i * i % 251) as u8).collect();
    let frame = Frame::new(size, size, PixelFormat::Rgb8, pixels).unwrap();
    let at = |side| {
        let mut segmenter =
            Segmenter::new(bundle.clone(), TractCpu, &options(&temp).with_side(side)).unwrap();
        let set = segmenter.prompts(&prompts).unwrap();
        segmenter.segment(&frame, &set).unwrap().findings
    };
    for loader in [free.clone(), free.shared().unwrap()] {
        let mut model = loader.load().unwrap();
        for side in [64, 32, 64] {
            model.set_prompts(&prompts, Some(side)).unwrap();
            assert_eq!(model.segment(&frame, 0..2).unwrap(), at(side), "{side}");
        }
        let error = model.set_prompts(&prompts, Some(48)).unwrap_err();
        assert!(error.to_string().contains("hint: it has 32, 64"), "{error}");
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
    assert_eq!(side(&["polyp", "ulcer"]), 64);
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

/// A frame of one shade, and what the model makes of it.
fn shade(shade: u8, options: &Options) -> Segmentation {
    let temp = TempDir::new().unwrap();
    let frame = Frame::new(32, 32, PixelFormat::Rgb8, vec![shade; 32 * 32 * 3]).unwrap();
    let mut segmenter = Segmenter::new(bundle(&temp), TractCpu, options).unwrap();
    let prompts = ["polyp", "breast tumor"].map(Prompt::new);
    let prompts = segmenter.prompts(&prompts).unwrap();
    segmenter.segment(&frame, &prompts).unwrap()
}

/// Bright frames look like endoscopy to this model, dark ones like ultrasound, gray ones like
/// neither; of the bright ones it knows those of 0.3 and 0.5 of the scale.
#[test]
fn a_frame_of_another_kind_or_of_none_is_not_answered() {
    use Withheld::{OtherModality, Unfamiliar};
    let temp = TempDir::new().unwrap();
    let options = options(&temp);
    for (value, looks, why) in [
        (176, Some(Modality::Endoscopy), [None, Some(OtherModality)]),
        (52, Some(Modality::Ultrasound), [Some(OtherModality), None]),
        (127, None, [Some(OtherModality); 2]),
        (
            249,
            Some(Modality::Endoscopy),
            [Some(Unfamiliar), Some(OtherModality)],
        ),
    ] {
        let found = shade(value, &options);
        let like = found.looks_like.unwrap();
        assert!(
            like.probability > 0.9 && like.modality == looks,
            "{value}: {like:?}"
        );
        for (finding, why) in found.findings.iter().zip(why) {
            assert_eq!(finding.withheld, why, "{value}: {finding:?}");
            assert!(!finding.present || why.is_none());
            let fit = finding.fit.unwrap();
            assert!((0.0..=1.0).contains(&fit) && (why != Some(Unfamiliar) || fit < 0.01));
        }
    }
    // Whoever asks for every mask gets it, and is told all the same.
    let all = shade(249, &options.with_presence(0.0)).findings;
    assert!(
        all.iter().all(|f| f.withheld.is_some() && f.present),
        "{all:?}"
    );
}

#[test]
fn a_frame_tells_what_may_be_in_it() {
    let temp = TempDir::new().unwrap();
    let mut segmenter = Segmenter::new(bundle(&temp), TractCpu, &options(&temp)).unwrap();
    let mut recognize = |shade: u8, modality| {
        let frame = Frame::new(32, 32, PixelFormat::Rgb8, vec![shade; 32 * 32 * 3]).unwrap();
        let found = segmenter.recognize(&frame, modality, None)?;
        Ok::<Vec<_>, bedside::Error>(found.findings.into_iter().map(|f| f.prompt).collect())
    };
    let endoscopy = ["polyp in colon endoscope", "ulcer in colon endoscope"];
    assert_eq!(recognize(176, None).unwrap(), endoscopy);
    assert_eq!(recognize(52, None).unwrap(), ["tumor in breast ultrasound"]);
    assert_eq!(recognize(52, Some(Modality::Endoscopy)).unwrap(), endoscopy);
    let error = recognize(127, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Prompt);
    let text = error.to_string();
    assert!(
        text.contains("no kind of imaging") && text.contains("hint: name"),
        "{text}"
    );
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
        let words = ["polyp", "ulcer"].map(Prompt::new);
        let prompts = segmenter.prompts(&words).unwrap();
        segmenter.segment(&frame, &prompts).unwrap().findings
    };
    let found = find(options(&temp));
    // onnxruntime's scores are 0.2378 and 1.1123.
    let expected = [0.2378_f32, 0.5 * 1.1123 - 1.0].map(|logit| 1.0 / (1.0 + (-logit).exp()));
    for (found, expected) in found.iter().zip(expected) {
        assert!((found.presence - expected).abs() < 1e-3, "{found:?}");
    }
    assert_eq!([found[0].present, found[1].present], [true, false]);
    // What whoever runs it asks for goes before what the bundle asks for.
    assert!(find(options(&temp).with_presence(0.3))[1].present);
}
