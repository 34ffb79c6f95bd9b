//! How well a model does on frames with known masks.
//!
//! * [`rows`]: a dataset folder in, its manifest, pictures and masks
//! * [`Evaluator`]: the model on one row, and what came out as a [`Record`]
//! * [`Report`]: records, and summaries with confidence intervals; [`html_page`] shows it with the
//!   worst cases as pictures
//! * [`Clip`] and [`measure`]: masks as a live session shows them

mod absence;
mod bootstrap;
mod dataset;
mod error;
mod evaluator;
mod html;
mod metrics;
mod model;
mod picture;
mod presence;
mod record;
mod report;
mod video;

pub use bootstrap::Estimate;
pub use dataset::{Failed, Frames, Place, Row, Rows, Split, mask_of, rows};
pub use error::{Error, ErrorKind};
pub use evaluator::Evaluator;
pub use html::html_page;
pub use metrics::{MISSED, POOR, Shown, Summary};
pub use model::Model;
pub use presence::{Auroc, Bin, Calibration, Presence};
pub use record::{Answer, Other, Overlap, Record};
pub use report::{Report, Setting};
pub use video::{Age, Clip, Score, VideoReport, VideoSetting, measure};

/// Stands on every report.
pub const SAFETY: &str = "Research use only. Not a medical device. Not for clinical decisions.";
