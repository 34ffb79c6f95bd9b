//! Inference on a thread of its own, watched, and replaced when it hangs or breaks.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bedside::{Clock, Fault, Finding, Frame, Timestamp};

use crate::control::Prompts;
use crate::error::{Error, ErrorKind};
use crate::model::{Kill, Loader, Model, credible};
use crate::slot::{Slot, Waited};

/// When inference is given up, and how often it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchdogConfig {
    /// A pass that takes longer shows as stalled.
    pub stall: Duration,
    /// A pass that takes longer is ended, or abandoned, and the model loaded anew.
    pub hang: Duration,
    /// Loading that takes longer is ended, or abandoned.
    pub load: Duration,
    /// Restarts within `window` after which no further one is made.
    pub restarts: u32,
    /// See `restarts`.
    pub window: Duration,
    /// Restarts in a session's whole life after which no further one is made.
    pub lifetime: u32,
    /// Abandoned models that may be in memory. One in a process of its own is ended and does not
    /// count; one in this process stays, with its thread, until its pass ends.
    pub abandoned: u32,
}

impl Default for WatchdogConfig {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(2),
            hang: Duration::from_secs(10),
            load: Duration::from_secs(120),
            restarts: 3,
            window: Duration::from_secs(300),
            lifetime: 1_000,
            abandoned: 3,
        }
    }
}

/// Failed passes in a row after which the model is loaded anew.
const ERRORS: u32 = 3;
/// Copies of frames that go round between video and model.
const BUFFERS: usize = 4;
/// How long a worker sleeps between looks at whether it is still wanted.
const NAP: Duration = Duration::from_millis(500);

/// What the worker is asked.
struct Job {
    frame: Frame,
    number: u64,
    prompts: Arc<Prompts>,
    places: Range<usize>,
    /// Of the model's input.
    side: Option<u32>,
}

/// What it answers.
pub(crate) struct Reply {
    /// Generation of the worker.
    worker: u64,
    pub number: u64,
    /// Generation of the prompts.
    pub prompts: u64,
    pub places: Range<usize>,
    pub result: Result<Vec<Finding>, Error>,
    /// Whether the model refused the prompts, which is no fault of its own.
    refused: bool,
    pub took: Duration,
    /// The frame's memory, to be used again.
    buffer: Vec<u8>,
}

/// What worker and video share. A worker that was given up keeps its own, so that its late answers
/// reach no one.
#[derive(Default)]
struct Link {
    jobs: Slot<Job>,
    replies: Slot<Reply>,
    /// The memory of a frame whose answer a newer one overtook.
    spare: Slot<Vec<u8>>,
    doing: Mutex<Doing>,
    /// Why the thread has ended or is about to.
    end: Mutex<Option<End>>,
    kill: Kill,
}

/// What a worker does. One value, so that nobody can take a long load for a long pass.
#[derive(Debug, Clone, Copy)]
enum Doing {
    /// It loads the model, since then.
    Loading(Timestamp),
    /// The model waits for a frame.
    Nothing,
    /// The model looks at one, since then.
    Pass(Timestamp),
}

impl Default for Doing {
    fn default() -> Self {
        Self::Loading(Timestamp::default())
    }
}

/// Why a worker can't go on.
enum End {
    /// The model can't be loaded, now or later.
    Unloadable(Error),
    /// The model broke; a fresh one may do better.
    Broken(String),
}

impl Link {
    fn does(&self, doing: Doing) {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) = doing;
    }

    fn doing(&self) -> Doing {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, end: End) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }

    /// Take no more jobs, and end what can be ended.
    fn close(&self) {
        self.jobs.close();
        self.kill.kill();
    }
}

/// What watching came to.
pub(crate) enum Event {
    /// An answer, or a failed pass.
    Reply(Reply),
    /// The worker was replaced, for this reason; what it was asked is void.
    Restarted(String),
    /// There will be no more answers, for this reason.
    Fault(String),
}

/// Runs one worker at a time.
pub(crate) struct Supervisor {
    loader: Arc<dyn Loader>,
    clock: Arc<dyn Clock>,
    config: WatchdogConfig,
    link: Arc<Link>,
    thread: Option<JoinHandle<()>>,
    /// Threads that were given up and have not ended yet.
    abandoned: Vec<JoinHandle<()>>,
    generation: u64,
    /// Those within the window.
    restarts: VecDeque<Timestamp>,
    fault: Option<Fault>,
    errors: u32,
    /// Whether the last pass ended with its prompts refused.
    refused: bool,
    spare: Vec<Vec<u8>>,
}

impl Supervisor {
    /// Start a worker, which loads the model.
    pub(crate) fn start(
        loader: Arc<dyn Loader>,
        clock: Arc<dyn Clock>,
        config: WatchdogConfig,
    ) -> Self {
        let mut supervisor = Self {
            loader,
            clock,
            config,
            link: Arc::default(),
            thread: None,
            abandoned: Vec::new(),
            generation: 0,
            restarts: VecDeque::new(),
            fault: None,
            errors: 0,
            refused: false,
            spare: Vec::new(),
        };
        supervisor.spawn();
        supervisor
    }

    fn spawn(&mut self) {
        self.link = Arc::default();
        self.generation += 1;
        (self.errors, self.refused) = (0, false);
        self.link.does(Doing::Loading(self.clock.now()));
        let (link, loader, clock) = (self.link.clone(), self.loader.clone(), self.clock.clone());
        let generation = self.generation;
        let work = move || work(&link, &*loader, &*clock, generation);
        let started = thread::Builder::new()
            .name("bedside-inference".into())
            .spawn(work);
        match started {
            Ok(thread) => self.thread = Some(thread),
            Err(error) => {
                let hint = "end other programs";
                let error = Error::caused(ErrorKind::Load, "thread for inference", error, hint);
                self.link.end(End::Unloadable(error));
            }
        }
    }

    /// Hand the newest frame over, in place of one that still waits. Whether one did: then that
    /// one will never be answered.
    pub(crate) fn offer(
        &mut self,
        frame: &Frame,
        number: u64,
        prompts: &Arc<Prompts>,
        places: Range<usize>,
        side: Option<u32>,
    ) -> bool {
        if self.spare.capacity() == 0 {
            // As many as can be under way: one waits, one is with the model, one comes back, and
            // this one.
            self.spare = (0..BUFFERS)
                .map(|_| Vec::with_capacity(frame.data().len()))
                .collect();
        }
        let spare = self.spare.pop().or_else(|| self.link.spare.take());
        let mut buffer = spare.unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(frame.data());
        // The same bytes with the same size and format are a frame again.
        let Ok(copy) = Frame::new(frame.width(), frame.height(), frame.format(), buffer) else {
            return false;
        };
        let overtaken = self.link.jobs.put(Job {
            frame: copy
                .with_yuv_space(frame.yuv_space())
                .captured_at(frame.captured()),
            number,
            prompts: prompts.clone(),
            places,
            side,
        });
        let waited = overtaken.is_some();
        if let Some(job) = overtaken {
            self.keep(job.frame.into_data());
        }
        waited
    }

    /// Whether a frame waits to be taken.
    pub(crate) fn waiting(&self) -> bool {
        !self.link.jobs.is_free()
    }

    fn keep(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < BUFFERS {
            self.spare.push(buffer);
        }
    }

    /// What happened since the last call, if anything.
    pub(crate) fn poll(&mut self, now: Timestamp) -> Option<Event> {
        if self.fault.is_some() {
            return None;
        }
        if let Some(mut reply) = self.link.replies.take() {
            if reply.worker != self.generation {
                return None;
            }
            self.keep(std::mem::take(&mut reply.buffer));
            // A model that refuses words is not broken: loading it anew would not help.
            self.refused = reply.refused;
            self.errors = match &reply.result {
                Ok(_) => 0,
                Err(_) if reply.refused => self.errors,
                Err(_) => self.errors + 1,
            };
            return Some(Event::Reply(reply));
        }
        let end = self.link.end.lock();
        let end = end.unwrap_or_else(PoisonError::into_inner).take();
        match end {
            None => {}
            Some(End::Unloadable(error)) => {
                return Some(self.give_up(error.fault(), error.to_string()));
            }
            Some(End::Broken(message)) => return Some(self.restart(now, message)),
        }
        let late = match self.link.doing() {
            Doing::Loading(since) => Some((since, self.config.load)),
            Doing::Pass(since) => Some((since, self.config.hang)),
            Doing::Nothing => None,
        };
        let late = late.map(|(since, limit)| (now.since(since), limit));
        if let Some((time, _)) = late.filter(|(time, limit)| time > limit) {
            let message = format!("no answer for {:.1} s", time.as_secs_f32());
            return Some(self.restart(now, message));
        }
        if self.errors >= ERRORS {
            return Some(self.restart(now, format!("{ERRORS} passes failed in a row")));
        }
        None
    }

    fn restart(&mut self, now: Timestamp, message: String) -> Event {
        self.link.close();
        self.abandoned.extend(self.thread.take());
        self.abandoned.retain(|thread| !thread.is_finished());
        let window = self.config.window;
        self.restarts.retain(|at| now.since(*at) <= window);
        let config = &self.config;
        let spent = self.restarts.len() >= config.restarts as usize
            || self.generation > u64::from(config.lifetime)
            || self.abandoned.len() > config.abandoned as usize;
        if spent {
            // One that never came to answer could not be loaded.
            let fault = match self.loaded() {
                true => Fault::RestartsSpent,
                false => Fault::Load,
            };
            return self.give_up(fault, message);
        }
        self.restarts.push_back(now);
        self.spawn();
        Event::Restarted(message)
    }

    fn give_up(&mut self, fault: Fault, message: String) -> Event {
        self.link.close();
        self.fault = Some(fault);
        Event::Fault(message)
    }

    /// Why there will be no more answers.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Whether the model is loaded.
    pub(crate) fn loaded(&self) -> bool {
        !matches!(self.link.doing(), Doing::Loading(_))
    }

    /// Whether answers fail to come: a pass takes too long, or the last one failed.
    pub(crate) fn stalled(&self, now: Timestamp) -> bool {
        let late = match self.link.doing() {
            Doing::Pass(since) => now.since(since) > self.config.stall,
            Doing::Loading(_) | Doing::Nothing => false,
        };
        self.errors > 0 || self.refused || late
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // A worker in this process ends after its pass; a hanging one ends with the process.
        self.link.close();
    }
}

fn work(link: &Link, loader: &dyn Loader, clock: &dyn Clock, generation: u64) {
    let load = AssertUnwindSafe(|| loader.load_killable(&link.kill));
    let mut model = match catch_unwind(load) {
        Ok(Ok(model)) => model,
        Ok(Err(error)) if error.kind() == ErrorKind::Process => {
            return link.end(End::Broken(error.to_string()));
        }
        Ok(Err(error)) => return link.end(End::Unloadable(error)),
        Err(_) => {
            let message = "the engine panicked while it loaded the model; hint: another backend";
            return link.end(End::Unloadable(Error::new(ErrorKind::Load, message)));
        }
    };
    link.does(Doing::Nothing);
    let mut given = None;
    loop {
        let job = match link.jobs.wait(NAP) {
            Waited::Value(job) => job,
            Waited::TimedOut => match model.alive() {
                Ok(()) => continue,
                Err(error) => return link.end(End::Broken(error.to_string())),
            },
            Waited::Closed => return,
        };
        let mut began = clock.now();
        link.does(Doing::Pass(began));
        let answer = catch_unwind(AssertUnwindSafe(|| {
            prepare(&mut *model, &job, &mut given)?;
            // What it takes to be ready for other prompts says nothing of the next passes.
            began = clock.now();
            answer(&mut *model, &job)
        }));
        let kind = match &answer {
            Ok(Err(error)) => Some(error.kind()),
            _ => None,
        };
        let broken = match &answer {
            Ok(Err(error)) if kind == Some(ErrorKind::Process) => Some(error.to_string()),
            Err(_) => Some("the model panicked".to_owned()),
            _ => None,
        };
        let reply = Reply {
            worker: generation,
            number: job.number,
            prompts: job.prompts.generation,
            places: job.places,
            refused: kind == Some(ErrorKind::Prompt),
            result: answer
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Model, "the model panicked"))),
            took: clock.now().since(began),
            buffer: job.frame.into_data(),
        };
        link.does(Doing::Nothing);
        if let Some(overtaken) = link.replies.put(reply) {
            link.spare.put(overtaken.buffer);
        }
        if let Some(message) = broken {
            link.end(End::Broken(message));
            // What a panic leaves behind may panic again when it is dropped.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(model)));
            return;
        }
    }
}

/// What the model was last told to answer: the prompts' generation, and the side of the input.
type Given = Option<(u64, Option<u32>)>;

fn prepare(model: &mut dyn Model, job: &Job, given: &mut Given) -> Result<(), Error> {
    let wanted = Some((job.prompts.generation, job.side));
    if *given != wanted {
        *given = None;
        model.set_prompts(&job.prompts.prompts, job.side)?;
        *given = wanted;
    }
    Ok(())
}

fn answer(model: &mut dyn Model, job: &Job) -> Result<Vec<Finding>, Error> {
    let findings = model.segment(&job.frame, job.places.clone())?;
    if !credible(&job.frame, job.places.len(), &findings) {
        let message = "the model gave findings that can't be of this frame; hint: another backend, \
                       or report this to whoever made the model";
        return Err(Error::new(ErrorKind::Model, message));
    }
    Ok(findings)
}
