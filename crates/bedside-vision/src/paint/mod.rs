//! Masks and words onto frames, in the frame's own pixel format: what live video and the overlays
//! of stills have in common.
//!
//! [`Canvas`] copies a frame with room for a [`Band`] of words below it, so that words cover nothing
//! of the image, and paints masks with a [`Style`] in the colours of the [`palette`]. Nothing is
//! allocated while frames keep their size.

mod band;
mod brush;
mod canvas;
pub mod palette;

pub use band::Band;
pub use brush::Style;
pub use canvas::Canvas;
pub use palette::Colour;
