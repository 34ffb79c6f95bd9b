//! The daemon with the microcontroller's own firmware, in an emulator, at the other end of its line.

use std::cell::RefCell;
use std::env;

use crate::cart::Cart;
use crate::link::prompt;
use crate::qemu::{Qemu, Report};

const PEDAL: u8 = 1;
const BRIGHTNESS: u16 = 100;
/// Red at full brightness, whatever the host asked for.
const FAULT: (u16, u16) = (255, 0);
/// As the protocol has it, whatever the library says: the silence that shows as a fault.
const SILENCE_MS: u64 = 500;
/// Where the machine is busy, the device's loop comes round late, and a last heartbeat is on its way.
const LATE_MS: u64 = 55;

/// The device, and what its rig has told.
struct Panel {
    qemu: Qemu,
    film: Vec<Report>,
}

impl Panel {
    /// Go on until something holds of the daemon and of what the rig has told.
    fn until(&mut self, cart: &mut Cart, what: &str, holds: impl Fn(&Cart, &[Report]) -> bool) {
        let panel = RefCell::new(self);
        cart.until(what, |cart| {
            let mut panel = panel.borrow_mut();
            let Panel { qemu, film } = &mut **panel;
            film.extend(qemu.reports());
            holds(cart, film)
        });
    }

    fn until_answers_show(&mut self, cart: &mut Cart) {
        self.until(cart, "a lamp that tells of answers", |cart, film| {
            let state = &cart.frame()["state"];
            let lit = film
                .last()
                .is_some_and(|report| report.light.1 == BRIGHTNESS);
            lit && (state == "active" || state == "degraded")
        });
    }

    /// The device's time when this is called, or a little later.
    fn now(&mut self, cart: &mut Cart) -> u64 {
        let mark = self.qemu.pass(0).unwrap();
        self.until(cart, "a report", |_, film| {
            film.iter().any(|report| report.down == mark)
        });
        self.film
            .iter()
            .find(|report| report.down == mark)
            .unwrap()
            .at
    }
}

#[test]
fn the_firmware_serves_the_daemon_and_shows_when_it_is_gone() {
    let Ok(firmware) = env::var("BEDSIDE_FIRMWARE") else {
        eprintln!("skipped: BEDSIDE_FIRMWARE names no firmware; hint: run .ci/firmware");
        return;
    };
    let qemu = Qemu::start(&firmware).unwrap();
    let port = format!(
        "[link]\nport = \"{}\"\nbrightness = {BRIGHTNESS}\n",
        qemu.port()
    );
    let mut panel = Panel {
        qemu,
        film: Vec::new(),
    };
    let mut cart = Cart::start(&port);
    panel.until_answers_show(&mut cart);
    assert_eq!(cart.ask("status")["link"]["state"], "linked");

    panel.qemu.play(&[(PEDAL, 100), (0, 100)]).unwrap();
    panel.until(&mut cart, "the next prompts", |cart, _| {
        prompt(cart) == "tumor"
    });

    // The firmware's watchdog restarts it, and the daemon goes on with it.
    panel.qemu.panic().unwrap();
    panel.until(&mut cart, "a lamp that starts anew", |_, film| {
        film.windows(2).any(|pair| pair[1].at < pair[0].at)
    });
    panel.until_answers_show(&mut cart);

    // A test waits in the company of a daemon: here of one that has no device.
    let mut other = Cart::start("");
    panel.film.clear();
    cart.signal("-KILL");
    cart.ended();
    let gone = panel.now(&mut other);
    panel.until(&mut other, "a fault", |_, film| {
        film.iter().any(|report| report.light == FAULT)
    });
    let fault = panel
        .film
        .iter()
        .find(|report| report.light == FAULT)
        .unwrap()
        .at;
    assert!(
        fault <= gone + SILENCE_MS + LATE_MS,
        "gone at {gone} ms, fault at {fault}"
    );

    let mut again = Cart::start(&port);
    panel.until_answers_show(&mut again);
    assert_eq!(prompt(&again), "polyp");
}
