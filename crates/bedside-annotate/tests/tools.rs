//! What bedside writes, read by the tools' own code.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use bedside_annotate::Format;

use crate::{golden_json, mask, task, write};

/// Python with the packages of `reference.py`, which `.ci/annotate` installs.
const PYTHON: &str = "BEDSIDE_PYTHON";

#[test]
fn the_tools_see_the_masks_that_were_written() {
    let python = env::var(PYTHON).unwrap_or_else(|_| "python3".to_owned());
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let packages = Command::new(&python)
        .args(["-c", "import reference"])
        .env("PYTHONPATH", &tests)
        .output();
    if !packages.is_ok_and(|output| output.status.success()) {
        assert!(
            env::var(PYTHON).is_err(),
            "{python} lacks packages of reference.py"
        );
        eprintln!(
            "skipped: {python} lacks pycocotools, label-studio-sdk or cvat-sdk (.ci/annotate)"
        );
        return;
    }
    let goldens = golden_json("masks.json");
    let drawn: Vec<_> = goldens
        .as_array()
        .unwrap()
        .iter()
        .filter(|golden| mask(&golden["rows"]).area() > 0)
        .collect();
    let names: Vec<String> = (0..drawn.len()).map(|n| format!("größe {n}.png")).collect();
    let objects = ["polyp", "Gefäß & <\"Rand\">"];
    let mut truth: BTreeMap<&str, BTreeMap<&str, _>> = BTreeMap::new();
    let masks: Vec<_> = drawn.iter().map(|golden| mask(&golden["rows"])).collect();
    let mut pictures = Vec::new();
    for (place, (name, golden)) in names.iter().zip(&drawn).enumerate() {
        let mut shown = vec![(objects[place % 2], &masks[place])];
        if place % 3 == 0 {
            shown.push((objects[(place + 1) % 2], &masks[place]));
        }
        let rows = shown.iter().map(|(object, _)| (*object, &golden["rows"]));
        truth.insert(name, rows.collect());
        let size = (masks[place].width(), masks[place].height());
        pictures.push((name.as_str(), size, shown));
    }
    let task = task(&objects, &pictures);
    let folder = tempfile::tempdir().unwrap();
    for format in Format::ALL {
        write(format, &task, folder.path());
    }
    fs::write(
        folder.path().join("truth.json"),
        serde_json::to_vec(&truth).unwrap(),
    )
    .unwrap();
    let checked = Command::new(&python)
        .arg(tests.join("check.py"))
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    let errors = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}{errors}");
    for format in ["coco: ", "cvat: ", "labelstudio: "] {
        assert!(said.contains(format), "{said}");
    }
}
