//! The emulated device with its two UARTs: a pseudo-terminal for its host, and the rig at its pins.

use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, TryIter, sync_channel};
use std::thread;

/// What a check may fail with.
pub(crate) type Failure = Box<dyn Error>;

/// What the firmware's test rig tells: inputs and outputs at a time of the device's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) at: u64,
    pub(crate) down: u8,
    pub(crate) light: (u16, u16),
    pub(crate) sound: bool,
}

impl Report {
    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split(' ').map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        Some(Self {
            at: next()?,
            down: next()?.try_into().ok()?,
            light: (next()?.try_into().ok()?, next()?.try_into().ok()?),
            sound: next()? == 1,
        })
    }
}

/// The firmware in its emulator.
pub(crate) struct Qemu {
    child: Child,
    rig: ChildStdin,
    reports: Receiver<Report>,
    port: String,
    down: u8,
    tag: u8,
}

impl Qemu {
    pub(crate) fn start(firmware: &str) -> Result<Self, Failure> {
        let program = env::var("QEMU").unwrap_or_else(|_| "qemu-system-arm".to_owned());
        let mut child = Command::new(&program)
            .args(["-machine", "mps2-an386", "-nodefaults", "-display", "none"])
            .args(["-chardev", "pty,id=line", "-serial", "chardev:line"])
            .args(["-chardev", "stdio,id=rig,signal=off"])
            .args(["-serial", "chardev:rig", "-kernel", firmware])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{program}: {e}; hint: install qemu-system-arm"))?;
        let rig = child.stdin.take().ok_or("no input of qemu")?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output of qemu")?).lines();
        let port = loop {
            let line = lines.next().ok_or("qemu ended at once")??;
            if let Some(rest) = line.strip_prefix("char device redirected to ") {
                break rest.split(' ').next().unwrap_or(rest).to_owned();
            }
        };
        let (tell, reports) = sync_channel(4096);
        thread::spawn(move || {
            let lines = lines.map_while(Result::ok);
            pass_on(lines.filter_map(|line| Report::parse(&line)), &tell);
        });
        Ok(Self {
            child,
            rig,
            reports,
            port,
            down: 0,
            tag: 0,
        })
    }

    /// The end of the device's line that is the host's.
    pub(crate) fn port(&self) -> &str {
        &self.port
    }

    /// What the rig has told since the last time.
    pub(crate) fn reports(&self) -> TryIter<'_, Report> {
        self.reports.try_iter()
    }

    /// Hold inputs down for so many milliseconds each, by the device's clock. The last ones stay.
    /// Gives the inputs of the report that tells of the end.
    pub(crate) fn play(&mut self, steps: &[(u8, u64)]) -> Result<u8, Failure> {
        // Bits that are no inputs, and not zero, tell the end apart from all before.
        self.tag = self.tag % 14 + 1;
        let mut bytes = Vec::new();
        for (down, millis) in steps {
            self.down = *down;
            let mut left = *millis;
            while left > 0 {
                let part = u8::try_from(left).unwrap_or(u8::MAX);
                bytes.extend([self.down, part]);
                left -= u64::from(part);
            }
        }
        let last = self.down | self.tag << 3;
        bytes.extend([last, 0, self.down, 0]);
        self.rig.write_all(&bytes)?;
        self.rig.flush()?;
        Ok(last)
    }

    /// As `play`, with the inputs as they are.
    pub(crate) fn pass(&mut self, millis: u64) -> Result<u8, Failure> {
        self.play(&[(self.down, millis)])
    }

    /// Have the firmware panic.
    pub(crate) fn panic(&mut self) -> Result<(), Failure> {
        self.rig.write_all(&[u8::MAX, 0])?;
        Ok(self.rig.flush()?)
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn pass_on<T>(items: impl Iterator<Item = T>, to: &SyncSender<T>) {
    for item in items {
        if to.send(item).is_err() {
            return;
        }
    }
}
