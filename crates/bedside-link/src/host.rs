//! The host's end of the line.

use core::error::Error;
use core::fmt;

use crate::frame::{Decoder, Frame, encode};
use crate::packet::{
    Action, Controls, Faults, Hello, Input, NEWEST_PROTOCOL, OLDEST_PROTOCOL, Packet, Report, Role,
    Signal, Version,
};
use crate::session::{GREETING_MS, HEARTBEAT_MS, SILENCE_MS, Session, common_protocol, hello};

/// The host's end: bytes and the time go in, events and bytes to send come out.
///
/// Hand what comes over the line to [`receive`](Self::receive), and call [`poll`](Self::poll) at
/// [`next_poll`](Self::next_poll) or earlier, after each call that changes something too.
#[derive(Debug)]
pub struct Host {
    software: Version,
    decoder: Decoder,
    session: Session,
    linked: bool,
    /// When the device was heard last in this session.
    heard_at: u64,
    /// When to send next.
    send_at: u64,
    controls: Controls,
    /// Whether a self-test was asked for and its result did not come yet.
    testing: bool,
    faults: Faults,
    refusal: Option<Refusal>,
    counts: Counts,
}

/// What happened at the other end, or to the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A session began.
    Linked {
        /// Version of the protocol that both ends speak.
        protocol: u8,
        /// Version of the device's firmware.
        firmware: Version,
    },
    /// There is another end, but no session is possible with it. Told once for each reason; the
    /// host goes on asking.
    Refused(Refusal),
    /// The device was not heard for 500 ms. What was done to inputs since is not told later.
    Lost,
    /// Something was done to a pedal or button. Each such event comes once and in order. A release
    /// comes without its press where the press was before the session.
    Input {
        /// Which one.
        input: Input,
        /// What was done to it.
        action: Action,
        /// Milliseconds from then to the sending of the heartbeat that told of it.
        age_ms: u16,
    },
    /// From now on these things are wrong with the device; none, where that is empty.
    Faults(Faults),
    /// The self-test ended, and found this.
    SelfTest(Faults),
}

/// Why no session is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The other end is a host as well, or this one itself.
    Role,
    /// The other end speaks no version of the protocol that this one does.
    Protocol {
        /// The oldest version that it speaks.
        oldest: u8,
        /// The newest one.
        newest: u8,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role => f.write_str(
                "the other end of the line is a host, not a device; hint: look for a second \
                 program on this port, and for a plug that joins its two data lines",
            ),
            Self::Protocol { oldest, newest } => write!(
                f,
                "the device speaks versions {oldest} to {newest} of the protocol, this program \
                 {OLDEST_PROTOCOL} to {NEWEST_PROTOCOL}; hint: update {}",
                if *oldest > NEWEST_PROTOCOL {
                    "this program"
                } else {
                    "the device's firmware"
                }
            ),
        }
    }
}

impl Error for Refusal {}

/// How good the line from the device is, in frames since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Heartbeats that came.
    pub received: u64,
    /// Heartbeats that did not come, as the numbers of later ones tell.
    pub missed: u64,
    /// Frames that came damaged.
    pub damaged: u32,
}

impl Host {
    /// A host that asks for its first session under the number `session`. It should differ from
    /// that of the program's last start, so that what a device said then is not taken for an answer
    /// now: some digits of a clock will do.
    pub fn new(software: Version, session: u16) -> Self {
        Self {
            software,
            decoder: Decoder::default(),
            session: Session::new(session),
            linked: false,
            heard_at: 0,
            send_at: 0,
            controls: Controls::default(),
            testing: false,
            faults: Faults::default(),
            refusal: None,
            counts: Counts::default(),
        }
    }

    /// Have the device show this, now and in sessions to come.
    pub fn show(&mut self, signal: Signal) {
        if self.controls.signal != signal {
            self.controls.signal = signal;
            self.send_at = 0;
        }
    }

    /// Ask for a self-test: a second in which the device shows red, then green, then sounds. One
    /// that a lost line ends is asked for again in the next session.
    pub fn self_test(&mut self) {
        self.testing = true;
        // From 255 to 1, as 0 asks for none.
        self.controls.self_test = self.controls.self_test.checked_add(1).unwrap_or(1);
        self.send_at = 0;
    }

    /// Whether there is a session.
    pub fn linked(&self) -> bool {
        self.linked
    }

    /// How good the line is.
    pub fn counts(&self) -> Counts {
        Counts {
            damaged: self.decoder.damaged(),
            ..self.counts
        }
    }

    /// When [`poll`](Self::poll) has something to do, should nothing happen until then.
    pub fn next_poll(&self) -> u64 {
        match self.linked {
            true => self.send_at.min(self.heard_at.saturating_add(SILENCE_MS)),
            false => self.send_at,
        }
    }

    /// Take bytes that came over the line, in pieces of any size, and tell what they say.
    pub fn receive(&mut self, bytes: &[u8], now: u64, mut tell: impl FnMut(Event)) {
        for byte in bytes {
            match self.decoder.push(*byte) {
                Some(Packet::Hello(hello)) if !self.linked => self.greeted(&hello, now, &mut tell),
                Some(Packet::Device(beat)) if self.linked => {
                    if let Some(missed) = self.session.accept(&beat) {
                        self.counts.missed += u64::from(missed);
                        self.counts.received += 1;
                        self.heard_at = now;
                        self.reported(&beat.body, &mut tell);
                    }
                }
                _ => {}
            }
        }
    }

    fn greeted(&mut self, hello: &Hello, now: u64, tell: &mut impl FnMut(Event)) {
        let refusal = match (hello.role, common_protocol(hello)) {
            (Role::Host, _) => Refusal::Role,
            // An answer to what was asked before this program was started, or the line lost.
            (Role::Device, _) if hello.session != self.session.id() => return,
            (Role::Device, None) => Refusal::Protocol {
                oldest: hello.oldest,
                newest: hello.newest,
            },
            (Role::Device, Some(protocol)) => {
                self.linked = true;
                self.refusal = None;
                self.heard_at = now;
                self.send_at = now;
                self.faults = Faults::default();
                self.controls.received = 0;
                self.controls.self_test = u8::from(self.testing);
                return tell(Event::Linked {
                    protocol,
                    firmware: hello.software,
                });
            }
        };
        if self.refusal.replace(refusal) != Some(refusal) {
            tell(Event::Refused(refusal));
        }
    }

    fn reported(&mut self, report: &Report, tell: &mut impl FnMut(Event)) {
        // Those that came before are repeated until the device has heard that they came.
        let known = self.controls.received.wrapping_sub(report.first);
        for change in report.changes.iter().skip(known.into()) {
            self.controls.received = self.controls.received.wrapping_add(1);
            self.send_at = 0;
            tell(Event::Input {
                input: change.input,
                action: change.action,
                age_ms: change.age_ms,
            });
        }
        if self.faults != report.faults {
            self.faults = report.faults;
            tell(Event::Faults(report.faults));
        }
        if self.testing && report.self_test == self.controls.self_test {
            self.testing = false;
            tell(Event::SelfTest(report.found));
        }
    }

    /// Go on to the present: the frame to send now, where there is one, and whether the line is
    /// lost.
    pub fn poll(&mut self, now: u64, mut tell: impl FnMut(Event)) -> Option<Frame> {
        if self.linked && now.saturating_sub(self.heard_at) >= SILENCE_MS {
            self.linked = false;
            self.session = Session::new(self.session.id().wrapping_add(1));
            self.send_at = now;
            tell(Event::Lost);
        }
        if now < self.send_at {
            return None;
        }
        let (packet, pause) = match self.linked {
            true => (Packet::Host(self.session.beat(self.controls)), HEARTBEAT_MS),
            false => {
                let hello = hello(Role::Host, self.session.id(), self.software);
                (Packet::Hello(hello), GREETING_MS)
            }
        };
        self.send_at = now.saturating_add(pause);
        Some(encode(&packet))
    }
}
