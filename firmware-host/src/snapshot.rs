//! Pictures that a person keeps: as they are shown, with what was found.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bedside::Frame;
use bedside_live::record::{FrameRecord, SessionRecord};
use bedside_live::{LiveSession, Slot, Waited};
use bedside_video::sink::encode_jpeg;
use serde_json::json;

/// Time in which a running session shows a picture or says that it has none.
const PATIENCE: Duration = Duration::from_secs(2);
/// Of JPEG.
const QUALITY: u8 = 95;

/// Takes them, one at a time.
pub(crate) struct Snapshots {
    folder: PathBuf,
    most: usize,
    session: SessionRecord,
    turn: Mutex<()>,
    wanted: AtomicBool,
    taken: Slot<(Frame, FrameRecord)>,
}

impl Snapshots {
    /// Into a folder that may hold `most`; `session` says what runs.
    pub(crate) fn new(folder: PathBuf, most: usize, session: SessionRecord) -> Self {
        Self {
            folder,
            most,
            session,
            turn: Mutex::default(),
            wanted: AtomicBool::new(false),
            taken: Slot::default(),
        }
    }

    /// Hand over what is shown, where somebody waits for it. Called on the video path, which copies
    /// a picture for it then.
    pub(crate) fn offer(&self, session: &LiveSession) {
        if !self.wanted.load(Ordering::Acquire) {
            return;
        }
        if let Some(frame) = session.annotated() {
            self.wanted.store(false, Ordering::Release);
            self.taken.put((frame.clone(), session.record().clone()));
        }
    }

    /// Keep the picture that is shown now: the name of its file.
    pub(crate) fn take(&self) -> Result<String, String> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // One that came when nobody waited any more.
        self.taken.take();
        self.wanted.store(true, Ordering::Release);
        let taken = self.taken.wait(PATIENCE);
        self.wanted.store(false, Ordering::Release);
        let Waited::Value((frame, record)) = taken else {
            return Err("snapshot: no picture is shown; hint: see that video comes".to_owned());
        };
        let saved = self.save(&frame, &record);
        // Not its path, which may name a patient.
        saved.map_err(|e| {
            format!("snapshot: {e}; hint: see that its folder is there, has space and is not full")
        })
    }

    fn save(&self, frame: &Frame, record: &FrameRecord) -> io::Result<String> {
        let mut folder = DirBuilder::new();
        folder.recursive(true).mode(0o700).create(&self.folder)?;
        let mut kept = 0;
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            kept += usize::from(name.to_string_lossy().ends_with(".jpg"));
        }
        if kept >= self.most {
            let full = format!("the folder holds {kept} already, as many as it may");
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, full));
        }
        let mut picture = Vec::new();
        encode_jpeg(&mut picture, frame, QUALITY).map_err(io::Error::other)?;
        let findings = json!({ "session": self.session, "frame": record });
        // One frame may be kept twice, as it was shown without and with a mask.
        let stem = format!("{}-{}", self.session.started_unix_ms, record.frame);
        for number in 1..=self.most {
            let name = format!("{stem}-{number}.jpg");
            match self.write(&name, &picture) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                written => written?,
            }
            self.write(
                &format!("{stem}-{number}.json"),
                findings.to_string().as_bytes(),
            )?;
            return Ok(name);
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// A new file, its owner's alone, on the disk whole or not there.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.folder.join(name);
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        if written.is_err() {
            let _ = fs::remove_file(&path);
        }
        written
    }
}
