//! The one place that writes to the terminal: data on stdout, all else on stderr.

use std::fmt::Display;
use std::io::{self, Write};

use bedside_live::{harmless, tell};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::failure::{Exit, Failure};

/// Printed by every command that shows what a model found.
pub(crate) use bedside_eval::SAFETY;

/// Where a command writes, and in which form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    json: bool,
}

impl Ui {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether stdout carries one JSON document instead of tables.
    pub(crate) fn json(self) -> bool {
        self.json
    }

    /// Write data to stdout. A reader that has gone away (`| head`) had what it wanted.
    pub(crate) fn print(self, text: &str) -> Result<(), Failure> {
        self.put(&harmless(text))
    }

    fn put(self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
                Exit::Output,
                format!("could not write to standard output: {error}; hint: see where it leads"),
            )),
            _ => Ok(()),
        }
    }

    /// Write one JSON document to stdout.
    pub(crate) fn print_json(self, document: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(document)
            .map_err(|e| Failure::new(Exit::Internal, format!("result is no JSON: {e}")))?;
        self.put(&format!("{text}\n"))
    }

    /// Tell something that is no data. It goes to stderr, and a closed stderr stops nothing.
    pub(crate) fn note(self, text: impl Display) {
        tell(&format!("{}\n", harmless(&text.to_string())));
    }

    /// Show one line on a terminal in place of the last one.
    pub(crate) fn status(self, text: &str) {
        tell(&format!("\r\x1b[K{}", harmless(text)));
    }

    /// Tell of a failure.
    pub(crate) fn fail(self, failure: &Failure) {
        self.note(format_args!("error: {failure}"));
    }

    /// A progress bar of `length` steps on stderr; invisible unless that is a terminal.
    pub(crate) fn progress(self, length: u64, what: &'static str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
        let template = "{prefix} [{bar:30}] {pos}/{len}  {per_sec}  {eta} left  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(what);
        bar
    }
}
