//! Registers of the MPS2 board as of AN386: the one place with unsafe code.

use core::sync::atomic::{AtomicU32, Ordering};

use bedside_mcu::{Inbox, unmask};
use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::SCB;
use cortex_m_rt::exception;

/// The processor's clock, and that of all else here.
pub(crate) const HZ: u32 = 25_000_000;
const BAUD: u32 = 115_200;
/// Without a sign of life for so long, the watchdog restarts the device.
const WATCHDOG_SECONDS: u32 = 1;

/// A register of the machine, by its address.
#[derive(Clone, Copy)]
struct Register(usize);

impl Register {
    fn read(self) -> u32 {
        // SAFETY: this module alone makes registers, at aligned addresses where the machine has
        // them. Reading one touches no memory of the program.
        unsafe { (self.0 as *const u32).read_volatile() }
    }

    fn write(self, value: u32) {
        // SAFETY: as above; and none of them starts anything that writes memory.
        unsafe { (self.0 as *mut u32).write_volatile(value) }
    }
}

/// A UART of Arm's CMSDK (DDI 0479D, section 4.3), which holds one byte in each direction.
#[derive(Clone, Copy)]
pub(crate) struct Uart {
    base: usize,
    /// The number of its interrupt on receiving.
    interrupt: u16,
}

/// The line to the host.
pub(crate) const LINE: Uart = Uart {
    base: 0x4000_4000,
    interrupt: 0,
};
/// The test rig.
pub(crate) const RIG: Uart = Uart {
    base: 0x4000_5000,
    interrupt: 2,
};

/// What came over the line.
pub(crate) static FROM_HOST: Inbox = Inbox::new();
/// What came from the test rig.
pub(crate) static FROM_RIG: Inbox = Inbox::new();

impl Uart {
    const SENDS: u32 = 1;
    const RECEIVES: u32 = 2;

    fn data(self) -> Register {
        Register(self.base)
    }

    fn state(self) -> Register {
        Register(self.base + 0x4)
    }

    /// Send and receive from now on.
    pub(crate) fn start(self) {
        let control = Register(self.base + 0x8);
        let divider = Register(self.base + 0x10);
        divider.write(HZ / BAUD);
        let receive_interrupt = 8;
        control.write(Self::SENDS | Self::RECEIVES | receive_interrupt);
        unmask(self);
    }

    /// Send a byte if there is room for it.
    pub(crate) fn send(self, byte: u8) -> bool {
        let room = self.state().read() & Self::SENDS == 0;
        if room {
            self.data().write(byte.into());
        }
        room
    }

    /// Move what came to `inbox`.
    fn receive(self, inbox: &Inbox) {
        let clear = Register(self.base + 0xc);
        clear.write(Self::RECEIVES);
        while self.state().read() & Self::RECEIVES != 0 {
            inbox.push(self.data().read().to_le_bytes()[0]);
        }
    }
}

// SAFETY: the number is that of an interrupt of the machine, and stays the same.
unsafe impl InterruptNumber for Uart {
    fn number(self) -> u16 {
        self.interrupt
    }
}

#[exception]
unsafe fn DefaultHandler(interrupt: i16) {
    for (uart, inbox) in [(LINE, &FROM_HOST), (RIG, &FROM_RIG)] {
        if i32::from(interrupt) == i32::from(uart.interrupt) {
            uart.receive(inbox);
        }
    }
}

/// Light the board's two LEDs.
pub(crate) fn light(red: bool, green: bool) {
    let leds = Register(0x4002_8000);
    leds.write(u32::from(red) | u32::from(green) << 1);
}

/// The watchdog of Arm's CMSDK (DDI 0479D, section 4.5).
pub(crate) struct Watchdog(());

impl Watchdog {
    /// Start it. It ends with a non-maskable interrupt and, should that not help, with a reset.
    pub(crate) fn start() -> Self {
        Register(0x4000_8000).write(WATCHDOG_SECONDS * HZ);
        let (interrupt, reset) = (1, 2);
        Register(0x4000_8008).write(interrupt | reset);
        Self(())
    }

    /// Begin anew.
    pub(crate) fn feed(&self) {
        Register(0x4000_800c).write(1);
    }
}

/// Memory that a restart leaves as it is, to tell what it was for: the board has no register that
/// qemu emulates. After power-on there is anything in it.
#[unsafe(link_section = ".uninit.bitten")]
static BITTEN: AtomicU32 = AtomicU32::new(0);
const YES: u32 = 0xb17_b17e5;

#[exception]
unsafe fn NonMaskableInt() {
    BITTEN.store(YES, Ordering::SeqCst);
    SCB::sys_reset()
}

/// Whether the watchdog caused this start. Says so once.
pub(crate) fn was_bitten() -> bool {
    BITTEN.swap(0, Ordering::SeqCst) == YES
}
