//! The report as tables for the terminal.

use std::fmt::Write;

use bedside_eval::{Estimate, POOR, Report, Score, Summary, VideoReport};

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
    let _ = write!(
        text,
        "Share reported absent\n{}\n",
        absent_table(&report.prompts)
    );
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

fn absent_table(summaries: &[Summary]) -> Table {
    let titles = [
        "prompt",
        ">frames without it",
        ">of another object",
        ">of another modality",
    ];
    let mut table = Table::new(titles);
    let cell =
        |estimate: &Option<Estimate>| estimate.as_ref().map_or(NONE.to_owned(), Estimate::share);
    for summary in summaries {
        table.row([
            summary.prompt.clone(),
            cell(&summary.absent),
            cell(&summary.absent_other_object),
            cell(&summary.absent_other_modality),
        ]);
    }
    table
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
