//! The `bedside` command: text-prompted biomedical segmentation on the device.
//!
//! One module a command; what they share:
//!
//! * [`model`]: which bundle runs, and how; [`model_process`]: in a process of its own
//! * [`image_file`]: stills in and out; [`output`]: files out, whole or not at all
//! * [`report`]: findings as table, JSON and pictures
//! * [`ui`]: the terminal; [`failure`]: exit codes; [`table`]: aligned text

mod annotate;
mod bench;
mod bundle;
mod collect;
#[cfg(feature = "dicom")]
mod dicom;
mod doctor;
mod eval;
mod failure;
mod igtl;
mod image_file;
mod live;
mod log;
mod model;
mod model_process;
mod output;
mod package;
mod phantom;
mod preview;
mod prompts;
mod report;
mod segment;
mod table;
mod tune;
mod ui;
mod update;
mod warm;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use serde_json::json;

use failure::Failure;
use model::ModelArgs;
use ui::Ui;

/// Find what you name in medical pictures, on this machine alone.
///
/// Research use only. Not a medical device. Not for clinical decisions.
#[derive(Debug, Parser)]
#[command(name = "bedside", version, propagate_version = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Print one JSON document on stdout instead of tables
    #[arg(long, global = true)]
    json: bool,

    #[command(flatten)]
    model: ModelArgs,
}

const AFTER_HELP: &str = "\
Examples:
  bedside segment colon.png --prompt polyp
  bedside segment scans/*.png --prompt 'breast tumor' --out results
  bedside recognize colon.png --modality endoscopy
  bedside live /dev/video0 --prompt polyp --out - | ffplay -
  bedside prompts --modality ultrasound

Exit codes:
  0  done
  1  a fault of bedside itself
  2  the command line was not understood
  3  an input file (image, mask, manifest) could not be used
  4  a prompt was refused
  5  the bundle is missing, damaged or of another format
  6  an output could not be written
  7  the engine failed, or the bundle's self-test did
  8  `bedside doctor` found a problem

Results go to stdout; progress, notices and errors to stderr.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Find the objects that prompts name in images
    Segment(segment::SegmentArgs),
    /// Find every object that the model knows in images of a modality
    Recognize(segment::RecognizeArgs),
    /// Write initial masks for people to correct in an annotation tool
    Annotate(annotate::Args),
    /// Make a dataset of the masks that people corrected
    Collect(collect::Args),
    /// Annotate live video: a camera, a pipe, a file or a phantom
    Live(Box<live::Args>),
    /// Print the records of a session's log
    Log(log::Args),
    /// List the object types, and which of them the bundle's weights know
    Prompts(prompts::Args),
    /// Measure how well the model does on folders of images with known masks
    Eval(eval::Args),
    /// Show what a bundle says of itself
    Inspect(bundle::InspectArgs),
    /// Check every byte of a bundle and run its self-test on this machine
    Verify(bundle::VerifyArgs),
    /// Find the bundle's fastest precision on this machine, for --precision auto
    Tune(tune::Args),
    /// Let the backend compile and keep what it needs for a bundle on this machine
    Warm(warm::Args),
    /// Make a bundle from an exporter's folder
    Pack(bundle::PackArgs),
    /// Replace the bundle of a device, safely, and go back where it does not do well
    Update(update::Args),
    /// Look into DICOM files
    #[cfg(feature = "dicom")]
    Dicom(dicom::Args),
    /// Measure speed and memory on this machine
    Bench(bench::Args),
    /// Say whether this machine will serve, and what to do where it will not
    Doctor(doctor::Args),
    /// Write pictures of moving phantoms with exact masks
    Phantom(phantom::Args),
    /// Write the completions of a shell to stdout
    Completions(package::CompletionsArgs),
    /// Write manual pages
    #[command(hide = true)]
    Man(package::ManArgs),
    /// The model of a live session, which starts this by itself
    #[command(hide = true)]
    ModelProcess(model_process::Args),
}

fn run(cli: &Cli, ui: Ui) -> Result<(), Failure> {
    match &cli.command {
        Command::Segment(args) => segment::segment(args, &cli.model, ui),
        Command::Recognize(args) => segment::recognize(args, &cli.model, ui),
        Command::Annotate(args) => annotate::run(args, &cli.model, ui),
        Command::Collect(args) => collect::run(args, ui),
        Command::Live(args) => live::run(args, &cli.model, ui),
        Command::Log(args) => log::run(args, ui),
        Command::Prompts(args) => prompts::run(args, &cli.model, ui),
        Command::Eval(args) => eval::run(args, &cli.model, ui),
        Command::Inspect(args) => bundle::inspect(args, &cli.model, ui),
        Command::Verify(args) => bundle::verify(args, &cli.model, ui),
        Command::Tune(args) => tune::run(args, &cli.model, ui),
        Command::Warm(args) => warm::run(args, &cli.model, ui),
        Command::Pack(args) => bundle::pack(args, ui),
        Command::Update(args) => update::run(args, &cli.model, ui),
        #[cfg(feature = "dicom")]
        Command::Dicom(args) => dicom::run(args, &cli.model, ui),
        Command::Bench(args) => bench::run(args, &cli.model, ui),
        Command::Doctor(args) => doctor::run(args, &cli.model, ui),
        Command::Phantom(args) => phantom::run(args, ui),
        Command::Completions(args) => package::completions(args),
        Command::Man(args) => package::man(args, ui),
        Command::ModelProcess(args) => model_process::run(args, &cli.model),
    }
}

fn main() -> ExitCode {
    // Usage errors end here, with exit code 2.
    let cli = Cli::parse();
    let ui = Ui::new(cli.json);
    let with_patients = match &cli.command {
        Command::Live(_) | Command::ModelProcess(_) => true,
        #[cfg(feature = "dicom")]
        Command::Dicom(args) => args.is_node(),
        _ => false,
    };
    if with_patients {
        bedside_live::withhold_panics(bedside_live::tell);
    }
    let code = match run(&cli, ui) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure, ui);
            failure.exit().into()
        }
    };
    bedside_live::settle_notes(LAST_WORDS);
    code
}

/// Time that stderr has for what was told last.
const LAST_WORDS: Duration = Duration::from_millis(300);

fn tell(failure: &Failure, ui: Ui) {
    if !failure.is_printed() {
        ui.fail(failure);
        if ui.json() {
            // The exit code says so already; stdout may be what failed.
            let _ = ui.print_json(&json!({ "error": failure }));
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
