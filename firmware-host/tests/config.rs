//! What is wrong with a configuration is told before anything starts.

use std::fs;
use std::path::Path;

use crate::cart::{command, configuration};

/// Exit code and error of `--check-config`.
fn checked(path: &Path) -> (Option<i32>, String) {
    let checking = command()
        .arg("--check-config")
        .arg("--config")
        .arg(path)
        .output();
    let checked = checking.unwrap();
    let text = String::from_utf8(checked.stderr).unwrap();
    (checked.status.code(), text)
}

#[test]
fn a_configuration_is_checked_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bedsided.toml");
    let sound = configuration(folder.path());
    fs::write(&path, &sound).unwrap();
    assert_eq!(checked(&path), (Some(0), String::new()));
    for (from, to, told) in [
        (
            "source =",
            "sorce =",
            "line 12: there is no key 'sorce' here; hint: the nearest is 'source'",
        ),
        ("on = true", "on = 1", "line 15: "),
        ("\"polyp\"", "\"polip\"", "[[prompts]] number 1: "),
        ("\"0600\"", "\"0777\"", "control.mode: "),
    ] {
        fs::write(&path, sound.replacen(from, to, 1)).unwrap();
        let (code, text) = checked(&path);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.starts_with("error: ") && text.contains(told), "{text}");
    }
    let (code, text) = checked(&folder.path().join("none"));
    assert!(code == Some(2) && text.contains("hint: "), "{text}");
}

#[test]
fn what_lies_outside_the_configuration_has_a_code_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bedsided.toml");
    let text = configuration(folder.path());
    fs::write(&path, text.replace("edge.bedside", "none.bedside")).unwrap();
    assert_eq!(checked(&path).0, Some(1));
}
