//! Names of parts: plain relative paths that mean the same on every file system.

use std::collections::HashSet;

use crate::error::{BundleError, ErrorKind};

/// Most bytes in a part's name.
pub(crate) const MAX_NAME: usize = 128;
/// Most folders and file name in a part's name.
const MAX_DEPTH: usize = 4;

/// Refuse names that could lead out of the bundle, hide, or read differently elsewhere.
///
/// Allowed: letters, digits, `.`, `_` and `-` of ASCII, in at most [`MAX_DEPTH`] segments joined
/// by `/`, none of which starts with a dot. That leaves no way to write `..`, an absolute path,
/// a drive, a backslash or a control character.
pub(crate) fn check(name: &str) -> Result<(), BundleError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let segment = |s: &str| !s.is_empty() && !s.starts_with('.') && s.chars().all(plain);
    let segments = name.split('/').count();
    if name.len() <= MAX_NAME && segments <= MAX_DEPTH && name.split('/').all(segment) {
        return Ok(());
    }
    let shown: String = name.chars().take(MAX_NAME).collect();
    Err(BundleError::new(
        ErrorKind::PartName,
        format!("{shown:?} can't name a part"),
        "letters, digits, '.', '_', '-' and '/' only, no leading dot, at most 128 bytes and 4 levels",
    ))
}

/// Refuse names that would fall together when the bundle is unpacked: the same name twice, names
/// that differ in letter case alone, and a name that is also a folder of another.
pub(crate) fn check_distinct<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), BundleError> {
    let mut files = HashSet::new();
    for name in names.clone() {
        if !files.insert(name.to_ascii_lowercase()) {
            return Err(duplicate(name));
        }
    }
    for name in names {
        let lower = name.to_ascii_lowercase();
        for (i, _) in lower.match_indices('/') {
            if lower.get(..i).is_some_and(|folder| files.contains(folder)) {
                return Err(duplicate(name));
            }
        }
    }
    Ok(())
}

fn duplicate(name: &str) -> BundleError {
    BundleError::new(
        ErrorKind::Duplicate,
        format!("the name {name:?} falls together with that of another part"),
        "part names must stay distinct when letter case is ignored",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_names_pass() {
        for good in ["encoder.int8.onnx", "selftest/0.rgb", "a/b/c/d", "A-b_c.9"] {
            check(good).unwrap();
        }
        let long = "n".repeat(MAX_NAME + 1);
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a/..",
            ".",
            "./a",
            "a//b",
            "a/",
            "a\\b",
            "C:x",
            "a b",
            "ä",
            "a\0b",
            "a\nb",
            ".hidden",
            "a/.git",
            "a/b/c/d/e",
            &long,
        ] {
            assert_eq!(
                check(bad).unwrap_err().kind(),
                ErrorKind::PartName,
                "{bad:?}"
            );
        }
    }

    #[test]
    fn names_that_fall_together_are_refused() {
        check_distinct(["a", "a-b", "ab", "b/a", "b/c"].into_iter()).unwrap();
        for bad in [
            ["a", "a"],
            ["a", "A"],
            ["a", "a/b"],
            ["A/b", "a"],
            ["x/y/z", "x/Y"],
        ] {
            let error = check_distinct(bad.into_iter()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Duplicate, "{bad:?}");
        }
    }
}
