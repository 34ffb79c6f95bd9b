//! The video path beside models that are good, slow, stuck, broken or wrong.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests may panic as tests do"
)]

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bedside::{
    BoundingBox, Clock, Degradation, Fault, Finding, Frame, ManualClock, Mask, Modality,
    MonotonicClock, Pause, PixelFormat, Prompt, Stall, State, YuvSpace,
};
use bedside_live::record::Counts;
use bedside_live::{
    AgePolicy, Control, LoadError, Loader, Metrics, Model, Session, SessionConfig, Stop,
    WatchdogConfig, Watcher,
};
use bedside_video::sink::{Sink, SinkError};
use bedside_video::{Source, SourceError, SourceErrorKind, SourceInfo};

const WIDTH: u32 = 160;
const HEIGHT: u32 = 120;

/// A gray picture with texture that moves to the right by a pixel a frame.
fn picture(number: u64) -> Frame {
    let mut data = Vec::with_capacity((WIDTH * HEIGHT) as usize);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let x = f64::from(x) - number as f64;
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

fn found(prompt: &str, presence: f32) -> Finding {
    let mask = square();
    let mut finding = Finding::absent(prompt, presence);
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
    finding
}

/// Holds runs back until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(open, |open| !*open).unwrap());
    }
}

type Script = dyn Fn(u32) -> Result<f32, String> + Send + Sync;

/// Answers each prompt as a script says: with the square at a presence, or with an error. The
/// script is asked with the number of the pass over all loads.
#[derive(Clone)]
struct Scripted {
    script: Arc<Script>,
    passes: Arc<AtomicU32>,
    loads: Arc<AtomicU32>,
}

impl Scripted {
    fn new(script: impl Fn(u32) -> Result<f32, String> + Send + Sync + 'static) -> Self {
        Self {
            script: Arc::new(script),
            passes: Arc::default(),
            loads: Arc::default(),
        }
    }
}

impl Loader for Scripted {
    fn load(&self) -> Result<Box<dyn Model>, LoadError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Run {
            script: self.clone(),
            prompts: Vec::new(),
        }))
    }

    fn check(&self, prompts: &[Prompt]) -> Result<Option<Modality>, String> {
        match prompts.iter().find(|p| p.text == "unknown") {
            Some(_) => Err("'unknown' is no object type".to_owned()),
            None => Ok(Some(Modality::Ultrasound)),
        }
    }
}

struct Run {
    script: Scripted,
    prompts: Vec<Prompt>,
}

impl Model for Run {
    fn set_prompts(&mut self, prompts: &[Prompt]) -> Result<(), String> {
        if prompts.iter().any(|p| p.text == "refused") {
            return Err("'refused' names several things".to_owned());
        }
        self.prompts = prompts.to_vec();
        Ok(())
    }

    fn segment(&mut self, _: &Frame, places: Range<usize>) -> Result<Vec<Finding>, String> {
        let pass = self.script.passes.fetch_add(1, Ordering::SeqCst);
        let presence = (self.script.script)(pass)?;
        let asked = self.prompts.get(places).unwrap_or_default();
        let answer = |p: &Prompt| match presence >= 0.5 {
            true => found(&p.text, presence),
            false => Finding::absent(p.text.as_str(), presence),
        };
        Ok(asked.iter().map(answer).collect())
    }
}

/// A session on a script, with what looks at it.
struct Bench {
    session: Session,
    control: Arc<Control>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    next: u64,
}

impl Bench {
    fn new(script: &Scripted, config: SessionConfig) -> Self {
        Self::with_clock(script, config, Arc::new(MonotonicClock::new()))
    }

    fn with_clock(script: &Scripted, config: SessionConfig, clock: Arc<dyn Clock>) -> Self {
        let loader: Arc<dyn Loader> = Arc::new(script.clone());
        let control = Arc::new(Control::new(loader.clone(), &[Prompt::new("thing")]).unwrap());
        let metrics = Arc::new(Metrics::new());
        let session = Session::new(
            loader,
            control.clone(),
            metrics.clone(),
            clock.clone(),
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

    /// Show one frame; the picture part of what came out, as gray.
    fn show(&mut self, frame: Frame) -> Vec<u8> {
        let frame = frame.captured_at(self.clock.now());
        let number = self.next;
        self.next += 1;
        self.session.frame(&frame, number).unwrap();
        let painted = self.session.annotated().unwrap().clone();
        assert_eq!(painted.format(), PixelFormat::Rgb8);
        let rgb = painted.data().as_chunks::<3>().0;
        let pixels = rgb.iter().take((WIDTH * HEIGHT) as usize);
        let out: Vec<u8> = pixels.map(|p| p[0]).collect();
        if self.session.record().masks.is_empty() {
            assert_eq!(out, frame.data(), "without masks the picture is as it came");
            assert!(rgb.iter().take(out.len()).all(|[r, g, b]| r == g && g == b));
        }
        out
    }

    /// Show moving frames until something holds, at most for ten seconds.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&Session) -> bool) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            self.show(picture(self.next));
            if holds(&self.session) {
                return;
            }
            thread::sleep(Duration::from_millis(3));
        }
        panic!(
            "not within ten seconds: {what}; it is {}",
            self.session.state()
        );
    }
}

fn quick() -> SessionConfig {
    SessionConfig {
        watchdog: WatchdogConfig {
            stall: Duration::from_millis(60),
            hang: Duration::from_millis(200),
            load: Duration::from_secs(5),
            restarts: 2,
            window: Duration::from_secs(600),
        },
        frozen: Duration::from_millis(400),
        ..SessionConfig::default()
    }
}

#[test]
fn p_01_masks_follow_the_picture_and_say_that_they_were_carried() {
    let script = Scripted::new(|_| {
        thread::sleep(Duration::from_millis(30));
        Ok(0.95)
    });
    let mut bench = Bench::new(&script, SessionConfig::default());
    bench.until("active", |s| {
        s.state() == State::Active && !s.record().masks.is_empty()
    });
    for _ in 0..50 {
        let out = bench.show(picture(bench.next));
        let record = bench.session.record().clone();
        for mask in &record.masks {
            assert!(mask.made_for < record.frame && mask.age_us <= 500_000);
            assert!(
                mask.confidence < 1.0,
                "a carried mask is less sure than a fresh one"
            );
            // The model says the square's left edge is at 40; the picture has moved on since.
            let moved = (record.frame - mask.made_for) as i64;
            let left = i64::from(mask.bounding_box.unwrap()[0]) - i64::from(WIDTH / 4);
            assert!(
                (left - moved).abs() <= 2,
                "moved {moved}, the mask by {left}"
            );
        }
        if !record.masks.is_empty() {
            assert_ne!(out, picture(record.frame).data(), "a mask changes pixels");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn p_02_beyond_the_age_limit_nothing_is_painted_and_the_state_says_why() {
    let gate = Gate::default();
    let held = gate.clone();
    let script = Scripted::new(move |pass| {
        if pass > 0 {
            held.wait();
        }
        Ok(0.95)
    });
    let clock = Arc::new(ManualClock::default());
    let mut config = quick();
    config.watchdog.hang = Duration::from_secs(60);
    config.watchdog.stall = Duration::from_millis(700);
    config.frozen = Duration::from_secs(5);
    config.age = AgePolicy {
        limit: Duration::from_millis(500),
    };
    let mut bench = Bench::with_clock(&script, config, clock.clone());
    bench.until("first mask", |s| !s.record().masks.is_empty());
    let age = |bench: &Bench| bench.session.record().masks.first().map(|m| m.age_us);
    assert_eq!(age(&bench), Some(0), "time stands still");
    clock.advance(Duration::from_millis(500));
    bench.show(picture(bench.next));
    assert_eq!(age(&bench), Some(500_000), "at the limit");
    clock.advance(Duration::from_nanos(1));
    bench.show(picture(bench.next));
    assert_eq!(age(&bench), None, "just beyond the limit");
    clock.advance(Duration::from_secs(1));
    bench.show(picture(bench.next));
    assert_eq!(bench.session.state(), State::Stalled(Stall::Inference));
    gate.open();
}

#[test]
fn p_03_video_goes_on_unchanged_beside_a_model_that_is_off_stuck_slow_or_broken() {
    let gate = Gate::default();
    let stuck = gate.clone();
    let scripts = [
        Scripted::new(move |_| {
            stuck.wait();
            Ok(0.95)
        }),
        Scripted::new(|_| panic!("the model panics, as this test wants")),
        Scripted::new(|_| Err("values that are no numbers".to_owned())),
        Scripted::new(|_| {
            thread::sleep(Duration::from_secs(2));
            Ok(0.95)
        }),
    ];
    let off = Scripted::new(|_| Ok(0.95));
    for (script, on) in scripts.iter().map(|s| (s, true)).chain([(&off, false)]) {
        let mut bench = Bench::new(script, quick());
        bench.control.switch(on);
        // `show` compares the picture, as no mask is painted in any of these.
        for _ in 0..60 {
            bench.show(picture(bench.next));
            assert!(bench.session.record().masks.is_empty());
            assert_eq!(bench.session.record().frame, bench.next - 1);
            thread::sleep(Duration::from_millis(2));
        }
        assert!(
            bench.session.state().permit().is_none(),
            "{}",
            bench.session.state()
        );
    }
    gate.open();
}

#[test]
fn a_heavy_model_shows_as_degraded_and_its_masks_say_their_age() {
    const PASS: Duration = Duration::from_millis(1_500);
    let script = Scripted::new(|_| {
        thread::sleep(PASS);
        Ok(0.95)
    });
    // Twice the time of a pass, as a person would set it for such a model; and the usual limit.
    for (limit, painted) in [(2 * PASS, true), (AgePolicy::default().limit, false)] {
        let config = SessionConfig {
            age: AgePolicy { limit },
            ..SessionConfig::default()
        };
        let mut bench = Bench::new(&script, config);
        let (mut answered, mut masks) = (0, 0);
        while answered < 150 {
            // Slow enough for the square to stay in the picture.
            bench.show(picture(bench.next / 8));
            thread::sleep(Duration::from_millis(10));
            if bench.session.state() == State::Starting {
                continue;
            }
            answered += 1;
            assert_eq!(bench.session.record().frame, bench.next - 1, "every frame");
            assert_eq!(
                bench.session.state(),
                State::Degraded(Degradation::Slow),
                "more than the target"
            );
            for mask in &bench.session.record().masks {
                let age = Duration::from_micros(mask.age_us);
                assert!(age >= PASS && age <= limit, "{age:?}");
                assert!(mask.confidence < 0.6, "{}", mask.confidence);
                masks += 1;
            }
        }
        assert_eq!(masks > 50, painted, "{masks}");
    }
}

#[test]
fn p_04_a_frozen_or_silent_input_is_stated_and_its_overlay_cleared() {
    let script = Scripted::new(|_| Ok(0.95));
    let clock = Arc::new(ManualClock::default());
    let mut bench = Bench::with_clock(&script, quick(), clock.clone());
    bench.until("first mask", |s| !s.record().masks.is_empty());
    let frozen = picture(bench.next);
    for _ in 0..12 {
        bench.show(frozen.clone());
        clock.advance(Duration::from_millis(40));
    }
    bench.show(frozen);
    assert_eq!(bench.session.state(), State::Stalled(Stall::Input));
    assert!(bench.session.record().masks.is_empty());
    bench.until("back", |s| {
        s.state() == State::Active && !s.record().masks.is_empty()
    });
    clock.advance(Duration::from_millis(401));
    bench.session.idle();
    assert_eq!(bench.session.state(), State::Stalled(Stall::Input));
    let stated = &bench.session.record().masks;
    assert!(stated.is_empty(), "nor said to be there: {stated:?}");
    bench.until("back", |s| {
        s.state() == State::Active && !s.record().masks.is_empty()
    });
}

#[test]
fn prompts_that_the_model_refuses_do_not_cost_its_restarts() {
    let script = Scripted::new(|_| Ok(0.95));
    let mut bench = Bench::new(&script, quick());
    bench.until("first mask", |s| !s.record().masks.is_empty());
    bench
        .control
        .set_prompts(&[Prompt::new("refused")])
        .unwrap();
    bench.until("said", |s| {
        s.message().is_some_and(|m| m.contains("several"))
    });
    for _ in 0..100 {
        bench.show(picture(bench.next));
        thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(bench.session.state(), State::Stalled(Stall::Inference));
    assert_eq!(script.loads.load(Ordering::SeqCst), 1);
    bench.control.set_prompts(&[Prompt::new("thing")]).unwrap();
    bench.until("back", |s| !s.record().masks.is_empty());
    assert_eq!(bench.session.state(), State::Active);
}

#[test]
fn p_08_no_signal_and_test_bars_are_not_segmented() {
    let script = Scripted::new(|_| Ok(0.95));
    let black = vec![3; (WIDTH * HEIGHT) as usize];
    let bars = (0..WIDTH * HEIGHT)
        .map(|i| (i % WIDTH / 20 * 30) as u8)
        .collect();
    for (data, pause) in [(black, Pause::NoSignal), (bars, Pause::TestPattern)] {
        let mut bench = Bench::new(&script, SessionConfig::default());
        bench.until("first mask", |s| !s.record().masks.is_empty());
        let frame = Frame::new(WIDTH, HEIGHT, PixelFormat::Gray8, data).unwrap();
        for shown in 0..20 {
            bench.show(frame.clone());
            assert!(
                bench.session.record().masks.is_empty(),
                "after a cut no mask is left"
            );
            if shown >= 2 {
                assert_eq!(bench.session.state(), State::Paused(pause));
            }
        }
        let asked = script.passes.load(Ordering::SeqCst);
        thread::sleep(Duration::from_millis(20));
        bench.show(frame.clone());
        assert_eq!(
            script.passes.load(Ordering::SeqCst),
            asked,
            "nothing is asked"
        );
        bench.until("back", |s| {
            s.state() == State::Active && !s.record().masks.is_empty()
        });
    }
}

#[test]
fn p_09_a_failed_pass_gives_no_mask_and_a_counted_fault() {
    let script = Scripted::new(|pass| match pass {
        5.. => Err("the decoder's logits hold values that are no numbers".to_owned()),
        _ => Ok(0.95),
    });
    let mut bench = Bench::new(&script, quick());
    bench.until("a fault", |s| {
        s.message().is_some_and(|m| m.contains("no numbers"))
    });
    assert_eq!(bench.session.state(), State::Stalled(Stall::Inference));
    assert!(bench.session.record().masks.is_empty());
    let text = bench.metrics.prometheus();
    let faults = text
        .lines()
        .find(|line| line.starts_with("bedside_faults_total"));
    assert_ne!(faults, Some("bedside_faults_total 0"), "{text}");
}

#[test]
fn p_12_a_stuck_model_is_restarted_within_a_budget_and_then_a_fault() {
    let gate = Gate::default();
    let stuck = gate.clone();
    let script = Scripted::new(move |pass| {
        if pass != 1 {
            stuck.wait();
        }
        Ok(0.95)
    });
    let mut bench = Bench::new(&script, quick());
    let began = Instant::now();
    // The first worker hangs in pass 0; the second answers pass 1 and hangs in pass 2.
    bench.until("a mask of the second worker", |s| {
        !s.record().masks.is_empty()
    });
    assert!(began.elapsed() >= Duration::from_millis(200));
    bench.until("fault", |s| s.state() == State::Fault(Fault::RestartsSpent));
    assert_eq!(
        script.loads.load(Ordering::SeqCst),
        3,
        "one start, two restarts"
    );
    // What the stuck workers say at last is for nobody.
    gate.open();
    thread::sleep(Duration::from_millis(50));
    for _ in 0..5 {
        bench.show(picture(bench.next));
        assert!(bench.session.record().masks.is_empty());
    }
}

#[test]
fn a_model_that_panics_once_is_loaded_again() {
    let script = Scripted::new(|pass| {
        assert!(pass != 3, "the model panics once, as this test wants");
        Ok(0.95)
    });
    let mut bench = Bench::new(&script, quick());
    bench.until("a restart", |_| script.loads.load(Ordering::SeqCst) == 2);
    bench.until("active again", |s| {
        s.state() == State::Active && !s.record().masks.is_empty()
    });
}

#[test]
fn after_a_scene_cut_no_mask_is_left() {
    let script = Scripted::new(|_| Ok(0.95));
    let mut bench = Bench::new(&script, SessionConfig::default());
    bench.until("first mask", |s| !s.record().masks.is_empty());
    let other = picture(bench.next).into_data();
    let other = other.iter().map(|v| 255 - v / 3).collect();
    bench.show(Frame::new(WIDTH, HEIGHT, PixelFormat::Gray8, other).unwrap());
    assert!(bench.session.record().masks.is_empty());
}

#[test]
fn prompts_change_while_running_and_unknown_ones_change_nothing() {
    let script = Scripted::new(|_| Ok(0.95));
    let mut bench = Bench::new(&script, SessionConfig::default());
    bench.until("first mask", |s| !s.record().masks.is_empty());
    let refused = bench.control.set_prompts(&[Prompt::new("unknown")]);
    assert!(refused.unwrap_err().contains("unknown"));
    assert!(bench.control.set_prompts(&[]).is_err());
    let prompts = [Prompt::new("one"), Prompt::new("two")];
    bench.control.set_prompts(&prompts).unwrap();
    bench.show(picture(bench.next));
    assert!(
        bench.session.record().masks.is_empty(),
        "masks of other prompts go at once"
    );
    bench.until("both", |s| s.record().masks.len() == 2);
    let names: Vec<_> = bench
        .session
        .record()
        .masks
        .iter()
        .map(|m| m.prompt.to_string())
        .collect();
    assert_eq!(names, ["one", "two"]);
    bench.control.switch(false);
    bench.show(picture(bench.next));
    assert_eq!(bench.session.state(), State::Paused(Pause::Off));
    assert!(bench.session.record().masks.is_empty());
    bench.control.switch(true);
    bench.until("on again", |s| s.record().masks.len() == 2);
}

#[test]
fn one_miss_does_not_make_a_mask_flicker_and_two_end_it() {
    // Found, missed once, found, then missed for good.
    let script = Scripted::new(|pass| {
        thread::sleep(Duration::from_millis(15));
        Ok(if pass == 10 || pass >= 20 { 0.4 } else { 0.95 })
    });
    let mut bench = Bench::new(&script, SessionConfig::default());
    bench.until("first mask", |s| !s.record().masks.is_empty());
    while script.passes.load(Ordering::SeqCst) < 20 {
        bench.show(picture(bench.next));
        assert_eq!(bench.session.record().masks.len(), 1);
        thread::sleep(Duration::from_millis(3));
    }
    bench.until("gone", |s| s.record().masks.is_empty());
    assert_eq!(bench.session.record().absent.len(), 1);
}

#[test]
fn p_11_the_video_path_allocates_nothing_once_it_runs() {
    let script = Scripted::new(|_| {
        thread::sleep(Duration::from_millis(2));
        Ok(0.95)
    });
    let mut bench = Bench::new(&script, SessionConfig::default());
    bench.until("warm", |s| {
        s.record().frame > 150 && !s.record().masks.is_empty()
    });
    let (mut with_masks, mut allocations) = (0, Vec::new());
    for _ in 0..300 {
        let frame = picture(bench.next).captured_at(bench.clock.now());
        let number = bench.next;
        bench.next += 1;
        let counted = allocation_counter::measure(|| {
            bench.session.frame(&frame, number).unwrap();
        });
        with_masks += usize::from(!bench.session.record().masks.is_empty());
        if counted.count_total > 0 {
            allocations.push((number, counted.count_total, counted.bytes_total));
        }
        thread::sleep(Duration::from_millis(1));
    }
    assert!(with_masks > 200);
    assert_eq!(allocations, []);
}

/// Gives so many frames at once, every seventh of them unreadable.
struct Burst {
    info: SourceInfo,
    given: u64,
    frames: u64,
}

impl Source for Burst {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, _: Vec<u8>) -> Result<Option<Frame>, SourceError> {
        self.given += 1;
        match self.given {
            n if n > self.frames => Ok(None),
            n if n % 7 == 0 => Err(SourceError::new(SourceErrorKind::Broken, "broken")),
            n => Ok(Some(picture(n))),
        }
    }
}

/// Takes its time.
struct SlowSink(Arc<AtomicU32>);

impl Sink for SlowSink {
    fn write(&mut self, _: &Frame) -> Result<(), SinkError> {
        thread::sleep(Duration::from_millis(3));
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

struct Nobody;

impl Watcher for Nobody {
    fn shown(&mut self, _: &Session, _: Option<&Frame>, counts: Counts) {
        assert!(counts.captured >= counts.shown + counts.dropped + counts.failed);
    }

    fn source(&mut self, _: Option<&str>) {}
}

#[test]
fn p_10_frames_in_are_shown_dropped_or_failed_and_a_slow_sink_queues_nothing() {
    for wait in [false, true] {
        let script = Scripted::new(|_| Ok(0.95));
        let mut bench = Bench::new(&script, SessionConfig::default());
        let source = Burst {
            info: SourceInfo {
                name: "burst".to_owned(),
                width: WIDTH,
                height: HEIGHT,
                format: PixelFormat::Gray8,
                yuv_space: YuvSpace::default(),
                frames_per_second: None,
                live: false,
            },
            given: 0,
            frames: 70,
        };
        let written = Arc::new(AtomicU32::new(0));
        let mut sinks: Vec<Box<dyn Sink>> = vec![Box::new(SlowSink(written.clone()))];
        let counts = bedside_live::run(
            &mut bench.session,
            Box::new(source),
            &mut sinks,
            &mut Nobody,
            &bench.metrics,
            wait,
            &Stop::default(),
        )
        .unwrap();
        assert_eq!(counts.captured, 70);
        assert_eq!(counts.failed, 10);
        assert_eq!(counts.shown, u64::from(written.load(Ordering::SeqCst)));
        assert_eq!(
            counts.captured,
            counts.shown + counts.dropped + counts.failed
        );
        assert_eq!(wait, counts.dropped == 0, "{counts:?}");
    }
}
