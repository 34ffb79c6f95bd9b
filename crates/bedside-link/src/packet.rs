//! What goes over the line, in the order and with the numbers of `docs/spec/link.md`.

use core::ops::{BitOr, BitOrAssign};

use heapless::Vec;
use serde::{Deserialize, Serialize};

/// The oldest version of the protocol that this crate speaks.
pub const OLDEST_PROTOCOL: u8 = 1;
/// The newest version of the protocol that this crate speaks.
pub const NEWEST_PROTOCOL: u8 = 1;
/// Most changes of inputs in a [`Report`].
pub const MAX_CHANGES: usize = 8;

/// One frame's content. Variants, fields and enums are numbered by their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Packet {
    /// Opens a session: asked by the host, answered by the device. The same in every version.
    Hello(Hello),
    /// The host's heartbeat.
    Host(Beat<Controls>),
    /// The device's heartbeat.
    Device(Beat<Report>),
}

/// Who speaks, and what it understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Which end it is.
    pub role: Role,
    /// The oldest version of the protocol that it speaks.
    pub oldest: u8,
    /// The newest one.
    pub newest: u8,
    /// The session's number: the host's choice, repeated by the device.
    pub session: u16,
    /// Version of the host's program, or of the device's firmware.
    pub software: Version,
}

/// An end of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// The cart's computer.
    Host,
    /// The microcontroller.
    Device,
}

/// A program's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Raised by changes that break something.
    pub major: u16,
    /// Raised by additions.
    pub minor: u16,
    /// Raised by corrections.
    pub patch: u16,
}

/// One heartbeat: the whole of what its sender has to say, so that the next one makes up for any
/// that was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat<T> {
    /// The session that it belongs to; of another one, it is void.
    pub session: u16,
    /// Counts this sender's heartbeats in the session, from 0 and past 65535 to 0 again.
    pub number: u16,
    /// What it says.
    pub body: T,
}

/// What the host wants of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Controls {
    /// What lamp and buzzer tell.
    pub signal: Signal,
    /// The number of the self-test that is asked for, 0 for none.
    pub self_test: u8,
    /// How many changes of inputs the host has got in this session, modulo 65536. The device
    /// repeats those beyond.
    pub received: u16,
}

/// What lamp and buzzer tell, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// The session's state.
    pub state: State,
    /// The lamp's brightness of 255; 0 is as 1, since a dark lamp tells nothing.
    pub brightness: u8,
    /// Whether the buzzer may sound.
    pub sound: bool,
}

impl Default for Signal {
    /// Starting, bright, without sound: what a device shows before it heard of a host.
    fn default() -> Self {
        Self {
            state: State::Starting,
            brightness: u8::MAX,
            sound: false,
        }
    }
}

/// The state of a live session, without its reason. The names are those of `bedside_core::State`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// No answer yet.
    Starting,
    /// Answers come, and come in time.
    Active,
    /// Answers come, but not as they should.
    Degraded,
    /// Nothing is asked of the model, for a reason.
    Paused,
    /// Something that should come does not.
    Stalled,
    /// Answers have ended until a person acts. A device without a host shows the same.
    Fault,
}

/// How the device and its inputs are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// What is wrong at present.
    pub faults: Faults,
    /// The number of the self-test that ended last in this session, 0 for none.
    pub self_test: u8,
    /// What it found.
    pub found: Faults,
    /// How many changes of inputs came before `changes` in this session, modulo 65536.
    pub first: u16,
    /// The oldest changes that the host has not said to have received, in order.
    pub changes: Vec<Change, MAX_CHANGES>,
}

/// What happened to an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which one.
    pub input: Input,
    /// What was done to it.
    pub action: Action,
    /// Milliseconds from then to the sending of this heartbeat, 65535 for any longer.
    pub age_ms: u16,
}

/// A pedal or button.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Input {
    /// The pedal, or the left one of two.
    Pedal,
    /// The right one of two pedals.
    SecondPedal,
    /// The button that freezes the picture.
    Freeze,
}

/// What is done to a pedal or button, its bouncing left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// It is down.
    Press,
    /// It has been down for 800 ms; `Press` came before, `Release` comes behind.
    LongPress,
    /// It is up again.
    Release,
}

/// Things that are wrong with a device, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Faults(pub u8);

impl Faults {
    /// An input's pin can't be read.
    pub const INPUT: Self = Self(1);
    /// A pin of the lamp can't be set.
    pub const LAMP: Self = Self(2);
    /// The buzzer's pin can't be set.
    pub const BUZZER: Self = Self(4);
    /// In this session, more changes of inputs waited for the host than there is room for, and newer
    /// ones were dropped.
    pub const OVERFLOW: Self = Self(8);
    /// Found by a self-test: an input was down all the while. It is held, or stuck.
    pub const HELD: Self = Self(16);
    /// The microcontroller was restarted by its watchdog; its firmware says so.
    pub const WATCHDOG: Self = Self(32);

    /// Whether nothing is wrong.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` are among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Add `other`, or take it away.
    pub(crate) fn set(&mut self, other: Self, wrong: bool) {
        self.0 = if wrong {
            self.0 | other.0
        } else {
            self.0 & !other.0
        };
    }
}

impl BitOr for Faults {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Faults {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}
