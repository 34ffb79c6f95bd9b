//! The shipped edge bundle, end to end: what the README shows and the promises say.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may panic as tests do"
)]

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bedside::engine::{
    Backend, FaultyBackend, InjectedFault, LoadOptions, Signature, TractCpu, Value,
};
use bedside::{
    Bundle, ErrorKind, Finding, Form, Frame, Mask, Modality, Options, Orientation, PixelFormat,
    Precision, Prompt, Segmenter, Unproven, vision,
};
use bedside_phantom::{Phantom, PhantomConfig, PhantomKind};
use bedside_tests::{shared_data, skipped, workspace};
use serde_json::json;

use crate::watched::Watched;

const PROMPTS: [&str; 3] = ["polyp", "breast tumor", "fetal head"];
/// Test frames of the bundle, each a run of encoder and decoder.
const SELF_TESTS: u64 = 3;

fn bundle() -> Bundle {
    Bundle::open(workspace::root().join("models/edge/edge.bedside")).unwrap()
}

/// What passed the self-tests is remembered between the tests, not for the user.
fn options(precision: Precision) -> Options {
    Options::default()
        .with_precision(precision)
        .with_cache(env!("CARGO_TARGET_TMPDIR"))
}

fn segmenter(precision: Precision) -> Segmenter {
    let options = options(precision);
    Segmenter::new(bundle(), TractCpu, &options).unwrap()
}

fn precisions() -> impl Iterator<Item = Precision> {
    bundle()
        .manifest()
        .variants
        .clone()
        .into_iter()
        .map(|v| v.precision)
}

fn phantom(kind: PhantomKind, seed: u64, target: bool) -> (Frame, Mask) {
    let (width, height, frame_rate) = (400, 320, 30.0);
    let config = PhantomConfig {
        kind,
        width,
        height,
        seed,
        frame_rate,
        target,
    };
    let shot = Phantom::new(config).unwrap().frame_at(0);
    (shot.frame, shot.mask)
}

fn ask(segmenter: &mut Segmenter, frame: &Frame, prompts: &[&str]) -> Vec<Finding> {
    let prompts: Vec<Prompt> = prompts.iter().map(|p| Prompt::new(*p)).collect();
    let set = segmenter.prompts(&prompts).unwrap();
    segmenter.segment(frame, &set).unwrap().findings
}

/// The mean over seeds, because a single phantom may be a hard one.
#[test]
fn each_object_is_found_on_its_phantom_and_not_on_the_others() {
    let kinds = [
        PhantomKind::Polyp,
        PhantomKind::BreastTumor,
        PhantomKind::FetalHead,
    ];
    for precision in precisions() {
        let mut segmenter = segmenter(precision);
        for (asked, kind) in kinds.into_iter().enumerate() {
            let (mut dice, mut wrong) = (0.0, 0);
            for seed in 10_000..10_010 {
                let (frame, truth) = phantom(kind, seed, true);
                let found = ask(&mut segmenter, &frame, &PROMPTS);
                let mask = found[asked].mask.as_ref();
                dice += mask.map_or(0.0, |mask| vision::dice(mask, &truth)) / 10.0;
                wrong += (0..3).filter(|i| *i != asked && found[*i].present).count();
            }
            assert!(
                dice > 0.8,
                "{precision}: mean Dice {dice} for {}",
                PROMPTS[asked]
            );
            assert!(
                wrong <= 2,
                "{precision}: {wrong} of 20 other prompts present on {kind:?}"
            );
        }
    }
}

#[test]
fn p_13_same_bundle_frame_and_backend_give_the_same_bits() {
    for (backend, precision) in backends().flat_map(|b| precisions().map(move |p| (b, p))) {
        let (frame, _) = phantom(PhantomKind::Polyp, 3, true);
        let load = |threads| {
            let mut options = options(precision);
            options.threads = threads;
            Segmenter::new(bundle(), backend, &options).unwrap()
        };
        let first = ask(&mut load(None), &frame, &PROMPTS);
        let mut one = load(Some(1));
        let told = format!("{} {precision}", backend.name());
        let alone = ask(&mut one, &frame, &PROMPTS);
        assert_eq!(ask(&mut one, &frame, &PROMPTS), alone, "{told} again");
        if backend.name().starts_with("tract") {
            assert_eq!(alone, first, "{told} on one thread");
            continue;
        }
        // onnxruntime cuts a sum otherwise on another number of threads.
        for (a, b) in alone.iter().zip(&first) {
            assert!(
                (a.presence - b.presence).abs() <= 1e-6,
                "{told}: {a:?} {b:?}"
            );
            let iou = a.mask.as_ref().zip(b.mask.as_ref());
            let iou = iou.map_or(1.0, |(a, b)| vision::iou(a, b));
            assert!(
                a.present == b.present && iou >= 0.999,
                "{told}: {a:?} {b:?}"
            );
        }
    }
}

#[test]
fn prompts_in_one_pass_get_the_masks_they_get_alone() {
    for (backend, precision) in backends().flat_map(|b| precisions().map(move |p| (b, p))) {
        // Presence 0: compare every mask, not only those of present objects.
        let options = options(precision).with_presence(0.0);
        let mut segmenter = Segmenter::new(bundle(), backend, &options).unwrap();
        let (frame, _) = phantom(PhantomKind::BreastTumor, 5, true);
        let many: Vec<&str> = PROMPTS.iter().copied().cycle().take(16).collect();
        let together = ask(&mut segmenter, &frame, &many);
        for (prompt, finding) in many.iter().zip(&together) {
            let alone = ask(&mut segmenter, &frame, &[prompt]);
            assert_eq!(
                alone,
                std::slice::from_ref(finding),
                "{} {precision}: {prompt}",
                backend.name()
            );
        }
    }
}

/// The backends of this build that can run here.
fn backends() -> impl Iterator<Item = &'static dyn Backend> {
    let here = |backend: &&dyn Backend| {
        let missing = backend.available().err();
        if let Some(error) = &missing {
            skipped(&format!("{}: {error}", backend.name()));
        }
        missing.is_none()
    };
    bedside::engine::backends().into_iter().filter(here)
}

/// The largest difference to onnxruntime's logits, and the least IoU of the masks, over the
/// self-test frames (`models/edge/golden`, written by `bedside_train.export`).
fn against_onnxruntime(backend: &dyn Backend, precision: Precision) -> (f32, f64) {
    let bundle = bundle();
    let manifest = bundle.manifest().clone();
    let segmenter = segmenter(precision);
    let side = manifest.input.side as usize;
    let variant = manifest.variant(precision).unwrap();
    let load = |part: &str| {
        let graph = manifest.graph_at(part, side as u32).unwrap();
        let mut options = LoadOptions::new(part, Signature::from(&graph));
        options.threads = 2;
        backend.load(&bundle.map(part).unwrap(), &options).unwrap()
    };
    let (mut encoder, mut decoder) = (load(&variant.encoder), load(&variant.decoder));
    let (mut worst, mut least) = (0.0_f32, 1.0_f64);
    for (i, test) in manifest.self_tests_at(side as u32).enumerate() {
        let rgb = bundle.part(&test.part).unwrap();
        let (w, h) = (test.width as usize, test.height as usize);
        let mut image = Vec::with_capacity(3 * side * side);
        for c in 0..3 {
            for p in 0..side * side {
                let at = (p / side * h / side * w + p % side * w / side) * 3 + c;
                image.push((f32::from(rgb[at]) - manifest.input.mean[c]) / manifest.input.std[c]);
            }
        }
        let features = encoder
            .run(&[Value::f32(&[1, 3, side, side], &image).unwrap()])
            .unwrap();
        let table = segmenter.prompt_table();
        let entry = table.trained(&Prompt::new(&*test.prompt)).unwrap();
        let mut tokens = entry.tokens_f32();
        let dim = tokens.len() / entry.rows();
        tokens.resize(16 * dim, 0.0);
        let mut keep = vec![1.0; entry.rows()];
        keep.resize(16, 0.0);
        let mut inputs = features;
        // What the encoder says of the frame itself comes behind what the decoder takes.
        inputs.truncate(manifest.graph(&variant.decoder).unwrap().inputs.len() - 2);
        inputs.push(Value::f32(&[1, 16, dim], &tokens).unwrap());
        inputs.push(Value::f32(&[1, 16], &keep).unwrap());
        let outputs = decoder.run(&inputs).unwrap();
        let found = outputs[0].to_f32().unwrap();
        let file = format!("models/edge/golden/{i}.{precision}.f32");
        let bytes = std::fs::read(workspace::root().join(file)).unwrap();
        let expected: Vec<f32> = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        assert_eq!(found.len(), expected.len());
        let difference = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        worst = difference.fold(worst, f32::max);
        let mask = |logits: &[f32]| {
            let data = logits.iter().map(|l| u8::from(*l > 0.0)).collect();
            Mask::from_bytes(logits.len() as u32, 1, data).unwrap()
        };
        assert!(!mask(&expected).is_empty());
        least = least.min(vision::iou(&mask(&found), &mask(&expected)));
    }
    (worst, least)
}

#[test]
fn p_13_backends_agree_with_onnxruntime() {
    for backend in backends() {
        let name = backend.name();
        // The codes of int8 turn the smallest difference into a step.
        for (precision, most, bound) in [
            (Precision::F32, 1e-3, 0.999),
            (Precision::Int8, f32::INFINITY, 0.99),
        ] {
            let (worst, iou) = against_onnxruntime(backend, precision);
            let told = format!("{name} {precision}: logits differ by {worst}, IoU {iou}");
            println!("{told}");
            assert!(worst <= most && iou >= bound, "{told}");
        }
    }
}

#[test]
fn golden_frames_come_out_on_this_device_at_every_precision() {
    for (backend, precision) in backends().flat_map(|b| precisions().map(move |p| (b, p))) {
        let options = options(precision);
        let mut unproven = Unproven::load(bundle(), backend, &options).unwrap();
        let cases = unproven.self_test().unwrap();
        assert_eq!(cases.len() as u64, SELF_TESTS);
        for case in cases {
            assert!(case.passed(), "{} {precision}: {case:?}", backend.name());
        }
    }
}

#[test]
fn p_07_unknown_and_untrained_prompts_are_refused() {
    let mut segmenter = segmenter(Precision::F32);
    let mut refused = |prompt: Prompt, words: &[&str]| {
        let error = segmenter.prompts(&[prompt]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Prompt);
        for word in words {
            assert!(error.to_string().contains(word), "{error}");
        }
    };
    refused(
        Prompt::new("polypp"),
        &["unknown prompt 'polypp'", "colon polyp"],
    );
    refused(Prompt::new("liver tumor"), &["not trained", "'liver'"]);
    refused(
        Prompt::new("polyp").with_modality(Modality::Ct),
        &["ct", "polyp in colon endoscope"],
    );
    // The weights know one tumor alone, which is no reason to take every tumor for it.
    refused(
        Prompt::new("tumor"),
        &["'tumor' may mean 'tumor in breast ultrasound'", "liver ct"],
    );
}

/// Where modality or site settle what is meant, findings say what that is.
#[test]
fn p_07_a_shared_word_that_is_settled_shows_its_form() {
    let mut segmenter = segmenter(Precision::F32);
    let (frame, _) = phantom(PhantomKind::BreastTumor, 5, true);
    let tumor = Prompt::new("tumor").with_modality(Modality::Ultrasound);
    let set = segmenter.prompts(&[tumor, Prompt::new("polyp")]).unwrap();
    let labels = ["tumor in breast ultrasound", "polyp"];
    assert_eq!(set.labels().collect::<Vec<_>>(), labels);
    let found = segmenter.segment(&frame, &set).unwrap().findings;
    assert!(found.iter().map(|f| f.prompt.as_str()).eq(labels));
    assert_eq!(found[0].object.as_deref(), Some("breast tumor"));
}

/// The network draws something for every prompt; what it shows is another matter.
#[test]
fn p_06_a_mask_below_its_threshold_is_withheld() {
    let at = |presence| {
        let options = options(Precision::F32).with_presence(presence);
        Segmenter::new(bundle(), TractCpu, &options).unwrap()
    };
    let (frame, _) = phantom(PhantomKind::Polyp, 3, true);
    let drawn = ask(&mut at(0.0), &frame, &PROMPTS);
    let withheld = |finding: &Finding, of: &Finding| {
        let mut absent = Finding::absent(&*of.prompt, of.presence);
        absent.object.clone_from(&of.object);
        absent.meta_object.clone_from(&of.meta_object);
        (absent.fit, absent.withheld) = (of.fit, of.withheld);
        assert_eq!(*finding, absent, "its presence is still said");
    };
    for (place, of) in drawn.iter().enumerate() {
        let ask = |presence| ask(&mut at(presence), &frame, &PROMPTS).swap_remove(place);
        match of.withheld {
            None => assert_eq!(ask(of.presence), *of, "at its threshold"),
            Some(_) => withheld(&ask(of.presence), of),
        }
        withheld(&ask(of.presence.next_up()), of);
    }
    let usual = ask(&mut segmenter(Precision::F32), &frame, &PROMPTS);
    assert!(drawn[0].present && usual[0] == drawn[0]);
    let others = usual.iter().zip(&drawn).skip(1);
    others.for_each(|(finding, of)| withheld(finding, of));
}

#[test]
fn p_09_nan_and_other_faults_of_a_backend_give_no_mask() {
    let (frame, _) = phantom(PhantomKind::Polyp, 1, true);
    for fault in [
        InjectedFault::Nan,
        InjectedFault::WrongShape,
        InjectedFault::DeviceLost,
    ] {
        let name = format!("{fault:?}");
        let backend = FaultyBackend::new(Arc::new(TractCpu), move |graph, run| {
            (graph.starts_with("decoder") && run == SELF_TESTS + 1).then(|| fault.clone())
        });
        let mut segmenter = Segmenter::new(bundle(), backend, &Options::default()).unwrap();
        let set = segmenter.prompts(&[Prompt::new("polyp")]).unwrap();
        assert!(segmenter.segment(&frame, &set).is_ok());
        let error = segmenter.segment(&frame, &set).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Engine, "{name}: {error}");
    }
}

/// What f16 can't say is an overflow, and not a very sure answer.
#[test]
fn p_09_logits_beyond_any_answer_give_no_mask() {
    let (frame, _) = phantom(PhantomKind::Polyp, 1, true);
    let answers = [
        (f32::NAN, None),
        (f32::INFINITY, None),
        (f32::NEG_INFINITY, None),
        (1e30, None),
        (-65_505.0, None),
        (65_504.0, Some(true)),
        (-65_504.0, Some(false)),
    ];
    let backend = FaultyBackend::new(Arc::new(TractCpu), move |graph, run| {
        let place = run.checked_sub(SELF_TESTS)? as usize;
        let (value, _) = answers
            .get(place)
            .filter(|_| graph.starts_with("decoder"))?;
        Some(InjectedFault::Filled(*value))
    });
    let mut segmenter = Segmenter::new(bundle(), backend, &Options::default()).unwrap();
    let set = segmenter.prompts(&[Prompt::new("polyp")]).unwrap();
    for (value, present) in answers {
        match (segmenter.segment(&frame, &set), present) {
            (Ok(answer), Some(present)) => {
                assert_eq!(answer.findings[0].present, present, "{value}");
            }
            (Err(error), None) => {
                assert_eq!(error.kind(), ErrorKind::Engine, "{value}: {error}");
                assert!(error.to_string().contains("absurd"), "{value}: {error}");
            }
            (other, _) => panic!("{value}: {other:?}"),
        }
    }
}

/// A frozen frame is asked again without its encoder, whatever came after it.
#[test]
fn features_serve_other_prompts_later_and_give_what_a_whole_pass_gives() {
    let backend = Watched::new(Some("watched"));
    for precision in precisions() {
        let mut segmenter = Segmenter::new(bundle(), backend.clone(), &options(precision)).unwrap();
        let (frozen, _) = phantom(PhantomKind::Polyp, 3, true);
        let (later, _) = phantom(PhantomKind::FetalHead, 4, true);
        let sets = PROMPTS.map(|p| segmenter.prompts(&[Prompt::new(p)]).unwrap());
        let whole: Vec<_> = sets
            .iter()
            .map(|set| segmenter.segment(&frozen, set).unwrap().findings)
            .collect();
        assert!(whole[0][0].validity.is_some());
        backend.ran("");
        let features = segmenter.encode(&frozen, Orientation::Upright).unwrap();
        assert_eq!((features.width(), features.height()), (400, 320));
        segmenter.encode(&later, Orientation::Upright).unwrap();
        assert_eq!(backend.ran("encoder"), 2);
        for (set, whole) in sets.iter().zip(&whole) {
            let answer = segmenter.decode(&features, set).unwrap();
            assert_eq!(answer.findings, *whole, "{precision}");
            assert_eq!(answer.timings.encoder, Duration::ZERO);
        }
        assert_eq!(backend.ran("encoder"), 0);
    }
}

#[test]
fn masks_in_used_memory_are_as_in_new() {
    let mut segmenter = segmenter(Precision::F32);
    let set = segmenter.prompts(&PROMPTS.map(Prompt::new)).unwrap();
    let frames: Vec<_> = [
        (PhantomKind::Polyp, 1),
        (PhantomKind::FetalHead, 2),
        (PhantomKind::Polyp, 9),
    ]
    .map(|(kind, seed)| phantom(kind, seed, true).0)
    .into();
    let mut pass = |reuse: bool| {
        let found = frames.iter().map(|frame| {
            let found = segmenter.segment(frame, &set).unwrap().findings;
            if reuse {
                segmenter.reuse(found.clone());
                // More than are ever kept, of other sizes.
                let mut larger = found[0].clone();
                larger.mask = Some(Mask::from_bytes(900, 2, vec![1; 1800]).unwrap());
                segmenter.reuse(vec![larger; 3]);
            }
            found
        });
        found.collect::<Vec<_>>()
    };
    let new = pass(false);
    assert!(new.iter().flatten().filter(|f| f.present).count() >= 3);
    assert_eq!(pass(true), new);
    assert_eq!(pass(true), new);
}

/// Two that share weights answer side by side as one does alone.
#[test]
fn p_13_segmenters_that_share_weights_give_the_same_masks_side_by_side() {
    for precision in precisions() {
        let mut first = segmenter(precision);
        let mut second = first.share().unwrap().expect("tract shares weights");
        let sets = PROMPTS.map(|p| first.prompts(&[Prompt::new(p)]).unwrap());
        let kinds = [
            PhantomKind::Polyp,
            PhantomKind::BreastTumor,
            PhantomKind::FetalHead,
        ];
        let frames = kinds.map(|kind| phantom(kind, 5, true).0);
        let answers = |segmenter: &mut Segmenter| {
            let passes = frames
                .iter()
                .flat_map(|frame| sets.iter().map(move |set| (frame, set)));
            let found = passes.map(|(frame, set)| segmenter.segment(frame, set).unwrap().findings);
            found.collect::<Vec<_>>()
        };
        let alone = answers(&mut segmenter(precision));
        assert!(alone.iter().flatten().any(|finding| finding.present));
        thread::scope(|scope| {
            let other = scope.spawn(|| answers(&mut second));
            assert_eq!(answers(&mut first), alone, "{precision}");
            assert_eq!(other.join().unwrap(), alone, "{precision}");
        });
        let features = first.encode(&frames[0], Orientation::Upright).unwrap();
        let refused = second.decode(&features, &sets[0]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Mismatch);
    }
}

#[test]
fn prompts_and_features_of_others_are_refused() {
    let mut f32 = segmenter(Precision::F32);
    let mut twin = segmenter(Precision::F32);
    let mut int8 = segmenter(Precision::Int8);
    // The same graphs and table, but fed otherwise: another bundle.
    let temp = tempfile::tempdir().unwrap();
    let turned = edited(temp.path(), |manifest| {
        manifest["orientation"] =
            json!([{"modality": "ultrasound", "site": "breast", "transpose": true}]);
        // The weights were not trained on breasts that lie on their side.
        let tests = manifest["self_tests"].as_array_mut().unwrap();
        tests.retain(|test| test["prompt"] != "tumor in breast ultrasound");
    });
    let mut turned = Segmenter::new(turned, TractCpu, &options(Precision::F32)).unwrap();
    let (frame, _) = phantom(PhantomKind::BreastTumor, 3, true);
    let tumor = [Prompt::new("breast tumor")];
    let set = f32.prompts(&tumor).unwrap();
    // A set serves all segmenters of its bundle and precision.
    let own = f32.segment(&frame, &set).unwrap().findings;
    assert_eq!(twin.segment(&frame, &set).unwrap().findings, own);

    let refused = |error: bedside::Error, word: &str| {
        assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
        let text = error.to_string();
        assert!(text.contains(word) && text.contains("hint: "), "{text}");
    };
    refused(
        int8.segment(&frame, &set).unwrap_err(),
        "are of f32, not of int8",
    );
    refused(turned.segment(&frame, &set).unwrap_err(), "of bundle ");
    refused(turned.profile(&frame, &set).unwrap_err(), "of bundle ");
    let features = f32.encode(&frame, Orientation::Upright).unwrap();
    f32.decode(&features, &set).unwrap();
    refused(
        twin.decode(&features, &set).unwrap_err(),
        "of another segmenter",
    );

    let set = turned.prompts(&tumor).unwrap();
    assert_eq!(set.orientation(), Orientation::Transposed);
    let upright = turned.encode(&frame, Orientation::Upright).unwrap();
    refused(
        turned.decode(&upright, &set).unwrap_err(),
        "another orientation",
    );
    let transposed = turned.encode(&frame, set.orientation()).unwrap();
    let findings = turned.decode(&transposed, &set).unwrap().findings;
    assert_eq!(turned.segment(&frame, &set).unwrap().findings, findings);

    let none = f32.prompts(&[]).unwrap();
    let error = f32.segment(&frame, &none).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Prompt);
    let error = Segmenter::new(
        bundle(),
        TractCpu,
        &Options::default().with_backend("ort-cpu"),
    );
    assert!(
        error
            .err()
            .unwrap()
            .to_string()
            .contains("ort-cpu, not tract-cpu")
    );
}

/// The shipped bundle as a folder, with another manifest.
fn edited(folder: &Path, edit: impl FnOnce(&mut serde_json::Value)) -> Bundle {
    let shipped = bundle();
    let mut manifest = serde_json::to_value(shipped.manifest()).unwrap();
    edit(&mut manifest);
    for part in &shipped.manifest().parts {
        let path = folder.join(&part.name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, shipped.part(&part.name).unwrap()).unwrap();
    }
    std::fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    Bundle::open(folder).unwrap()
}

#[test]
fn recognition_reports_every_known_object_of_a_modality_without_overlap() {
    let mut segmenter = segmenter(Precision::F32);
    let (frame, truth) = phantom(PhantomKind::FetalHead, 2, true);
    let found = segmenter
        .recognize(&frame, Some(Modality::Ultrasound), None)
        .unwrap()
        .findings;
    let known = |f: &&Form| f.modality == Modality::Ultrasound;
    assert_eq!(
        found.len(),
        segmenter
            .prompt_table()
            .trained_forms()
            .filter(known)
            .count()
    );
    let head = found
        .iter()
        .find(|f| f.object.as_deref() == Some("fetal head"))
        .unwrap();
    assert!(vision::dice(head.mask.as_ref().unwrap(), &truth) > 0.8);
    assert!(head.validity.is_some() && head.meta_object.as_deref() == Some("other organ"));
    for x in 0..frame.width() {
        for y in 0..frame.height() {
            let owners = found
                .iter()
                .filter_map(|f| f.mask.as_ref())
                .filter(|m| m.get(x, y));
            assert!(owners.count() <= 1);
        }
    }
    let error = segmenter
        .recognize(&frame, Some(Modality::Oct), None)
        .unwrap_err();
    assert!(error.to_string().contains("ultrasound breast"), "{error}");
}

#[test]
fn frames_of_any_size_and_format_are_answered_or_refused() {
    let mut segmenter = segmenter(Precision::F32);
    let set = segmenter.prompts(&[Prompt::new("polyp")]).unwrap();
    let formats = [
        PixelFormat::Rgb8,
        PixelFormat::Gray8,
        PixelFormat::Nv12,
        PixelFormat::I420,
        PixelFormat::Yuyv,
    ];
    let sizes = [
        (1, 1),
        (15, 400),
        (16, 16),
        (17, 3999),
        (4000, 16),
        (641, 479),
        (1280, 720),
    ];
    for (i, (width, height)) in sizes.into_iter().enumerate() {
        let format = formats[i % formats.len()];
        let data = (0..format.byte_len(width, height))
            .map(|i| (i * 37 % 251) as u8)
            .collect();
        let frame = Frame::new(width, height, format, data).unwrap();
        match segmenter.segment(&frame, &set) {
            Ok(answer) => {
                assert!(width.min(height) >= bedside::MIN_SIDE);
                for mask in answer.findings.iter().filter_map(|f| f.mask.as_ref()) {
                    assert_eq!((mask.width(), mask.height()), (width, height));
                }
            }
            Err(error) => {
                assert!(
                    width.min(height) < bedside::MIN_SIDE,
                    "{width}x{height}: {error}"
                );
                assert_eq!(error.kind(), ErrorKind::Frame);
            }
        }
    }
}

/// A sample of the real validation frames; `bedside eval` measures all of them.
#[test]
fn real_frames_are_segmented() {
    for (set, prompt, least) in [
        ("kvasir_seg", "polyp", 0.75),
        ("busi", "breast tumor", 0.6),
        ("hc18", "fetal head", 0.9),
    ] {
        let Some(folder) = shared_data(&format!("datasets/{set}")) else {
            return;
        };
        let manifest = std::fs::read_to_string(folder.join("manifest.csv")).unwrap();
        let rows = manifest.lines().map(|l| l.split(',').collect::<Vec<_>>());
        let rows: Vec<_> = rows.filter(|r| r[2] == "val" && r[6] != "normal").collect();
        let mut segmenter = segmenter(Precision::F32);
        let sample: Vec<_> = rows.iter().step_by(rows.len() / 24).collect();
        let mut total = 0.0;
        for row in &sample {
            let image = image::open(folder.join(row[0])).unwrap().into_rgb8();
            let truth = image::open(folder.join(row[1])).unwrap().into_luma8();
            let (w, h) = image.dimensions();
            let frame = Frame::new(w, h, PixelFormat::Rgb8, image.into_raw()).unwrap();
            let truth = truth
                .into_raw()
                .iter()
                .map(|v| u8::from(*v > 127))
                .collect();
            let truth = Mask::from_bytes(w, h, truth).unwrap();
            let found = ask(&mut segmenter, &frame, &[prompt]);
            total += found[0]
                .mask
                .as_ref()
                .map_or(0.0, |m| vision::dice(m, &truth));
        }
        let mean = total / sample.len() as f64;
        assert!(
            mean >= least,
            "{prompt}: mean Dice {mean} over {} frames",
            sample.len()
        );
    }
}

#[test]
fn the_shipped_bundle_is_small() {
    let path = workspace::root().join("models/edge/edge.bedside");
    assert!(std::fs::metadata(path).unwrap().len() <= 30_000_000);
}
