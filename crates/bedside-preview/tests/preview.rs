//! The preview page as a browser meets it, over a socket, on a model that answers at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail as its assertions do"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bedside::{Clock, Finding, Frame, Modality, MonotonicClock, PixelFormat, Prompt};
use bedside_live::record::{Counts, SessionRecord};
use bedside_live::{
    Control, Error, ErrorKind as LiveErrorKind, LiveSession, Loader, Metrics, Model, Monitor,
    SessionConfig, Stop,
};
use bedside_preview::{self as preview, ErrorKind, Facts, MAX_VIEWERS, Preview, Server, Token};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(300);

/// Knows polyps and livers, and never finds any.
struct Stub;

impl Loader for Stub {
    fn load(&self) -> Result<Box<dyn Model>, Error> {
        Ok(Box::new(Stub))
    }

    fn check(&self, prompts: &[Prompt]) -> Result<Option<Modality>, Error> {
        match prompts
            .iter()
            .find(|p| !["polyp", "liver"].contains(&&*p.text))
        {
            Some(prompt) => Err(Error::new(
                LiveErrorKind::Prompt,
                format!("'{}' is unknown; hint: polyp", prompt.text),
            )),
            None => Ok(None),
        }
    }
}

impl Model for Stub {
    fn set_prompts(&mut self, _: &[Prompt], _: Option<u32>) -> Result<(), Error> {
        Ok(())
    }

    fn segment(&mut self, _: &Frame, _: Range<usize>) -> Result<Vec<Finding>, Error> {
        Err(Error::new(LiveErrorKind::Model, "no answer"))
    }
}

/// A page that is served, with a session that may run behind it.
struct Served {
    address: SocketAddr,
    token: Token,
    control: Arc<Control>,
    monitor: Arc<Monitor>,
    metrics: Arc<Metrics>,
    stop: Stop,
    server: Option<Server>,
}

impl Served {
    fn new() -> Self {
        let listener = preview::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let address = listener.local_addr().unwrap();
        let token = Token::random().unwrap();
        let polyp = Prompt::new("polyp").with_modality(Modality::Endoscopy);
        let control = Arc::new(Control::new(Arc::new(Stub), &[polyp]).unwrap());
        let (monitor, metrics) = (Arc::new(Monitor::default()), Arc::new(Metrics::new()));
        let page = Preview {
            monitor: monitor.clone(),
            control: control.clone(),
            metrics: metrics.clone(),
            facts: Facts {
                session: SessionRecord {
                    bedside: "0".to_owned(),
                    model: "stub 1".to_owned(),
                    precision: "f32".to_owned(),
                    backend: "none".to_owned(),
                    source: "test".to_owned(),
                    started_unix_ms: 0,
                },
                licence: "MIT".to_owned(),
                max_age_ms: 500,
            },
            offers: Vec::new(),
            token: token.clone(),
        };
        let stop = Stop::default();
        let server = preview::serve(listener, page, stop.clone()).unwrap();
        Self {
            address,
            token,
            control,
            monitor,
            metrics,
            stop,
            server: Some(server),
        }
    }

    /// Send a request with its `head` lines, and begin to read the answer.
    fn open(&self, request: &str, head: &str, body: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let text = format!("{request} HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n{body}");
        stream.write_all(text.as_bytes()).unwrap();
        BufReader::new(stream)
    }

    /// Status code, head and body of an answer that ends.
    fn ask(&self, request: &str, head: &str, body: &str) -> (u16, String, Vec<u8>) {
        let mut answer = self.open(request, &format!("{head}Connection: close\r\n"), body);
        let head = head_of(&mut answer);
        let mut body = Vec::new();
        answer.read_to_end(&mut body).unwrap();
        (code(&head), head, body)
    }

    fn host(&self) -> String {
        format!("Host: {}\r\n", self.address)
    }

    /// The head of whoever opened the address that was printed.
    fn own(&self) -> String {
        format!("{}Authorization: Bearer {}\r\n", self.host(), self.token)
    }

    fn get(&self, path: &str) -> (u16, String, Vec<u8>) {
        self.ask(&format!("GET {path}"), &self.host(), "")
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let head = format!("{}Content-Type: application/json\r\n", self.own());
        let (code, _, body) = self.ask(&format!("POST {path}"), &head, &body.to_string());
        (code, serde_json::from_slice(&body).unwrap_or_default())
    }

    fn asked(&self) -> Vec<Prompt> {
        self.control.requested().1
    }

    fn session(&self, clock: Arc<dyn Clock>) -> LiveSession {
        let (control, metrics) = (self.control.clone(), self.metrics.clone());
        LiveSession::new(
            Arc::new(Stub),
            control,
            metrics,
            clock,
            SessionConfig::default(),
        )
    }

    /// Feed gray pictures to a session until the guard goes.
    fn run(&self) -> Running {
        let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
        let monitor = self.monitor.clone();
        let mut session = self.session(clock.clone());
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let thread = thread::spawn(move || {
            for number in 0_u8.. {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let pixels = vec![number; 320 * 240];
                let frame = Frame::new(320, 240, PixelFormat::Gray8, pixels).unwrap();
                let frame = frame.captured_at(clock.now());
                session.frame(frame, number.into()).unwrap();
                monitor.publish(&session, session.annotated(), Counts::default());
                thread::sleep(Duration::from_millis(20));
            }
        });
        Running {
            end,
            thread: Some(thread),
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.stop();
        let ended = self.server.take().unwrap().finish();
        assert!(ended.is_ok() || thread::panicking());
    }
}

struct Running {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

/// Ask until something holds. The time is a guard alone; nothing is measured by it.
fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn head_of(answer: &mut impl BufRead) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(answer.read_line(&mut head).unwrap() > 0, "cut off: {head}");
    }
    head
}

fn code(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The next picture of a stream: its JPEG, and when it was captured.
fn part(answer: &mut impl BufRead) -> (Vec<u8>, u64) {
    // The stream comes in chunks, each a part.
    let mut size = String::new();
    answer.read_line(&mut size).unwrap();
    let size = usize::from_str_radix(size.trim(), 16).unwrap();
    let mut part = vec![0; size];
    answer.read_exact(&mut part).unwrap();
    answer.read_line(&mut String::new()).unwrap();
    let mut rest = part.as_slice();
    let head = head_of(&mut rest);
    let captured = head.lines().find_map(|l| l.strip_prefix("X-Captured-Ns: "));
    let jpeg = rest.strip_suffix(b"\r\n").unwrap();
    (jpeg.to_vec(), captured.unwrap().parse().unwrap())
}

#[test]
fn the_page_brings_all_it_needs() {
    let served = Served::new();
    for path in ["/", "/page.css", "/page.js"] {
        let (code, head, body) = served.get(path);
        assert_eq!(code, 200, "{path}");
        assert!(
            head.contains("content-security-policy: default-src 'none'"),
            "{head}"
        );
        let text = String::from_utf8(body).unwrap();
        assert!(!text.contains("://"), "{path} reaches out");
    }
    let (_, _, page) = served.get("/");
    let safety = "Research use only. Not a medical device. Not for clinical decisions.";
    assert!(String::from_utf8(page).unwrap().contains(safety));
    let facts: Value = serde_json::from_slice(&served.get("/facts").2).unwrap();
    assert_eq!(facts["facts"]["model"], "stub 1");
    assert_eq!(served.get("/elsewhere").0, 404);
}

#[test]
fn status_and_metrics_tell_of_the_session() {
    let served = Served::new();
    let status = || -> Value { serde_json::from_slice(&served.get("/status").2).unwrap() };
    assert_eq!(status()["frame"]["state"], "starting");
    assert_eq!(status()["asked"], json!(["polyp"]));
    let running = served.run();
    until("a frame in the status", || {
        let later = status();
        later["frame"]["captured_ns"].as_u64().unwrap() > 0
            && later["latency"]["video_delay"]["count"].as_u64().unwrap() > 0
    });
    drop(running);
    let metrics = String::from_utf8(served.get("/metrics").2).unwrap();
    assert!(
        metrics.contains("bedside_state{state=\"starting\",reason=\"\"} "),
        "{metrics}"
    );
}

#[test]
fn prompts_change_and_unknown_ones_are_refused_with_a_reason() {
    let served = Served::new();
    let (code, _) = served.post("/prompts", &json!({ "prompts": ["polyp", "liver"] }));
    assert_eq!(code, 204);
    let asked = served.asked();
    let texts: Vec<&str> = asked.iter().map(|p| p.text.as_str()).collect();
    assert_eq!(texts, ["polyp", "liver"]);
    // The one that was asked already keeps what it was given at the start.
    assert_eq!(asked.first().unwrap().modality, Some(Modality::Endoscopy));

    let (code, answer) = served.post("/prompts", &json!({ "prompts": ["unicorn"] }));
    assert_eq!(code, 422);
    assert_eq!(answer["error"], "'unicorn' is unknown; hint: polyp");
    for (body, refused) in [
        (json!({ "prompts": [] }), 422),
        (json!({ "prompts": vec!["polyp"; 101] }), 422),
        (json!({ "prompts": "polyp" }), 422),
        (json!({ "prompts": ["polyp"], "other": 1 }), 422),
        (json!({ "prompts": ["p".repeat(20_000)] }), 413),
    ] {
        let (code, answer) = served.post("/prompts", &body);
        assert_eq!(code, refused, "{answer}");
        assert!(answer["error"].is_string(), "{answer}");
    }
    assert_eq!(served.asked(), asked);
}

#[test]
fn the_switch_turns_inference_off_and_on() {
    let served = Served::new();
    for on in [false, true] {
        assert_eq!(served.post("/switch", &json!({ "on": on })).0, 204);
        assert_eq!(served.control.requested().0, on);
    }
}

#[test]
fn the_next_patient_is_told_to_the_session() {
    let served = Served::new();
    let mut session = served.session(Arc::new(MonotonicClock::new()));
    let frame = Frame::new(320, 240, PixelFormat::Gray8, vec![9; 320 * 240]).unwrap();
    session.frame(frame.clone(), 0).unwrap();
    let before = session.case();
    assert_eq!(served.post("/patient", &json!({})).0, 204);
    session.frame(frame, 1).unwrap();
    assert_ne!(session.case(), before);
}

#[test]
fn without_the_token_one_may_look_but_change_nothing() {
    let served = Served::new();
    let kind = "Content-Type: application/json\r\n";
    let off = json!({ "on": false }).to_string();
    let liver = json!({ "prompts": ["liver"] }).to_string();
    let other = format!("Authorization: Bearer {}\r\n", Token::random().unwrap());
    for rights in ["", &*other] {
        let head = format!("{}{kind}{rights}", served.host());
        for (request, body) in [
            ("POST /switch", &off),
            ("POST /prompts", &liver),
            ("POST /patient", &off),
        ] {
            let (code, _, why) = served.ask(request, &head, body);
            assert_eq!(code, 403, "{request}");
            assert!(
                String::from_utf8(why).unwrap().contains("hint: "),
                "{request}"
            );
        }
        // Behind a proxy on this machine, too: everybody comes from here.
        let proxied = format!("{head}X-Forwarded-For: 203.0.113.7\r\n");
        assert_eq!(served.ask("POST /switch", &proxied, &off).0, 403);
        let (code, _, status) = served.ask("GET /status", &head, "");
        let status: Value = serde_json::from_slice(&status).unwrap();
        assert_eq!((code, &status["may_change"]), (200, &json!(false)));
    }
    let (on, asked) = served.control.requested();
    assert!(on && asked.iter().all(|prompt| prompt.text == "polyp"));

    let (_, _, status) = served.ask("GET /status", &served.own(), "");
    let status: Value = serde_json::from_slice(&status).unwrap();
    assert_eq!(status["may_change"], true);
    // What the page itself gives away must not hold it.
    for path in [
        "/",
        "/page.js",
        "/page.css",
        "/status",
        "/facts",
        "/metrics",
    ] {
        let (_, head, body) = served.get(path);
        let said = format!("{head}{}", String::from_utf8_lossy(&body));
        assert!(!said.contains(&served.token.to_string()), "{path}");
    }
}

#[test]
fn other_pages_can_neither_read_nor_change() {
    let served = Served::new();
    let own = served.own();
    let kind = "Content-Type: application/json\r\n";
    let origin = |origin: &str| format!("{own}{kind}Origin: {origin}\r\n");
    let off = json!({ "on": false }).to_string();
    for head in [
        format!("Host: evil.example\r\n{kind}"),
        origin("http://evil.example"),
        origin("null"),
        format!("{own}{kind}Sec-Fetch-Site: cross-site\r\n"),
    ] {
        assert_eq!(served.ask("POST /switch", &head, &off).0, 403, "{head}");
        assert_eq!(served.ask("GET /status", &head, "").0, 403, "{head}");
    }
    // What a form of another page can send without asking first.
    let form = format!("{own}Content-Type: text/plain\r\n");
    assert_eq!(served.ask("POST /switch", &form, &off).0, 415);
    assert!(served.control.requested().0);

    let same = origin(&format!("http://{}", served.address));
    assert_eq!(served.ask("POST /switch", &same, &off).0, 204);
    assert!(!served.control.requested().0);
}

#[test]
fn pictures_move_and_viewers_are_few() {
    let served = Served::new();
    let running = served.run();
    let look = || served.open("GET /picture", &served.host(), "");
    let mut viewers: Vec<_> = (0..MAX_VIEWERS).map(|_| look()).collect();
    for viewer in &mut viewers {
        assert_eq!(code(&head_of(viewer)), 200);
        let ((first, earlier), (second, later)) = (part(viewer), part(viewer));
        assert!(first.starts_with(b"\xff\xd8") && first.ends_with(b"\xff\xd9"));
        assert_ne!(first, second);
        assert!(later > earlier);
    }
    let (code, _, why) = served.get("/picture.jpg");
    assert_eq!(code, 503);
    assert!(String::from_utf8(why).unwrap().contains("hint: close one"));

    // Whoever goes makes room.
    drop(viewers);
    until("a picture for one viewer more", || {
        let (code, _, jpeg) = served.get("/picture.jpg");
        assert_eq!(code == 200, jpeg.starts_with(b"\xff\xd8"));
        code == 200
    });
    drop(running);
    // Once frames end, an old picture is not shown as a new one: the last may be under way still.
    until("no picture", || served.get("/picture.jpg").0 == 503);
    assert_eq!(served.get("/picture.jpg").0, 503);
}

#[test]
fn viewers_who_go_before_the_first_picture_leave_their_places() {
    let served = Served::new();
    // With bytes behind the request, the server reads no further and does not see them go.
    for _ in 0..MAX_VIEWERS {
        let mut gone = TcpStream::connect(served.address).unwrap();
        let request = format!("GET /picture HTTP/1.1\r\n{}\r\nmore", served.host());
        gone.write_all(request.as_bytes()).unwrap();
        assert_eq!(code(&head_of(&mut BufReader::new(gone))), 200);
    }
    until("a place", || {
        let mut viewer = served.open("GET /picture", &served.host(), "");
        code(&head_of(&mut viewer)) == 200
    });
}

#[test]
fn p_20_addresses_that_others_reach_need_consent() {
    let refused = preview::bind("0.0.0.0:0".parse().unwrap(), false).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exposed);
    assert!(refused.to_string().contains("hint: 127.0.0.1"), "{refused}");
    assert!(preview::bind("0.0.0.0:0".parse().unwrap(), true).is_ok());

    let taken = preview::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let again = preview::bind(taken.local_addr().unwrap(), false).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Address);
    assert!(again.to_string().contains("hint: another port"), "{again}");
}
