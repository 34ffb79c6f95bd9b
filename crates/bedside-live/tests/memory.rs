//! That a session's memory does not grow, in a process of its own.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bedside::{Clock, Finding, Frame, ManualClock, Mask, Modality, Prompt};
use bedside_live::record::Counts;
use bedside_live::{
    Control, Error, LiveSession, Loader, Metrics, Model, Output, Recorder, RunConfig,
    SessionConfig, Stop, Target, Watcher, resident_memory,
};
use bedside_video::sink::MjpegSink;
use bedside_video::{OpenOptions, Pace};

/// Finds the same quarter in every picture.
struct Quarter;

impl Loader for Quarter {
    fn load(&self) -> Result<Box<dyn Model>, Error> {
        Ok(Box::new(Self))
    }

    fn check(&self, _: &[Prompt]) -> Result<Option<Modality>, Error> {
        Ok(None)
    }
}

impl Model for Quarter {
    fn set_prompts(&mut self, _: &[Prompt], _: Option<u32>) -> Result<(), Error> {
        Ok(())
    }

    fn segment(&mut self, frame: &Frame, _: Range<usize>) -> Result<Vec<Finding>, Error> {
        let (width, height) = (frame.width(), frame.height());
        let inside = |i: u32| u8::from(i % width < width / 2 && i / width < height / 2);
        let mask = Mask::from_bytes(width, height, (0..width * height).map(inside).collect());
        let (area, bounding_box) = mask.as_ref().unwrap().measure_rows(0..height);
        let mut finding = Finding::absent("quarter", 0.9);
        finding.present = true;
        finding.mask = mask;
        finding.area = area;
        finding.bounding_box = bounding_box;
        Ok(vec![finding])
    }
}

/// Records all frames, and ends after so many.
struct Sampler {
    recorder: Recorder,
    frames: u64,
    stop: Stop,
    /// Bytes after a quarter of the frames, and at the end.
    early: Option<u64>,
    late: Option<u64>,
    masks: usize,
}

impl Watcher for Sampler {
    fn shown(&mut self, session: &LiveSession, _: Option<&Frame>, counts: Counts) {
        self.recorder.frame(session.record());
        self.masks += session.record().masks.len();
        if counts.shown >= self.frames / 4 && self.early.is_none() {
            self.early = resident_memory();
        }
        if counts.shown >= self.frames && self.late.is_none() {
            self.late = resident_memory();
            self.stop.stop();
        }
    }

    fn source(&mut self, _: Option<&str>) {}
}

#[test]
fn p_11_memory_does_not_grow_over_thousands_of_frames() {
    // Time stands still: no mask grows too old, however slow the machine.
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
    let mut options = OpenOptions::new(clock.clone());
    options.pace = Pace::Fast;
    let source = bedside_video::open("phantom:fetal-head,size=96x64", &options).unwrap();
    let loader = Arc::new(Quarter);
    let control = Control::new(loader.clone(), &[Prompt::new("quarter")]).unwrap();
    let metrics = Arc::new(Metrics::new());
    let config = SessionConfig::default();
    let mut session = LiveSession::new(loader, Arc::new(control), metrics, clock, config);
    while !session.is_loaded() {
        thread::sleep(Duration::from_millis(1));
    }
    let sink = MjpegSink::new("nowhere", std::io::sink(), 80);
    let sink = Output {
        label: "nowhere".into(),
        sink: Box::new(sink),
        keeps: false,
    };
    let target = Target::JsonLines {
        name: "nowhere".to_owned(),
        to: Box::new(std::io::sink()),
    };
    let stop = Stop::default();
    let mut sampler = Sampler {
        recorder: Recorder::start(vec![target]).unwrap(),
        frames: 4_000,
        stop: stop.clone(),
        early: None,
        late: None,
        masks: 0,
    };
    let config = RunConfig {
        wait: true,
        keep_on: false,
    };
    let counts = bedside_live::run(
        &mut session,
        source.into(),
        vec![sink],
        &mut sampler,
        config,
        &stop,
    );
    assert!(counts.unwrap().shown >= 4_000);
    assert!(sampler.masks > 1_000, "{}", sampler.masks);
    let (early, late) = (sampler.early.unwrap(), sampler.late.unwrap());
    // Allocators keep some more pages now and then; a frame a thousand frames would be 100 kB.
    assert!(
        late < early + early / 50 + (256 << 10),
        "{early} to {late} bytes"
    );
}
