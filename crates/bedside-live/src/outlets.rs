//! Sinks, each on a thread of its own: one that is slow, blocked or broken holds up nothing else.

use std::any::Any;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use bedside::Frame;
use bedside_video::sink::{Breaker, Sink, SinkError, SinkErrorKind, SinkOptions, open_sink};

use crate::error::{Error, ErrorKind};
use crate::record::Name;
use crate::run::Stop;
use crate::slot::{Slot, Waited};
use crate::tally::{Condition, Tally};

/// Time that a sink gets to end: a program may have a long file to close.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same for one that is blocked, and for all of them in a hurry.
const BLOCKED_PATIENCE: Duration = Duration::from_secs(5);
const HURRIED_PATIENCE: Duration = Duration::from_millis(200);
/// Time that it has left once it was broken off, and in a hurry.
const AFTER_BREAK: Duration = Duration::from_secs(2);
const HURRIED_AFTER_BREAK: Duration = Duration::from_millis(100);
/// Time that sinks get to take the last picture.
const LAST_PATIENCE: Duration = Duration::from_millis(500);
/// Time between two looks.
const NAP: Duration = Duration::from_millis(20);
/// Time after which a sink that was away is given the same frame again, where no newer one comes.
const AGAIN: Duration = Duration::from_millis(500);

/// A sink, and what a session says of it.
pub struct Output {
    /// What it is called on screen, in `/status` and in metrics: no path, which may name a patient.
    pub label: Name,
    /// Where the frames go.
    pub sink: Box<dyn Sink>,
    /// Whether it records: the picture says so then.
    pub keeps: bool,
}

impl Output {
    /// What [`open_sink`] opens, called by its place, which counts from 1.
    ///
    /// # Errors
    /// [`ErrorKind::Sink`] as [`open_sink`].
    pub fn open(place: usize, spec: &str, options: &SinkOptions) -> Result<Self, Error> {
        let label = format!("output {place}");
        let failed = |e| Error::new(ErrorKind::Sink, format!("{label}: {e}"));
        Ok(Self {
            sink: open_sink(spec, options).map_err(failed)?,
            label: label.as_str().into(),
            // What a command does with the video is not known.
            keeps: spec != "-" || stdout_is_file(),
        })
    }
}

fn stdout_is_file() -> bool {
    let stdout = io::stdout().as_fd().try_clone_to_owned();
    let stdout = stdout.and_then(|stdout| File::from(stdout).metadata());
    stdout.is_ok_and(|stdout| stdout.is_file())
}

/// A frame that sinks share; empty until it is first filled.
type Shared = Arc<Option<Frame>>;

/// All sinks of a session.
pub(crate) struct Outlets {
    lanes: Vec<Lane>,
    /// Two for each lane, one that is written and one that waits, and one to be filled: so one is
    /// always free.
    frames: Vec<Shared>,
    /// Wait until each sink has taken the frame before.
    wait: bool,
}

struct Lane {
    tally: Arc<Tally>,
    next: Arc<Slot<Shared>>,
    breaker: Option<Breaker>,
    /// Says once how it ended.
    ended: Receiver<Result<(), SinkError>>,
}

impl Outlets {
    /// Start the sinks' threads.
    pub(crate) fn start(outputs: Vec<Output>, wait: bool) -> Result<Self, Error> {
        let lanes = outputs.into_iter().map(Lane::start);
        let lanes: Vec<Lane> = lanes.collect::<Result<_, _>>()?;
        let frames = (0..=2 * lanes.len()).map(|_| Shared::default());
        Ok(Self {
            frames: frames.collect(),
            lanes,
            wait,
        })
    }

    /// Whether each sink is waited for, so that it gets every frame.
    pub(crate) fn waits(&self) -> bool {
        self.wait
    }

    pub(crate) fn tallies(&self) -> impl Iterator<Item = Arc<Tally>> {
        self.lanes.iter().map(|lane| lane.tally.clone())
    }

    /// Hand a frame to every sink. Without `wait` it never waits: where a sink is still busy with
    /// an older frame, the one that waits for it goes.
    pub(crate) fn show(&mut self, frame: &Frame, stop: &Stop) {
        if self.lanes.iter().all(|lane| lane.tally.is_closed()) {
            self.lanes.iter().for_each(|lane| lane.tally.drop_one());
            return;
        }
        let Some(shared) = self.fill(frame) else {
            self.lanes.iter().for_each(|lane| lane.tally.drop_one());
            return;
        };
        for lane in &self.lanes {
            let left = if self.wait {
                lane.put_when_free(shared.clone(), || stop.is_stopped())
            } else {
                lane.next.put(shared.clone())
            };
            if left.is_some() {
                lane.tally.drop_one();
            }
        }
    }

    /// Hand the last picture to every sink that goes on, behind the frame that waits there.
    pub(crate) fn show_last(&mut self, frame: &Frame, stop: &Stop) {
        let Some(shared) = self.fill(frame) else {
            return;
        };
        let until = Instant::now() + LAST_PATIENCE;
        for lane in &self.lanes {
            let over = || {
                let blocked = lane.tally.condition() == Condition::Blocked;
                blocked || stop.is_hurried() || Instant::now() >= until
            };
            if lane.put_when_free(shared.clone(), over).is_some() {
                lane.tally.drop_one();
            }
        }
    }

    /// Copy a frame into memory that no sink has.
    fn fill(&mut self, frame: &Frame) -> Option<Shared> {
        let shared = self
            .frames
            .iter_mut()
            .find(|shared| Arc::strong_count(shared) == 1)?;
        let place = Arc::get_mut(shared)?;
        let mut data = place.take().map(Frame::into_data).unwrap_or_default();
        data.clear();
        data.extend_from_slice(frame.data());
        // The same bytes with the same size and format are a frame again.
        let copy = Frame::new(frame.width(), frame.height(), frame.format(), data).ok()?;
        let copy = copy.with_yuv_space(frame.yuv_space());
        *place = Some(copy.captured_at(frame.captured()));
        Some(shared.clone())
    }

    /// Have every sink write what waits for it, and end. One that does not in time is broken off,
    /// and given up where that does not help.
    ///
    /// # Errors
    /// The first failure of a sink.
    pub(crate) fn finish(self, stop: &Stop) -> Result<(), Error> {
        for lane in &self.lanes {
            lane.next.close();
        }
        let begun = Instant::now();
        let ended: Vec<_> = self
            .lanes
            .into_iter()
            .map(|lane| lane.finish(begun, stop))
            .collect();
        ended.into_iter().collect()
    }
}

impl Lane {
    fn start(output: Output) -> Result<Self, Error> {
        let Output { label, sink, keeps } = output;
        let breaker = sink.breaker();
        let tally = Tally::of_video(label, keeps);
        let next = Arc::new(Slot::default());
        let (end, ended) = sync_channel(1);
        let (counts, frames) = (tally.clone(), next.clone());
        let work = move || {
            // The channel has a place for the one result.
            let _ = end.try_send(serve(sink, &frames, &counts));
        };
        let thread = thread::Builder::new().name("bedside-sink".to_owned());
        thread
            .spawn(work)
            .map_err(|e| Error::new(ErrorKind::Sink, format!("can't start a thread: {e}")))?;
        Ok(Self {
            tally,
            next,
            breaker,
            ended,
        })
    }

    /// The frame comes back where the sink has ended, or the time for it is `over`.
    fn put_when_free(&self, shared: Shared, over: impl Fn() -> bool) -> Option<Shared> {
        let mut left = self.next.put_within(shared, NAP);
        while let Some(shared) = left.take() {
            if self.tally.is_closed() || over() {
                return Some(shared);
            }
            left = self.next.put_within(shared, NAP);
        }
        None
    }

    fn finish(mut self, begun: Instant, stop: &Stop) -> Result<(), Error> {
        let mut broken: Option<Instant> = None;
        let mut harder = false;
        let ended = loop {
            match self.ended.recv_timeout(NAP) {
                Ok(ended) => break Some(ended),
                Err(RecvTimeoutError::Disconnected) => break None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let hurried = stop.is_hurried();
            if let Some(broken) = broken {
                let left = if hurried {
                    HURRIED_AFTER_BREAK
                } else {
                    AFTER_BREAK
                };
                if broken.elapsed() > left && harder {
                    break None;
                }
                if broken.elapsed() > left / 2 && !harder {
                    harder = true;
                    self.interrupt();
                }
                continue;
            }
            let patience = if hurried {
                HURRIED_PATIENCE
            } else if self.tally.condition() == Condition::Blocked {
                BLOCKED_PATIENCE
            } else {
                PATIENCE
            };
            if begun.elapsed() > patience {
                broken = Some(Instant::now());
                self.interrupt();
            }
        };
        // What nobody took.
        if self.next.take().is_some() {
            self.tally.drop_one();
        }
        let failed = |error: &str| {
            let message = format!("{}: {error}", &**self.tally.label());
            Err(Error::new(ErrorKind::Sink, message))
        };
        // The first failure is the cause of those that follow.
        if let Some(error) = self.tally.error() {
            return failed(&error);
        }
        match ended {
            Some(Ok(())) if broken.is_none() => Ok(()),
            Some(Err(error)) => failed(&error.to_string()),
            _ => failed("did not end in time and was given up; hint: see to what reads it"),
        }
    }

    /// Each time harder.
    fn interrupt(&mut self) {
        if let Some(breaker) = &mut self.breaker {
            breaker();
        }
    }
}

/// Write frames until no more come.
fn serve(mut sink: Box<dyn Sink>, frames: &Slot<Shared>, tally: &Tally) -> Result<(), SinkError> {
    // What a sink that is away has missed last.
    let mut missed: Option<Shared> = None;
    loop {
        let patience = if missed.is_some() { AGAIN } else { PATIENCE };
        let waited = frames.wait(patience);
        let older = missed.take();
        if older.is_some() && !matches!(waited, Waited::TimedOut) {
            tally.lose();
        }
        let shared = match waited {
            Waited::Value(shared) => shared,
            Waited::TimedOut => older.unwrap_or_default(),
            Waited::Closed => break,
        };
        let Some(frame) = &*shared else { continue };
        tally.begin();
        let written = guard(|| sink.write(frame));
        tally.end();
        match written {
            Ok(()) => tally.wrote(),
            Err(error) => match error.kind() {
                SinkErrorKind::Frame => tally.fail(&error.to_string()),
                SinkErrorKind::Away => {
                    tally.miss(&error.to_string());
                    missed = Some(shared);
                }
                _ => {
                    tally.fail(&error.to_string());
                    tally.close();
                    frames.close();
                    // What it holds is given back; why it failed is known.
                    let _ = guard(|| sink.finish());
                    return Err(error);
                }
            },
        }
    }
    guard(|| sink.finish())
}

fn guard(work: impl FnOnce() -> Result<(), SinkError>) -> Result<(), SinkError> {
    // What a panic says may quote a picture or a path: it is not repeated.
    let panicked = |_: Box<dyn Any + Send>| {
        let message = "writing panicked; hint: report this, with the place noted above";
        Err(SinkError::new(SinkErrorKind::Closed, message))
    };
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked)
}
