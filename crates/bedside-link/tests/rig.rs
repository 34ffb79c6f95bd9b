//! What the tests share: two ends on a line that can be cut, and random numbers.

use bedside_link::{Device, Event, Frame, Host, Signal, State, Version};

pub(crate) const HOST: Version = Version {
    major: 0,
    minor: 3,
    patch: 1,
};
pub(crate) const FIRMWARE: Version = Version {
    major: 1,
    minor: 0,
    patch: 300,
};
pub(crate) const ACTIVE: Signal = Signal {
    state: State::Active,
    brightness: 200,
    sound: true,
};

/// A host and a device on a line, in steps of a millisecond.
pub(crate) struct Line {
    pub(crate) host: Host,
    pub(crate) device: Device,
    pub(crate) now: u64,
    /// Whether what the host sends comes over.
    pub(crate) down: bool,
    /// Whether what the device sends comes over.
    pub(crate) up: bool,
    /// What the host told, and when.
    pub(crate) events: Vec<(u64, Event)>,
    /// All that was sent, by whom it was.
    pub(crate) sent: Vec<(&'static str, Frame)>,
}

impl Line {
    pub(crate) fn new() -> Self {
        let mut host = Host::new(HOST, 7);
        host.show(ACTIVE);
        Self {
            host,
            device: Device::new(FIRMWARE, 0),
            now: 0,
            down: true,
            up: true,
            events: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// A line with a session.
    pub(crate) fn linked() -> Self {
        let mut line = Self::new();
        line.run(10);
        assert!(line.host.linked() && line.device.linked());
        line.events.clear();
        line
    }

    /// Let so many milliseconds pass.
    pub(crate) fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.now += 1;
            let now = self.now;
            let tell = |event| self.events.push((now, event));
            if let Some(frame) = self.host.poll(now, tell) {
                if self.down {
                    self.device.receive(&frame, now);
                }
                self.sent.push(("host", frame));
            }
            if let Some(frame) = self.device.poll(now) {
                if self.up {
                    let tell = |event| self.events.push((now, event));
                    self.host.receive(&frame, now, tell);
                }
                self.sent.push(("device", frame));
            }
        }
    }

    /// What the host told since this was asked last.
    pub(crate) fn told(&mut self) -> Vec<Event> {
        self.events.drain(..).map(|(_, event)| event).collect()
    }
}

/// Pseudo-random numbers (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % end
    }

    /// Yes, in so many of 10,000 cases.
    pub(crate) fn chance(&mut self, of_10_000: u64) -> bool {
        self.below(10_000) < of_10_000
    }
}
