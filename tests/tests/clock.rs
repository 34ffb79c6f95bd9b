//! Who reads the wall clock, and that nobody decides by it.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::Path;

use bedside_tests::workspace;

/// What reads the wall clock, or stamps of files that were set by it.
const WALL: &[&str] = &[
    "SystemTime",
    "UNIX_EPOCH",
    ".modified()",
    ".created()",
    ".accessed()",
    "chrono::",
    "OffsetDateTime",
    "REALTIME",
    "gettimeofday",
];

/// The functions that do, and what for.
const ALLOWED: &[(&str, &str, &str)] = &[
    (
        "crates/bedside-live/src/record.rs",
        "unix_ms",
        "when a session began, for whoever reads its records",
    ),
    (
        "crates/bedside/src/tuning.rs",
        "tune",
        "when a precision was measured, for whoever inspects it",
    ),
    (
        "crates/bedside-cli/src/tune.rs",
        "chosen",
        "how long ago that was, in words",
    ),
    ("crates/bedside-cli/src/tune.rs", "age", "the same"),
    (
        "crates/bedside-dicom/src/write/source.rs",
        "now",
        "when an object was made, as DICOM asks",
    ),
    (
        "crates/bedside/src/proof.rs",
        "of",
        "which program proved a bundle; a stamp is compared, no time measured",
    ),
];

/// The functions of a source file that read the wall clock, tests aside.
fn readers(source: &str) -> Vec<String> {
    let (code, _) = source
        .split_once("\n#[cfg(test)]\nmod ")
        .unwrap_or((source, ""));
    let mut function = "";
    let mut found = Vec::new();
    for line in code.lines().map(str::trim) {
        let name = line.split_once("fn ").filter(|(before, _)| {
            let mut words = before.split_whitespace();
            words.all(|word| word.starts_with("pub") || matches!(word, "const" | "async"))
        });
        if let Some((_, name)) = name {
            function = name.split(['(', '<']).next().unwrap_or(name);
        }
        let spoken = line.starts_with("//") || line.starts_with("use ");
        if !spoken && WALL.iter().any(|word| line.contains(word)) {
            found.push(function.to_owned());
        }
    }
    found.dedup();
    found
}

/// The sources below a folder, by their paths from the root.
fn sources(folder: &Path, found: &mut Vec<(String, String)>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            let file = path.strip_prefix(workspace::root())?.display().to_string();
            found.push((file, fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

#[test]
fn p_14_no_decision_reads_the_wall_clock() -> Result<(), Box<dyn Error>> {
    let mut all = Vec::new();
    for member in workspace::members()? {
        sources(&member.folder.join("src"), &mut all)?;
    }
    let found: BTreeSet<_> = all
        .iter()
        .flat_map(|(file, text)| readers(text).into_iter().map(move |name| (&**file, name)))
        .collect();
    let allowed: BTreeSet<_> = ALLOWED
        .iter()
        .map(|(file, name, _)| (*file, (*name).to_owned()))
        .collect();
    assert_eq!(found, allowed);
    // A session's stamp is written where it is set, and decides nothing.
    let shipped = all.iter().filter(|(file, _)| !file.starts_with("fuzz/"));
    let uses = shipped.map(|(_, text)| text.matches("started_unix_ms").count());
    let why = "the field, two that set it, and the name of a snapshot's file";
    assert_eq!(uses.sum::<usize>(), 4, "{why}");
    Ok(())
}

#[test]
fn a_reader_of_the_wall_clock_is_noticed() {
    let source = "use std::time::SystemTime;\n\
        // SystemTime\n\
        pub fn sound() {\n    Instant::now();\n}\n\
        impl Thing {\n    pub(crate) fn late(&self) -> bool {\n        \
        SystemTime::now() > self.due\n    }\n}\n\
        const fn old<T>(file: T) {\n    file.modified();\n    SystemTime::now();\n}\n\
        \n#[cfg(test)]\nmod tests {\n    fn tested() {\n        SystemTime::now();\n    }\n}\n";
    assert_eq!(readers(source), ["late", "old"]);
}
