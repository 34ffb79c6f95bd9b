//! Whole files: what the tools export, and what bedside writes and reads again.

use std::fs;
use std::path::Path;

use bedside::Mask;
use bedside_annotate::{Change, Format, TASK, Task, outcomes};
use image::{GrayImage, Luma};

use crate::{golden, golden_json, mask, task, write};

/// (picture, object, change, mask) of an export.
type Found = Vec<(String, String, &'static str, Option<Mask>)>;

fn found(format: Format, export: &Path, task: &Task) -> Found {
    let export = format.read(export, task).unwrap();
    let mut found = Vec::new();
    for (picture, shapes) in task.pictures.iter().zip(&export.pictures) {
        for outcome in shapes
            .iter()
            .flat_map(|s| outcomes(task, picture, s).unwrap())
        {
            let change = outcome.change.name();
            found.push((picture.name.clone(), outcome.object, change, outcome.mask));
        }
    }
    found
}

/// Three pictures come back: a mask as it was, one that lost half, one that went, and new ones of two
/// shapes and of a new object. Names are in Unicode, within paths, URLs and uploads; a picture of
/// another task is there, and what was skipped or is older does not count.
#[test]
fn what_people_changed_is_read_from_every_tools_export() {
    let task = Task::open(&golden("export")).unwrap();
    let expected = golden_json("export/expected.json");
    let expected: Vec<_> = expected
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let text = |place: usize| row[place].as_str().unwrap();
            (
                text(0),
                text(1),
                text(2),
                row[3].is_array().then(|| mask(&row[3])),
            )
        })
        .collect();
    for (format, name) in [
        (Format::Coco, "coco.json"),
        (Format::Coco, "coco-polygons.json"),
        (Format::Cvat, "cvat.xml"),
        (Format::Cvat, "cvat-polygons.xml"),
        (Format::LabelStudio, "labelstudio.json"),
        (Format::LabelStudio, "labelstudio-polygons.json"),
    ] {
        let path = golden("export").join(name);
        let found = found(format, &path, &task);
        let found: Vec<_> = found
            .iter()
            .map(|(picture, object, change, mask)| {
                (picture.as_str(), object.as_str(), *change, mask.clone())
            })
            .collect();
        assert!(found == expected, "{name}: {found:?}");
        let export = format.read(&path, &task).unwrap();
        let unsubmitted = usize::from(format == Format::LabelStudio);
        assert_eq!(
            (export.foreign, export.unsubmitted),
            (1, unsubmitted),
            "{name}"
        );
    }
}

#[test]
fn of_a_corrected_mask_the_overlap_with_the_initial_one_is_told() {
    let task = Task::open(&golden("export")).unwrap();
    let export = Format::Cvat
        .read(&golden("export/cvat.xml"), &task)
        .unwrap();
    let shapes = export.pictures[0].as_ref().unwrap();
    let found = outcomes(&task, &task.pictures[0], shapes).unwrap();
    // 100 pixels before, 50 of them after.
    assert_eq!(
        found[1].change,
        Change::Corrected {
            dice: 100.0 / 150.0
        }
    );
}

/// Of every size from 1x1 to 33x33, with two objects and names that are not plain ASCII.
#[test]
fn what_is_written_is_read_again_unchanged() {
    let objects = ["colon polyp", "Gefäß & <\"Rand\">"];
    let drawn: Vec<(String, Mask, Mask)> = (0..100)
        .map(|n| {
            let (width, height) = ((n * 7) % 33 + 1, (n * 5) % 33 + 1);
            let data = |step: u32| (0..width * height).map(move |p| u8::from(p * step % 7 < 3));
            let mask = |step| Mask::from_bytes(width, height, data(step).collect()).unwrap();
            (format!("größe_{n:06}.png"), mask(3), mask(n + 1))
        })
        .collect();
    let pictures: Vec<_> = drawn
        .iter()
        .map(|(name, first, second)| {
            let size = (first.width(), first.height());
            let mut masks = vec![(objects[0], first), (objects[1], second)];
            masks.retain(|(_, mask)| mask.area() % 3 > 0);
            (name.as_str(), size, masks)
        })
        .collect();
    let task = task(&objects, &pictures);
    for format in Format::ALL {
        let folder = tempfile::tempdir().unwrap();
        write(format, &task, folder.path());
        fs::write(folder.path().join(TASK), task.to_json().unwrap()).unwrap();
        let again = Task::open(folder.path()).unwrap();
        assert_eq!(again.pictures, task.pictures);
        let name = match format {
            Format::Coco => "annotations/instances_default.json",
            Format::Cvat => "annotations.xml",
            Format::LabelStudio => {
                submit(&folder.path().join("tasks.json"));
                "tasks.json"
            }
            Format::Png => {
                write_masks(&task, &folder.path().join("masks"));
                "masks"
            }
        };
        let found = found(format, &folder.path().join(name), &again);
        assert_eq!(found.len(), 200);
        for (picture, object, change, _) in found {
            let initial = task.pictures.iter().find(|p| p.name == picture).unwrap();
            let expected = match initial.masks.contains_key(&object) {
                true => "unchanged",
                false => "absent",
            };
            assert_eq!(change, expected, "{format}: '{object}' of {picture}");
        }
    }
}

/// What Label Studio does when a person submits a prediction as it is.
fn submit(path: &Path) {
    let mut tasks: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    for task in tasks.as_array_mut().unwrap() {
        let mut annotation = task["predictions"][0].clone();
        annotation["was_cancelled"] = false.into();
        task["annotations"] = vec![annotation].into();
    }
    fs::write(path, serde_json::to_vec(&tasks).unwrap()).unwrap();
}

fn write_masks(task: &Task, folder: &Path) {
    fs::create_dir(folder).unwrap();
    for picture in &task.pictures {
        for object in &task.objects {
            let mask = picture.initial(&object.name).unwrap();
            let set = |x, y| mask.as_ref().is_some_and(|mask| mask.get(x, y));
            let pixel = |x, y| Luma([u8::from(set(x, y)) * 255]);
            let picture_of = GrayImage::from_fn(picture.width, picture.height, pixel);
            picture_of
                .save(folder.join(task.mask_file(picture, object)))
                .unwrap();
        }
    }
}

/// A person paints, deletes a file, and leaves files of another task beside them.
#[test]
fn masks_as_files_are_found_by_their_names() {
    let full = Mask::from_bytes(2, 2, vec![1; 4]).unwrap();
    let masks = || vec![("polyp", &full), ("fold", &full)];
    let pictures = [
        ("a.b.png", (2, 2), masks()),
        ("a.png", (2, 2), masks()),
        ("c.png", (2, 2), masks()),
    ];
    let task = task(&["polyp", "fold"], &pictures);
    let folder = tempfile::tempdir().unwrap();
    let masks = folder.path().join("masks");
    write_masks(&task, &masks);
    let dot = GrayImage::from_fn(2, 2, |x, y| Luma([u8::from(x + y == 0) * 255]));
    dot.save(masks.join("a.o0.png")).unwrap();
    fs::remove_file(masks.join("a.b.o1.png")).unwrap();
    for object in ["o0", "o1"] {
        fs::remove_file(masks.join(format!("c.{object}.png"))).unwrap();
    }
    dot.save(masks.join("other.o0.png")).unwrap();
    let changes: Vec<_> = found(Format::Png, &masks, &task)
        .into_iter()
        .map(|(picture, object, change, _)| format!("{picture} {object} {change}"))
        .collect();
    assert_eq!(
        changes,
        [
            "a.b.png polyp unchanged",
            "a.b.png fold deleted",
            "a.png polyp corrected",
            "a.png fold unchanged",
        ],
        "c.png is not returned"
    );
    assert_eq!(Format::Png.read(&masks, &task).unwrap().foreign, 1);
}
