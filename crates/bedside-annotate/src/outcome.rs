//! Each object of each picture, before and after a person looked at it.

use std::collections::BTreeMap;

use bedside::Mask;
use bedside::vision::dice;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::shape::{Canvas, Shape};
use crate::task::{Picture, Task};

/// What became of a mask.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum Change {
    /// The model found nothing, and nobody drew anything.
    Absent,
    /// The model's mask is right, to the pixel.
    Unchanged,
    /// The mask was changed.
    Corrected {
        /// Overlap of the mask before and after, 0 to 1.
        dice: f64,
    },
    /// The model found nothing, and there is something.
    Added,
    /// The model found something, and there is nothing.
    Deleted,
}

impl Change {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Unchanged => "unchanged",
            Self::Corrected { .. } => "corrected",
            Self::Added => "added",
            Self::Deleted => "deleted",
        }
    }
}

/// An object on a picture that was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What the mask outlines.
    pub object: String,
    /// What became of the model's mask.
    pub change: Change,
    /// The mask; `None` where the object is not in the picture.
    pub mask: Option<Mask>,
}

/// What became of every object that was asked for on a picture, and of those that a person added, from
/// what is drawn on it. What has one label is one mask.
///
/// # Errors
/// When a shape does not fit the picture, or a mask is damaged.
pub fn outcomes(
    task: &Task,
    picture: &Picture,
    shapes: &[(String, Shape)],
) -> Result<Vec<Outcome>, Error> {
    let named = |e: Error| e.at(format_args!("picture '{}'", picture.name));
    let mut drawn: BTreeMap<&str, Canvas> = BTreeMap::new();
    for (label, shape) in shapes {
        let new = || Canvas::new(picture.width, picture.height);
        let canvas = drawn.entry(label).or_insert_with(new);
        let named = |e: Error| named(e.at(format_args!("'{label}'")));
        canvas.draw(shape).map_err(named)?;
    }
    let mut all = Vec::new();
    for object in &task.objects {
        let before = picture.initial(&object.name).map_err(named)?;
        let after = drawn.remove(object.name.as_str());
        all.push(Outcome::new(&object.name, before, after));
    }
    // Of an object that was not asked for, nothing is known where it is not drawn.
    let more = drawn.into_iter();
    let more = more.map(|(label, canvas)| Outcome::new(label, None, Some(canvas)));
    all.extend(more.filter(|outcome| outcome.mask.is_some()));
    Ok(all)
}

impl Outcome {
    fn new(object: &str, before: Option<Mask>, after: Option<Canvas>) -> Self {
        let something = |mask: &Mask| !mask.is_empty();
        let before = before.filter(something);
        let mask = after.and_then(Canvas::into_mask).filter(something);
        let change = match (&before, &mask) {
            (None, None) => Change::Absent,
            (None, Some(_)) => Change::Added,
            (Some(_), None) => Change::Deleted,
            (Some(before), Some(after)) if before == after => Change::Unchanged,
            (Some(before), Some(after)) => Change::Corrected {
                dice: dice(before, after),
            },
        };
        Self {
            object: object.to_owned(),
            change,
            mask,
        }
    }
}

/// Changes of one object, counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Tally {
    /// Masks that are right to the pixel.
    pub unchanged: u64,
    /// Masks that were changed.
    pub corrected: u64,
    /// Masks that the model missed.
    pub added: u64,
    /// Masks of what is not there.
    pub deleted: u64,
    /// Pictures on which neither model nor person saw the object.
    pub absent: u64,
    /// Mean overlap of the corrected masks before and after.
    pub mean_dice: Option<f64>,
    /// The least.
    pub least_dice: Option<f64>,
}

impl Tally {
    /// Count a change.
    pub fn count(&mut self, change: Change) {
        match change {
            Change::Absent => self.absent += 1,
            Change::Unchanged => self.unchanged += 1,
            Change::Added => self.added += 1,
            Change::Deleted => self.deleted += 1,
            Change::Corrected { dice } => {
                let sum = self.mean_dice.unwrap_or(0.0) * self.corrected as f64 + dice;
                self.corrected += 1;
                self.mean_dice = Some(sum / self.corrected as f64);
                self.least_dice = Some(self.least_dice.map_or(dice, |least| least.min(dice)));
            }
        }
    }
}

/// The `manifest.csv` of what was collected, as `bedside eval` and the fine-tune read it, with two more
/// columns: `change`, and of corrected masks `dice`.
#[derive(Debug)]
pub struct Manifest {
    writer: csv::Writer<Vec<u8>>,
}

impl Manifest {
    /// A table without rows.
    ///
    /// # Errors
    /// Never, as it is written to memory.
    pub fn new() -> Result<Self, Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let columns = "file,mask,split,group,modality,object,label,change,dice";
        writer.write_record(columns.split(',')).map_err(broken)?;
        Ok(Self { writer })
    }

    /// Add an object of a picture; `mask` is its file, where it has one.
    ///
    /// # Errors
    /// Never, as it is written to memory.
    pub fn row(
        &mut self,
        task: &Task,
        picture: &Picture,
        outcome: &Outcome,
        mask: Option<&str>,
    ) -> Result<(), Error> {
        let dice = match outcome.change {
            Change::Corrected { dice } => format!("{dice:.4}"),
            _ => String::new(),
        };
        let label = match mask {
            Some(_) => "present",
            None => "normal",
        };
        let record = [
            &format!("images/{}", picture.name),
            mask.unwrap_or_default(),
            split_of(&picture.group),
            &picture.group,
            &task.modality.to_string(),
            &outcome.object,
            label,
            outcome.change.name(),
            &dice,
        ];
        self.writer.write_record(record).map_err(broken)
    }

    /// The file's content.
    ///
    /// # Errors
    /// Never, as it is written to memory.
    pub fn into_bytes(self) -> Result<Vec<u8>, Error> {
        self.writer.into_inner().map_err(broken)
    }
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::internal(format!("a table could not be written: {error}"))
}

/// The split of a group: by lot, which its name draws, so that a group stays in its split however often
/// and with whatever others it is collected. Of six groups about four go to `train`, one each to `val`
/// and `test`.
pub fn split_of(group: &str) -> &'static str {
    let digest: [u8; 32] = Sha256::digest(group).into();
    let [a, b, c, d, ..] = digest;
    match u32::from_le_bytes([a, b, c, d]) % 6 {
        0 => "val",
        1 => "test",
        _ => "train",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_drawn_in_the_stated_shares_and_stay_where_they_are() {
        let groups: Vec<String> = (0..6000).map(|n| format!("p{n}")).collect();
        let drawn = |split: &str| groups.iter().filter(|g| split_of(g) == split).count();
        let [train, val, test] = ["train", "val", "test"].map(drawn);
        assert_eq!(train + val + test, 6000);
        assert!((900..1100).contains(&val) && (900..1100).contains(&test));
        // Data sets of yesterday depend on it.
        assert_eq!(
            ["p1", "p2", "p3", "p4", "p5", "Müller", ""].map(split_of),
            ["val", "train", "train", "train", "train", "train", "train"]
        );
    }

    #[test]
    fn changes_are_counted_with_the_mean_and_the_least_overlap() {
        let mut tally = Tally::default();
        let dice = [0.5, 1.0, 0.75].map(|dice| Change::Corrected { dice });
        let others = [
            Change::Added,
            Change::Absent,
            Change::Absent,
            Change::Unchanged,
        ];
        for change in dice.into_iter().chain(others) {
            tally.count(change);
        }
        let expected = Tally {
            unchanged: 1,
            corrected: 3,
            added: 1,
            deleted: 0,
            absent: 2,
            mean_dice: Some(0.75),
            least_dice: Some(0.5),
        };
        assert_eq!(tally, expected);
    }
}
