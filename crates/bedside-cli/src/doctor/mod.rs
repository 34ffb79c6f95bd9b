//! `bedside doctor`: whether this machine will serve, and what to do where it will not.
//!
//! Each module gives [`Check`]s. What can't be read (containers often lack parts of `/sys`) is a
//! finding, never a failure of the command.

mod machine;
mod model;
mod place;

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::model::ModelArgs;
use crate::ui::Ui;

/// Arguments of `bedside doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedside doctor
  bedside doctor --records /var/lib/cart --precision int8
  bedside doctor --json

Each line is ok, a warning or a problem. The exit code is 0 when there is no problem, and 8 when
there is one. The speed is measured for about 5 seconds: stop other work first.")]
pub(crate) struct Args {
    /// Folder in which records and logs will be written
    #[arg(long, value_name = "DIR", default_value = ".")]
    records: PathBuf,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    /// The machine serves, less well than it could.
    Warning,
    /// The machine does not serve until this is mended.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    level: Level,
    finding: String,
    hint: Option<String>,
    /// The finding in figures, an object.
    facts: Value,
}

impl Check {
    /// A finding in words, which may end with `; hint: ...` as errors do, and in figures.
    fn new(name: &'static str, level: Level, text: impl fmt::Display, facts: Value) -> Self {
        let text = text.to_string();
        let (finding, hint) = match text.split_once("; hint: ") {
            Some((finding, hint)) => (finding.to_owned(), Some(hint.to_owned())),
            None => (text, None),
        };
        Self {
            name,
            level,
            finding,
            hint,
            facts,
        }
    }

    fn ok(name: &'static str, text: impl fmt::Display, facts: Value) -> Self {
        Self::new(name, Level::Ok, text, facts)
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "PROBLEM",
        };
        write!(f, "{level:<8} {:<10} {}", self.name, self.finding)?;
        match &self.hint {
            Some(hint) => write!(f, "; hint: {hint}"),
            None => Ok(()),
        }
    }
}

pub(crate) fn run(args: &Args, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    let mut checks = machine::checks();
    checks.extend(place::cameras(bedside_video::cameras()));
    checks.push(place::records(&args.records));
    checks.push(place::cache(model));
    checks.extend(model::checks(model, ui));
    let problems = checks.iter().filter(|c| c.level == Level::Problem).count();
    if ui.json() {
        ui.print_json(&json!({
            "bedside": env!("CARGO_PKG_VERSION"), "serves": problems == 0, "checks": checks,
        }))?;
    } else {
        let lines: String = checks.iter().map(|check| format!("{check}\n")).collect();
        ui.print(&lines)?;
    }
    if problems == 0 {
        ui.note("this machine will serve");
        return Ok(());
    }
    let problems = match problems {
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    };
    let message = format!("this machine will not serve: {problems}; hint: see the lines PROBLEM");
    let failure = Failure::new(Exit::Unfit, message);
    ui.fail(&failure);
    Err(failure.printed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_cut_from_an_error_and_stands_in_the_line() {
        let check = Check::new(
            "bundle",
            Level::Problem,
            "x: absent; hint: copy it",
            json!({}),
        );
        assert_eq!(check.finding, "x: absent");
        assert_eq!(check.hint.as_deref(), Some("copy it"));
        assert_eq!(
            check.to_string(),
            "PROBLEM  bundle     x: absent; hint: copy it"
        );
        let check = Check::ok("clock", "tsc", json!({}));
        assert_eq!(check.hint, None);
        assert_eq!(check.to_string(), "ok       clock      tsc");
    }
}
