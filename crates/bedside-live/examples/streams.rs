//! Several sources on one device, with the weights in memory once: as an endoscopy tower with two inputs
//! would run them.
//!
//! `cargo run --release -p bedside-live --example streams -- [STREAMS [SECONDS [PRECISION]]]`
//!
//! Each stream is a phantom of 640x480 at 30 frames a second, with a session on threads of its own and
//! a model on one thread. What the system gives each of them is fair, so nothing schedules them here.
//! For each stream a line: where its frames went, its passes, and how old the masks on them were.

use std::error::Error;
use std::io::{Write, stdout};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bedside::engine::TractCpu;
use bedside::{
    Bundle, Clock, Frame, MonotonicClock, Options, Phi, PixelFormat, Precision, Prompt, YuvSpace,
};
use bedside_live::record::Counts;
use bedside_live::{
    BundleLoader, Control, LiveSession, Metrics, RunConfig, SessionConfig, Stop, Watcher,
    resident_memory, run,
};
use bedside_phantom::{Phantom, PhantomConfig, PhantomKind};
use bedside_video::{Source, SourceError, SourceInfo};

const SIDES: (u32, u32) = (640, 480);
const BETWEEN: Duration = Duration::from_nanos(1_000_000_000 / 30);
/// Different pictures, shown forth and back so that there is no cut.
const PICTURES: u64 = 24;

/// Pictures in a circle, each at its time.
struct Paced {
    info: SourceInfo,
    pictures: Vec<Frame>,
    clock: Arc<dyn Clock>,
    due: Instant,
    left: u64,
}

impl Source for Paced {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, mut buffer: Vec<u8>) -> Result<Option<Frame>, SourceError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        self.due += BETWEEN;
        thread::sleep(self.due.saturating_duration_since(Instant::now()));
        let place = left % (2 * PICTURES - 2);
        let place = place.min(2 * PICTURES - 2 - place) as usize;
        let picture = self.pictures.get(place).map(|picture| {
            buffer.clear();
            buffer.extend_from_slice(picture.data());
            Frame::new(picture.width(), picture.height(), picture.format(), buffer)
        });
        let frame = picture.and_then(Result::ok);
        Ok(frame.map(|frame| frame.captured_at(self.clock.now())))
    }
}

struct Nobody;

impl Watcher for Nobody {
    fn shown(&mut self, _: &LiveSession, _: Option<&Frame>, _: Counts) {}

    fn source(&mut self, _: Option<&str>) {}
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let streams: u64 = args.next().map_or(Ok(4), |n| n.parse())?;
    let seconds: u64 = args.next().map_or(Ok(20), |n| n.parse())?;
    let precision = match args.next().as_deref() {
        Some("f32") => Precision::F32,
        _ => Precision::Int8,
    };
    let bundle = Bundle::open("models/edge/edge.bedside")?;
    let options = Options::default().with_threads(1).with_precision(precision);
    let loader = BundleLoader::new(bundle, Arc::new(TractCpu), options)?.shared()?;
    let loader = Arc::new(loader);
    let mib = || resident_memory().unwrap_or_default() >> 20;
    let pictures = (0..streams).map(pictures);
    let pictures: Vec<_> = pictures.collect::<Result<_, _>>()?;
    let before = mib();
    let watch = |pictures| {
        let loader = loader.clone();
        thread::spawn(move || watch(loader, pictures, seconds * 30).map_err(|e| e.to_string()))
    };
    let threads: Vec<_> = pictures.into_iter().map(watch).collect();
    let mut out = stdout().lock();
    for (stream, thread) in threads.into_iter().enumerate() {
        let metrics = thread.join().map_err(|_| "a stream panicked")??;
        let report = metrics.report();
        let Counts {
            captured,
            shown,
            dropped,
            failed,
        } = report.frames;
        write!(
            out,
            "stream {stream}: {captured} captured = {shown} shown + {dropped} dropped + {failed} failed"
        )?;
        if let (Some(pass), Some(age)) = (report.inference, report.mask_age) {
            write!(
                out,
                "; {} passes of {:.1} ms; masks on {} frames, age p50 {:.0} ms, p95 {:.0}, max {:.0}",
                pass.count, pass.p50_ms, age.count, age.p50_ms, age.p95_ms, age.max_ms
            )?;
        }
        writeln!(out)?;
    }
    writeln!(
        out,
        "memory: {before} MiB with the model and the pictures, {} at the end",
        mib()
    )?;
    Ok(())
}

/// One stream from its start to its end.
fn watch(
    loader: Arc<BundleLoader>,
    pictures: Vec<Frame>,
    frames: u64,
) -> Result<Arc<Metrics>, Box<dyn Error>> {
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    let control = Arc::new(Control::new(loader.clone(), &[Prompt::new("polyp")])?);
    let metrics = Arc::new(Metrics::new());
    let (width, height) = SIDES;
    let source: Box<dyn Source> = Box::new(Paced {
        info: SourceInfo {
            name: Phi::shown("phantom".to_owned()),
            width,
            height,
            format: PixelFormat::Rgb8,
            yuv_space: YuvSpace::default(),
            frames_per_second: Some(30.0),
            live: true,
        },
        pictures,
        clock: clock.clone(),
        due: Instant::now(),
        left: frames,
    });
    let config = SessionConfig::default();
    let mut session = LiveSession::new(loader, control, metrics.clone(), clock, config);
    let config = RunConfig {
        keep_on: true,
        ..RunConfig::default()
    };
    let stop = Stop::default();
    run(
        &mut session,
        source.into(),
        Vec::new(),
        &mut Nobody,
        config,
        &stop,
    )?;
    Ok(metrics)
}

fn pictures(seed: u64) -> Result<Vec<Frame>, Box<dyn Error>> {
    let (width, height) = SIDES;
    let phantom = Phantom::new(PhantomConfig {
        kind: PhantomKind::Polyp,
        width,
        height,
        seed,
        frame_rate: 30.0,
        target: true,
    })?;
    Ok((0..PICTURES).map(|i| phantom.frame_at(i).frame).collect())
}
