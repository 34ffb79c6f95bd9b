//! Changes of a folder that are whole or not at all, in an order that a power cut keeps.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// Names that begin so are of files that were never finished.
const UNFINISHED: &str = ".unfinished-";

/// Each change is on the disk when it returns.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Tests cut the power after so many steps.
    #[cfg(test)]
    pub(crate) power: std::cell::Cell<Option<u32>>,
}

impl Disk {
    /// Somewhere between two steps the power may go.
    fn step(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(left) = self.power.get() {
            let cut = || io::Error::other("power cut");
            self.power.set(Some(left.checked_sub(1).ok_or_else(cut)?));
        }
        Ok(())
    }

    /// Put a file with these bytes in place.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.put(path, |file| file.write_all(bytes))
    }

    /// Put a copy of a file in place.
    pub(crate) fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut source = File::open(from)?;
        self.put(to, |file| io::copy(&mut source, file).map(|_| ()))
    }

    fn put(&self, path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        self.step()?;
        let mut aside = NamedTempFile::with_prefix_in(UNFINISHED, folder)?;
        fill(aside.as_file_mut())?;
        self.step()?;
        aside.as_file().sync_all()?;
        aside.persist(path).map_err(|error| error.error)?;
        self.step()?;
        sync(folder)
    }

    /// Take a file away, if it is there.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        sync(path.parent().unwrap_or(Path::new(".")))
    }

    /// Take away what a power cut left unfinished.
    pub(crate) fn tidy(&self, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Names in a folder are on the disk when the folder is.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
