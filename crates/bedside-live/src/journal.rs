//! What a session shows, recorded and published: what every host does with its frames.

use std::sync::Arc;
use std::time::Duration;

use bedside::Frame;

use crate::error::Error;
use crate::monitor::Monitor;
use crate::record::{Counts, Record, SessionRecord};
use crate::recorder::Recorder;
use crate::run::Watcher;
use crate::session::LiveSession;
use crate::tally::Tally;

/// The [`Watcher`] that hands each frame's record to a [`Recorder`], with the session's opening,
/// changes of prompts and end, and publishes the session in a [`Monitor`]. A change of patient
/// begins a new session in the records.
///
/// A host that has more to do on each frame wraps it.
#[derive(Debug)]
pub struct Journal {
    recorder: Recorder,
    monitor: Arc<Monitor>,
    opening: SessionRecord,
    /// Generation of the prompts that were recorded last.
    prompts: u64,
    /// Change of patient that what is recorded now follows, and the counts at it.
    case: u64,
    before: Counts,
}

impl Journal {
    /// Begin with the session's opening.
    pub fn begin(mut recorder: Recorder, monitor: Arc<Monitor>, opening: SessionRecord) -> Self {
        recorder.record(&Record::Session(opening.clone()));
        Self {
            recorder,
            monitor,
            opening,
            prompts: 0,
            case: 0,
            before: Counts::default(),
        }
    }

    /// Wait until all is written.
    ///
    /// # Errors
    /// As [`Recorder::finish`].
    pub fn finish(self, patience: Duration) -> Result<(), Error> {
        self.recorder.finish(patience)
    }

    /// The patient is another one: one session of records ends, and one begins.
    fn next_case(&mut self, case: u64, counts: Counts) {
        self.end(counts);
        (self.case, self.before, self.prompts) = (case, counts, 0);
        self.opening = self.opening.restarted();
        self.recorder.record(&Record::Session(self.opening.clone()));
    }

    /// Where the frames of this session of records went.
    fn end(&mut self, counts: Counts) {
        let mut since = Counts {
            captured: 0,
            shown: counts.shown.saturating_sub(self.before.shown),
            dropped: counts.dropped.saturating_sub(self.before.dropped),
            failed: counts.failed.saturating_sub(self.before.failed),
        };
        // A frame that is on its way belongs to the next.
        since.captured = since.shown + since.dropped + since.failed;
        self.recorder.record(&Record::End(since));
    }
}

impl Watcher for Journal {
    fn shown(&mut self, session: &LiveSession, frame: Option<&Frame>, counts: Counts) {
        if session.case() != self.case {
            // The newest frame is the first of the other patient.
            let mut before = counts;
            let first = u64::from(frame.is_some() && !session.record().repeated);
            before.shown = before.shown.saturating_sub(first);
            self.next_case(session.case(), before);
        }
        let prompts = session.prompts_generation();
        if prompts != self.prompts {
            self.prompts = prompts;
            let names = session.prompts().to_vec();
            self.recorder.record(&Record::Prompts(names));
        }
        if frame.is_some() {
            self.recorder.frame(session.record());
            session.metrics().records_lost(self.recorder.lost());
        }
        self.monitor.publish(session, frame, counts);
    }

    fn source(&mut self, error: Option<&str>) {
        self.monitor.source(error);
    }

    fn outputs(&self) -> Vec<Arc<Tally>> {
        self.recorder.outputs()
    }

    fn ended(&mut self, counts: Counts) {
        self.end(counts);
    }
}
