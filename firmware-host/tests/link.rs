//! Lamp and pedals, with the protocol's other end on a pseudo-terminal.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Instant;

use bedside_link::{Action, Device, Input, State, Version};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

use crate::cart::Cart;

/// A microcontroller.
struct Panel {
    line: File,
    device: Device,
    began: Instant,
}

impl Panel {
    /// A device on a pseudo-terminal that `port` names.
    fn plug_in(port: &Path) -> Self {
        let line = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&line).unwrap();
        unlockpt(&line).unwrap();
        let name = ptsname(&line, Vec::new()).unwrap();
        fcntl_setfl(&line, fcntl_getfl(&line).unwrap() | OFlags::NONBLOCK).unwrap();
        let _ = fs::remove_file(port);
        symlink(name.to_str().unwrap(), port).unwrap();
        let version = Version {
            major: 2,
            minor: 3,
            patch: 4,
        };
        Self {
            line: line.into(),
            device: Device::new(version, 0),
            began: Instant::now(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    /// Take what has come, and send what there is to send.
    fn go_on(&mut self) {
        let mut bytes = [0; 256];
        let now = self.now();
        // Nothing has come, or nobody has opened the other end.
        while let Ok(count @ 1..) = self.line.read(&mut bytes) {
            self.device.receive(&bytes[..count], now);
        }
        while let Some(frame) = self.device.poll(now) {
            let _ = self.line.write_all(&frame);
        }
    }

    /// Go on until something holds.
    fn until(&mut self, cart: &mut Cart, what: &str, holds: impl Fn(&Cart, &Device) -> bool) {
        let panel = std::cell::RefCell::new(self);
        cart.until(what, |cart| {
            let mut panel = panel.borrow_mut();
            panel.go_on();
            holds(cart, &panel.device)
        });
    }

    fn push(&mut self, input: Input, action: Action) {
        let now = self.now();
        self.device.push(input, action, now);
    }
}

pub(crate) fn prompt(cart: &Cart) -> Value {
    cart.ask("prompts")["prompts"][0]["text"].clone()
}

/// A daemon with its microcontroller, which shows that it runs.
fn linked() -> (Cart, Panel, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("port");
    let mut panel = Panel::plug_in(&port);
    let mut cart = Cart::start(&format!("[link]\nport = \"{}\"\n", port.display()));
    panel.until(&mut cart, "a lamp that tells of answers", |_, device| {
        matches!(device.signal().state, State::Active | State::Degraded)
    });
    (cart, panel, folder)
}

#[test]
fn the_pedal_changes_prompts_and_the_button_freezes_and_keeps() {
    let (mut cart, mut panel, _folder) = linked();
    let line = cart.ask("status")["link"].clone();
    assert_eq!(
        (&line["state"], &line["firmware"]),
        (&"linked".into(), &"2.3.4".into())
    );

    panel.push(Input::Pedal, Action::Press);
    panel.until(&mut cart, "the next prompts", |cart, _| {
        prompt(cart) == "tumor"
    });
    panel.push(Input::SecondPedal, Action::Press);
    panel.until(&mut cart, "those before", |cart, _| prompt(cart) == "polyp");

    panel.push(Input::Freeze, Action::Press);
    panel.push(Input::Freeze, Action::LongPress);
    panel.push(Input::Freeze, Action::Release);
    panel.until(
        &mut cart,
        "a frozen picture, and a lamp that says so",
        |cart, device| cart.frame()["reason"] == "frozen" && device.signal().state == State::Paused,
    );
    panel.until(&mut cart, "a snapshot", |cart, _| {
        let kept = fs::read_dir(cart.path("snapshots")).map(Iterator::count);
        kept.is_ok_and(|files| files == 2)
    });
    panel.push(Input::Freeze, Action::Press);
    panel.push(Input::Freeze, Action::Release);
    panel.until(&mut cart, "live video", |cart, device| {
        cart.frame()["reason"] != "frozen" && device.signal().state != State::Paused
    });
}

#[test]
fn a_daemon_that_is_gone_shows_as_a_fault_within_half_a_second() {
    let (mut cart, mut panel, _folder) = linked();
    cart.signal("-KILL");
    cart.ended();
    // What it said last.
    panel.go_on();
    let said = panel.now();
    assert!(matches!(
        panel.device.signal().state,
        State::Active | State::Degraded
    ));
    panel.device.poll(said + 500);
    assert_eq!(panel.device.signal().state, State::Fault);
}

#[test]
fn a_line_that_is_gone_is_told_and_comes_back() {
    let (mut cart, panel, folder) = linked();
    let port = folder.path().join("port");
    drop(panel);
    let state = |cart: &Cart| cart.ask("status")["link"]["state"].clone();
    cart.until("no port", |cart| state(cart) == "absent");
    // Told on a thread of its own.
    cart.until("a note", |cart| cart.said().contains("note: link absent: "));
    let mut panel = Panel::plug_in(&port);
    panel.until(&mut cart, "the line again", |cart, _| {
        state(cart) == "linked"
    });
    // A device that falls silent is told, too.
    cart.until("silence", |cart| state(cart) == "waiting");
    panel.until(&mut cart, "the device again", |cart, _| {
        state(cart) == "linked"
    });
}

#[test]
fn lines_that_can_not_be_had_are_told() {
    let mut cart = Cart::start("[gpio]\nchip = \"/dev/none\"\npedal = 17\n");
    let said = "note: link absent: /dev/none, line 17: ";
    cart.until("a note", |cart| cart.said().contains(said));
    assert!(
        cart.said()
            .contains("hint: see that nobody else has these lines")
    );
    // Video goes on without a lamp.
    cart.until("answers", |cart| cart.frame()["masks"][0].is_object());
}
