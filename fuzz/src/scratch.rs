//! Bytes as files: what is read by path is fuzzed by path.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

thread_local! {
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// A folder of this thread's own, gone with it.
pub(crate) fn folder() -> PathBuf {
    FOLDER.with_borrow_mut(|folder| {
        let made = folder.get_or_insert_with(|| tempfile::tempdir().expect("a folder"));
        made.path().to_owned()
    })
}

/// A folder of that name in it, filled when it is first asked for.
pub(crate) fn once(name: &str, fill: impl FnOnce(&Path)) -> PathBuf {
    let path = folder().join(name);
    if !path.exists() {
        fill(&path);
    }
    path
}

/// A file of that name in it, with these bytes.
pub(crate) fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    write(&path, bytes);
    path
}

pub(crate) fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a path in a folder")).expect("a folder");
    fs::write(path, bytes).expect("a file");
}
