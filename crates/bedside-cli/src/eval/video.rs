//! `bedside eval --video`: masks as a live session shows them, against the true ones.

use std::path::PathBuf;

use bedside::Prompt;
use bedside_eval::{Clip, VideoSetting};

use super::text;
use crate::failure::Failure;
use crate::live::rate;
use crate::model::ModelArgs;
use crate::ui::{SAFETY, Ui};

/// The arguments of `bedside eval` that belong to video.
#[derive(Debug, clap::Args)]
pub(crate) struct VideoArgs {
    /// Show this clip as `bedside live` would, and measure what is shown: a video file, a folder of
    /// pictures, or a phantom such as phantom:polyp,seed=3
    #[arg(long, value_name = "SOURCE", requires = "prompt", conflicts_with_all = ["dirs", "split", "html"])]
    pub(super) video: Option<String>,

    /// The clip's true masks: a folder of pictures, one a frame, in the order of their names.
    /// Phantoms bring their own
    #[arg(long, value_name = "DIR", requires = "video")]
    masks: Option<PathBuf>,

    /// Passes of the model a second of video, at most [default: one a frame]
    #[arg(long, value_name = "N", requires = "video", value_parser = rate)]
    rate: Option<f64>,
}

pub(super) fn run(
    args: &VideoArgs,
    spec: &str,
    prompt: &str,
    limit: Option<u64>,
    model: &ModelArgs,
    ui: Ui,
) -> Result<(), Failure> {
    ui.note(SAFETY);
    let clip = Clip::open(spec, args.masks.as_deref())?;
    let bundle = model.bundle(None)?;
    let options = model.options_for(&bundle, &[Prompt::new(prompt)], ui)?;
    let setting = VideoSetting {
        prompt,
        limit,
        passes_per_second: args.rate,
    };
    let bar = ui.progress(clip.length(limit), "frames");
    let report = bedside_eval::measure(clip, setting, bundle, &options, || bar.inc(1));
    bar.finish_and_clear();
    let report = report?;
    if ui.json() {
        return ui.print_json(&report);
    }
    ui.print(&text::clip(&report))
}
