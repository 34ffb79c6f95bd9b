//! Pixels only: from a camera's frame to an encoder's input, and from logits back to a mask at
//! the frame's own size, carried to newer frames by optical flow. No model, no files.

pub mod colour;
mod fit;
pub mod flow;
mod letterbox;
pub mod mask;
pub mod overlay;
pub mod paint;
mod preprocess;
pub mod rle;

pub use fit::{Fit, Placement};
pub use letterbox::Letterbox;
pub use mask::{MaskStats, dice, iou};
pub use preprocess::{Preprocessor, ResizeFilter};
