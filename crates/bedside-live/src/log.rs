//! The result log: records on disk, one behind the other, so that a kill at any moment costs at
//! most the one that is being written. `docs/result-log.md` is the format.

mod frame;
mod reader;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bedside_video::sink::keep_private;
use frame::{HEAD, MAX_PAYLOAD, PROMPTS, Piece, Pieces, SESSION};
pub(crate) use frame::{decode, encode, encode_frame};
pub use reader::Reader;

use crate::error::{Error, ErrorKind};
use crate::record::Record;

/// Opens every log: what the file is, then the format's version as a little-endian u32.
const HEADER: [u8; 16] = *b"bedside-log\n\x02\0\0\0";
/// The first version's, whose records are read and gone on with.
const HEADER_1: [u8; 16] = *b"bedside-log\n\x01\0\0\0";
const NAME: usize = 12;

/// What errors call a log. Its path may name a patient; whoever asked for one log knows it.
const TOLD: &str = "result log";

/// A result log that is open for appending. No other process can open it until this one is gone.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    length: u64,
    max_bytes: Option<u64>,
    contents: Contents,
    /// Payloads of the running session's opening and of its prompts.
    context: [Vec<u8>; 2],
    payload: Vec<u8>,
    frame: Vec<u8>,
}

/// What was in a file when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contents {
    /// Whole records.
    pub records: u64,
    /// Bytes at the end that were no whole record, and are cut off.
    pub cut: u64,
    /// Bytes between whole records that are none; they stay.
    pub damaged: u64,
    /// Where the first of these lies.
    pub first_damage: Option<u64>,
}

impl Log {
    /// The least that `max_bytes` may be: room for the longest records that open a file.
    pub const MIN_BYTES: u64 = 1 << 20;

    /// Create the log, or go on with it: its end is repaired, and [`contents`](Self::contents) says what
    /// was there.
    ///
    /// With `max_bytes` no file grows beyond that. The full one is renamed to `NAME.1`, in the
    /// place of an older one, and a new one begins with the session's opening and prompts; so at
    /// most twice as many bytes are on disk, and the oldest records go.
    ///
    /// # Errors
    /// A file that can't be written, is no result log, is of a later version, or that another
    /// process writes; `max_bytes` below [`MIN_BYTES`](Self::MIN_BYTES).
    pub fn open(path: impl Into<PathBuf>, max_bytes: Option<u64>) -> Result<Self, Error> {
        let path = path.into();
        if max_bytes.is_some_and(|most| most < Self::MIN_BYTES) {
            let message = format!(
                "{TOLD}: needs room for {} bytes; hint: raise its limit",
                Self::MIN_BYTES
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        let file = open_locked(&path, false)?;
        let mut log = Self {
            path,
            file,
            length: 0,
            max_bytes,
            contents: Contents::default(),
            context: Default::default(),
            payload: Vec::new(),
            frame: Vec::new(),
        };
        log.repair()?;
        keep_private(&log.file);
        log.sync_entry()?;
        Ok(log)
    }

    /// What was in the file when it was opened.
    pub fn contents(&self) -> Contents {
        self.contents
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Append a record: one write, after which a kill of this process can't lose it. Only
    /// [`sync`](Self::sync) also keeps it through a loss of power.
    ///
    /// # Errors
    /// When the file can't be written, say for lack of space, or the record is longer than 256
    /// KiB. The log is then as it was before.
    pub fn append(&mut self, record: &Record) -> Result<(), Error> {
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        let appended = encode(record, &mut payload)
            .map_err(|cause| {
                let message = format!("{TOLD}: no record: {cause}");
                Error::new(ErrorKind::Log, message)
            })
            .and_then(|()| self.append_payload(&payload));
        self.payload = payload;
        appended
    }

    /// Wait until everything appended is on the disk.
    ///
    /// # Errors
    /// When the system can't say so.
    pub fn sync(&self) -> Result<(), Error> {
        let synced = self.file.sync_data();
        synced.map_err(unwritable)
    }

    /// Append a record that is encoded already.
    pub(crate) fn append_payload(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.enclose(payload)?;
        let length = self.length + self.frame.len() as u64;
        if self.max_bytes.is_some_and(|most| length > most) {
            self.begin_anew()?;
            self.enclose(payload)?;
        }
        self.write()?;
        // Kept in memory, as `begin_anew` will need them.
        let place = match payload.first() {
            Some(&SESSION) => 0,
            Some(&PROMPTS) => 1,
            _ => return Ok(()),
        };
        for (i, kept) in self.context.iter_mut().enumerate().skip(place) {
            kept.clear();
            if i == place {
                kept.extend_from_slice(payload);
            }
        }
        Ok(())
    }

    /// Move the full file out of the way.
    fn begin_anew(&mut self) -> Result<(), Error> {
        self.sync()?;
        let mut older = self.path.clone().into_os_string();
        older.push(".1");
        let renamed = fs::rename(&self.path, older);
        renamed.map_err(unwritable)?;
        self.file = open_locked(&self.path, true)?;
        self.length = 0;
        self.write_header()?;
        let context = std::mem::take(&mut self.context);
        for payload in context.iter().filter(|payload| !payload.is_empty()) {
            self.enclose(payload)?;
            self.write()?;
        }
        self.context = context;
        self.sync_entry()
    }

    /// Wait until the folder on the disk names the file: what is synced is lost with its name.
    fn sync_entry(&self) -> Result<(), Error> {
        self.sync()?;
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new(".")));
        match folder.and_then(|folder| folder.sync_all()) {
            // Filesystems that can't sync a folder are used without.
            Err(cause) if cause.kind() != io::ErrorKind::InvalidInput => Err(unwritable(cause)),
            _ => Ok(()),
        }
    }

    /// See what is there, cut what is no record from its end, and see to the header.
    fn repair(&mut self) -> Result<(), Error> {
        let header = read_header(&mut self.file)?;
        let whole_header = header.length == HEADER.len() as u64;
        if whole_header {
            self.scan(header.length).map_err(unreadable)?;
        } else {
            self.contents.cut = header.length;
        }
        if self.contents.cut > 0 {
            let cut = self.file.set_len(self.length);
            cut.map_err(unwritable)?;
        }
        if !whole_header {
            return self.write_header();
        }
        if header.old {
            // Records of both versions may follow each other. One byte differs, so a kill leaves
            // the one header or the other.
            let raised = OpenOptions::new().write(true).open(&self.path);
            let raised = raised.and_then(|mut file| {
                file.seek(SeekFrom::Start(0))?;
                file.write_all(&HEADER)
            });
            raised.map_err(unwritable)?;
        }
        Ok(())
    }

    fn scan(&mut self, header: u64) -> io::Result<()> {
        let contents = &mut self.contents;
        let mut pieces = Pieces::new(&self.file, header);
        while let Some(piece) = pieces.next()? {
            let (at, bytes) = match piece {
                Piece::Whole { payload, .. } if decode(payload).is_some() => {
                    contents.records += 1;
                    continue;
                }
                Piece::Whole { at, payload } => (at, (HEAD + payload.len()) as u64),
                Piece::Damage { at, bytes } => (at, bytes),
                Piece::Tail { bytes, .. } => {
                    contents.cut = bytes;
                    continue;
                }
            };
            contents.damaged += bytes;
            contents.first_damage.get_or_insert(at);
        }
        self.length = self.file.seek(SeekFrom::End(0))? - contents.cut;
        Ok(())
    }

    fn enclose(&mut self, payload: &[u8]) -> Result<(), Error> {
        frame::enclose(payload, &mut self.frame).ok_or_else(|| {
            let message = format!(
                "{TOLD}: a record of {} bytes is longer than {MAX_PAYLOAD}; hint: ask for fewer \
                 prompts",
                payload.len()
            );
            Error::new(ErrorKind::Log, message)
        })
    }

    fn write_header(&mut self) -> Result<(), Error> {
        self.frame.clear();
        self.frame.extend_from_slice(&HEADER);
        self.write()
    }

    /// Write `frame` at once, or not at all.
    fn write(&mut self) -> Result<(), Error> {
        if let Err(cause) = self.file.write_all(&self.frame) {
            // Half a record would stand in the middle once others follow. Should the cut fail as
            // well, readers report the half as damage.
            let _ = self.file.set_len(self.length);
            return Err(unwritable(cause));
        }
        self.length += self.frame.len() as u64;
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Closing alone would not free it while a child process that is about to start shares it.
        let _ = self.file.unlock();
    }
}

fn open_locked(path: &Path, new: bool) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).create_new(new);
    // What was found in whom is for the owner alone.
    options.mode(0o600);
    let file = options.open(path).map_err(unwritable)?;
    // Filesystems without locks are used without.
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        let message =
            format!("{TOLD}: another process writes it; hint: end that one, or name another file");
        return Err(Error::new(ErrorKind::Log, message));
    }
    Ok(file)
}

/// How a file begins.
struct Header {
    /// Less than a whole header's in a file that was begun and not gone on with.
    length: u64,
    /// Whether it is of the first version.
    old: bool,
}

fn read_header(file: &mut File) -> Result<Header, Error> {
    let refused = |what: &str| {
        let message = format!("{TOLD}: {what}");
        Err(Error::new(ErrorKind::Log, message))
    };
    let regular = file.metadata().map(|data| data.is_file());
    if !regular.map_err(unreadable)? {
        return refused("no regular file; hint: name a file that is to be the log");
    }
    let mut header = Vec::new();
    file.take(HEADER.len() as u64)
        .read_to_end(&mut header)
        .map_err(unreadable)?;
    let old = header.len() > NAME && HEADER_1.starts_with(&header);
    if old || HEADER.starts_with(&header) {
        let length = header.len() as u64;
        return Ok(Header { length, old });
    }
    match header.split_at_checked(NAME) {
        Some((name, version)) if HEADER.starts_with(name) && version.len() == 4 => refused(
            "a result log of a format later than 2; hint: use the version of bedside that wrote it",
        ),
        _ => refused("no result log, left as it is; hint: name another file"),
    }
}

fn unreadable(cause: io::Error) -> Error {
    let hint = "see that it is there and may be read";
    Error::caused(ErrorKind::Log, TOLD, cause, hint)
}

fn unwritable(cause: io::Error) -> Error {
    let hint = "see that its folder may be written and has space";
    Error::caused(ErrorKind::Log, TOLD, cause, hint)
}

fn damaged(at: u64, bytes: u64) -> Error {
    let message = format!(
        "{TOLD}: {bytes} bytes from byte {at} on are no record; hint: those before and behind are \
         whole, see to the disk"
    );
    Error::new(ErrorKind::Log, message)
}
