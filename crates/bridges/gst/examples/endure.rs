//! Video at 30 frames a second through the element for so many minutes, with the model's process killed
//! on the way: what it costs whoever hands over a frame, how long a frame is in the element, and memory.
//! `endure MINUTES [COMMAND [MODE]]`
//!
//! Ends with an error where a frame is lost, a mask is older than it may be, no mask comes, or the end of
//! the model's process is not told. Times are printed and judged by no one, as they are the machine's too:
//! beside them stand what the processor had to do for it, and how late this program was woken for a frame.
#![allow(clippy::print_stdout, reason = "a measurement's result")]

use std::error::Error;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use bedside_live::resident_memory;
use bedside_phantom::{Phantom, PhantomConfig, PhantomKind};
use cpu_time::ThreadTime;
use gst::prelude::*;
use gst_check::Harness;
use gst_video::VideoRegionOfInterestMeta;

const SIDES: (u32, u32) = (640, 480);
const RATE: u64 = 30;
/// Different pictures, shown forth and back so that there is no cut.
const PICTURES: u64 = 24;
/// As the element has it unless told otherwise.
const MAX_AGE: u64 = 500_000;
/// Time between two ends of the model's process: fewer in five minutes than a session bears.
const KILL_EVERY: Duration = Duration::from_secs(150);
const MINUTE: Duration = Duration::from_secs(60);

/// What came out.
#[derive(Default)]
struct Out {
    masked: u64,
    oldest_us: u64,
    /// Time in the element, microseconds.
    inside: Vec<u32>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let minutes = arguments.first();
    let minutes: f64 = minutes
        .ok_or("usage: endure MINUTES [COMMAND [MODE]]")?
        .parse()?;
    let length = Duration::from_secs_f64(minutes * 60.0);
    let command = arguments.get(1).map_or("bedside", String::as_str);
    let mode = arguments.get(2).map_or("metadata", String::as_str);

    gst::init()?;
    gstbedside::plugin_register_static()?;
    let pictures = pictures()?;
    let bundle = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../models/edge/edge.bedside"
    );
    let element = gst::ElementFactory::make("bedsidesegment")
        .property("bundle", bundle)
        .property("prompts", "polyp")
        .property("command", command)
        .property_from_str("mode", mode)
        .build()?;
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    let (width, height) = SIDES;
    harness.set_src_caps_str(&format!(
        "video/x-raw,format=RGB,width={width},height={height},framerate={RATE}/1"
    ));
    harness.set_drop_buffers(true);
    harness.play();

    let began = Instant::now();
    let most = usize::try_from(frames_in(length))?;
    let out = watch(&element, most, began)?;
    let [mut handing, mut working, mut woken] = [(); 3].map(|()| Vec::with_capacity(most));
    let (mut number, mut missed, mut kills, mut told) = (0, 0, 0, 0);
    let mut next_kill = KILL_EVERY.min(length / 2);
    let (mut next_look, mut memory) = (length.min(MINUTE / 2), Vec::new());
    while number < frames_in(length) {
        let due = Duration::from_nanos(number * 1_000_000_000 / RATE);
        thread::sleep(due.saturating_sub(began.elapsed()));
        let handed = began.elapsed();
        woken.push(micros(handed.saturating_sub(due)));
        // A camera does not wait: what this program was not woken for in time is gone.
        let present = frames_in(handed).max(number);
        missed += present - number;
        number = present + 1;

        let place = present % (2 * PICTURES - 2);
        let picture = pictures.get(usize::try_from(place.min(2 * PICTURES - 2 - place))?);
        let mut buffer = picture.ok_or("no such picture")?.copy();
        // Says on the other side how long the frame took.
        let time = gst::ClockTime::try_from(handed)?;
        let owned = buffer.get_mut();
        owned.ok_or("a buffer that others hold")?.set_pts(time);
        let (handed, own) = (Instant::now(), ThreadTime::now());
        harness.push(buffer)?;
        working.push(micros(own.elapsed()));
        handing.push(micros(handed.elapsed()));

        while let Some(message) = bus.pop() {
            told += u64::from(is_error(&message));
        }
        if due >= next_kill {
            next_kill += KILL_EVERY;
            kills += kill_children()?;
        }
        if due >= next_look {
            next_look += MINUTE;
            memory.push(resident_memory().unwrap_or(0));
        }
    }
    thread::sleep(Duration::from_secs(1));
    let mut out = lock(&out);
    let frames = handing.len();
    println!(
        "{mode}, {minutes} min: {frames} frames in, {} out, {} with a mask, the oldest {:.0} ms; {missed} missed \
         by this program",
        out.inside.len(),
        out.masked,
        out.oldest_us as f64 / 1e3
    );
    print("handed over", &mut handing);
    print("  of processor", &mut working);
    print("in the element", &mut out.inside);
    print("woken late", &mut woken);
    println!(
        "processor time of the element's thread: {:.2} ms a frame",
        own_ms()? / frames as f64
    );
    let mebibytes = memory.iter().map(|bytes| format!(" {:.1}", mebi(*bytes)));
    println!(
        "memory, MiB, once a minute:{}",
        mebibytes.collect::<String>()
    );
    println!("{kills} kills of the model's process, {told} messages with an error");
    let sound = out.inside.len() == frames
        && out.masked > 0
        && out.oldest_us <= MAX_AGE
        && kills > 0
        && told > 0;
    match sound {
        true => Ok(()),
        false => Err("a frame, a mask or a message is not as it should be".into()),
    }
}

/// How many frames a camera has given after this time.
fn frames_in(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / RATE) * RATE / 1_000_000_000
}

/// Take down every frame that comes out.
fn watch(
    element: &gst::Element,
    most: usize,
    began: Instant,
) -> Result<Arc<Mutex<Out>>, Box<dyn Error>> {
    let out = Arc::new(Mutex::new(Out {
        inside: Vec::with_capacity(most),
        ..Out::default()
    }));
    let (pad, taken) = (element.static_pad("src").ok_or("no pad")?, out.clone());
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer() {
            let mut out = lock(&taken);
            let handed = buffer.pts().map_or(Duration::ZERO, Duration::from);
            out.inside
                .push(micros(began.elapsed().saturating_sub(handed)));
            let regions = buffer.iter_meta::<VideoRegionOfInterestMeta>();
            let ages = regions.filter_map(|region| region.param("bedside")?.get("age-us").ok());
            if let Some(oldest) = ages.max() {
                out.masked += 1;
                out.oldest_us = out.oldest_us.max(oldest);
            }
        }
        gst::PadProbeReturn::Ok
    });
    Ok(out)
}

fn pictures() -> Result<Vec<gst::Buffer>, Box<dyn Error>> {
    let phantom = Phantom::new(PhantomConfig {
        kind: PhantomKind::Polyp,
        width: SIDES.0,
        height: SIDES.1,
        seed: 3,
        frame_rate: RATE as f64,
        target: true,
    })?;
    let picture = |number| gst::Buffer::from_slice(phantom.frame_at(number).frame.into_data());
    Ok((0..PICTURES).map(picture).collect())
}

/// End the processes that this one has begun.
fn kill_children() -> Result<u64, Box<dyn Error>> {
    let mut killed = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let children = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            killed += u64::from(
                Command::new("kill")
                    .args(["-KILL", child])
                    .status()?
                    .success(),
            );
        }
    }
    Ok(killed)
}

/// Processor time that the thread behind the element's queue has had, milliseconds.
fn own_ms() -> Result<f64, Box<dyn Error>> {
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.starts_with("queue") {
            let times = fs::read_to_string(task.join("schedstat"))?;
            let first = times.split_whitespace().next().unwrap_or_default();
            return Ok(first.parse::<f64>()? / 1e6);
        }
    }
    Err("the element has no thread".into())
}

fn is_error(message: &gst::Message) -> bool {
    message
        .structure()
        .is_some_and(|said| said.name() == "bedside" && said.has_field("error"))
}

fn lock(out: &Mutex<Out>) -> MutexGuard<'_, Out> {
    out.lock().unwrap_or_else(PoisonError::into_inner)
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

fn mebi(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Percentiles of times on a line, and how many exceed the time between two frames.
fn print(what: &str, times: &mut [u32]) {
    times.sort_unstable();
    let at = |share: f64| {
        let rank = (times.len() as f64 * share).ceil() as usize;
        let time = times.get(rank.saturating_sub(1)).copied();
        f64::from(time.unwrap_or(0)) / 1e3
    };
    let [half, most, nearly_all, max] = [0.5, 0.99, 0.999, 1.0].map(at);
    let late = times
        .iter()
        .filter(|time| u64::from(**time) > 1_000_000 / RATE)
        .count();
    println!(
        "{what:14} p50 {half:.2} ms, p99 {most:.2}, p99.9 {nearly_all:.2}, max {max:.2}; {late} of {} above {} ms",
        times.len(),
        1_000 / RATE
    );
}
