//! What pyigtl writes, read and written again; `golden.py` made it.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use bedside_core::PixelFormat;
use bedside_igtl::image::{Geometry, Picture};
use bedside_igtl::message::{Code, Device, Envelope, Header, IMAGE, STRING, Status, text};
use bedside_igtl::{Error, ErrorKind, Inbox};
use proptest::prelude::*;

/// 1,700,000,000.5 s.
const TIME: u64 = (1_700_000_000 << 32) | 1 << 31;

pub(crate) fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    fs::read(folder.join(name).with_extension("bin")).unwrap()
}

/// The one message of some bytes.
fn one(mut bytes: &[u8]) -> Result<(Header, Vec<u8>), Error> {
    let mut inbox = Inbox::default();
    let received = inbox.receive(&mut bytes)?;
    let (header, content) = received.expect("a whole message");
    Ok((header, content.to_vec()))
}

/// Why the golden with this name is no picture.
fn refusal(name: &str) -> String {
    let (_, content) = one(&golden(name)).unwrap();
    let error = Picture::parse(&content).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Message);
    error.to_string()
}

#[test]
fn pictures_are_read_as_pyigtl_wrote_them() {
    let gray: Vec<u8> = (0..15).map(|v| v * 7).collect();
    let rgb: Vec<u8> = (0..45).collect();
    for (name, version, format, pixels) in [
        ("image-gray-v1", 1, PixelFormat::Gray8, &gray),
        ("image-gray-v2", 2, PixelFormat::Gray8, &gray),
        ("image-rgb-v1", 1, PixelFormat::Rgb8, &rgb),
        ("image-rgb-v2-metadata", 2, PixelFormat::Rgb8, &rgb),
        ("image-ras-spacing", 1, PixelFormat::Gray8, &gray),
        ("image-no-spacing", 1, PixelFormat::Gray8, &gray),
        ("image-two-axes", 1, PixelFormat::Gray8, &gray),
    ] {
        let (header, content) = one(&golden(name)).unwrap();
        assert_eq!((header.version, header.kind), (version, IMAGE), "{name}");
        assert_eq!(header.device, Device::new("Image"), "{name}");
        assert_eq!(header.timestamp, TIME, "{name}");
        let picture = Picture::parse(&content).unwrap();
        assert_eq!((picture.width, picture.height), (5, 3), "{name}");
        assert_eq!(
            (picture.format, picture.pixels),
            (format, &pixels[..]),
            "{name}"
        );
    }
}

/// What is written of a golden picture, read and put into the same envelope.
fn again(name: &str, device: &str, metadata: &[(&str, &str)]) -> Vec<u8> {
    let (header, content) = one(&golden(name)).unwrap();
    let mut out = Vec::new();
    let envelope = Envelope {
        version: header.version,
        device,
        timestamp: header.timestamp,
        metadata,
    };
    Picture::parse(&content).unwrap().write(&envelope, &mut out);
    out
}

#[test]
fn pictures_and_label_maps_are_written_as_pyigtl_writes_them() {
    let labels = [
        ("age_ms", "83"),
        ("frame", "7"),
        ("state", "active"),
        ("labels", "1=polyp"),
    ];
    let metadata = [("Status", "OK"), ("Depth", "40 mm")];
    for (name, device, metadata) in [
        ("image-gray-v1", "Image", &[][..]),
        ("image-gray-v2", "Image", &[]),
        ("image-rgb-v2-metadata", "Image", &metadata),
        ("image-ras-spacing", "Image", &[]),
        ("image-no-spacing", "Image", &[]),
        ("image-two-axes", "Image", &[]),
        ("labels-v1", "bedside-labels", &labels),
        ("labels-v2", "bedside-labels", &labels),
    ] {
        assert_eq!(again(name, device, metadata), golden(name), "{name}");
    }
}

#[test]
fn a_flat_picture_lies_as_pyigtls_without_a_matrix() {
    let (_, content) = one(&golden("image-gray-v1")).unwrap();
    let picture = Picture::parse(&content).unwrap();
    let mut flat = Geometry::flat(5, 3);
    // Its centre is that of the pixels, as pyigtl puts the first one's at the origin.
    let (axes, centre) = picture.geometry.matrix.split_at(36);
    assert_eq!(flat.matrix.split_at(36).0, axes);
    assert_eq!(centre, [2.0_f32, 1.0, 0.0].map(f32::to_be_bytes).concat());
    flat.matrix = picture.geometry.matrix;
    assert_eq!(flat, picture.geometry);
}

#[test]
fn texts_are_read_and_states_written() {
    for (name, expected) in [
        ("string-v1", "polyp\nfetal head"),
        ("string-v2-metadata", "polyp"),
    ] {
        let (header, content) = one(&golden(name)).unwrap();
        assert_eq!(header.kind, STRING);
        assert!(header.device.is("Prompt") && !header.device.is("prompts"));
        assert_eq!(text(&content).unwrap(), expected);
    }
    for (version, name) in [(1, "status-v1"), (2, "status-v2")] {
        let envelope = Envelope {
            version,
            device: "bedside",
            timestamp: TIME,
            metadata: &[],
        };
        let status = Status {
            code: Code::Ok,
            subcode: 83,
            name: "active",
            text: r#"{"frame":{}}"#,
        };
        let mut out = Vec::new();
        status.write(&envelope, &mut out);
        assert_eq!(out, golden(name));
    }
}

#[test]
fn what_is_no_picture_is_refused_with_a_remedy() {
    let said = refusal("image-volume");
    assert!(
        said.contains("5x3x2 voxels; hint: send one slice"),
        "{said}"
    );
    let said = refusal("image-int16");
    assert!(
        said.contains("1 components of scalar type 4; hint:"),
        "{said}"
    );

    let (_, content) = one(&golden("image-gray-v1")).unwrap();
    let changed = |at: usize, value: u8| {
        let mut content = content.clone();
        content[at] = value;
        Picture::parse(&content)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    // Components, byte order, world, width, first column and width of the part.
    for (at, value, part) in [
        (2, 4, "4 components"),
        (4, 3, "byte order 3"),
        (5, 0, "coordinate system 0"),
        (7, 6, "it is a part"),
        (61, 1, "it is a part"),
        (67, 4, "it is a part"),
    ] {
        let said = changed(at, value);
        assert!(said.contains(part), "{at}: {said}");
    }
    for length in 0..content.len() {
        assert!(Picture::parse(&content[..length]).is_err(), "{length}");
    }
    // 65,535 x 65,535 pixels.
    let mut large = content.clone();
    for place in [6..10, 66..70] {
        large[place].fill(0xff);
    }
    let said = Picture::parse(&large).unwrap_err().to_string();
    assert!(said.contains("65535x65535 pixels; hint"), "{said}");
}

#[test]
fn a_damaged_message_is_passed_over_and_the_next_one_read() {
    let (good, next) = (golden("image-rgb-v2-metadata"), golden("string-v1"));
    for at in 58..good.len() {
        let mut stream = good.clone();
        stream[at] ^= 0x10;
        stream.extend_from_slice(&next);
        let (mut inbox, mut stream) = (Inbox::default(), &stream[..]);
        let error = inbox.receive(&mut stream).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Message, "{at}: {error}");
        let (header, _) = inbox.receive(&mut stream).unwrap().unwrap();
        assert_eq!(header.kind, STRING, "{at}");
    }
}

#[test]
fn what_is_not_openigtlink_is_given_up() {
    let mut http =
        &b"GET / HTTP/1.1\r\nHost: localhost:18944\r\nAccept: */*, text/html\r\n\r\n"[..];
    let error = Inbox::default().receive(&mut http).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
    let mut long = golden("transform-v1");
    long[42..50].copy_from_slice(&u64::MAX.to_be_bytes());
    let error = one(&long).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
}

/// Gives a stream in pieces of these lengths, and is silent where one is zero.
struct Pieces<'a> {
    stream: &'a [u8],
    lengths: Vec<usize>,
    at: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
        let length = self.lengths[self.at % self.lengths.len()];
        self.at += 1;
        if length == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = length.min(place.len());
        self.stream.read(&mut place[..length])
    }
}

proptest! {
    #[test]
    fn messages_are_the_same_however_the_stream_is_cut(
        lengths in proptest::collection::vec(0_usize..200, 1..8),
    ) {
        prop_assume!(lengths.iter().any(|length| *length > 0));
        let names = ["image-rgb-v2-metadata", "transform-v1", "string-v1", "labels-v2", "image-gray-v1"];
        let stream = names.map(golden).concat();
        let mut pieces = Pieces { stream: &stream, lengths, at: 0 };
        let (mut inbox, mut read) = (Inbox::default(), Vec::new());
        loop {
            match inbox.receive(&mut pieces) {
                Ok(Some((header, content))) => read.push((header, content.to_vec())),
                Ok(None) => break,
                Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Silent),
            }
        }
        prop_assert!(!inbox.is_within());
        let expected: Vec<_> = names.map(|name| one(&golden(name)).unwrap()).into();
        prop_assert!(expected[1].1.is_empty(), "other messages are passed over");
        prop_assert_eq!(read, expected);
    }
}
