//! DICOM files.

use bedside_dicom::Dicom;
use bedside_dicom::stack::{Place, stacks};
use bedside_dicom::view::View;

use crate::{bounded, one_line};

/// Frames that are read of each input.
const FRAMES: u32 = 4;
/// Most bytes: what a small deflated file may be inflated to, in a buffer that grows by doubling; or
/// what H.264 may take, with a picture as RGB.
const MOST: u64 = 1 << 30;

/// A file is refused, or each of its frames is read or refused. The picture lies in the frame, and a
/// slice is no stack with itself.
pub fn dicom(data: &[u8]) {
    bounded(MOST, || {
        let mut file = match Dicom::from_bytes(data.to_vec()) {
            Ok(file) => file,
            Err(error) => return one_line(&error),
        };
        for index in 0..file.frames().min(FRAMES) {
            match file.frame(index) {
                Ok(frame) => assert_eq!((frame.width(), frame.height()), file.size()),
                Err(error) => one_line(&error),
            }
        }
        match View::of(&mut file).map(|view| view.map(|view| view.part)) {
            Ok(Some(part)) => {
                let (width, height) = file.size();
                assert!(part.x + part.width <= width && part.y + part.height <= height);
            }
            Ok(None) => {}
            Err(error) => one_line(&error),
        }
        if let Some(place) = Place::of(file.header()) {
            assert_eq!(stacks(&[place.clone(), place]).len(), 2);
        }
        assert!(
            file.frame_times().is_empty() || file.frame_times().len() == file.frames() as usize
        );
    });
}
