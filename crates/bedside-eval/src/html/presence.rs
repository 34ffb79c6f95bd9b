//! Presence on the page: tables, and for each prompt the receiver operating characteristic and the
//! reliability diagram.

use super::plot::{Plot, Style};
use super::{escape, table};
use crate::bootstrap::Estimate;
use crate::metrics::Summary;
use crate::presence::{Answers, Auroc, Calibration, Presence, Ranking};
use crate::record::Record;
use crate::report::counted;

/// How to read the plots.
const READING: &str = "\
Left: of the frames with the object the share that reaches a probability, against that of the \
frames without it, for every probability. Full line: against frames of its modality; dashed: of \
others. The point is what is reported. It lies off the line where answers are withheld or masks \
are empty.
Right: the share of frames that show the object, against the probability that is stated for them, \
in bins. Above it their number, which sizes the points. On the diagonal the probability is as \
often right as it says.";

/// Radius of points.
const RADIUS: f64 = 5.0;
/// Of what nothing is known.
const NONE: &str = "-";

pub(super) fn tables(summaries: &[Summary]) -> String {
    let titles = [
        "Prompt",
        "Threshold",
        "Sensitivity",
        "False alarms",
        "of these labelled",
        "False alarms, other modalities",
        "Withheld",
        "Withheld, other modalities",
    ];
    let share = |e: &Option<Estimate>| e.as_ref().map_or(NONE.to_owned(), Estimate::share);
    let rows = summaries.iter().map(|summary| {
        let presence = &summary.presence;
        vec![
            summary.prompt.clone(),
            format!("{:.2}", presence.threshold),
            share(&presence.sensitivity),
            share(&presence.false_alarms),
            share(&presence.false_alarms_labelled),
            share(&presence.false_alarms_other_modality),
            share(&presence.withheld),
            share(&presence.withheld_other_modality),
        ]
    });
    let at_threshold = table(
        "Presence: what is reported",
        &titles.map(str::to_owned),
        rows,
    );
    let titles = [
        "Prompt",
        "AUROC",
        "frames with / without",
        "AUROC, other modalities",
        "frames with / without",
        "Calibration error",
        "Brier score",
    ];
    let area = |a: &Option<Auroc>| a.as_ref().map_or(NONE.to_owned(), Auroc::number);
    let frames =
        |a: &Option<Auroc>| a.map_or(NONE.to_owned(), |a| format!("{} / {}", a.present, a.absent));
    let ranked = summaries.iter().filter(|s| s.shown.is_some());
    let rows = ranked.map(|summary| {
        let presence = &summary.presence;
        let calibration = presence.calibration.as_ref();
        vec![
            summary.prompt.clone(),
            area(&presence.auroc),
            frames(&presence.auroc),
            area(&presence.auroc_other_modality),
            frames(&presence.auroc_other_modality),
            calibration.map_or(NONE.to_owned(), |c| format!("{:.3}", c.error)),
            calibration.map_or(NONE.to_owned(), |c| c.brier.number()),
        ]
    });
    at_threshold
        + &table(
            "Presence: its probability",
            &titles.map(str::to_owned),
            rows,
        )
}

/// The plots of all prompts that have frames with and without their object, side by side.
pub(super) fn plots(summaries: &[Summary], records: &[Record]) -> String {
    let figure = |summary: &Summary| {
        let prompt = escape(&summary.prompt);
        let presence = &summary.presence;
        let roc = characteristic(&prompt, presence, &Answers::of(&summary.prompt, records))?;
        let calibration = presence.calibration.as_ref();
        let reliability = calibration
            .map(|c| reliability(&prompt, c))
            .unwrap_or_default();
        Some(format!(
            "<figure class=\"plot\">\n{roc}{reliability}<figcaption>{prompt}</figcaption>\n</figure>\n"
        ))
    };
    let figures: String = summaries.iter().filter_map(figure).collect();
    if figures.is_empty() {
        return figures;
    }
    format!(
        "<h2>Presence</h2>\n<p class=\"note\">{READING}</p>\n<div class=\"plots\">\n{figures}</div>\n"
    )
}

/// The receiver operating characteristic, against frames of the object's modality and of others;
/// `None` where there are neither.
fn characteristic(prompt: &str, presence: &Presence, answers: &Answers<'_>) -> Option<String> {
    let name = format!("Receiver operating characteristic of {prompt}");
    let mut plot = Plot::new(&name, "false alarms", "sensitivity");
    let mut curve = |ranking: Ranking, alarms: Option<Estimate>, style| {
        let (curve, alarms, found) = (ranking.curve()?, alarms?, presence.sensitivity?);
        let (shown, alarmed) = (found.fraction(), alarms.fraction());
        let title = format!("reported: {shown} with the object, {alarmed} without");
        plot.line(curve, style);
        plot.point((alarms.mean, found.mean), RADIUS, style, &title);
        Some(())
    };
    let near = curve(answers.ranking(), presence.false_alarms, Style::Full);
    let other = answers.ranking_other_modality();
    let far = curve(other, presence.false_alarms_other_modality, Style::Dashed);
    near.or(far).map(|()| plot.finish())
}

/// Observed shares against stated probabilities.
fn reliability(prompt: &str, calibration: &Calibration) -> String {
    let name = format!("Reliability diagram of {prompt}");
    let mut plot = Plot::new(&name, "stated probability", "share with the object");
    let most = calibration.bins.iter().map(|bin| bin.frames).max();
    let most = most.unwrap_or(1) as f64;
    for bin in &calibration.bins {
        let [low, high] = bin.range;
        let frames = counted(bin.frames, "frame");
        let (stated, observed) = (bin.stated, bin.observed);
        let title = format!("{frames} at {low} to {high}: {stated:.2} stated, {observed:.2} seen");
        // Its area tells how many frames it stands for; the least can still be seen.
        let radius = RADIUS * (bin.frames as f64 / most).sqrt().max(0.3);
        plot.point((stated, observed), radius, Style::Full, &title);
        plot.number((low + high) / 2.0, bin.frames);
    }
    plot.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::summaries;
    use crate::metrics::tests::record;
    use crate::presence::tests::frame;

    fn drawn(records: &[Record]) -> String {
        plots(&summaries(records), records)
    }

    #[test]
    fn curves_points_and_bins_lie_where_the_figures_say() {
        let mut records: Vec<Record> = [
            (0.9, true),
            (0.6, true),
            (0.4, true),
            (0.3, true),
            (0.75, false),
            (0.1, false),
        ]
        .iter()
        .enumerate()
        .map(|(line, (presence, shown))| frame(line, *presence, *shown))
        .collect();
        let svg = drawn(&records);
        // Up a quarter, right a half, up to the top, right to the end.
        assert!(
            svg.contains("points=\"40.0,218.0 40.0,168.0 140.0,168.0 140.0,18.0 240.0,18.0\""),
            "{svg}"
        );
        assert!(!svg.contains("stroke-dasharray"), "no other modality");
        // Two of four and one of two are reported at 0.5.
        assert!(svg.contains("cx=\"140.0\" cy=\"118.0\""), "{svg}");
        assert!(svg.contains("reported: 2/4 with the object, 1/2 without"));
        assert!(svg.contains("1 frame at 0.7 to 0.8: 0.75 stated, 0.00 seen"));
        assert_eq!(svg.matches("class=\"small\"").count(), 6);

        let far = record(9, "q", None, false, &[("p", false, false)]);
        records.push(far);
        let svg = drawn(&records);
        assert_eq!(svg.matches("stroke-dasharray").count(), 1);
        assert!(svg.contains("reported: 2/4 with the object, 0/1 without"));
        assert_eq!(svg.matches("<figure").count(), 1, "'q' is in no frame");
    }

    #[test]
    fn a_prompt_that_is_markup_stays_text() {
        let mut records = [frame(1, 0.9, true), frame(2, 0.1, false)];
        for record in &mut records {
            record.answer.prompt = "<b>\"polyp\"".to_owned();
        }
        let svg = drawn(&records);
        assert!(svg.contains("&lt;b&gt;&quot;polyp&quot;") && !svg.contains("<b>"));
    }

    #[test]
    fn without_frames_of_both_kinds_nothing_is_drawn() {
        assert_eq!(drawn(&[frame(1, 0.9, true), frame(2, 0.8, true)]), "");
    }
}
