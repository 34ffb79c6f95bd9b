//! Live video: newest frame first, honest mask age, tracking between passes.
//!
//! Video never waits for the model. Every mask carries the frame it was made for; on any later
//! frame it is drawn as carried, with its age, and not at all beyond the limit.
//! Research use; not a medical device; not for clinical decisions.

mod device;
mod error;
pub mod log;
mod metrics;
pub mod record;
mod recorder;

pub use device::{resident_memory, temperature};
pub use error::{Error, ErrorKind};
pub use log::{Found, Log, Reader};
pub use metrics::{Latency, Metrics, Report};
pub use record::Record;
pub use recorder::{Recorder, Target};
