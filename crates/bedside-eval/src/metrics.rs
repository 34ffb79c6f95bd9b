//! From records to a summary of each prompt.

use serde::Serialize;

use crate::bootstrap::{Estimate, median};
use crate::record::{Answer, Record};

/// Dice below this counts as missed: the answer touches the object at best.
pub const MISSED: f64 = 0.01;
/// Dice below this is of little use.
pub const POOR: f64 = 0.5;

/// How well one prompt is answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The prompt.
    pub prompt: String,
    /// Over frames that show the object.
    pub shown: Option<Shown>,
    /// Share reported absent over frames of the object's own datasets that do not show it.
    pub absent: Option<Estimate>,
    /// Share reported absent over frames of the same modality whose rows name another object.
    /// A dataset that outlines one object does not prove that others are not there.
    pub absent_other_object: Option<Estimate>,
    /// Share reported absent over frames of another modality; the rest are false alarms.
    pub absent_other_modality: Option<Estimate>,
    /// Median wall time of a frame, all prompts together.
    pub milliseconds: Option<f64>,
}

/// Over frames that show the object.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// How many.
    pub frames: usize,
    /// Mean Dice of the answers.
    pub dice: Estimate,
    /// Their median Dice.
    pub dice_median: f64,
    /// Mean IoU of the answers.
    pub iou: Estimate,
    /// Their median IoU.
    pub iou_median: f64,
    /// Dice as if nothing were ever reported absent.
    pub ungated_dice: Estimate,
    /// Share with Dice under [`MISSED`].
    pub missed: Estimate,
    /// Share with Dice under [`POOR`], the missed among them.
    pub poor: Estimate,
}

/// A summary for each prompt that was asked: first those that have frames of their own, in the
/// order of the records, then those that were only asked to provoke false alarms.
pub(crate) fn summaries(records: &[Record]) -> Vec<Summary> {
    let own = records.iter().map(|r| &r.answer.prompt);
    let others = records
        .iter()
        .flat_map(|r| r.others.iter().map(|o| &o.answer.prompt));
    let mut prompts: Vec<&str> = Vec::new();
    for prompt in own.chain(others) {
        if !prompts.contains(&prompt.as_str()) {
            prompts.push(prompt);
        }
    }
    prompts
        .into_iter()
        .map(|prompt| Summary::new(prompt, records))
        .collect()
}

impl Summary {
    fn new(prompt: &str, records: &[Record]) -> Self {
        let own: Vec<&Record> = records
            .iter()
            .filter(|r| r.answer.prompt == prompt)
            .collect();
        let without = own.iter().filter(|r| r.overlap.is_none());
        let other = |same_modality: bool| {
            let asked = records
                .iter()
                .flat_map(|r| r.others.iter().map(move |o| (r, o)));
            absent(
                asked
                    .filter(|(_, o)| o.answer.prompt == prompt && o.same_modality == same_modality)
                    .map(|(r, o)| (r, &o.answer)),
            )
        };
        Self {
            prompt: prompt.to_owned(),
            shown: Shown::new(&own),
            absent: absent(without.map(|r| (*r, &r.answer))),
            absent_other_object: other(true),
            absent_other_modality: other(false),
            milliseconds: median(own.iter().map(|r| r.milliseconds)),
        }
    }
}

impl Shown {
    /// `None` when no frame shows the object.
    fn new(own: &[&Record]) -> Option<Self> {
        let overlaps = || own.iter().filter_map(|r| Some((r.cluster(), r.overlap?)));
        let share =
            |least| Estimate::of(overlaps().map(|(c, o)| (c, f64::from(u8::from(o.dice < least)))));
        Some(Self {
            frames: overlaps().count(),
            dice: Estimate::of(overlaps().map(|(c, o)| (c, o.dice)))?,
            dice_median: median(overlaps().map(|(_, o)| o.dice))?,
            iou: Estimate::of(overlaps().map(|(c, o)| (c, o.iou)))?,
            iou_median: median(overlaps().map(|(_, o)| o.iou))?,
            ungated_dice: Estimate::of(overlaps().map(|(c, o)| (c, o.ungated_dice)))?,
            missed: share(MISSED)?,
            poor: share(POOR)?,
        })
    }
}

/// Share of answers "not present".
fn absent<'a>(answers: impl Iterator<Item = (&'a Record, &'a Answer)>) -> Option<Estimate> {
    Estimate::of(answers.map(|(r, a)| (r.cluster(), f64::from(u8::from(!a.present)))))
}

/// The `n` worst answers to a prompt, worst first; of equals the larger object first. A false
/// alarm on a frame without the object counts as Dice 0.
pub(crate) fn worst<'a>(records: &'a [Record], prompt: &str, n: usize) -> Vec<&'a Record> {
    let own = records.iter().filter(|r| r.answer.prompt == prompt);
    let mut bad: Vec<(f64, &Record)> = own.filter_map(|r| Some((r.badness()?, r))).collect();
    bad.sort_by(|(a, x), (b, y)| a.total_cmp(b).then(y.truth_area.cmp(&x.truth_area)));
    bad.into_iter().take(n).map(|(_, r)| r).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use bedside::Modality;

    use super::*;
    use crate::dataset::Place;
    use crate::record::{Other, Overlap};

    fn answer(prompt: &str, present: bool) -> Answer {
        Answer {
            prompt: prompt.to_owned(),
            presence: if present { 0.9 } else { 0.1 },
            present,
        }
    }

    /// A record of line `line`; `dice` of `None` is a frame without the object.
    pub(crate) fn record(
        line: u64,
        prompt: &str,
        dice: Option<f64>,
        present: bool,
        others: &[(&str, bool, bool)],
    ) -> Record {
        Record {
            place: Place {
                folder: "set".to_owned(),
                line,
            },
            file: format!("images/{line}.png"),
            group: format!("g{}", line / 2),
            label: "label".to_owned(),
            modality: Modality::Ultrasound,
            truth_area: if dice.is_some() { line * 10 } else { 0 },
            answer: answer(prompt, present),
            overlap: dice.map(|dice| Overlap {
                dice: if present { dice } else { 0.0 },
                iou: if present { dice / (2.0 - dice) } else { 0.0 },
                ungated_dice: dice,
            }),
            others: others
                .iter()
                .map(|(prompt, same_modality, present)| Other {
                    answer: answer(prompt, *present),
                    same_modality: *same_modality,
                })
                .collect(),
            milliseconds: line as f64,
        }
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn frames_with_and_without_the_object_are_told_apart() {
        let records = [
            record(
                1,
                "tumor",
                Some(0.9),
                true,
                &[("polyp", false, false), ("head", true, true)],
            ),
            record(
                2,
                "tumor",
                Some(0.4),
                true,
                &[("polyp", false, true), ("head", true, false)],
            ),
            record(
                3,
                "tumor",
                Some(0.8),
                false,
                &[("polyp", false, false), ("head", true, false)],
            ),
            record(4, "tumor", None, false, &[("polyp", false, false)]),
            record(5, "tumor", None, true, &[]),
            record(6, "tumor", None, false, &[]),
            record(7, "head", Some(1.0), true, &[("tumor", true, true)]),
        ];
        let found = summaries(&records);
        let prompts: Vec<&str> = found.iter().map(|s| s.prompt.as_str()).collect();
        assert_eq!(prompts, ["tumor", "head", "polyp"]);

        let tumor = &found[0];
        let shown = tumor.shown.as_ref().unwrap();
        assert_eq!(shown.frames, 3);
        close(shown.dice.mean, (0.9 + 0.4 + 0.0) / 3.0);
        close(shown.dice_median, 0.4);
        close(shown.iou.mean, (0.9 / 1.1 + 0.4 / 1.6) / 3.0);
        close(shown.iou_median, 0.25);
        close(shown.ungated_dice.mean, 0.7);
        close(shown.missed.mean, 1.0 / 3.0);
        close(shown.poor.mean, 2.0 / 3.0);
        close(tumor.absent.unwrap().mean, 2.0 / 3.0);
        assert_eq!(tumor.absent.unwrap().n, 3);
        close(tumor.absent_other_object.unwrap().mean, 0.0);
        assert_eq!(tumor.absent_other_modality, None);
        close(tumor.milliseconds.unwrap(), 3.5);

        let polyp = &found[2];
        assert_eq!(
            (&polyp.shown, polyp.absent, polyp.milliseconds),
            (&None, None, None)
        );
        assert_eq!(polyp.absent_other_modality.unwrap().n, 4);
        close(polyp.absent_other_modality.unwrap().mean, 0.75);
        close(found[1].absent_other_object.unwrap().mean, 2.0 / 3.0);
    }

    #[test]
    fn a_dice_of_exactly_the_limit_is_neither_missed_nor_poor() {
        let records = [
            record(1, "p", Some(MISSED), true, &[]),
            record(2, "p", Some(POOR), true, &[]),
        ];
        let shown = summaries(&records)[0].shown.clone().unwrap();
        close(shown.missed.mean, 0.0);
        close(shown.poor.mean, 0.5);
    }

    #[test]
    fn the_worst_come_first_and_right_answers_to_nothing_never() {
        let records = [
            record(1, "p", Some(0.9), true, &[]),
            record(2, "p", Some(0.5), false, &[]),
            record(3, "p", Some(0.3), true, &[]),
            record(4, "p", None, false, &[]),
            record(5, "p", None, true, &[]),
            record(6, "p", Some(0.5), false, &[]),
            record(7, "q", Some(0.0), true, &[]),
        ];
        let lines = |n| {
            worst(&records, "p", n)
                .iter()
                .map(|r| r.place.line)
                .collect::<Vec<_>>()
        };
        assert_eq!(lines(9), [6, 2, 5, 3, 1]);
        assert_eq!(lines(2), [6, 2]);
    }
}
