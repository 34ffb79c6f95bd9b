//! Annotated video full-screen on a display, without a desktop, a browser or a window system.
//!
//! [`DisplaySink`] takes frames as any sink does. It scales each to the display, keeps its shape, and has
//! the display turn to it between two refreshes, so that no picture is torn. A display that is unplugged,
//! or that another program has, is an error that says so; the sink goes on to try it.
//!
//! What the sink asks of a display is [`Screen`]. The kernel's mode setting (KMS) is one, in the one place
//! that speaks to a device; a test's is another.
//!
//! ```no_run
//! use std::sync::Arc;
//! use bedside_core::MonotonicClock;
//! use bedside_display::DisplaySink;
//!
//! let sink = DisplaySink::new("HDMI-A-1".parse()?, Arc::new(MonotonicClock::new()));
//! # Ok::<(), String>(())
//! ```

mod connector;
#[cfg_attr(target_os = "linux", path = "kms.rs")]
#[cfg_attr(not(target_os = "linux"), path = "disabled.rs")]
mod device;
mod screen;
mod sink;

pub use connector::Connector;
pub use screen::{BUFFERS, Pixels, Screen};
pub use sink::{DisplaySink, RETRY};
