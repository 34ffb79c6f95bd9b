//! A device with its pins.

mod button;
mod pattern;

use embedded_hal::digital::{InputPin, OutputPin, PinState};
use embedded_hal::pwm::SetDutyCycle;

pub use button::Button;
use pattern::Output;

use crate::device::Device;
use crate::frame::Frame;
use crate::packet::{Faults, Signal, State, Version};

/// A lamp of two colours: both together are amber.
#[derive(Debug)]
pub struct Lamp<R, G> {
    /// The red light's PWM channel.
    pub red: R,
    /// The green light's.
    pub green: G,
}

/// The device: `N` buttons and pedals, a lamp, and a buzzer that sounds while its pin is high.
///
/// Hand what comes over the line to [`receive`](Self::receive), call [`tick`](Self::tick) every
/// 5 ms or more often, and send what it gives.
#[derive(Debug)]
pub struct Panel<P, R, G, B, const N: usize> {
    device: Device,
    buttons: [Button<P>; N],
    lamp: Lamp<R, G>,
    buzzer: B,
    /// The state that is shown, and since when.
    shown: (State, u64),
    test: Option<SelfTest<N>>,
    /// What each output was set to last; nothing where that failed.
    red: Option<u8>,
    green: Option<u8>,
    sound: Option<bool>,
}

/// A self-test that is going on.
#[derive(Debug)]
struct SelfTest<const N: usize> {
    number: u8,
    began: u64,
    faults: Faults,
    /// Whether each button was down all the while.
    held: [bool; N],
}

impl<P, R, G, B, const N: usize> Panel<P, R, G, B, N>
where
    P: InputPin,
    R: SetDutyCycle,
    G: SetDutyCycle,
    B: OutputPin,
{
    /// A panel whose device is started now. `firmware` is what the host is told.
    pub fn new(
        firmware: Version,
        buttons: [Button<P>; N],
        lamp: Lamp<R, G>,
        buzzer: B,
        now: u64,
    ) -> Self {
        Self {
            device: Device::new(firmware, now),
            buttons,
            lamp,
            buzzer,
            shown: (Signal::default().state, now),
            test: None,
            red: None,
            green: None,
            sound: None,
        }
    }

    /// Report faults that the firmware itself knows of, such as [`Faults::WATCHDOG`].
    pub fn set_faults(&mut self, faults: Faults, there: bool) {
        self.device.set_faults(faults, there);
    }

    /// Take bytes that came over the line, in pieces of any size.
    pub fn receive(&mut self, bytes: &[u8], now: u64) {
        self.device.receive(bytes, now);
    }

    /// Read the buttons, set lamp and buzzer; the frame to send now, where there is one.
    pub fn tick(&mut self, now: u64) -> Option<Frame> {
        self.read(now);
        let frame = self.device.poll(now);
        let signal = self.device.signal();
        if self.shown.0 != signal.state {
            self.shown = (signal.state, now);
        }
        let output = match self.test(now) {
            Some(output) => output,
            None => pattern::of(signal, now.saturating_sub(self.shown.1)),
        };
        self.write(output);
        frame
    }

    fn read(&mut self, now: u64) {
        let mut failed = false;
        for button in &mut self.buttons {
            match button.poll(now) {
                Ok(Some((action, at))) => self.device.push(button.input(), action, at),
                Ok(None) => {}
                Err(_) => failed = true,
            }
        }
        self.device.set_faults(Faults::INPUT, failed);
    }

    fn write(&mut self, output: Output) {
        let Self { lamp, buzzer, .. } = self;
        let red = put(&mut self.red, output.red, |duty| {
            lamp.red
                .set_duty_cycle_fraction(duty.into(), u8::MAX.into())
        });
        let green = put(&mut self.green, output.green, |duty| {
            lamp.green
                .set_duty_cycle_fraction(duty.into(), u8::MAX.into())
        });
        let sound = put(&mut self.sound, output.sound, |on| {
            buzzer.set_state(PinState::from(on))
        });
        self.device.set_faults(Faults::LAMP, !(red && green));
        self.device.set_faults(Faults::BUZZER, !sound);
    }

    /// What a self-test shows, where one is going on or is to begin.
    fn test(&mut self, now: u64) -> Option<Output> {
        let Some(number) = self.device.self_test() else {
            self.test = None;
            return None;
        };
        let down = self.buttons.each_ref().map(Button::is_down);
        let test = self.test.get_or_insert(SelfTest {
            number,
            began: now,
            faults: Faults::default(),
            held: down,
        });
        for (held, down) in test.held.iter_mut().zip(down) {
            *held &= down;
        }
        test.faults |= self.device.faults();
        let output = pattern::of_self_test(now.saturating_sub(test.began));
        if output.is_none() {
            test.faults.set(Faults::HELD, test.held.contains(&true));
            self.device.end_self_test(test.number, test.faults);
            self.test = None;
        }
        output
    }
}

/// Set an output that is not at `value`; whether it is now.
fn put<T: Copy + PartialEq, E>(
    last: &mut Option<T>,
    value: T,
    set: impl FnOnce(T) -> Result<(), E>,
) -> bool {
    if *last != Some(value) {
        *last = set(value).is_ok().then_some(value);
    }
    last.is_some()
}
