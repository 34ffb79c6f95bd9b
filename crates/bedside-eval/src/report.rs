//! All that an evaluation found; the JSON document, and what its renderings share.

use serde::Serialize;

use crate::SAFETY;
use crate::bootstrap::RESAMPLES;
use crate::dataset::{Failed, Split};
use crate::error::Error;
use crate::metrics::{MISSED, Summary, summaries};
use crate::model::Model;
use crate::presence::BINS;
use crate::record::Record;

/// All that an evaluation found.
#[derive(Debug, Serialize)]
pub struct Report<'a, E = Error> {
    bedside: &'static str,
    notice: &'static str,
    /// The model that answered.
    pub model: Model,
    /// An object is reported when its probability is at least this.
    pub presence_threshold: f32,
    /// Dataset folders.
    pub folders: Vec<String>,
    /// Which of their rows.
    pub split: Split,
    /// What was asked in place of the manifests' objects.
    pub prompt: Option<&'a str>,
    /// Resamples behind each 95 % interval.
    resamples: usize,
    /// A summary for each prompt that was asked.
    pub prompts: Vec<Summary>,
    /// Rows that could not be evaluated.
    pub failed: Vec<Failed<E>>,
    /// The others.
    pub records: Vec<Record>,
}

/// What was asked of the evaluation.
#[derive(Debug)]
pub struct Setting<'a> {
    /// The model that answers.
    pub model: Model,
    /// [`Evaluator::presence_threshold`](crate::Evaluator::presence_threshold).
    pub presence_threshold: f32,
    /// Dataset folders.
    pub folders: Vec<String>,
    /// Which of their rows.
    pub split: Split,
    /// What is asked in place of the manifests' objects.
    pub prompt: Option<&'a str>,
}

impl<'a, E> Report<'a, E> {
    /// Records of the rows that were evaluated, with their summaries, and the rows that failed.
    pub fn new(setting: Setting<'a>, records: Vec<Record>, failed: Vec<Failed<E>>) -> Self {
        let Setting {
            model,
            presence_threshold,
            folders,
            split,
            prompt,
        } = setting;
        Self {
            bedside: env!("CARGO_PKG_VERSION"),
            notice: SAFETY,
            model,
            presence_threshold,
            folders,
            split,
            prompt,
            resamples: RESAMPLES,
            prompts: summaries(&records),
            failed,
            records,
        }
    }

    /// Model and number of frames in a line.
    pub fn headline(&self) -> String {
        let Model {
            name,
            version,
            precision,
            backend,
            threads,
            ..
        } = &self.model;
        let failed = match self.failed.len() {
            0 => String::new(),
            n => format!(", {} failed", counted(n, "row")),
        };
        let threads = counted(*threads, "thread");
        let frames = counted(self.records.len(), "frame");
        format!("{name} {version} ({precision}, {backend}, {threads}): {frames}{failed}")
    }

    /// How to read the numbers.
    pub fn footnote(&self) -> String {
        format!(
            "In brackets the 95 % interval: bootstrap over groups, {} resamples; none where all\n\
             values are equal. An object is reported at its threshold or above. One that is there\n\
             but reported absent has Dice 0; ungated: as if every mask were reported. Missed: Dice\n\
             below {MISSED}. False alarms: reported in frames of its modality that surely lack it;\n\
             labelled: in those whose rows say so. AUROC: how probable it is that a frame with the\n\
             object has a higher presence than one without. Calibration error: mean distance of\n\
             the stated probability from the share of frames that show the object, in {BINS} bins.\n\
             Withheld: not answered, because the frame looks like another kind of imaging or\n\
             unlike the frames of training.",
            self.resamples
        )
    }
}

/// A number of things: "1 row", "2 rows".
pub(crate) fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bootstrap::Estimate;
    use crate::metrics::tests::record;

    /// A report on records made up for tests.
    pub(crate) fn report(name: &str, records: Vec<Record>) -> Report<'static> {
        let model = Model {
            name: name.to_owned(),
            version: "1.2.3".to_owned(),
            licence: "Apache-2.0".to_owned(),
            precision: "int8".to_owned(),
            backend: "tract".to_owned(),
            threads: 2,
        };
        let setting = Setting {
            model,
            presence_threshold: 0.5,
            folders: vec!["set".to_owned()],
            split: Split::Val,
            prompt: None,
        };
        Report::new(setting, records, Vec::new())
    }

    #[test]
    fn numbers_read_with_and_without_interval() {
        let all = Estimate {
            n: 3,
            mean: 1.0,
            interval: None,
        };
        let some = Estimate {
            n: 100,
            mean: 0.12,
            interval: Some([0.06, 0.191]),
        };
        assert_eq!(all.share(), "3/3 = 100.0 %");
        assert_eq!(some.share(), "12/100 = 12.0 % [6.0, 19.1]");
        assert_eq!(some.number(), "0.120 [0.060, 0.191]");
    }

    #[test]
    fn json_holds_every_frame_and_summary() {
        let records = vec![
            record(1, "tumor", Some(0.9), true, &[("polyp", false, true)]),
            record(4, "tumor", None, false, &[]),
        ];
        let json = serde_json::to_value(report("edge", records)).unwrap();
        assert_eq!(json["records"][0]["line"], 1);
        assert_eq!(json["records"][0]["overlap"]["dice"], 0.9);
        assert_eq!(json["records"][0]["others"][0]["prompt"], "polyp");
        assert!(json["records"][1]["overlap"].is_null());
        assert_eq!(json["prompts"][0]["shown"]["frames"], 1);
        assert_eq!(json["records"][0]["threshold"], 0.5);
        assert!(json["records"][0]["withheld"].is_null());
        let [tumor, polyp] = [0, 1].map(|i| &json["prompts"][i]["presence"]);
        assert_eq!(tumor["sensitivity"]["mean"], 1.0);
        assert_eq!(tumor["false_alarms"]["n"], 1);
        assert_eq!(tumor["withheld"]["mean"], 0.0);
        assert_eq!(
            (&tumor["auroc"]["area"], &tumor["auroc"]["present"]),
            (&1.0.into(), &1.into())
        );
        assert!(tumor["auroc"]["interval"].is_null() && tumor["auroc_other_modality"].is_null());
        let calibration = &tumor["calibration"];
        assert!((calibration["error"].as_f64().unwrap() - 0.1).abs() < 1e-6);
        assert_eq!(calibration["brier"]["n"], 2);
        assert_eq!(
            calibration["bins"][0]["range"],
            serde_json::json!([0.1, 0.2])
        );
        assert_eq!(calibration["bins"][1]["observed"], 1.0);
        assert_eq!(polyp["false_alarms_other_modality"]["mean"], 1.0);
        assert!(polyp["sensitivity"].is_null() && polyp["calibration"].is_null());
        assert_eq!(
            (&json["split"], &json["model"]["precision"]),
            (&"val".into(), &"int8".into())
        );
    }
}
