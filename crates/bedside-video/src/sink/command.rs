//! A command of the user's, fed with Y4M.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bedside_core::Frame;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::sink::{Breaker, Sink, SinkError, SinkErrorKind, Y4mSink};

/// Time that a command has to end once its input has ended: it may have a long file to close.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time that it has once it closed its input itself, or was asked to end.
const GRACE: Duration = Duration::from_secs(2);
/// Time between two looks at whether it has ended.
const NAP: Duration = Duration::from_millis(10);

/// A shell command that gets Y4M on its standard input. What it prints goes to standard error.
/// Errors do not repeat it: the file that it writes may be called after a patient.
pub struct CommandSink {
    child: Child,
    group: Arc<Group>,
    /// `None` once the command's input is closed.
    video: Option<Y4mSink<ChildStdin>>,
}

impl CommandSink {
    /// Start `command` by `sh`, in a process group of its own: an interrupt from the terminal
    /// reaches us alone, and the command can close its file when its input ends.
    ///
    /// # Errors
    /// When there is no `sh`.
    pub fn start(command: &str, frames_per_second: f64) -> Result<Self, SinkError> {
        let cannot = |error: io::Error| SinkError::closed(format!("command: {error}"));
        let log = io::stderr().as_fd().try_clone_to_owned().map_err(cannot)?;
        let mut child = Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::from(log))
            .process_group(0)
            .spawn()
            .map_err(cannot)?;
        let video = child
            .stdin
            .take()
            .map(|stdin| Y4mSink::new("command", stdin, frames_per_second));
        let group = Group(Mutex::new(Some(Pid::from_child(&child))));
        Ok(Self {
            child,
            group: Arc::new(group),
            video,
        })
    }

    /// Close the command's input and wait for its end; one that takes longer than `patience` is
    /// ended.
    fn close(&mut self, patience: Duration) -> Result<(), SinkError> {
        self.video = None;
        let until = Instant::now() + patience;
        let mut asked = None;
        loop {
            match self.group.reap(&mut self.child) {
                Ok(Some(_)) if asked.is_some() => {
                    return Err(SinkError::closed(format!(
                        "command: was ended, as it went on for {} s after its input; hint: see \
                         what it said above",
                        patience.as_secs()
                    )));
                }
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(SinkError::closed(format!(
                        "command: ended with {status}; hint: see what it said above"
                    )));
                }
                Ok(None) => {}
                Err(error) => return Err(SinkError::closed(format!("command: {error}"))),
            }
            match asked {
                None if Instant::now() > until => {
                    self.group.signal(Signal::TERM);
                    asked = Some(Instant::now());
                }
                Some(since) if since.elapsed() > GRACE => self.group.signal(Signal::KILL),
                _ => {}
            }
            thread::sleep(NAP);
        }
    }
}

/// The command's process group. Its number is used as long as the command was not waited for: then
/// it can't belong to another.
struct Group(Mutex<Option<Pid>>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(group) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // It may have ended by itself.
            let _ = kill_process_group(group, signal);
        }
    }

    fn reap(&self, child: &mut Child) -> io::Result<Option<ExitStatus>> {
        let mut group = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let status = child.try_wait()?;
        if status.is_some() {
            *group = None;
        }
        Ok(status)
    }
}

impl Sink for CommandSink {
    fn write(&mut self, frame: &Frame) -> Result<(), SinkError> {
        let early = || SinkError::closed("command: takes no more frames");
        let video = self.video.as_mut().ok_or_else(early)?;
        let Err(error) = video.write(frame) else {
            return Ok(());
        };
        if error.kind() == SinkErrorKind::Frame {
            return Err(error);
        }
        self.close(GRACE).and(Err(SinkError::closed(
            "command: ended before the video did; hint: see what it said above",
        )))
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.close(PATIENCE)
    }

    fn breaker(&self) -> Option<Breaker> {
        let group = self.group.clone();
        let mut signals = [Signal::TERM].into_iter();
        Some(Box::new(move || {
            group.signal(signals.next().unwrap_or(Signal::KILL));
        }))
    }
}

impl Drop for CommandSink {
    /// A command that was not finished is not left behind.
    fn drop(&mut self) {
        self.group.signal(Signal::TERM);
    }
}
