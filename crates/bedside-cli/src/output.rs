//! Files out: all of a set or none, never half of one.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::failure::{Exit, Failure};

/// A folder that results go to. It is made with the first file.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

/// A file to be: its name inside the folder, with `/` between parts, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewFile {
    pub name: String,
    pub bytes: Vec<u8>,
}

impl Folder {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Write a set of files. A file of the same name is replaced. Returns the paths in order.
    ///
    /// On failure ([`Exit::Output`]) nothing of the set is left, nor a folder made for it.
    pub(crate) fn write(&self, files: &[NewFile]) -> Result<Vec<PathBuf>, Failure> {
        let mut writing = self.begin();
        let paths = writing.write(files)?;
        writing.keep();
        Ok(paths)
    }

    /// Start a set that is too large to hold in memory.
    pub(crate) fn begin(&self) -> Writing<'_> {
        Writing {
            folder: &self.0,
            made: Made::default(),
        }
    }

    /// Refuse a folder that holds anything, so that old and new can't be mixed up.
    pub(crate) fn check_empty(&self) -> Result<(), Failure> {
        match fs::read_dir(&self.0).map(|mut entries| entries.next().is_none()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::new(
                Exit::Output,
                format!("{} is not empty; hint: name a new folder", self.0.display()),
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(cannot(&self.0, &error)),
        }
    }
}

/// A set of files in the making. Dropped before [`keep`](Self::keep), it takes all of them away
/// again, with the folders made for them.
#[derive(Debug)]
pub(crate) struct Writing<'a> {
    folder: &'a Path,
    made: Made,
}

impl Writing<'_> {
    /// Write some files of the set: each under another name first, and renamed when all of them
    /// are on the disk. Returns the paths in order.
    pub(crate) fn write(&mut self, files: &[NewFile]) -> Result<Vec<PathBuf>, Failure> {
        let mut staged = Vec::with_capacity(files.len());
        for file in files {
            let target = self.folder.join(&file.name);
            let temp = stage(&target, &file.bytes, &mut self.made);
            staged.push((temp.map_err(|e| cannot(&target, &e))?, target));
        }
        let mut paths = Vec::with_capacity(staged.len());
        for (temp, target) in staged {
            temp.persist(&target)
                .map_err(|e| cannot(&target, &e.error))?;
            self.made.files.push(target.clone());
            paths.push(target);
        }
        Ok(paths)
    }

    /// The set is whole.
    pub(crate) fn keep(mut self) {
        self.made = Made::default();
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        std::mem::take(&mut self.made).undo();
    }
}

/// Write one file at a path of the user's choice, or nothing.
///
/// On failure ([`Exit::Output`]) no file is left.
pub(crate) fn write_file(path: &Path, bytes: Vec<u8>) -> Result<(), Failure> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(Failure::new(
            Exit::Output,
            format!(
                "{} names no file; hint: end it with a file's name",
                path.display()
            ),
        ));
    };
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    Folder::new(folder)
        .write(&[NewFile {
            name: name.to_owned(),
            bytes,
        }])
        .map(|_| ())
}

/// What has come into being so far.
#[derive(Debug, Default)]
struct Made {
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Made {
    /// Remove it again. What can't be removed is left: the first failure is the one to tell.
    fn undo(self) {
        for file in self.files {
            let _ = fs::remove_file(file);
        }
        for folder in self.folders.into_iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }

    /// Make a folder and those above it.
    fn folder(&mut self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.folder(parent)?;
        }
        match fs::create_dir(path) {
            // Another set, of an image beside this one, made it just now.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(e) => Err(e),
            Ok(()) => {
                self.folders.push(path.to_owned());
                Ok(())
            }
        }
    }
}

/// The bytes on the disk, beside the target, under a name that vanishes unless kept.
fn stage(target: &Path, bytes: &[u8], made: &mut Made) -> io::Result<NamedTempFile> {
    if target.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "a folder of that name is there",
        ));
    }
    let folder = target.parent().unwrap_or(Path::new("."));
    made.folder(folder)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".bedside-").suffix(".part");
    // Results are for others to read too, as far as the umask lets them.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut temp = builder.tempfile_in(folder)?;
    temp.write_all(bytes)?;
    temp.as_file().sync_all()?;
    Ok(temp)
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "free some space or choose another folder"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "choose a folder that you may write to"
        }
        io::ErrorKind::IsADirectory => "move that folder away or choose another one",
        _ => "check the output folder",
    };
    Failure::new(
        Exit::Output,
        format!("{} was not written: {error}; hint: {hint}", path.display()),
    )
}

/// Distinct, plain file name stems for inputs, in the order they come.
#[derive(Debug, Default)]
pub(crate) struct Stems(HashSet<String>);

impl Stems {
    /// The stem for an input: its file name without ending, of plain characters, with a number
    /// where another input took it (letter case does not tell two files apart everywhere).
    pub(crate) fn next(&mut self, input: &Path) -> String {
        self.unique(
            &input
                .file_stem()
                .map(|s| s.to_string_lossy())
                .unwrap_or_default(),
        )
    }

    /// The text as a [`plain_name`], with a number where it was taken.
    pub(crate) fn unique(&mut self, text: &str) -> String {
        let plain = plain_name(text);
        let mut stem = plain.clone();
        let mut number = 2_u64;
        while !self.0.insert(stem.to_lowercase()) {
            stem = format!("{plain}-{number}");
            number += 1;
        }
        stem
    }
}

/// Text as a part of a file name: letters, digits, `.`, `_` and `-` stay, the rest becomes `_`.
fn plain_name(text: &str) -> String {
    let plain = |c: char| {
        if c.is_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '_'
        }
    };
    // No name starts with a dot (hidden) or a dash (an option to other commands), and all leave
    // room for endings under the usual limit of 255 bytes.
    let mut name: String = text.chars().map(plain).collect();
    name = name.trim_start_matches(['.', '-']).to_owned();
    while name.len() > 160 {
        name.pop();
    }
    if name.is_empty() {
        "image".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(name: &str, bytes: &[u8]) -> NewFile {
        NewFile {
            name: name.to_owned(),
            bytes: bytes.to_owned(),
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Images are answered side by side, and the first of them make the folder.
    #[test]
    fn sets_at_the_same_time_share_a_new_folder() {
        let temp = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let out = Folder::new(temp.path().join(format!("{round}/a/b")));
            let begin = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                for name in ["1", "2", "3", "4"] {
                    let (out, begin) = (&out, &begin);
                    scope.spawn(move || {
                        begin.wait();
                        out.write(&[file(name, b"x")]).unwrap();
                    });
                }
            });
            assert_eq!(names(&out.0), ["1", "2", "3", "4"]);
        }
    }

    #[test]
    fn a_set_is_written_and_replaces_what_was_there() {
        let temp = tempfile::tempdir().unwrap();
        let out = Folder::new(temp.path().join("new/out"));
        out.write(&[file("a.png", b"1"), file("masks/b.png", b"2")])
            .unwrap();
        out.write(&[file("a.png", b"3")]).unwrap();
        let out = temp.path().join("new/out");
        assert_eq!(fs::read(out.join("a.png")).unwrap(), b"3");
        assert_eq!(fs::read(out.join("masks/b.png")).unwrap(), b"2");
        assert_eq!(names(&out), ["a.png", "masks"]);
    }

    /// The second file can't be written, for a folder has its name.
    #[test]
    fn a_set_that_fails_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("b.png")).unwrap();
        let files = [
            file("a.png", b"1"),
            file("b.png", b"2"),
            file("new/c.png", b"3"),
        ];
        let failure = Folder::new(temp.path()).write(&files).unwrap_err();
        assert_eq!(failure.exit(), Exit::Output);
        assert!(failure.to_string().contains("b.png") && failure.to_string().contains("hint:"));
        assert_eq!(names(temp.path()), ["b.png"]);
    }

    #[test]
    fn a_folder_below_a_file_is_refused_and_nothing_made() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("file"), "x").unwrap();
        let files = [file("new/a.png", b"1"), file("file/b.png", b"2")];
        let failure = Folder::new(temp.path()).write(&files).unwrap_err();
        assert_eq!(failure.exit(), Exit::Output);
        assert_eq!(names(temp.path()), ["file"]);
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_results() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        write_file(&temp.path().join("plain"), Vec::new()).unwrap();
        fs::write(temp.path().join("usual"), "").unwrap();
        let mode = |name| {
            fs::metadata(temp.path().join(name))
                .unwrap()
                .permissions()
                .mode()
        };
        assert_eq!(mode("plain"), mode("usual"));
    }

    #[test]
    fn inputs_of_one_stem_get_numbers() {
        let mut stems = Stems::default();
        let mut next = |path: &str| stems.next(Path::new(path));
        assert_eq!(next("a/scan.png"), "scan");
        assert_eq!(next("b/scan.jpg"), "scan-2");
        assert_eq!(next("scan-2.png"), "scan-2-2");
        assert_eq!(next("SCAN.png"), "SCAN-3");
        assert_eq!(next("..."), "image");
    }

    proptest! {
        #[test]
        fn names_are_plain_whatever_comes(text in ".{0,300}") {
            let name = plain_name(&text);
            prop_assert!(!name.is_empty() && name.len() <= 160);
            prop_assert!(!name.starts_with(['.', '-']) && !name.contains(['/', '\\', '\0', ':']));
        }
    }
}
