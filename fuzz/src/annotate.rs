//! What annotation tools export.

use bedside_annotate::{Error, Format, TASK, Task, outcomes};

use crate::{bounded, one_line, scratch};

/// Most bytes that are allocated: an input's numbers take up to eight bytes for two of its own.
const MOST: u64 = 4 << 20;
/// The task that the exports are of.
const GOLDEN: &[u8] =
    include_bytes!("../../crates/bedside-annotate/tests/golden/export/annotate.json");

/// An export, or a task; the first byte says which.
pub fn annotations(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    let format = match first {
        b'c' => Format::Coco,
        b'v' => Format::Cvat,
        b'l' => Format::LabelStudio,
        _ => return task(bytes),
    };
    let folder = scratch::once("task", |path| scratch::write(&path.join(TASK), GOLDEN));
    let task = Task::open(&folder).expect("the golden is sound");
    let path = scratch::file("export", bytes);
    bounded(MOST, || {
        if let Err(error) = read(format, &path, &task) {
            one_line(&error);
        }
    });
}

fn read(format: Format, path: &std::path::Path, task: &Task) -> Result<(), Error> {
    let export = format.read(path, task)?;
    assert_eq!(export.pictures.len(), task.pictures.len());
    for (picture, shapes) in task.pictures.iter().zip(&export.pictures) {
        let Some(shapes) = shapes else { continue };
        for outcome in outcomes(task, picture, shapes)? {
            let Some(mask) = outcome.mask else { continue };
            assert_eq!(
                (mask.width(), mask.height()),
                (picture.width, picture.height)
            );
            assert!(!mask.is_empty());
        }
    }
    Ok(())
}

fn task(bytes: &[u8]) {
    let folder = scratch::folder().join("read");
    scratch::write(&folder.join(TASK), bytes);
    bounded(MOST, || match Task::open(&folder) {
        Ok(task) => {
            let written = task.to_json().expect("a task can be written");
            scratch::write(&folder.join(TASK), &written);
            let again = Task::open(&folder).expect("what is written can be read");
            assert_eq!(again.pictures, task.pictures);
        }
        Err(error) => one_line(&error),
    });
}
