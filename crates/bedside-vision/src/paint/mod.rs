//! Masks and words onto frames, in the frame's own pixel format.

mod band;
mod brush;
mod canvas;

pub use band::Band;
pub use brush::dash;
pub use canvas::{Canvas, Colour};
