//! The report as one HTML page that needs nothing else: styles, pictures and charts are in it.

mod plot;
mod presence;

use std::fmt::{Display, Write};

use base64::prelude::{BASE64_STANDARD, Engine};
use bedside::Withheld;

use crate::SAFETY;
use crate::dataset::Row;
use crate::error::Error;
use crate::evaluator::Evaluator;
use crate::metrics::{self, MISSED, POOR, Summary};
use crate::picture::CaseImage;
use crate::record::Record;
use crate::report::{Report, counted};

const STYLE: &str = include_str!("page.css");
/// Strokes of the outlines, in Okabe and Ito's colours: told apart by colour-blind eyes, and by
/// width as well.
const TRUTH: &str = r##"fill="none" stroke="#56b4e9" stroke-width="2.6""##;
const SHOWN: &str = r##"fill="none" stroke="#e69f00" stroke-width="1.2""##;
const WITHHELD: &str = r##"fill="none" stroke="#cc79a7" stroke-width="1.2""##;
/// Bars of a histogram of Dice.
const BINS: usize = 20;

/// The report as a page, with the `worst` worst cases of each prompt as pictures. The model looks
/// at those once more: keeping every frame's masks until the worst are known would need memory
/// without bound.
///
/// # Errors
/// When a file is no longer what it was, the engine fails, or a picture can't be encoded.
pub fn html_page<E: Display>(
    report: &Report<'_, E>,
    rows: &[Row],
    evaluator: &mut Evaluator<'_>,
    worst: usize,
) -> Result<String, Error> {
    let prompts = report.prompts.iter();
    let cases = prompts.flat_map(|p| metrics::worst(&report.records, &p.prompt, worst));
    let mut pictures = Vec::new();
    for record in cases {
        if let Some(row) = rows.iter().find(|row| row.place == record.place) {
            let case = evaluator
                .evaluate(row)
                .map_err(|error| error.at(&row.place))?;
            let drawn = case.drawn.as_ref();
            pictures.push(CaseImage::new(record, &case.frame, &case.truth, drawn)?);
        }
    }
    Ok(page(report, &pictures))
}

/// The page. `pictures` are the worst cases, in order; each stands under its prompt.
fn page<E: Display>(report: &Report<'_, E>, pictures: &[CaseImage<'_>]) -> String {
    let model = &report.model;
    let title = escape(&format!("{} {}: evaluation", model.name, model.version));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>{title}</h1>\n<p class=\"safety\">{SAFETY}</p>\n{}",
        facts(report)
    );
    page += &shown_table(&report.prompts);
    page += &presence::tables(&report.prompts);
    let _ = writeln!(page, "<p class=\"note\">{}</p>", escape(&report.footnote()));
    page += &presence::plots(&report.prompts, &report.records);
    for summary in &report.prompts {
        page += &section(summary, &report.records, pictures);
    }
    page += &failures(report);
    page += "</body>\n</html>\n";
    page
}

/// The text with the characters that HTML reads as markup replaced.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// What was evaluated, by which model.
fn facts<E>(report: &Report<'_, E>) -> String {
    let model = &report.model;
    let engine = format!("{}, {}", model.backend, counted(model.threads, "thread"));
    let failed = counted(report.failed.len(), "row");
    let frames = format!("{} evaluated, {failed} failed", report.records.len());
    let rows = [
        ("Bundle", format!("{} {}", model.name, model.version)),
        ("Precision", model.precision.clone()),
        ("Licence of the weights", model.licence.clone()),
        ("Engine", engine),
        ("Folders", report.folders.join(", ")),
        ("Split", report.split.to_string()),
        (
            "Prompt",
            report.prompt.unwrap_or("each row's object").to_owned(),
        ),
        ("Frames", frames),
    ];
    let rows = rows.map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(&value)));
    format!("<dl>\n{}</dl>\n", rows.concat())
}

fn table(caption: &str, titles: &[String], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head: String = titles
        .iter()
        .map(|t| format!("<th scope=\"col\">{}</th>", escape(t)))
        .collect();
    let body: String = rows
        .map(|row| {
            let cells = row.iter().map(|cell| format!("<td>{}</td>", escape(cell)));
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        })
        .collect();
    format!(
        "<div class=\"wide\"><table>\n<caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n\
         <tbody>\n{body}</tbody>\n</table></div>\n"
    )
}

fn shown_table(summaries: &[Summary]) -> String {
    let titles = [
        "Prompt".to_owned(),
        "Frames".to_owned(),
        "Dice, mean".to_owned(),
        "median".to_owned(),
        "IoU, mean".to_owned(),
        "median".to_owned(),
        "Dice ungated".to_owned(),
        format!("Missed (Dice < {MISSED})"),
        format!("Dice < {POOR}"),
        "ms/frame".to_owned(),
    ];
    let rows = summaries.iter().filter_map(|summary| {
        let shown = summary.shown.as_ref()?;
        Some(vec![
            summary.prompt.clone(),
            shown.frames.to_string(),
            shown.dice.number(),
            format!("{:.3}", shown.dice_median),
            shown.iou.number(),
            format!("{:.3}", shown.iou_median),
            shown.ungated_dice.number(),
            shown.missed.share(),
            shown.poor.share(),
            summary
                .milliseconds
                .map_or_else(String::new, |ms| format!("{ms:.1}")),
        ])
    });
    table("Frames that show the object", &titles, rows)
}

/// Histogram and worst cases of a prompt that has frames of its own.
fn section(summary: &Summary, records: &[Record], pictures: &[CaseImage<'_>]) -> String {
    let own = || records.iter().filter(|r| r.answer.prompt == summary.prompt);
    if own().next().is_none() {
        return String::new();
    }
    let mut html = format!("<h2>{}</h2>\n", escape(&summary.prompt));
    let dice: Vec<f64> = own().filter_map(|r| Some(r.overlap?.dice)).collect();
    if !dice.is_empty() {
        html += &histogram(&dice);
    }
    let worst = pictures
        .iter()
        .filter(|p| p.record.answer.prompt == summary.prompt);
    let figures: String = worst.map(figure).collect();
    if !figures.is_empty() {
        let key = |stroke: &str, meaning: &str| {
            format!(
                "<svg class=\"key\" viewBox=\"0 0 26 6\"><path {stroke} d=\"M0 3h26\"/></svg> {meaning} "
            )
        };
        let keys = key(TRUTH, "truth") + &key(SHOWN, "answer");
        let keys = keys + &key(WITHHELD, "drawn but not reported");
        let _ = write!(
            html,
            "<h3>Worst cases</h3>\n<p class=\"note\">{keys}</p>\n<div class=\"cases\">\n{figures}</div>\n"
        );
    }
    html
}

/// How many frames have which Dice, as inline SVG.
fn histogram(dice: &[f64]) -> String {
    let mut bins = [0_usize; BINS];
    for value in dice {
        if let Some(bin) = bins.get_mut(((value * BINS as f64) as usize).min(BINS - 1)) {
            *bin += 1;
        }
    }
    let most = bins.iter().copied().max().unwrap_or(0).max(1);
    let mut bars = String::new();
    for (i, n) in bins.iter().enumerate().filter(|(_, n)| **n > 0) {
        let height = 100.0 * *n as f64 / most as f64;
        let (low, high) = (i as f64 / BINS as f64, (i + 1) as f64 / BINS as f64);
        let _ = writeln!(
            bars,
            "<rect x=\"{}\" y=\"{:.1}\" width=\"18\" height=\"{height:.1}\"><title>{} of \
             Dice {low:.2} to {high:.2}</title></rect>",
            i * 20 + 41,
            110.0 - height,
            counted(*n, "frame")
        );
    }
    format!(
        "<svg class=\"histogram\" viewBox=\"0 0 460 140\" role=\"img\" aria-label=\"Histogram of \
         Dice over {} frames\">\n<g fill=\"currentColor\" fill-opacity=\"0.6\">\n{bars}</g>\n<path fill=\"none\" stroke=\"currentColor\" d=\"M40 110h400M40 110v-100\"/>\n\
         <text x=\"36\" y=\"16\" text-anchor=\"end\">{most}</text>\
         <text x=\"36\" y=\"114\" text-anchor=\"end\">0</text>\
         <text x=\"40\" y=\"124\" text-anchor=\"middle\">0</text>\
         <text x=\"240\" y=\"124\" text-anchor=\"middle\">0.5</text>\
         <text x=\"440\" y=\"124\" text-anchor=\"middle\">1</text>\
         <text x=\"240\" y=\"138\" text-anchor=\"middle\">Dice</text>\n</svg>\n",
        dice.len()
    )
}

/// One case: picture, outlines, and what is known of it.
fn figure(picture: &CaseImage<'_>) -> String {
    let CaseImage {
        record,
        size: (width, height),
        jpeg,
        truth,
        drawn,
    } = picture;
    let jpeg = BASE64_STANDARD.encode(jpeg);
    let stroke = if record.answer.present {
        SHOWN
    } else {
        WITHHELD
    };
    let fit = match record.overlap {
        Some(o) if record.answer.present => format!("Dice {:.3}, IoU {:.3}", o.dice, o.iou),
        Some(o) => {
            let why = match record.answer.withheld {
                Some(Withheld::OtherModality) => "withheld, looks like another kind of imaging",
                Some(_) => "withheld, unlike the frames of training",
                None => "reported absent",
            };
            format!("missed: {why} (ungated Dice {:.3})", o.ungated_dice)
        }
        None => "false alarm: the object is not there".to_owned(),
    };
    let label = if record.label.is_empty() {
        String::new()
    } else {
        format!(" ({})", record.label)
    };
    format!(
        "<figure>\n<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{name}\">\
         <image width=\"{width}\" height=\"{height}\" href=\"data:image/jpeg;base64,{jpeg}\"/>\
         <path {TRUTH} d=\"{truth}\"/><path {stroke} d=\"{drawn}\"/></svg>\n\
         <figcaption><b>{fit}</b><br>presence {presence:.1} %<br>{name}{label}<br>{place}\
         </figcaption>\n</figure>\n",
        presence = record.answer.presence * 100.0,
        name = escape(&record.file),
        label = escape(&label),
        place = escape(&record.place.to_string()),
    )
}

/// The rows that could not be evaluated.
fn failures<E: Display>(report: &Report<'_, E>) -> String {
    if report.failed.is_empty() {
        return String::new();
    }
    let rows = report
        .failed
        .iter()
        .map(|f| vec![f.place.to_string(), f.error.to_string()]);
    let titles = ["Row".to_owned(), "Why".to_owned()];
    table("Rows that were not evaluated", &titles, rows)
}

#[cfg(test)]
mod tests {
    use bedside::{Frame, Mask, PixelFormat};

    use super::*;
    use crate::dataset::{Failed, Place};
    use crate::error::ErrorKind;
    use crate::metrics::tests::record;
    use crate::metrics::worst;
    use crate::report::tests::report;

    #[test]
    fn markup_in_names_is_text() {
        let evil = "<script>alert('x')</script>&\"";
        let mut frame_record = record(1, "<b>polyp</b>", Some(0.2), true, &[]);
        frame_record.file = evil.to_owned();
        frame_record.label = "<i>".to_owned();
        let mut report = report(evil, vec![frame_record]);
        report.folders = vec![evil.to_owned()];
        report.prompt = Some(evil);
        report.model.licence = evil.to_owned();
        report.failed = vec![Failed {
            place: Place {
                folder: evil.to_owned(),
                line: 3,
            },
            error: Error::new(ErrorKind::Input, evil),
        }];
        let frame = Frame::new(32, 32, PixelFormat::Gray8, vec![80; 1024]).unwrap();
        let mask = Mask::empty(32, 32);
        let cases = [CaseImage::new(&report.records[0], &frame, &mask, Some(&mask)).unwrap()];
        let page = page(&report, &cases);
        for raw in ["<script", "<b>polyp", "<i>", "alert('"] {
            assert!(!page.contains(raw), "{raw} is in the page");
        }
        assert!(
            page.matches("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;")
                .count()
                >= 7
        );
    }

    #[test]
    fn the_page_is_whole_and_needs_nothing_else() {
        let records: Vec<_> = (1..=9)
            .map(|i| {
                record(
                    i,
                    "polyp",
                    Some(i as f64 / 10.0),
                    i != 2,
                    &[("tumor", false, false)],
                )
            })
            .collect();
        let report = report("edge", records);
        let frame = Frame::new(64, 48, PixelFormat::Gray8, vec![80; 64 * 48]).unwrap();
        let truth = Mask::from_bytes(64, 48, vec![1; 64 * 48]).unwrap();
        let cases: Vec<CaseImage<'_>> = worst(&report.records, "polyp", 3)
            .into_iter()
            .map(|r| CaseImage::new(r, &frame, &truth, Some(&truth)).unwrap())
            .collect();
        let page = page(&report, &cases);
        for wanted in [
            SAFETY,
            "edge 1.2.3",
            "int8",
            "Apache-2.0",
            "tumor",
            "Split</dt><dd>val",
        ] {
            assert!(page.contains(wanted), "no {wanted}");
        }
        for link in ["http:", "https:", "<script", "<link", "url(", "src="] {
            assert!(!page.contains(link), "{link} reaches outside");
        }
        assert_eq!(page.matches("<figure>").count(), 3);
        assert_eq!(page.matches(&format!("{WITHHELD} d=\"M0 0h64")).count(), 1);
        let at = |text: &str| page.find(text).unwrap();
        assert!(
            at("missed: reported absent") < at("Dice 0.100") && at("Dice 0.100") < at("Dice 0.300")
        );
        for (open, close) in [
            ("<table", "</table>"),
            ("<svg", "</svg>"),
            ("<figure", "</figure>"),
        ] {
            assert_eq!(
                page.matches(open).count(),
                page.matches(close).count(),
                "{open}"
            );
        }
    }

    #[test]
    fn histogram_bins_hold_their_lower_bound_and_the_last_holds_one() {
        let svg = histogram(&[0.0, 0.049, 0.5, 1.0, 0.97]);
        assert!(svg.contains("2 frames of Dice 0.00 to 0.05"));
        assert!(svg.contains("1 frame of Dice 0.50 to 0.55"));
        assert!(svg.contains("2 frames of Dice 0.95 to 1.00"));
        assert_eq!(svg.matches("<rect").count(), 3);
    }
}
