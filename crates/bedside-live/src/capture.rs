//! The thread that reads the source, and what becomes of a source that fails.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bedside::Frame;
use bedside_video::{OpenOptions, Source, SourceError, SourceErrorKind};

use crate::run::Stop;
use crate::slot::Slot;

/// Fresh starts of a source that gives no frame between them.
const STARTS: u32 = 20;
/// Time before the first of them; each next time is twice as long, up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Time between two looks at whether to end.
const NAP: Duration = Duration::from_millis(50);

type Reopen = Box<dyn FnMut() -> Result<Box<dyn Source>, SourceError> + Send>;

/// A source, and how to start it afresh where that makes sense.
pub struct Input {
    source: Box<dyn Source>,
    reopen: Option<Reopen>,
}

impl Input {
    /// A source that [`bedside_video::open`] opened: a camera can be opened again, the end of a file or
    /// a pipe is the end.
    pub fn named(source: Box<dyn Source>, name: &str, options: OpenOptions) -> Self {
        let device = fs::metadata(name);
        if !device.is_ok_and(|device| device.file_type().is_char_device()) {
            return source.into();
        }
        let name = name.to_owned();
        Self::restartable(source, move || bedside_video::open(&name, &options))
    }

    /// A source that can be opened again when it fails for good or panics, such as a camera whose
    /// settings changed. It is, after a wait that doubles from a quarter of a second to five
    /// seconds, up to twenty times without a frame between. Its frames may have another size then.
    pub fn restartable(
        source: Box<dyn Source>,
        reopen: impl FnMut() -> Result<Box<dyn Source>, SourceError> + Send + 'static,
    ) -> Self {
        Self {
            source,
            reopen: Some(Box::new(reopen)),
        }
    }
}

impl From<Box<dyn Source>> for Input {
    /// A source whose end is the end, such as a file or a pipe.
    fn from(source: Box<dyn Source>) -> Self {
        Self {
            source,
            reopen: None,
        }
    }
}

/// A frame with its number.
pub(crate) struct Captured {
    pub(crate) frame: Frame,
    pub(crate) number: u64,
}

/// What the thread that reads the source shares with the one that shows.
#[derive(Default)]
pub(crate) struct Feed {
    pub(crate) newest: Slot<Captured>,
    /// The memory of a frame that was shown or overtaken.
    pub(crate) spare: Slot<Vec<u8>>,
    pub(crate) captured: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Why the source has ended, if not in order.
    pub(crate) ended: Mutex<Option<SourceError>>,
    /// What is yet to be told of it, where it goes on.
    pub(crate) news: Mutex<News>,
}

/// Changes of the source's error that nobody looked at yet, oldest first: a short one is told, too.
#[derive(Default)]
pub(crate) struct News {
    waiting: VecDeque<Option<String>>,
    /// The present error.
    newest: Option<String>,
}

impl News {
    /// Of more than that at once, the newest is told in place of the one before it.
    const MOST: usize = 8;

    fn add(&mut self, error: Option<String>) {
        if error == self.newest {
            return;
        }
        self.newest.clone_from(&error);
        if self.waiting.len() == Self::MOST {
            self.waiting.pop_back();
        }
        self.waiting.push_back(error);
    }

    /// The oldest change that waits: an error, or that it is over.
    pub(crate) fn next(&mut self) -> Option<Option<String>> {
        self.waiting.pop_front()
    }
}

impl Feed {
    fn report(&self, error: Option<String>) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        news.add(error);
    }

    /// A frame that came and could not be read.
    fn fail(&self) {
        self.captured.fetch_add(1, Ordering::AcqRel);
        self.failed.fetch_add(1, Ordering::AcqRel);
    }
}

/// Read frames until there are no more.
pub(crate) fn read(input: Input, feed: &Feed, wait: bool, stop: &Stop) {
    let mut reader = Reader {
        feed,
        wait,
        stop,
        number: 0,
        starts: 0,
    };
    let Input { source, reopen } = input;
    let ended = reader.supervise(source, reopen);
    *feed.ended.lock().unwrap_or_else(PoisonError::into_inner) = ended;
    feed.newest.close();
}

struct Reader<'a> {
    feed: &'a Feed,
    wait: bool,
    stop: &'a Stop,
    number: u64,
    /// Fresh starts since the last frame.
    starts: u32,
}

impl Reader<'_> {
    /// Read one source after the other; why there is no next one, if not in order.
    fn supervise(
        &mut self,
        mut source: Box<dyn Source>,
        mut reopen: Option<Reopen>,
    ) -> Option<SourceError> {
        loop {
            let mut error = self.read(source)?;
            let Some(reopen) = &mut reopen else {
                return Some(error);
            };
            source = loop {
                if self.starts == STARTS {
                    return Some(error);
                }
                self.feed
                    .report(Some(format!("{error}; it is opened again")));
                if !self.nap() {
                    return None;
                }
                self.starts += 1;
                match catch_unwind(AssertUnwindSafe(&mut *reopen)) {
                    Ok(Ok(fresh)) => break fresh,
                    Ok(Err(cause)) => error = cause,
                    Err(_) => error = panicked(),
                }
            };
        }
    }

    /// Wait before the next start; false when it is time to end.
    fn nap(&self) -> bool {
        let wait = FIRST_WAIT.saturating_mul(1 << self.starts.min(8));
        let mut left = wait.min(LONGEST_WAIT);
        while !left.is_zero() && !self.stop.is_stopped() {
            let nap = left.min(NAP);
            thread::sleep(nap);
            left -= nap;
        }
        !self.stop.is_stopped()
    }

    /// Read a source to its end; why it gives no more, if not in order.
    fn read(&mut self, mut source: Box<dyn Source>) -> Option<SourceError> {
        while !self.stop.is_stopped() {
            let buffer = self.feed.spare.take().unwrap_or_default();
            let next = catch_unwind(AssertUnwindSafe(|| source.next(buffer)));
            let next = next.unwrap_or_else(|_| {
                self.feed.fail();
                self.number += 1;
                Err(panicked())
            });
            match next {
                Ok(Some(frame)) => self.hand_over(frame),
                Ok(None) => return None,
                Err(error) if error.kind() == SourceErrorKind::Broken => {
                    self.feed.fail();
                    self.number += 1;
                    self.feed.report(Some(error.to_string()));
                }
                Err(error) if error.kind() == SourceErrorKind::Fatal => return Some(error),
                Err(error) => self.feed.report(Some(error.to_string())),
            }
        }
        None
    }

    fn hand_over(&mut self, frame: Frame) {
        self.starts = 0;
        self.feed.report(None);
        self.feed.captured.fetch_add(1, Ordering::AcqRel);
        let captured = Captured {
            frame,
            number: self.number,
        };
        self.number += 1;
        let overtaken = if self.wait {
            self.feed.newest.put_when_free(captured)
        } else {
            self.feed.newest.put(captured)
        };
        if let Some(overtaken) = overtaken {
            self.feed.dropped.fetch_add(1, Ordering::AcqRel);
            self.feed.spare.put(overtaken.frame.into_data());
        }
    }
}

/// What a panic says may quote a picture or a path: it is not repeated.
fn panicked() -> SourceError {
    SourceError::new(
        SourceErrorKind::Fatal,
        "source: reading it panicked; hint: report this, with the place noted above",
    )
}
