//! DICOM files as frames.
