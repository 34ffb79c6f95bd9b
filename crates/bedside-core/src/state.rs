//! What a live session is doing, in a closed set of states, and the right to paint.

use std::fmt;
use std::marker::PhantomData;

/// The state of a live session. Always shown, never guessed: each says what a person sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// No answer yet.
    Starting,
    /// Answers come, and come in time.
    Active,
    /// Answers come, but not as they should.
    Degraded(Degradation),
    /// Nothing is asked of the model, for a reason.
    Paused(Pause),
    /// Something that should come does not.
    Stalled(Stall),
    /// Answers have ended until a person acts.
    Fault(Fault),
}

/// Why answers are not as they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Degradation {
    /// For some prompt no answer is recent enough to be shown.
    NoAnswer,
    /// Passes take longer than the latency target, even with the fewest prompts.
    Slow,
    /// Some prompts wait for their turn so that passes meet the target.
    FewerPrompts,
    /// The model sees frames smaller than suits the prompts so that passes meet the target.
    SmallerInput,
    /// The device is hot, so fewer passes are made.
    Hot,
}

/// Why nothing is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pause {
    /// A person switched inference off.
    Off,
    /// The frame is black or of one colour.
    NoSignal,
    /// The frame is a test pattern of bars.
    TestPattern,
    /// The endoscope is outside the body.
    OutOfBody,
    /// A person froze the picture: it stays as it was painted, and is not live.
    Frozen,
}

/// What does not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stall {
    /// No frame, or the same one over and over.
    Input,
    /// No answer to the pass under way.
    Inference,
}

/// Why answers have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The model could not be loaded.
    Load,
    /// The backend failed more often than the restart budget allows.
    RestartsSpent,
    /// Self-test masks came out wrong on this device.
    SelfTest,
}

/// The right to paint masks, which only [`State::permit`] gives. It can't be copied, and it borrows
/// the state that gave it, so that it is gone before that state changes:
///
/// ```compile_fail,E0506
/// use bedside_core::{Pause, State};
///
/// let mut state = State::Active;
/// let permit = state.permit();
/// state = State::Paused(Pause::Off);
/// drop(permit);
/// ```
///
/// ```compile_fail,E0382
/// use bedside_core::State;
///
/// let permit = State::Active.permit();
/// let (first, second) = (permit, permit);
/// ```
#[derive(Debug)]
pub struct PaintPermit<'a>(PhantomData<&'a State>);

impl State {
    /// The right to paint, while answers come.
    pub fn permit(&self) -> Option<PaintPermit<'_>> {
        match self {
            Self::Active | Self::Degraded(_) => Some(PaintPermit(PhantomData)),
            Self::Starting | Self::Paused(_) | Self::Stalled(_) | Self::Fault(_) => None,
        }
    }

    /// One word for machines: `starting`, `active`, `degraded`, `paused`, `stalled` or `fault`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Active => "active",
            Self::Degraded(_) => "degraded",
            Self::Paused(_) => "paused",
            Self::Stalled(_) => "stalled",
            Self::Fault(_) => "fault",
        }
    }

    /// Why, in one word or two joined by a hyphen; empty for [`Starting`](Self::Starting) and
    /// [`Active`](Self::Active).
    pub fn reason(self) -> &'static str {
        match self {
            Self::Starting | Self::Active => "",
            Self::Degraded(Degradation::NoAnswer) => "no-answer",
            Self::Degraded(Degradation::Slow) => "slow",
            Self::Degraded(Degradation::FewerPrompts) => "fewer-prompts",
            Self::Degraded(Degradation::SmallerInput) => "smaller-input",
            Self::Degraded(Degradation::Hot) => "hot",
            Self::Paused(Pause::Off) => "off",
            Self::Paused(Pause::NoSignal) => "no-signal",
            Self::Paused(Pause::TestPattern) => "test-pattern",
            Self::Paused(Pause::OutOfBody) => "out-of-body",
            Self::Paused(Pause::Frozen) => "frozen",
            Self::Stalled(Stall::Input) => "input",
            Self::Stalled(Stall::Inference) => "inference",
            Self::Fault(Fault::Load) => "load",
            Self::Fault(Fault::RestartsSpent) => "restarts-spent",
            Self::Fault(Fault::SelfTest) => "self-test",
        }
    }

    /// Every state there is, in the order above.
    pub const ALL: [Self; 17] = [
        Self::Starting,
        Self::Active,
        Self::Degraded(Degradation::NoAnswer),
        Self::Degraded(Degradation::Slow),
        Self::Degraded(Degradation::FewerPrompts),
        Self::Degraded(Degradation::SmallerInput),
        Self::Degraded(Degradation::Hot),
        Self::Paused(Pause::Off),
        Self::Paused(Pause::NoSignal),
        Self::Paused(Pause::TestPattern),
        Self::Paused(Pause::OutOfBody),
        Self::Paused(Pause::Frozen),
        Self::Stalled(Stall::Input),
        Self::Stalled(Stall::Inference),
        Self::Fault(Fault::Load),
        Self::Fault(Fault::RestartsSpent),
        Self::Fault(Fault::SelfTest),
    ];
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            "" => f.write_str(self.name()),
            reason => write!(f, "{}: {reason}", self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_05_only_active_and_degraded_permit_painting() {
        for state in State::ALL {
            let permitted = matches!(state.name(), "active" | "degraded");
            assert_eq!(state.permit().is_some(), permitted, "{state}");
        }
    }

    #[test]
    fn every_state_reads_differently() {
        let mut texts = State::ALL.map(|s| s.to_string()).to_vec();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), State::ALL.len());
    }
}
