//! `bedside live` as a person sees it when its input does what it should not.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const WIDTH: usize = 160;
const HEIGHT: usize = 120;
/// A guard against waiting for ever; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(300);

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedside"));
    command.env("BEDSIDE_CACHE", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// The tiny bundle, whose polyps are red.
fn pack(folder: &Path) -> PathBuf {
    let bundle = folder.join("tiny.bedside");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bundle");
    let packed = command().arg("pack").arg(source).arg(&bundle).output();
    assert!(packed.unwrap().status.success());
    bundle
}

/// A red square on gray in I420, with a texture that tells one frame from the next.
fn picture(number: usize) -> Vec<u8> {
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

/// A session on a pipe, with its annotated video and records in files.
struct Live {
    child: Child,
    input: Option<ChildStdin>,
    records: PathBuf,
    frames: usize,
}

impl Live {
    fn start(folder: &Path, options: &[&str]) -> Self {
        let records = folder.join("records.jsonl");
        let mut child = command()
            .args(["live", "-", "--prompt", "polyp"])
            .args(options)
            .arg("--out")
            .arg(folder.join("out.y4m"))
            .arg("--records")
            .arg(&records)
            .arg("--log")
            .arg(folder.join("log"))
            .env("BEDSIDE_BUNDLE", pack(folder))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        writeln!(input, "YUV4MPEG2 W{WIDTH} H{HEIGHT} F25:1 C420jpeg").unwrap();
        Self {
            child,
            input: Some(input),
            records,
            frames: 0,
        }
    }

    fn feed(&mut self) {
        let input = self.input.as_mut().unwrap();
        input.write_all(b"FRAME\n").unwrap();
        input.write_all(&picture(self.frames)).unwrap();
        input.flush().unwrap();
        self.frames += 1;
    }

    /// The frames that are recorded by now.
    fn recorded(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.records).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let records = whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let frames = records.filter_map(|record: Value| record.get("frame").cloned());
        frames.collect()
    }

    /// Wait, feeding frames or not, until what is recorded holds.
    fn until(
        &mut self,
        what: &str,
        feed: bool,
        mut holds: impl FnMut(&[Value]) -> bool,
    ) -> Vec<Value> {
        let began = Instant::now();
        loop {
            let recorded = self.recorded();
            if holds(&recorded) {
                return recorded;
            }
            assert!(began.elapsed() < PATIENCE, "never: {what}");
            if feed {
                self.feed();
            }
            thread::sleep(Duration::from_millis(40));
        }
    }

    fn end(mut self) {
        self.input = None;
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn masks(frame: &Value) -> usize {
    frame["masks"].as_array().unwrap().len()
}

/// The pictures of a Y4M file in I420, without the bands below them.
fn pictures(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let end = bytes.iter().position(|b| *b == b'\n').unwrap();
    let header = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut fields = header.split(' ');
    let height = fields.find_map(|field| field.strip_prefix('H')).unwrap();
    let height: usize = height.parse().unwrap();
    let marked = b"FRAME\n".len();
    let frames = bytes[end + 1..].chunks_exact(marked + WIDTH * height * 3 / 2);
    let planes = |frame: &[u8]| {
        let mut rest = &frame[marked..];
        let mut picture = Vec::new();
        for (whole, part) in [
            (height, HEIGHT),
            (height / 4, HEIGHT / 4),
            (height / 4, HEIGHT / 4),
        ] {
            picture.extend_from_slice(&rest[..part * WIDTH]);
            rest = &rest[whole * WIDTH..];
        }
        picture
    };
    frames.map(planes).collect()
}

/// The frames of a log without damage.
fn logged(log: &Path) -> Vec<Value> {
    let read = command().arg("log").arg(log).output().unwrap();
    assert!(read.status.success());
    let text = String::from_utf8(read.stdout).unwrap();
    let records = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let frames = records.filter_map(|record: Value| record.get("frame").cloned());
    frames.collect()
}

#[test]
fn p_04_a_pipe_that_falls_silent_leaves_no_mask_on_the_display() {
    let folder = tempfile::tempdir().unwrap();
    let mut live = Live::start(folder.path(), &["--max-age", "60000"]);
    live.until("a mask", true, |frames| frames.iter().any(|f| masks(f) > 0));
    // Open, and silent for five seconds.
    let silent = live.until("repeated pictures", false, |frames| {
        let stalled = frames.iter().filter(|f| f["state"] == "stalled");
        stalled.filter(|f| f["repeated"] == true).count() >= 4
    });
    let last = silent.last().unwrap();
    assert_eq!(
        (&last["state"], &last["reason"]),
        (&"stalled".into(), &"input".into())
    );
    assert_eq!((masks(last), &last["unanswered"][0]), (0, &"polyp".into()));
    let unmasked = picture(live.frames - 1);
    // And back again.
    live.until("a mask again", true, |frames| {
        masks(frames.last().unwrap()) > 0
    });
    live.end();

    let shown = pictures(&folder.path().join("out.y4m"));
    let frames = logged(&folder.path().join("log"));
    assert_eq!(shown.len(), frames.len(), "each picture has its record");
    let stalled = |at: &usize| frames[*at]["state"] == "stalled";
    let last = (0..frames.len()).rev().find(stalled).unwrap();
    let first = (0..=last).rev().take_while(stalled).last().unwrap();
    assert!(last - first >= 3, "{first} to {last}");
    assert!(masks(&frames[first - 1]) > 0);
    assert_ne!(shown[first - 1], unmasked, "a mask changes the picture");
    for at in first..=last {
        assert_eq!(masks(&frames[at]), 0);
        assert!(shown[at] == unmasked, "the last picture, without masks");
    }
}

#[test]
fn p_23_a_kill_of_the_command_costs_no_record_that_is_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut live = Live::start(folder.path(), &[]);
    let mut on_disk = 0;
    live.until("records in the log", true, |_| {
        on_disk = logged(&log).len();
        on_disk >= 20
    });
    live.child.kill().unwrap();
    live.child.wait().unwrap();
    let frames = logged(&log);
    assert!(frames.len() >= on_disk, "{} of {on_disk}", frames.len());
    let numbers: Vec<u64> = frames
        .iter()
        .map(|f| f["frame"].as_u64().unwrap())
        .collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    // The next one goes on with it.
    let mut next = Live::start(folder.path(), &["--overwrite"]);
    next.until("a frame", true, |frames| !frames.is_empty());
    next.end();
    assert!(logged(&log).len() > frames.len());
}
