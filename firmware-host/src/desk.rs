//! What pedals, buttons and programs may do to the session, and what they may know of it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bedside::{Prompt, State};
use bedside_live::record::SessionRecord;
use bedside_live::{Control, Monitor, Status};
use serde::Serialize;

use crate::snapshot::Snapshots;

/// The video path says that it goes on ten times a second; one that is silent for longer hangs.
const SILENCE: Duration = Duration::from_secs(1);

/// Shared by all who act on the session.
pub(crate) struct Desk {
    pub control: Arc<Control>,
    pub monitor: Arc<Monitor>,
    pub snapshots: Snapshots,
    pub pulse: Pulse,
    /// How the line to the microcontroller is.
    pub line: Mutex<Line>,
    /// What runs.
    pub opening: SessionRecord,
    lists: Vec<Vec<Prompt>>,
    /// Place of the list that was asked for last.
    place: Mutex<usize>,
}

/// The line to the microcontroller, as status tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Line {
    /// `none`, `absent` (no port), `waiting` (nobody answers), `refused` or `linked`.
    pub state: &'static str,
    /// Why, in one line.
    pub message: Option<String>,
    /// Version of the device's firmware.
    pub firmware: Option<String>,
}

impl Desk {
    /// `lists` are those that the pedal goes through; the first is asked already.
    pub(crate) fn new(
        control: Arc<Control>,
        monitor: Arc<Monitor>,
        snapshots: Snapshots,
        opening: SessionRecord,
        lists: Vec<Vec<Prompt>>,
    ) -> Self {
        Self {
            control,
            monitor,
            snapshots,
            pulse: Pulse::default(),
            line: Mutex::new(Line {
                state: "none",
                ..Line::default()
            }),
            opening,
            lists,
            place: Mutex::new(0),
        }
    }

    /// Ask for the next of the lists, or the one before.
    pub(crate) fn turn(&self, forward: bool) -> Result<(), bedside_live::Error> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let count = self.lists.len().max(1);
        let step = if forward { 1 } else { count - 1 };
        *place = (*place + step) % count;
        match self.lists.get(*place) {
            Some(list) => self.control.set_prompts(list),
            None => Ok(()),
        }
    }

    /// The session as it is now.
    pub(crate) fn status(&self) -> Status {
        self.monitor.status()
    }

    pub(crate) fn line(&self) -> Line {
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.clone()
    }
}

/// The session's state, written by the video path without waiting; none, where that is silent.
#[derive(Debug)]
pub(crate) struct Pulse {
    began: Instant,
    /// Milliseconds from then to the last beat, and 1; 0 before the first.
    beat: AtomicU64,
    /// Place in [`State::ALL`].
    state: AtomicUsize,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            beat: AtomicU64::new(0),
            state: AtomicUsize::new(0),
        }
    }
}

impl Pulse {
    /// The video path goes on, in this state.
    pub(crate) fn beat(&self, state: State) {
        let place = State::ALL.iter().position(|known| *known == state);
        self.state.store(place.unwrap_or(0), Ordering::Release);
        self.beat.store(self.now() + 1, Ordering::Release);
    }

    /// The state, where the video path goes on.
    pub(crate) fn state(&self) -> Option<State> {
        let beat = self.beat.load(Ordering::Acquire).checked_sub(1)?;
        let silent = Duration::from_millis(self.now().saturating_sub(beat));
        let state = State::ALL.get(self.state.load(Ordering::Acquire));
        state.copied().filter(|_| silent < SILENCE)
    }

    /// Whether the video path has ever said that it goes on.
    pub(crate) fn has_begun(&self) -> bool {
        self.beat.load(Ordering::Acquire) > 0
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}
