//! `bedside tune`: which precision is fastest here, for `--precision auto`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bedside::{MonotonicClock, Outcome, Tuning};
use clap::Args as ClapArgs;
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::model::ModelArgs;
use crate::table::Table;
use crate::ui::Ui;

/// Arguments of `bedside tune`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  bedside tune
  bedside segment colon.png --prompt polyp --precision auto

Runs the self-tests of every precision in the bundle, times those that pass, and keeps the result
for this machine, backend and number of threads. Stop other work first. Tune again after an update
of bedside or of the bundle.")]
pub(crate) struct Args {
    /// File or folder; without it, the bundle that other commands would use
    #[arg(value_name = "BUNDLE")]
    path: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    if model.precision.is_some() {
        let message = "tune tries every precision; hint: leave --precision out";
        return Err(Failure::new(Exit::Usage, message));
    }
    let bundle = model.bundle(args.path.as_ref())?;
    let options = model.given();
    let backend = options.backend()?;
    let tuning = bedside::tune(&bundle, backend, &options, &MonotonicClock::new());
    let stored = model.cache().and_then(|cache| Ok(cache.store(&tuning)?));
    if ui.json() {
        ui.print_json(&json!({
            "tuning": tuning, "fastest": tuning.fastest(), "file": stored.as_ref().ok(),
        }))?;
    } else {
        ui.print(&format!("{}\n\n{}", chosen(&tuning), table(&tuning)))?;
    }
    if let Ok(path) = &stored {
        ui.note(format_args!("wrote {}", path.display()));
    }
    if tuning.fastest().is_none() {
        return Err(none_passes());
    }
    stored.map(|_| ())
}

/// What `--precision auto` will run, in one line.
pub(crate) fn chosen(tuning: &Tuning) -> String {
    let key = &tuning.key;
    let fastest = tuning.fastest();
    format!(
        "{} on {} with {} threads, measured {} ago",
        fastest.map_or_else(|| "none passes".to_owned(), |p| p.to_string()),
        key.backend,
        key.threads,
        age(UNIX_EPOCH + Duration::from_secs(tuning.measured_unix_s))
    )
}

/// The time since then in its largest unit.
fn age(then: SystemTime) -> String {
    // A clock that was set back since makes it new.
    let seconds = then.elapsed().unwrap_or_default().as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Every precision with its time, or why it must not run.
pub(crate) fn table(tuning: &Tuning) -> Table {
    let mut table = Table::new(["precision", ">ms", "self-tests"]);
    for tried in &tuning.precisions {
        let (ms, result) = match &tried.outcome {
            Outcome::Milliseconds(ms) => (format!("{ms:.1}"), "passed".to_owned()),
            Outcome::Failed(why) => ("-".to_owned(), format!("FAILED: {why}")),
        };
        table.row([tried.precision.to_string(), ms, result]);
    }
    table
}

pub(crate) fn none_passes() -> Failure {
    Failure::new(
        Exit::Engine,
        "no precision of the bundle passes its self-tests on this machine; hint: `bedside verify` \
         shows them; paint none of its masks here",
    )
}
