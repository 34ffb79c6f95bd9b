//! A `bedside live` on a pipe that a test feeds.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const WIDTH: usize = 160;
pub(crate) const HEIGHT: usize = 120;
/// A guard against waiting for ever; nothing is measured by it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedside"));
    command.env("BEDSIDE_CACHE", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// The tiny bundle, whose polyps are red.
pub(crate) fn pack(folder: &Path) -> PathBuf {
    let bundle = folder.join("tiny.bedside");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bundle");
    let packed = command().arg("pack").arg(source).arg(&bundle).output();
    assert!(packed.unwrap().status.success());
    bundle
}

/// A red square on gray in I420, with a texture that tells one frame from the next.
pub(crate) fn picture(number: usize) -> Vec<u8> {
    let square = |x: usize, y: usize| {
        (WIDTH / 4..3 * WIDTH / 4).contains(&x) && (HEIGHT / 4..3 * HEIGHT / 4).contains(&y)
    };
    let mut data = Vec::with_capacity(WIDTH * HEIGHT * 3 / 2);
    for (x, y) in (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y))) {
        let texture = ((x + number % 3) / 8 + y / 8) % 2 * 12;
        data.push(if square(x, y) { 75 } else { 110 } + texture as u8);
    }
    for red in [90, 240] {
        for (x, y) in (0..HEIGHT / 2).flat_map(|y| (0..WIDTH / 2).map(move |x| (x, y))) {
            data.push(if square(2 * x, 2 * y) { red } else { 128 });
        }
    }
    data
}

/// A session on a pipe, in a folder in which it keeps its metrics and what it says.
pub(crate) struct Live {
    child: Child,
    input: Option<ChildStdin>,
    display: Option<JoinHandle<io::Result<()>>>,
    /// Gone with the session.
    _here: SyncSender<()>,
    folder: PathBuf,
    /// Frames that it was fed.
    pub(crate) frames: usize,
}

impl Live {
    /// It works in `folder`: options name files without it.
    pub(crate) fn start(folder: &Path, options: &[&str]) -> Self {
        let said = File::create(folder.join("said")).unwrap();
        Self::telling(said.into(), folder, options)
    }

    /// What it says goes to `said`.
    pub(crate) fn telling(said: Stdio, folder: &Path, options: &[&str]) -> Self {
        Self::with(Stdio::null(), said, folder, options)
    }

    /// What it prints goes through a pipe to [`display`](Self::display).
    pub(crate) fn showing(folder: &Path, options: &[&str]) -> Self {
        let said = File::create(folder.join("said")).unwrap();
        let display = File::create(folder.join("display")).unwrap();
        let mut live = Self::with(Stdio::piped(), said.into(), folder, options);
        let mut printed = live.child.stdout.take().unwrap();
        let copy = move || io::copy(&mut printed, &mut { display }).map(|_| ());
        live.display = Some(thread::spawn(copy));
        live
    }

    fn with(printed: Stdio, said: Stdio, folder: &Path, options: &[&str]) -> Self {
        let mut child = command()
            .args(["live", "-", "--prompt", "polyp", "--metrics", "metrics"])
            .args(options)
            .env("BEDSIDE_BUNDLE", pack(folder))
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(printed)
            .stderr(said)
            .spawn()
            .unwrap();
        let (here, gone) = sync_channel(0);
        let id = child.id().to_string();
        thread::spawn(move || {
            // One that hangs takes no frames either, and a test would wait for that.
            if gone.recv_timeout(2 * PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-KILL", &id]).status();
            }
        });
        let mut input = child.stdin.take().unwrap();
        writeln!(input, "YUV4MPEG2 W{WIDTH} H{HEIGHT} F25:1 C420jpeg").unwrap();
        Self {
            child,
            input: Some(input),
            display: None,
            _here: here,
            folder: folder.to_owned(),
            frames: 0,
        }
    }

    pub(crate) fn feed(&mut self) {
        let input = self.input.as_mut().unwrap();
        input.write_all(b"FRAME\n").unwrap();
        input.write_all(&picture(self.frames)).unwrap();
        input.flush().unwrap();
        self.frames += 1;
    }

    /// Wait, feeding frames or not, until something holds.
    pub(crate) fn until(&mut self, what: &str, feed: bool, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "ended before: {what}; {}", self.said());
            assert!(began.elapsed() < PATIENCE, "never: {what}; {}", self.said());
            if feed {
                self.feed();
            }
            thread::sleep(Duration::from_millis(40));
        }
    }

    /// What it said on standard error.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.folder.join("said")).unwrap_or_default()
    }

    /// The values under `key` of the whole lines in `records.jsonl`.
    pub(crate) fn recorded(&self, key: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.join("records.jsonl")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        values(whole, key)
    }

    /// The same of what `bedside log` reads from `log`.
    pub(crate) fn logged(&self, key: &str) -> Vec<Value> {
        let read = command().arg("log").arg(self.folder.join("log")).output();
        values(&String::from_utf8(read.unwrap().stdout).unwrap(), key)
    }

    /// A figure among the metrics, as they last were.
    pub(crate) fn figure(&self, name: &str) -> Option<u64> {
        let text = fs::read_to_string(self.folder.join("metrics")).ok()?;
        let mut figures = text.lines().filter_map(|line| line.strip_prefix(name));
        figures.find_map(|figure| figure.trim().parse().ok())
    }

    /// Whether an output is in a condition.
    pub(crate) fn is(&self, output: &str, condition: &str) -> bool {
        let name = "bedside_output_condition";
        let name = format!("{name}{{output=\"{output}\",condition=\"{condition}\"}}");
        self.figure(&name) == Some(1)
    }

    /// Frames that were shown.
    pub(crate) fn shown(&self) -> u64 {
        self.figure("bedside_frames_shown_total").unwrap_or(0)
    }

    /// Wait until so many more frames are shown.
    pub(crate) fn go_on(&mut self, frames: u64) {
        let enough = self.shown() + frames;
        self.until("more frames", true, |live| live.shown() > enough);
    }

    /// The file of what a session that has ended printed.
    pub(crate) fn display(&mut self) -> PathBuf {
        if let Some(display) = self.display.take() {
            display.join().unwrap().unwrap();
        }
        self.folder.join("display")
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// Whether it has not ended yet.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// End the input.
    pub(crate) fn close(&mut self) {
        self.input = None;
    }

    /// How it ended, which it must within that time.
    pub(crate) fn ended(&mut self, within: Duration) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < within, "goes on; {}", self.said());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// End the input, and see how that ends the session.
    pub(crate) fn end(&mut self) -> ExitStatus {
        self.close();
        self.ended(PATIENCE)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn values(lines: &str, key: &str) -> Vec<Value> {
    let records = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let values = records.filter_map(|record: Value| record.get(key).cloned());
    values.collect()
}

/// Planes of an annotated picture in I420, cut in two: the picture, and the band below it.
pub(crate) struct Shown {
    pub(crate) picture: Vec<u8>,
    /// Y, U and V.
    pub(crate) band: [Vec<u8>; 3],
}

/// The whole frames of a Y4M file.
pub(crate) fn shown(path: &Path) -> Vec<Shown> {
    let bytes = fs::read(path).unwrap_or_default();
    let Some(end) = bytes.iter().position(|b| *b == b'\n') else {
        return Vec::new();
    };
    let header = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut fields = header.split(' ');
    let height = fields.find_map(|field| field.strip_prefix('H')).unwrap();
    let height: usize = height.parse().unwrap();
    let marked = b"FRAME\n".len();
    let frames = bytes[end + 1..].chunks_exact(marked + WIDTH * height * 3 / 2);
    let cut = |frame: &[u8]| {
        let mut rest = &frame[marked..];
        let mut picture = Vec::new();
        let band = [1, 4, 4].map(|part| {
            let (plane, others) = rest.split_at(WIDTH * height / part);
            let (above, below) = plane.split_at(WIDTH * HEIGHT / part);
            rest = others;
            picture.extend_from_slice(above);
            below.to_vec()
        });
        Shown { picture, band }
    };
    frames.map(cut).collect()
}
