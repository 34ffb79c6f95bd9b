//! The report as tables for the terminal.

use std::fmt::Write;

use super::bootstrap::Estimate;
use super::metrics::{POOR, Summary};
use super::report::{Report, fraction, number, share};
use crate::table::Table;

/// What stands in a cell of which nothing is known.
const NONE: &str = "-";

/// The whole report.
pub(super) fn text(report: &Report<'_>) -> String {
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
            number(&shown.dice),
            format!("{:.3}", shown.dice_median),
            number(&shown.iou),
            format!("{:.3}", shown.ungated_dice.mean),
            fraction(&shown.missed),
            fraction(&shown.poor),
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
    let cell = |estimate: &Option<Estimate>| estimate.as_ref().map_or(NONE.to_owned(), share);
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
