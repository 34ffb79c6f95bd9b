//! `bedside annotate` and `bedside collect`, and `bedside eval` on what comes of them, with the tiny bundle
//! of `golden/make.py`, for which red is a polyp.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;

use image::{Rgb, RgbImage};
use serde_json::{Value, json};

use crate::eval::{bedside, tiny_bundle};

const SIDE: u32 = 32;
const RED: [u8; 3] = [250, 10, 10];
const GROUND: [u8; 3] = [230; 3];

/// A picture with a red block from column `left` on, or none.
fn draw(path: &Path, left: Option<u32>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let picture = RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let red = left.is_some_and(|left| (left..left + 16).contains(&x) && (8..24).contains(&y));
        Rgb(if red { RED } else { GROUND })
    });
    picture.save(path).unwrap();
}

/// A clip of three views, ten frames each: nothing, a red block at the left, one at the right.
fn clip(path: &Path) {
    let mut bytes = format!("YUV4MPEG2 W{SIDE} H{SIDE} F30:1 C420jpeg\n").into_bytes();
    for view in [None, Some(0..8), Some(8..16)] {
        for _ in 0..10 {
            bytes.extend(b"FRAME\n");
            // Bright gray, and red, in Y, U, V.
            for (plane, (ground, red)) in [(214, 81), (128, 90), (128, 240)].into_iter().enumerate()
            {
                let scale = if plane == 0 { 2 } else { 1 };
                let half = SIDE / 2 * scale;
                for at in 0..half * half {
                    let (x, y) = (at % half / scale, at / half / scale);
                    let inside =
                        view.as_ref().is_some_and(|v| v.contains(&x)) && (4..12).contains(&y);
                    bytes.push(if inside { red } else { ground });
                }
            }
        }
    }
    fs::write(path, bytes).unwrap();
}

/// A run that succeeds, and its JSON.
fn ran(arguments: &[&str]) -> Value {
    let output = bedside(arguments);
    assert!(output.status.success(), "{}", told(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Pictures of two patients and a clip, one of the patients with a name that is not ASCII.
fn sources(folder: &Path) -> Vec<String> {
    draw(&folder.join("p1/hit.png"), Some(8));
    draw(&folder.join("p1/quiet.png"), None);
    draw(&folder.join("Müller/hit.png"), Some(4));
    clip(&folder.join("clip.y4m"));
    ["p1", "Müller", "clip.y4m"]
        .map(|name| folder.join(name).display().to_string())
        .to_vec()
}

#[test]
fn initial_masks_are_corrected_collected_and_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = tiny_bundle(folder.path());
    let sources = sources(folder.path());
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let [task, dataset] = ["task", "dataset"].map(|name| folder.path().join(name));
    let out = task.to_str().unwrap();
    let options = ["--prompt", "polyp", "--every", "2", "--bundle", &bundle];
    let written = ran(&[
        &["annotate"],
        sources.as_slice(),
        &options,
        &["--format", "cvat", "--out", out, "--json"],
    ]
    .concat());
    assert_eq!(written["pictures"], 6);
    assert_eq!(
        written["objects"],
        json!([{ "object": "colon polyp", "found": 4 }])
    );

    // Of the clip one frame a view, of which none is doubted more than the others.
    let pictures = names(&task.join("images"));
    let expected = [
        "clip-000000",
        "clip-000010",
        "clip-000020",
        "hit",
        "hit-2",
        "quiet",
    ];
    assert_eq!(pictures, expected.map(|stem| format!("{stem}.png")).into());

    // A person deletes the first mask, widens the second and draws a new one.
    let export = task.join("annotations.xml");
    let text = fs::read_to_string(&export).unwrap();
    let masks: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("<mask "))
        .collect();
    let [first, second, ..] = masks.as_slice() else {
        panic!("{text}")
    };
    let place = text.find("name=\"quiet.png\"").unwrap();
    let (before, quiet) = text.split_at(place);
    let before = before.replacen(first, "", 1).replacen(
        second,
        "<polygon label=\"colon polyp\" points=\"10,0;32,0;32,32;10,32\"/>",
        1,
    );
    let drawn = r#"<mask label="colon polyp" rle="0, 4" left="1" top="1" width="2" height="2"/>"#;
    let (open, rest) = quiet.split_once('>').unwrap();
    let quiet = format!("{open}>{drawn}{rest}");
    let corrected = folder.path().join("corrected.xml");
    fs::write(&corrected, before + &quiet).unwrap();

    let corrected = corrected.to_str().unwrap();
    let set = dataset.to_str().unwrap();
    let options = ["--format", "cvat", "--task", out, "--out", set];
    let report = ran(&[&["collect", corrected, "--json"], &options[..]].concat());
    assert_eq!(
        (&report["pictures"], &report["left_out"]),
        (&6.into(), &0.into())
    );
    let polyp = &report["objects"]["colon polyp"];
    let counts = ["unchanged", "corrected", "added", "deleted", "absent"].map(|c| &polyp[c]);
    assert_eq!(counts, [2, 1, 1, 1, 1], "{report}");
    let dice = polyp["mean_dice"].as_f64().unwrap();
    // A block of 16x16, give or take a pixel at its edges, became 22x32 around it.
    assert!((0.45..0.65).contains(&dice), "{report}");

    // The dataset is what `eval` takes: masks as they were give a Dice of 1.
    let report = ran(&["eval", set, "--split", "all", "--bundle", &bundle, "--json"]);
    assert_eq!(report["failed"], json!([]), "{report}");
    let records = report["records"].as_array().unwrap();
    let dice = records.iter().filter_map(|r| r["overlap"]["dice"].as_f64());
    let dice: Vec<f64> = dice.collect();
    assert_eq!((records.len(), dice.len()), (6, 4), "{records:?}");
    assert_eq!(
        dice.iter().filter(|dice| **dice == 1.0).count(),
        2,
        "{dice:?}"
    );
    // One split a group: the two folders and the clip.
    let table = fs::read_to_string(dataset.join("manifest.csv")).unwrap();
    let rows = table
        .lines()
        .skip(1)
        .map(|line| line.split(',').collect::<Vec<_>>());
    let groups: BTreeSet<_> = rows
        .map(|row| (row[3].to_owned(), row[2].to_owned()))
        .collect();
    let named: Vec<_> = groups.iter().map(|(group, _)| group.as_str()).collect();
    assert_eq!(named, ["Müller", "clip", "p1"]);
}

/// Every format goes there and back by way of the command.
#[test]
fn each_format_comes_back_as_it_went() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = tiny_bundle(folder.path());
    draw(&folder.path().join("p1/hit.png"), Some(8));
    draw(&folder.path().join("p1/quiet.png"), None);
    let pictures = folder.path().join("p1");
    for (format, export) in [
        ("coco", "annotations/instances_default.json"),
        ("cvat", "annotations.xml"),
        ("png", "masks"),
    ] {
        let task = folder.path().join(format);
        let (out, pictures) = (task.to_str().unwrap(), pictures.to_str().unwrap());
        let options = [
            "--prompt", "polyp", "--bundle", &bundle, "--format", format, "--json",
        ];
        ran(&[&["annotate", pictures, "--out", out], &options[..]].concat());
        let export = task.join(export);
        let set = folder.path().join(format!("{format}-set"));
        let (export, set) = (export.to_str().unwrap(), set.to_str().unwrap());
        let options = ["--format", format, "--task", out, "--json"];
        let report = ran(&[&["collect", export, "--out", set], &options[..]].concat());
        let polyp = &report["objects"]["colon polyp"];
        assert_eq!(
            (&polyp["unchanged"], &polyp["absent"]),
            (&1.into(), &1.into()),
            "{report}"
        );
    }
    // Label Studio's tasks come back when somebody has submitted them.
    let task = folder.path().join("labelstudio");
    let (out, pictures) = (task.to_str().unwrap(), pictures.to_str().unwrap());
    let options = [
        "--prompt",
        "polyp",
        "--bundle",
        &bundle,
        "--format",
        "labelstudio",
        "--json",
    ];
    ran(&[&["annotate", pictures, "--out", out], &options[..]].concat());
    let tasks = task.join("tasks.json");
    let set = folder.path().join("set");
    let options = [
        "--format",
        "labelstudio",
        "--task",
        out,
        "--out",
        set.to_str().unwrap(),
    ];
    let output = bedside(&[&["collect", tasks.to_str().unwrap()], &options[..]].concat());
    assert_eq!(output.status.code(), Some(3));
    assert!(told(&output).contains("2 pictures, none of which anybody has submitted"));
    assert!(!set.exists(), "nothing is written");
}

#[test]
fn what_can_not_be_annotated_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = tiny_bundle(folder.path());
    draw(&folder.path().join("p1/hit.png"), Some(8));
    fs::write(folder.path().join("p1/broken.png"), "no picture").unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let annotate = |source: &str, out: &str, more: &[&str]| {
        let options = ["--bundle", &bundle, "--format", "coco", "--out", &path(out)];
        bedside(&[&["annotate", &path(source)], &options[..], more].concat())
    };
    for (source, more, code, why) in [
        (
            "empty",
            &["--prompt", "polyp"][..],
            3,
            "hint: of folders below it, name each",
        ),
        (
            "gone",
            &["--prompt", "polyp"],
            3,
            "is no file and no folder",
        ),
        (
            "p1",
            &["--prompt", "polyp", "--prompt", "breast tumor"],
            4,
            "each kind of imaging",
        ),
        (
            "p1",
            &["--prompt", "polyp", "--prompt", "colon polyp"],
            4,
            "is asked for twice",
        ),
        (
            "p1/broken.png",
            &["--prompt", "polyp"],
            3,
            "is no picture that is known",
        ),
    ] {
        let output = annotate(source, "task", more);
        let told = told(&output);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(why), "{told}");
        assert!(!folder.path().join("task").exists(), "{source}");
    }
    // What is broken stops no other picture, and is told.
    let output = annotate("p1", "task", &["--prompt", "polyp"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(told(&output).contains("broken.png: is no picture"));
    assert_eq!(
        names(&folder.path().join("task/images")),
        ["hit.png".to_owned()].into()
    );
    // What is there is not mixed with what comes.
    let output = annotate("p1", "task", &["--prompt", "polyp"]);
    assert_eq!(output.status.code(), Some(6));
    assert!(told(&output).contains("is not empty"));
}
