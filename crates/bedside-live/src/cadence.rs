//! How often the model is asked, and how much at once, so that answers keep to a target.

use std::ops::Range;
use std::time::Duration;

use bedside::{Degradation, Timestamp};

/// Weight of the newest pass in the running mean of their times.
const NEWEST: f64 = 0.25;
/// Passes between two changes, so that the mean has followed the last one.
const SETTLE: u32 = 8;
/// The target's share that passes must stay below before more is asked again.
const ROOM: f64 = 0.5;
/// The target's share that passes on the larger input must be likely to stay below before it is
/// taken again.
const ROOM_FOR_LARGER: f64 = 0.8;

/// How often and how long passes should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CadenceConfig {
    /// Longest time that a pass should take, from frame to answer.
    pub target: Duration,
    /// Shortest time from the start of one pass to the start of the next; zero for as often as
    /// the model can.
    pub interval: Duration,
    /// Temperature in degrees Celsius from which passes are made half as often.
    pub hot: f32,
}

impl Default for CadenceConfig {
    fn default() -> Self {
        Self {
            target: Duration::from_millis(105),
            interval: Duration::ZERO,
            hot: 85.0,
        }
    }
}

/// Decides when a pass may start and which prompts it answers.
#[derive(Debug, Clone)]
pub(crate) struct Cadence {
    config: CadenceConfig,
    prompts: usize,
    /// Sides of the input that the model may be asked at, from the one that suits the prompts down.
    sides: Vec<u32>,
    /// Place of the present one.
    step: usize,
    /// Passes that the prompts are spread over.
    turns: usize,
    turn: usize,
    mean: Option<f64>,
    since_change: u32,
    last_start: Option<Timestamp>,
    temperature: Option<f32>,
}

impl Cadence {
    pub(crate) fn new(config: CadenceConfig) -> Self {
        Self {
            config,
            prompts: 0,
            sides: Vec::new(),
            step: 0,
            turns: 1,
            turn: 0,
            mean: None,
            since_change: 0,
            last_start: None,
            temperature: None,
        }
    }

    /// Other prompts, which may be asked at these sides of the input: nothing is known of their time.
    pub(crate) fn set_prompts(&mut self, prompts: usize, sides: &[u32]) {
        (self.prompts, self.turns, self.turn) = (prompts, 1, 0);
        self.sides.clear();
        self.sides.extend_from_slice(sides);
        self.step_to(0);
    }

    fn step_to(&mut self, step: usize) {
        (self.step, self.mean, self.since_change) = (step, None, 0);
    }

    /// The side of the input to ask at; `None` leaves it to the model.
    pub(crate) fn side(&self) -> Option<u32> {
        self.sides.get(self.step).copied()
    }

    pub(crate) fn set_temperature(&mut self, celsius: Option<f32>) {
        self.temperature = celsius;
    }

    /// Whether a pass may start now.
    pub(crate) fn due(&self, now: Timestamp) -> bool {
        let mut interval = self.config.interval;
        if self.hot() {
            let pass = Duration::from_secs_f64(self.mean.unwrap_or(0.0));
            interval = 2 * interval.max(pass);
        }
        self.prompts > 0
            && self
                .last_start
                .is_none_or(|last| now.since(last) >= interval)
    }

    /// The prompts whose turn it is.
    pub(crate) fn places(&self) -> Range<usize> {
        let at = |turn: usize| self.prompts * turn / self.turns;
        at(self.turn)..at(self.turn + 1)
    }

    /// A pass is about to start, which answers the next prompts.
    pub(crate) fn started(&mut self, now: Timestamp) {
        self.last_start = Some(now);
        self.turn = (self.turn + 1) % self.turns;
    }

    /// A pass took this long.
    pub(crate) fn took(&mut self, time: Duration) {
        let time = time.as_secs_f64();
        let mean = self.mean.map_or(time, |mean| mean + NEWEST * (time - mean));
        self.mean = Some(mean);
        self.since_change += 1;
        if self.since_change < SETTLE {
            return;
        }
        let target = self.config.target.as_secs_f64();
        // Most of a pass is the encoder's, which takes the less the smaller its input. Only then
        // are prompts made to wait.
        if mean > target && self.step + 1 < self.sides.len() {
            return self.step_to(self.step + 1);
        }
        let likely = |step| mean * self.growth(step);
        if self.turns == 1
            && let Some(larger) = self.step.checked_sub(1)
            && likely(larger) < ROOM_FOR_LARGER * target
        {
            return self.step_to(larger);
        }
        let turns = match mean {
            // A pass of one prompt can't be made smaller.
            mean if mean > target => (self.turns * 2).min(self.prompts.max(1)),
            mean if mean < ROOM * target => self.turns.div_ceil(2),
            _ => self.turns,
        };
        if turns != self.turns {
            (self.turns, self.turn, self.since_change) = (turns, 0, 0);
        }
    }

    /// How many times the pixels of the present input those of another step are.
    fn growth(&self, step: usize) -> f64 {
        let side = |step| self.sides.get(step).copied().map_or(1.0, f64::from);
        (side(step) / side(self.step)).powi(2)
    }

    /// A pass failed. At a smaller input that gave no answer yet, that may be the input's own fault:
    /// the larger one before it answered, and is the smallest from here on.
    pub(crate) fn failed(&mut self) {
        if self.mean.is_none()
            && let Some(before) = self.step.checked_sub(1)
        {
            self.sides.truncate(self.step);
            self.step_to(before);
        }
    }

    /// What falls short of the configuration.
    pub(crate) fn degradation(&self) -> Option<Degradation> {
        let slow = |mean: f64| mean > self.config.target.as_secs_f64();
        if self.hot() {
            Some(Degradation::Hot)
        } else if self.mean.is_some_and(slow) {
            Some(Degradation::Slow)
        } else if self.turns > 1 {
            Some(Degradation::FewerPrompts)
        } else if self.step > 0 {
            Some(Degradation::SmallerInput)
        } else {
            None
        }
    }

    fn hot(&self) -> bool {
        self.temperature.is_some_and(|t| t >= self.config.hot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(ms * 1_000_000)
    }

    fn cadence(prompts: usize) -> Cadence {
        let mut cadence = Cadence::new(CadenceConfig {
            target: Duration::from_millis(100),
            ..CadenceConfig::default()
        });
        cadence.set_prompts(prompts, &[]);
        cadence
    }

    #[test]
    fn a_slow_model_sees_less_before_prompts_wait_and_more_again_when_there_is_time() {
        let mut cadence = cadence(2);
        cadence.set_prompts(2, &[384, 256, 192]);
        let pass = |at_largest_ms: f64, cadence: &mut Cadence| {
            let side = f64::from(cadence.side().unwrap());
            cadence.took(Duration::from_secs_f64(
                at_largest_ms / 1e3 * (side / 384.0).powi(2),
            ));
        };
        let mut seen = vec![cadence.side()];
        for _ in 0..60 {
            pass(300.0, &mut cadence);
            if seen.last() != Some(&cadence.side()) {
                seen.push(cadence.side());
            }
        }
        assert_eq!(seen, [Some(384), Some(256), Some(192)]);
        assert_eq!(cadence.degradation(), Some(Degradation::SmallerInput));
        assert_eq!(
            cadence.places(),
            0..2,
            "no prompt waits where that is enough"
        );
        for _ in 0..60 {
            pass(900.0, &mut cadence);
        }
        assert_eq!(cadence.places(), 0..1);
        for _ in 0..120 {
            pass(120.0, &mut cadence);
        }
        assert_eq!((cadence.side(), cadence.places()), (Some(256), 0..2));
        for _ in 0..60 {
            pass(70.0, &mut cadence);
        }
        assert_eq!((cadence.side(), cadence.degradation()), (Some(384), None));
        cadence.set_prompts(1, &[256]);
        assert_eq!(cadence.side(), Some(256));
    }

    #[test]
    fn a_smaller_input_that_never_answers_is_left_for_good() {
        let mut cadence = cadence(1);
        cadence.set_prompts(1, &[384, 256, 192]);
        let slow = |cadence: &mut Cadence| {
            let before = cadence.side();
            for _ in 0..2 * SETTLE {
                if cadence.side() == before {
                    cadence.took(Duration::from_millis(300));
                }
            }
        };
        cadence.failed();
        assert_eq!(cadence.side(), Some(384), "the largest has none before it");
        slow(&mut cadence);
        assert_eq!(cadence.side(), Some(256));
        cadence.took(Duration::from_millis(300));
        cadence.failed();
        assert_eq!(cadence.side(), Some(256), "it answered before");
        slow(&mut cadence);
        assert_eq!(cadence.side(), Some(192));
        cadence.failed();
        assert_eq!(cadence.side(), Some(256));
        slow(&mut cadence);
        assert_eq!(cadence.side(), Some(256), "192 is not tried again");
        assert_eq!(cadence.degradation(), Some(Degradation::Slow));
    }

    #[test]
    fn p_29_slow_passes_take_fewer_prompts_and_that_is_said() {
        let mut cadence = cadence(5);
        assert_eq!(cadence.places(), 0..5);
        for _ in 0..SETTLE {
            cadence.took(Duration::from_millis(300));
        }
        assert_eq!(cadence.degradation(), Some(Degradation::Slow));
        let mut seen = Vec::new();
        for i in 0..2 {
            cadence.started(at(i));
            seen.extend(cadence.places());
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3, 4]);
        for _ in 0..100 {
            cadence.took(Duration::from_millis(80));
        }
        assert_eq!(cadence.degradation(), Some(Degradation::FewerPrompts));
        for _ in 0..100 {
            cadence.took(Duration::from_millis(10));
        }
        assert_eq!((cadence.degradation(), cadence.places()), (None, 0..5));
    }

    #[test]
    fn one_prompt_that_is_slow_is_said_to_be() {
        let mut cadence = cadence(1);
        for _ in 0..50 {
            cadence.took(Duration::from_millis(1500));
            assert_eq!(cadence.places(), 0..1);
        }
        assert_eq!(cadence.degradation(), Some(Degradation::Slow));
    }

    #[test]
    fn p_29_heat_halves_the_passes_and_is_said() {
        let mut cadence = cadence(1);
        cadence.took(Duration::from_millis(40));
        cadence.started(at(0));
        assert!(cadence.due(at(1)));
        cadence.set_temperature(Some(91.0));
        assert_eq!(cadence.degradation(), Some(Degradation::Hot));
        assert!(!cadence.due(at(79)) && cadence.due(at(80)));
        cadence.set_temperature(Some(60.0));
        assert_eq!(cadence.degradation(), None);
    }

    #[test]
    fn nothing_is_asked_without_prompts() {
        assert!(!cadence(0).due(at(1_000)));
    }
}
