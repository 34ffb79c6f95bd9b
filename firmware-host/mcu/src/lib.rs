//! What every board's firmware has in common: a clock, bytes received in interrupts, and the loop
//! around [`Panel`]. A board adds its pins, its UART and its watchdog.
//!
//! A panic halts: interrupts go on, the loop does not, and the watchdog restarts the device.

#![no_std]

use core::cell::{Cell, RefCell};

use bedside_link::{MAX_FRAME, Panel};
use cortex_m::asm;
use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{NVIC, SYST};
use cortex_m_rt::exception;
use critical_section::Mutex;
use embedded_hal::digital::{InputPin, OutputPin};
use embedded_hal::pwm::SetDutyCycle;
use heapless::Deque;
use panic_halt as _;

/// Bytes that an [`Inbox`] holds: what comes in 22 ms at 115,200 baud.
const INBOX: usize = 256;

/// Milliseconds since the start. 32 bits would be back at zero after seven weeks, and the device
/// silent for as long.
static NOW: Mutex<Cell<u64>> = Mutex::new(Cell::new(0));

/// Start the clock. `core_hz` is the processor's clock, below 2^24 kHz.
pub fn start_clock(syst: &mut SYST, core_hz: u32) {
    syst.set_clock_source(SystClkSource::Core);
    syst.set_reload(core_hz / 1000 - 1);
    syst.clear_current();
    syst.enable_counter();
    syst.enable_interrupt();
}

#[exception]
fn SysTick() {
    critical_section::with(|cs| {
        let now = NOW.borrow(cs);
        now.set(now.get().wrapping_add(1));
    });
}

/// Let an interrupt come.
#[expect(unsafe_code, reason = "the hardware's traits ask for it")]
pub fn unmask(interrupt: impl InterruptNumber) {
    // SAFETY: what is shared with interrupts is in critical sections, which hold back all of them;
    // nothing relies on a single one being masked.
    unsafe { NVIC::unmask(interrupt) }
}

fn now() -> u64 {
    critical_section::with(|cs| NOW.borrow(cs).get())
}

/// Bytes on their way from an interrupt to the loop.
#[derive(Debug)]
pub struct Inbox(Mutex<RefCell<Deque<u8, INBOX>>>);

impl Inbox {
    /// An empty one.
    #[expect(
        clippy::new_without_default,
        reason = "a static is made by it, which can't be by `Default`"
    )]
    pub const fn new() -> Self {
        Self(Mutex::new(RefCell::new(Deque::new())))
    }

    /// Add a byte. Where there is no room it is lost, as on a bad line.
    pub fn push(&self, byte: u8) {
        critical_section::with(|cs| {
            // Full is no error: see above.
            let _ = self.0.borrow_ref_mut(cs).push_back(byte);
        });
    }

    /// Take the oldest byte.
    pub fn pop(&self) -> Option<u8> {
        critical_section::with(|cs| self.0.borrow_ref_mut(cs).pop_front())
    }
}

/// Be the device, for ever.
///
/// `inbox` has what came over the line. `send` takes a byte if the UART has room for it. `ticked`
/// is called once each millisecond, behind the panel, with the time: feed the watchdog there.
/// Where the loop comes round later than that, calls are left out.
pub fn run<P, R, G, B, const N: usize>(
    mut panel: Panel<P, R, G, B, N>,
    inbox: &Inbox,
    mut send: impl FnMut(u8) -> bool,
    mut ticked: impl FnMut(u64),
) -> !
where
    P: InputPin,
    R: SetDutyCycle,
    G: SetDutyCycle,
    B: OutputPin,
{
    let mut outbox: Deque<u8, { 2 * MAX_FRAME }> = Deque::new();
    let mut last = None;
    loop {
        let now = now();
        // No more than what fits at once: a line that never pauses must not hold up the rest.
        for byte in (0..INBOX).map_while(|_| inbox.pop()) {
            panel.receive(&[byte], now);
        }
        if last.replace(now) != Some(now) {
            // A frame without room is left out whole; the next one says the same.
            if let Some(frame) = panel.tick(now)
                && outbox.capacity() - outbox.len() >= frame.len()
            {
                outbox.extend(frame);
            }
            ticked(now);
        }
        while let Some(byte) = outbox.front()
            && send(*byte)
        {
            outbox.pop_front();
        }
        // Until a byte comes or the next millisecond, whatever is first.
        if outbox.is_empty() {
            asm::wfi();
        }
    }
}
