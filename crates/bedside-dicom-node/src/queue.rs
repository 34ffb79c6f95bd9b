//! Objects on the disk: each a folder, which a rename moves from one place to the next.

use std::fmt;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::error::{self, Error};

/// The object as it was received, in its folder.
const IMAGE: &str = "image.dcm";
/// How often it was begun to work on it, while that has no end.
const TRIES: &str = "tries";
/// Why it was put aside.
const REASON: &str = "reason.txt";
/// Where objects are until all of them is there.
const INCOMING: &str = "incoming";
/// Most bytes of a number or reason.
const MAX_NOTE: u64 = 4096;

/// Where an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Received and acknowledged, to be worked on.
    Received,
    /// What was made of it is to be sent.
    Outbox,
    /// Put aside with the reason.
    Dead,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Received, Self::Outbox, Self::Dead];

    const fn folder(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Outbox => "outbox",
            Self::Dead => "dead",
        }
    }
}

/// What an object is called in the queue and in the log: a hash of its SOP Instance UID, which by
/// itself tells of nobody.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// The name of the object with that SOP Instance UID.
    pub fn of(uid: &str) -> Self {
        let hash = Sha256::digest(uid.as_bytes());
        Self(hash.iter().take(16).map(|b| format!("{b:02x}")).collect())
    }

    fn read(name: &str) -> Option<Self> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (name.len() == 32 && name.bytes().all(hex)).then(|| Self(name.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What lies in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Objects to be worked on.
    pub received: usize,
    /// Objects of which something is to be sent.
    pub outbox: usize,
    /// Objects that were put aside, each with the reason.
    pub dead: Vec<(Name, String)>,
}

/// A queue in a folder, which is one program's at a time.
#[derive(Debug)]
pub struct Queue {
    folder: PathBuf,
    /// Locked as long as the queue is open; the system lets go of it however the program ends.
    _lock: File,
}

/// An object that is being received. Dropped before it is [accepted](Queue::accept), it is gone.
#[derive(Debug)]
pub struct Incoming {
    folder: TempDir,
    file: BufWriter<File>,
}

impl Write for Incoming {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Queue {
    /// Open the queue in a folder, which is made where there is none. What was being received when
    /// the last program ended was not acknowledged, and is taken away.
    ///
    /// # Errors
    /// [`ErrorKind::Folder`](error::ErrorKind::Folder) where the folder can't be made or written to,
    /// or another node has it.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let refuse = |why: String| {
            let message = format!("{}: {why}", folder.display());
            Error::new(error::ErrorKind::Folder, message)
        };
        let failed = |e: io::Error| refuse(format!("{e}; hint: name a folder to write to"));
        let lock = (|| {
            // Patients' pictures are nobody else's.
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700).create(folder)?;
            File::create(folder.join("lock"))
        })();
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let why = "another node has this folder; hint: end that one, or name another";
                return Err(refuse(why.to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let queue = Self {
            folder: folder.to_owned(),
            _lock: lock,
        };
        queue.prepare().map_err(failed)?;
        Ok(queue)
    }

    fn prepare(&self) -> io::Result<()> {
        let incoming = self.folder.join(INCOMING);
        match fs::remove_dir_all(&incoming) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir(incoming)?;
        for stage in Stage::ALL {
            fs::create_dir_all(self.folder.join(stage.folder()))?;
        }
        sync(&self.folder)
    }

    /// Bytes that the disk has room for.
    ///
    /// # Errors
    /// The system's.
    pub fn free(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.folder)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Begin to receive an object.
    ///
    /// # Errors
    /// The system's, such as a full disk.
    pub fn begin(&self) -> io::Result<Incoming> {
        let folder = tempfile::tempdir_in(self.folder.join(INCOMING))?;
        let file = BufWriter::new(File::create(folder.path().join(IMAGE))?);
        Ok(Incoming { folder, file })
    }

    /// Take in an object that is whole: once this returns, it is on the disk and can be
    /// acknowledged. Says whether it is new; one that waits already, to be worked on or to be sent,
    /// is not taken twice.
    ///
    /// # Errors
    /// The system's, such as a full disk: the object is gone then.
    pub fn accept(&self, mut incoming: Incoming, name: &Name) -> io::Result<bool> {
        incoming.file.flush()?;
        incoming.file.get_ref().sync_all()?;
        sync(incoming.folder.path())?;
        if self.path(Stage::Outbox, name).exists() {
            return Ok(false);
        }
        match fs::rename(incoming.folder.path(), self.path(Stage::Received, name)) {
            Ok(()) => {}
            Err(error) if is_there(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        // It has another name now, and is not to be taken away.
        let _ = incoming.folder.keep();
        sync(&self.folder.join(Stage::Received.folder()))?;
        Ok(true)
    }

    /// All objects at a stage.
    ///
    /// # Errors
    /// The system's.
    pub fn list(&self, stage: Stage) -> io::Result<Vec<Name>> {
        list(&self.folder, stage)
    }

    /// The object as it was received.
    pub fn image(&self, stage: Stage, name: &Name) -> PathBuf {
        self.path(stage, name).join(IMAGE)
    }

    /// What was made of an object, in the order in which it is to be sent.
    ///
    /// # Errors
    /// The system's.
    pub fn made(&self, name: &Name) -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(self.path(Stage::Outbox, name))?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let object = path.extension().is_some_and(|ending| ending == "dcm");
            if object && !path.ends_with(IMAGE) {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// Note that it is begun to work on an object; says how often that was before without an end.
    ///
    /// # Errors
    /// The system's.
    pub fn begin_work(&self, name: &Name) -> io::Result<u32> {
        let path = self.path(Stage::Received, name).join(TRIES);
        let before = note(&path).parse().unwrap_or(0);
        fs::write(path, format!("{}", before + 1))?;
        Ok(before)
    }

    /// Note that the work on an object is over, whatever came of it.
    ///
    /// # Errors
    /// The system's.
    pub fn end_work(&self, name: &Name) -> io::Result<()> {
        fs::remove_file(self.path(Stage::Received, name).join(TRIES))
    }

    /// Put what was made of an object into the outbox: all of it or nothing.
    ///
    /// # Errors
    /// The system's, such as a full disk: the object is still to be worked on then.
    pub fn put(&self, name: &Name, objects: &[Vec<u8>]) -> io::Result<()> {
        let folder = self.path(Stage::Received, name);
        for (number, bytes) in (1..).zip(objects) {
            let mut file = File::create(folder.join(format!("made-{number:03}.dcm")))?;
            file.write_all(bytes)?;
            file.sync_all()?;
        }
        match self.rename(name, Stage::Received, Stage::Outbox) {
            // Received again while it was made: this is the same.
            Err(error) if is_there(&error) => self.remove(Stage::Received, name),
            other => other,
        }
    }

    /// Put an object aside, with the reason beside it. Moved back to where it was, it is tried anew.
    ///
    /// # Errors
    /// The system's: the object is where it was then.
    pub fn bury(&self, stage: Stage, name: &Name, reason: &str) -> io::Result<()> {
        let folder = self.path(stage, name);
        let mut file = File::create(folder.join(REASON))?;
        writeln!(file, "{}", bedside_core::text::one_line(reason))?;
        file.sync_all()?;
        match self.rename(name, stage, Stage::Dead) {
            // The same object was put aside before; this is the newer reason.
            Err(error) if is_there(&error) => {
                self.remove(Stage::Dead, name)?;
                self.rename(name, stage, Stage::Dead)
            }
            other => other,
        }
    }

    /// An object that nothing more is to be done with.
    ///
    /// # Errors
    /// The system's.
    pub fn remove(&self, stage: Stage, name: &Name) -> io::Result<()> {
        fs::remove_dir_all(self.path(stage, name))
    }

    fn rename(&self, name: &Name, from: Stage, to: Stage) -> io::Result<()> {
        sync(&self.path(from, name))?;
        fs::rename(self.path(from, name), self.path(to, name))?;
        sync(&self.folder.join(to.folder()))
    }

    fn path(&self, stage: Stage, name: &Name) -> PathBuf {
        self.folder.join(stage.folder()).join(&name.0)
    }
}

impl Status {
    /// What lies in the queue in that folder, whether a node has it or not.
    ///
    /// # Errors
    /// [`ErrorKind::Folder`](error::ErrorKind::Folder) where there is no queue.
    pub fn of(folder: &Path) -> Result<Self, Error> {
        let names = |stage| {
            list(folder, stage).map_err(|e| {
                let message = format!("{}: {e}; hint: is a node set up there?", folder.display());
                Error::new(error::ErrorKind::Folder, message)
            })
        };
        let reason = |name: Name| {
            let path = folder.join(Stage::Dead.folder()).join(&name.0).join(REASON);
            let reason = note(&path);
            (name, reason)
        };
        Ok(Self {
            received: names(Stage::Received)?.len(),
            outbox: names(Stage::Outbox)?.len(),
            dead: names(Stage::Dead)?.into_iter().map(reason).collect(),
        })
    }
}

/// Names of objects, in order; what else lies there is somebody else's.
fn list(folder: &Path, stage: Stage) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.join(stage.folder()))? {
        names.extend(entry?.file_name().to_str().and_then(Name::read));
    }
    names.sort();
    Ok(names)
}

/// A short text that was noted; empty where there is none.
fn note(path: &Path) -> String {
    let mut bytes = Vec::new();
    let file = File::open(path);
    let _ = file
        .and_then(|file| io::Read::read_to_end(&mut io::Read::take(file, MAX_NOTE), &mut bytes));
    bedside_core::text::one_line(&String::from_utf8_lossy(&bytes))
}

/// Whether a folder has that name already.
fn is_there(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
    )
}

/// Names in a folder are on the disk when the folder is.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(queue: &Queue, uid: &str, bytes: &[u8]) -> (Name, bool) {
        let name = Name::of(uid);
        let mut incoming = queue.begin().unwrap();
        incoming.write_all(bytes).unwrap();
        let new = queue.accept(incoming, &name).unwrap();
        (name, new)
    }

    #[test]
    fn an_object_is_in_one_place_from_beginning_to_end() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(folder.path()).unwrap();
        let (name, new) = filled(&queue, "1.2", b"image");
        assert!(new);
        assert_eq!(
            queue.list(Stage::Received).unwrap().as_slice(),
            std::slice::from_ref(&name)
        );
        assert_eq!(
            fs::read(queue.image(Stage::Received, &name)).unwrap(),
            b"image"
        );
        assert_eq!(
            (
                queue.begin_work(&name).unwrap(),
                queue.begin_work(&name).unwrap()
            ),
            (0, 1)
        );
        queue.end_work(&name).unwrap();
        assert_eq!(queue.begin_work(&name).unwrap(), 0);
        queue.end_work(&name).unwrap();
        queue
            .put(&name, &[b"masks".to_vec(), b"report".to_vec()])
            .unwrap();
        assert!(queue.list(Stage::Received).unwrap().is_empty());
        let made = queue.made(&name).unwrap();
        let made: Vec<_> = made.iter().map(|path| fs::read(path).unwrap()).collect();
        assert_eq!(made, [b"masks".to_vec(), b"report".to_vec()]);
        queue.remove(Stage::Outbox, &name).unwrap();
        assert!(queue.list(Stage::Outbox).unwrap().is_empty());
    }

    #[test]
    fn the_same_object_is_one_piece_of_work() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(folder.path()).unwrap();
        let (name, _) = filled(&queue, "1.2", b"first");
        assert!(!filled(&queue, "1.2", b"second").1);
        assert_eq!(
            fs::read(queue.image(Stage::Received, &name)).unwrap(),
            b"first"
        );
        queue.put(&name, &[b"masks".to_vec()]).unwrap();
        assert!(!filled(&queue, "1.2", b"third").1);
        assert!(queue.list(Stage::Received).unwrap().is_empty());
        // Put aside, it is worth another try.
        queue.bury(Stage::Outbox, &name, "refused").unwrap();
        assert!(filled(&queue, "1.2", b"fourth").1);
        queue
            .bury(Stage::Received, &name, "again\nrefused")
            .unwrap();
        drop(queue);
        let status = Status::of(folder.path()).unwrap();
        assert_eq!(status.dead, [(name, "again refused".to_owned())]);
    }

    /// Sending was over, but not taken note of, when the same object was worked on once more.
    #[test]
    fn what_waits_to_be_sent_is_not_made_twice() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(folder.path()).unwrap();
        let (name, _) = filled(&queue, "1.2", b"image");
        let outbox = folder.path().join("outbox").join(name.to_string());
        fs::create_dir(&outbox).unwrap();
        fs::write(outbox.join("made-001.dcm"), "masks").unwrap();
        queue.put(&name, &[b"the same".to_vec()]).unwrap();
        assert_eq!(fs::read(&queue.made(&name).unwrap()[0]).unwrap(), b"masks");
        assert!(queue.list(Stage::Received).unwrap().is_empty());
    }

    #[test]
    fn what_was_not_acknowledged_is_gone_and_all_else_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(folder.path()).unwrap();
        assert!(Queue::open(folder.path()).is_err(), "one program at a time");
        let (name, _) = filled(&queue, "1.2", b"image");
        // As a program that was killed leaves it.
        let mut torn = queue.begin().unwrap();
        torn.write_all(b"half").unwrap();
        torn.flush().unwrap();
        let left = torn.folder.keep();
        fs::create_dir(folder.path().join("received/ZZPATIENTZZ")).unwrap();
        drop(queue);
        let queue = Queue::open(folder.path()).unwrap();
        assert!(!left.exists());
        assert_eq!(queue.list(Stage::Received).unwrap(), [name]);
    }

    #[test]
    fn nobody_else_may_look() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/queue");
        let _queue = Queue::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
    }
}
