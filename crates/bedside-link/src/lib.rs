//! The serial line between a host (the cart's computer) and a device (a microcontroller with
//! pedals, freeze button, lamp and buzzer): its protocol, and both ends of it.
//!
//! [`Host`] and [`Device`] are state machines without I/O: bytes and the time go in, bytes to send
//! and what happened come out. [`Panel`] is a [`Device`] with its pins, generic over `embedded-hal`.
//! No `std`, no allocation, and every buffer is bounded when the crate is compiled.
//!
//! ```
//! use bedside_link::{Action, Device, Event, Host, Input, Signal, State, Version};
//!
//! let version = Version { major: 0, minor: 1, patch: 0 };
//! let (mut host, mut device) = (Host::new(version, 7), Device::new(version, 0));
//! host.show(Signal { state: State::Active, brightness: 200, sound: true });
//!
//! let mut events = Vec::new();
//! for now in 0..100 {
//!     if now == 50 {
//!         device.push(Input::Pedal, Action::Press, now);
//!     }
//!     if let Some(frame) = host.poll(now, |event| events.push(event)) {
//!         device.receive(&frame, now);
//!     }
//!     if let Some(frame) = device.poll(now) {
//!         host.receive(&frame, now, |event| events.push(event));
//!     }
//! }
//!
//! assert_eq!(device.signal().state, State::Active);
//! assert_eq!(events.len(), 2);
//! assert_eq!(events[0], Event::Linked { protocol: 1, firmware: version });
//! assert_eq!(events[1], Event::Input { input: Input::Pedal, action: Action::Press, age_ms: 0 });
//! ```
//!
//! `docs/spec/link.md` is the protocol, byte by byte, with what it guarantees and why.
//!
//! Times are milliseconds of any monotonic clock that starts at 0 or later, told by the caller.

#![no_std]

mod device;
mod frame;
mod host;
mod packet;
mod panel;
mod session;

pub use device::Device;
pub use frame::{Decoder, Frame, MAX_FRAME, encode};
pub use host::{Counts, Event, Host, Refusal};
pub use packet::{
    Action, Beat, Change, Controls, Faults, Hello, Input, MAX_CHANGES, NEWEST_PROTOCOL,
    OLDEST_PROTOCOL, Packet, Report, Role, Signal, State, Version,
};
pub use panel::{Button, Lamp, Panel};
pub use session::{GREETING_MS, HEARTBEAT_MS, SILENCE_MS};
