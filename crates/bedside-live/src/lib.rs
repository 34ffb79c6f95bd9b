//! Live video: newest frame first, honest mask age, tracking between passes.
//!
//! Video never waits for the model. Every mask carries the frame it was made for; on any later
//! frame it is drawn as carried, with its age, and not at all beyond the limit.
//!
//! * [`BundleLoader`] holds a bundle, [`Control`] what is asked of it; with a [`ProcessLoader`] the
//!   model runs in a process of its own, which [`serve`]s it
//! * [`LiveSession`] takes frames: [`frame`](LiveSession::frame) paints one and asks the model,
//!   without waiting for it; a camera loop of the host's own calls it
//! * [`run`] does so from a source to sinks, with a [`Watcher`] beside it: a [`Journal`] hands
//!   [`record`]s to a [`Recorder`] and publishes the session in a [`Monitor`]
//!
//! `examples/own_sink.rs` is a small daemon, `examples/camera_loop.rs` a host that brings
//! the frames itself.
//!
//! Research use; not a medical device; not for clinical decisions.

mod cadence;
mod caption;
mod capture;
mod control;
mod device;
mod error;
mod journal;
pub mod log;
mod metrics;
mod model;
mod monitor;
mod notes;
mod outlets;
mod painter;
mod panics;
mod process;
mod rate;
pub mod record;
mod recorder;
mod run;
mod scene;
mod session;
mod signals;
mod slot;
/// What [`slot`] locks with; its model checker brings its own.
mod sync {
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
}
mod tally;
mod tracker;
mod worker;

pub use cadence::CadenceConfig;
pub use caption::{Caption, Outputs};
pub use capture::Input;
pub use control::{Control, MAX_PROMPTS};
pub use device::{peak_memory, resident_memory, temperature};
pub use error::{Error, ErrorKind};
pub use journal::Journal;
pub use log::{Contents, Log, Reader};
pub use metrics::{Latency, Metrics, Report};
pub use model::{BundleLoader, Kill, Loader, Model, TrainedPrompt};
pub use monitor::{Monitor, Status, Watch};
pub use notes::{SourceNotes, detach_notes, harmless, settle_notes, tell};
pub use outlets::Output;
pub use painter::{AgePolicy, Answer, Claim, Painter, Said, Standing};
pub use panics::withhold_panics;
pub use process::{ProcessLoader, forbid_core_dumps, model_command, serve, serve_bundle};
pub use record::Record;
pub use recorder::{Recorder, Target};
pub use run::{RunConfig, Stop, Watcher, run};
pub use session::{LiveSession, SessionConfig};
pub use signals::end_on_signals;
pub use slot::{Slot, Waited};
pub use tally::{Condition, OutputReport, Tally};
pub use worker::WatchdogConfig;
