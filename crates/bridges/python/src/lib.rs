//! bedside for Python: arrays in, findings with masks as arrays out. What is done is done by the crate
//! `bedside`; here it is put into Python's terms.

mod dicom;
mod encoded;
mod error;
mod finding;
mod frames;
mod image;
mod prompt;
mod segmenter;

/// bedside's Rust side; the package `bedside` is what to import.
#[pyo3::pymodule]
mod _bedside {
    #[pymodule_export]
    use crate::dicom::{Dicom, Segmentation};
    #[pymodule_export]
    use crate::encoded::Encoded;
    #[pymodule_export]
    use crate::finding::{Finding, Findings};
    #[pymodule_export]
    use crate::frames::{Frames, read_image};
    #[pymodule_export]
    use crate::prompt::Prompt;
    #[pymodule_export]
    use crate::segmenter::Segmenter;

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
