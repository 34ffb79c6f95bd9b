//! Pins: what is read of buttons, what lamp and buzzer do.

use std::cell::Cell;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::rc::Rc;

use bedside_link::{
    Action, Button, Decoder, Event, Faults, Host, Input, Lamp, Packet, Panel, Signal, State,
};
use embedded_hal::digital::{self, InputPin, OutputPin};
use embedded_hal::pwm::{self, SetDutyCycle};
use embedded_hal_mock::eh1::MockError;
use embedded_hal_mock::eh1::digital::{Mock as Pin, State as Level, Transaction as Got};
use embedded_hal_mock::eh1::pwm::{Mock as Pwm, Transaction as Duty};

use crate::rig::{FIRMWARE, HOST};

/// A pin or PWM channel that a test holds the other side of.
#[derive(Clone, Default)]
struct Wire<T>(Rc<Cell<T>>);

impl<T> digital::ErrorType for Wire<T> {
    type Error = Infallible;
}

impl<T> pwm::ErrorType for Wire<T> {
    type Error = Infallible;
}

impl InputPin for Wire<bool> {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.0.get())
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        Ok(!self.0.get())
    }
}

impl OutputPin for Wire<bool> {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.set(false);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.set(true);
        Ok(())
    }
}

impl SetDutyCycle for Wire<u16> {
    fn max_duty_cycle(&self) -> u16 {
        1000
    }

    fn set_duty_cycle(&mut self, duty: u16) -> Result<(), Infallible> {
        self.0.set(duty);
        Ok(())
    }
}

type Pins = Panel<Wire<bool>, Wire<u16>, Wire<u16>, Wire<bool>, 2>;

/// A panel with a host, in steps of a millisecond.
struct Cart {
    host: Host,
    panel: Pins,
    /// High while it is up.
    pedal: Wire<bool>,
    /// High while it is down.
    freeze: Wire<bool>,
    red: Wire<u16>,
    green: Wire<u16>,
    buzzer: Wire<bool>,
    now: u64,
    /// Whether the host is heard.
    connected: bool,
    events: Vec<Event>,
}

impl Cart {
    fn new() -> Self {
        let (pedal, freeze) = (Wire::default(), Wire::default());
        pedal.0.set(true);
        let (red, green, buzzer) = (Wire::default(), Wire::default(), Wire::default());
        let buttons = [
            Button::active_low(Input::Pedal, Wire::clone(&pedal)),
            Button::active_high(Input::Freeze, Wire::clone(&freeze)),
        ];
        let lamp = Lamp {
            red: Wire::clone(&red),
            green: Wire::clone(&green),
        };
        Self {
            host: Host::new(HOST, 7),
            panel: Panel::new(FIRMWARE, buttons, lamp, Wire::clone(&buzzer), 0),
            pedal,
            freeze,
            red,
            green,
            buzzer,
            now: 0,
            connected: true,
            events: Vec::new(),
        }
    }

    /// A cart whose session shows `signal` since this moment.
    fn showing(signal: Signal) -> Self {
        let mut cart = Self::new();
        cart.run(30);
        cart.host.show(signal);
        cart.run(1);
        cart.events.clear();
        cart
    }

    fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.now += 1;
            if let Some(frame) = self.host.poll(self.now, |event| self.events.push(event))
                && self.connected
            {
                self.panel.receive(&frame, self.now);
            }
            if let Some(frame) = self.panel.tick(self.now) {
                self.host
                    .receive(&frame, self.now, |event| self.events.push(event));
            }
        }
    }

    fn told(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn outputs(&self) -> (u16, u16, bool) {
        (self.red.0.get(), self.green.0.get(), self.buzzer.0.get())
    }

    /// The outputs from now on, one for each of so many milliseconds.
    fn film(&mut self, millis: u64) -> Vec<(u16, u16, bool)> {
        let film = (0..millis).map(|_| {
            let outputs = self.outputs();
            self.run(1);
            outputs
        });
        film.collect()
    }
}

fn signal(state: State) -> Signal {
    Signal {
        state,
        brightness: 255,
        sound: true,
    }
}

fn input(input: Input, action: Action, age_ms: u16) -> Event {
    Event::Input {
        input,
        action,
        age_ms,
    }
}

#[test]
fn a_press_is_told_when_its_contact_has_settled() {
    let mut cart = Cart::showing(signal(State::Active));
    // It bounces: 3 ms down, 2 ms up, 19 ms down, 1 ms up, and down.
    for (high, millis) in [(false, 3), (true, 2), (false, 19), (true, 1), (false, 20)] {
        cart.pedal.0.set(high);
        cart.run(millis);
        assert_eq!(cart.told(), [], "{high} {millis}");
    }
    cart.run(1);
    assert_eq!(cart.told(), [input(Input::Pedal, Action::Press, 20)]);
    cart.run(300);
    cart.pedal.0.set(true);
    cart.run(20);
    assert_eq!(cart.told(), []);
    cart.run(1);
    assert_eq!(cart.told(), [input(Input::Pedal, Action::Release, 20)]);
    cart.run(2000);
    assert_eq!(cart.told(), []);
}

#[test]
fn what_is_held_is_a_press_a_long_press_and_a_release() {
    let mut cart = Cart::showing(signal(State::Active));
    cart.freeze.0.set(true);
    cart.run(800);
    assert_eq!(cart.told(), [input(Input::Freeze, Action::Press, 20)]);
    cart.run(1);
    assert_eq!(cart.told(), [input(Input::Freeze, Action::LongPress, 0)]);
    cart.run(5000);
    cart.freeze.0.set(false);
    cart.run(21);
    assert_eq!(cart.told(), [input(Input::Freeze, Action::Release, 20)]);

    // Let go 10 ms before, it is none, though the contact has not settled.
    cart.freeze.0.set(true);
    cart.run(790);
    cart.freeze.0.set(false);
    cart.run(100);
    assert_eq!(
        cart.told(),
        [Action::Press, Action::Release].map(|action| input(Input::Freeze, action, 20))
    );
}

#[test]
fn what_is_down_from_the_start_was_not_pressed() {
    let mut cart = Cart::new();
    cart.pedal.0.set(false);
    cart.run(2000);
    let linked = Event::Linked {
        protocol: 1,
        firmware: FIRMWARE,
    };
    assert_eq!(cart.told(), [linked]);
    cart.pedal.0.set(true);
    cart.run(21);
    assert_eq!(cart.told(), [input(Input::Pedal, Action::Release, 20)]);
}

/// The table of `docs/spec/link.md`: what is lit, for how long of what time, and how many beeps.
const STATES: [(State, bool, bool, usize, usize, usize); 6] = [
    (State::Starting, false, true, 500, 1000, 0),
    (State::Active, false, true, 1000, 1000, 0),
    (State::Degraded, true, true, 1800, 2000, 0),
    (State::Paused, true, true, 200, 2000, 0),
    (State::Stalled, true, false, 500, 1000, 2),
    (State::Fault, true, false, 125, 250, 3),
];

#[test]
fn each_state_has_its_colour_rhythm_and_beeps() {
    for (state, red, green, lit, every, beeps) in STATES {
        // From another state, so that its pattern begins with it.
        let mut cart = Cart::showing(signal(State::Paused));
        if state != State::Paused {
            cart.run(777);
            cart.host.show(signal(state));
            cart.run(1);
        }
        let film = cart.film(20_000);
        for (at, outputs) in film.into_iter().enumerate() {
            let light = |on| if on && at % every < lit { 1000 } else { 0 };
            let sound = at % 10_000 / 100 % 2 == 0 && at % 10_000 / 200 < beeps;
            assert_eq!(outputs, (light(red), light(green), sound), "{state:?} {at}");
        }
    }
}

#[test]
fn brightness_dims_the_lamp_but_no_state_is_dark_and_a_fault_is_bright() {
    for (state, brightness, duty) in [
        (State::Active, 255, 1000),
        (State::Active, 51, 200),
        (State::Active, 0, 3),
        (State::Stalled, 51, 200),
        (State::Fault, 51, 1000),
    ] {
        let dimmed = Signal {
            brightness,
            ..signal(state)
        };
        let cart = Cart::showing(dimmed);
        let (red, green, _) = cart.outputs();
        assert_eq!(red.max(green), duty, "{state:?} {brightness}");
    }
}

#[test]
fn without_sound_the_buzzer_is_still() {
    let silent = Signal {
        sound: false,
        ..signal(State::Fault)
    };
    let mut cart = Cart::showing(silent);
    assert!(cart.film(20_000).iter().all(|(_, _, sound)| !sound));
}

#[test]
fn a_lost_host_shows_as_a_fault_within_500_ms_and_ends_with_it() {
    let mut cart = Cart::showing(signal(State::Active));
    cart.run(100);
    cart.connected = false;
    let film = cart.film(2000);
    let fault = film.iter().position(|outputs| outputs.0 > 0).unwrap();
    assert!((450..=500).contains(&fault), "{fault}");
    assert_eq!(film[fault], (1000, 0, true));
    cart.connected = true;
    cart.run(110);
    assert_eq!(cart.outputs(), (0, 1000, false));
}

#[test]
fn a_panel_that_never_heard_of_a_host_shows_that_silently() {
    let mut cart = Cart::new();
    cart.connected = false;
    let film = cart.film(3000);
    assert_eq!(film[100], (0, 1000, false));
    assert_eq!(film[510], (1000, 0, false));
    assert!(film.iter().all(|(_, _, sound)| !sound));
}

#[test]
fn a_self_test_shows_each_light_sounds_and_finds_what_is_stuck() {
    let mut cart = Cart::showing(Signal {
        sound: false,
        ..signal(State::Active)
    });
    cart.host.self_test();
    cart.run(1);
    let film = cart.film(1000);
    for (at, outputs) in film.into_iter().enumerate() {
        let expected = match at {
            0..400 => (1000, 0, false),
            400..800 => (0, 1000, false),
            _ => (0, 0, true),
        };
        assert_eq!(outputs, expected, "{at}");
    }
    assert_eq!(cart.outputs(), (0, 1000, false));
    cart.run(1);
    assert_eq!(cart.told(), [Event::SelfTest(Faults::default())]);

    // Held all the while, and held for a part of it.
    cart.pedal.0.set(false);
    cart.run(100);
    cart.told();
    cart.host.self_test();
    cart.run(500);
    cart.freeze.0.set(true);
    cart.run(510);
    let result = Event::SelfTest(Faults::HELD);
    assert_eq!(cart.told().last(), Some(&result));
    cart.pedal.0.set(true);
    cart.host.self_test();
    cart.run(1010);
    // The button is still down, the pedal was until after the test began.
    assert_eq!(cart.told().last(), Some(&result));
    cart.freeze.0.set(false);
    cart.run(100);
    cart.host.self_test();
    cart.run(1010);
    let sound = Event::SelfTest(Faults::default());
    assert_eq!(cart.told().last(), Some(&sound));
}

#[test]
fn a_self_test_ends_with_the_line() {
    let mut cart = Cart::showing(signal(State::Active));
    // Asked for with the last that is heard.
    cart.host.self_test();
    cart.run(1);
    cart.connected = false;
    cart.run(495);
    assert_eq!(cart.outputs(), (0, 1000, false), "green of the test");
    cart.run(10);
    assert_eq!(cart.outputs().0, 1000, "the fault");
}

#[test]
fn faults_of_the_firmware_are_told() {
    let mut cart = Cart::new();
    cart.panel.set_faults(Faults::WATCHDOG, true);
    cart.run(10);
    assert_eq!(cart.told().last(), Some(&Event::Faults(Faults::WATCHDOG)));
}

/// What a panel of one button reports, tick by tick of 5 ms, once a host has opened a session.
fn reports<const N: usize>(
    ticks: u64,
    panel: &mut Panel<Pin, Pwm, Pwm, Pin, N>,
) -> (Vec<(Input, Action)>, Faults) {
    let mut host = Host::new(HOST, 7);
    let mut inputs = Vec::new();
    let mut faults = Faults::default();
    let mut decoder = Decoder::default();
    for now in (0..ticks).map(|tick| tick * 5) {
        if let Some(frame) = host.poll(now, |_| ()) {
            panel.receive(&frame, now);
        }
        let frame = panel.tick(now).unwrap_or_default();
        host.receive(&frame, now, |event| {
            if let Event::Input { input, action, .. } = event {
                inputs.push((input, action));
            }
        });
        for packet in frame.iter().filter_map(|byte| decoder.push(*byte)) {
            if let Packet::Device(beat) = packet {
                faults = beat.body.faults;
            }
        }
    }
    (inputs, faults)
}

fn level(high: bool) -> Got {
    Got::get(if high { Level::High } else { Level::Low })
}

#[test]
fn pins_are_read_once_a_tick_and_set_when_something_changes() {
    // Up for ten ticks, bouncing, down for 25, up.
    let levels = [vec![true; 10], vec![false, true, false, false, true]].concat();
    let levels = [levels, vec![false; 25], vec![true; 10]].concat();
    let mut pedal = Pin::new(&levels.iter().map(|high| level(*high)).collect::<Vec<_>>());
    // Green, 500 ms of each second, of 4 steps.
    let set = |duty| [Duty::max_duty_cycle(4), Duty::set_duty_cycle(duty)];
    let mut red = Pwm::new(&set(0));
    let mut green = Pwm::new(&set(4));
    let mut buzzer = Pin::new(&[Got::set(Level::Low)]);
    let lamp = Lamp {
        red: red.clone(),
        green: green.clone(),
    };
    let buttons = [Button::active_low(Input::Pedal, pedal.clone())];
    let mut panel = Panel::new(FIRMWARE, buttons, lamp, buzzer.clone(), 0);
    let (inputs, faults) = reports(levels.len() as u64, &mut panel);
    assert_eq!(
        inputs,
        [Action::Press, Action::Release].map(|action| (Input::Pedal, action))
    );
    assert!(faults.is_empty());
    for pin in [&mut pedal, &mut buzzer] {
        pin.done();
    }
    for channel in [&mut red, &mut green] {
        channel.done();
    }
}

#[test]
fn a_pin_that_fails_is_a_fault_until_it_works_again() {
    let error = || MockError::Io(ErrorKind::NotConnected);
    for good in [0, 10] {
        let ticks = 10 + good;
        // The button can't be read in the first ten ticks, nor can an output be set in them.
        let reads = (0..ticks).map(|tick| match tick < 10 {
            true => level(true).with_error(error()),
            false => level(true),
        });
        let sets = |duty| {
            let tries = (0..ticks.min(11)).flat_map(move |tick| {
                let set = Duty::set_duty_cycle(duty);
                let set = if tick < 10 {
                    set.with_error(error())
                } else {
                    set
                };
                [Duty::max_duty_cycle(255), set]
            });
            tries.collect::<Vec<_>>()
        };
        let buzzes = (0..ticks.min(11)).map(|tick| match tick < 10 {
            true => Got::set(Level::Low).with_error(error()),
            false => Got::set(Level::Low),
        });
        let mut pedal = Pin::new(&reads.collect::<Vec<_>>());
        let mut buzzer = Pin::new(&buzzes.collect::<Vec<_>>());
        let (mut red, mut green) = (Pwm::new(&sets(0)), Pwm::new(&sets(255)));
        let lamp = Lamp {
            red: red.clone(),
            green: green.clone(),
        };
        let buttons = [Button::active_low(Input::Pedal, pedal.clone())];
        let mut panel = Panel::new(FIRMWARE, buttons, lamp, buzzer.clone(), 0);
        let (inputs, faults) = reports(ticks, &mut panel);
        assert_eq!(inputs, []);
        let expected = match good {
            0 => Faults::INPUT | Faults::LAMP | Faults::BUZZER,
            _ => Faults::default(),
        };
        assert_eq!(faults, expected);
        for pin in [&mut pedal, &mut buzzer] {
            pin.done();
        }
        for channel in [&mut red, &mut green] {
            channel.done();
        }
    }
}
