//! All that an evaluation found; the JSON document, and what its renderings share.

use serde::Serialize;

use super::bootstrap::{Estimate, RESAMPLES};
use super::dataset::{Failed, Split};
use super::metrics::{MISSED, Summary, summaries};
use super::record::Record;
use crate::report::Model;
use crate::ui::SAFETY;

/// All that an evaluation found.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    bedside: &'static str,
    notice: &'static str,
    pub model: Model,
    /// An object is reported when its probability is at least this.
    pub presence_threshold: f32,
    pub folders: Vec<String>,
    pub split: Split,
    /// What was asked in place of the manifests' objects.
    pub prompt: Option<&'a str>,
    /// Resamples behind each 95 % interval.
    resamples: usize,
    pub prompts: Vec<Summary>,
    pub failed: Vec<Failed>,
    pub records: Vec<Record>,
}

/// What was asked of the evaluation.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    pub model: Model,
    pub presence_threshold: f32,
    pub folders: Vec<String>,
    pub split: Split,
    pub prompt: Option<&'a str>,
}

impl<'a> Report<'a> {
    pub(super) fn new(setting: Setting<'a>, records: Vec<Record>, failed: Vec<Failed>) -> Self {
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
    pub(super) fn headline(&self) -> String {
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
    pub(super) fn footnote(&self) -> String {
        format!(
            "In brackets the 95 % interval: bootstrap over groups, {} resamples; none where all\n\
             values are equal. An object is reported at a probability of {} or more. One that is\n\
             there but reported absent has Dice 0; ungated: as if every mask were reported.\n\
             Missed: Dice below {MISSED}.",
            self.resamples, self.presence_threshold
        )
    }
}

/// A number of things: "1 row", "2 rows".
pub(super) fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// A mean as "0.912 [0.890, 0.931]".
pub(super) fn number(estimate: &Estimate) -> String {
    match estimate.interval {
        Some([low, high]) => format!("{:.3} [{low:.3}, {high:.3}]", estimate.mean),
        None => format!("{:.3}", estimate.mean),
    }
}

/// A mean of zeros and ones as "12/100".
pub(super) fn fraction(estimate: &Estimate) -> String {
    format!(
        "{}/{}",
        (estimate.mean * estimate.n as f64).round(),
        estimate.n
    )
}

/// A mean of zeros and ones as "12/100 = 12.0 % [6.0, 19.0]".
pub(super) fn share(estimate: &Estimate) -> String {
    let text = format!("{} = {:.1} %", fraction(estimate), estimate.mean * 100.0);
    match estimate
        .interval
        .map(|bounds| bounds.map(|bound| bound * 100.0))
    {
        Some([low, high]) => format!("{text} [{low:.1}, {high:.1}]"),
        None => text,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::metrics::tests::record;
    use super::*;

    /// A report on records made up for tests.
    pub(in super::super) fn report(name: &str, records: Vec<Record>) -> Report<'static> {
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
        assert_eq!(share(&all), "3/3 = 100.0 %");
        assert_eq!(share(&some), "12/100 = 12.0 % [6.0, 19.1]");
        assert_eq!(number(&some), "0.120 [0.060, 0.191]");
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
        assert_eq!(json["prompts"][0]["absent"]["mean"], 1.0);
        assert_eq!(json["prompts"][1]["absent_other_modality"]["mean"], 0.0);
        assert_eq!(
            (&json["split"], &json["model"]["precision"]),
            (&"val".into(), &"int8".into())
        );
    }

    #[test]
    fn the_terminal_gets_both_tables() {
        let records = vec![
            record(1, "tumor", Some(0.9), true, &[("polyp", false, true)]),
            record(2, "tumor", Some(0.7), true, &[("polyp", false, false)]),
            record(4, "tumor", None, false, &[]),
        ];
        let text = super::super::text::text(&report("edge", records));
        assert!(
            text.starts_with("edge 1.2.3 (int8, tract, 2 threads): 3 frames\n"),
            "{text}"
        );
        assert!(text.contains("0.800 [0.700, 0.900]"), "{text}");
        assert!(
            text.contains("1/1 = 100.0 %") && text.contains("1/2 = 50.0 %"),
            "{text}"
        );
        assert!(text.lines().all(|l| !l.ends_with(' ')), "{text}");
    }
}
