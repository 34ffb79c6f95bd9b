//! The left ventricle over time, as an example of a measurement that a person checks: where beats
//! are in the curve of its area, and what its outline says of its volume.

mod beat;
mod discs;

pub use beat::{Beat, Turn, beats};
pub use discs::{Discs, discs};
