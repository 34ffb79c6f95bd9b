//! Runs the firmware in qemu, with the real host at the other end of its line, and holds it to
//! what `docs/spec/link.md` promises. Times are told by the device's own clock: emulation is slow
//! where the machine is busy.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command")]

mod bench;
mod qemu;

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use bedside_link::{Action, Event, Faults, Input, Signal, State};

use bench::{Bench, Random};
use qemu::{Failure, Report};

// As the protocol has them, whatever the library says.
const HEARTBEAT_MS: u64 = 50;
const SILENCE_MS: u64 = 500;
/// The loop may come round this many milliseconds late, where the machine is busy.
const LATE: u64 = 5;
const PEDAL: u8 = 1;
const SECOND_PEDAL: u8 = 2;
const FREEZE: u8 = 4;
const ACTIVE: Signal = signal(State::Active);
const FAULT: (u16, u16) = (255, 0);

const fn signal(state: State) -> Signal {
    Signal {
        state,
        brightness: 200,
        sound: true,
    }
}

type Check = fn(&mut Bench) -> Result<String, Failure>;

const CHECKS: &[(&str, Check)] = &[
    ("no host yet", no_host),
    ("handshake", handshake),
    ("bouncing press", bouncing_press),
    ("bouncing alone", bouncing_alone),
    ("long press", long_press),
    ("lamp and buzzer", patterns),
    ("self-test", self_test),
    ("silent host", silent_host),
    ("host back", host_back),
    ("host started anew", host_anew),
    ("1 % of bytes changed", noise),
    ("flood of other bytes", flood),
    ("panic", panic),
];

fn main() -> ExitCode {
    let Some(firmware) = env::args().nth(1) else {
        eprintln!("usage: bedside-mcu-drill FIRMWARE");
        return ExitCode::from(2);
    };
    match drill(&firmware) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("FAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn drill(firmware: &str) -> Result<(), Failure> {
    let mut bench = Bench::start(firmware)?;
    for (name, check) in CHECKS {
        let began = Instant::now();
        let saw = check(&mut bench).map_err(|e| format!("{name}: {e}"))?;
        println!("ok  {name}: {saw} ({:.1} s)", began.elapsed().as_secs_f64());
        bench.clear();
    }
    Ok(())
}

fn require(condition: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failure> {
    match condition {
        true => Ok(()),
        false => Err(otherwise().into()),
    }
}

/// What was done to inputs, as the host was told.
fn told(bench: &Bench) -> Vec<(Input, Action)> {
    let told = bench.events.iter().filter_map(|event| match event {
        Event::Input { input, action, .. } => Some((*input, *action)),
        _ => None,
    });
    told.collect()
}

/// Exactly these and nothing else, not even a fault.
fn require_told(bench: &Bench, expected: &[(Input, Action)]) -> Result<(), Failure> {
    require(
        told(bench) == expected && bench.events.len() == expected.len(),
        || format!("expected {expected:?}, got {:?}", bench.events),
    )
}

/// How long what `show` tells of each report stayed, but for the last.
fn spans<T: PartialEq>(film: &[Report], show: impl Fn(&Report) -> T) -> Vec<(T, u64, u64)> {
    let mut spans: Vec<(T, u64, u64)> = Vec::new();
    for report in film {
        let shown = show(report);
        match spans.last_mut() {
            Some((last, _, until)) => {
                *until = report.at;
                if *last != shown {
                    spans.push((shown, report.at, report.at));
                }
            }
            None => spans.push((shown, report.at, report.at)),
        }
    }
    spans.pop();
    spans
}

fn no_host(bench: &mut Bench) -> Result<String, Failure> {
    let at = bench.until("fault", |bench| {
        let mut film = bench.film.iter();
        Some(film.find(|report| report.light == FAULT)?.at)
    })?;
    let first = bench.film.first().map(|report| (report.at, report.light));
    require(
        first.is_some_and(|(at, light)| at <= LATE && light == (0, 255)),
        || format!("expected green at the start, got {first:?}"),
    )?;
    require((SILENCE_MS..=SILENCE_MS + LATE).contains(&at), || {
        format!("fault after {at} ms")
    })?;
    bench.pass(1000)?;
    let beeps = bench.film.iter().filter(|report| report.sound).count();
    require(beeps == 0, || "it beeped without permission".to_owned())?;
    Ok(format!("green at the start, fault after {at} ms, no sound"))
}

fn handshake(bench: &mut Bench) -> Result<String, Failure> {
    bench.host.show(ACTIVE);
    bench.cut = false;
    let linked = bench.until("session", |bench| {
        let linked = |event: &&Event| matches!(event, Event::Linked { .. });
        bench.events.iter().find(linked).copied()
    })?;
    bench.until("active", |bench| lamp_is(bench, (0, 200)))?;
    require(bench.events.len() == 1, || format!("{:?}", bench.events))?;
    Ok(format!("{linked:?}, lamp green at 200"))
}

fn lamp_is(bench: &Bench, light: (u16, u16)) -> Option<u64> {
    bench
        .film
        .last()
        .filter(|last| last.light == light)
        .map(|last| last.at)
}

fn ages(bench: &Bench) -> Vec<u16> {
    let ages = bench.events.iter().filter_map(|event| match event {
        Event::Input { age_ms, .. } => Some(*age_ms),
        _ => None,
    });
    ages.collect()
}

fn bouncing_press(bench: &mut Bench) -> Result<String, Failure> {
    bench.play(&[
        (PEDAL, 3),
        (0, 2),
        (PEDAL, 10),
        (0, 1),
        (PEDAL, 200),
        (0, 5),
        (PEDAL, 3),
        (0, 200),
    ])?;
    require_told(
        bench,
        &[
            (Input::Pedal, Action::Press),
            (Input::Pedal, Action::Release),
        ],
    )?;
    let ages = ages(bench);
    // It counts after 20 ms, and is told at once.
    require(ages.iter().all(|age| (20..50).contains(age)), || {
        format!("told {ages:?} ms late")
    })?;
    Ok(format!(
        "pressed once, released once, told after {ages:?} ms"
    ))
}

fn bouncing_alone(bench: &mut Bench) -> Result<String, Failure> {
    let bounces = [(FREEZE, 12), (0, 3)].repeat(30);
    bench.play(&bounces)?;
    bench.pass(200)?;
    require_told(bench, &[])?;
    Ok(format!("nothing of {} spikes of 12 ms", bounces.len() / 2))
}

fn long_press(bench: &mut Bench) -> Result<String, Failure> {
    // Short of it, then beyond.
    bench.play(&[(FREEZE, 750), (0, 200), (FREEZE, 900), (0, 200)])?;
    require_told(
        bench,
        &[
            (Input::Freeze, Action::Press),
            (Input::Freeze, Action::Release),
            (Input::Freeze, Action::Press),
            (Input::Freeze, Action::LongPress),
            (Input::Freeze, Action::Release),
        ],
    )?;
    Ok("750 ms is a press, 900 ms a long one".to_owned())
}

fn patterns(bench: &mut Bench) -> Result<String, Failure> {
    let mut saw = Vec::new();
    for (state, light, lit_ms, every_ms, beeps) in [
        (State::Starting, (0, 200), 500, 1000, 0),
        (State::Active, (0, 200), 1000, 1000, 0),
        (State::Degraded, (200, 200), 1800, 2000, 0),
        (State::Paused, (200, 200), 200, 2000, 0),
        (State::Stalled, (200, 0), 500, 1000, 2),
        (State::Fault, FAULT, 125, 250, 3),
    ] {
        bench.clear();
        bench.host.show(signal(state));
        // Whatever was going on before has ended by then, and beeps as well.
        let from = bench.pass(every_ms + 1000)?;
        bench.pass(2 * every_ms + 100)?;
        require(bench.events.is_empty(), || format!("{:?}", bench.events))?;

        let sounded = spans(&bench.film, |report| report.sound);
        let sounded: Vec<_> = sounded.iter().filter(|(on, ..)| *on).collect();
        require(
            sounded.len() == beeps
                && sounded
                    .iter()
                    .all(|(_, a, b)| (b - a).abs_diff(100) <= LATE),
            || format!("{state:?}: expected {beeps} beeps, got {sounded:?}"),
        )?;

        let film: Vec<_> = bench
            .film
            .iter()
            .filter(|r| r.at >= from)
            .copied()
            .collect();
        let whole = spans(&film, |report| report.light);
        let right = match lit_ms == every_ms {
            true => whole.is_empty() && film.iter().all(|report| report.light == light),
            // The first began before the film.
            false => {
                whole.len() >= 3
                    && whole.iter().skip(1).all(|(shown, began, ended)| {
                        let expected = match *shown {
                            (0, 0) => every_ms - lit_ms,
                            shown if shown == light => lit_ms,
                            _ => return false,
                        };
                        (ended - began).abs_diff(expected) <= LATE
                    })
            }
        };
        require(right, || format!("{state:?}: {whole:?}"))?;
        saw.push(format!(
            "{state:?} {light:?} {lit_ms}/{every_ms} ms, {beeps} beeps"
        ));
    }
    bench.host.show(ACTIVE);
    bench.pass(500)?;
    Ok(saw.join("; "))
}

fn self_test(bench: &mut Bench) -> Result<String, Failure> {
    bench.host.self_test();
    bench.until_told("self-test", Event::SelfTest(Faults::default()))?;
    bench.pass(50)?;
    let shown = spans(&bench.film, |report| (report.light, report.sound));
    for (expected, millis) in [
        ((FAULT, false), 400),
        (((0, 255), false), 400),
        (((0, 0), true), 200),
    ] {
        let there = shown.iter().any(|(shown, began, ended)| {
            *shown == expected && (ended - began).abs_diff(millis) <= LATE
        });
        require(there, || {
            format!("no {expected:?} for {millis} ms in {shown:?}")
        })?;
    }
    bench.play(&[(PEDAL, 100)])?;
    bench.host.self_test();
    bench.until_told("held input", Event::SelfTest(Faults::HELD))?;
    bench.play(&[(0, 200)])?;
    Ok("red, green, sound; a held pedal is found".to_owned())
}

fn silent_host(bench: &mut Bench) -> Result<String, Failure> {
    let before = bench.pass(0)?;
    bench.cut = true;
    let after = bench.pass(0)?;
    let from = bench.film.len();
    let at = bench.until("fault", |bench| {
        let mut new = bench.film.iter().skip(from);
        Some(new.find(|report| report.light == FAULT)?.at)
    })?;
    // The last heartbeat came between 50 ms before the one and shortly before the other.
    require(
        at + HEARTBEAT_MS + LATE >= before + SILENCE_MS && at <= after + SILENCE_MS + LATE,
        || format!("cut between {before} and {after}, fault at {at} ms"),
    )?;
    bench.until_told("loss of the line", Event::Lost)?;
    bench.play(&[(PEDAL, 100), (0, 900)])?;
    let sounded = spans(&bench.film, |report| report.sound);
    let beeps = sounded.iter().filter(|(on, ..)| *on).count();
    require(beeps == 3, || format!("{beeps} beeps: {sounded:?}"))?;
    require_told_none(bench)?;
    Ok(format!(
        "fault {} ms after the cut, 3 beeps, the host told of the loss",
        at - after
    ))
}

fn require_told_none(bench: &Bench) -> Result<(), Failure> {
    let told = told(bench);
    require(told.is_empty(), || {
        format!("told without a session: {told:?}")
    })
}

fn host_back(bench: &mut Bench) -> Result<String, Failure> {
    bench.cut = false;
    bench.until("active", |bench| lamp_is(bench, (0, 200)))?;
    bench.pass(300)?;
    require_told_none(bench)?;
    let linked = bench
        .events
        .iter()
        .any(|event| matches!(event, Event::Linked { .. }));
    require(linked, || format!("{:?}", bench.events))?;
    bench.clear();
    bench.play(&[(PEDAL, 100), (0, 200)])?;
    require_told(
        bench,
        &[
            (Input::Pedal, Action::Press),
            (Input::Pedal, Action::Release),
        ],
    )?;
    Ok("lamp back, the press meanwhile is not told, the next one is".to_owned())
}

fn host_anew(bench: &mut Bench) -> Result<String, Failure> {
    bench.restart_host(1000, signal(State::Paused));
    bench.until("paused", |bench| lamp_is(bench, (200, 200)))?;
    bench.restart_host(2000, ACTIVE);
    bench.until("active", |bench| lamp_is(bench, (0, 200)))?;
    bench.pass(200)?;
    let faults = bench
        .film
        .iter()
        .filter(|report| report.light == FAULT)
        .count();
    require(faults == 0, || "a fault in between".to_owned())?;
    Ok("linked again twice, no fault in between".to_owned())
}

fn noise(bench: &mut Bench) -> Result<String, Failure> {
    bench.noise = Some(Random::new(1));
    let before = bench.host.counts();
    let mut made = Vec::new();
    let inputs = [
        (PEDAL, Input::Pedal),
        (SECOND_PEDAL, Input::SecondPedal),
        (FREEZE, Input::Freeze),
    ];
    for (bit, input) in inputs.repeat(20) {
        bench.play(&[(bit, 100), (0, 100)])?;
        made.extend([(input, Action::Press), (input, Action::Release)]);
    }
    bench.pass(500)?;
    bench.noise = None;
    require_told(bench, &made)?;
    let other = bench.film.iter().find(|report| report.light != (0, 200));
    require(other.is_none(), || format!("the lamp showed {other:?}"))?;
    let counts = bench.host.counts();
    let damaged = counts.damaged - before.damaged;
    require(damaged > 0, || "no frame was damaged".to_owned())?;
    Ok(format!(
        "{} changes told, in order, the lamp steady; {damaged} damaged frames refused of {}",
        made.len(),
        counts.received - before.received + u64::from(damaged),
    ))
}

fn flood(bench: &mut Bench) -> Result<String, Failure> {
    let before = bench.pass(0)?;
    let mut random = Random::new(2);
    let bytes: Vec<u8> = (0..20_000).map(|_| random.byte()).collect();
    bench.flood(&bytes)?;
    // Heartbeats come behind all that, so that the session may end. Then there is another one.
    let after = bench.pass(2000)?;
    bench.until("active", |bench| {
        (bench.host.linked() && lamp_is(bench, (0, 200)).is_some()).then_some(())
    })?;
    require(after > before, || "the device was restarted".to_owned())?;
    bench.clear();
    bench.play(&[(PEDAL, 100), (0, 200)])?;
    require_told(
        bench,
        &[
            (Input::Pedal, Action::Press),
            (Input::Pedal, Action::Release),
        ],
    )?;
    Ok(format!(
        "alive after {} bytes, a press is told",
        bytes.len()
    ))
}

fn panic(bench: &mut Bench) -> Result<String, Failure> {
    let before = bench.pass(0)?;
    bench.panic()?;
    bench.until_told("restart by the watchdog", Event::Faults(Faults::WATCHDOG))?;
    bench.until("active", |bench| lamp_is(bench, (0, 200)))?;
    let restarted = bench.film.iter().any(|report| report.at < before);
    require(restarted, || "the clock went on".to_owned())?;
    bench.clear();
    bench.play(&[(PEDAL, 100), (0, 200)])?;
    require_told(
        bench,
        &[
            (Input::Pedal, Action::Press),
            (Input::Pedal, Action::Release),
        ],
    )?;
    Ok("restarted by the watchdog, the fault reported, a press is told".to_owned())
}
