//! A command of the user's, fed with Y4M.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use bedside_core::Frame;

use crate::sink::{Sink, SinkError, SinkErrorKind, Y4mSink};

/// A shell command that gets Y4M on its standard input. What it prints goes to standard error.
/// Errors do not repeat it: the file that it writes may be called after a patient.
pub struct CommandSink {
    child: Child,
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
        Ok(Self { child, video })
    }

    /// Close the command's input and wait for its end.
    fn close(&mut self) -> Result<(), SinkError> {
        self.video = None;
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(SinkError::closed(format!(
                "command: ended with {status}; hint: see what it said above"
            ))),
            Err(error) => Err(SinkError::closed(format!("command: {error}"))),
        }
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
        self.close().and(Err(SinkError::closed(
            "command: ended before the video did; hint: see what it said above",
        )))
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.close()
    }
}
