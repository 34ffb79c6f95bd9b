//! DICOM at bedside's edges.
//!
//! * [`read`]: frames, with what the header says of them

pub mod read;

pub use read::{Dicom, Error, ErrorKind};
