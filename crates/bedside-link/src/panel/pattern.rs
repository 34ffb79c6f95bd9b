//! What lamp and buzzer do. States differ in colour and in rhythm, so that either tells them apart.

use crate::packet::{Signal, State};

/// What the outputs are set to: duty cycles of 255, and whether the buzzer sounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) red: u8,
    pub(super) green: u8,
    pub(super) sound: bool,
}

/// Milliseconds of a beep, and of the pause behind it.
const BEEP_MS: u64 = 100;
/// Beeps come again after this many milliseconds.
const AGAIN_MS: u64 = 10_000;

/// What tells a state.
struct Pattern {
    red: bool,
    green: bool,
    /// The lamp is lit for the first `lit_ms` of every `every_ms`.
    lit_ms: u64,
    every_ms: u64,
    beeps: u64,
}

const fn pattern(state: State) -> Pattern {
    let (red, green, lit_ms, every_ms, beeps) = match state {
        State::Starting => (false, true, 500, 1000, 0),
        State::Active => (false, true, 1000, 1000, 0),
        State::Degraded => (true, true, 1800, 2000, 0),
        State::Paused => (true, true, 200, 2000, 0),
        State::Stalled => (true, false, 500, 1000, 2),
        State::Fault => (true, false, 125, 250, 3),
    };
    Pattern {
        red,
        green,
        lit_ms,
        every_ms,
        beeps,
    }
}

/// The outputs, so many milliseconds after the state came.
pub(super) fn of(signal: Signal, elapsed: u64) -> Output {
    let pattern = pattern(signal.state);
    let brightness = match signal.state {
        State::Fault => u8::MAX,
        _ => signal.brightness.max(1),
    };
    let lit = elapsed % pattern.every_ms < pattern.lit_ms;
    let light = |on| if on && lit { brightness } else { 0 };
    let beep = elapsed % AGAIN_MS / BEEP_MS;
    Output {
        red: light(pattern.red),
        green: light(pattern.green),
        sound: signal.sound && beep.is_multiple_of(2) && beep / 2 < pattern.beeps,
    }
}

/// The outputs so many milliseconds after a self-test began; nothing when it has ended.
pub(super) fn of_self_test(elapsed: u64) -> Option<Output> {
    let (red, green, sound) = match elapsed {
        0..400 => (u8::MAX, 0, false),
        400..800 => (0, u8::MAX, false),
        800..1000 => (0, 0, true),
        _ => return None,
    };
    Some(Output { red, green, sound })
}
