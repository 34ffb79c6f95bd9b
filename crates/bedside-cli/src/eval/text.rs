//! The report as tables for the terminal.

use std::fmt::Write;

use bedside_eval::{Auroc, Estimate, POOR, Report, Score, Summary, VideoReport};

use crate::table::Table;

/// What stands in a cell of which nothing is known.
const NONE: &str = "-";

/// The report of dataset folders.
pub(super) fn folders<E>(report: &Report<'_, E>) -> String {
    let mut text = format!("{}\n\n", report.headline());
    let shown = report.prompts.iter().filter(|p| p.shown.is_some());
    let _ = write!(
        text,
        "Frames that show the object\n{}\n",
        shown_table(shown)
    );
    let reported = reported_table(&report.prompts);
    let _ = write!(text, "Presence: what is reported\n{reported}\n");
    let ranked = report.prompts.iter().filter(|p| p.shown.is_some());
    let probability = probability_table(ranked);
    let _ = write!(text, "Presence: its probability\n{probability}\n");
    let _ = writeln!(text, "{}", report.footnote());
    text
}

fn shown_table<'a>(summaries: impl Iterator<Item = &'a Summary>) -> Table {
    let poor = format!(">below {POOR}");
    let titles = [
        "prompt", ">frames", ">Dice", ">median", ">IoU", ">ungated", ">missed", &poor, ">ms",
    ];
    let mut table = Table::new(titles);
    for summary in summaries {
        let Some(shown) = &summary.shown else {
            continue;
        };
        table.row([
            summary.prompt.clone(),
            shown.frames.to_string(),
            shown.dice.number(),
            format!("{:.3}", shown.dice_median),
            shown.iou.number(),
            format!("{:.3}", shown.ungated_dice.mean),
            shown.missed.fraction(),
            shown.poor.fraction(),
            summary
                .milliseconds
                .map_or(NONE.to_owned(), |ms| format!("{ms:.1}")),
        ]);
    }
    table
}

fn reported_table(summaries: &[Summary]) -> Table {
    let titles = [
        "prompt",
        ">threshold",
        ">sensitivity",
        ">false alarms",
        ">labelled",
        ">other modality",
        ">withheld",
        ">other modality",
    ];
    let mut table = Table::new(titles);
    let share = |e: &Option<Estimate>| cell(e, Estimate::share);
    let fraction = |e: &Option<Estimate>| cell(e, Estimate::fraction);
    for summary in summaries {
        let presence = &summary.presence;
        table.row([
            summary.prompt.clone(),
            format!("{:.2}", presence.threshold),
            share(&presence.sensitivity),
            share(&presence.false_alarms),
            fraction(&presence.false_alarms_labelled),
            share(&presence.false_alarms_other_modality),
            fraction(&presence.withheld),
            fraction(&presence.withheld_other_modality),
        ]);
    }
    table
}

fn probability_table<'a>(summaries: impl Iterator<Item = &'a Summary>) -> Table {
    let titles = [
        "prompt",
        ">AUROC",
        ">other modality",
        ">calibration error",
        ">Brier",
    ];
    let mut table = Table::new(titles);
    for summary in summaries {
        let presence = &summary.presence;
        table.row([
            summary.prompt.clone(),
            cell(&presence.auroc, Auroc::number),
            cell(&presence.auroc_other_modality, Auroc::number),
            cell(&presence.calibration, |c| format!("{:.3}", c.error)),
            cell(&presence.calibration, |c| c.brier.number()),
        ]);
    }
    table
}

fn cell<T>(figure: &Option<T>, show: impl Fn(&T) -> String) -> String {
    figure.as_ref().map_or(NONE.to_owned(), show)
}

/// The report of a clip.
pub(super) fn clip(report: &VideoReport) -> String {
    let mut table = Table::new(["", ">masks", ">Dice"]);
    let mut row = |name: String, score: Score| {
        let dice = score
            .dice
            .map_or("-".to_owned(), |dice| format!("{dice:.3}"));
        table.row([name, score.masks.to_string(), dice]);
    };
    row("fresh".to_owned(), report.fresh);
    row("carried".to_owned(), report.carried);
    for age in &report.carried_by_age {
        row(format!("  {} ms", age.age_ms), age.score);
    }
    let passes = match report.passes_per_second {
        Some(rate) => format!("at most {rate} passes a second"),
        None => "a pass a frame".to_owned(),
    };
    format!(
        "{}: {} frames, {} a second, '{}', {passes}\n\n{table}\n\
         missed {} of {} frames with the object, lingering on {} of {} without, flicker {:.1} a minute\n",
        report.video,
        report.frames,
        report.frames_per_second,
        report.prompt,
        report.missed,
        report.with_object,
        report.lingering,
        report.without_object,
        report.flicker_per_minute
    )
}
