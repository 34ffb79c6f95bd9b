//! The one place that writes to the terminal: data on stdout, all else on stderr.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

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

    /// Have a thread write what is told from here on, so that a terminal or a pipe that takes
    /// nothing holds up nobody; what there is no room for is counted, and told once there is.
    pub(crate) fn detach(self) -> io::Result<()> {
        let (to_write, texts) = sync_channel(WAITING);
        let thread = thread::Builder::new().name("bedside-notes".to_owned());
        thread.spawn(move || write_notes(&texts))?;
        let _ = NOTES.set(to_write);
        Ok(())
    }

    /// Give what was told so long to be written.
    pub(crate) fn settle(self, patience: Duration) {
        let Some(notes) = NOTES.get() else { return };
        let until = Instant::now() + patience;
        let (written, wait) = sync_channel(1);
        let mut last = Text::Last(written);
        while let Err(TrySendError::Full(back)) = notes.try_send(last) {
            if Instant::now() > until {
                return;
            }
            last = back;
            thread::sleep(Duration::from_millis(10));
        }
        let _ = wait.recv_timeout(until.saturating_duration_since(Instant::now()));
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

/// Texts that may wait to be written.
const WAITING: usize = 64;
static NOTES: OnceLock<SyncSender<Text>> = OnceLock::new();
static LOST: AtomicU64 = AtomicU64::new(0);

enum Text {
    Note(String),
    /// All before it is written.
    Last(SyncSender<()>),
}

/// Write to stderr, or have it written; a closed stderr stops nothing.
pub(crate) fn tell(text: &str) {
    match NOTES.get() {
        Some(notes) => {
            if notes.try_send(Text::Note(text.to_owned())).is_err() {
                LOST.fetch_add(1, Ordering::Relaxed);
            }
        }
        None => {
            let _ = io::stderr().lock().write_all(text.as_bytes());
        }
    }
}

fn write_notes(texts: &Receiver<Text>) {
    let mut err = io::stderr();
    for text in texts {
        let lost = LOST.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(err, "note: {lost} notes before this were lost");
        }
        match text {
            Text::Note(text) => {
                let _ = err.write_all(text.as_bytes());
            }
            Text::Last(written) => {
                let _ = written.try_send(());
            }
        }
    }
}

/// Text for a terminal: what would steer it is written as an escape. Lines and tabs stay.
fn harmless(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_and_not_done() {
        assert_eq!(harmless("a\tb\n"), "a\tb\n");
        let text = "pol\u{1b}[2Jyp\r\u{9b}\u{7}\u{7f}\n";
        let shown = harmless(text);
        assert_eq!(shown, "pol\\u{1b}[2Jyp\\r\\u{9b}\\u{7}\\u{7f}\n");
    }
}
