//! `bedside live` while what happens to its model's process that should not.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const EDGE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../models/edge/edge.bedside"
);
/// After which the command ends by itself, so that no test waits for ever.
const SECONDS: &str = "300";

/// A session of a phantom, with its records.
struct Live {
    command: Child,
    records: Lines<BufReader<ChildStdout>>,
    frame: Option<u64>,
}

impl Live {
    fn start(bundle: &Path, options: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedside"))
            .args(["live", "phantom:polyp,size=320x240", "--prompt", "polyp"])
            .args(["--records", "-", "--max-age", "60000", "--seconds", SECONDS])
            .args(options)
            .env("BEDSIDE_BUNDLE", bundle)
            .env("BEDSIDE_CACHE", env!("CARGO_TARGET_TMPDIR"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let records = BufReader::new(command.stdout.take().unwrap()).lines();
        Self {
            command,
            records,
            frame: None,
        }
    }

    fn record(&mut self) -> Value {
        let line = self.records.next().expect("the session goes on").unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Read frames, none of them older than the one before, until one holds.
    fn until(&mut self, holds: impl Fn(&Value) -> bool) {
        loop {
            let record = self.record();
            let Some(frame) = record.get("frame") else {
                assert!(record.get("end").is_none(), "ended before: {record}");
                continue;
            };
            let number = frame["frame"].as_u64();
            let again = frame["repeated"] == true;
            assert!(number > self.frame || again, "{record}");
            self.frame = number;
            if holds(frame) {
                return;
            }
        }
    }

    fn until_masked(&mut self) {
        self.until(|frame| !frame["masks"].as_array().unwrap().is_empty());
    }

    /// The number of the model's process.
    fn model(&self) -> Option<u32> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.command.id())).ok()?;
        let children = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).ok();
        let children = tasks.filter_map(|task| children(task.ok()?));
        children.collect::<String>().trim().parse().ok()
    }

    /// Signal the model's process until it is gone: a runtime may take the first SIGSEGV for its
    /// own.
    fn kill_model(&self, signal: &str) {
        let model = self.model().unwrap();
        let began = Instant::now();
        while self.model() == Some(model) {
            assert!(began.elapsed() < Duration::from_secs(60), "{signal}");
            let _ = Command::new("kill")
                .arg(signal)
                .arg(model.to_string())
                .status();
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.command.kill();
        let _ = self.command.wait();
    }
}

#[test]
fn p_03_the_command_goes_on_while_its_model_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("edge.bedside");
    fs::copy(EDGE, &bundle).unwrap();
    let mut live = Live::start(&bundle, &[]);
    live.until_masked();
    // Nothing that is done to the bundle reaches the video's process. (Only root may look.)
    let maps = fs::read_to_string(format!("/proc/{}/maps", live.command.id()));
    assert!(!maps.unwrap_or_default().contains("edge.bedside"));
    for signal in ["-SEGV", "-KILL"] {
        live.kill_model(signal);
        live.until(|frame| frame["state"] != "active" && frame["state"] != "degraded");
        live.until_masked();
    }
    // Overwritten in place, as `cp` does.
    let file = OpenOptions::new().write(true).open(&bundle).unwrap();
    file.set_len(1_000_000).unwrap();
    live.kill_model("-ABRT");
    live.until(|frame| frame["state"] == "fault" && frame["reason"] == "load");
    for _ in 0..10 {
        live.until(|frame| frame["masks"].as_array().unwrap().is_empty());
    }
    let interrupt = Command::new("kill")
        .arg("-INT")
        .arg(live.command.id().to_string())
        .status();
    assert!(interrupt.unwrap().success());
    let end = loop {
        let record = live.record();
        if let Some(end) = record.get("end") {
            break end.clone();
        }
    };
    let count = |name: &str| end[name].as_u64().unwrap();
    assert_eq!(
        count("captured"),
        count("shown") + count("dropped") + count("failed")
    );
    assert_eq!(count("failed"), 0);
}

#[test]
fn a_model_that_asks_for_more_memory_than_it_may_is_a_fault() {
    let mut live = Live::start(Path::new(EDGE), &["--model-memory", "16"]);
    live.until(|frame| frame["state"] == "fault" && frame["reason"] == "load");
}

#[test]
fn a_model_in_process_has_no_process() {
    let mut live = Live::start(Path::new(EDGE), &["--in-process"]);
    live.until_masked();
    assert_eq!(live.model(), None);
}

#[test]
fn a_model_that_is_not_a_sessions_says_so() {
    let run = Command::new(env!("CARGO_BIN_EXE_bedside"))
        .args(["model-process", "--digest", "0"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(2));
    let stderr = String::from_utf8(run.stderr).unwrap();
    assert!(
        stderr.contains("hint: `bedside live` starts this by itself"),
        "{stderr}"
    );
}
