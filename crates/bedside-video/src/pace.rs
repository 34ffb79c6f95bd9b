//! Files at the rate at which they were recorded.

use std::sync::Arc;
use std::time::Duration;

use bedside_core::{Clock, Frame, Timestamp};

use crate::{Source, SourceError, SourceErrorKind, SourceInfo};

/// How fast a source that has no clock of its own gives its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Pace {
    /// At its own rate; at once where it is late, or where it has no rate.
    #[default]
    Own,
    /// As fast as they are asked for.
    Fast,
}

/// Longest wait within one call.
const PATIENCE: Duration = Duration::from_secs(1);

/// A source at its own pace, as [`Pace::Own`] has it: as it is, where a clock drives it or no rate is
/// known.
pub fn paced(source: Box<dyn Source>, clock: Arc<dyn Clock>) -> Box<dyn Source> {
    if source.info().live || source.info().frames_per_second.is_none() {
        return source;
    }
    Box::new(Paced {
        inner: source,
        clock,
        sleep: |_, time| std::thread::sleep(time),
        start: None,
        given: 0,
    })
}

/// A source whose frames come when they are due. Frame `n` is due `n` periods after the first, so
/// that neither rounding nor lateness adds up.
struct Paced {
    inner: Box<dyn Source>,
    clock: Arc<dyn Clock>,
    sleep: fn(&dyn Clock, Duration),
    start: Option<Timestamp>,
    given: u64,
}

impl Paced {
    /// How long until the next frame is due.
    fn until_due(&mut self) -> Duration {
        let now = self.clock.now();
        let start = *self.start.get_or_insert(now);
        let rate = self.inner.info().frames_per_second.unwrap_or(f64::INFINITY);
        let due = Duration::try_from_secs_f64(self.given as f64 / rate).unwrap_or(Duration::MAX);
        due.saturating_sub(now.since(start))
    }
}

impl Source for Paced {
    fn info(&self) -> &SourceInfo {
        self.inner.info()
    }

    fn next(&mut self, buffer: Vec<u8>) -> Result<Option<Frame>, SourceError> {
        let left = self.until_due();
        if left > PATIENCE {
            (self.sleep)(&*self.clock, PATIENCE);
            let message = format!("{}: the next frame is due in {left:.1?}", self.info().name);
            return Err(SourceError::new(SourceErrorKind::Silent, message));
        }
        if !left.is_zero() {
            (self.sleep)(&*self.clock, left);
        }
        let answer = self.inner.next(buffer);
        // A broken frame has its place in time, too.
        let silent = matches!(&answer, Err(e) if e.kind() == SourceErrorKind::Silent);
        self.given += u64::from(!silent);
        answer
    }
}

#[cfg(test)]
mod tests {
    use bedside_core::{ManualClock, Phi, PixelFormat, YuvSpace};

    use super::*;

    /// Frames of one pixel, each of which takes `work` to make.
    struct Slow {
        info: SourceInfo,
        clock: Arc<ManualClock>,
        work: Vec<Duration>,
    }

    impl Source for Slow {
        fn info(&self) -> &SourceInfo {
            &self.info
        }

        fn next(&mut self, _: Vec<u8>) -> Result<Option<Frame>, SourceError> {
            let Some(work) = self.work.pop() else {
                return Ok(None);
            };
            let now = self.clock.now();
            self.clock.advance(work);
            self.info.frame(vec![0], now).map(Some)
        }
    }

    /// Capture times in milliseconds, and how often the source was silent.
    fn run(rate: f64, mut work: Vec<Duration>) -> (Vec<u64>, usize) {
        work.reverse();
        let clock = Arc::new(ManualClock::default());
        let info = SourceInfo {
            name: Phi::shown("test".to_owned()),
            width: 1,
            height: 1,
            format: PixelFormat::Gray8,
            yuv_space: YuvSpace::default(),
            frames_per_second: Some(rate),
            live: false,
        };
        let inner = Box::new(Slow {
            info,
            clock: clock.clone(),
            work,
        });
        // Sleeping moves the clock a little further than asked, as a real sleep does.
        let mover = clock.clone();
        let mut paced = Paced {
            inner,
            clock: Arc::new(Mover(mover)),
            sleep: |clock, time| {
                SLEPT.set(time + Duration::from_micros(300));
                clock.now();
            },
            start: None,
            given: 0,
        };
        let (mut times, mut silent) = (Vec::new(), 0);
        loop {
            match paced.next(Vec::new()) {
                Ok(Some(frame)) => times.push(frame.captured().as_nanos() / 1_000_000),
                Ok(None) => return (times, silent),
                Err(error) => {
                    assert_eq!(error.kind(), SourceErrorKind::Silent);
                    silent += 1;
                }
            }
        }
    }

    thread_local! {
        static SLEPT: std::cell::Cell<Duration> = const { std::cell::Cell::new(Duration::ZERO) };
    }

    /// A clock that moves by what was slept.
    struct Mover(Arc<ManualClock>);

    impl Clock for Mover {
        fn now(&self) -> Timestamp {
            self.0.advance(SLEPT.take());
            self.0.now()
        }
    }

    #[test]
    fn frames_come_when_due_and_late_ones_at_once() {
        let ms = Duration::from_millis;
        let (times, silent) = run(10.0, vec![ms(1), ms(250), ms(1), ms(1), ms(1)]);
        assert_eq!((times, silent), (vec![0, 100, 350, 351, 400], 0));
    }

    #[test]
    fn oversleeping_does_not_add_up() {
        let (times, _) = run(30.0, vec![Duration::ZERO; 3001]);
        assert_eq!(times.last(), Some(&100_000));
    }

    #[test]
    fn a_slow_rate_is_silent_rather_than_blocking() {
        let (times, silent) = run(0.4, vec![Duration::ZERO; 2]);
        // The end is due a period after the last frame.
        assert_eq!((times, silent), (vec![0, 2500], 4));
    }
}
