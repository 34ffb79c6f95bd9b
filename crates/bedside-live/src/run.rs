//! From a source to sinks: the threads around a [`LiveSession`].
//!
//! One thread reads the source and puts each frame into a slot of one place, where the newest
//! wins; the caller's thread takes frames from there, has them annotated, and writes them to the
//! sinks. A sink that is slow makes frames be dropped, never queued.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bedside::Frame;
use bedside_video::sink::Sink;
use bedside_video::{Source, SourceError, SourceErrorKind};

use crate::error::{Error, ErrorKind};
use crate::record::Counts;
use crate::session::LiveSession;
use crate::slot::{Slot, Waited};

/// Time without a frame after which the session looks after the model and its state.
const PATIENCE: Duration = Duration::from_millis(100);

/// Ends [`run`] from another thread.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Take no further frame.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Set to true, it stops: for handlers of signals.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }

    /// Whether it was asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A frame with its number.
struct Captured {
    frame: Frame,
    number: u64,
}

/// What the thread that reads the source shares with the one that shows.
#[derive(Default)]
struct Feed {
    newest: Slot<Captured>,
    /// The memory of a frame that was shown or overtaken.
    spare: Slot<Vec<u8>>,
    captured: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
    /// Why the source has ended, if not in order.
    ended: Mutex<Option<SourceError>>,
    /// Its present error, where it goes on.
    error: Mutex<Option<String>>,
}

/// Whatever wants to see each frame after it was annotated. Called on the video path: it must not
/// wait.
pub trait Watcher {
    /// The annotated frame, or `None` when none came for a while.
    fn shown(&mut self, session: &LiveSession, frame: Option<&Frame>, counts: Counts);

    /// The error of a source that goes on, such as an unplugged camera; `None` once it is well.
    fn source(&mut self, error: Option<&str>);
}

/// Run until the source ends or `stop` says so.
///
/// With `wait`, no frame is dropped: reading waits until each frame is shown. That suits files
/// that are read as fast as they can be; the video of a camera it would delay.
///
/// Gives where the frames went: `captured = shown + dropped + failed`.
///
/// # Errors
/// [`ErrorKind::Source`] when the source ends with an error, [`ErrorKind::Sink`] when no sink is
/// left.
pub fn run(
    session: &mut LiveSession,
    source: Box<dyn Source>,
    sinks: &mut [Box<dyn Sink>],
    watcher: &mut dyn Watcher,
    wait: bool,
    stop: &Stop,
) -> Result<Counts, Error> {
    let feed = Arc::new(Feed::default());
    let (reader, halt) = (feed.clone(), stop.clone());
    // Not scoped: a source that hangs in a driver must not keep the command from ending.
    thread::Builder::new()
        .name("bedside-capture".to_owned())
        .spawn(move || read(source, &reader, wait, &halt))
        .map_err(|e| Error::new(ErrorKind::Source, format!("can't start a thread: {e}")))?;
    let outcome = show(session, &feed, sinks, watcher, stop);
    feed.newest.close();
    let finished = sinks.iter_mut().try_for_each(|sink| sink.finish());
    let counts = outcome?;
    finished.map_err(|e| Error::new(ErrorKind::Sink, e.to_string()))?;
    let ended = feed
        .ended
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    match ended {
        Some(error) => Err(Error::new(ErrorKind::Source, error.to_string())),
        None => Ok(counts),
    }
}

/// Read frames until there are no more.
fn read(mut source: Box<dyn Source>, feed: &Feed, wait: bool, stop: &Stop) {
    let report = |error: Option<String>| {
        *feed.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    };
    let mut number = 0;
    while !stop.is_stopped() {
        let buffer = feed.spare.take().unwrap_or_default();
        match source.next(buffer) {
            Ok(Some(frame)) => {
                report(None);
                feed.captured.fetch_add(1, Ordering::AcqRel);
                let captured = Captured { frame, number };
                number += 1;
                let overtaken = if wait {
                    feed.newest.put_when_free(captured)
                } else {
                    feed.newest.put(captured)
                };
                if let Some(overtaken) = overtaken {
                    feed.dropped.fetch_add(1, Ordering::AcqRel);
                    feed.spare.put(overtaken.frame.into_data());
                }
            }
            Ok(None) => break,
            Err(error) if error.kind() == SourceErrorKind::Broken => {
                feed.captured.fetch_add(1, Ordering::AcqRel);
                feed.failed.fetch_add(1, Ordering::AcqRel);
                number += 1;
                report(Some(error.to_string()));
            }
            Err(error) if error.kind() == SourceErrorKind::Fatal => {
                *feed.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                break;
            }
            Err(error) => report(Some(error.to_string())),
        }
    }
    feed.newest.close();
}

/// Show frames until no more come.
fn show(
    session: &mut LiveSession,
    feed: &Feed,
    sinks: &mut [Box<dyn Sink>],
    watcher: &mut dyn Watcher,
    stop: &Stop,
) -> Result<Counts, Error> {
    let (mut shown, mut unpainted) = (0, 0);
    let mut error: Option<String> = None;
    let counts = |shown, unpainted| {
        // Captured last, so that a frame is never counted as gone before it came.
        let dropped = feed.dropped.load(Ordering::Acquire);
        let failed = feed.failed.load(Ordering::Acquire) + unpainted;
        let captured = feed.captured.load(Ordering::Acquire);
        Counts {
            captured,
            shown,
            dropped,
            failed,
        }
    };
    loop {
        if let Ok(newest) = feed.error.try_lock()
            && *newest != error
        {
            error.clone_from(&newest);
            watcher.source(error.as_deref());
        }
        match feed.newest.wait(PATIENCE) {
            Waited::Value(Captured { frame, number }) => {
                match session.frame(frame, number) {
                    Ok(before) => {
                        if let Some(before) = before {
                            feed.spare.put(before.into_data());
                        }
                        if let Some(annotated) = session.annotated() {
                            write(sinks, annotated)?;
                        }
                        shown += 1;
                    }
                    Err(error) => {
                        unpainted += 1;
                        watcher.source(Some(&error.to_string()));
                    }
                }
                let counts = counts(shown, unpainted);
                session.metrics().counts(counts);
                watcher.shown(session, session.annotated(), counts);
            }
            Waited::TimedOut => {
                let again = session.idle();
                let annotated = session.annotated().filter(|_| again);
                if let Some(annotated) = annotated {
                    write(sinks, annotated)?;
                }
                watcher.shown(session, annotated, counts(shown, unpainted));
            }
            Waited::Closed => break,
        }
        if stop.is_stopped() {
            feed.newest.close();
        }
    }
    let counts = counts(shown, unpainted);
    session.metrics().counts(counts);
    Ok(counts)
}

fn write(sinks: &mut [Box<dyn Sink>], frame: &Frame) -> Result<(), Error> {
    for sink in sinks {
        sink.write(frame)
            .map_err(|e| Error::new(ErrorKind::Sink, e.to_string()))?;
    }
    Ok(())
}
