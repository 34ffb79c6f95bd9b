//! Bytes from files and pipes, without waiting for ever.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Longest wait for a sender within one call.
const PATIENCE: Duration = Duration::from_secs(1);

/// A file or pipe that is read from its beginning to its end. Reading gives
/// [`io::ErrorKind::TimedOut`] when the sender is silent for too long.
pub(crate) struct Feed {
    reader: BufReader<File>,
    /// Whether a sender at the other end sets the pace.
    live: bool,
    deadline: Instant,
}

impl Feed {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::new(File::open(path)?)
    }

    pub(crate) fn stdin() -> io::Result<Self> {
        Self::new(File::from(io::stdin().as_fd().try_clone_to_owned()?))
    }

    fn new(file: File) -> io::Result<Self> {
        let kind = file.metadata()?.file_type();
        if kind.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Self {
            live: !kind.is_file(),
            reader: BufReader::with_capacity(64 << 10, file),
            deadline: Instant::now() + PATIENCE,
        })
    }

    pub(crate) fn live(&self) -> bool {
        self.live
    }

    /// Wait for a second from now on, or for `patience`.
    pub(crate) fn wait(&mut self, patience: Option<Duration>) {
        self.deadline = Instant::now() + patience.unwrap_or(PATIENCE);
    }

    /// Append to `line` up to and with the next line feed; false when the feed ends before it.
    /// What came before a silence stays in `line`, so that a later call goes on.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for a line of more than `limit` bytes.
    pub(crate) fn line(&mut self, line: &mut Vec<u8>, limit: usize) -> io::Result<bool> {
        loop {
            let bytes = self.fill_buf()?;
            if bytes.is_empty() {
                return Ok(false);
            }
            let end = bytes.iter().position(|b| *b == b'\n');
            let taken = end.map_or(bytes.len(), |at| at + 1);
            let (head, _) = bytes.split_at(taken);
            if line.len() + taken > limit {
                return Err(io::ErrorKind::InvalidData.into());
            }
            line.extend_from_slice(head);
            self.consume(taken);
            if end.is_some() {
                return Ok(true);
            }
        }
    }

    fn await_bytes(&self) -> io::Result<()> {
        if !self.live || !self.reader.buffer().is_empty() {
            return Ok(());
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut ready = [PollFd::new(self.reader.get_ref(), PollFlags::IN)];
        match poll(&mut ready, Some(&timeout)) {
            // A signal ends the wait too: the caller may have been asked to stop.
            Ok(0) | Err(rustix::io::Errno::INTR) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Read for Feed {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.await_bytes()?;
        self.reader.read(to)
    }
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.await_bytes()?;
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.reader.consume(amount);
    }
}

/// A known number of bytes on their way in; what came before a silence is kept.
#[derive(Default)]
pub(crate) struct Parcel {
    bytes: Vec<u8>,
    filled: usize,
}

/// How a [`Parcel`] ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// All bytes are there.
    Whole(Vec<u8>),
    /// The feed ended within them.
    Cut,
    /// The feed ended before them.
    End,
}

impl Parcel {
    /// Read on until `length` bytes are there, in `buffer`'s memory unless some came already.
    pub(crate) fn receive(
        &mut self,
        feed: &mut impl Read,
        length: usize,
        buffer: Vec<u8>,
    ) -> io::Result<Arrival> {
        if self.filled == 0 {
            self.bytes = buffer;
        }
        self.bytes.resize(length, 0);
        while let Some(rest @ [_, ..]) = self.bytes.get_mut(self.filled..) {
            match feed.read(rest) {
                Ok(0) if self.filled == 0 => return Ok(Arrival::End),
                Ok(0) => return Ok(Arrival::Cut),
                Ok(n) => self.filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.filled = 0;
        Ok(Arrival::Whole(std::mem::take(&mut self.bytes)))
    }
}
