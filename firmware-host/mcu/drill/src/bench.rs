//! The emulated device, and the host at the end of its line.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use bedside_link::{Event, Host, Signal, Version};
use rustix::fs::{Mode, OFlags, open};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::qemu::{Failure, Qemu, Report, pass_on};

/// Whatever takes longer than this will not come: emulation may be slow, but not as slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pseudo-random numbers (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % end
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.below(256).to_le_bytes()[0]
    }
}

/// The device, the rig at its pins, and the host at the other end of its line.
pub(crate) struct Bench {
    qemu: Qemu,
    port: File,
    came: Receiver<Vec<u8>>,
    began: Instant,
    pub(crate) host: Host,
    /// Whether what the host sends is kept from the device.
    pub(crate) cut: bool,
    /// With it, 1 % of all bytes are changed, in both directions.
    pub(crate) noise: Option<Random>,
    /// What the host told.
    pub(crate) events: Vec<Event>,
    /// What the rig told.
    pub(crate) film: Vec<Report>,
}

impl Bench {
    /// Start the firmware. The host does not speak yet.
    pub(crate) fn start(firmware: &str) -> Result<Self, Failure> {
        let qemu = Qemu::start(firmware)?;
        let port = open_port(qemu.port())?;
        let (tell, came) = sync_channel(4096);
        let mut reader = port.try_clone()?;
        thread::spawn(move || {
            let mut bytes = [0; 256];
            let read = || {
                let count = reader.read(&mut bytes).ok().filter(|count| *count > 0)?;
                Some(bytes.get(..count)?.to_vec())
            };
            pass_on(std::iter::from_fn(read), &tell);
        });

        Ok(Self {
            qemu,
            port,
            came,
            began: Instant::now(),
            host: host(1),
            cut: true,
            noise: None,
            events: Vec::new(),
            film: Vec::new(),
        })
    }

    /// As if the host's program had been started anew.
    pub(crate) fn restart_host(&mut self, session: u16, signal: Signal) {
        self.host = host(session);
        self.host.show(signal);
    }

    /// Go on by a millisecond or two.
    fn step(&mut self) -> Result<(), Failure> {
        let now = u64::try_from(self.began.elapsed().as_millis())?;
        let tell = |event| self.events.push(event);
        if let Some(frame) = self.host.poll(now, tell)
            && !self.cut
        {
            let bytes = damage(self.noise.as_mut(), &frame);
            self.port.write_all(&bytes)?;
        }
        match self.came.recv_timeout(Duration::from_millis(1)) {
            Ok(bytes) => {
                let bytes = damage(self.noise.as_mut(), &bytes);
                let tell = |event| self.events.push(event);
                self.host.receive(&bytes, now, tell);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err("the line was closed".into()),
        }
        self.film.extend(self.qemu.reports());
        Ok(())
    }

    /// Go on until something is there.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        mut find: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        loop {
            self.step()?;
            if let Some(found) = find(self) {
                return Ok(found);
            }
            if began.elapsed() > PATIENCE {
                let last = self.film.last();
                return Err(format!("no {what}; last seen: {last:?}, {:?}", self.events).into());
            }
        }
    }

    /// Until the host told this.
    pub(crate) fn until_told(&mut self, what: &str, event: Event) -> Result<(), Failure> {
        self.until(what, |bench| bench.events.contains(&event).then_some(()))
    }

    /// Hold inputs down for so many milliseconds each, by the device's clock. The last ones stay.
    /// Gives the device's time when it is done.
    pub(crate) fn play(&mut self, steps: &[(u8, u64)]) -> Result<u64, Failure> {
        let from = self.film.len();
        let last = self.qemu.play(steps)?;
        self.until_played(from, last)
    }

    /// Let so many milliseconds of the device's clock pass.
    pub(crate) fn pass(&mut self, millis: u64) -> Result<u64, Failure> {
        let from = self.film.len();
        let last = self.qemu.pass(millis)?;
        self.until_played(from, last)
    }

    fn until_played(&mut self, from: usize, last: u8) -> Result<u64, Failure> {
        self.until("end of the steps", |bench| {
            let mut new = bench.film.iter().skip(from);
            Some(new.find(|report| report.down == last)?.at)
        })
    }

    /// Have the firmware panic.
    pub(crate) fn panic(&mut self) -> Result<(), Failure> {
        self.qemu.panic()
    }

    /// Send bytes over the line that are no host's.
    pub(crate) fn flood(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        for part in bytes.chunks(256) {
            self.port.write_all(part)?;
            self.step()?;
        }
        Ok(())
    }

    /// What was told and seen from now on.
    pub(crate) fn clear(&mut self) {
        self.events.clear();
        self.film.clear();
    }
}

fn host(session: u16) -> Host {
    let version = Version {
        major: 0,
        minor: 1,
        patch: 0,
    };
    Host::new(version, session)
}

/// A serial port that passes bytes on as they are.
fn open_port(path: &str) -> Result<File, Failure> {
    let port = open(path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
    let mut settings = tcgetattr(&port)?;
    settings.make_raw();
    tcsetattr(&port, OptionalActions::Now, &settings)?;
    Ok(File::from(port))
}

fn damage(noise: Option<&mut Random>, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(random) = noise {
        for byte in &mut bytes {
            if random.below(100) == 0 {
                *byte = random.byte();
            }
        }
    }
    bytes
}
