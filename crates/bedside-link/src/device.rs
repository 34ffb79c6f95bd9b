//! The device's end of the line.

use heapless::Deque;

use crate::frame::{Decoder, Frame, encode};
use crate::packet::{
    Action, Change, Controls, Faults, Hello, Input, MAX_CHANGES, Packet, Report, Role, Signal,
    State, Version,
};
use crate::session::{HEARTBEAT_MS, SILENCE_MS, Session, common_protocol, hello};

/// The device's end: bytes, the time and what is done to inputs go in; what to show and bytes to
/// send come out. [`Panel`](crate::Panel) has one, with pins.
#[derive(Debug)]
pub struct Device {
    software: Version,
    decoder: Decoder,
    session: Option<Session>,
    /// Whether the host was heard in this session, and not too long ago.
    linked: bool,
    /// When the host was heard last; the start counts.
    heard_at: u64,
    send_at: u64,
    /// The session that a host asked for and was not answered about.
    asked: Option<u16>,
    controls: Controls,
    faults: Faults,
    self_test: u8,
    found: Faults,
    /// How many changes the host has got in this session.
    first: u16,
    waiting: Deque<Waiting, MAX_CHANGES>,
}

/// A change that the host has not said to have received.
#[derive(Debug)]
struct Waiting {
    input: Input,
    action: Action,
    at: u64,
}

impl Device {
    /// A device that is started now.
    pub fn new(software: Version, now: u64) -> Self {
        Self {
            software,
            decoder: Decoder::default(),
            session: None,
            linked: false,
            heard_at: now,
            send_at: now,
            asked: None,
            controls: Controls::default(),
            faults: Faults::default(),
            self_test: 0,
            found: Faults::default(),
            first: 0,
            waiting: Deque::new(),
        }
    }

    /// What lamp and buzzer are to tell: what the host said last or, where it was silent for
    /// 500 ms, a fault.
    pub fn signal(&self) -> Signal {
        self.controls.signal
    }

    /// Whether there is a session.
    pub fn linked(&self) -> bool {
        self.linked
    }

    /// The number of the self-test that the host waits for.
    pub fn self_test(&self) -> Option<u8> {
        let number = self.controls.self_test;
        (self.linked && number != 0 && number != self.self_test).then_some(number)
    }

    /// Report the self-test of that number to have found `found`.
    pub fn end_self_test(&mut self, number: u8, found: Faults) {
        self.self_test = number;
        self.found = found;
        self.send_at = 0;
    }

    /// What is wrong at present.
    pub(crate) fn faults(&self) -> Faults {
        self.faults
    }

    /// Report `faults` to be there, or to be gone.
    pub fn set_faults(&mut self, faults: Faults, there: bool) {
        let before = self.faults;
        self.faults.set(faults, there);
        if self.faults != before {
            self.send_at = 0;
        }
    }

    /// Report what was done to an input at the time `at`. Without a session nobody is told, now or
    /// later: the lamp says so, and what is done then has no effect that comes as a surprise.
    pub fn push(&mut self, input: Input, action: Action, at: u64) {
        if !self.linked {
            return;
        }
        let change = Waiting { input, action, at };
        if self.waiting.push_back(change).is_err() {
            self.faults |= Faults::OVERFLOW;
        }
        self.send_at = 0;
    }

    /// Take bytes that came over the line, in pieces of any size.
    pub fn receive(&mut self, bytes: &[u8], now: u64) {
        for byte in bytes {
            match self.decoder.push(*byte) {
                Some(Packet::Hello(hello)) if hello.role == Role::Host => self.greeted(&hello),
                Some(Packet::Host(beat)) => {
                    let session = self.session.as_mut();
                    if session.is_some_and(|session| session.accept(&beat).is_some()) {
                        self.told(beat.body, now);
                    }
                }
                _ => {}
            }
        }
    }

    fn greeted(&mut self, hello: &Hello) {
        let same = self.session.as_ref().map(Session::id) == Some(hello.session);
        // A host that has a session does not ask for it. So this is another host by the same
        // number, which will ask again, or a late copy, and then the host will miss the device.
        if same && self.linked {
            return self.close();
        }
        if !same {
            self.close();
            self.session = common_protocol(hello).map(|_| Session::new(hello.session));
        }
        self.asked = Some(hello.session);
    }

    /// Forget all that belongs to a session.
    fn close(&mut self) {
        self.session = None;
        self.linked = false;
        self.waiting.clear();
        self.first = 0;
        self.controls.self_test = 0;
        self.self_test = 0;
        self.found = Faults::default();
        self.faults.set(Faults::OVERFLOW, false);
    }

    fn told(&mut self, controls: Controls, now: u64) {
        if !self.linked {
            self.linked = true;
            self.send_at = now;
        }
        self.heard_at = now;
        self.controls = controls;
        let received = usize::from(controls.received.wrapping_sub(self.first));
        if received <= self.waiting.len() {
            self.first = controls.received;
            for _ in 0..received {
                self.waiting.pop_front();
            }
        }
    }

    /// Go on to the present: the frame to send now, where there is one. Call it every few
    /// milliseconds, and read [`signal`](Self::signal) behind it.
    pub fn poll(&mut self, now: u64) -> Option<Frame> {
        if now.saturating_sub(self.heard_at) >= SILENCE_MS {
            if self.linked {
                self.close();
            }
            self.controls.signal.state = State::Fault;
        }
        if let Some(session) = self.asked.take() {
            let hello = hello(Role::Device, session, self.software);
            return Some(encode(&Packet::Hello(hello)));
        }
        if !self.linked || now < self.send_at {
            return None;
        }
        self.send_at = now.saturating_add(HEARTBEAT_MS);
        let report = self.report(now);
        let session = self.session.as_mut()?;
        Some(encode(&Packet::Device(session.beat(report))))
    }

    fn report(&self, now: u64) -> Report {
        let age = |at| now.saturating_sub(at).try_into().unwrap_or(u16::MAX);
        let changes = self.waiting.iter().map(|waiting| Change {
            input: waiting.input,
            action: waiting.action,
            age_ms: age(waiting.at),
        });
        Report {
            faults: self.faults,
            self_test: self.self_test,
            found: self.found,
            first: self.first,
            changes: changes.collect(),
        }
    }
}
