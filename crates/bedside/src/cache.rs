//! What is kept on the device from start to start, small JSON files in one folder.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind};

/// Far more than any of the files takes.
const MAX_FILE_BYTES: u64 = 1 << 16;

/// The folder for what is learned of this device and compiled for it. All of it can be learned
/// again: a folder that is lost, or can't be written, costs time only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache(PathBuf);

impl Cache {
    /// In a folder, which is made with the first file.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The user's: `bedside` below `XDG_CACHE_HOME` or, without that, below `.cache` of `HOME`.
    /// Relative paths don't count, as the XDG Base Directory Specification has it.
    pub fn of_user() -> Option<Self> {
        let absolute = |name: &str| {
            let path = std::env::var_os(name).map(PathBuf::from);
            path.filter(|p| p.is_absolute())
        };
        let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        Some(Self(cache?.join("bedside")))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// What a file holds; `None` when there is no such file.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let path = self.0.join(name);
        let read = || {
            let file = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                opened => opened?,
            };
            let mut json = Vec::new();
            file.take(MAX_FILE_BYTES).read_to_end(&mut json)?;
            Ok::<_, io::Error>(Some(serde_json::from_slice(&json)?))
        };
        read().map_err(|error| {
            let path = path.display();
            let hint = "measure again, which writes it anew";
            let message = format!("{path} can't be used: {error}; hint: {hint}");
            Error::new(ErrorKind::Cache, message)
        })
    }

    /// Keep something; the file appears whole or not at all. -> where it is.
    pub(crate) fn write(&self, name: &str, content: &impl Serialize) -> Result<PathBuf, Error> {
        let path = self.0.join(name);
        let write = || {
            let mut json = serde_json::to_vec_pretty(content)?;
            json.push(b'\n');
            fs::create_dir_all(&self.0)?;
            let mut builder = tempfile::Builder::new();
            builder.prefix(".bedside-").suffix(".part");
            let mut temp = builder.tempfile_in(&self.0)?;
            temp.write_all(&json)?;
            temp.as_file().sync_all()?;
            temp.persist(&path)?;
            Ok::<_, io::Error>(())
        };
        write().map_err(|e| {
            let hint = "name a folder that you may write to";
            let message = format!("{} was not written: {e}; hint: {hint}", path.display());
            Error::new(ErrorKind::Cache, message)
        })?;
        Ok(path)
    }
}

/// `TOPIC-BUNDLE-BACKEND-VARIANT.json`: a newer file on the same subject replaces the older, so
/// that the folder does not grow with each update of bedside. What the name leaves out stands in
/// the file.
pub(crate) fn file_name(topic: &str, bundle: &str, backend: &str, variant: &str) -> String {
    let bundle = bundle.get(..16).unwrap_or(bundle);
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let backend: String = backend.chars().take(64).map(plain).collect();
    format!("{topic}-{bundle}-{backend}-{variant}.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_again_and_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let cache = Cache::at(temp.path().join("new/cache"));
        assert_eq!(cache.read::<u32>("a.json").unwrap(), None);
        let path = cache.write("a.json", &7).unwrap();
        assert_eq!(cache.read("a.json").unwrap(), Some(7));
        assert_eq!(cache.write("a.json", &8).unwrap(), path);
        assert_eq!(cache.read("a.json").unwrap(), Some(8));
        assert_eq!(fs::read_dir(cache.folder()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_is_reported_and_written_anew() {
        let temp = tempfile::tempdir().unwrap();
        let cache = Cache::at(temp.path());
        let path = cache.write("a.json", &[1, 2, 3]).unwrap();
        let huge = vec![b' '; MAX_FILE_BYTES as usize + 1];
        for damaged in [b"".as_slice(), b"{}", b"[1, 2", &huge] {
            fs::write(&path, damaged).unwrap();
            let error = cache.read::<Vec<u32>>("a.json").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Cache);
            let text = error.to_string();
            assert!(
                text.contains(path.to_str().unwrap()) && text.contains("hint: "),
                "{text}"
            );
        }
        cache.write("a.json", &[4]).unwrap();
        assert_eq!(cache.read("a.json").unwrap(), Some(vec![4]));
    }

    #[test]
    fn a_folder_that_can_not_be_made_is_reported() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("file"), "").unwrap();
        let cache = Cache::at(temp.path().join("file/below"));
        let error = cache.write("a.json", &1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cache);
        assert!(error.to_string().contains("hint: "), "{error}");
    }

    #[test]
    fn names_of_backends_lead_nowhere_else() {
        let name = file_name("proof", "0123456789abcdef0123", "../own backend", "f32");
        assert_eq!(name, "proof-0123456789abcdef----own-backend-f32.json");
    }
}
