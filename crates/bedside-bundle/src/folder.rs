//! Files of a folder, as parts of a bundle.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use bedside_map::Bytes;

use crate::archive::{self, MAX_PARTS};
use crate::bundle::changed;
use crate::error::{BundleError, ErrorKind};
use crate::name;

/// A file below the folder.
pub(crate) struct Found {
    /// Its path from the folder on, joined by `/`.
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// All files below `folder`, sorted by name. Links, other things than files and folders, and
/// names that no part may have are refused; links are never followed.
pub(crate) fn list(folder: &Path) -> Result<Vec<Found>, BundleError> {
    let mut found = Vec::new();
    let mut ahead: Vec<(PathBuf, String)> = vec![(folder.to_owned(), String::new())];
    while let Some((path, prefix)) = ahead.pop() {
        let listed = |e| BundleError::io("list the folder", e).at(&path);
        for entry in fs::read_dir(&path).map_err(listed)? {
            let entry = entry.map_err(listed)?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            name::check(&name)?;
            // Of the entry itself, not of what a link points to.
            let meta = entry.metadata().map_err(listed)?;
            if meta.is_dir() {
                ahead.push((entry.path(), format!("{name}/")));
            } else if meta.is_file() {
                found.push(Found {
                    name,
                    bytes: meta.len(),
                });
            } else {
                return Err(BundleError::new(
                    ErrorKind::Link,
                    "a link or another thing than a file",
                    "put the file itself there",
                )
                .in_part(&name));
            }
            if found.len() + ahead.len() > 2 * MAX_PARTS {
                return Err(BundleError::new(
                    ErrorKind::TooLarge,
                    format!("more than {MAX_PARTS} files"),
                    "give the folder of one model, with nothing else in it",
                ));
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The bytes of a file that must have at most `most`.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, BundleError> {
    let bytes = one_more(path, most)?;
    if bytes.len() as u64 > most {
        return Err(BundleError::new(
            ErrorKind::TooLarge,
            format!("more than {most} bytes"),
            "give the file that belongs there",
        ));
    }
    Ok(bytes)
}

/// The bytes of a file that must have `length`.
pub(crate) fn read_exactly(path: &Path, length: u64) -> Result<Vec<u8>, BundleError> {
    let bytes = one_more(path, length)?;
    match bytes.len() as u64 == length {
        true => Ok(bytes),
        false => Err(changed()),
    }
}

/// The bytes of a file up to one more than so many, which tells that it has more.
fn one_more(path: &Path, most: u64) -> Result<Vec<u8>, BundleError> {
    let failed = |e| BundleError::io("read the file", e);
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(failed)?
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

/// A file that must have `length` bytes, as memory.
pub(crate) fn map(path: &Path, length: u64) -> Result<Bytes, BundleError> {
    let failed = |e| BundleError::io("read the file", e);
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() != length {
        return Err(changed());
    }
    // No part has more than 4 GiB, but `usize` may be smaller.
    let length = usize::try_from(length).map_err(|_| archive::too_large())?;
    Bytes::of(&file, 0, length).map_err(failed)
}
