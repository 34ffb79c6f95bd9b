//! How long the video path holds a frame back, beside models that work, in this process and in one of
//! their own, hang, panic, answer with NaN, or take ten seconds: from the frame in memory to the
//! annotated frame in memory. And what a pass costs in a process of its own.
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
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bedside::engine::{Backend, FaultyBackend, InjectedFault, Release, TractCpu};
use bedside::{Bundle, Clock, Frame, MonotonicClock, Options, PixelFormat, Prompt};
use bedside_live::{
    AgePolicy, BundleLoader, Control, LiveSession, Loader, Metrics, ProcessLoader, SessionConfig,
    serve,
};
use bedside_phantom::{Phantom, PhantomConfig, PhantomKind};
use cpu_time::ThreadTime;

const SIDES: (u32, u32) = (1280, 720);
/// Different pictures, shown forth and back so that there is no cut.
const PICTURES: u64 = 24;
/// What this program is told to be the model's process.
const MODEL: &str = "model-process";
/// Passes that are timed in each place.
const PASSES: usize = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1).peekable();
    if args.peek().is_some_and(|arg| arg == MODEL) {
        let failed = |e: Box<dyn Error>| {
            bedside_live::Error::new(bedside_live::ErrorKind::Load, e.to_string())
        };
        return Ok(serve(None, || {
            edge(Arc::new(TractCpu)).map_err(failed)?.load()
        })?);
    }
    let frames: u64 = args.next().map_or(Ok(5_000), |n| n.parse())?;
    let between = Duration::from_millis(args.next().map_or(Ok(16), |n| n.parse())?);
    let pictures = pictures()?;
    let release = Release::default();
    let stuck = release.clone();
    // The self-test and some passes go well first, so that there is a mask.
    let healthy = 20;
    let here = edge(Arc::new(TractCpu))?;
    let process: Arc<dyn Loader> = Arc::new(ProcessLoader::new(here.clone(), || {
        let mut command = Command::new("/proc/self/exe");
        command.arg(MODEL);
        command
    }));
    let scenarios: [(&str, Arc<dyn Loader>); 6] = [
        ("well, in this process", here.clone()),
        ("well, in a process of its own", process.clone()),
        (
            "hangs",
            faulty(healthy, move || InjectedFault::Hang(stuck.clone()))?,
        ),
        ("panics", faulty(healthy, || InjectedFault::Panic)?),
        ("NaN", faulty(healthy, || InjectedFault::Nan)?),
        (
            "10 s a pass",
            faulty(healthy, || InjectedFault::Slow(Duration::from_secs(10)))?,
        ),
    ];
    let mut out = stdout().lock();
    passes(&mut out, [&*here, &*process], &pictures)?;
    for (name, loader) in scenarios {
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
        for (what, times) in times {
            print(&mut out, what, times)?;
        }
    }
    release.release();
    Ok(())
}

/// Percentiles of times on a line.
fn print(out: &mut impl Write, what: &str, mut times: Vec<Duration>) -> std::io::Result<()> {
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
    )
}

/// The same pass in this process and in one of its own, in turn.
fn passes(
    out: &mut impl Write,
    loaders: [&dyn Loader; 2],
    pictures: &[Frame],
) -> Result<(), Box<dyn Error>> {
    let mut models = [loaders[0].load()?, loaders[1].load()?];
    for model in &mut models {
        model.set_prompts(&[Prompt::new("polyp")], None)?;
    }
    let mut times = [(); 4].map(|()| Vec::with_capacity(PASSES));
    for frame in pictures.iter().cycle().take(PASSES) {
        let [here, process, here_own, process_own] = &mut times;
        let timed = [(here, here_own), (process, process_own)];
        for (model, (clock, own)) in models.iter_mut().zip(timed) {
            let (start, start_own) = (Instant::now(), ThreadTime::now());
            black_box(model.segment(frame, 0..1)?);
            own.push(start_own.elapsed());
            clock.push(start.elapsed());
        }
    }
    let names = [
        "a pass in this process, by the clock",
        "a pass in a process of its own, by the clock",
        "a pass in this process, processor of the thread",
        "a pass in a process of its own, processor of the thread that asks",
    ];
    for (name, times) in names.into_iter().zip(times) {
        writeln!(out, "{name}")?;
        print(out, "", times)?;
    }
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

/// The edge bundle, on one thread.
fn edge(backend: Arc<dyn Backend>) -> Result<Arc<BundleLoader>, Box<dyn Error>> {
    let bundle = Bundle::open("models/edge/edge.bedside")?;
    let options = Options::default().with_threads(1);
    Ok(Arc::new(BundleLoader::new(bundle, backend, options)?))
}

/// The edge bundle on a backend whose decoder fails from some run on.
fn faulty(
    healthy: u64,
    fault: impl Fn() -> InjectedFault + Send + Sync + 'static,
) -> Result<Arc<BundleLoader>, Box<dyn Error>> {
    edge(Arc::new(FaultyBackend::new(
        Arc::new(TractCpu),
        move |graph, run| (graph.contains("decoder") && run >= healthy).then(&fault),
    )))
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
