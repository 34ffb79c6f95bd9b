//! Outputs that come and go, such as a display that is unplugged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bedside::Frame;
use bedside_live::{
    Condition, Error, ErrorKind, Output, OutputReport, RunConfig, SessionConfig, Stop,
};
use bedside_video::sink::{Sink, SinkError, SinkErrorKind};
use bedside_video::{Source, SourceError, SourceInfo};

use crate::rig::{Bench, Gate, Scripted, picture};
use crate::session::{Burst, Listener, source_info};

/// Is away for the writes of a range, and opens its gate with the first that it takes.
struct Fickle {
    asked: Arc<AtomicU32>,
    away: std::ops::Range<u32>,
    back: Gate,
}

impl Sink for Fickle {
    fn write(&mut self, _: &Frame) -> Result<(), SinkError> {
        if self
            .away
            .contains(&self.asked.fetch_add(1, Ordering::SeqCst))
        {
            return Err(SinkError::new(SinkErrorKind::Away, "unplugged"));
        }
        self.back.open();
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Run all frames of a source through a sink that takes each; what became of them there, and how the
/// session ended.
fn run(sink: Fickle, source: Box<dyn Source>) -> (OutputReport, Result<u64, Error>) {
    let mut bench = Bench::new(&Scripted::sure(), SessionConfig::default());
    let output = Output {
        label: "display".into(),
        sink: Box::new(sink),
        keeps: false,
    };
    let config = RunConfig {
        wait: true,
        keep_on: false,
    };
    let ended = bedside_live::run(
        &mut bench.session,
        source.into(),
        vec![output],
        &mut Listener::default(),
        config,
        &Stop::default(),
    );
    let [report] = bench.metrics.outputs().try_into().unwrap();
    (report, ended.map(|counts| counts.shown))
}

fn fickle(away: std::ops::Range<u32>) -> Fickle {
    Fickle {
        asked: Arc::default(),
        away,
        back: Gate::default(),
    }
}

fn burst() -> Box<dyn Source> {
    Box::new(Burst {
        info: source_info(),
        given: 0,
        frames: 70,
        end: Gate::default(),
    })
}

#[test]
fn p_10_an_output_that_is_away_is_told_tried_again_and_gone_on_with() {
    let (report, ended) = run(fickle(10..30), burst());
    assert_eq!(ended.unwrap(), 60);
    assert_eq!(report.condition, Condition::Well);
    // A machine that is slow in between has some tried twice.
    assert!((1..=20).contains(&report.failed), "{report:?}");
    assert_eq!((report.written + report.failed, report.dropped), (60, 0));
    // One that is still away at the end has failed.
    let (report, ended) = run(fickle(10..1000), burst());
    let error = ended.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Sink);
    assert!(error.to_string().contains("display: unplugged"), "{error}");
    assert_eq!(report.condition, Condition::Failed);
    assert_eq!((report.written, report.failed, report.dropped), (10, 50, 0));
}

/// Gives one frame, and ends once a gate is open.
struct One {
    info: SourceInfo,
    given: bool,
    end: Gate,
}

impl Source for One {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, _: Vec<u8>) -> Result<Option<Frame>, SourceError> {
        if self.given {
            self.end.wait();
            return Ok(None);
        }
        self.given = true;
        Ok(Some(picture(1)))
    }
}

/// As while a person holds the picture: none comes that would have the output tried again.
#[test]
fn an_output_that_comes_back_is_given_the_frame_that_it_missed() {
    let sink = fickle(0..3);
    let source = One {
        info: source_info(),
        given: false,
        end: sink.back.clone(),
    };
    let (report, ended) = run(sink, Box::new(source));
    assert_eq!(ended.unwrap(), 1);
    assert_eq!(report.condition, Condition::Well);
    assert!(report.written > 0);
}
