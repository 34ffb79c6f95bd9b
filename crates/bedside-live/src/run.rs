//! From a source to sinks: the threads around a [`LiveSession`].
//!
//! One thread reads the source and puts each frame into a slot of one place, where the newest
//! wins; the caller's thread takes frames from there, has them annotated, and puts them into a slot
//! of one place for each sink, which has a thread of its own. Nothing is queued, and a sink that is
//! slow, blocked or broken holds up neither the video nor another sink.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use bedside::Frame;

use crate::capture::{Captured, Feed, Input, read};
use crate::error::{Error, ErrorKind};
use crate::outlets::{Outlets, Output};
use crate::record::Counts;
use crate::session::LiveSession;
use crate::slot::Waited;
use crate::tally::{Board, Tally};

/// Time without a frame after which the session looks after the model and its state.
const PATIENCE: Duration = Duration::from_millis(100);

/// Ends [`run`] from another thread.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    stopped: Arc<AtomicBool>,
    hurried: Arc<AtomicBool>,
}

impl Stop {
    /// Take no further frame, and let the sinks end in their time.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Take no further frame, and break off what does not end within a part of a second.
    pub fn hurry(&self) {
        self.hurried.store(true, Ordering::Release);
        self.stop();
    }

    /// Whether it was asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Whether it was asked to stop at once.
    pub fn is_hurried(&self) -> bool {
        self.hurried.load(Ordering::Acquire)
    }
}

/// Whatever wants to see each frame after it was annotated. Called on the video path: it must not
/// wait.
pub trait Watcher {
    /// The annotated frame, or `None` when none came for a while. A frame may come again, with the
    /// same number: what is said on it has changed.
    fn shown(&mut self, session: &LiveSession, frame: Option<&Frame>, counts: Counts);

    /// The error of a source that goes on, such as an unplugged camera; `None` once it is well.
    fn source(&mut self, error: Option<&str>);

    /// What is to be said, in metrics and on screen, of outputs that this watcher feeds. Asked once,
    /// at the start.
    fn outputs(&self) -> Vec<Arc<Tally>> {
        Vec::new()
    }

    /// News of an output: it failed, is blocked, loses records, or is well again.
    fn output(&mut self, _news: &str) {}

    /// No further frame comes. The sinks end after this.
    fn ended(&mut self, _counts: Counts) {}
}

/// How [`run`] goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunConfig {
    /// Drop no frame: reading waits until each frame is shown and every sink has taken the one
    /// before. That suits files that are read as fast as they can be; the video of a camera it
    /// would delay, and a sink that blocks holds up all.
    pub wait: bool,
    /// Go on when every output has failed, as somebody looks at the video by other means.
    pub keep_on: bool,
}

/// Run until the source ends or `stop` says so, or until every one of the sinks and of the
/// watcher's outputs has failed.
///
/// Gives where the frames went: `captured = shown + dropped + failed`. Each sink's own counts are
/// in [`Metrics`](crate::Metrics).
///
/// # Errors
/// [`ErrorKind::Source`] when the source ends with an error, [`ErrorKind::Sink`] when a sink has
/// failed or did not end in time; the message says which. The session has gone on meanwhile.
pub fn run(
    session: &mut LiveSession,
    input: Input,
    sinks: Vec<Output>,
    watcher: &mut dyn Watcher,
    config: RunConfig,
    stop: &Stop,
) -> Result<Counts, Error> {
    let mut outlets = Outlets::start(sinks, config.wait)?;
    let tallies: Vec<_> = outlets.tallies().chain(watcher.outputs()).collect();
    session.metrics().set_outputs(tallies.clone());
    let feed = Arc::new(Feed::default());
    let (reader, halt) = (feed.clone(), stop.clone());
    // Not scoped: a source that hangs in a driver must not keep the command from ending.
    thread::Builder::new()
        .name("bedside-capture".to_owned())
        .spawn(move || read(input, &reader, config.wait, &halt))
        .map_err(|e| Error::new(ErrorKind::Source, format!("can't start a thread: {e}")))?;
    let mut show = Show {
        session,
        feed: &feed,
        outlets: &mut outlets,
        board: Board::new(tallies),
        watcher,
        stop,
        shown: 0,
        unpainted: 0,
    };
    let counts = show.run(config.keep_on);
    let finished = outlets.finish(stop);
    let ended = feed
        .ended
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(error) = ended {
        return Err(Error::new(ErrorKind::Source, error.to_string()));
    }
    finished.map(|()| counts)
}

/// The video path.
struct Show<'a> {
    session: &'a mut LiveSession,
    feed: &'a Feed,
    outlets: &'a mut Outlets,
    board: Board,
    watcher: &'a mut dyn Watcher,
    stop: &'a Stop,
    shown: u64,
    unpainted: u64,
}

impl Show<'_> {
    /// Show frames until no more come.
    fn run(&mut self, keep_on: bool) -> Counts {
        loop {
            self.look();
            match self.feed.newest.wait(PATIENCE) {
                Waited::Value(captured) if self.session.is_frozen() => {
                    self.feed.dropped.fetch_add(1, Ordering::AcqRel);
                    self.feed.spare.put(captured.frame.into_data());
                    self.idle();
                }
                Waited::Value(captured) => self.frame(captured),
                Waited::TimedOut => self.idle(),
                Waited::Closed => break,
            }
            if self.board.is_lost() && !keep_on {
                self.stop.stop();
            }
            if self.stop.is_stopped() {
                self.feed.newest.close();
            }
        }
        self.look();
        if !self.outlets.waits() {
            self.end();
        }
        let counts = self.counts();
        self.session.metrics().counts(counts);
        self.watcher.ended(counts);
        counts
    }

    /// Say what there is to say of source and outputs.
    fn look(&mut self) {
        while let Ok(mut news) = self.feed.news.try_lock()
            && let Some(error) = news.next()
        {
            drop(news);
            if error.is_some() {
                self.session.metrics().source_error();
            }
            self.watcher.source(error.as_deref());
        }
        self.board.look(|news| self.watcher.output(news));
        self.session.set_outputs(self.board.said());
    }

    fn frame(&mut self, captured: Captured) {
        let Captured { frame, number } = captured;
        let painted = self.guarded(number, |session| session.frame(frame, number));
        let (shown, error) = match painted {
            Some(Ok(before)) => {
                if let Some(before) = before {
                    self.feed.spare.put(before.into_data());
                }
                (true, None)
            }
            Some(Err(error)) => (false, Some(error.to_string())),
            None => {
                let message = "a frame could not be painted; hint: report this, with the place \
                               that standard error names";
                (true, Some(message.to_owned()))
            }
        };
        match error {
            None => self.shown += 1,
            Some(error) => {
                self.unpainted += 1;
                self.watcher.source(Some(&error));
            }
        }
        self.show(shown);
    }

    /// No frame came for a while.
    fn idle(&mut self) {
        let number = self.session.record().frame;
        let again = self.guarded(number, LiveSession::idle).unwrap_or(true);
        self.show(again);
    }

    /// No more frames come: whoever still looks at the picture is not to take it for a live one.
    fn end(&mut self) {
        let number = self.session.record().frame;
        let again = self.guarded(number, LiveSession::end).unwrap_or(true);
        if let Some(annotated) = self.session.annotated().filter(|_| again) {
            self.outlets.show_last(annotated, self.stop);
            let counts = self.counts();
            self.watcher.shown(self.session, Some(annotated), counts);
        }
    }

    /// Tell everybody of the session, with what it painted where that is new.
    fn show(&mut self, new: bool) {
        let annotated = self.session.annotated().filter(|_| new);
        if let Some(annotated) = annotated {
            self.outlets.show(annotated, self.stop);
        }
        let counts = self.counts();
        self.session.metrics().counts(counts);
        self.watcher.shown(self.session, annotated, counts);
    }

    /// Whatever panics, the video goes on: where not even the frame could be painted, an empty
    /// picture is to be shown.
    fn guarded<T>(&mut self, number: u64, work: impl FnOnce(&mut LiveSession) -> T) -> Option<T> {
        let result = catch_unwind(AssertUnwindSafe(|| work(self.session))).ok();
        if result.is_none() {
            self.session.blank(number);
        }
        result
    }

    fn counts(&self) -> Counts {
        // Captured last, so that a frame is never counted as gone before it came.
        let dropped = self.feed.dropped.load(Ordering::Acquire);
        let failed = self.feed.failed.load(Ordering::Acquire) + self.unpainted;
        let captured = self.feed.captured.load(Ordering::Acquire);
        Counts {
            captured,
            shown: self.shown,
            dropped,
            failed,
        }
    }
}
