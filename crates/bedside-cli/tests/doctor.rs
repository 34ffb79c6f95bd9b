//! `bedside doctor`: what it says, in which form, and its exit code.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with the tiny bundle and a cache in it.
struct Ward(TempDir);

impl Ward {
    fn new() -> Self {
        let ward = Self(tempfile::tempdir().unwrap());
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bundle");
        let packed = command()
            .arg("pack")
            .arg(golden)
            .arg(ward.bundle())
            .output();
        assert!(packed.unwrap().status.success());
        ward
    }

    fn bundle(&self) -> PathBuf {
        self.0.path().join("tiny.bedside")
    }

    fn doctor(&self, arguments: &[&str]) -> Output {
        let mut command = self.command();
        command.args(arguments).output().unwrap()
    }

    fn command(&self) -> Command {
        let mut command = command();
        command
            .arg("doctor")
            .env("BEDSIDE_BUNDLE", self.bundle())
            .env("BEDSIDE_CACHE", self.0.path().join("cache"))
            .current_dir(self.0.path());
        command
    }
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedside"));
    command.env_remove("BEDSIDE_CPU").stdin(Stdio::null());
    command
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

/// Names of the checks that are problems; each has a hint.
#[track_caller]
fn problems(report: &Value) -> Vec<&str> {
    let checks = report["checks"].as_array().unwrap().iter();
    let problems = checks.filter(|check| check["level"] == "problem");
    problems
        .map(|check| {
            assert!(check["hint"].is_string(), "{check}");
            check["name"].as_str().unwrap()
        })
        .collect()
}

#[test]
fn a_machine_that_serves_is_described_as_the_document_says() {
    let ward = Ward::new();
    let output = ward.doctor(&["--json"]);
    let report = json(&output);
    assert_eq!(problems(&report), Vec::<&str>::new(), "{report}");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(report["serves"], true);
    assert_eq!(report["bedside"], env!("CARGO_PKG_VERSION"));
    let checks = report["checks"].as_array().unwrap();
    for check in checks {
        let level = check["level"].as_str().unwrap();
        assert!(["ok", "warning"].contains(&level), "{check}");
        assert!(!check["finding"].as_str().unwrap().is_empty(), "{check}");
        assert!(check["hint"].is_string() || check["hint"].is_null());
        assert!(check["facts"].is_object(), "{check}");
    }
    let facts = |name: &str| {
        let named = checks.iter().filter(|check| check["name"] == name);
        named.map(|check| &check["facts"]).collect::<Vec<_>>()
    };
    for name in [
        "processor",
        "cores",
        "memory",
        "clock",
        "heat",
        "files",
        "camera",
        "bundle",
    ] {
        assert!(!facts(name).is_empty(), "no check '{name}'");
    }
    assert!(facts("processor")[0]["kernels"].is_string());
    assert!(facts("records")[0]["free_bytes"].is_u64());
    let chosen = facts("backend")
        .into_iter()
        .filter(|facts| facts["chosen"] == true);
    assert_eq!(chosen.count(), 1);
    assert!(facts("backend").len() > 2, "backends of other builds too");
    let model = facts("model");
    assert_eq!(model.len(), 1);
    assert_eq!(model[0]["passed"], true);
    assert!(model[0]["frames_per_second"].as_f64().unwrap() > 0.0);

    let text = ward.doctor(&[]);
    assert_eq!(text.status.code(), Some(0));
    let lines = String::from_utf8(text.stdout).unwrap();
    assert_eq!(lines.lines().count(), checks.len(), "one line a check");
}

#[test]
fn a_missing_and_a_damaged_bundle_are_problems_with_a_remedy() {
    let ward = Ward::new();
    let bytes = fs::read(ward.bundle()).unwrap();
    fs::write(ward.bundle(), &bytes[..bytes.len() / 2]).unwrap();
    let damaged = ward.doctor(&["--json"]);
    assert_eq!(damaged.status.code(), Some(8));
    assert_eq!(problems(&json(&damaged)), ["bundle"]);

    fs::remove_file(ward.bundle()).unwrap();
    let missing = ward.doctor(&[]);
    assert_eq!(missing.status.code(), Some(8));
    let lines = String::from_utf8(missing.stdout).unwrap();
    let problem = lines.lines().find(|line| line.starts_with("PROBLEM"));
    let problem = problem.unwrap_or_else(|| panic!("{lines}"));
    assert!(
        problem.contains("tiny.bedside") && problem.contains("hint: "),
        "{problem}"
    );
    let stderr = String::from_utf8(missing.stderr).unwrap();
    assert!(
        stderr.contains("error: this machine will not serve"),
        "{stderr}"
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_a_problem_for_records_and_a_warning_for_the_cache() {
    let ward = Ward::new();
    fs::write(ward.0.path().join("file"), "").unwrap();
    for folder in ["file", "absent"] {
        let output = ward.doctor(&["--json", "--records", folder]);
        assert_eq!(output.status.code(), Some(8), "{folder}");
        assert_eq!(problems(&json(&output)), ["records"]);
    }
    assert!(!ward.0.path().join("absent").exists(), "made by the doctor");

    let output = ward.doctor(&["--json", "--cache", "file"]);
    assert_eq!(output.status.code(), Some(0));
    let report = json(&output);
    let checks = report["checks"].as_array().unwrap();
    let cache = checks
        .iter()
        .find(|check| check["name"] == "cache")
        .unwrap();
    assert_eq!(cache["level"], "warning");
    assert!(cache["hint"].as_str().unwrap().contains("--cache"));
}

#[test]
fn kernels_that_the_processor_lacks_are_a_problem() {
    let ward = Ward::new();
    let output = ward
        .command()
        .arg("--json")
        .env("BEDSIDE_CPU", "abacus")
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(8));
    assert!(
        problems(&json(&output)).contains(&"processor"),
        "{output:?}"
    );
}
