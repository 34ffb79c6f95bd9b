//! Data sets that are too large, or not ours, to stand in the repository.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::workspace;

/// Environment variable that names the folder of shared data.
const VARIABLE: &str = "BEDSIDE_SHARED";

/// The file or folder `name` of the shared data, which is the folder named by `BEDSIDE_SHARED`
/// or, when that is unset, `shared` beside the repository root.
///
/// `None` when it is absent: the caller's test returns early, and the reason stands on stderr
/// even where the test harness captures output, so that a skipped test is not taken for a pass.
///
/// # Panics
/// When `BEDSIDE_SHARED` is set but names no folder: a wrong path must not skip tests.
pub fn shared_data(name: &str) -> Option<PathBuf> {
    match find(std::env::var_os(VARIABLE), &workspace::root(), name) {
        Ok(path) => Some(path),
        Err(reason) => {
            skipped(&reason);
            None
        }
    }
}

/// Tell on stderr what is not tested here, and why.
pub fn skipped(reason: &str) {
    // The print macros would be captured; one write keeps the line whole among threads.
    // A closed stderr is no reason to fail a test.
    let _ = std::io::stderr().write_all(format!("skipped: {reason}\n").as_bytes());
}

/// The path of `name`, or why there is none.
fn find(named: Option<OsString>, root: &Path, name: &str) -> Result<PathBuf, String> {
    let folder = match named {
        Some(folder) => {
            let folder = PathBuf::from(folder);
            assert!(
                folder.is_dir(),
                "{VARIABLE} names no folder: {}",
                folder.display()
            );
            folder
        }
        None => root.with_file_name("shared"),
    };
    let path = folder.join(name);
    if path.exists() {
        Ok(path)
    } else {
        Err(format!(
            "no {}; hint: put it there or set {VARIABLE}",
            path.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_over_the_folder_beside_the_root() {
        let root = workspace::root();
        let named = Some(root.clone().into_os_string());
        assert_eq!(
            find(named, Path::new("/elsewhere/checkout"), "tests"),
            Ok(root.join("tests"))
        );
        // A root beside which `shared` would be this package's `tests/shared`.
        let absent = find(None, &root.join("tests/checkout"), "breasts").unwrap_err();
        let expected = root.join("tests/shared/breasts");
        assert!(absent.contains(&expected.display().to_string()), "{absent}");
        assert!(absent.contains("hint: "), "{absent}");
    }

    #[test]
    #[should_panic(expected = "BEDSIDE_SHARED names no folder")]
    fn a_wrong_variable_does_not_skip() {
        let _ = find(Some("/no/such/folder".into()), Path::new("/"), "breasts");
    }
}
