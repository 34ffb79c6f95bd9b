//! Where frames go: files and other programs.

mod command;
mod jpeg;
mod y4m;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use bedside_core::Frame;

pub use command::CommandSink;
pub use jpeg::{MjpegSink, encode_jpeg};
pub use y4m::Y4mSink;

/// Where frames go.
pub trait Sink: Send {
    /// Write one frame. A file holds it, or a pipe has taken it, when this returns; a pipe that
    /// nobody empties blocks.
    ///
    /// # Errors
    /// [`SinkErrorKind::Frame`] when it is of another size or meaning than the frames before,
    /// [`SinkErrorKind::Closed`] when it can't be written.
    fn write(&mut self, frame: &Frame) -> Result<(), SinkError>;

    /// Close the file, or wait until the program at the other end is done.
    ///
    /// # Errors
    /// When what was written is not whole.
    fn finish(&mut self) -> Result<(), SinkError>;
}

/// What can be done after a [`SinkError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SinkErrorKind {
    /// The frame does not suit the ones before; another may.
    Frame,
    /// The sink can't be opened, or takes no more frames.
    Closed,
}

/// Why a frame could not be written. The text is one line: the cause and, where there is one, a
/// remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkError {
    kind: SinkErrorKind,
    message: String,
}

impl SinkError {
    /// An error of a sink's own; for sinks outside this crate too.
    pub fn new(kind: SinkErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// What can be done.
    pub fn kind(&self) -> SinkErrorKind {
        self.kind
    }

    fn closed(message: impl Into<String>) -> Self {
        Self::new(SinkErrorKind::Closed, message)
    }

    /// `name` may be told anywhere: it is no path, which may name a patient.
    fn io(name: &str, error: &io::Error) -> Self {
        Self::closed(match error.kind() {
            io::ErrorKind::BrokenPipe => format!(
                "{name}: nobody reads any more; hint: the program behind the pipe has ended, see \
                 what it said"
            ),
            io::ErrorKind::NotFound => format!("{name}: {error}; hint: make the folder first"),
            _ => format!("{name}: {error}; hint: see whether the disk is full or read-only"),
        })
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SinkError {}

/// JPEG quality of `.mjpeg` files: about a tenth of the pixels' bytes, hardly to be told apart.
const QUALITY: u8 = 90;

/// Open the sink that `spec` names: `out.y4m`, `out.mjpeg`, `-` for Y4M on standard output, or
/// `| command` for Y4M on the standard input of a shell command. `frames_per_second` is what the
/// header says.
///
/// A file is begun anew; it grows with every frame.
///
/// # Errors
/// When it is none of these, or can't be opened or started.
pub fn open_sink(spec: &str, frames_per_second: f64) -> Result<Box<dyn Sink>, SinkError> {
    if let Some(command) = spec.strip_prefix('|') {
        return Ok(Box::new(CommandSink::start(
            command.trim(),
            frames_per_second,
        )?));
    }
    let ending = spec.rsplit_once('.').map_or("", |(_, ending)| ending);
    let create = |name| File::create(spec).map_err(|error| SinkError::io(name, &error));
    match ending.to_ascii_lowercase().as_str() {
        _ if spec == "-" => {
            let name = "standard output";
            let out = io::stdout().as_fd().try_clone_to_owned();
            let out = File::from(out.map_err(|error| SinkError::io(name, &error))?);
            Ok(Box::new(Y4mSink::new(name, out, frames_per_second)))
        }
        "mjpeg" | "mjpg" => {
            let name = "MJPEG file";
            Ok(Box::new(MjpegSink::new(name, create(name)?, QUALITY)))
        }
        "y4m" => {
            let name = "Y4M file";
            Ok(Box::new(Y4mSink::new(
                name,
                create(name)?,
                frames_per_second,
            )))
        }
        _ => Err(SinkError::closed(
            "not a known kind of video; hint: NAME.y4m, NAME.mjpeg, - or '| ffmpeg -y -i - NAME'",
        )),
    }
}
