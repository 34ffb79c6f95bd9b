//! How long the video path holds a frame back, beside models that work, hang, panic, answer with
//! NaN, or take ten seconds: from the frame in memory to the annotated frame in memory.
//!
//! `cargo run --release -p bedside-live --example delay -- [FRAMES [MILLISECONDS BETWEEN THEM]]`
//!
//! Frames are 1280x720 NV12, one mask is carried and painted. The edge bundle runs on one thread.
//!
//! Three times are printed: by the clock; of the processor, which leaves out what the system took
//! the thread off it for, but holds what comes after the annotated frame; and, by the clock, of
//! arithmetic that takes about as long and is done after every frame. What the last one's slowest
//! take above their median, the system took.

use std::error::Error;
use std::hint::black_box;
use std::io::{Write, stdout};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bedside::engine::{Backend, FaultyBackend, InjectedFault, Release, TractCpu};
use bedside::{Bundle, Clock, Frame, MonotonicClock, Options, PixelFormat, Prompt};
use bedside_live::{AgePolicy, BundleLoader, Control, LiveSession, Metrics, SessionConfig};
use bedside_phantom::{Phantom, PhantomConfig, PhantomKind};
use cpu_time::ThreadTime;

const SIDES: (u32, u32) = (1280, 720);
/// Different pictures, shown forth and back so that there is no cut.
const PICTURES: u64 = 24;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let frames: u64 = args.next().map_or(Ok(5_000), |n| n.parse())?;
    let between = Duration::from_millis(args.next().map_or(Ok(16), |n| n.parse())?);
    let pictures = pictures()?;
    let release = Release::default();
    let stuck = release.clone();
    // The self-test and some passes go well first, so that there is a mask.
    let healthy = 20;
    let scenarios: [(&str, Arc<dyn Backend>); 5] = [
        ("well", Arc::new(TractCpu)),
        (
            "hangs",
            faulty(healthy, move || InjectedFault::Hang(stuck.clone())),
        ),
        ("panics", faulty(healthy, || InjectedFault::Panic)),
        ("NaN", faulty(healthy, || InjectedFault::Nan)),
        (
            "10 s a pass",
            faulty(healthy, || InjectedFault::Slow(Duration::from_secs(10))),
        ),
    ];
    let mut out = stdout().lock();
    for (name, backend) in scenarios {
        let bundle = Bundle::open("models/edge/edge.bedside")?;
        let options = Options::default().with_threads(1);
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
        let mut session = LiveSession::new(loader, control, metrics.clone(), clock.clone(), config);
        let mut masks = 0_u64;
        let mut due = Instant::now();
        let [mut clock_times, mut own_times, mut control] = [(); 3].map(|()| Vec::new());
        for number in 0..frames {
            let place = number % (2 * PICTURES - 2);
            let place = place.min(2 * PICTURES - 2 - place) as usize;
            let picture = pictures.get(place).ok_or("no such picture")?;
            let frame = picture.clone().captured_at(clock.now());
            let own = ThreadTime::now();
            session.frame(frame, number)?;
            own_times.push(own.elapsed());
            clock_times.push(Duration::from_micros(session.record().delay_us));
            control.push(arithmetic());
            masks += u64::from(!session.record().masks.is_empty());
            due += between;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        writeln!(
            out,
            "{name}: {frames} frames, {masks} with a mask, {}",
            session.state()
        )?;
        let times = [
            ("clock", clock_times),
            ("processor", own_times),
            ("control", control),
        ];
        for (what, mut times) in times {
            times.sort_unstable();
            let at = |share: f64| {
                let rank = (times.len() as f64 * share).ceil() as usize;
                let time = times.get(rank.saturating_sub(1));
                time.map_or(0.0, |time| time.as_secs_f64() * 1e3)
            };
            let [half, most, nearly_all, max] = [0.5, 0.99, 0.999, 1.0].map(at);
            writeln!(
                out,
                "    {what:9}  p50 {half:.2} ms, p99 {most:.2}, p99.9 {nearly_all:.2}, max {max:.2}"
            )?;
        }
    }
    release.release();
    Ok(())
}

/// About two milliseconds of work that needs no memory.
fn arithmetic() -> Duration {
    let start = Instant::now();
    let mut value = 1_u64;
    for i in 0..1_000_000 {
        value = black_box(value ^ i);
    }
    start.elapsed()
}

/// A backend whose decoder fails from some run on.
fn faulty(
    healthy: u64,
    fault: impl Fn() -> InjectedFault + Send + Sync + 'static,
) -> Arc<dyn Backend> {
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
