//! The firmware for an STM32F411 with a crystal of 25 MHz, as on a Black Pill. Pins are in the
//! README.

#![no_std]
#![no_main]

use core::cell::RefCell;

use bedside_link::{Button, Faults, Input, Lamp, Panel, Version};
use bedside_mcu::{Inbox, run, start_clock, unmask};
use cortex_m::peripheral::SCB;
use cortex_m_rt::entry;
use critical_section::Mutex;
use stm32f4xx_hal::pac::{self, CorePeripherals, Peripherals, USART1, interrupt};
use stm32f4xx_hal::prelude::*;
use stm32f4xx_hal::rcc::Config;
use stm32f4xx_hal::serial::{Rx, Serial};
use stm32f4xx_hal::watchdog::IndependentWatchdog;

const FIRMWARE: Version = Version {
    major: 0,
    minor: 1,
    patch: 0,
};

static FROM_HOST: Inbox = Inbox::new();
static RECEIVER: Mutex<RefCell<Option<Rx<USART1>>>> = Mutex::new(RefCell::new(None));

#[interrupt]
fn USART1() {
    critical_section::with(|cs| {
        // A byte that came damaged is left out, as if the line had lost it.
        if let Some(receiver) = RECEIVER.borrow_ref_mut(cs).as_mut()
            && let Ok(byte) = receiver.read()
        {
            FROM_HOST.push(byte);
        }
    });
}

#[entry]
fn main() -> ! {
    let (Some(mut core), Some(chip)) = (CorePeripherals::take(), Peripherals::take()) else {
        SCB::sys_reset()
    };
    let mut watchdog = IndependentWatchdog::new(chip.IWDG);
    watchdog.start(1.secs());
    let bitten = chip.RCC.csr().read().wdgrstf().bit_is_set();
    chip.RCC.csr().modify(|_, csr| csr.rmvf().set_bit());

    let mut rcc = chip.RCC.freeze(Config::hse(25.MHz()).sysclk(48.MHz()));
    start_clock(&mut core.SYST, rcc.clocks.hclk().raw());
    let (a, b) = (chip.GPIOA.split(&mut rcc), chip.GPIOB.split(&mut rcc));

    let Ok(serial) = Serial::new(chip.USART1, (a.pa9, a.pa10), 115_200.bps(), &mut rcc) else {
        SCB::sys_reset()
    };
    let (mut sender, mut receiver) = serial.split();
    receiver.listen();
    critical_section::with(|cs| RECEIVER.borrow(cs).replace(Some(receiver)));
    unmask(pac::Interrupt::USART1);

    let buttons = [
        Button::active_low(Input::Pedal, b.pb12.into_pull_up_input().erase()),
        Button::active_low(Input::SecondPedal, b.pb13.into_pull_up_input().erase()),
        Button::active_low(Input::Freeze, b.pb14.into_pull_up_input().erase()),
    ];
    let (_, (red, green, ..)) = chip.TIM3.pwm_us(1.millis(), &mut rcc);
    let (mut red, mut green) = (red.with(a.pa6), green.with(a.pa7));
    red.enable();
    green.enable();
    let buzzer = b.pb0.into_push_pull_output();

    let mut panel = Panel::new(FIRMWARE, buttons, Lamp { red, green }, buzzer, 0);
    panel.set_faults(Faults::WATCHDOG, bitten);
    run(
        panel,
        &FROM_HOST,
        |byte| sender.write(byte).is_ok(),
        |_| watchdog.feed(),
    )
}
