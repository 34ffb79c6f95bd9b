//! `bedside log`: the records of a session, as JSON lines.

use std::path::PathBuf;

use bedside_live::Reader;
use clap::Args as Arguments;

use crate::failure::{Exit, Failure};
use crate::ui::Ui;

/// Arguments of `bedside log`.
#[derive(Debug, Arguments)]
pub(crate) struct Args {
    /// A log that `bedside live --log` wrote
    log: PathBuf,
}

/// Print what can be read, whatever lies between; damage is reported and is the command's failure.
pub(crate) fn run(args: &Args, ui: Ui) -> Result<(), Failure> {
    let input =
        |e: bedside_live::Error| Failure::new(Exit::Input, e.to_string()).at(args.log.display());
    let mut reader = Reader::open(&args.log).map_err(input)?;
    let mut first = None;
    for record in reader.by_ref() {
        match record {
            Ok(record) => {
                let line = serde_json::to_string(&record)
                    .map_err(|e| Failure::new(Exit::Internal, format!("record is no JSON: {e}")))?;
                ui.print(&format!("{line}\n"))?;
            }
            Err(error) => {
                let failure = input(error);
                ui.fail(&failure);
                first.get_or_insert(failure);
            }
        }
    }
    if reader.torn() > 0 {
        ui.note(format_args!(
            "note: {} bytes of a record that was not finished stand at the end",
            reader.torn()
        ));
    }
    first.map_or(Ok(()), |failure| Err(failure.printed()))
}
