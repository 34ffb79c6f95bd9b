//! DICOM at bedside's edges.
//!
//! * [`heart`]: beats and volumes of the left ventricle
//! * [`read`]: frames, with what the header says of them
//! * [`stack`]: slices of a series, one behind another
//! * [`view`]: the part of a frame that a model is to look at
//! * [`mod@write`]: masks and measurements as DICOM objects of the image that they are of

pub mod heart;
pub mod read;
pub mod stack;
pub mod view;
pub mod write;

pub use dicom_object::DefaultDicomObject as Object;
pub use read::{Dicom, Error, ErrorKind, H264_SYNTAXES};
