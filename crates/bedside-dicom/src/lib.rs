//! DICOM at bedside's edges.
//!
//! * [`read`]: frames, with what the header says of them
//! * [`mod@write`]: masks and measurements as DICOM objects of the image that they are of

pub mod read;
pub mod write;

pub use dicom_object::DefaultDicomObject as Object;
pub use read::{Dicom, Error, ErrorKind};
