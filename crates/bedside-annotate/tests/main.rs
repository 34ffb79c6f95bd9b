//! Masks to the tools' formats and back, against goldens that the tools' own code made (`golden.py`).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as its assertions do"
)]

mod exports;
mod hostile;
mod masks;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use bedside::{Mask, Modality};
use bedside_annotate::{Format, Object, Picture, Rle, Task};
use bedside_eval::Model;
use serde_json::Value;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn golden_json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(golden(name)).unwrap()).unwrap()
}

/// A mask from rows of `0` and `1`.
fn mask(rows: &Value) -> Mask {
    let rows: Vec<&str> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r.as_str().unwrap())
        .collect();
    let data = rows.concat().bytes().map(|b| b - b'0').collect();
    Mask::from_bytes(rows[0].len() as u32, rows.len() as u32, data).unwrap()
}

/// A picture's name, size, and masks by object.
type Drawn<'a> = (&'a str, (u32, u32), Vec<(&'a str, &'a Mask)>);

/// A task whose pictures have these masks.
fn task(objects: &[&str], pictures: &[Drawn<'_>]) -> Task {
    let model = Model {
        name: "edge".to_owned(),
        version: "1".to_owned(),
        licence: "x".to_owned(),
        precision: "f32".to_owned(),
        backend: "tract-cpu".to_owned(),
        threads: 1,
    };
    let objects = objects.iter().enumerate().map(|(place, name)| Object {
        name: (*name).to_owned(),
        file: format!("o{place}"),
    });
    let pictures = pictures
        .iter()
        .map(|(name, (width, height), masks)| Picture {
            name: (*name).to_owned(),
            width: *width,
            height: *height,
            group: "g".to_owned(),
            frame: None,
            doubt: 0.5,
            masks: masks
                .iter()
                .map(|(object, mask)| ((*object).to_owned(), Rle::from(*mask)))
                .collect(),
        });
    Task::new(
        model,
        Modality::Endoscopy,
        objects.collect(),
        pictures.collect(),
    )
}

/// Write a format's documents into a folder.
fn write(format: Format, task: &Task, folder: &Path) {
    for document in format.documents(task).unwrap() {
        let path = folder.join(document.name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, document.bytes).unwrap();
    }
}
