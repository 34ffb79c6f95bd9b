//! From records to a summary of each prompt.

use serde::Serialize;

use crate::bootstrap::{Estimate, median};
use crate::presence::{Answers, Presence};
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
    /// Whether it is told right that the object is there.
    pub presence: Presence,
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
    let own = records.iter().map(|r| &r.answer);
    let others = records.iter().flat_map(|r| &r.others).map(|o| &o.answer);
    let mut first: Vec<&Answer> = Vec::new();
    for answer in own.chain(others) {
        if !first.iter().any(|known| known.prompt == answer.prompt) {
            first.push(answer);
        }
    }
    let summary = |answer: &Answer| Summary::new(&answer.prompt, answer.threshold, records);
    first.into_iter().map(summary).collect()
}

impl Summary {
    fn new(prompt: &str, threshold: f32, records: &[Record]) -> Self {
        let own: Vec<&Record> = records
            .iter()
            .filter(|r| r.answer.prompt == prompt)
            .collect();
        Self {
            prompt: prompt.to_owned(),
            shown: Shown::new(&own),
            presence: Presence::new(threshold, &Answers::of(prompt, records)),
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
            threshold: 0.5,
            present,
            withheld: None,
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
        let presence = &tumor.presence;
        close(presence.sensitivity.unwrap().mean, 2.0 / 3.0);
        assert_eq!(presence.false_alarms_labelled.unwrap().fraction(), "1/3");
        // With line 7, which surely lacks it.
        assert_eq!(presence.false_alarms.unwrap().fraction(), "2/4");
        assert_eq!(presence.false_alarms_other_modality, None);
        close(tumor.milliseconds.unwrap(), 3.5);

        let polyp = &found[2];
        assert_eq!((&polyp.shown, polyp.milliseconds), (&None, None));
        let presence = &polyp.presence;
        assert_eq!((presence.sensitivity, presence.false_alarms), (None, None));
        let alarms = presence.false_alarms_other_modality.unwrap();
        assert_eq!(alarms.fraction(), "1/4");
        let head = &found[1].presence;
        assert_eq!(head.false_alarms.unwrap().fraction(), "1/3");
        assert_eq!(head.false_alarms_labelled, None);
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
