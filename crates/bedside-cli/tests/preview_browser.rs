//! The preview page in a real browser, where Chromium is installed.
//!
//! The test speaks the DevTools protocol over two pipes: JSON messages with a zero byte after each.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value, json};

/// Time in which the page must come to what is expected; machines that test do much beside it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends a program with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Browser {
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    calls: u64,
    /// What the page complained of.
    complaints: Vec<String>,
    _program: Program,
}

impl Browser {
    /// `None` when there is no Chromium.
    fn start(profile: &Path) -> Option<Self> {
        let found = Command::new("chromium").arg("--version").output();
        if !found.is_ok_and(|found| found.status.success()) {
            return None;
        }
        // Its pipes are descriptors 3 and 4, which a shell can make of 0 and 1.
        let mut program = Command::new("sh")
            .arg("-c")
            .arg(
                "exec chromium --headless=new --no-sandbox --disable-gpu --no-first-run \
                 --remote-debugging-pipe --user-data-dir=\"$0\" about:blank \
                 3<&0 4>&1 </dev/null >/dev/null 2>&1",
            )
            .arg(profile)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut browser = Self {
            to: program.stdin.take().unwrap(),
            from: BufReader::new(program.stdout.take().unwrap()),
            session: None,
            calls: 0,
            complaints: Vec::new(),
            _program: Program(program),
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        browser.call("Runtime.enable", json!({}));
        browser.call("Log.enable", json!({}));
        Some(browser)
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to
            .write_all(format!("{message}\0").as_bytes())
            .unwrap();
        loop {
            let mut bytes = Vec::new();
            self.from.read_until(0, &mut bytes).unwrap();
            let text = bytes.strip_suffix(b"\0").expect("the browser has ended");
            let answer: Value = serde_json::from_slice(text).unwrap();
            let event = answer["method"].as_str().unwrap_or_default();
            // Its warnings are of how the test itself reads the canvas.
            let logged = event == "Log.entryAdded" && answer["params"]["entry"]["level"] == "error";
            if logged || event == "Runtime.exceptionThrown" {
                self.complaints.push(answer["params"].to_string());
            }
            if answer["id"] == self.calls {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    fn look(&mut self, width: u32, height: u32) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// The value of an expression in the page.
    fn read(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", params);
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    /// Wait until an expression is true.
    fn until(&mut self, expression: &str) {
        let began = Instant::now();
        while self.read(expression) != json!(true) {
            let body = began.elapsed() > PATIENCE;
            assert!(
                !body,
                "never {expression}: {}",
                self.read("document.body.innerText")
            );
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn key(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            let text = if key == "Enter" { "\r" } else { key };
            let code = if key == "Enter" { 13 } else { 32 };
            let press =
                json!({ "type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code });
            self.call("Input.dispatchKeyEvent", press);
        }
    }

    fn picture(&mut self, file: &Path) {
        let taken = self.call("Page.captureScreenshot", json!({}));
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(taken["data"].as_str().unwrap())
            .unwrap();
        fs::write(file, bytes).unwrap();
    }
}

/// Video out of `bedside phantom` into a pipe, in time, which can be held.
struct Camera {
    held: Arc<AtomicBool>,
}

impl Camera {
    fn start(mut to: ChildStdin) -> Self {
        let held = Arc::new(AtomicBool::new(false));
        let hold = held.clone();
        thread::spawn(move || {
            let (width, height) = (320_usize, 240_usize);
            if writeln!(to, "YUV4MPEG2 W{width} H{height} F20:1 Ip C420jpeg").is_err() {
                return;
            }
            for number in 0_usize.. {
                while hold.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(20));
                }
                // A red disc that wanders over a slope of gray.
                let left = 100 + number % 100;
                let inside =
                    |x: usize, y: usize| x.abs_diff(left).pow(2) + y.abs_diff(120).pow(2) < 3600;
                let mut frame = b"FRAME\n".to_vec();
                for y in 0..height {
                    frame.extend((0..width).map(|x| {
                        if inside(x, y) {
                            90
                        } else {
                            (60 + x / 4 + y / 4) as u8
                        }
                    }));
                }
                for red in [100_u8, 220] {
                    for y in 0..height / 2 {
                        frame.extend(
                            (0..width / 2).map(|x| if inside(2 * x, 2 * y) { red } else { 128 }),
                        );
                    }
                }
                if to.write_all(&frame).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        Self { held }
    }
}

/// The page's address, which the command prints.
fn address(stderr: ChildStderr) -> String {
    let mut lines = BufReader::new(stderr).lines().map(Result::unwrap);
    let mut lines_before = Vec::new();
    let address = lines.find_map(|line| {
        lines_before.push(line.clone());
        Some(line.strip_prefix("preview: ")?.to_owned())
    });
    // Read on, so that the command never waits.
    thread::spawn(move || lines.for_each(drop));
    address.unwrap_or_else(|| panic!("no address: {lines_before:?}"))
}

#[test]
fn the_page_shows_what_runs_and_changes_it() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut browser) = Browser::start(&folder.path().join("profile")) else {
        println!("skipped: no chromium on PATH");
        return;
    };
    let bundle = folder.path().join("tiny.bedside");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bundle");
    let bedside = || Command::new(env!("CARGO_BIN_EXE_bedside"));
    let packed = bedside().arg("pack").args([&golden, &bundle]).status();
    assert!(packed.unwrap().success());
    let mut live = bedside()
        .args(["live", "-", "--prompt", "polyp", "--preview", "127.0.0.1:0"])
        .env("BEDSIDE_BUNDLE", &bundle)
        .env("BEDSIDE_CACHE", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let camera = Camera::start(live.stdin.take().unwrap());
    let stderr = live.stderr.take().unwrap();
    let live = Program(live);
    let address = address(stderr);

    browser.look(1280, 720);
    browser.call("Page.navigate", json!({ "url": address }));
    browser.until("['ACTIVE', 'DEGRADED'].includes(document.getElementById('state')?.innerText)");
    browser.until("document.getElementById('veil').hidden");

    // The picture moves.
    browser.read(
        "window.seen = () => { const c = document.getElementById('picture'); \
         return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.join(); }; \
         window.first = seen(); 1",
    );
    browser.until("seen() !== first");
    browser.until("document.getElementById('findings').innerText.includes('found')");

    // A prompt by keyboard alone, and one that the model does not know.
    let ask = |browser: &mut Browser, text: &str| {
        browser.read("document.getElementById('text').value = ''; document.getElementById('text').focus(); 1");
        browser.call("Input.insertText", json!({ "text": text }));
        browser.key("Enter");
    };
    ask(&mut browser, "unicorn");
    browser.until("document.getElementById('message').innerText.includes('unicorn')");
    browser.complaints.retain(|text| !text.contains("422"));
    ask(&mut browser, "fetal head");
    browser.until("document.getElementById('findings').innerText.includes('fetal head')");
    browser.until("document.getElementById('message').innerText === ''");

    // Off and on by keyboard.
    for (reads, on) in [("PAUSED", "false"), ("ACTIVE", "true")] {
        browser.read("document.getElementById('switch').focus(); 1");
        browser.key(" ");
        browser.until(&format!(
            "document.getElementById('switch').ariaChecked === '{on}'"
        ));
        let active = "document.body.dataset.state !== 'paused'";
        let paused = format!("document.getElementById('state').innerText === '{reads}'");
        browser.until(if on == "true" { active } else { &paused });
    }

    // The source falls silent, and comes back.
    camera.held.store(true, Ordering::Relaxed);
    browser.until("document.getElementById('state').innerText === 'STALLED'");
    browser.until("!document.getElementById('veil').hidden");
    camera.held.store(false, Ordering::Relaxed);
    browser.until("['ACTIVE', 'DEGRADED'].includes(document.getElementById('state').innerText)");
    browser.until("document.getElementById('veil').hidden");

    // Nothing is cut off on narrow screens, and nothing was complained of so far.
    for (width, height) in [(1280, 720), (360, 740)] {
        browser.look(width, height);
        let fits = browser.read("document.documentElement.scrollWidth <= innerWidth");
        assert_eq!(fits, json!(true), "{width} x {height}");
    }
    assert_eq!(browser.complaints, [""; 0]);
    if let Some(file) = std::env::var_os("BEDSIDE_PREVIEW_PICTURE") {
        browser.look(1280, 720);
        thread::sleep(Duration::from_secs(3));
        browser.picture(Path::new(&file));
    }

    // When the command ends, the page says so.
    drop(live);
    browser.until("document.getElementById('state').innerText === 'NO CONTACT'");
    browser.until("!document.getElementById('veil').hidden");
}
