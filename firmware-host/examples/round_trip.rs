//! How long it takes from a pedal to the lamp that answers it, over a pseudo-terminal: a press goes to
//! the host, which shows another state, which comes back to the device.
//!
//! `cargo run --release -p bedsided --example round_trip -- [PRESSES]`

use std::error::Error;
use std::fs::File;
use std::io::{ErrorKind, Read, Write, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bedside_link::{Action, Device, Event, Host, Input, Signal, State, Version};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

const VERSION: Version = Version {
    major: 1,
    minor: 0,
    patch: 0,
};
/// Pause between two presses, so that each finds the line quiet.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest wait for bytes at either end.
const TICK_NS: i64 = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let presses = std::env::args().nth(1).map_or(Ok(1_000), |n| n.parse())?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let device = openpt(flags)?;
    grantpt(&device)?;
    unlockpt(&device)?;
    let name = ptsname(&device, Vec::new())?;
    let host = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
    let mut raw = tcgetattr(&host)?;
    raw.make_raw();
    tcsetattr(&host, OptionalActions::Now, &raw)?;
    for end in [&device, &host] {
        fcntl_setfl(end, fcntl_getfl(end)? | OFlags::NONBLOCK)?;
    }

    let began = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let (mut line, done) = (File::from(host), over.clone());
    let answering = thread::spawn(move || answer(&mut line, began, &done));
    let times = press(&mut File::from(device), began, presses);
    over.store(true, Ordering::Release);
    answering.join().map_err(|_| "the host panicked")??;
    print(times?)
}

fn millis(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What has come, after a tick at most.
fn read<'a>(line: &mut File, bytes: &'a mut [u8]) -> std::io::Result<&'a [u8]> {
    let wait = Timespec {
        tv_sec: 0,
        tv_nsec: TICK_NS,
    };
    poll(&mut [PollFd::new(&*line, PollFlags::IN)], Some(&wait))?;
    match line.read(bytes) {
        Ok(count) => Ok(bytes.get(..count).unwrap_or_default()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(&[]),
        Err(error) => Err(error),
    }
}

/// The host: each press changes what it shows.
fn answer(line: &mut File, began: Instant, over: &AtomicBool) -> std::io::Result<()> {
    let mut host = Host::new(VERSION, 1);
    let mut state = State::Active;
    let mut bytes = [0; 256];
    let mut events = Vec::new();
    while !over.load(Ordering::Acquire) {
        host.show(Signal {
            state,
            ..Signal::default()
        });
        while let Some(frame) = host.poll(millis(began), |event| events.push(event)) {
            line.write_all(&frame)?;
        }
        let read = read(line, &mut bytes)?;
        host.receive(read, millis(began), |event| events.push(event));
        for event in events.drain(..) {
            if let Event::Input { .. } = event {
                state = other(state);
            }
        }
    }
    Ok(())
}

fn other(state: State) -> State {
    match state {
        State::Active => State::Degraded,
        _ => State::Active,
    }
}

/// The device: the time from each press to the other state.
fn press(line: &mut File, began: Instant, presses: usize) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut device = Device::new(VERSION, 0);
    let mut bytes = [0; 256];
    let mut until = |device: &mut Device, holds: &dyn Fn(&Device) -> bool| {
        let asked = Instant::now();
        while !holds(device) {
            while let Some(frame) = device.poll(millis(began)) {
                line.write_all(&frame)?;
            }
            device.receive(read(line, &mut bytes)?, millis(began));
            if asked.elapsed() > PATIENCE {
                return Err::<_, Box<dyn Error>>("no answer".into());
            }
        }
        Ok(asked.elapsed())
    };
    until(&mut device, &|device| {
        device.linked() && device.signal().state == State::Active
    })?;
    let mut times = Vec::with_capacity(presses);
    for _ in 0..presses {
        let before = device.signal().state;
        device.push(Input::Pedal, Action::Press, millis(began));
        times.push(until(&mut device, &|device| {
            device.signal().state != before
        })?);
        let quiet = Instant::now();
        until(&mut device, &|_| quiet.elapsed() >= PAUSE)?;
    }
    Ok(times)
}

fn print(mut times: Vec<Duration>) -> Result<(), Box<dyn Error>> {
    times.sort_unstable();
    let at = |share: f64| {
        let rank = (times.len() as f64 * share).ceil() as usize;
        let time = times.get(rank.saturating_sub(1)).copied();
        time.unwrap_or_default().as_secs_f64() * 1e3
    };
    writeln!(
        stdout(),
        "{} presses: p50 {:.2} ms, p99 {:.2}, max {:.2}",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    )?;
    Ok(())
}
