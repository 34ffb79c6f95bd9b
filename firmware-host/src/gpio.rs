//! Lamp, buzzer, pedals and freeze button on GPIO lines of this computer: the [`Panel`] that a
//! microcontroller runs, on a thread, at the other end of a pair of sockets.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bedside_link::{Button, Input, Lamp, Panel};
use embedded_hal::digital::{self, InputPin, OutputPin};
use embedded_hal::pwm::{self, SetDutyCycle};
use gpiocdev::Request;
use gpiocdev::line::{Bias, Value};
use gpiocdev::request::Builder;

use crate::config::Gpio;
use crate::link::version;

/// Time between two looks at the lines.
const TICK: Duration = Duration::from_millis(5);
/// Who has the lines, for `gpioinfo`.
const CONSUMER: &str = "bedsided";

/// The thread that has the lines. Dropped behind its stream, it waits until they are let go.
#[derive(Debug)]
pub(crate) struct Lines(Option<JoinHandle<()>>);

impl Drop for Lines {
    fn drop(&mut self) {
        // It ends as soon as its stream is closed.
        let _ = self.0.take().map(JoinHandle::join);
    }
}

/// Take the lines of `chip`, and be the device at the other end of what is given back, until that is
/// closed.
pub(crate) fn start(chip: &Path, config: &Gpio) -> io::Result<(UnixStream, Lines)> {
    let contact = |number| {
        let pin = take::<gpiocdev_embedded_hal::InputPin>(chip, number, |line| {
            line.as_input().with_bias(Bias::PullUp)
        })?;
        Ok::<_, io::Error>(Contact(pin))
    };
    let buttons = [
        Button::active_low(Input::Pedal, contact(config.pedal)?),
        Button::active_low(Input::SecondPedal, contact(config.second_pedal)?),
        Button::active_low(Input::Freeze, contact(config.freeze)?),
    ];
    let light = |number| {
        let pin = take::<gpiocdev_embedded_hal::OutputPin>(chip, number, |line| {
            line.as_output(Value::Inactive)
        })?;
        Ok::<_, io::Error>(Light(pin))
    };
    let lamp = Lamp {
        red: light(config.red)?,
        green: light(config.green)?,
    };
    let panel = Panel::new(version(), buttons, lamp, light(config.buzzer)?, 0);
    let (ours, theirs) = UnixStream::pair()?;
    theirs.set_read_timeout(Some(TICK))?;
    theirs.set_write_timeout(Some(TICK))?;
    ours.set_nonblocking(true)?;
    let thread = thread::Builder::new()
        .name("bedside-gpio".to_owned())
        .spawn(move || serve(panel, theirs))?;
    Ok((ours, Lines(Some(thread))))
}

/// A line of `chip`, where one is wired.
fn take<P>(
    chip: &Path,
    number: Option<u32>,
    configure: fn(&mut Builder) -> &mut Builder,
) -> io::Result<Option<P>>
where
    P: TryFrom<Request, Error = gpiocdev_embedded_hal::Error>,
{
    let Some(number) = number else {
        return Ok(None);
    };
    let mut line = Request::builder();
    line.on_chip(chip).with_consumer(CONSUMER).with_line(number);
    let taken = configure(&mut line).request();
    let pin = taken.map_err(Into::into).and_then(P::try_from);
    pin.map(Some)
        .map_err(|e| io::Error::other(format!("{}, line {number}: {e}", chip.display())))
}

/// Be the device until the line is closed.
fn serve<P, R, G, B, const N: usize>(mut panel: Panel<P, R, G, B, N>, mut line: UnixStream)
where
    P: InputPin,
    R: SetDutyCycle,
    G: SetDutyCycle,
    B: OutputPin,
{
    let began = Instant::now();
    let mut bytes = [0; 256];
    loop {
        let read = line.read(&mut bytes);
        let now = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        match read {
            Ok(0) => return,
            Ok(count) => panel.receive(bytes.get(..count).unwrap_or_default(), now),
            Err(error) if passes(&error) => {}
            Err(_) => return,
        }
        if let Some(frame) = panel.tick(now)
            && line.write_all(&frame).is_err_and(|error| !passes(&error))
        {
            return;
        }
    }
}

/// Whether an error is none: what a full line does not take is said again.
fn passes(error: &io::Error) -> bool {
    use ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// A pedal or button; one that is not wired is up, as a contact against its pull-up.
#[derive(Debug)]
struct Contact<P>(Option<P>);

impl<P: InputPin> digital::ErrorType for Contact<P> {
    type Error = P::Error;
}

impl<P: InputPin> InputPin for Contact<P> {
    fn is_high(&mut self) -> Result<bool, P::Error> {
        self.0.as_mut().map_or(Ok(true), InputPin::is_high)
    }

    fn is_low(&mut self) -> Result<bool, P::Error> {
        self.is_high().map(|high| !high)
    }
}

/// A light or the buzzer: on or off, as a line has no brightness; off once the thread ends.
#[derive(Debug)]
struct Light<P: OutputPin>(Option<P>);

impl<P: OutputPin> digital::ErrorType for Light<P> {
    type Error = P::Error;
}

impl<P: OutputPin> OutputPin for Light<P> {
    fn set_low(&mut self) -> Result<(), P::Error> {
        self.0.as_mut().map_or(Ok(()), OutputPin::set_low)
    }

    fn set_high(&mut self) -> Result<(), P::Error> {
        self.0.as_mut().map_or(Ok(()), OutputPin::set_high)
    }
}

impl<P: OutputPin> pwm::ErrorType for Light<P> {
    type Error = pwm::ErrorKind;
}

impl<P: OutputPin> SetDutyCycle for Light<P> {
    fn max_duty_cycle(&self) -> u16 {
        u8::MAX.into()
    }

    fn set_duty_cycle(&mut self, duty: u16) -> Result<(), pwm::ErrorKind> {
        self.set_state((duty > 0).into())
            .map_err(|_| pwm::ErrorKind::Other)
    }
}

impl<P: OutputPin> Drop for Light<P> {
    fn drop(&mut self) {
        // A line that can't be set stays as it is.
        let _ = self.set_low();
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use bedside_link::{Action, Event, Host, Signal, State};

    use super::*;

    /// A line whose level the test sets or looks at.
    #[derive(Debug, Clone, Default)]
    struct Wire(Arc<AtomicBool>);

    impl digital::ErrorType for Wire {
        type Error = Infallible;
    }

    impl InputPin for Wire {
        fn is_high(&mut self) -> Result<bool, Infallible> {
            Ok(self.0.load(Ordering::SeqCst))
        }

        fn is_low(&mut self) -> Result<bool, Infallible> {
            self.is_high().map(|high| !high)
        }
    }

    impl OutputPin for Wire {
        fn set_low(&mut self) -> Result<(), Infallible> {
            self.0.store(false, Ordering::SeqCst);
            Ok(())
        }

        fn set_high(&mut self) -> Result<(), Infallible> {
            self.0.store(true, Ordering::SeqCst);
            Ok(())
        }
    }

    #[test]
    fn lines_are_a_panel_that_goes_dark_when_its_host_is_gone() {
        let [pedal, red, green] = [(); 3].map(|()| Wire::default());
        pedal.0.store(true, Ordering::SeqCst);
        let buttons = [
            Button::active_low(Input::Pedal, Contact(Some(pedal.clone()))),
            Button::active_low(Input::Freeze, Contact(None)),
        ];
        let lamp = Lamp {
            red: Light(Some(red.clone())),
            green: Light(Some(green.clone())),
        };
        let panel = Panel::new(version(), buttons, lamp, Light(None::<Wire>), 0);
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_read_timeout(Some(TICK)).unwrap();
        ours.set_read_timeout(Some(TICK)).unwrap();
        let lines = Lines(Some(thread::spawn(move || serve(panel, theirs))));

        let began = Instant::now();
        let mut host = Host::new(version(), 7);
        host.show(Signal {
            state: State::Active,
            brightness: 1,
            sound: true,
        });
        let mut events = Vec::new();
        let mut until = |holds: &dyn Fn(&[Event]) -> bool| {
            let mut bytes = [0; 256];
            while !holds(&events) {
                let now = u64::try_from(began.elapsed().as_millis()).unwrap();
                while let Some(frame) = host.poll(now, |event| events.push(event)) {
                    ours.write_all(&frame).unwrap();
                }
                let count = ours.read(&mut bytes).unwrap_or(0);
                host.receive(&bytes[..count], now, |event| events.push(event));
                assert!(began.elapsed() < Duration::from_secs(60), "{events:?}");
            }
        };
        // Faintly is lit: a line knows no more.
        until(&|_| green.0.load(Ordering::SeqCst) && !red.0.load(Ordering::SeqCst));
        pedal.0.store(false, Ordering::SeqCst);
        until(&|events| {
            let pressed = |event: &Event| {
                matches!(
                    event,
                    Event::Input {
                        input: Input::Pedal,
                        action: Action::Press,
                        ..
                    }
                )
            };
            events.iter().any(pressed)
        });
        assert!(green.0.load(Ordering::SeqCst));
        drop(ours);
        drop(lines);
        assert!(!green.0.load(Ordering::SeqCst) && !red.0.load(Ordering::SeqCst));
    }
}
