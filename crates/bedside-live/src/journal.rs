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
    /// The patient that the records are of, as [`LiveSession::case`] counts them.
    case: u64,
    /// Generation of the prompts that were recorded last.
    prompts: u64,
}

impl Journal {
    /// Begin with the session's opening.
    pub fn begin(mut recorder: Recorder, monitor: Arc<Monitor>, opening: SessionRecord) -> Self {
        recorder.record(&Record::Session(opening.clone()));
        Self {
            recorder,
            monitor,
            opening,
            case: 0,
            prompts: 0,
        }
    }

    /// Record the end, unless the session failed, and wait until all is written.
    ///
    /// # Errors
    /// As [`Recorder::finish`].
    pub fn finish(mut self, counts: Option<Counts>, patience: Duration) -> Result<(), Error> {
        if let Some(counts) = counts {
            self.recorder.record(&Record::End(counts));
        }
        self.recorder.finish(patience)
    }
}

impl Watcher for Journal {
    fn shown(&mut self, session: &LiveSession, frame: Option<&Frame>, counts: Counts) {
        if session.case() != self.case {
            self.case = session.case();
            let again = self.opening.restarted();
            self.recorder.record(&Record::Session(again));
            // Each session has its own.
            self.prompts = 0;
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
}
