//! What is known of one evaluated frame, in plain numbers.

use bedside::vision::{dice, iou};
use bedside::{Finding, Mask, Modality, Withheld};
use serde::Serialize;

use crate::dataset::{Place, Row};

/// One frame, asked for its own object and for others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// The row.
    #[serde(flatten)]
    pub place: Place,
    /// Picture as the manifest names it.
    pub file: String,
    /// Frames of one group (a patient, a clip) are not independent of each other.
    pub group: String,
    /// The row's label.
    pub label: String,
    /// Kind of imaging.
    pub modality: Modality,
    /// Number of pixels in the true mask; 0 in a frame without the object.
    pub truth_area: u64,
    /// The answer to the row's own object.
    #[serde(flatten)]
    pub answer: Answer,
    /// How well it fits; `None` in a frame without the object, where Dice is undefined.
    pub overlap: Option<Overlap>,
    /// Answers to prompts for objects that the frame surely lacks.
    pub others: Vec<Other>,
    /// Wall time of the pass with all prompts.
    pub milliseconds: f64,
}

/// What the model said to one prompt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// What was asked.
    pub prompt: String,
    /// Probability that the object is there.
    pub presence: f32,
    /// Probability from which the bundle reports it.
    pub threshold: f32,
    /// Whether it was reported.
    pub present: bool,
    /// Why it was not answered, whatever its probability; `None` where it was.
    pub withheld: Option<Withheld>,
}

/// The answer to a prompt for something that the frame surely lacks: "present" is a false alarm.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Other {
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
    /// Whether the prompt is of the frame's modality.
    pub same_modality: bool,
}

/// How well the answer fits a true mask that has pixels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Overlap {
    /// Dice of the answer; 0 where the object was reported absent.
    pub dice: f64,
    /// Intersection over union of the answer; 0 where the object was reported absent.
    pub iou: f64,
    /// Dice of the mask as if nothing were ever reported absent.
    pub ungated_dice: f64,
}

impl Answer {
    /// The answer under a presence threshold, and with what is withheld, from a finding that was made
    /// under none.
    pub(crate) fn new(prompt: String, finding: &Finding, threshold: f32) -> Self {
        let told = finding.withheld.is_none() && finding.presence >= threshold;
        Self {
            prompt,
            presence: finding.presence,
            threshold,
            present: finding.present && told,
            withheld: finding.withheld,
        }
    }
}

impl Overlap {
    /// The overlap of the mask drawn with a true one; `None` when the latter is empty.
    pub(crate) fn new(drawn: Option<&Mask>, truth: &Mask, present: bool) -> Option<Self> {
        if truth.is_empty() {
            return None;
        }
        let (ungated_dice, ungated_iou) =
            drawn.map_or((0.0, 0.0), |drawn| (dice(drawn, truth), iou(drawn, truth)));
        let (dice, iou) = if present {
            (ungated_dice, ungated_iou)
        } else {
            (0.0, 0.0)
        };
        Some(Self {
            dice,
            iou,
            ungated_dice,
        })
    }
}

impl Record {
    pub(crate) fn new(
        row: &Row,
        truth: &Mask,
        answer: Answer,
        drawn: Option<&Mask>,
        others: Vec<Other>,
        milliseconds: f64,
    ) -> Self {
        Self {
            place: row.place.clone(),
            file: row.file.clone(),
            group: row.group.clone(),
            label: row.label.clone(),
            modality: row.modality,
            truth_area: truth.area(),
            overlap: Overlap::new(drawn, truth, answer.present),
            answer,
            others,
            milliseconds,
        }
    }

    /// Frames that share this are not independent of each other.
    pub(crate) fn cluster(&self) -> (&str, &str) {
        (&self.place.folder, &self.group)
    }

    /// Dice for sorting the worst to the front: 0 for a false alarm, `None` where the object
    /// was rightly reported absent.
    pub(crate) fn badness(&self) -> Option<f64> {
        self.overlap
            .map(|o| o.dice)
            .or(self.answer.present.then_some(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(data: &[u8]) -> Mask {
        Mask::from_bytes(4, 2, data.to_vec()).unwrap()
    }

    #[test]
    fn overlap_is_as_computed_by_hand() {
        let truth = mask(&[1, 1, 1, 1, 0, 0, 0, 0]);
        // 3 pixels, 2 of them right: Dice 2*2/(3+4), IoU 2/(3+4-2).
        let drawn = mask(&[0, 0, 1, 1, 1, 0, 0, 0]);
        let shown = Overlap::new(Some(&drawn), &truth, true).unwrap();
        assert!((shown.dice - 4.0 / 7.0).abs() < 1e-12);
        assert!((shown.iou - 2.0 / 5.0).abs() < 1e-12);
        assert!((shown.ungated_dice - shown.dice).abs() < 1e-12);
        let withheld = Overlap::new(Some(&drawn), &truth, false).unwrap();
        assert_eq!((withheld.dice, withheld.iou), (0.0, 0.0));
        assert!((withheld.ungated_dice - 4.0 / 7.0).abs() < 1e-12);
        let nothing = Overlap::new(None, &truth, false).unwrap();
        assert_eq!((nothing.dice, nothing.ungated_dice), (0.0, 0.0));
        assert_eq!(
            Overlap::new(Some(&drawn), &Mask::empty(4, 2), true),
            None,
            "undefined"
        );
    }

    #[test]
    fn presence_gates_at_the_threshold_itself() {
        let mut finding = Finding::absent("p", 0.5);
        finding.present = true;
        finding.area = 1;
        let present = |f: &Finding, threshold| Answer::new("p".to_owned(), f, threshold).present;
        assert!(present(&finding, 0.5) && !present(&finding, 0.5001));
        finding.withheld = Some(Withheld::Unfamiliar);
        assert!(!present(&finding, 0.5), "withheld");
        finding.withheld = None;
        finding.present = false;
        assert!(!present(&finding, 0.0), "no pixel, no object");
    }
}
