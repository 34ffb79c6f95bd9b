//! Segmentations as DICOM files.

use bedside_dicom::write::segmentation_from_bytes;

use crate::{bounded, one_line};

/// Most bytes for an input: a deflated one may be a thousand times as large inflated, and an
/// element as an object takes more than in its file.
const MOST: u64 = 512 << 20;

/// A file with masks or probabilities.
pub fn segmentation(data: &[u8]) {
    bounded(MOST, || match segmentation_from_bytes(data.to_vec()) {
        Ok(read) => {
            for (segment, frame) in read.frames() {
                let kept = "a frame that is told of is there";
                let mask = read.mask(segment, frame).expect(kept).expect(kept);
                let levels = read.levels(segment, frame).expect(kept);
                assert!(levels.is_some() || !mask.is_empty());
            }
        }
        Err(error) => one_line(&error),
    });
}
