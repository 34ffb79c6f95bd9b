//! A daemon that a test has started, with its own folder.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use bedside_live::{Reader, Record};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A guard against waiting for ever; nothing is measured by it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_bedsided"))
}

/// A configuration of a phantom with two lists of prompts; all that it names lies in `folder`.
pub(crate) fn configuration(folder: &Path) -> String {
    let edge = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/edge/edge.bedside");
    let cache = env!("CARGO_TARGET_TMPDIR");
    let folder = folder.display();
    format!(
        r#"
[[prompts]]
ask = ["polyp"]
[[prompts]]
ask = ["tumor"]
modality = "ultrasound"
site = "breast"
[model]
bundle = "{edge}"
cache = "{cache}"
[video]
source = "phantom:polyp,size=320x240"
max_age_ms = 60000
[recording]
on = true
log = "{folder}/log"
[snapshots]
folder = "{folder}/snapshots"
[control]
socket = "{folder}/socket"
mode = "0600"
"#
    )
}

pub(crate) struct Cart {
    child: Child,
    folder: Rc<TempDir>,
}

impl Cart {
    /// A daemon that serves its socket; `more` are lines of its configuration.
    pub(crate) fn start(more: &str) -> Self {
        Self::with(more, |_| {})
    }

    pub(crate) fn with(more: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("{}{more}", configuration(folder.path()));
        fs::write(folder.path().join("bedsided.toml"), text).unwrap();
        Self::spawn(Rc::new(folder), prepare)
    }

    /// The next daemon of the same cart.
    pub(crate) fn again(mut self) -> Self {
        let _ = self.child.kill();
        let _ = self.child.wait();
        Self::spawn(Rc::clone(&self.folder), |_| {})
    }

    fn spawn(folder: Rc<TempDir>, prepare: impl FnOnce(&mut Command)) -> Self {
        let said = File::create(folder.path().join("said")).unwrap();
        let mut command = command();
        command
            .arg("--config")
            .arg(folder.path().join("bedsided.toml"));
        command.stderr(said);
        prepare(&mut command);
        let child = command.spawn().unwrap();
        let mut cart = Self { child, folder };
        cart.until("a socket", |cart| {
            UnixStream::connect(cart.socket()).is_ok()
        });
        cart
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("socket")
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.path("said")).unwrap_or_default()
    }

    /// Wait until something holds.
    pub(crate) fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "ended before: {what}; {}", self.said());
            assert!(began.elapsed() < PATIENCE, "never: {what}; {}", self.said());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it answers to a line. One that finds as many clients as are served, some of which have gone
    /// a moment ago, is let go, and asks again.
    pub(crate) fn reply(&self, line: &str) -> Value {
        let began = Instant::now();
        loop {
            let mut stream = UnixStream::connect(self.socket()).unwrap();
            // One that is refused early may be closed before all is written.
            let _ = stream.write_all(line.as_bytes());
            let mut answer = String::new();
            let read = BufReader::new(stream).read_line(&mut answer);
            let busy = answer.contains("clients are served already");
            if !busy && read.is_ok_and(|read| read > 0) {
                return serde_json::from_str(&answer).unwrap();
            }
            assert!(began.elapsed() < PATIENCE, "no answer; {}", self.said());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it answers to a command that must go well.
    pub(crate) fn ask(&self, command: &str) -> Value {
        let reply = self.reply(&format!("{}\n", json!({ "command": command })));
        reply.get("ok").unwrap_or_else(|| panic!("{reply}")).clone()
    }

    /// The newest frame's record.
    pub(crate) fn frame(&self) -> Value {
        self.ask("status")["session"]["frame"].clone()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// The process of its model, while there is one.
    pub(crate) fn model(&self) -> Option<u32> {
        let own = fs::canonicalize(env!("CARGO_BIN_EXE_bedsided")).unwrap();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .find(|pid: &u32| {
                let status = fs::read_to_string(format!("/proc/{pid}/status"));
                let parent = format!("PPid:\t{}\n", self.id());
                status.is_ok_and(|status| status.contains(&parent))
                    && fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == own)
            })
    }

    /// Wait until a model answers that is another process than `before`: with a mask of a frame that
    /// came after it was seen, so that none is taken for what the one before left.
    pub(crate) fn until_answers(&mut self, before: Option<u32>) -> u32 {
        self.until("another model", |cart| {
            cart.model().is_some_and(|model| Some(model) != before)
        });
        let began = Instant::now();
        self.until("answers", |cart| {
            let frame = cart.frame();
            let age = frame["masks"][0]["age_us"].as_u64();
            age.is_some_and(|age| u128::from(age) < began.elapsed().as_micros())
        });
        self.model().unwrap()
    }

    /// How it ends.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "goes on; {}", self.said());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// What its log holds.
    pub(crate) fn records(&self) -> Vec<Record> {
        let records = Reader::open(self.path("log")).unwrap();
        records.map(Result::unwrap).collect()
    }
}

pub(crate) fn signal(process: u32, name: &str) {
    let sent = Command::new("kill")
        .args([name, &process.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

impl Drop for Cart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
