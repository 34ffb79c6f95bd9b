//! How long the video path holds a frame back, beside models that work, hang, panic, answer with
//! no numbers, or take ten seconds: from the frame in memory to the annotated frame in memory.
//!
//! `cargo run --release -p bedside-live --example delay -- [FRAMES [MILLISECONDS BETWEEN THEM]]`
//!
//! Frames are 1280x720 NV12, one mask is carried and painted. The edge bundle runs on one thread.

use std::error::Error;
use std::io::{Write, stdout};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bedside::engine::{Backend, Fault, FaultyBackend, Release, TractCpu};
use bedside::{Bundle, Clock, Frame, MonotonicClock, Options, PixelFormat, Prompt};
use bedside_live::{AgePolicy, BundleLoader, Control, Metrics, Session, SessionConfig};
use bedside_phantom::{Phantom, PhantomConfig, PhantomKind};

const SIDES: (u32, u32) = (1280, 720);
/// Different pictures, shown forth and back so that there is no cut.
const PICTURES: u64 = 24;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let frames: u64 = args.next().map_or(Ok(5_000), |n| n.parse())?;
    let between = Duration::from_millis(args.next().map_or(Ok(8), |n| n.parse())?);
    let pictures = pictures()?;
    let release = Release::default();
    let stuck = release.clone();
    // The self-test and some passes go well first, so that there is a mask.
    let healthy = 20;
    let scenarios: [(&str, Arc<dyn Backend>); 5] = [
        ("well", Arc::new(TractCpu)),
        ("hangs", faulty(healthy, move || Fault::Hang(stuck.clone()))),
        ("panics", faulty(healthy, || Fault::Panic)),
        ("no numbers", faulty(healthy, || Fault::NotANumber)),
        (
            "10 s a pass",
            faulty(healthy, || Fault::Slow(Duration::from_secs(10))),
        ),
    ];
    let mut out = stdout().lock();
    for (name, backend) in scenarios {
        let bundle = Bundle::open("models/edge/edge.bedside")?;
        let options = Options {
            threads: Some(1),
            ..Options::default()
        };
        let loader = Arc::new(BundleLoader::new(bundle, backend, options)?);
        let control = Arc::new(Control::new(loader.clone(), &[Prompt::new("polyp")])?);
        let metrics = Arc::new(Metrics::new());
        let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
        let config = SessionConfig {
            // The mask stays, so that there is something to carry and paint in every scenario.
            age: AgePolicy {
                limit: Duration::from_secs(60),
            },
            ..SessionConfig::default()
        };
        let mut session = Session::new(loader, control, metrics.clone(), clock.clone(), config);
        let mut masks = 0_u64;
        let mut due = Instant::now();
        for number in 0..frames {
            let place = number % (2 * PICTURES - 2);
            let place = place.min(2 * PICTURES - 2 - place) as usize;
            let picture = pictures.get(place).ok_or("no such picture")?;
            let frame = picture.clone().captured_at(clock.now());
            session.frame(&frame, number)?;
            masks += u64::from(!session.record().masks.is_empty());
            due += between;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let delay = metrics.report().video_delay.ok_or("no frame was shown")?;
        writeln!(
            out,
            "{name:12} {frames} frames, {masks} with a mask, {}: p50 {:.2} ms, p99 {:.2}, p99.9 \
             {:.2}, max {:.2}",
            session.state(),
            delay.p50_ms,
            delay.p99_ms,
            delay.p99_9_ms,
            delay.max_ms
        )?;
    }
    release.release();
    Ok(())
}

/// A backend whose decoder fails from some run on.
fn faulty(healthy: u64, fault: impl Fn() -> Fault + Send + Sync + 'static) -> Arc<dyn Backend> {
    Arc::new(FaultyBackend::new(Arc::new(TractCpu), move |graph, run| {
        (graph.contains("decoder") && run >= healthy).then(&fault)
    }))
}

fn pictures() -> Result<Vec<Frame>, Box<dyn Error>> {
    let (width, height) = SIDES;
    let phantom = Phantom::new(PhantomConfig {
        kind: PhantomKind::Polyp,
        width,
        height,
        seed: 3,
        frame_rate: 30.0,
        target: true,
    })?;
    (0..PICTURES)
        .map(|i| nv12(&phantom.frame_at(i).frame))
        .collect()
}

/// RGB to NV12, BT.601 limited, chroma of each block's first pixel.
fn nv12(frame: &Frame) -> Result<Frame, Box<dyn Error>> {
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let rgb = frame.data().as_chunks::<3>().0;
    let dot = |p: &[u8; 3], [r, g, b]: [f32; 3]| {
        r * f32::from(p[0]) + g * f32::from(p[1]) + b * f32::from(p[2])
    };
    let mut data: Vec<u8> = rgb
        .iter()
        .map(|p| (16.0 + dot(p, [0.257, 0.504, 0.098])) as u8)
        .collect();
    for row in rgb.chunks_exact(width).step_by(2) {
        for p in row.iter().step_by(2) {
            data.push((128.0 + dot(p, [-0.148, -0.291, 0.439])) as u8);
            data.push((128.0 + dot(p, [0.439, -0.368, -0.071])) as u8);
        }
    }
    data.resize(PixelFormat::Nv12.byte_len(width as u32, height as u32), 128);
    Ok(Frame::new(
        width as u32,
        height as u32,
        PixelFormat::Nv12,
        data,
    )?)
}
