//! The line to the microcontroller, or to lines of this computer in its place: lamp and buzzer tell the
//! session's state, pedals and the freeze button act on it.
//!
//! One thread, which waits for the port alone. A port that is gone is tried again twice a second.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bedside_link::{Action, Event, Faults, Host, Input, Signal, Version};
use bedside_live::{Stop, tell};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::termios::{ControlModes, OptionalActions, ioctl_tiocexcl, tcgetattr, tcsetattr};

use crate::config;
use crate::desk::{Desk, Line};
use crate::gpio::{self, Lines};

/// Bits a second; a USB serial port has no use for it, and a pseudo-terminal either.
const BAUD: u32 = 115_200;
/// Longest wait, so that a change of state is sent soon.
const TICK_MS: u64 = 10;
/// Time between two tries to open the port.
const RETRY_MS: u64 = 500;

/// Serve the line until `stop` says so.
pub(crate) fn start(
    config: &config::Link,
    wiring: Wiring,
    desk: Arc<Desk>,
    stop: Stop,
) -> io::Result<JoinHandle<()>> {
    let (orders, snapshots) = sync_channel(1);
    let keeper = desk.clone();
    thread::Builder::new()
        .name("bedside-snapshots".to_owned())
        .spawn(move || keep(&keeper, &snapshots))?;
    let mut link = Link {
        wiring,
        port: None,
        retry_at: 0,
        brightness: config.brightness,
        sound: config.sound,
        button: Button::default(),
        orders,
        desk,
    };
    // Any number that the last start did not have.
    let session = RandomState::new().build_hasher().finish();
    let host = Host::new(version(), u16::try_from(session & 0xffff).unwrap_or(0));
    thread::Builder::new()
        .name("bedside-link".to_owned())
        .spawn(move || link.serve(host, &stop))
}

/// Keep pictures when the button asks for them, as that may take longer than the line may wait.
fn keep(desk: &Desk, orders: &Receiver<()>) {
    for () in orders {
        match desk.snapshots.take() {
            Ok(name) => tell(&format!("note: snapshot {name}\n")),
            Err(why) => tell(&format!("note: {why}\n")),
        }
    }
}

/// This program's version, as the device is told it.
pub(crate) fn version() -> Version {
    let mut parts = env!("CARGO_PKG_VERSION").split('.');
    let mut next = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    Version {
        major: next(),
        minor: next(),
        patch: next(),
    }
}

/// Where lamp and pedals are.
#[derive(Debug, Clone)]
pub(crate) enum Wiring {
    /// At a microcontroller behind this serial port.
    Serial(PathBuf),
    /// At lines of this chip.
    Gpio(PathBuf, config::Gpio),
}

/// What is open.
#[derive(Debug)]
struct Port {
    file: File,
    /// The other end, where that is in this process; dropped behind `file`, which ends it.
    _lines: Option<Lines>,
}

struct Link {
    wiring: Wiring,
    port: Option<Port>,
    /// When to try to open the port next.
    retry_at: u64,
    brightness: u8,
    sound: bool,
    button: Button,
    orders: SyncSender<()>,
    desk: Arc<Desk>,
}

impl Link {
    fn serve(&mut self, mut host: Host, stop: &Stop) {
        let began = Instant::now();
        let mut events = Vec::new();
        let mut bytes = [0; 256];
        while !stop.is_stopped() {
            let now = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.attend(now());
            host.show(self.signal());
            let wait = host.next_poll().saturating_sub(now()).min(TICK_MS);
            match self.read(&mut bytes, wait) {
                Ok(read) => host.receive(read, now(), |event| events.push(event)),
                Err(error) => self.lose(&error, now()),
            }
            while let Some(frame) = host.poll(now(), |event| events.push(event)) {
                self.write(&frame, now());
            }
            for event in events.drain(..) {
                self.take(event);
            }
        }
    }

    /// What lamp and buzzer are to tell.
    fn signal(&self) -> Signal {
        use bedside_link::State as Shown;
        let state = match self.desk.pulse.state() {
            Some(bedside::State::Starting) => Shown::Starting,
            Some(bedside::State::Active) => Shown::Active,
            Some(bedside::State::Degraded(_)) => Shown::Degraded,
            Some(bedside::State::Paused(_)) => Shown::Paused,
            Some(bedside::State::Stalled(_)) => Shown::Stalled,
            Some(bedside::State::Fault(_)) => Shown::Fault,
            None if !self.desk.pulse.has_begun() => Shown::Starting,
            // The video path hangs.
            None => Shown::Fault,
        };
        Signal {
            state,
            brightness: self.brightness,
            sound: self.sound,
        }
    }

    /// Open the port, where that is to do.
    fn attend(&mut self, now: u64) {
        if self.port.is_some() || now < self.retry_at {
            return;
        }
        match self.wiring.open() {
            Ok(port) => {
                self.port = Some(port);
                self.say("waiting", Some("nobody has answered yet".to_owned()));
            }
            Err(error) => self.lose(&error, now),
        }
    }

    fn lose(&mut self, error: &io::Error, now: u64) {
        self.port = None;
        self.retry_at = now + RETRY_MS;
        let hint = match self.wiring {
            Wiring::Serial(_) => {
                "see that the device is plugged in and this user may open its port"
            }
            Wiring::Gpio(..) => {
                "see that nobody else has these lines and this user may open the chip"
            }
        };
        self.say("absent", Some(format!("{error}; hint: {hint}")));
    }

    /// Bytes that came, after `wait` milliseconds at most.
    fn read<'a>(&mut self, bytes: &'a mut [u8], wait: u64) -> io::Result<&'a [u8]> {
        let Some(port) = &mut self.port else {
            thread::sleep(Duration::from_millis(wait));
            return Ok(&[]);
        };
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: i64::try_from(wait).unwrap_or(0) * 1_000_000,
        };
        let mut waits = [PollFd::new(&port.file, PollFlags::IN)];
        match poll(&mut waits, Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(&[]),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match port.file.read(bytes) {
            Ok(0) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the port is gone",
            )),
            Ok(count) => Ok(bytes.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(&[]),
            Err(error) => Err(error),
        }
    }

    /// Send a frame. What a full line does not take is lost, as on any line: the next one says it
    /// again.
    fn write(&mut self, frame: &[u8], now: u64) {
        let Some(port) = &mut self.port else { return };
        match port.file.write(frame) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.lose(&error, now),
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Linked { firmware, .. } => {
                let Version {
                    major,
                    minor,
                    patch,
                } = firmware;
                self.button = Button::default();
                self.say("linked", None);
                let mut line = self
                    .desk
                    .line
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                line.firmware = Some(format!("{major}.{minor}.{patch}"));
            }
            Event::Refused(refusal) => self.say("refused", Some(refusal.to_string())),
            Event::Lost if self.port.is_some() => {
                let hint = "see to its cable, power and firmware";
                self.say(
                    "waiting",
                    Some(format!("the device is silent; hint: {hint}")),
                );
            }
            Event::Lost => {}
            Event::Faults(faults) => self.say("linked", words(faults)),
            Event::SelfTest(_) => {}
            Event::Input { input, action, .. } => self.act(input, action),
        }
    }

    fn act(&mut self, input: Input, action: Action) {
        let forward = match (input, action) {
            (Input::Pedal, Action::Press) => true,
            (Input::SecondPedal, Action::Press) => false,
            (Input::Freeze, _) => return self.freeze(action),
            _ => return,
        };
        if let Err(error) = self.desk.turn(forward) {
            tell(&format!("note: pedal: {error}\n"));
        }
    }

    fn freeze(&mut self, action: Action) {
        let control = &self.desk.control;
        match self.button.take(action, control.is_frozen()) {
            Some(Deed::Freeze(frozen)) => control.freeze(frozen),
            Some(Deed::Snapshot) if self.orders.try_send(()).is_err() => {
                tell("note: snapshot: the one before is not written yet\n");
            }
            Some(Deed::Snapshot) | None => {}
        }
    }

    /// Say how the line is, where that is news.
    fn say(&self, state: &'static str, message: Option<String>) {
        let mut line = self
            .desk
            .line
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if line.state == state && line.message == message {
            return;
        }
        let firmware = line.firmware.take().filter(|_| state == "linked");
        let why = message.as_deref().map(|why| format!(": {why}"));
        tell(&format!("note: link {state}{}\n", why.unwrap_or_default()));
        *line = Line {
            state,
            message,
            firmware,
        };
    }
}

impl Wiring {
    fn open(&self) -> io::Result<Port> {
        match self {
            Self::Serial(path) => Ok(Port {
                file: open(path)?,
                _lines: None,
            }),
            Self::Gpio(chip, config) => {
                let (stream, lines) = gpio::start(chip, config)?;
                Ok(Port {
                    file: OwnedFd::from(stream).into(),
                    _lines: Some(lines),
                })
            }
        }
    }
}

/// A serial port, raw, for this process alone, which never makes a read or a write wait.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let mut options = OpenOptions::new();
    let port = options
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(path)?;
    let mut settings = tcgetattr(&port)?;
    settings.make_raw();
    settings.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
    settings.set_speed(BAUD)?;
    tcsetattr(&port, OptionalActions::Now, &settings)?;
    ioctl_tiocexcl(&port)?;
    Ok(port)
}

/// What is wrong with the device.
fn words(faults: Faults) -> Option<String> {
    const WORDS: [(Faults, &str); 6] = [
        (Faults::INPUT, "an input can't be read"),
        (Faults::LAMP, "the lamp can't be set"),
        (Faults::BUZZER, "the buzzer can't be set"),
        (Faults::OVERFLOW, "presses were lost"),
        (Faults::HELD, "an input is held or stuck"),
        (Faults::WATCHDOG, "its watchdog restarted it"),
    ];
    let wrong = WORDS.iter().filter(|(fault, _)| faults.contains(*fault));
    let wrong: Vec<&str> = wrong.map(|(_, words)| *words).collect();
    (!wrong.is_empty()).then(|| format!("{}; hint: see to the device", wrong.join(", ")))
}

/// The freeze button: a press freezes at once, a short one on a frozen picture lets it go, and a long
/// one keeps what is shown.
#[derive(Debug, Default)]
struct Button {
    /// Whether letting the button go lets the picture go.
    releases: bool,
}

/// What the button asks for.
#[derive(Debug, PartialEq, Eq)]
enum Deed {
    Freeze(bool),
    Snapshot,
}

impl Button {
    fn take(&mut self, action: Action, frozen: bool) -> Option<Deed> {
        match action {
            Action::Press => {
                self.releases = frozen;
                (!frozen).then_some(Deed::Freeze(true))
            }
            Action::LongPress => {
                self.releases = false;
                Some(Deed::Snapshot)
            }
            Action::Release => std::mem::take(&mut self.releases).then_some(Deed::Freeze(false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_press_freezes_a_short_one_lets_go_and_a_long_one_keeps() {
        let mut button = Button::default();
        let mut frozen = false;
        let mut press = |actions: &[Action]| {
            let mut deeds = Vec::new();
            for action in actions {
                let deed = button.take(*action, frozen);
                if let Some(Deed::Freeze(to)) = deed {
                    frozen = to;
                }
                deeds.extend(deed);
            }
            deeds
        };
        let short = [Action::Press, Action::Release];
        let long = [Action::Press, Action::LongPress, Action::Release];
        assert_eq!(press(&short), [Deed::Freeze(true)]);
        assert_eq!(press(&long), [Deed::Snapshot]);
        assert_eq!(press(&short), [Deed::Freeze(false)]);
        assert_eq!(press(&long), [Deed::Freeze(true), Deed::Snapshot]);
        // A release without its press, which was before the session.
        assert_eq!(press(&[Action::Release]), []);
    }
}
