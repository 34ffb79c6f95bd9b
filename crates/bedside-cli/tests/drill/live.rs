//! A `bedside live` under drill: the real command, its frames in and out, its records.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::band;
use crate::feeder::{Feeder, HEIGHT, Sent, WIDTH, frame, number};

const BEDSIDE: &str = env!("CARGO_BIN_EXE_bedside");
/// For what a loaded machine may take long with.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of the newest records that are looked at while a session runs.
const TAIL: u64 = 1 << 18;
/// Oldest mask, milliseconds, as the command is told.
pub(crate) const MAX_AGE: u64 = 500;

/// How the command is started; a case changes it.
pub(crate) struct Setup {
    pub(crate) folder: TempDir,
    pub(crate) bundle: PathBuf,
    pub(crate) records: String,
    pub(crate) log: PathBuf,
    pub(crate) more: Vec<String>,
    pub(crate) environment: BTreeMap<&'static str, String>,
    /// A pipe that is full already, in place of one that is read.
    pub(crate) stderr: Option<Stdio>,
}

impl Setup {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("tiny.bedside");
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bundle");
        let packed = Command::new(BEDSIDE)
            .arg("pack")
            .arg(golden)
            .arg(&bundle)
            .output();
        assert!(packed.unwrap().status.success());
        Self {
            bundle,
            records: folder.path().join("records.jsonl").display().to_string(),
            log: folder.path().join("session.log"),
            folder,
            more: Vec::new(),
            environment: BTreeMap::new(),
            stderr: None,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One more sink, beside the one that is watched.
    pub(crate) fn sink(&mut self, sink: impl Into<String>) {
        self.more.extend(["--out".to_owned(), sink.into()]);
    }
}

/// A picture that came out.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) number: u64,
    pub(crate) at: Instant,
    /// The state and the trouble below it.
    pub(crate) said: String,
    /// Whether it differs from the frame that was sent, as it does where a mask is painted.
    pub(crate) painted: bool,
}

type Arrivals = Arc<Mutex<Vec<Arrival>>>;

pub(crate) struct Live {
    pub(crate) setup: Setup,
    pub(crate) feeder: Option<Feeder>,
    child: Child,
    arrivals: Arrivals,
    readers: Vec<JoinHandle<()>>,
    stderr: Arc<Mutex<String>>,
}

/// How it went.
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    /// From the last act to the end of the process.
    pub(crate) ending: Duration,
    pub(crate) sent: Vec<Sent>,
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) records: Vec<Value>,
    pub(crate) log: Vec<Value>,
    pub(crate) stderr: String,
}

impl Live {
    pub(crate) fn start(mut setup: Setup) -> Self {
        let stderr = setup.stderr.take();
        let read = stderr.is_none();
        let mut child = Command::new(BEDSIDE)
            .args(["live", "-", "--prompt", "polyp", "--out", "-"])
            .args([
                "--max-age",
                &MAX_AGE.to_string(),
                "--records",
                &setup.records,
            ])
            .arg("--log")
            .arg(&setup.log)
            .args(&setup.more)
            .envs(&setup.environment)
            .env("BEDSIDE_BUNDLE", &setup.bundle)
            .env("BEDSIDE_CACHE", setup.path("cache"))
            .current_dir(setup.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr.unwrap_or_else(Stdio::piped))
            .spawn()
            .unwrap();
        let arrivals = Arrivals::default();
        let (video, to) = (child.stdout.take().unwrap(), arrivals.clone());
        let mut readers = vec![thread::spawn(move || drop(watch(video, &to)))];
        let words = Arc::<Mutex<String>>::default();
        if read {
            let (lines, to) = (BufReader::new(child.stderr.take().unwrap()), words.clone());
            readers.push(thread::spawn(move || {
                for line in lines.lines().map_while(Result::ok) {
                    let mut words = to.lock().unwrap();
                    words.push_str(&line);
                    words.push('\n');
                }
            }));
        }
        let feeder = Feeder::start(child.stdin.take().unwrap());
        Self {
            setup,
            feeder: Some(feeder),
            child,
            arrivals,
            readers,
            stderr: words,
        }
    }

    pub(crate) fn feeder(&mut self) -> &mut Feeder {
        self.feeder.as_mut().unwrap()
    }

    /// Wait until `done`, as long as the command runs and there is patience; whether it came.
    pub(crate) fn until(&mut self, mut done: impl FnMut(&Self) -> bool) -> bool {
        let start = Instant::now();
        while start.elapsed() < PATIENCE && !self.ended() {
            if done(self) {
                return true;
            }
            thread::sleep(Duration::from_millis(100));
        }
        false
    }

    /// Whether a frame from this number on was recorded with a mask.
    pub(crate) fn painted_since(&self, number: u64) -> bool {
        self.recorded().iter().any(|record| {
            let frame = &record["frame"];
            let masks = frame["masks"].as_array();
            frame["frame"].as_u64() >= Some(number) && masks.is_some_and(|masks| !masks.is_empty())
        })
    }

    /// Whether a recorded frame has this word.
    pub(crate) fn says(&self, word: &str) -> bool {
        self.recorded()
            .iter()
            .any(|record| record["frame"].to_string().contains(word))
    }

    /// The records up to now, of the lines or, where these go nowhere, of the log.
    pub(crate) fn recorded(&self) -> Vec<Value> {
        match File::open(&self.setup.records) {
            Ok(mut file) if file.metadata().is_ok_and(|m| m.is_file()) => {
                // The newest are at the end; a soak's file is long.
                let length = file.metadata().unwrap().len();
                file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))
                    .unwrap();
                let mut text = Vec::new();
                file.read_to_end(&mut text).unwrap();
                lines(&String::from_utf8_lossy(&text))
            }
            _ => log(&self.setup.log),
        }
    }

    /// Number of the newest frame that came out.
    pub(crate) fn newest(&self) -> u64 {
        let arrivals = self.arrivals.lock().unwrap();
        arrivals.last().map_or(0, |arrival| arrival.number)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process that runs the model, if there is one now.
    pub(crate) fn model(&self) -> Option<u32> {
        let own = fs::canonicalize(BEDSIDE).ok()?;
        children(self.pid())
            .into_iter()
            .find(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == own))
    }

    /// Processes that are sinks.
    pub(crate) fn commands(&self) -> Vec<u32> {
        let model = self.model();
        let mut all = children(self.pid());
        all.retain(|pid| Some(*pid) != model);
        all
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Whether it has ended by now.
    pub(crate) fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Wait for the end, and gather what there is. A command that does not end is killed.
    pub(crate) fn finish(mut self) -> (Setup, Outcome) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                break self.child.wait().unwrap();
            }
            thread::sleep(Duration::from_millis(5));
        };
        let ending = start.elapsed();
        let sent = self.feeder().sent();
        // The reader is gone, so that the feeder can't be stuck in a write.
        self.feeder = None;
        for reader in std::mem::take(&mut self.readers) {
            // A sink that hangs may hold a pipe open.
            let start = Instant::now();
            while !reader.is_finished() && start.elapsed() < Duration::from_secs(2) {
                thread::sleep(Duration::from_millis(10));
            }
        }
        // A device may never end.
        let file = fs::metadata(&self.setup.records).is_ok_and(|there| there.is_file());
        let records = match file {
            true => fs::read_to_string(&self.setup.records).unwrap_or_default(),
            false => String::new(),
        };
        let outcome = Outcome {
            status,
            ending,
            sent,
            arrivals: self.arrivals.lock().unwrap().clone(),
            records: lines(&records),
            log: log(&self.setup.log),
            stderr: self.stderr.lock().unwrap().clone(),
        };
        (self.setup, outcome)
    }
}

/// JSON lines; one that was cut short counts for nothing.
fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// What the command reads in a log, be its end torn.
fn log(path: &Path) -> Vec<Value> {
    let read = Command::new(BEDSIDE).arg("log").arg(path).output().unwrap();
    lines(&String::from_utf8_lossy(&read.stdout))
}

pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status();
    assert!(sent.unwrap().success(), "no process {pid}");
}

fn children(of: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{of}/task"))
        .into_iter()
        .flatten()
        .flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|pids| {
            pids.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Read Y4M as it comes, and note of each picture what there is to see.
fn watch(video: ChildStdout, to: &Mutex<Vec<Arrival>>) -> std::io::Result<()> {
    let mut video = BufReader::with_capacity(1 << 20, video);
    let mut header = String::new();
    video.read_line(&mut header)?;
    let side = |letter: char| {
        let mut fields = header.split_whitespace();
        let side = fields.find_map(|field| field.strip_prefix(letter)?.parse::<usize>().ok());
        side.unwrap_or_default()
    };
    if side('W') != WIDTH {
        return Ok(());
    }
    let height = side('H');
    let mut picture = vec![0; WIDTH * height * 3 / 2];
    let mut line = Vec::new();
    loop {
        line.clear();
        if video.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        video.read_exact(&mut picture)?;
        let at = Instant::now();
        if let Some(number) = number(&picture, WIDTH) {
            let arrival = Arrival {
                number,
                at,
                said: band::read(&picture[WIDTH * HEIGHT..WIDTH * height]),
                painted: painted(&picture, height, &frame(number)),
            };
            to.lock().unwrap().push(arrival);
        }
    }
}

/// Whether a picture, above its band, differs from the frame that was sent.
fn painted(mut picture: &[u8], height: usize, mut sent: &[u8]) -> bool {
    [1, 4, 4].into_iter().any(|part| {
        let (shown, more) = picture.split_at(WIDTH * height / part);
        let (plane, rest) = sent.split_at(WIDTH * HEIGHT / part);
        (picture, sent) = (more, rest);
        !shown.starts_with(plane)
    })
}

impl Outcome {
    /// The exit code, or the signal that ended the process.
    pub(crate) fn exit(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => code.to_string(),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "?".to_owned(),
        }
    }

    /// Records of frames: of the lines, or of the log where those are none.
    pub(crate) fn frames(&self) -> impl Iterator<Item = &Value> {
        let from = if self.records.is_empty() {
            &self.log
        } else {
            &self.records
        };
        from.iter().filter_map(|record| record.get("frame"))
    }

    pub(crate) fn end(&self) -> Option<&Value> {
        let all = self.records.iter().chain(&self.log);
        all.filter_map(|record| record.get("end")).next_back()
    }
}

/// Lines of a kernel's text, for what the drill reads of processes.
pub(crate) fn status_field(pid: u32, field: &str) -> Option<u64> {
    let status = File::open(format!("/proc/{pid}/status")).ok()?;
    let mut lines = BufReader::new(status).lines().map_while(Result::ok);
    let line = lines.find_map(|line| line.strip_prefix(field).map(str::to_owned))?;
    line.split_whitespace().next()?.parse().ok()
}
