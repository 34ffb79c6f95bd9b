//! Plain types shared by every bedside crate. No I/O, no pixels changed, no model.
//!
//! * [`ontology`]: the 82 object types of BiomedParse v1 in the forms they were trained in
//! * [`prompt`]: what a person asks for
//! * [`pixels`]: how the bytes of frames are laid out
//! * [`frame`]: frames, owned or borrowed
//! * [`mask`]: one object's pixels, and [`finding`]: what is known of them
//! * [`phi`]: what may tell who a patient is
//! * [`state`]: what a live session is doing, and the right to paint
//! * [`text`]: text from outside as it may be printed
//! * [`time`]: monotonic, injected time

pub mod finding;
pub mod frame;
pub mod mask;
pub mod ontology;
pub mod phi;
pub mod pixels;
pub mod prompt;
pub mod state;
pub mod text;
pub mod time;

pub use finding::{BoundingBox, Finding, Withheld};
pub use frame::{Frame, FrameError, FrameView, Plane};
pub use mask::Mask;
pub use ontology::{Category, Form, Modality, ObjectType, Ontology};
pub use phi::Phi;
pub use pixels::{ColourModel, Component, PixelFormat, PlaneSize, YuvRowReader, YuvSpace};
pub use prompt::Prompt;
pub use state::{Degradation, Fault, PaintPermit, Pause, Stall, State};
pub use time::{Clock, ManualClock, MonotonicClock, Timestamp};
