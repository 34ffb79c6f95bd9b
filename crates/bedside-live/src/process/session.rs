//! The session's side: it starts the process, asks it, believes nothing unchecked, and ends it.

use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bedside::{Finding, Frame, Modality, Prompt};

use super::wire::{self, Answer, Ask, Limit, Numbered, Picture};
use crate::error::{Error, ErrorKind};
use crate::model::{Kill, Loader, Model, credible};

/// How often, and how many times, a process that has closed its socket is looked at before it is
/// killed.
const LOOK: Duration = Duration::from_millis(1);
const LOOKS: u32 = 500;

/// Loads the model in a process of its own, again after each restart, and ends that process where
/// the model hangs. The process runs [`serve`](crate::serve).
///
/// A model that crashes, runs out of memory or never answers then costs the video neither memory
/// nor a thread, and its masks are those that it would give in this process.
pub struct ProcessLoader {
    facts: Arc<dyn Loader>,
    command: Box<dyn Fn() -> Command + Send + Sync>,
}

impl ProcessLoader {
    /// `command` makes the process; its standard streams and process group are set here. `facts`
    /// answers what is asked of the model without loading it, and is never asked to load.
    ///
    /// On Linux, `/proc/self/exe` is the present program even after an update has replaced its
    /// file.
    pub fn new(
        facts: Arc<dyn Loader>,
        command: impl Fn() -> Command + Send + Sync + 'static,
    ) -> Self {
        Self {
            facts,
            command: Box::new(command),
        }
    }
}

impl Loader for ProcessLoader {
    fn load(&self) -> Result<Box<dyn Model>, Error> {
        self.load_killable(&Kill::default())
    }

    fn load_killable(&self, kill: &Kill) -> Result<Box<dyn Model>, Error> {
        let process = Process::start((self.command)()).map_err(|e| {
            let hint = "end other programs, or run the model in-process";
            Error::caused(ErrorKind::Load, "process for the model", e, hint)
        })?;
        kill.by(process.killer());
        let mut remote = Remote {
            process,
            number: 0,
            bytes: Vec::new(),
        };
        match remote.answer(Limit::new(0, 0))? {
            Answer::Done => Ok(Box::new(remote)),
            Answer::Failed(kind, text) => Err(Error::new(kind, wire::line(text.as_bytes()))),
            Answer::Found(_) => Err(remote.nonsense("an answer before a question")),
        }
    }

    fn check(&self, prompts: &[Prompt]) -> Result<Option<Modality>, Error> {
        self.facts.check(prompts)
    }

    fn label(&self, prompt: &Prompt) -> String {
        self.facts.label(prompt)
    }

    fn sides(&self, prompts: &[Prompt]) -> Vec<u32> {
        self.facts.sides(prompts)
    }
}

/// A model that is asked over a socket.
struct Remote {
    process: Process,
    /// Of the last question.
    number: u64,
    bytes: Vec<u8>,
}

impl Model for Remote {
    fn set_prompts(&mut self, prompts: &[Prompt], side: Option<u32>) -> Result<(), Error> {
        let words = |p: &Prompt| p.text.len() + p.site.as_ref().map_or(0, String::len);
        if let Some(long) = prompts.iter().map(words).max().filter(|n| *n > wire::WORDS) {
            let message = format!("a prompt of {long} bytes; hint: name one object");
            return Err(Error::new(ErrorKind::Prompt, message));
        }
        self.ask(Ask::Prompts(prompts.to_vec(), side), &[])?;
        match self.answer(Limit::new(0, 0))? {
            Answer::Done => Ok(()),
            Answer::Failed(kind, text) => Err(Error::new(kind, wire::line(text.as_bytes()))),
            Answer::Found(_) => Err(self.nonsense("findings without a frame")),
        }
    }

    fn segment(&mut self, frame: &Frame, places: Range<usize>) -> Result<Vec<Finding>, Error> {
        let asked = places.len();
        let picture = Picture {
            width: frame.width(),
            height: frame.height(),
            format: frame.format(),
            yuv_space: frame.yuv_space(),
            captured: frame.captured().as_nanos(),
        };
        self.ask(Ask::Segment(picture, places), frame.data())?;
        let masks = asked.saturating_mul(wire::packed_len(frame.width(), frame.height()));
        match self.answer(Limit::new(asked, masks))? {
            Answer::Found(findings) => findings_of(frame, asked, findings, &self.bytes)
                .ok_or_else(|| self.nonsense("findings that can't be of this frame")),
            Answer::Failed(kind, text) => Err(Error::new(kind, wire::line(text.as_bytes()))),
            Answer::Done => Err(self.nonsense("no findings")),
        }
    }

    fn alive(&mut self) -> Result<(), Error> {
        match self.process.status() {
            Ok(None) => Ok(()),
            _ => Err(self.ended()),
        }
    }
}

impl Remote {
    fn ask(&mut self, what: Ask, bytes: &[u8]) -> Result<(), Error> {
        self.number += 1;
        let question = Numbered {
            number: self.number,
            what,
        };
        let sent = wire::send(&mut self.process.socket, &question, bytes);
        sent.map_err(|_| self.ended())
    }

    /// The answer to the last question; what goes with it is in `bytes`.
    fn answer(&mut self, limit: Limit) -> Result<Answer, Error> {
        let got = wire::receive(&mut self.process.socket, limit, &mut self.bytes);
        match got {
            Ok(Numbered { number, what }) if number == self.number => Ok(what),
            Ok(_) => Err(self.nonsense("an answer to another question")),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(self.nonsense(&error.to_string()))
            }
            Err(_) => Err(self.ended()),
        }
    }

    fn ended(&mut self) -> Error {
        let how = self.process.end();
        Error::new(ErrorKind::Process, format!("the model's process {how}"))
    }

    /// A process that says what it can't mean is beyond trust.
    fn nonsense(&mut self, what: &str) -> Error {
        self.process.kill();
        let message = format!("the model's process gave {what}, and was ended");
        Error::new(ErrorKind::Process, message)
    }
}

/// The findings with their masks; `None` where they can't be answers to so many prompts on this
/// frame.
fn findings_of(
    frame: &Frame,
    asked: usize,
    mut findings: Vec<Finding>,
    mut masks: &[u8],
) -> Option<Vec<Finding>> {
    let (width, height) = (frame.width(), frame.height());
    for finding in &mut findings {
        let mut measured = (0, None);
        if finding.present {
            let (mask, rest) = masks.split_at_checked(wire::packed_len(width, height))?;
            let mask = wire::unpack(width, height, mask)?;
            measured = mask.measure_rows(0..height);
            (finding.mask, masks) = (Some(mask), rest);
        }
        if (finding.area, finding.bounding_box) != measured {
            return None;
        }
    }
    let whole = masks.is_empty() && credible(frame, asked, &findings);
    whole.then_some(findings)
}

/// A process that is ended and waited for when this is dropped.
struct Process {
    child: Arc<Mutex<Child>>,
    socket: UnixStream,
    /// Gives the last line of standard error, when that ends.
    words: Option<JoinHandle<String>>,
}

impl Process {
    fn start(mut command: Command) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        // A group of its own, so that an interrupt at the terminal is the session's alone.
        let started = command
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // The last line is the reason, not the end of a backtrace.
            .env("RUST_BACKTRACE", "0")
            .process_group(0)
            .spawn();
        // It holds the other end of the socket.
        drop(command);
        let mut child = started?;
        let stderr = child.stderr.take();
        let mut process = Self {
            child: Arc::new(Mutex::new(child)),
            socket,
            words: None,
        };
        let listen = move || stderr.map(last_line).unwrap_or_default();
        let thread = thread::Builder::new().name("bedside-words".into());
        process.words = Some(thread.spawn(listen)?);
        Ok(process)
    }

    /// Ends the process without waiting, from any thread.
    fn killer(&self) -> impl FnOnce() + Send + 'static {
        let child = self.child.clone();
        move || kill(&child)
    }

    fn kill(&self) {
        kill(&self.child);
    }

    /// How it ended, if it has.
    fn status(&self) -> io::Result<Option<ExitStatus>> {
        lock(&self.child).try_wait()
    }

    /// How it ended, in words; it is made to where it has not.
    fn end(&mut self) -> String {
        // One that has closed its socket is about to.
        let mut looks = 0..LOOKS;
        let status = loop {
            let status = self.status().ok().flatten();
            if status.is_some() || looks.next().is_none() {
                break status;
            }
            thread::sleep(LOOK);
        };
        let Some(status) = status else {
            self.kill();
            return "closed its socket, and was ended".to_owned();
        };
        let words = self.words.take().and_then(|words| words.join().ok());
        let words = words.filter(|words| !words.is_empty());
        let words = words.map(|words| format!(": {words}")).unwrap_or_default();
        match (status.signal(), status.code()) {
            (Some(signal), _) => format!("was ended by signal {signal}{}{words}", name(signal)),
            (None, code) => format!("ended with exit code {}{words}", code.unwrap_or_default()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        // Not with the lock held: who kills must never wait.
        while matches!(self.status(), Ok(None)) {
            thread::sleep(LOOK);
        }
        let words = self.words.take();
        words.map(JoinHandle::join);
    }
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    // A panic elsewhere leaves the child as it was.
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill(child: &Mutex<Child>) {
    // One that has ended and was waited for is not signalled: its number may be another's.
    let _ = lock(child).kill();
}

/// " (SIGSEGV)", for the signals that end models.
fn name(signal: i32) -> &'static str {
    match signal {
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS: was the bundle overwritten?)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL: was the system short of memory?)",
        11 => " (SIGSEGV)",
        15 => " (SIGTERM)",
        31 => " (SIGSYS)",
        _ => "",
    }
}

/// The last line that is not empty, nor a note on the one before. Reads on to the end, so that
/// whoever writes never waits.
fn last_line(mut from: ChildStderr) -> String {
    let (mut block, mut current, mut last) = ([0; 1024], Vec::new(), Vec::new());
    while let Ok(read @ 1..) = from.read(&mut block) {
        for byte in block.iter().take(read) {
            if *byte != b'\n' {
                if current.len() < wire::LINE {
                    current.push(*byte);
                }
                continue;
            }
            if !current.is_empty() && !current.starts_with(b"note: ") {
                std::mem::swap(&mut last, &mut current);
            }
            current.clear();
        }
    }
    wire::line(if current.is_empty() { &last } else { &current })
}
