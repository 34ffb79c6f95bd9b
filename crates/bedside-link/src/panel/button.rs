//! Pedals and buttons without their bouncing.

use embedded_hal::digital::{InputPin, PinState};

use crate::packet::{Action, Input};

/// Contacts bounce: a level counts when it has stayed for this many milliseconds.
const SETTLED_MS: u64 = 20;
/// What is down for this many milliseconds is a long press.
const LONG_PRESS_MS: u64 = 800;

/// A pedal or button at a pin.
#[derive(Debug)]
pub struct Button<P> {
    input: Input,
    pin: P,
    /// The pin's level while it is down.
    active: PinState,
    /// Whether it is down, once it was read. Down from the start is no press.
    down: Option<bool>,
    /// Since when the pin says otherwise.
    differs: Option<u64>,
    /// When it becomes a long press.
    long_at: Option<u64>,
}

impl<P: InputPin> Button<P> {
    /// An input whose contact closes to ground against a pull-up: down is low.
    pub fn active_low(input: Input, pin: P) -> Self {
        Self::new(input, pin, PinState::Low)
    }

    /// An input that is high while it is down, such as a contact that opens.
    pub fn active_high(input: Input, pin: P) -> Self {
        Self::new(input, pin, PinState::High)
    }

    fn new(input: Input, pin: P, active: PinState) -> Self {
        Self {
            input,
            pin,
            active,
            down: None,
            differs: None,
            long_at: None,
        }
    }

    pub(super) fn input(&self) -> Input {
        self.input
    }

    pub(super) fn is_down(&self) -> bool {
        self.down == Some(true)
    }

    /// Read the pin: what was done to it, and when.
    pub(super) fn poll(&mut self, now: u64) -> Result<Option<(Action, u64)>, P::Error> {
        let down = self.pin.is_high()? == (self.active == PinState::High);
        if *self.down.get_or_insert(down) == down {
            self.differs = None;
            let long = self.long_at.take_if(|at| *at <= now);
            return Ok(long.map(|at| (Action::LongPress, at)));
        }
        let since = *self.differs.get_or_insert(now);
        if now.saturating_sub(since) < SETTLED_MS {
            return Ok(None);
        }
        self.down = Some(down);
        self.differs = None;
        self.long_at = down.then(|| since.saturating_add(LONG_PRESS_MS));
        let action = match down {
            true => Action::Press,
            false => Action::Release,
        };
        Ok(Some((action, since)))
    }
}
