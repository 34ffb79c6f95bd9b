//! What `bedside live` tells: nothing that could name a patient, through any of its outputs.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A patient's name, which stands in the names of folders and files and in what is in them.
pub(crate) const CANARY: &str = "ZZPATIENTZZ";
/// Time for what must come at last.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder called after a patient, with a bundle in it, and a folder for the rest.
struct Bench {
    patient: TempDir,
    other: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            patient: tempfile::Builder::new().prefix(CANARY).tempdir().unwrap(),
            other: tempfile::tempdir().unwrap(),
        };
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bundle");
        let packed = Command::new(env!("CARGO_BIN_EXE_bedside"))
            .arg("pack")
            .args([&golden, &bench.bundle()])
            .status();
        assert!(packed.unwrap().success());
        bench
    }

    fn bundle(&self) -> PathBuf {
        self.path("tiny.bedside").into()
    }

    /// A path with the patient's name in the file's name, too.
    fn path(&self, name: &str) -> String {
        let path = self.patient.path().join(format!("{CANARY}{name}"));
        path.to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Two seconds of a gray slope that moves, with the patient's name in the header.
    fn video(&self) -> String {
        let mut bytes = format!("YUV4MPEG2 W320 H240 F20:1 Ip Cmono X{CANARY}\n").into_bytes();
        for number in 0..40_usize {
            bytes.extend(b"FRAME\n");
            let pixel = |at: usize| (at / 320 + at % 320 / 2 + number) as u8;
            bytes.extend((0..320 * 240).map(pixel));
        }
        self.write(".y4m", &bytes)
    }

    fn live(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedside"));
        command
            .args(["live", "--prompt", "polyp"])
            .args(args)
            .env("BEDSIDE_BUNDLE", self.bundle())
            .env("BEDSIDE_CACHE", self.other.path())
            .current_dir(self.other.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// Ends a program with the test.
pub(crate) struct Program(pub(crate) Child);

impl Program {
    fn signal(&self, signal: &str) {
        let id = self.0.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All lines of a stream as they come.
pub(crate) fn listen(stream: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let said = Arc::new(Mutex::new(String::new()));
    let heard = said.clone();
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            heard
                .lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    said
}

pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "never {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}");
    String::from_utf8_lossy(&answer).into_owned()
}

/// The process of a session's model, while there is one.
fn model_of(session: u32) -> Option<u32> {
    let parent = format!("PPid:\t{session}\n");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.find(|id: &u32| {
        let status = fs::read_to_string(format!("/proc/{id}/status"));
        status.is_ok_and(|status| status.contains(&parent))
    })
}

#[track_caller]
pub(crate) fn silent(what: &str, said: &str) {
    assert!(!said.is_empty(), "{what} says nothing");
    assert!(!said.contains(CANARY), "{what} tells the name:\n{said}");
}

#[test]
fn p_21_no_output_of_a_session_tells_its_sources_path_or_content() {
    let bench = Bench::new();
    let video = bench.video();
    let (records, log, metrics) = (
        bench.path(".jsonl"),
        bench.path(".log"),
        bench.path(".prom"),
    );
    let out = bench.path("-out.y4m");
    let started = bench
        .live(&[&video, "--repeat", "--out", &out, "--records", &records])
        .args(["--log", &log, "--metrics", &metrics])
        .args(["--preview", "127.0.0.1:0", "--seconds", "600"])
        .spawn();
    let mut live = Program(started.unwrap());
    let said = listen(live.0.stderr.take().unwrap());
    let printed = listen(live.0.stdout.take().unwrap());
    let url = until("an address", || {
        let said = said.lock().unwrap();
        let at = said.find("preview: http://")? + "preview: http://".len();
        said[at..].split_once('\n').map(|(url, _)| url.to_owned())
    });
    let address = url.split('/').next().unwrap();
    until("frames and metrics", || {
        let status = get(address, "/status");
        let shown = status.contains("\"source_message\"") && !status.contains("\"shown\":0,");
        (shown && Path::new(&metrics).exists()).then_some(())
    });
    // A model that can't be started again says why; one that was never loaded says less.
    until("answers", || {
        let status = get(address, "/status");
        status.contains("\"state\":\"active\"").then_some(())
    });
    let damaged = fs::read(bench.bundle()).unwrap();
    fs::write(bench.bundle(), vec![0; damaged.len()]).unwrap();
    let model = until("a model", || model_of(live.0.id())).to_string();
    assert!(
        Command::new("kill")
            .args(["-KILL", &model])
            .status()
            .unwrap()
            .success()
    );
    until("what became of the model", || {
        let status = get(address, "/status");
        status.contains("bundle: ").then_some(())
    });
    for path in ["/", "/page.js", "/facts", "/status", "/metrics"] {
        silent(path, &get(address, path));
    }
    assert!(get(address, "/facts").contains("Y4M file"));
    live.signal("-INT");
    until("an end", || live.0.try_wait().unwrap());
    silent("stderr", &said.lock().unwrap());
    // At a fault there is no summary.
    assert!(!printed.lock().unwrap().contains(CANARY));
    for file in [&records, &log, &metrics] {
        silent(file, &String::from_utf8_lossy(&fs::read(file).unwrap()));
    }
    assert!(
        fs::read_to_string(&records)
            .unwrap()
            .contains("\"source\":\"Y4M file\"")
    );
    let read = Command::new(env!("CARGO_BIN_EXE_bedside"))
        .args(["log", &log])
        .output();
    silent("the log", &String::from_utf8_lossy(&read.unwrap().stdout));
}

#[test]
fn p_21_errors_tell_neither_paths_nor_contents() {
    let bench = Bench::new();
    let folder = bench.path("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(format!("{folder}/{CANARY}.png"), CANARY).unwrap();
    let video = fs::read(bench.video()).unwrap();
    let torn = [&video[..video.len() - 9], CANARY.as_bytes(), b"\n"].concat();
    let none = bench.path("none/x");
    let command = format!("| cat > {}; exit 3", bench.path("x.y4m"));
    let phantom = "phantom:polyp,size=320x240";
    let cases: [&[&str]; 15] = [
        &[&none],
        &[&folder],
        &[&bench.write("a.y4m", CANARY.as_bytes())],
        &[&bench.write("b.y4m", format!("YUV4MPEG2 W{CANARY}\n").as_bytes())],
        &[&bench.write("c.y4m", format!("YUV4MPEG2 W4 H4 C{CANARY}\n").as_bytes())],
        &[&bench.write("d.y4m", &torn), "--fast"],
        &[&bench.write("a.avi", CANARY.as_bytes())],
        &[&bench.write("a.mp4", CANARY.as_bytes())],
        &[&bench.write("a.txt", CANARY.as_bytes())],
        &[&format!("rtsp://{CANARY}:secret@tower/1")],
        &[phantom, "--out", &format!("{none}.y4m")],
        &[phantom, "--out", &command],
        &[phantom, "--records", &none],
        &[phantom, "--log", &bench.write("x.log", CANARY.as_bytes())],
        &[phantom, "--metrics", &none],
    ];
    for args in cases {
        for json in [false, true] {
            let mut live = bench.live(args);
            live.args(["--seconds", "1"]);
            if json {
                live.arg("--json");
            }
            let ended = live.output().unwrap();
            let said = String::from_utf8_lossy(&ended.stderr);
            silent(&format!("stderr of {args:?}"), &said);
            assert!(said.contains("hint: "), "{args:?}: {said}");
            let printed = String::from_utf8_lossy(&ended.stdout);
            assert!(!printed.contains(CANARY), "{args:?}: {printed}");
        }
    }
}

#[test]
fn p_21_a_path_is_told_to_whoever_asks_for_it() {
    let bench = Bench::new();
    let ended = bench
        .live(&[&bench.video(), "--name-source", "--records", "-"])
        .args(["--seconds", "1"])
        .output();
    let records = String::from_utf8(ended.unwrap().stdout).unwrap();
    assert!(
        records.lines().next().unwrap().contains(CANARY),
        "{records}"
    );
}

#[test]
fn p_21_a_crash_leaves_no_core() {
    let bench = Bench::new();
    let command = bench.live(&["phantom:polyp,size=320x240", "--seconds", "600"]);
    // As a system is set up on which programs leave cores.
    let started = Command::new("sh")
        .args(["-c", "ulimit -c unlimited; exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args())
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(bench.other.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut live = Program(started.unwrap());
    let said = listen(live.0.stderr.take().unwrap());
    until("a start", || {
        said.lock().unwrap().contains("Research use").then_some(())
    });
    let limits = fs::read_to_string(format!("/proc/{}/limits", live.0.id())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let core: Vec<_> = core.unwrap().split_whitespace().skip(4).take(2).collect();
    assert_eq!(core, ["0", "0"]);
    live.signal("-ABRT");
    let status = until("an end", || live.0.try_wait().unwrap());
    assert!(
        status.signal().is_some() && !status.core_dumped(),
        "{status}"
    );
}
