//! Masks and measurements as DICOM objects of the image that they are of.
//!
//! [`Segmentation`] holds masks, writes them as a Segmentation object, and [`read_segmentation`]
//! reads them back; [`report`] measures them and writes a Structured Report. Both carry patient
//! and study over from the [`Source`] as they stand there. [`Deidentifier`] takes out of images
//! what tells who the patient is.

mod bits;
mod code;
mod deidentify;
mod element;
mod error;
mod measure;
mod origin;
mod packed;
mod report;
mod segmentation;
mod source;

pub use code::{Code, Property};
pub use deidentify::{Action, Deidentified, Deidentifier};
pub use error::ObjectError;
pub use measure::{Measures, centre, measure};
pub use origin::{
    Context, Origin, SEG_DESCRIPTION, SEG_SERIES, SR_DESCRIPTION, SR_SERIES, Series, derived_uid,
    new_uid,
};
pub use report::{Beat, Extreme, Ventricle, report, report_volumes};
pub use segmentation::{Kind, Segment, Segmentation, read_segmentation, segmentation_from_bytes};
pub use source::Source;
