//! What others may see of a running session: its newest frame and figures, for pages and lamps.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bedside::Frame;
use serde::Serialize;

use crate::record::{Counts, FrameRecord, Name};
use crate::session::LiveSession;
use crate::slot::{Slot, Waited};
use crate::tally::{Condition, OutputReport};

/// A session at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// What was last shown.
    pub frame: FrameRecord,
    /// Changes of patient so far.
    pub case: u64,
    /// Where the frames went so far.
    pub counts: Counts,
    /// Frames a second that are shown.
    pub frames_per_second: f32,
    /// Masks a second that are new.
    pub masks_per_second: f32,
    /// The prompts that are asked.
    pub prompts: Vec<Name>,
    /// The model's last error; none since it answered.
    pub model_message: Option<String>,
    /// What became of what each sink and record target was given.
    pub outputs: Vec<OutputReport>,
    /// The source's present error, such as an unplugged camera.
    pub source_message: Option<String>,
}

/// One line for a person at a terminal.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}  {:.0} fps, {:.0} masks/s, {} dropped, {} failed",
            &*self.frame.state,
            &*self.frame.reason,
            self.frames_per_second,
            self.masks_per_second,
            self.counts.dropped,
            self.counts.failed
        )?;
        for mask in &self.frame.masks {
            write!(f, "  {} {} ms old", &*mask.prompt, mask.age_us / 1000)?;
        }
        for prompt in &self.frame.unanswered {
            write!(f, "  {} no current answer", &**prompt)?;
        }
        for output in &self.outputs {
            if output.condition != Condition::Well {
                write!(f, "  {} {}", &*output.output, output.condition.name())?;
            }
        }
        match self.source_message.as_ref().or(self.model_message.as_ref()) {
            Some(message) => write!(f, "  ({message})"),
            None => Ok(()),
        }
    }
}

/// Shared between the video path, which writes without waiting, and whoever looks.
#[derive(Debug)]
pub struct Monitor {
    status: Mutex<Status>,
    frame: Slot<Frame>,
    /// Memory of frames that are done with: one is copied into while another is looked at and a
    /// third waits.
    spare: [Slot<Vec<u8>>; 2],
    watchers: AtomicUsize,
}

impl Default for Monitor {
    fn default() -> Self {
        Self {
            status: Mutex::new(Status {
                frame: FrameRecord::empty(),
                case: 0,
                counts: Counts::default(),
                frames_per_second: 0.0,
                masks_per_second: 0.0,
                prompts: Vec::new(),
                model_message: None,
                outputs: Vec::new(),
                source_message: None,
            }),
            frame: Slot::default(),
            spare: Default::default(),
            watchers: AtomicUsize::new(0),
        }
    }
}

impl Monitor {
    /// Take over what a session shows. Called on the video path: where somebody is reading, this
    /// frame is passed over.
    pub fn publish(&self, session: &LiveSession, frame: Option<&Frame>, counts: Counts) {
        if let Ok(mut status) = self.status.try_lock() {
            status.frame.clone_from(session.record());
            (status.case, status.counts) = (session.case(), counts);
            (status.frames_per_second, status.masks_per_second) = session.rates();
            session.metrics().read_outputs(&mut status.outputs);
            if status.prompts != session.prompts() {
                status.prompts = session.prompts().to_vec();
            }
            if status.model_message.as_deref() != session.message() {
                status.model_message = session.message().map(str::to_owned);
            }
        }
        let watched = self.watchers.load(Ordering::Acquire) > 0;
        if let Some(frame) = frame.filter(|_| watched) {
            let mut buffer = self.spare.iter().find_map(Slot::take).unwrap_or_default();
            buffer.clear();
            buffer.extend_from_slice(frame.data());
            // The same bytes with the same size and format are a frame again.
            if let Ok(copy) = Frame::new(frame.width(), frame.height(), frame.format(), buffer) {
                let copy = copy.with_yuv_space(frame.yuv_space());
                if let Some(older) = self.frame.put(copy.captured_at(frame.captured())) {
                    self.keep(older);
                }
            }
        }
    }

    fn keep(&self, frame: Frame) {
        let [first, second] = &self.spare;
        if let Some(other) = first.put(frame.into_data()) {
            second.put(other);
        }
    }

    /// Publish the error of the source; `None` when it is well.
    pub fn source(&self, error: Option<&str>) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.source_message = error.map(str::to_owned);
    }

    /// The session as it is now.
    pub fn status(&self) -> Status {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Begin to look at frames; they are copied only while somebody does.
    pub fn watch(&self) -> Watch<'_> {
        self.watchers.fetch_add(1, Ordering::AcqRel);
        Watch(self)
    }
}

/// Somebody looks.
#[derive(Debug)]
pub struct Watch<'a>(&'a Monitor);

impl Watch<'_> {
    /// The newest annotated frame that nobody took yet; `None` when none comes in that time.
    pub fn frame(&self, patience: Duration) -> Option<Frame> {
        match self.0.frame.wait(patience) {
            Waited::Value(frame) => Some(frame),
            Waited::TimedOut | Waited::Closed => None,
        }
    }

    /// Hand a frame's memory back.
    pub fn done(&self, frame: Frame) {
        self.0.keep(frame);
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::AcqRel);
    }
}
