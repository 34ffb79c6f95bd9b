//! How often something happens.

use std::time::Duration;

use bedside::Timestamp;

/// Things a second, as a running mean.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    last: Option<Timestamp>,
    /// Mean time between two, in seconds.
    gap: Option<f32>,
}

/// Weight of the newest gap.
const NEWEST: f32 = 0.1;

impl Rate {
    pub(crate) fn add(&mut self, now: Timestamp) {
        if let Some(last) = self.last.replace(now) {
            let gap = now.since(last).as_secs_f32();
            self.gap = Some(self.gap.map_or(gap, |mean| mean + NEWEST * (gap - mean)));
        }
    }

    /// The rate; it falls when nothing comes.
    pub(crate) fn per_second(&self, now: Timestamp) -> f32 {
        let (Some(last), Some(gap)) = (self.last, self.gap) else {
            return 0.0;
        };
        let waited = now.since(last);
        if waited > Duration::from_secs(5) {
            return 0.0;
        }
        1.0 / gap.max(waited.as_secs_f32() / 2.0).max(1e-6)
    }
}
