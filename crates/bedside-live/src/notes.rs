//! What a program tells on standard error, without ever waiting for whoever reads it.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Texts that may wait to be written.
const WAITING: usize = 64;
static NOTES: OnceLock<SyncSender<Text>> = OnceLock::new();
static LOST: AtomicU64 = AtomicU64::new(0);

enum Text {
    Note(String),
    /// All before it is written.
    Last(SyncSender<()>),
}

/// Have a thread write what is told from here on, so that a terminal or a pipe that takes nothing
/// holds up nobody; what there is no room for is counted, and told once there is.
///
/// # Errors
/// When the system gives no thread.
pub fn detach_notes() -> io::Result<()> {
    let (to_write, texts) = sync_channel(WAITING);
    let thread = thread::Builder::new().name("bedside-notes".to_owned());
    thread.spawn(move || write_notes(&texts))?;
    let _ = NOTES.set(to_write);
    Ok(())
}

/// Give what was told so long to be written.
pub fn settle_notes(patience: Duration) {
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

/// Write to stderr, or have it written; a closed stderr stops nothing.
pub fn tell(text: &str) {
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

/// Time without frames from which their return is told; a damaged frame is followed by the next.
const WORTH_TELLING: Duration = Duration::from_millis(500);

/// What to tell of a source that gives errors, as [`Watcher::source`](crate::Watcher::source) hears
/// of them: each error, and after how long frames came again.
#[derive(Debug, Default)]
pub struct SourceNotes {
    failed: Option<Instant>,
}

impl SourceNotes {
    /// The note for a person, if there is something to tell.
    pub fn note(&mut self, error: Option<&str>) -> Option<String> {
        let Some(error) = error else {
            let time = self.failed.take()?.elapsed();
            let seconds = time.as_secs_f32();
            return (time >= WORTH_TELLING)
                .then(|| format!("note: frames come again, after {seconds:.1} s"));
        };
        self.failed.get_or_insert_with(Instant::now);
        Some(format!("note: {error}"))
    }
}

/// Text for a terminal: what would steer it is written as an escape. Lines and tabs stay.
pub fn harmless(text: &str) -> Cow<'_, str> {
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
    fn each_error_is_told_and_the_return_after_a_while() {
        let mut notes = SourceNotes::default();
        assert_eq!(notes.note(None), None);
        assert_eq!(notes.note(Some("gone")).unwrap(), "note: gone");
        assert_eq!(notes.note(None), None, "it was gone for a moment");
        notes.note(Some("gone"));
        notes.failed = Instant::now().checked_sub(Duration::from_secs(3));
        assert_eq!(notes.note(Some("still gone")).unwrap(), "note: still gone");
        let back = notes.note(None).unwrap();
        assert!(
            back.starts_with("note: frames come again, after 3."),
            "{back}"
        );
        assert_eq!(notes.note(None), None);
    }

    #[test]
    fn what_steers_a_terminal_is_shown_and_not_done() {
        assert_eq!(harmless("a\tb\n"), "a\tb\n");
        let text = "pol\u{1b}[2Jyp\r\u{9b}\u{7}\u{7f}\n";
        let shown = harmless(text);
        assert_eq!(shown, "pol\\u{1b}[2Jyp\\r\\u{9b}\\u{7}\\u{7f}\n");
    }
}
