//! What a header asks for is not what is allocated: memory is counted while hostile files are read.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bedside_core::ManualClock;
use bedside_video::{MAX_VIDEO_PIXELS, OpenOptions, Pace, SourceErrorKind, open, still};

const MIB: u64 = 1 << 20;

/// Open and read up to the end or the first error that ends it, with the most bytes that were
/// allocated at a time.
fn read(path: &Path) -> (u64, String) {
    let mut options = OpenOptions::new(Arc::new(ManualClock::default()));
    options.pace = Pace::Fast;
    let mut said = String::new();
    let counted = allocation_counter::measure(|| {
        let mut source = match open(path.to_str().unwrap(), &options) {
            Ok(source) => source,
            Err(error) => return said = error.to_string(),
        };
        loop {
            match source.next(Vec::new()) {
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(error) => {
                    said = error.to_string();
                    if error.kind() == SourceErrorKind::Fatal {
                        return;
                    }
                }
            }
        }
    });
    (counted.bytes_max, said)
}

#[track_caller]
fn costs(name: &str, bytes: &[u8], most: u64, word: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    let (cost, said) = read(&path);
    assert!(cost <= most, "{name}: {cost} bytes; {said}");
    assert!(said.contains(word) && !said.contains('\n'), "{said}");
}

#[test]
fn a_header_of_y4m_can_not_ask_for_more_than_a_video_has() {
    let bomb = b"YUV4MPEG2 W16384 H16384 F30:1 C444\nFRAME\n";
    costs("a.y4m", bomb, MIB, "16384x16384 pixels");
    let largest = b"YUV4MPEG2 W4096 H2304 F30:1 C444\nFRAME\nx";
    let most = 3 * u64::from(MAX_VIDEO_PIXELS) + MIB;
    costs("a.y4m", largest, most, "ends within a frame");
    costs("a.y4m", b"YUV4MPEG2 W4096 H2305\n", MIB, "9437184 pixels");
}

/// A JPEG's headers alone, for a gray picture.
fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let [w, v] = width.to_be_bytes();
    let [h, i] = height.to_be_bytes();
    let frame = [0xff, 0xc0, 0, 11, 8, h, i, w, v, 1, 1, 0x11, 0];
    let scan = [0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0xff, 0xd9];
    [&[0xff, 0xd8][..], &frame, &scan].concat()
}

#[test]
fn a_jpeg_is_refused_for_its_size_before_it_is_decoded() {
    costs("a.mjpeg", &jpeg(65_535, 65_535), MIB, "65535x65535 pixels");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jpg");
    fs::write(&path, jpeg(16_384, 16_384)).unwrap();
    let counted = allocation_counter::measure(|| {
        let error = still::read(&path).unwrap_err().to_string();
        assert!(error.contains("64 megapixels"), "{error}");
    });
    assert!(counted.bytes_max < MIB, "{}", counted.bytes_max);
    let folder = folder.path().to_str().unwrap();
    let image = image::GrayImage::new(4096, 2305);
    image.save(Path::new(folder).join("a.png")).unwrap();
    fs::remove_file(path).unwrap();
    let (_, said) = read(Path::new(folder));
    assert!(said.contains("4096x2305 pixels"), "{said}");
}

fn avi(width: u32, height: u32, length: u32) -> Vec<u8> {
    let chunk =
        |kind: &[u8], body: &[u8]| [kind, &(body.len() as u32).to_le_bytes(), body].concat();
    let mut format = [0; 40];
    format[4..8].copy_from_slice(&width.to_le_bytes());
    format[8..12].copy_from_slice(&height.to_le_bytes());
    format[16..20].copy_from_slice(b"MJPG");
    let mut stream = [0; 56];
    stream[..8].copy_from_slice(b"vidsMJPG");
    let list = |name: &[u8]| [b"LIST\0\0\0\0", name].concat();
    [
        b"RIFF\0\0\0\0AVI ".to_vec(),
        list(b"strl"),
        chunk(b"strh", &stream),
        chunk(b"strf", &format),
        list(b"movi"),
        [&b"00dc"[..], &length.to_le_bytes(), &[1; 100]].concat(),
    ]
    .concat()
}

#[test]
fn a_picture_of_avi_takes_the_bytes_that_are_there() {
    costs("a.avi", &avi(16_384, 16_384, 10), MIB, "16384x16384 pixels");
    costs(
        "a.avi",
        &avi(640, 480, 16 << 20),
        MIB,
        "ends within a picture",
    );
    costs("a.avi", &avi(640, 480, u32::MAX), MIB, "4294967295 bytes");
}

/// A sequence header with these pictures kept for reference, in blocks of 16 pixels.
fn sequence_header(columns: u32, rows: u32, kept: u32) -> Vec<u8> {
    let number = |n: u32| {
        let n = u64::from(n) + 1;
        format!("{}{n:b}", "0".repeat(n.ilog2() as usize))
    };
    // Identity, bits of a frame's number, order as they come; no gaps between the kept ones;
    // frames alone, direct in 8x8, no crop, no colours; stop.
    let head: String = [0, 0, 2, kept].map(number).concat();
    let size: String = [columns - 1, rows - 1].map(number).concat();
    let bits = format!("{head}0{size}11001");
    let bytes = bits.as_bytes().chunks(8).map(|byte| {
        let byte = byte.iter().map(|b| b - b'0').chain([0; 8]);
        byte.take(8).fold(0, |n, bit| n << 1 | bit)
    });
    [0x67, 66, 0, 40].into_iter().chain(bytes).collect()
}

fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes(), &kind[..], body].concat()
}

fn table(kind: &[u8; 4], numbers: &[u32]) -> Vec<u8> {
    let body: Vec<u8> = [0]
        .iter()
        .chain(numbers)
        .flat_map(|n| n.to_be_bytes())
        .collect();
    boxed(kind, &body)
}

/// An MP4 file with this sequence header, table of sizes, and picture.
fn mp4(header: &[u8], sizes: &[u32], picture: &[u8]) -> Vec<u8> {
    let length = (header.len() as u16).to_be_bytes();
    let config = [&[1, 66, 0, 40, 0xff, 0xe1], &length[..], header, &[0]].concat();
    let entry = [&[0; 78][..], &boxed(b"avcC", &config)].concat();
    let described = [&[0, 0, 0, 0, 0, 0, 0, 1], &boxed(b"avc1", &entry)[..]].concat();
    let samples = [
        boxed(b"stsd", &described),
        table(b"stsz", sizes),
        table(b"stco", &[1, 8]),
        table(b"stsc", &[1, 1, u32::MAX, 1]),
        table(b"stts", &[1, 1, 1]),
    ];
    let media = [
        boxed(b"hdlr", b"\0\0\0\0\0\0\0\0vide"),
        boxed(b"minf", &boxed(b"stbl", &samples.concat())),
    ];
    let moov = boxed(b"moov", &boxed(b"trak", &boxed(b"mdia", &media.concat())));
    [boxed(b"mdat", picture), moov].concat()
}

#[test]
fn tables_of_mp4_are_bounded_by_pictures_and_bytes() {
    let header = sequence_header(40, 30, 1);
    let one = mp4(&header, &[0, 1, 4], &[0; 4]);
    costs("a.mp4", &one, MIB, "can't be decoded");
    // One size for all asks for any number with eight bytes.
    let many = mp4(&header, &[4, (1 << 20) + 1], &[0; 4]);
    costs("a.mp4", &many, MIB, "more than 2^20");
    let mut rows = vec![1; (1 << 20) + 3];
    (rows[0], rows[1]) = (0, (1 << 20) + 1);
    costs(
        "a.mp4",
        &mp4(&header, &rows, &[0; 4]),
        6 * MIB,
        "more than 2^20",
    );
    (rows[1], rows[2]) = (1 << 20, 1);
    rows.pop();
    costs(
        "a.mp4",
        &mp4(&header, &rows, &[0; 4]),
        48 * MIB,
        "can't be decoded",
    );
    let large = boxed(b"moov", &vec![0; 33 << 20]);
    costs("a.mp4", &large, MIB, "more than 32 MiB");
}

#[test]
fn a_sequence_header_can_not_ask_the_decoder_for_more_than_a_video_has() {
    for (columns, rows, kept, word) in [
        (1024, 1024, 1, "16384x16384 pixels"),
        (256, 145, 1, "4096x2320 pixels"),
        (120, 68, 17, "keeps 17 pictures"),
        (120, 68, u32::MAX - 1, "keeps 4294967294 pictures"),
        (256, 144, 6, "keeps 6 pictures"),
    ] {
        let bytes = mp4(&sequence_header(columns, rows, kept), &[0, 1, 4], &[0; 4]);
        costs("a.mp4", &bytes, MIB, word);
    }
    for (columns, rows, kept) in [(256, 144, 5), (120, 68, 16)] {
        let bytes = mp4(&sequence_header(columns, rows, kept), &[0, 1, 4], &[0; 4]);
        costs("a.mp4", &bytes, MIB, "can't be decoded");
    }
}

/// Another header among the pictures would undo what the first was checked for.
#[test]
fn a_sequence_header_within_a_picture_is_not_decoded() {
    let header = sequence_header(40, 30, 1);
    let large = sequence_header(256, 144, 16);
    let unit = |nal: &[u8]| [&(nal.len() as u32).to_be_bytes(), nal].concat();
    let hidden = [&[6, 5, 0, 0, 1], &large[..]].concat();
    // A slice of an IDR picture, all of whose blocks are flat: as long as it is not looked at.
    let slice = [0x65, 0x88, 0x84, 0x00, 0x10];
    for first in [large, hidden] {
        let picture = [unit(&first), unit(&slice)].concat();
        let bytes = mp4(&header, &[0, 1, picture.len() as u32], &picture);
        costs("a.mp4", &bytes, MIB, "can't be decoded");
    }
}
