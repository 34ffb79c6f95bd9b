//! `bedside eval`: how well a model does on folders of frames with known masks.
//!
//! `bedside-eval` does the work; here are the arguments, and [`text`] has the tables.

mod text;
mod video;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use bedside::Segmenter;
use bedside_eval::{Evaluator, Failed, Model, Report, Rows, Setting, Split};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::failure::{Exit, Failure};
use crate::model::ModelArgs;
use crate::output;
use crate::ui::{SAFETY, Ui};
use video::VideoArgs;

/// Failed rows whose errors are printed one by one; the JSON document and the page hold all.
const MOST_PRINTED: usize = 10;

/// Arguments of `bedside eval`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedside eval datasets/polyps
  bedside eval datasets/* --split test --html report.html
  bedside eval datasets/breast --prompt 'tumor in breast ultrasound' --limit 50 --json
  bedside eval --video phantom:polyp,seed=3 --prompt polyp --rate 3
  bedside eval --video clip.mp4 --masks masks/ --prompt polyp

DIR holds manifest.csv with the columns file, mask, split, group, modality, object, label; masks are
0 and 255 at the picture's size. In builds that read DICOM, a file may be one, and a column frame tells
which of its frames, from 1. A frame of label 'normal' needs no mask. Frames of one group (a
patient, a clip) stay together when the confidence intervals are drawn.

Every frame is asked for its own object and, in the same pass, for all others that the weights
know and the frame surely lacks: those that are reported are false alarms. docs/cli.md tells how to
read the figures.")]
pub(crate) struct Args {
    /// Dataset folders
    #[arg(required_unless_present = "video", value_name = "DIR")]
    dirs: Vec<PathBuf>,

    /// Which rows of the manifests
    #[arg(long, value_name = "SPLIT", default_value_t = Split::Val, value_parser = splits())]
    split: Split,

    /// Ask for this in place of each row's object
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,

    /// At most so many frames of each folder, evenly spread; of a clip the first [default for
    /// phantoms: 600]
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,

    /// Write a page with charts of presence and the worst cases as pictures
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Worst cases of each prompt on the page
    #[arg(long, value_name = "N", default_value_t = 12, requires = "html",
          value_parser = clap::value_parser!(u16).range(..=500))]
    worst: u16,

    #[command(flatten)]
    video: VideoArgs,
}

/// Evaluate, then print and write the report.
///
/// # Errors
/// The first failed row's, after all others were evaluated and the report is out.
pub(crate) fn run(args: &Args, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    if let (Some(spec), Some(prompt)) = (&args.video.video, &args.prompt) {
        let limit = args.limit.map(|limit| limit.get() as u64);
        return video::run(&args.video, spec, prompt, limit, model, ui);
    }
    ui.note(SAFETY);
    let Rows { rows, mut failed } = rows(args)?;
    let bundle = model.bundle(None)?;
    let options = model.options(&bundle, ui)?.with_presence(0.0);
    let segmenter = Segmenter::new(bundle, options.backend()?, &options)?;
    let facts = Model::of(&segmenter);
    let mut evaluator = Evaluator::new(segmenter, args.prompt.as_deref());
    if options.side.is_none() {
        evaluator = evaluator.with_suiting_sides();
    }
    #[cfg(feature = "dicom")]
    {
        evaluator = evaluator.with_frames(crate::dicom::frame);
    }
    let setting = Setting {
        model: facts,
        presence_threshold: evaluator.presence_threshold(),
        folders: args
            .dirs
            .iter()
            .map(|dir| dir.display().to_string())
            .collect(),
        split: args.split,
        prompt: args.prompt.as_deref(),
    };

    let bar = ui.progress(rows.len() as u64, "frames");
    let records = evaluator.records(&rows, &mut failed, || bar.inc(1));
    bar.finish_and_clear();
    let failed = failed.into_iter().map(|row| row.map(Failure::from));
    let report = Report::new(setting, records, failed.collect());
    if let Some(path) = &args.html {
        let worst = usize::from(args.worst);
        let page = bedside_eval::html_page(&report, &rows, &mut evaluator, worst)?;
        output::write_file(path, page.into_bytes())?;
        ui.note(format_args!("wrote {}", path.display()));
    }
    if ui.json() {
        ui.print_json(&report)?;
    } else {
        ui.print(&text::folders(&report))?;
    }
    print_failed(&report.failed, ui)
}

/// The rows of all folders.
fn rows(args: &Args) -> Result<Rows, Failure> {
    let mut all = Rows::default();
    for dir in &args.dirs {
        let found = bedside_eval::rows(dir, args.split, args.limit.map(NonZeroUsize::get))?;
        all.rows.extend(found.rows);
        all.failed.extend(found.failed);
    }
    if all.rows.is_empty() && all.failed.is_empty() {
        return Err(Failure::new(
            Exit::Input,
            format!(
                "no row of split '{}'; hint: --split all takes every row",
                args.split
            ),
        ));
    }
    Ok(all)
}

/// The values of `--split`.
fn splits() -> impl TypedValueParser<Value = Split> {
    PossibleValuesParser::new([
        PossibleValue::new("train").help("What the model was trained on: flatters it"),
        PossibleValue::new("val").help("Held out while training"),
        PossibleValue::new("test").help("Never looked at before"),
        PossibleValue::new("all").help("Every row"),
    ])
    .try_map(|name| name.parse())
}

/// Print the errors of the rows that failed; the first decides how the command ends.
fn print_failed(failed: &[Failed<Failure>], ui: Ui) -> Result<(), Failure> {
    for row in failed.iter().take(MOST_PRINTED) {
        ui.fail(&row.error.clone().at(&row.place));
    }
    if let Some(more) = failed.len().checked_sub(MOST_PRINTED).filter(|n| *n > 0) {
        ui.note(format_args!(
            "and {more} rows more; hint: --json and --html list all"
        ));
    }
    failed.first().map_or(Ok(()), |row| {
        Err(row.error.clone().at(&row.place).printed())
    })
}
