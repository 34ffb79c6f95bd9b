//! All that a daemon needs, with a sink of its own: video in, annotated frames out, records and a
//! status line beside them.
//!
//! `cargo run --release -p bedside-live --example own_sink -- [BUNDLE [SOURCE [FRAMES]]]`

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use bedside::{Bundle, Frame, MonotonicClock, Options, Prompt};
use bedside_live::record::SessionRecord;
use bedside_live::{
    BundleLoader, Control, Journal, LiveSession, Metrics, Monitor, Output, Recorder, RunConfig,
    SessionConfig, Stop, Target, run,
};
use bedside_video::OpenOptions;
use bedside_video::sink::{Sink, SinkError};

/// Takes so many frames and then ends the session. A display would show them.
struct Display {
    frames: u64,
    stop: Stop,
}

impl Sink for Display {
    fn write(&mut self, frame: &Frame) -> Result<(), SinkError> {
        // In the source's own pixel format, a band of text below the picture.
        let _pixels = (frame.width(), frame.height(), frame.format(), frame.data());
        // One more may be on its way when it stops.
        self.frames = self.frames.saturating_sub(1);
        if self.frames == 0 {
            self.stop.stop();
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let bundle = args.next().unwrap_or("models/edge/edge.bedside".to_owned());
    let source = args
        .next()
        .unwrap_or("phantom:polyp,size=320x240".to_owned());
    let frames = args.next().map_or(Ok(100), |n| n.parse())?;

    let clock = Arc::new(MonotonicClock::new());
    let source = bedside_video::open(&source, &OpenOptions::new(clock.clone()))?;
    let options = Options::default();
    let backend = Arc::new(options.backend()?);
    let loader = Arc::new(BundleLoader::new(Bundle::open(bundle)?, backend, options)?);
    // Another thread may change the prompts or switch inference off.
    let control = Arc::new(Control::new(loader.clone(), &[Prompt::new("polyp")])?);
    let records = Recorder::start(vec![Target::JsonLines {
        name: "stdout".to_owned(),
        to: Box::new(io::stdout()),
    }])?;
    let opening = SessionRecord::of(&loader, &source.info().name);
    // For a lamp, a page or a status line.
    let monitor = Arc::new(Monitor::default());
    let mut journal = Journal::begin(records, monitor.clone(), opening);
    let stop = Stop::default();
    // On a thread of its own; it shows, and keeps nothing.
    let display = Output {
        label: "display".into(),
        sink: Box::new(Display {
            frames,
            stop: stop.clone(),
        }),
        keeps: false,
    };

    let metrics = Arc::new(Metrics::new());
    let config = SessionConfig::default();
    let mut session = LiveSession::new(loader, control, metrics.clone(), clock, config);
    run(
        &mut session,
        source.into(),
        vec![display],
        &mut journal,
        RunConfig::default(),
        &stop,
    )?;
    journal.finish(Duration::from_secs(5))?;
    writeln!(io::stderr(), "{}\n{}", monitor.status(), metrics.report())?;
    Ok(())
}
