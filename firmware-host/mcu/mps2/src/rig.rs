//! The test rig at the second UART: what is done to virtual pins, and what lamp and buzzer do.
//!
//! The rig sends steps of two bytes: which inputs are down (bit 0 pedal, bit 1 second pedal, bit 2
//! freeze button), and for how many milliseconds until the next step. They are played by this
//! device's clock, so that bouncing lasts as long as it should on a slow emulator. Inputs 255 are
//! a panic.
//!
//! Each step and each change of an output is answered by a line of text: milliseconds since the
//! start, inputs, red and green of 255, buzzer 0 or 1.

use core::cell::Cell;
use core::convert::Infallible;
use core::fmt::Write;

use embedded_hal::digital::{self, InputPin, OutputPin};
use embedded_hal::pwm::{self, SetDutyCycle};
use heapless::String;

use crate::board::{self, FROM_RIG, RIG};

/// Inputs that are no inputs.
const PANIC: u8 = 255;

/// The pins' levels.
#[derive(Default)]
pub(crate) struct Wires {
    down: Cell<u8>,
    pub(crate) red: Cell<u16>,
    pub(crate) green: Cell<u16>,
    pub(crate) sound: Cell<bool>,
}

/// An input, high while it is down.
pub(crate) struct Contact<'a>(pub(crate) &'a Wires, pub(crate) u8);

impl digital::ErrorType for Contact<'_> {
    type Error = Infallible;
}

impl InputPin for Contact<'_> {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.0.down.get() & self.1 != 0)
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        self.is_high().map(|high| !high)
    }
}

/// A light's PWM channel.
pub(crate) struct Light<'a>(pub(crate) &'a Cell<u16>);

impl pwm::ErrorType for Light<'_> {
    type Error = Infallible;
}

impl SetDutyCycle for Light<'_> {
    fn max_duty_cycle(&self) -> u16 {
        u8::MAX.into()
    }

    fn set_duty_cycle(&mut self, duty: u16) -> Result<(), Infallible> {
        self.0.set(duty);
        Ok(())
    }
}

/// The buzzer.
pub(crate) struct Buzzer<'a>(pub(crate) &'a Cell<bool>);

impl digital::ErrorType for Buzzer<'_> {
    type Error = Infallible;
}

impl OutputPin for Buzzer<'_> {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.set(false);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.set(true);
        Ok(())
    }
}

/// The device's end of the rig.
pub(crate) struct Rig<'a> {
    wires: &'a Wires,
    /// The first byte of a step, once it came.
    inputs: Option<u8>,
    /// When to play the next step.
    next_at: u64,
    told: Option<(u16, u16, bool)>,
}

impl<'a> Rig<'a> {
    pub(crate) fn new(wires: &'a Wires) -> Self {
        Self {
            wires,
            inputs: None,
            next_at: 0,
            told: None,
        }
    }

    /// Play steps whose time has come, and tell what is new.
    pub(crate) fn tick(&mut self, now: u64) {
        let outputs = (
            self.wires.red.get(),
            self.wires.green.get(),
            self.wires.sound.get(),
        );
        if self.told.replace(outputs) != Some(outputs) {
            board::light(outputs.0 > 0, outputs.1 > 0);
            self.tell(now, outputs);
        }
        while now >= self.next_at
            && let Some(byte) = FROM_RIG.pop()
        {
            match self.inputs.take() {
                None => self.inputs = Some(byte),
                #[expect(clippy::panic, reason = "asked for, to see the device restarted")]
                Some(PANIC) => panic!(),
                Some(inputs) => {
                    self.wires.down.set(inputs);
                    self.next_at = now.saturating_add(byte.into());
                    self.tell(now, outputs);
                }
            }
        }
    }

    fn tell(&self, now: u64, (red, green, sound): (u16, u16, bool)) {
        let mut line = String::<64>::new();
        let down = self.wires.down.get();
        // There is room: 20 digits, four numbers of up to 5, and what is between them.
        let _ = writeln!(line, "{now} {down} {red} {green} {}", u8::from(sound));
        for byte in line.bytes() {
            while !RIG.send(byte) {}
        }
    }
}
