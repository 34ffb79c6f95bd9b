//! Requests to the preview page.

use std::cell::OnceCell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bedside::{Finding, Frame, Modality, Prompt};
use bedside_live::record::SessionRecord;
use bedside_live::{Control, Error, ErrorKind, Loader, Metrics, Model, Monitor, Stop};
use bedside_preview::{Facts, Preview, Token};

/// Stands for the token of the page that is asked.
const TOKEN: &[u8] = b"TOKEN";
/// A guard against waiting for ever; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);
/// In the head of an answer that is pictures.
const STREAM: &[u8] = b"multipart/";

/// Knows polyps alone, and is never run.
struct Stub;

impl Loader for Stub {
    fn load(&self) -> Result<Box<dyn Model>, Error> {
        Ok(Box::new(Stub))
    }

    fn check(&self, prompts: &[Prompt]) -> Result<Option<Modality>, Error> {
        match prompts.iter().find(|prompt| prompt.text != "polyp") {
            Some(_) => Err(Error::new(ErrorKind::Prompt, "unknown; hint: polyp")),
            None => Ok(None),
        }
    }
}

impl Model for Stub {
    fn set_prompts(&mut self, _: &[Prompt], _: Option<u32>) -> Result<(), Error> {
        Ok(())
    }

    fn segment(&mut self, _: &Frame, _: Range<usize>) -> Result<Vec<Finding>, Error> {
        Err(Error::new(ErrorKind::Model, "no answer"))
    }
}

/// A page that is served until this process ends.
struct Served {
    address: SocketAddr,
    token: Token,
    control: Arc<Control>,
    /// Whether the thread that serves it has panicked: tokio catches what a request's task does.
    panicked: Arc<AtomicBool>,
}

impl Served {
    fn new() -> Self {
        let panicked = Arc::new(AtomicBool::new(false));
        let (seen, before) = (panicked.clone(), panic::take_hook());
        panic::set_hook(Box::new(move |info| {
            if thread::current().name() == Some("bedside-preview") {
                seen.store(true, Ordering::SeqCst);
            }
            before(info);
        }));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = bedside_preview::bind(any, false).expect("a port");
        let address = listener.local_addr().expect("a port");
        let token = Token::random().expect("random numbers");
        let control = Control::new(Arc::new(Stub), &[Prompt::new("polyp")]);
        let control = Arc::new(control.expect("a known prompt"));
        let page = Preview {
            monitor: Arc::new(Monitor::default()),
            control: control.clone(),
            metrics: Arc::new(Metrics::new()),
            facts: Facts {
                session: SessionRecord {
                    bedside: String::new(),
                    model: String::new(),
                    precision: String::new(),
                    backend: String::new(),
                    source: String::new(),
                    started_unix_ms: 0,
                },
                licence: String::new(),
                max_age_ms: 500,
            },
            offers: Vec::new(),
            token: token.clone(),
        };
        bedside_preview::serve(listener, page, Stop::default()).expect("a thread");
        Self {
            address,
            token,
            control,
            panicked,
        }
    }

    /// Send bytes, and say that no more come unless they do; what comes back.
    fn ask(&self, bytes: &[u8], ended: bool) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        // It may end the connection before it has read everything.
        let _ = stream.write_all(bytes);
        if ended {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let (mut answer, mut block) = (Vec::new(), [0; 4096]);
        loop {
            match stream.read(&mut block) {
                Ok(0) => break,
                Ok(count) => answer.extend_from_slice(&block[..count]),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
                    break;
                }
            }
            // Pictures come without end.
            if answer.windows(STREAM.len()).any(|word| word == STREAM) {
                break;
            }
        }
        answer
    }
}

/// What comes over a connection. Without the token nothing changes, and the page goes on to answer.
pub fn requests(data: &[u8]) {
    thread_local! {
        static SERVED: OnceCell<Served> = const { OnceCell::new() };
    }
    SERVED.with(|served| asked(served.get_or_init(Served::new), data));
}

fn asked(served: &Served, data: &[u8]) {
    let token = served.token.to_string();
    let bytes = with_token(data, token.as_bytes());
    served.control.switch(true);
    let before = served.control.requested();
    let answer = served.ask(&bytes, true);
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1."),
        "no HTTP"
    );
    let knows = bytes != data;
    assert!(
        knows || served.control.requested() == before,
        "changed without the token"
    );
    let told = |window: &[u8]| window == token.as_bytes();
    assert!(
        knows || !answer.windows(token.len()).any(told),
        "it tells its token"
    );
    let host = served.address;
    let good = format!("GET /facts HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let good = served.ask(good.as_bytes(), false);
    assert!(good.starts_with(b"HTTP/1.1 200"), "it no longer answers");
    assert!(
        !served.panicked.load(Ordering::SeqCst),
        "its thread panicked"
    );
}

fn with_token(data: &[u8], token: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), data);
    while let Some(at) = rest.windows(TOKEN.len()).position(|word| word == TOKEN) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(token);
        rest = &rest[at + TOKEN.len()..];
    }
    out.extend_from_slice(rest);
    out
}
