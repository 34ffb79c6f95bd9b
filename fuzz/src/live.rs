//! A live session under any order of events, and what a model's process may say to it.

use std::ops::Range;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bedside::{
    Clock, Finding, Frame, ManualClock, Mask, Modality, PixelFormat, Prompt, Stall, State,
    Timestamp,
};
use bedside_live::{
    Control, Error, ErrorKind, LiveSession, Loader, Metrics, Model, ProcessLoader, SessionConfig,
    WatchdogConfig,
};

use crate::{one_line, scratch};

/// Events that are taken of an input.
const EVENTS: usize = 48;
/// A guard against waiting for ever; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Events, a byte each: what happens in the lower half, how in the upper.
pub fn events(data: &[u8]) {
    let mut bench = Bench::new();
    for byte in data.iter().take(EVENTS) {
        bench.happens(byte & 15, byte >> 4);
        bench.check();
    }
}

/// Short times, so that a few events are enough to exceed them.
fn config() -> SessionConfig {
    SessionConfig {
        watchdog: WatchdogConfig {
            stall: Duration::from_millis(60),
            hang: Duration::from_millis(200),
            load: Duration::from_secs(5),
            restarts: 2,
            window: Duration::from_secs(600),
            ..WatchdogConfig::default()
        },
        frozen: Duration::from_millis(400),
        ..SessionConfig::default()
    }
}

/// What the model does in a pass, beside finding everything, which is 0.
const MISSES: u8 = 1;
const FAILS: u8 = 2;
const PANICS: u8 = 3;
const HANGS: u8 = 4;
const OTHER_SIZE: u8 = 5;
const TOO_FEW: u8 = 6;
const NO_MASK: u8 = 7;
const NAN: u8 = 8;

/// Does as it is told, with one of the constants above, and holds a pass until it may end.
#[derive(Clone, Default)]
struct Puppet {
    does: Arc<AtomicU8>,
    free: Arc<(Mutex<bool>, Condvar)>,
}

impl Puppet {
    fn free(&self, free: bool) {
        *self.free.0.lock().expect("no panic holds it") = free;
        self.free.1.notify_all();
    }
}

impl Loader for Puppet {
    fn load(&self) -> Result<Box<dyn Model>, Error> {
        Ok(Box::new(Loaded(self.clone(), Vec::new())))
    }

    fn check(&self, prompts: &[Prompt]) -> Result<Option<Modality>, Error> {
        match prompts.iter().find(|prompt| prompt.text == "unknown") {
            Some(_) => Err(Error::new(ErrorKind::Prompt, "unknown prompt 'unknown'")),
            None => Ok(Some(Modality::Ultrasound)),
        }
    }
}

struct Loaded(Puppet, Vec<Prompt>);

impl Model for Loaded {
    fn set_prompts(&mut self, prompts: &[Prompt], _: Option<u32>) -> Result<(), Error> {
        if prompts.iter().any(|prompt| prompt.text == "refused") {
            return Err(Error::new(
                ErrorKind::Prompt,
                "'refused' means several things",
            ));
        }
        self.1 = prompts.to_vec();
        Ok(())
    }

    fn segment(&mut self, frame: &Frame, places: Range<usize>) -> Result<Vec<Finding>, Error> {
        let does = self.0.does.load(Ordering::SeqCst);
        let held = self.0.free.0.lock().expect("no panic holds it");
        let wait = |free: &mut bool| does == HANGS && !*free;
        drop(
            self.0
                .free
                .1
                .wait_while(held, wait)
                .expect("no panic holds it"),
        );
        let asked = self.1.get(places).unwrap_or_default();
        match does {
            FAILS => return Err(Error::new(ErrorKind::Model, "NaN among the logits")),
            PANICS => panic!("the model panics, as it is told"),
            TOO_FEW => return Ok(Vec::new()),
            _ => {}
        }
        let size = match does {
            OTHER_SIZE => (frame.height() + 1, frame.width()),
            _ => (frame.width(), frame.height()),
        };
        Ok(asked
            .iter()
            .map(|prompt| finding(&prompt.text, does, size))
            .collect())
    }
}

fn finding(prompt: &str, does: u8, (width, height): (u32, u32)) -> Finding {
    let mut finding = Finding::absent(prompt, 0.1);
    if does == MISSES {
        return finding;
    }
    let inside = |at: u32, side: u32| at >= side / 4 && at <= side / 2;
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let pixels = pixels.map(|(x, y)| u8::from(inside(x, width) && inside(y, height)));
    let mask = Mask::from_bytes(width, height, pixels.collect()).expect("a mask");
    finding.present = true;
    finding.presence = if does == NAN { f32::NAN } else { 0.95 };
    (finding.area, finding.bounding_box) = mask.measure_rows(0..height);
    finding.mask = Some(mask).filter(|_| does != NO_MASK);
    finding
}

/// A picture with texture, moved to the right by so many pixels; `kind` is its size and format.
fn picture(kind: u8, moved: u64) -> Frame {
    let (width, height) =
        [(64, 48), (48, 64), (8, 8), (65, 33), (1, 1), (3, 512)][usize::from(kind % 6)];
    let format =
        [PixelFormat::Gray8, PixelFormat::Rgb8, PixelFormat::I420][usize::from(kind / 6 % 3)];
    let mut data = Vec::new();
    for at in 0..format.byte_len(width, height) {
        let (x, y) = (at % width as usize, at / width as usize);
        let x = x as f32 - moved as f32;
        let wave = (x / 3.0).sin() + (y as f32 / 4.0).cos() + (x * y as f32 / 90.0).sin();
        data.push((128.0 + 35.0 * wave) as u8);
    }
    Frame::new(width, height, format, data).expect("a frame")
}

/// A session, what it is asked, and what must hold of it.
struct Bench {
    session: LiveSession,
    control: Arc<Control>,
    clock: Arc<ManualClock>,
    puppet: Puppet,
    /// Kind of the source's pictures, and how far they have moved.
    kind: u8,
    moved: u64,
    next: u64,
    /// The last frame, and when it was painted.
    last: Option<Frame>,
    painted: Timestamp,
    /// The first frame of the present patient, and of the present prompts: no mask may be of one
    /// before.
    first: u64,
    fault: Option<State>,
    /// The newest frame whose answer was waited for.
    settled: u64,
}

impl Bench {
    fn new() -> Self {
        let puppet = Puppet::default();
        let loader: Arc<dyn Loader> = Arc::new(puppet.clone());
        let asked = [Prompt::new("thing")];
        let control = Arc::new(Control::new(loader.clone(), &asked).expect("a known prompt"));
        let clock = Arc::new(ManualClock::default());
        let metrics = Arc::new(Metrics::new());
        let session = LiveSession::new(loader, control.clone(), metrics, clock.clone(), config());
        Self {
            session,
            control,
            painted: clock.now(),
            clock,
            puppet,
            kind: 0,
            moved: 0,
            next: 1,
            last: None,
            first: 0,
            fault: None,
            settled: 0,
        }
    }

    fn happens(&mut self, what: u8, how: u8) {
        match what {
            0..=3 => {
                self.moved += u64::from(how % 4);
                self.show(picture(self.kind, self.moved));
            }
            4 => self.show(picture(how, self.moved)),
            5 => {
                self.kind = how;
                self.show(picture(self.kind, self.moved));
            }
            6 => {
                let black = picture(self.kind, 0);
                let data = vec![how; black.data().len()];
                let black = Frame::new(black.width(), black.height(), black.format(), data);
                self.show(black.expect("a frame"));
            }
            7 | 8 => self.idle(),
            9 => self.clock.advance(Duration::from_millis(
                [
                    0, 1, 20, 40, 40, 40, 100, 190, 210, 450, 510, 900, 2_100, 10_100, 300_000,
                    600_100,
                ][usize::from(how)],
            )),
            10 | 11 => self.settle(),
            12 => self.puppet.does.store(how % 9, Ordering::SeqCst),
            13 => {
                let prompts: &[&str] = [
                    &["thing"][..],
                    &["other", "thing"],
                    &["thing", "thing", "refused"],
                    &["unknown"],
                    &[],
                ][usize::from(how % 5)];
                let prompts: Vec<_> = prompts.iter().map(|text| Prompt::new(*text)).collect();
                let before = self.control.requested();
                match self.control.set_prompts(&prompts) {
                    Ok(()) if before.1 != prompts => self.first = self.next,
                    Ok(()) => {}
                    Err(error) => {
                        one_line(&error);
                        assert_eq!(
                            self.control.requested(),
                            before,
                            "a refusal changes nothing"
                        );
                    }
                }
            }
            14 => self.control.switch(how.is_multiple_of(2)),
            _ => {
                self.control.next_patient();
                self.first = self.next;
            }
        }
    }

    fn show(&mut self, frame: Frame) {
        let frame = frame.captured_at(self.clock.now());
        let number = self.next;
        self.next += 1;
        self.session
            .frame(frame.clone(), number)
            .expect("room for the band");
        (self.last, self.painted) = (Some(frame), self.clock.now());
        assert_eq!(self.session.record().frame, number);
    }

    fn idle(&mut self) {
        if self.session.idle() {
            self.painted = self.clock.now();
        }
        // Whoever looks then sees no mask beyond the limit.
        let since = self.clock.now().since(self.painted);
        let oldest = self
            .session
            .record()
            .masks
            .iter()
            .map(|mask| mask.age_us)
            .max();
        let oldest = Duration::from_micros(oldest.unwrap_or(0)) + since;
        assert!(self.session.record().masks.is_empty() || oldest <= config().age.limit);
    }

    /// Wait, while time stands still, until the model has answered the newest frame that it was
    /// asked. Of answers that come together the session hears the newest alone.
    fn settle(&mut self) {
        self.puppet.free(true);
        let began = Instant::now();
        let newest = self.session.asked();
        loop {
            self.idle();
            let (state, asked) = (self.session.state(), self.session.asked());
            let old = |asked| asked <= self.settled || Some(asked) < newest;
            let ready = self.session.is_loaded() && asked.is_none_or(old);
            if ready || matches!(state, State::Fault(_)) {
                break;
            }
            let told = self.session.message();
            assert!(
                began.elapsed() < PATIENCE,
                "{state}, no answer to {asked:?} ({told:?})"
            );
            thread::sleep(Duration::from_micros(100));
        }
        self.settled = newest.unwrap_or(0).max(self.settled);
        self.puppet.free(false);
    }

    fn check(&mut self) {
        let (session, record) = (&self.session, self.session.record());
        let state = session.state();
        // Of a picture that is not live that is said first, whatever became of the model.
        let live = state != State::Stalled(Stall::Input);
        assert!(
            !live || self.fault.is_none_or(|fault| fault == state),
            "{state} after a fault"
        );
        if live {
            self.fault = Some(state).filter(|state| matches!(state, State::Fault(_)));
        }
        assert!(
            state.permit().is_some() || record.masks.is_empty(),
            "a mask in {state}"
        );
        if let Some(error) = session.message() {
            one_line(&error);
        }
        for (mask, _) in session.masks() {
            assert!(mask.made_for <= record.frame);
        }
        for mask in &record.masks {
            assert!(session.prompts().contains(&mask.prompt), "{mask:?}");
            assert!(
                Duration::from_micros(mask.age_us) <= config().age.limit,
                "{mask:?}"
            );
            assert!((0.0..=1.0).contains(&mask.confidence), "{mask:?}");
            assert!((0.0..=1.0).contains(&mask.presence), "{mask:?}");
        }
        // What was changed counts from the next picture on.
        if record.frame >= self.first {
            let old = record.masks.iter().find(|mask| mask.made_for < self.first);
            assert!(
                old.is_none(),
                "{old:?}, but all before {} is of others",
                self.first
            );
        }
        if let (Some(frame), true) = (&self.last, record.masks.is_empty()) {
            let painted = session.annotated().expect("a picture after a frame");
            same(frame, painted);
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A model that hangs ends with its pass.
        self.puppet.free(true);
    }
}

/// Above the band, a picture without masks is the frame as it came.
fn same(frame: &Frame, painted: &Frame) {
    assert_eq!(painted.width(), frame.width());
    let (frame, painted) = (frame.view(), painted.view());
    let gray = frame.format() == PixelFormat::Gray8;
    for y in 0..frame.height() {
        for x in 0..frame.width() {
            let (Some(was), Some(is)) = (frame.pixel(x, y), painted.pixel(x, y)) else {
                panic!("no pixel at {x}, {y}");
            };
            assert!(
                was[0] == is[0] && (gray || was == is),
                "{x}, {y}: {was:?}, {is:?}"
            );
        }
    }
}

/// Whatever a model's process says: it is asked for prompts, then for a frame.
pub fn answers(data: &[u8]) {
    // What a message lacks comes as zeros: who waits for more would wait for the watchdog.
    let path = scratch::file("said", &[data, &vec![0; 128 << 10]].concat());
    let command = move || {
        let mut command = Command::new("sh");
        // Its standard input is the socket.
        command
            .args(["-c", "cat \"$0\" >&0; exec cat >/dev/null"])
            .arg(&path);
        command
    };
    let loader = ProcessLoader::new(Arc::new(Puppet::default()), command);
    let asked = || -> Result<Vec<Finding>, Error> {
        let mut model = loader.load()?;
        model.set_prompts(&[Prompt::new("thing")], None)?;
        model.segment(&picture(2, 0), 0..1)
    };
    match asked() {
        Ok(findings) => {
            assert_eq!(findings.len(), 1);
            for finding in findings {
                assert_eq!(finding.mask.is_some(), finding.present);
                assert!((0.0..=1.0).contains(&finding.presence));
                if let Some(mask) = finding.mask {
                    assert_eq!((mask.width(), mask.height()), (8, 8));
                    let measured = mask.measure_rows(0..8);
                    assert_eq!((finding.area, finding.bounding_box), measured);
                }
            }
        }
        Err(error) => one_line(&error),
    }
}
