//! The firmware for Arm's MPS2 board with a Cortex-M4 (AN386), which qemu emulates as
//! `mps2-an386`. UART0 is the line to the host; the pins are virtual, see [`rig`].

#![no_std]
#![no_main]

#[allow(unsafe_code, reason = "registers are addresses")]
mod board;
mod rig;

use bedside_link::{Button, Faults, Input, Lamp, Panel, Version};
use bedside_mcu::{run, start_clock};
use cortex_m::Peripherals;
use cortex_m::peripheral::SCB;
use cortex_m_rt::entry;

use board::{FROM_HOST, LINE, RIG, Watchdog};
use rig::{Buzzer, Contact, Light, Rig, Wires};

const FIRMWARE: Version = Version {
    major: 0,
    minor: 1,
    patch: 0,
};

#[entry]
fn main() -> ! {
    let watchdog = Watchdog::start();
    let Some(mut core) = Peripherals::take() else {
        SCB::sys_reset()
    };
    start_clock(&mut core.SYST, board::HZ);
    LINE.start();
    RIG.start();

    let wires = Wires::default();
    let buttons = [
        Button::active_high(Input::Pedal, Contact(&wires, 1)),
        Button::active_high(Input::SecondPedal, Contact(&wires, 2)),
        Button::active_high(Input::Freeze, Contact(&wires, 4)),
    ];
    let lamp = Lamp {
        red: Light(&wires.red),
        green: Light(&wires.green),
    };
    let mut panel = Panel::new(FIRMWARE, buttons, lamp, Buzzer(&wires.sound), 0);
    panel.set_faults(Faults::WATCHDOG, board::was_bitten());

    let mut rig = Rig::new(&wires);
    run(
        panel,
        &FROM_HOST,
        |byte| LINE.send(byte),
        |now| {
            watchdog.feed();
            rig.tick(now);
        },
    )
}
