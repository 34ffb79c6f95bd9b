//! Where frames go: files and other programs.

mod bounded;
mod command;
mod jpeg;
mod y4m;

use std::fmt;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use bedside_core::Frame;

pub use bounded::Bounded;
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
    /// [`SinkErrorKind::Away`] when there is nothing to show it on at present,
    /// [`SinkErrorKind::Closed`] when it can't be written.
    fn write(&mut self, frame: &Frame) -> Result<(), SinkError>;

    /// Close the file, or wait until the program at the other end is done.
    ///
    /// # Errors
    /// When what was written is not whole.
    fn finish(&mut self) -> Result<(), SinkError>;

    /// What makes a [`write`](Self::write) or [`finish`](Self::finish) that does not come back do
    /// so, from another thread; `None` where nothing can.
    fn breaker(&self) -> Option<Breaker> {
        None
    }
}

/// Breaks a sink off; a second call does so by force.
pub type Breaker = Box<dyn FnMut() + Send>;

/// What can be done after a [`SinkError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SinkErrorKind {
    /// The frame does not suit the ones before; another may.
    Frame,
    /// Where frames go is away at present, such as a display that is unplugged; a later frame may find
    /// it again, and then nothing is lost.
    Away,
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
            io::ErrorKind::AlreadyExists => format!(
                "{name}: is there already and left as it is; hint: name another one, or say \
                 --overwrite"
            ),
            io::ErrorKind::FileTooLarge => format!(
                "{name}: has reached the size that it may have; hint: raise the limit, or record \
                 to a command that compresses"
            ),
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

/// How [`open_sink`] and [`create`] write files.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SinkOptions {
    /// What the header of a video says.
    pub frames_per_second: f64,
    /// Replace a file that is there and holds something; else it is refused.
    pub overwrite: bool,
    /// Bytes after which a file takes no more.
    pub max_bytes: u64,
}

impl Default for SinkOptions {
    /// 25 frames a second, nothing overwritten, no limit.
    fn default() -> Self {
        Self {
            frames_per_second: 25.0,
            overwrite: false,
            max_bytes: u64::MAX,
        }
    }
}

/// Open the sink that `spec` names: `out.y4m`, `out.mjpeg`, `-` for Y4M on standard output, or
/// `| command` for Y4M on the standard input of a shell command. Files are begun as
/// [`create`] says; they grow with every frame.
///
/// # Errors
/// When it is none of these, or can't be opened or started.
pub fn open_sink(spec: &str, options: &SinkOptions) -> Result<Box<dyn Sink>, SinkError> {
    let rate = options.frames_per_second;
    if let Some(command) = spec.strip_prefix('|') {
        return Ok(Box::new(CommandSink::start(command.trim(), rate)?));
    }
    let ending = spec.rsplit_once('.').map_or("", |(_, ending)| ending);
    let file = |name| {
        let created = create(Path::new(spec), options);
        created.map_err(|error| SinkError::io(name, &error))
    };
    match ending.to_ascii_lowercase().as_str() {
        _ if spec == "-" => {
            let name = "standard output";
            let out = stdout(options.max_bytes).map_err(|error| SinkError::io(name, &error))?;
            Ok(Box::new(Y4mSink::new(name, out, rate)))
        }
        "mjpeg" | "mjpg" => {
            let name = "MJPEG file";
            Ok(Box::new(MjpegSink::new(name, file(name)?, QUALITY)))
        }
        "y4m" => {
            let name = "Y4M file";
            Ok(Box::new(Y4mSink::new(name, file(name)?, rate)))
        }
        _ => Err(SinkError::closed(
            "not a known kind of video; hint: NAME.y4m, NAME.mjpeg, - or '| ffmpeg -y -i - NAME'",
        )),
    }
}

/// Standard output, which takes no more than `max_bytes` where it is a file.
///
/// # Errors
/// Whatever the system says.
pub fn stdout(max_bytes: u64) -> io::Result<Bounded<File>> {
    let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let most = match out.metadata()?.is_file() {
        true => max_bytes,
        false => u64::MAX,
    };
    Ok(Bounded::new(out, most))
}

/// Let nobody but its owner read a file that was there before.
pub fn keep_private(file: &File) {
    // Somebody else's file, and one on a disk without permissions, stays as it is.
    let _ = file.set_permissions(Permissions::from_mode(0o600));
}

/// Begin a file that only its owner may read. Devices and named pipes are written as they are.
///
/// # Errors
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists) for a file that holds something, unless it may
/// be overwritten; whatever the system says.
pub fn create(path: &Path, options: &SinkOptions) -> io::Result<Bounded<File>> {
    let mut open = OpenOptions::new();
    open.write(true).create(true).mode(0o600);
    let file = open.open(path)?;
    let there = file.metadata()?;
    if there.is_file() {
        if there.len() > 0 {
            if !options.overwrite {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            file.set_len(0)?;
        }
        keep_private(&file);
    }
    Ok(Bounded::new(file, options.max_bytes))
}
