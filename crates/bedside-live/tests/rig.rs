//! A session beside a model that does as a test says, on a clock that only the test moves.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bedside::{
    BoundingBox, Clock, Finding, Frame, ManualClock, Mask, Modality, PixelFormat, Prompt, State,
    Timestamp,
};
use bedside_live::{
    Control, Error, ErrorKind, LiveSession, Loader, Metrics, Model, SessionConfig, WatchdogConfig,
};

pub(crate) const WIDTH: u32 = 160;
pub(crate) const HEIGHT: u32 = 120;
/// Time between two frames.
pub(crate) const BETWEEN: Duration = Duration::from_millis(40);
/// A guard against waiting for ever; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(300);

/// A gray frame with texture, moved to the right by so many pixels.
pub(crate) fn picture(moved: u64) -> Frame {
    let mut data = Vec::with_capacity((WIDTH * HEIGHT) as usize);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let x = f64::from(x) - moved as f64;
            let y = f64::from(y);
            let wave = (x / 7.0).sin() + (y / 5.0).cos() + (x * y / 300.0).sin();
            data.push((128.0 + 35.0 * wave) as u8);
        }
    }
    Frame::new(WIDTH, HEIGHT, PixelFormat::Gray8, data).unwrap()
}

/// A square in the middle.
fn square() -> Mask {
    let inside = |v: u32, side: u32| (side / 4..side / 2).contains(&v);
    let pixels = (0..HEIGHT)
        .flat_map(|y| (0..WIDTH).map(move |x| u8::from(inside(x, WIDTH) && inside(y, HEIGHT))));
    Mask::from_bytes(WIDTH, HEIGHT, pixels.collect()).unwrap()
}

pub(crate) fn finding(prompt: &str, presence: f32) -> Finding {
    let mask = square();
    let mut finding = Finding::absent(prompt, presence);
    if presence >= 0.5 {
        finding.present = true;
        finding.area = mask.area();
        finding.mask = Some(mask);
        finding.bounding_box = Some(BoundingBox {
            x: WIDTH / 4,
            y: HEIGHT / 4,
            width: WIDTH / 4,
            height: HEIGHT / 4,
        });
        finding.mean_probability = Some(0.9);
    }
    finding
}

/// Holds back whoever waits until it is opened.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub(crate) fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(open, |open| !*open).unwrap());
    }
}

/// Wait for what another thread is about to do.
pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_micros(200));
    }
}

pub(crate) fn failure(message: &str) -> Error {
    Error::new(ErrorKind::Model, message)
}

type Script = dyn Fn(u32) -> Result<f32, Error> + Send + Sync;
type Change = dyn Fn(u32, &mut Vec<Finding>) + Send + Sync;

/// Answers each prompt as a script says: with the square at a presence, or with an error. The
/// script is asked with the number of the pass over all loads.
#[derive(Clone)]
pub(crate) struct Scripted {
    script: Arc<Script>,
    change: Arc<Change>,
    loading: Arc<dyn Fn() + Send + Sync>,
    begun: Arc<AtomicU32>,
    ended: Arc<AtomicU32>,
    loads: Arc<AtomicU32>,
}

impl Scripted {
    pub(crate) fn new(script: impl Fn(u32) -> Result<f32, Error> + Send + Sync + 'static) -> Self {
        Self {
            script: Arc::new(script),
            change: Arc::new(|_, _| ()),
            loading: Arc::new(|| ()),
            begun: Arc::default(),
            ended: Arc::default(),
            loads: Arc::default(),
        }
    }

    /// Finds the square in every frame.
    pub(crate) fn sure() -> Self {
        Self::new(|_| Ok(0.95))
    }

    /// The same, but holds every pass from this one on until its gate is open.
    pub(crate) fn held_from(pass: u32) -> (Self, Gate) {
        let gate = Gate::default();
        let held = gate.clone();
        let script = Self::new(move |now| {
            if now >= pass {
                held.wait();
            }
            Ok(0.95)
        });
        (script, gate)
    }

    /// Whose findings are changed before they are given; asked with the number of the pass.
    pub(crate) fn changed(
        mut self,
        change: impl Fn(u32, &mut Vec<Finding>) + Send + Sync + 'static,
    ) -> Self {
        self.change = Arc::new(change);
        self
    }

    /// Whose loading does this first.
    pub(crate) fn loading(mut self, first: impl Fn() + Send + Sync + 'static) -> Self {
        self.loading = Arc::new(first);
        self
    }

    /// Passes that were begun, and that gave an answer or an error.
    pub(crate) fn begun(&self) -> u32 {
        self.begun.load(Ordering::SeqCst)
    }

    pub(crate) fn ended(&self) -> u32 {
        self.ended.load(Ordering::SeqCst)
    }

    pub(crate) fn loads(&self) -> u32 {
        self.loads.load(Ordering::SeqCst)
    }
}

impl Loader for Scripted {
    fn load(&self) -> Result<Box<dyn Model>, Error> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        (self.loading)();
        Ok(Box::new(Loaded {
            script: self.clone(),
            prompts: Vec::new(),
        }))
    }

    fn check(&self, prompts: &[Prompt]) -> Result<Option<Modality>, Error> {
        match prompts.iter().find(|p| p.text == "unknown") {
            Some(_) => Err(Error::new(ErrorKind::Prompt, "unknown prompt 'unknown'")),
            None => Ok(Some(Modality::Ultrasound)),
        }
    }
}

struct Loaded {
    script: Scripted,
    prompts: Vec<Prompt>,
}

impl Model for Loaded {
    fn set_prompts(&mut self, prompts: &[Prompt], _: Option<u32>) -> Result<(), Error> {
        if prompts.iter().any(|p| p.text == "refused") {
            let message = "'refused' names several things";
            return Err(Error::new(ErrorKind::Prompt, message));
        }
        self.prompts = prompts.to_vec();
        Ok(())
    }

    fn segment(&mut self, _: &Frame, places: Range<usize>) -> Result<Vec<Finding>, Error> {
        let pass = self.script.begun.fetch_add(1, Ordering::SeqCst);
        let presence = (self.script.script)(pass);
        self.script.ended.fetch_add(1, Ordering::SeqCst);
        let (presence, asked) = (presence?, self.prompts.get(places).unwrap_or_default());
        let mut findings = asked.iter().map(|p| finding(&p.text, presence)).collect();
        (self.script.change)(pass, &mut findings);
        Ok(findings)
    }
}

thread_local! {
    /// How often this thread may still read a bench's clock, where that is bounded.
    static READINGS: Cell<Option<u32>> = const { Cell::new(None) };
    static AGAIN: Cell<bool> = const { Cell::new(false) };
}

/// Panics after so many more readings on this thread, once or at each further one: whatever works on
/// a frame reads the clock, so it stands for any of it.
pub(crate) fn panic_after(readings: u32, again: bool) {
    AGAIN.set(again);
    READINGS.set(Some(readings));
}

/// The bench's clock, as the session sees it.
struct Tripping(Arc<ManualClock>);

impl Clock for Tripping {
    fn now(&self) -> Timestamp {
        match READINGS.get() {
            Some(0) => {
                READINGS.set(AGAIN.get().then_some(0));
                panic!("the clock panics, as this test wants");
            }
            left => READINGS.set(left.map(|left| left - 1)),
        }
        self.0.now()
    }
}

/// A session on a script, with what looks at it.
pub(crate) struct Bench {
    pub(crate) session: LiveSession,
    pub(crate) control: Arc<Control>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) next: u64,
}

impl Bench {
    /// Ready, the model loaded.
    pub(crate) fn new(script: &Scripted, config: SessionConfig) -> Self {
        Self::on(Arc::new(script.clone()), config)
    }

    /// Ready, a model of this loader loaded.
    pub(crate) fn on(loader: Arc<dyn Loader>, config: SessionConfig) -> Self {
        let mut bench = Self::unready(loader, config);
        bench.settle();
        bench
    }

    /// The model not loaded yet.
    pub(crate) fn unready(loader: Arc<dyn Loader>, config: SessionConfig) -> Self {
        let control = Arc::new(Control::new(loader.clone(), &[Prompt::new("thing")]).unwrap());
        let metrics = Arc::new(Metrics::new());
        let clock = Arc::new(ManualClock::default());
        let session = LiveSession::new(
            loader,
            control.clone(),
            metrics.clone(),
            Arc::new(Tripping(clock.clone())),
            config,
        );
        Self {
            session,
            control,
            metrics,
            clock,
            next: 0,
        }
    }

    /// Show one frame; what came out above the band, as luma.
    pub(crate) fn show(&mut self, frame: Frame) -> Vec<u8> {
        let frame = frame.captured_at(self.clock.now());
        let number = self.next;
        self.next += 1;
        self.session.frame(frame.clone(), number).unwrap();
        let out = self.painted();
        if self.session.record().masks.is_empty() {
            assert_eq!(out, frame.data(), "without masks the frame is as it came");
        }
        out
    }

    /// What was painted last above the band, as luma.
    pub(crate) fn painted(&self) -> Vec<u8> {
        let pixels: Vec<[u8; 3]> = self.rows(0..HEIGHT);
        if self.session.record().masks.is_empty() {
            assert!(pixels.iter().all(|[_, u, v]| [*u, *v] == [128; 2]));
        }
        pixels.iter().map(|[luma, ..]| *luma).collect()
    }

    /// The band below the picture.
    pub(crate) fn band(&self) -> Vec<[u8; 3]> {
        self.rows(HEIGHT..self.session.annotated().unwrap().height())
    }

    fn rows(&self, rows: Range<u32>) -> Vec<[u8; 3]> {
        let painted = self.session.annotated().unwrap();
        assert_eq!(painted.format(), PixelFormat::I420);
        let view = painted.view();
        let pixels = rows.flat_map(|y| (0..WIDTH).map(move |x| (x, y)));
        pixels.filter_map(|(x, y)| view.pixel(x, y)).collect()
    }

    /// A count among the metrics.
    pub(crate) fn count(&self, name: &str) -> Option<u32> {
        let text = self.metrics.prometheus();
        let mut counts = text.lines().filter_map(|line| line.strip_prefix(name));
        counts.find_map(|count| count.trim().parse().ok())
    }

    /// Show the next of the moving frames, without waiting for the model.
    pub(crate) fn show_next(&mut self) -> Vec<u8> {
        self.show(picture(self.next))
    }

    /// Wait, while time stands still, until the model is loaded and has answered all that it was
    /// asked.
    pub(crate) fn settle(&mut self) {
        let session = &mut self.session;
        wait_for("a model without work", || {
            session.idle();
            let ready = session.is_loaded() && session.asked().is_none();
            ready || matches!(session.state(), State::Fault(_))
        });
    }

    /// Show a frame, have the model answer, and go on to the next frame's time.
    pub(crate) fn step(&mut self, frame: Frame) -> Vec<u8> {
        let out = self.show(frame);
        self.settle();
        self.clock.advance(BETWEEN);
        out
    }

    pub(crate) fn step_next(&mut self) -> Vec<u8> {
        self.step(picture(self.next))
    }

    /// Go on until something holds, which it must within fifty frames.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&LiveSession) -> bool) {
        for _ in 0..50 {
            self.step_next();
            if holds(&self.session) {
                return;
            }
        }
        let state = self.session.state();
        panic!("not within fifty frames: {what}; it is {state}");
    }

    pub(crate) fn until_masked(&mut self) {
        self.until("a mask", |s| !s.record().masks.is_empty());
    }
}

/// Short times, so that a few frames are enough to exceed them.
pub(crate) fn quick() -> SessionConfig {
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
