//! Every target on its corpus and on random changes of it, each in a process of its own, so that
//! an overflowing stack, an abort or a hang is a failed test that names its input.
//!
//! `BEDSIDE_FUZZ_SECONDS` is how long each target runs on changes, else it takes a few;
//! `BEDSIDE_FUZZ_SEED` picks other ones; `BEDSIDE_FUZZ_ONLY` names the targets to run.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{env, panic, thread};

use bedside_fuzz::TARGETS;
use bedside_fuzz::mutate::{MAX_INPUT, Random, mutate};
use rustix::process::{Resource, Rlimit, setrlimit};

const SECONDS: &str = "BEDSIDE_FUZZ_SECONDS";
const SEED: &str = "BEDSIDE_FUZZ_SEED";
const ONLY: &str = "BEDSIDE_FUZZ_ONLY";
/// What a child runs, and the file in which it leaves the input that it is at.
const CHILD: &str = "BEDSIDE_FUZZ_CHILD";
const INPUT: &str = "BEDSIDE_FUZZ_INPUT";

/// Changed inputs for each target where no time is given.
const FEW: u32 = 60;
/// An input that takes longer is a finding. Far more than any needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Most bytes of all files of a corpus.
const CORPUS: u64 = 64 << 10;
/// Most memory of a child: an input that asks for more is a finding, not the end of this machine.
const MEMORY: u64 = 8 << 30;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The files of a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files
}

fn corpus(target: &str) -> Vec<PathBuf> {
    files(&root().join("fuzz/corpus").join(target))
}

/// Run a target in a child; what it says of itself, or what it did not survive.
fn run(target: &str) -> Result<String, String> {
    // In memory, where there is such a folder: files are written by the thousand.
    let scratch = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let scratch = scratch.unwrap();
    let input = scratch.path().join("input");
    let output = scratch.path().join("output");
    fs::write(&input, b"").unwrap();
    let told = || Stdio::from(fs::File::options().append(true).open(&output).unwrap());
    fs::write(&output, b"").unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, target)
        .env(INPUT, &input)
        .env("TMPDIR", scratch.path())
        .stdout(told())
        .stderr(told())
        .spawn()
        .unwrap();
    let ended = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break match status.success() {
                true => None,
                false => Some(status.to_string()),
            };
        }
        let begun = fs::metadata(&input).unwrap().modified().unwrap();
        if begun.elapsed().is_ok_and(|since| since > PATIENCE) {
            child.kill().unwrap();
            child.wait().unwrap();
            break Some(format!("an input takes more than {PATIENCE:?}"));
        }
        thread::sleep(Duration::from_millis(5));
    };
    let said = String::from_utf8_lossy(&fs::read(&output).unwrap()).into_owned();
    let Some(how) = ended else {
        let line = said.lines().find(|line| line.starts_with(target));
        return line
            .map(str::to_owned)
            .ok_or_else(|| format!("{}: it ran nothing: {said}", target));
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("findings");
    fs::create_dir_all(&folder).unwrap();
    let kept = folder.join(target);
    fs::copy(&input, &kept).unwrap();
    Err(format!("{}: {how}, by {}\n{said}", target, kept.display()))
}

/// What a child runs. By itself it does nothing.
#[test]
fn child() {
    let Ok(name) = env::var(CHILD) else { return };
    let current = setrlimit(
        Resource::Data,
        Rlimit {
            current: Some(MEMORY),
            maximum: Some(MEMORY),
        },
    );
    current.unwrap();
    let target = TARGETS.iter().find(|target| target.0 == name).unwrap();
    let input = PathBuf::from(env::var_os(INPUT).unwrap());
    // Some targets have panics caught that are no findings: the last one is told, where it ends it.
    static PANIC: Mutex<String> = Mutex::new(String::new());
    panic::set_hook(Box::new(|info| *PANIC.lock().unwrap() = info.to_string()));
    let mut slowest = Duration::ZERO;
    let mut feed = |bytes: &[u8]| {
        fs::write(&input, bytes).unwrap();
        let began = Instant::now();
        if panic::catch_unwind(|| (target.1)(bytes)).is_err() {
            println!("\n{}", PANIC.lock().unwrap());
            exit(1);
        }
        slowest = slowest.max(began.elapsed());
    };
    let corpus: Vec<Vec<u8>> = corpus(&name)
        .iter()
        .map(|path| fs::read(path).unwrap())
        .collect();
    for bytes in &corpus {
        feed(bytes);
    }
    let number = |name: &str| env::var(name).ok().map(|text| text.parse().unwrap());
    let time = number(SECONDS).map(Duration::from_secs);
    let mut random = Random::new(number(SEED).unwrap_or(1));
    let began = Instant::now();
    let mut done = 0;
    while time.map_or(done < FEW, |time| began.elapsed() < time) {
        let mut bytes = corpus[random.below(corpus.len())].clone();
        bytes.truncate(MAX_INPUT);
        mutate(&mut bytes, &corpus[random.below(corpus.len())], &mut random);
        feed(&bytes);
        done += 1;
    }
    println!(
        "\n{name}: {} of the corpus and {done} changed ones, the slowest in {} ms",
        corpus.len(),
        slowest.as_millis()
    );
}

#[test]
fn p_26_every_corpus_is_replayed() {
    let only = env::var(ONLY).unwrap_or_default();
    let only: Vec<_> = only.split_whitespace().collect();
    let names: Vec<_> = TARGETS.iter().map(|target| target.0).collect();
    assert!(
        only.iter().all(|name| names.contains(name)),
        "{only:?}: {names:?}"
    );
    let mut findings = String::new();
    for target in names {
        if !only.is_empty() && !only.contains(&target) {
            continue;
        }
        match run(target) {
            Ok(said) => println!("{said}"),
            Err(finding) => writeln!(findings, "{finding}\n").unwrap(),
        }
    }
    assert!(findings.is_empty(), "\n{findings}");
}

#[test]
fn p_26_the_page_tells_of_every_target() {
    let page = fs::read_to_string(root().join("docs/testing.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let told: Vec<_> = rows.filter_map(|row| row.split(" | ").next()).collect();
    for (target, _) in TARGETS {
        let named = told.iter().any(|names| {
            let mut names = names.split(", ").map(|name| name.trim_matches('`'));
            names.any(|name| name == *target)
        });
        assert!(named, "{target}");
    }
}

#[test]
fn p_26_every_target_has_a_small_corpus_and_every_corpus_its_target() {
    let names: BTreeSet<_> = TARGETS.iter().map(|target| target.0.to_owned()).collect();
    assert_eq!(names.len(), TARGETS.len(), "a name twice");
    let folders = fs::read_dir(root().join("fuzz/corpus")).unwrap();
    let folders = folders
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir());
    let folders: BTreeSet<_> = folders
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, names);
    for (target, _) in TARGETS {
        let files = corpus(target);
        assert!(!files.is_empty(), "{target}: no file");
        let bytes: u64 = files
            .iter()
            .map(|path| fs::metadata(path).unwrap().len())
            .sum();
        assert!(bytes <= CORPUS, "{target}: {bytes} bytes");
    }
}

/// What code does where bytes come in from outside.
const SIGNS: [&str; 14] = [
    "File::open(",
    "fs::read(",
    "read_to_string(",
    "read_to_end(",
    "read_exact(",
    "stdin()",
    "Bytes::of(",
    "from_reader(",
    "&mut impl Read",
    "serde_json::from_",
    "postcard::from_bytes",
    "postcard::take_from_bytes",
    "Tokenizer::from_bytes(",
    "JsonRejection",
];

/// The targets of each file of code that does so.
const READERS: &[(&str, &[&str])] = &[
    ("bedside-annotate/src/coco.rs", &["annotations"]),
    ("bedside-annotate/src/label_studio/mod.rs", &["annotations"]),
    ("bedside-annotate/src/task.rs", &["annotations"]),
    ("bedside-bundle/src/archive.rs", &["archive"]),
    ("bedside-bundle/src/bundle.rs", &["archive", "manifest"]),
    ("bedside-bundle/src/folder.rs", &["manifest", "pack"]),
    ("bedside-bundle/src/manifest.rs", &["manifest"]),
    ("bedside-bundle/src/pack.rs", &["pack"]),
    ("bedside-bundle/src/prompts.rs", &["prompts"]),
    ("bedside-dicom/src/read.rs", &["dicom"]),
    ("bedside-dicom/src/read/file.rs", &["dicom"]),
    ("bedside-dicom/src/write/segmentation.rs", &["segmentation"]),
    ("bedside-eval/src/dataset.rs", &["dataset", "still"]),
    ("bedside-igtl/src/inbox.rs", &["igtl"]),
    ("bedside-link/src/frame.rs", &["link"]),
    ("bedside-live/src/log.rs", &["log"]),
    ("bedside-live/src/log/frame.rs", &["log"]),
    ("bedside-live/src/log/reader.rs", &["log"]),
    ("bedside-live/src/process/wire.rs", &["answers"]),
    ("bedside-map/src/lib.rs", &["archive", "manifest"]),
    ("bedside-preview/src/lib.rs", &["preview"]),
    ("bedside-video/src/avi.rs", &["avi"]),
    (
        "bedside-video/src/feed.rs",
        &["avi", "mjpeg", "words", "y4m"],
    ),
    ("bedside-video/src/mjpeg.rs", &["avi", "mjpeg", "mp4"]),
    ("bedside-video/src/mp4/boxes.rs", &["mp4"]),
    ("bedside-video/src/mp4/transport.rs", &["mp4"]),
    ("bedside-video/src/open.rs", &["mp4", "words"]),
    ("bedside-video/src/still.rs", &["still"]),
    ("bedside/src/cache.rs", &["cache"]),
    ("bedside/src/text/enabled.rs", &["tokenizer"]),
];

/// Those that read what the kernel or this program itself says.
const TRUSTED: &[&str] = &[
    // A device's own folders, which an administrator alone may write to; what lies there is short
    // text, read within bounds, and minisign's library reads the signatures.
    "bedside-update/src/disk.rs",
    "bedside-update/src/keys.rs",
    "bedside-update/src/slots.rs",
    "bedside-cli/src/dicom/mod.rs", // whether a file begins with DICM
    // The administrator's configuration, and the node's own folder.
    "bedside-dicom-node/src/config.rs",
    "bedside-dicom-node/src/queue.rs",
    "bedside-dicom/src/write/packed.rs", // what it has deflated itself
    "bedside-cli/src/bench/compare.rs",
    "bedside-cli/src/doctor/machine.rs",
    "bedside-engine/src/device.rs",
    "bedside-kernels/src/kernel/cpu.rs",
    "bedside-live/src/device.rs",
    "bedside-live/src/process/child.rs",
    "bedside/src/machine.rs",
];

fn code(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            code(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn p_26_every_parser_of_outside_bytes_has_its_target() {
    let crates = root().join("crates");
    let mut readers = BTreeSet::new();
    for krate in fs::read_dir(&crates).unwrap() {
        let source = krate.unwrap().path().join("src");
        // A folder of a workspace of its own.
        if !source.is_dir() {
            continue;
        }
        let mut all = Vec::new();
        code(&source, &mut all);
        for path in all.iter().filter(|path| !path.ends_with("tests.rs")) {
            let text = fs::read_to_string(path).unwrap();
            let (text, _) = text
                .split_once("#[cfg(test)]\nmod tests")
                .unwrap_or((&text, ""));
            let mut lines = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            if lines.any(|line| SIGNS.iter().any(|sign| line.contains(sign))) {
                let name = path.strip_prefix(&crates).unwrap().to_str().unwrap();
                readers.insert(name.to_owned());
            }
        }
    }
    let known: BTreeSet<_> = READERS
        .iter()
        .map(|(file, _)| file)
        .chain(TRUSTED)
        .collect();
    assert_eq!(
        readers.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        known.iter().map(|file| **file).collect(),
        "name the target of what reads bytes from outside in READERS"
    );
    for (file, targets) in READERS {
        for name in *targets {
            let there = TARGETS.iter().any(|target| target.0 == *name);
            assert!(there, "{file}: no target {name}");
        }
    }
}
