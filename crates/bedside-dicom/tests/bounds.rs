//! Files that are cut, changed or that promise too much.

use std::io::Write;
use std::panic::catch_unwind;

use bedside_dicom::{Dicom, ErrorKind};

use crate::matrix;

/// A file of that name in the matrix.
fn file(name: &str) -> Vec<u8> {
    let found = matrix().into_iter().find(|golden| golden.name == name);
    found.unwrap_or_else(|| panic!("no {name}")).file
}

const SMALL: &str = "MONOCHROME2 8/8  Explicit VR Little Endian 3 7x3";
const ENCODED: [&str; 5] = [
    "gray 8/8  3 7x3 RLE Lossless",
    "gray 8/8  1 34x33 JPEG-LS Lossless Image Compression",
    "gray 8/8  1 34x33 JPEG 2000 Image Compression (Lossless Only)",
    "gray 8/8  1 34x33 JPEG lossless",
    "MONOCHROME2 3 6x3 JPEG baseline",
];

/// Open and read whatever can be read.
fn read(bytes: Vec<u8>) -> Result<u32, ErrorKind> {
    let mut file = Dicom::from_bytes(bytes).map_err(|error| {
        let text = error.to_string();
        assert!(text.contains("hint:") && !text.contains("ZZ"), "{text}");
        error.kind()
    })?;
    assert!(!format!("{file:?} {:?}", file.identity()).contains("ZZ"));
    for index in 0..file.frames().min(3) {
        file.frame(index).map_err(|error| error.kind())?;
    }
    Ok(file.frames())
}

/// Where an element of explicit VR and a short length has its value.
fn value_of(bytes: &[u8], tag: [u8; 4]) -> usize {
    let at = bytes.windows(4).position(|window| window == tag);
    at.unwrap() + 8
}

#[test]
fn cut_anywhere_a_file_is_refused_or_lost_nothing() {
    for name in [SMALL].iter().chain(&ENCODED) {
        let whole = file(name);
        let frames = read(whole.clone()).unwrap();
        for end in 0..whole.len() {
            if read(whole[..end].to_vec()) == Ok(frames) {
                assert!(end + 9 > whole.len(), "{name} cut at {end}");
            }
        }
    }
}

#[test]
fn huge_sizes_and_lying_counts_are_refused_before_room_is_made() {
    let whole = file(SMALL);
    let (rows, columns) = ([0x28, 0, 0x10, 0], [0x28, 0, 0x11, 0]);
    for (high, kind) in [
        (u16::MAX, ErrorKind::TooLarge),
        (16_000, ErrorKind::TooLarge),
        (8_000, ErrorKind::Damaged),
        (0, ErrorKind::Damaged),
    ] {
        let mut bytes = whole.clone();
        for tag in [rows, columns] {
            let at = value_of(&bytes, tag);
            bytes[at..at + 2].copy_from_slice(&high.to_le_bytes());
        }
        assert_eq!(read(bytes), Err(kind), "{high}");
    }
    let mut bytes = whole.clone();
    let at = value_of(&bytes, [0x28, 0, 8, 0]);
    bytes[at] = b'9';
    assert_eq!(read(bytes), Err(ErrorKind::Damaged), "frames");
    // The pixel data's length.
    let mut bytes = whole;
    let at = bytes.windows(4).position(|w| w == [0xe0, 0x7f, 0x10, 0]);
    let at = at.unwrap() + 8;
    bytes[at..at + 4].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
    assert!(read(bytes).is_err());
}

#[test]
fn sequences_without_end_and_lying_lengths_are_refused() {
    let whole = file(SMALL);
    let at = whole.windows(4).position(|w| w == [0x28, 0, 2, 0]).unwrap();
    let inserted = |more: &[u8]| [&whole[..at], more, &whole[at..]].concat();
    // Private sequences, each in an item of another.
    let open = b"\x21\0\x10\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff";
    for depth in [33, 20_000] {
        assert_eq!(
            read(inserted(&open.repeat(depth))),
            Err(ErrorKind::TooLarge)
        );
    }
    let lying = b"\x21\0\x10\x10OB\0\0\xf0\xff\xff\xff";
    assert_eq!(read(inserted(lying)), Err(ErrorKind::Damaged));
    // The first group's own elements.
    let mut meta = whole.clone();
    meta[132 + 12 + 8..132 + 12 + 12].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
    assert_eq!(read(meta), Err(ErrorKind::Damaged));
}

#[test]
fn frames_of_few_bytes_that_promise_many_pixels_are_refused() {
    for name in ENCODED {
        let mut bytes = file(name);
        for tag in [[0x28, 0, 0x10, 0], [0x28, 0, 0x11, 0]] {
            let at = value_of(&bytes, tag);
            bytes[at..at + 2].copy_from_slice(&8_000_u16.to_le_bytes());
        }
        assert!(read(bytes).is_err(), "{name}");
    }
    // Deflated zeros without end.
    let deflated = file("MONOCHROME2 8/8  Deflated Explicit VR Little Endian 1 1x1");
    let length = u32::from_le_bytes(deflated[140..144].try_into().unwrap());
    let mut bomb = deflated[..144 + length as usize].to_vec();
    let mut encoder = flate2::write::DeflateEncoder::new(&mut bomb, flate2::Compression::fast());
    for _ in 0..129 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    encoder.finish().unwrap();
    assert_eq!(read(bomb), Err(ErrorKind::TooLarge));
}

#[test]
fn what_is_not_read_says_so() {
    let swapped = |syntax: &str| {
        let mut bytes = file("gray 8/8  1 34x33 JPEG-LS Lossless Image Compression");
        let old = b"1.2.840.10008.1.2.4.80";
        let at = bytes.windows(old.len()).position(|w| w == old).unwrap();
        bytes[at..at + syntax.len()].copy_from_slice(syntax.as_bytes());
        for rest in &mut bytes[at + syntax.len()..at + old.len()] {
            *rest = 0;
        }
        Dicom::from_bytes(bytes).unwrap_err().to_string()
    };
    assert!(swapped("1.2.840.10008.1.2.9.99").contains("1.2.840.10008.1.2.9.99"));
    let error = Dicom::from_bytes(b"\x89PNG".repeat(99)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotDicom);
    let mut last = Dicom::from_bytes(file(SMALL)).unwrap();
    assert_eq!(last.frame(3).unwrap_err().kind(), ErrorKind::NoSuchFrame);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]
    #[test]
    fn changed_files_do_not_panic(pick: proptest::sample::Index, at: proptest::sample::Index, value: u8) {
        let name: &&str = pick.get(&ENCODED);
        let mut bytes = file(name);
        let at = at.index(bytes.len());
        bytes[at] = value;
        proptest::prop_assert!(catch_unwind(|| read(bytes)).is_ok());
    }
}
