//! With OpenIGTLink: a peer's pictures in, label maps and states out, prompts in.
//!
//! What is shown is put into a slot of one place, from which a thread makes messages and sends them:
//! a peer that takes them slowly misses some, and holds up nothing.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bedside::{Clock, Frame, Modality, PixelFormat, Prompt, Timestamp};
use bedside_igtl::image::Picture;
use bedside_igtl::message::{Code, Envelope, Status};
use bedside_igtl::{Endpoint, LABELS, PROMPT, Pictures, Sender, Sent, link};
use bedside_live::record::{FrameRecord, Name};
use bedside_live::{Control, Input, LiveSession, Slot, Waited};
use bedside_video::{Source, SourceErrorKind};
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::ui::Ui;

/// Device of the states that are sent.
const STATE: &str = "bedside";
/// Time between two looks at prompts.
const NAP: Duration = Duration::from_millis(100);
/// Without a new picture, the state is sent so often.
const EVERY: Duration = Duration::from_secs(1);
/// Time that the last answer gets to be sent.
const PATIENCE: Duration = Duration::from_millis(500);

/// The other end of a connection, which may not be there yet.
pub(crate) struct Peer {
    pictures: Pictures,
    sender: Sender,
}

impl Peer {
    /// The server at `HOST:PORT`.
    pub(crate) fn server(address: &str, clock: Arc<dyn Clock>) -> Result<Self, Failure> {
        Ok(Self::at(Endpoint::server(address)?, clock))
    }

    /// Whoever connects to `ADDRESS:PORT` or `PORT`.
    pub(crate) fn clients(address: &str, clock: Arc<dyn Clock>, ui: Ui) -> Result<Self, Failure> {
        let endpoint = Endpoint::clients(address)?;
        if let Some(address) = endpoint.local_address() {
            ui.note(format_args!("OpenIGTLink: listening on {address}"));
            if !address.ip().is_loopback() {
                ui.note(
                    "note: other machines can send pictures and prompts and see label maps, \
                     without password or encryption",
                );
            }
        }
        Ok(Self::at(endpoint, clock))
    }

    fn at(endpoint: Endpoint, clock: Arc<dyn Clock>) -> Self {
        let (pictures, sender) = link(endpoint, clock);
        Self { pictures, sender }
    }

    /// Wait for the first picture.
    pub(crate) fn open(&self, ui: Ui) -> Result<Box<dyn Source>, Failure> {
        let mut told = String::new();
        loop {
            let error = match self.pictures.open() {
                Ok(source) => return Ok(source),
                Err(error) => error,
            };
            if error.kind() == SourceErrorKind::Fatal {
                return Err(Failure::new(Exit::Input, error.to_string()));
            }
            let news = error.to_string();
            if told != news {
                ui.note(format_args!("note: {news}"));
                told = news;
            }
        }
    }

    /// The source, opened anew when the peer sends pictures of another size.
    pub(crate) fn input(&self, source: Box<dyn Source>) -> Input {
        let pictures = self.pictures.clone();
        Input::restartable(source, move || pictures.open())
    }

    /// Begin to answer, and to take prompts, which are for `modality`.
    pub(crate) fn answer(
        self,
        control: Arc<Control>,
        modality: Option<Modality>,
    ) -> Result<Answers, Failure> {
        let (sender, next) = (self.sender, Arc::new(Slot::default()));
        let (peer, answers) = (sender.clone(), next.clone());
        let thread = thread::Builder::new()
            .name("bedside-igtl".to_owned())
            .spawn(move || answer(&peer, &answers, &control, modality))
            .map_err(|e| Failure::new(Exit::Internal, format!("can't start a thread: {e}")))?;
        Ok(Answers {
            sender,
            next,
            spare: None,
            posted: Instant::now(),
            painted: Instant::now(),
            thread,
        })
    }
}

impl From<bedside_igtl::Error> for Failure {
    fn from(error: bedside_igtl::Error) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

/// What was shown, as it is to be told.
struct Answer {
    record: FrameRecord,
    prompts: Vec<Name>,
    /// Whether the picture is new, so that it has a label map.
    mapped: bool,
    /// A label for each pixel, row by row; empty where nothing was painted.
    labels: Vec<u8>,
    painted: Instant,
}

impl Answer {
    fn empty() -> Self {
        Self {
            record: FrameRecord::default(),
            prompts: Vec::new(),
            mapped: false,
            labels: Vec::new(),
            painted: Instant::now(),
        }
    }

    /// Take over what a session shows, in the memory that is there.
    fn fill(&mut self, session: &LiveSession, mapped: bool, painted: Instant) {
        self.record.clone_from(session.record());
        if self.prompts != session.prompts() {
            self.prompts = session.prompts().to_vec();
        }
        (self.mapped, self.painted) = (mapped, painted);
        self.labels.clear();
        if !mapped {
            return;
        }
        for (record, mask) in session.masks() {
            // All masks of a frame have its size.
            self.labels.resize(mask.data().len(), 0);
            let place = self.prompts.iter().position(|name| *name == record.prompt);
            // At most a hundred are asked at once.
            let label = place.and_then(|place| u8::try_from(place + 1).ok());
            let label = label.unwrap_or(u8::MAX);
            for (to, set) in self.labels.iter_mut().zip(mask.data()) {
                *to = if *set == 1 { label } else { *to };
            }
        }
    }

    /// Age of the oldest mask by now, milliseconds; -1 where there is none.
    fn age_ms(&self) -> i64 {
        let oldest = self.record.masks.iter().map(|mask| mask.age_us).max();
        oldest.map_or(-1, |micros| {
            let age = Duration::from_micros(micros) + self.painted.elapsed();
            i64::try_from(age.as_millis()).unwrap_or(i64::MAX)
        })
    }

    /// The messages of it, appended to `out`.
    fn write(&mut self, version: u16, sent: Option<Sent>, out: &mut Vec<u8>) {
        let age_ms = self.age_ms();
        let record = &self.record;
        let timestamp = sent.map_or(0, |sent| sent.timestamp);
        let text = json!({ "frame": record, "prompts": self.prompts }).to_string();
        let status = Status {
            code: code(&record.state, &record.reason),
            subcode: age_ms,
            name: &record.state,
            text: &text,
        };
        let envelope = Envelope {
            version,
            device: STATE,
            timestamp,
            metadata: &[],
        };
        status.write(&envelope, out);
        let geometry = sent.map(|sent| sent.geometry).filter(|_| self.mapped);
        let Some((geometry, (width, height))) = geometry.and_then(|g| Some((g, g.sides()?))) else {
            return;
        };
        // Zero where nothing was painted.
        self.labels.resize(width as usize * height as usize, 0);
        let labels = (1_u8..).zip(&self.prompts);
        let labels: Vec<String> = labels
            .map(|(at, name)| format!("{at}={}", &**name))
            .collect();
        let metadata = [
            ("age_ms", age_ms.to_string()),
            ("frame", record.frame.to_string()),
            ("state", (*record.state).to_owned()),
            ("labels", labels.join(";")),
        ];
        let metadata = metadata
            .each_ref()
            .map(|(key, value)| (*key, value.as_str()));
        let picture = Picture {
            width,
            height,
            format: PixelFormat::Gray8,
            geometry,
            pixels: &self.labels,
        };
        let envelope = Envelope {
            device: LABELS,
            metadata: &metadata,
            ..envelope
        };
        picture.write(&envelope, out);
    }
}

/// What a peer's user interface makes of a state.
fn code(state: &str, reason: &str) -> Code {
    match (state, reason) {
        ("active" | "degraded", _) => Code::Ok,
        ("paused", "off" | "frozen") => Code::Manual,
        ("stalled", _) => Code::Timeout,
        ("fault", _) => Code::Failure,
        _ => Code::NotReady,
    }
}

/// Answers on their way to the peer.
pub(crate) struct Answers {
    sender: Sender,
    next: Arc<Slot<Answer>>,
    /// The memory of an answer that was overtaken.
    spare: Option<Answer>,
    posted: Instant,
    /// When the newest picture was painted.
    painted: Instant,
    thread: JoinHandle<()>,
}

impl Answers {
    /// Have what a session shows sent; never waits.
    pub(crate) fn shown(&mut self, session: &LiveSession, frame: Option<&Frame>) {
        if frame.is_some() {
            self.painted = Instant::now();
        }
        // What waits may be the label map without the mask that the peer still shows: a mere state
        // must not take its place.
        let idle = self.posted.elapsed() >= EVERY && self.next.is_free();
        let due = frame.is_some() || idle;
        if !due || !self.sender.is_connected() {
            return;
        }
        self.posted = Instant::now();
        let mut answer = self.spare.take().unwrap_or_else(Answer::empty);
        answer.fill(session, frame.is_some(), self.painted);
        self.spare = self.next.put(answer);
    }

    /// Send what waits, and end.
    pub(crate) fn finish(self) {
        self.next.close();
        let begun = Instant::now();
        while !self.thread.is_finished() && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(10));
        }
        self.sender.close();
        let _ = self.thread.join();
    }
}

/// Send answers until no more come, and take prompts.
fn answer(sender: &Sender, answers: &Slot<Answer>, control: &Control, modality: Option<Modality>) {
    let mut out = Vec::new();
    let mut last: Option<Sent> = None;
    loop {
        while let Some(text) = sender.text() {
            let asked = text.map_err(|e| e.to_string());
            let asked = asked.and_then(|text| ask(&text, control, modality));
            out.clear();
            reply(asked, sender.version(), &mut out);
            // Whoever is gone needs no answer.
            let _ = sender.send(&out);
        }
        match answers.wait(NAP) {
            Waited::Value(mut answer) => {
                out.clear();
                let captured = Timestamp::from_nanos(answer.record.captured_ns);
                // A picture that is shown for long is no longer among those that the sender knows.
                last = sender
                    .sent(captured)
                    .or(last.filter(|sent| sent.captured == captured));
                answer.write(sender.version(), last, &mut out);
                let _ = sender.send(&out);
            }
            Waited::TimedOut => {}
            Waited::Closed => return,
        }
    }
}

/// Ask for what a peer names, one prompt a line.
fn ask(text: &str, control: &Control, modality: Option<Modality>) -> Result<(), String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let (_, asked) = control.requested();
    let prompts: Vec<Prompt> = lines
        .map(|text| {
            // One that is asked already keeps the modality and site that it was given.
            let same = asked.iter().find(|prompt| prompt.text == text);
            same.cloned().unwrap_or(Prompt {
                text: text.to_owned(),
                modality,
                site: None,
            })
        })
        .collect();
    control.set_prompts(&prompts).map_err(|e| e.to_string())
}

/// Tell whether the prompts were taken.
fn reply(asked: Result<(), String>, version: u16, out: &mut Vec<u8>) {
    let (code, name, text) = match &asked {
        Ok(()) => (Code::Ok, "taken", ""),
        Err(why) => (Code::Configuration, "refused", why.as_str()),
    };
    let status = Status {
        code,
        subcode: 0,
        name,
        text,
    };
    let envelope = Envelope {
        version,
        device: PROMPT,
        timestamp: 0,
        metadata: &[],
    };
    status.write(&envelope, out);
}
