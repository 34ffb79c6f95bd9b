//! H.264 within DICOM, against the same clips by themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bedside_core::{Frame, ManualClock, Modality, Timestamp};
use bedside_dicom::{Dicom, ErrorKind};
use bedside_video::{OpenOptions, Pace, open};
use bedside_vision::colour::rgb_pixels;

use crate::folder;

/// Each file and its clip; see `video.py`.
const FILES: [(&str, &str); 5] = [
    ("high.mp4", "high.mp4"),
    ("high.ts", "high.mp4"),
    ("baseline.mp4", "baseline.mp4"),
    ("full.mp4", "full.mp4"),
    ("pieces.mp4", "high.mp4"),
];

fn path(name: &str) -> PathBuf {
    folder().join(format!("video/{name}.dcm"))
}

/// All frames of a clip of `bedside-video`'s tests, as RGB.
fn clip(name: &str) -> Vec<Vec<u8>> {
    let clips = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bedside-video/tests/golden");
    let mut options = OpenOptions::new(Arc::new(ManualClock::default()));
    options.pace = Pace::Fast;
    let mut source = open(clips.join(name).to_str().unwrap(), &options).unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = source.next(Vec::new()).unwrap() {
        let mut rgb = Vec::new();
        rgb_pixels(&frame, &mut rgb);
        frames.push(rgb);
    }
    frames
}

#[test]
fn frames_are_those_of_the_clip_in_any_order() {
    for (name, of) in FILES {
        let mut file = Dicom::open(&path(name)).unwrap();
        let expected = clip(of);
        assert_eq!(file.modality(), Some(Modality::Endoscopy), "{name}");
        assert_eq!(file.frames() as usize, expected.len(), "{name}");
        let forth = 0..file.frames();
        for index in forth.clone().chain(forth.rev()).chain([1, 0, 1]) {
            let frame = file.frame(index).unwrap();
            let at = Timestamp::from_nanos(u64::from(index) * 40_000_000);
            assert_eq!(frame.captured(), at, "{name}");
            assert!(frame.data() == expected[index as usize], "{name}: {index}");
        }
        let last = file.frames();
        assert_eq!(file.frame(last).unwrap_err().kind(), ErrorKind::NoSuchFrame);
        assert_eq!(file.values(0), Ok(None));
    }
}

#[test]
fn a_header_that_lies_of_its_video_is_refused() {
    for name in ["size", "frames"] {
        let error = Dicom::open(&path(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{name}");
        assert!(error.to_string().contains("hint:"), "{error}");
    }
    // The same bytes, said to be in another transfer syntax.
    for (name, digits, word) in [
        ("high.mp4", b"90\0", "colours of a video"),
        ("full.mp4", b"107", "MPEG video"),
        ("full.mp4", b"201", "High-Throughput JPEG 2000"),
    ] {
        let mut other = fs::read(path(name)).unwrap();
        let syntax = b"1.2.840.10008.1.2.4.10";
        let at = other.windows(22).position(|w| w == syntax).unwrap();
        other[at + 20..at + 23].copy_from_slice(digits);
        let error = Dicom::from_bytes(other).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn a_damaged_video_is_refused_or_loses_pictures_alone() {
    for name in ["high.mp4", "high.ts"] {
        let whole = fs::read(path(name)).unwrap();
        let frames: Vec<Frame> = {
            let mut file = Dicom::open(&path(name)).unwrap();
            (0..file.frames()).map(|i| file.frame(i).unwrap()).collect()
        };
        let (mut opened, mut broken) = (0, 0);
        for at in (whole.len() / 2..whole.len()).step_by(whole.len() / 97) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            let mut file = match Dicom::from_bytes(bytes) {
                Ok(file) => file,
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains("hint:") && !text.contains("ZZ"), "{text}");
                    continue;
                }
            };
            opened += 1;
            for (index, whole) in (0..file.frames()).zip(&frames) {
                match file.frame(index) {
                    Ok(frame) => assert_eq!(frame.data().len(), whole.data().len()),
                    Err(error) => {
                        broken += 1;
                        let text = error.to_string();
                        assert!(text.contains("hint:") && !text.contains("FILE"), "{text}");
                    }
                }
            }
        }
        assert!(opened > 0 && broken > 0, "{name}: {opened} {broken}");
    }
}
