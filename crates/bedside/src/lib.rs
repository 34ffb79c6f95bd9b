//! Text-prompted biomedical segmentation on the device: frame and prompts in, findings out.
//!
//! ```no_run
//! use bedside::{Frame, Options, PixelFormat, Prompt, Segmenter};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut segmenter = Segmenter::open("models/edge/edge.bedside".as_ref(), &Options::default())?;
//! // Once, outside the frame loop:
//! let prompts = segmenter.prompts(&[Prompt::new("polyp")])?;
//! // For each frame:
//! let frame = Frame::new(640, 480, PixelFormat::Rgb8, vec![0; 640 * 480 * 3])?;
//! for finding in segmenter.segment(&frame, &prompts)?.findings {
//!     println!("{}: {} ({} pixels)", finding.prompt, finding.present, finding.area);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The image encoder runs once a frame, all prompts go through the mask decoder in one batch.
//! Research use; not a medical device; not for clinical decisions.

mod answer;
mod error;
mod load;
mod overlap;
mod prompts;
mod segmenter;
mod text;
mod tuning;
mod validity;

pub use bedside_bundle as bundle;
pub use bedside_bundle::{Bundle, Manifest, Precision, PromptTable};
pub use bedside_core::*;
pub use bedside_engine as engine;
pub use bedside_vision as vision;

pub use error::{Error, ErrorKind};
pub use load::signature;
pub use prompts::PromptSet;
pub use segmenter::{MIN_SIDE, Options, Profile, Segmentation, Segmenter, SelfTestCase, Timings};
pub use tuning::{Outcome, Tried, Tuning, TuningKey, Tunings, machine_name, tune};
pub use validity::{Beta, Reference};
