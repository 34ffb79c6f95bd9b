//! What became of what was handed to each output: a sink's frames, a record target's records.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::caption::Outputs;
use crate::record::Name;

/// A write that takes longer blocks its output.
const BLOCKED: Duration = Duration::from_secs(1);
/// So long after the last loss an output still counts as losing.
const LOSING: Duration = Duration::from_secs(5);

/// How an output does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Condition {
    /// It takes what it is given.
    Well,
    /// Some of what it must not lose was lost in the last five seconds.
    Losing,
    /// A write has not come back for a second.
    Blocked,
    /// Its last write failed, or it takes nothing more.
    Failed,
}

impl Condition {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Well, Self::Losing, Self::Blocked, Self::Failed];

    /// One word, as the band below the picture, `/status` and metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Losing => "losing",
            Self::Blocked => "blocked",
            Self::Failed => "failed",
        }
    }
}

/// An output at one moment. Given to it = written + dropped + failed, once it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutputReport {
    /// What it is called.
    pub output: Name,
    /// How it does.
    pub condition: Condition,
    /// Frames or records that it took.
    pub written: u64,
    /// Those that it was too slow for.
    pub dropped: u64,
    /// Those that it failed to take.
    pub failed: u64,
}

/// The counts of one output, shared between the thread that serves it and whoever looks.
#[derive(Debug)]
pub struct Tally {
    label: Name,
    /// Whether it keeps what it is given.
    keeps: bool,
    /// Whether what it drops is a loss; of video the newest frame is enough.
    lossless: bool,
    began: Instant,
    written: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
    /// When the write that is going on began, and the last loss: nanoseconds since `began`, 0 for
    /// never.
    busy: AtomicU64,
    lost: AtomicU64,
    failing: AtomicBool,
    /// Whether `error` is over as soon as something is written again.
    away: AtomicBool,
    closed: AtomicBool,
    error: Mutex<Option<String>>,
}

impl Tally {
    /// Of a sink of video; `keeps` says whether it records.
    pub(crate) fn of_video(label: Name, keeps: bool) -> Arc<Self> {
        Self::new(label, keeps, false)
    }

    /// Of records.
    pub(crate) fn of_records(label: &str) -> Arc<Self> {
        Self::new(label.into(), true, true)
    }

    fn new(label: Name, keeps: bool, lossless: bool) -> Arc<Self> {
        Arc::new(Self {
            label,
            keeps,
            lossless,
            began: Instant::now(),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            away: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            error: Mutex::new(None),
        })
    }

    /// What the output is called.
    pub fn label(&self) -> &Name {
        &self.label
    }

    /// Its counts and condition.
    pub fn report(&self) -> OutputReport {
        OutputReport {
            output: self.label.clone(),
            condition: self.condition(),
            written: self.written.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// How it does.
    pub fn condition(&self) -> Condition {
        let since = |at: &AtomicU64| {
            let at = Some(at.load(Ordering::Acquire)).filter(|at| *at > 0)?;
            Some(
                self.began
                    .elapsed()
                    .saturating_sub(Duration::from_nanos(at)),
            )
        };
        if self.is_closed() || self.failing.load(Ordering::Acquire) {
            Condition::Failed
        } else if since(&self.busy).is_some_and(|busy| busy > BLOCKED) {
            Condition::Blocked
        } else if self.lossless && since(&self.lost).is_some_and(|lost| lost < LOSING) {
            Condition::Losing
        } else {
            Condition::Well
        }
    }

    /// Whether it takes nothing more.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Why it failed first, in one line; of one that was away and is back, nothing.
    pub fn error(&self) -> Option<String> {
        self.lock_error().clone()
    }

    fn lock_error(&self) -> MutexGuard<'_, Option<String>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was given and not taken.
    pub(crate) fn missing(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed) + self.failed.load(Ordering::Relaxed)
    }

    /// Never 0.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).map_or(u64::MAX, |now| now.max(1))
    }

    /// A write begins.
    pub(crate) fn begin(&self) {
        self.busy.store(self.now(), Ordering::Release);
    }

    /// It came back, however it went.
    pub(crate) fn end(&self) {
        self.busy.store(0, Ordering::Release);
    }

    /// It went well.
    pub(crate) fn wrote(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
        if self.away.swap(false, Ordering::AcqRel) {
            *self.lock_error() = None;
        }
        self.failing.store(false, Ordering::Release);
    }

    /// It failed; another may go well.
    pub(crate) fn fail(&self, error: &str) {
        self.lose();
        self.say_failed(error);
    }

    /// It failed, as where it goes is away: once that is back, it may go well after all.
    pub(crate) fn miss(&self, error: &str) {
        self.away.store(true, Ordering::Release);
        self.say_failed(error);
    }

    /// One that was [missed](Self::miss) is not tried again.
    pub(crate) fn lose(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    fn say_failed(&self, error: &str) {
        self.lock_error().get_or_insert_with(|| error.to_owned());
        self.failing.store(true, Ordering::Release);
    }

    /// The output takes nothing more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// The output was too slow for one, or had ended.
    pub(crate) fn drop_one(&self) {
        if self.is_closed() {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
        self.lost.store(self.now(), Ordering::Release);
    }

    /// What a person is told when it comes to this.
    fn news(&self, condition: Condition) -> String {
        let label = &*self.label;
        match condition {
            Condition::Well => format!("{label}: goes on"),
            Condition::Losing => format!(
                "{label}: records are lost, it is too slow for them; hint: see to its disk or reader"
            ),
            Condition::Blocked => format!(
                "{label}: takes nothing for a second now, video goes on without it; hint: see to \
                 its disk or reader"
            ),
            Condition::Failed => match self.error() {
                // That of a target of records begins with its name.
                Some(error) if self.lossless => error,
                Some(error) => format!("{label}: {error}"),
                None => format!("{label}: failed"),
            },
        }
    }
}

/// All outputs of a session, and what was said of them last.
#[derive(Debug)]
pub(crate) struct Board {
    tallies: Vec<Arc<Tally>>,
    seen: Vec<Condition>,
    said: Outputs,
}

impl Board {
    pub(crate) fn new(tallies: Vec<Arc<Tally>>) -> Self {
        let mut board = Self {
            seen: vec![Condition::Well; tallies.len()],
            said: Outputs::default(),
            tallies,
        };
        board.say();
        board
    }

    /// What the band below the picture is to say.
    pub(crate) fn said(&self) -> &Outputs {
        &self.said
    }

    /// Whether there were outputs, and none of them takes anything more.
    pub(crate) fn is_lost(&self) -> bool {
        !self.tallies.is_empty() && self.tallies.iter().all(|tally| tally.is_closed())
    }

    /// See how the outputs do, and `tell` what has changed.
    pub(crate) fn look(&mut self, mut tell: impl FnMut(&str)) {
        let mut changed = false;
        for (tally, seen) in self.tallies.iter().zip(&mut self.seen) {
            let now = tally.condition();
            if now != *seen {
                (*seen, changed) = (now, true);
                tell(&tally.news(now));
            }
        }
        if changed {
            self.say();
        }
    }

    fn say(&mut self) {
        let mut trouble = String::new();
        let mut recording = false;
        for (tally, condition) in self.tallies.iter().zip(&self.seen) {
            recording |= tally.keeps && !tally.is_closed();
            if *condition != Condition::Well {
                let comma = if trouble.is_empty() { "" } else { ", " };
                // Writing to a string can't fail.
                let _ = write!(trouble, "{comma}{} {}", &*tally.label, condition.name());
            }
        }
        self.said = Outputs {
            recording,
            trouble: (!trouble.is_empty()).then(|| trouble.as_str().into()),
        };
    }
}
