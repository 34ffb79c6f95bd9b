//! Files and pictures against what OpenCV, FFmpeg and Pillow make of them (`golden/make.py`).

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bedside_core::{Frame, ManualClock, PixelFormat, YuvSpace};
use bedside_video::sink::{Sink, SinkErrorKind, SinkOptions, Y4mSink, encode_jpeg, open_sink};
use bedside_video::{OpenOptions, Pace, Source, SourceErrorKind, open};
use bedside_vision::colour::rgb_pixels;
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    mp4: Vec<Mp4>,
    mjpeg: Mjpeg,
    avi: Avi,
}

#[derive(Deserialize)]
struct Mp4 {
    file: String,
    width: u32,
    height: u32,
    kinds: String,
    crc32: Vec<u32>,
}

#[derive(Deserialize)]
struct Mjpeg {
    width: u32,
    height: u32,
    pictures: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    name: String,
    i420: String,
}

#[derive(Deserialize)]
struct Avi {
    width: u32,
    height: u32,
    rate: f64,
    rgb: Vec<String>,
}

fn golden() -> Golden {
    serde_json::from_slice(&fs::read(fixture("golden.json")).unwrap()).unwrap()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new(Arc::new(ManualClock::default()));
    options.pace = Pace::Fast;
    options
}

fn opened(path: &Path) -> Box<dyn Source> {
    open(path.to_str().unwrap(), &options()).unwrap()
}

fn refusal(path: &Path) -> String {
    let error = open(path.to_str().unwrap(), &options())
        .err()
        .expect("refused");
    assert_eq!(error.kind(), SourceErrorKind::Fatal);
    let text = error.to_string();
    assert!(text.contains("hint: ") && !text.contains('\n'), "{text}");
    text
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Frames, and how many could not be read, up to the end.
fn drain(source: &mut dyn Source) -> (Vec<Frame>, usize) {
    let (mut frames, mut broken) = (Vec::new(), 0);
    loop {
        match source.next(Vec::new()) {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, broken),
            Err(error) if error.kind() == SourceErrorKind::Broken => broken += 1,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The largest and the mean difference of two pictures' bytes.
fn difference(a: &[u8], b: &[u8]) -> (u8, f64) {
    assert_eq!(a.len(), b.len());
    let apart = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    let sum: u64 = apart.clone().map(u64::from).sum();
    (apart.max().unwrap(), sum as f64 / a.len() as f64)
}

fn rgb(frame: &Frame) -> Vec<u8> {
    let mut out = Vec::new();
    rgb_pixels(frame, &mut out);
    out
}

#[test]
fn h264_is_ffmpegs_to_the_bit() {
    for clip in golden().mp4 {
        let mut source = opened(&fixture(&clip.file));
        let info = source.info().clone();
        assert_eq!((info.width, info.height), (clip.width, clip.height));
        assert_eq!(info.frames_per_second, Some(25.0));
        let space = match clip.file.as_str() {
            "full.mp4" => YuvSpace::Bt709Full,
            _ => YuvSpace::Bt601Limited,
        };
        assert_eq!(info.yuv_space, space);
        let (frames, broken) = drain(&mut *source);
        let crcs: Vec<u32> = frames.iter().map(|f| crc32fast::hash(f.data())).collect();
        assert_eq!((crcs, broken), (clip.crc32, 0), "{}", clip.file);
    }
    // Without pictures that are shown in another order than decoded, this would prove little.
    assert!(golden().mp4.iter().any(|clip| clip.kinds.contains('B')));
}

#[test]
fn pictures_in_a_transport_stream_are_the_same() {
    for clip in golden().mp4.iter().filter(|clip| clip.file != "full.mp4") {
        let path = fixture(&clip.file.replace("mp4", "ts"));
        let mut source = opened(&path);
        assert_eq!(source.info().frames_per_second, Some(25.0));
        let (frames, broken) = drain(&mut *source);
        let crcs: Vec<u32> = frames.iter().map(|f| crc32fast::hash(f.data())).collect();
        assert_eq!((&crcs, broken), (&clip.crc32, 0), "{}", path.display());
    }
}

#[test]
fn a_transport_stream_that_is_cut_or_changed_loses_pictures_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.ts");
    let whole = fs::read(fixture("high.ts")).unwrap();
    assert_eq!(whole.len() % 188, 0);
    let mut most = 0;
    for packets in 1..whole.len() / 188 {
        // In the midst of a packet, too.
        fs::write(&path, &whole[..packets * 188 + packets % 188]).unwrap();
        match open(path.to_str().unwrap(), &options()) {
            Ok(mut source) => {
                let (frames, broken) = drain(&mut *source);
                assert!(frames.len() + broken >= most, "{packets}");
                most = frames.len() + broken;
            }
            Err(error) => assert!(error.to_string().contains("hint:") && most == 0, "{error}"),
        }
    }
    assert!(most >= 13, "{most}");
    // A packet less, at any place.
    for packet in 0..whole.len() / 188 {
        let (before, after) = whole.split_at(packet * 188);
        fs::write(&path, [before, &after[188..]].concat()).unwrap();
        if let Ok(mut source) = open(path.to_str().unwrap(), &options()) {
            let (frames, broken) = drain(&mut *source);
            assert!((1..=14).contains(&(frames.len() + broken)), "{packet}");
        }
    }
}

#[test]
fn a_cut_mp4_gives_the_frames_before_the_cut() {
    let folder = tempfile::tempdir().unwrap();
    // FFmpeg writes the table of contents last; QuickTime's order is free, so move it.
    let bytes = fs::read(fixture("baseline.mp4")).unwrap();
    let moov = bytes.windows(4).position(|w| w == b"moov").unwrap() - 4;
    let mdat = bytes.windows(4).position(|w| w == b"mdat").unwrap() - 4;
    assert!(mdat < moov);
    let path = folder.path().join("cut.mp4");
    fs::write(&path, &bytes[..moov]).unwrap();
    assert!(refusal(&path).contains("never finished"));

    // A copy whose table comes first, with offsets moved behind it.
    let mut table = bytes[moov..].to_vec();
    let stco = table.windows(4).position(|w| w == b"stco").unwrap();
    let entries = u32::from_be_bytes(table[stco + 8..stco + 12].try_into().unwrap()) as usize;
    for entry in 0..entries {
        let at = stco + 12 + 4 * entry;
        let old = u32::from_be_bytes(table[at..at + 4].try_into().unwrap());
        let new = old + table.len() as u32;
        table[at..at + 4].copy_from_slice(&new.to_be_bytes());
    }
    let whole = [&bytes[..mdat], &table, &bytes[mdat..moov]].concat();
    fs::write(&path, &whole).unwrap();
    assert_eq!(drain(&mut *opened(&path)).0.len(), 6);
    fs::write(&path, &whole[..whole.len() - 30]).unwrap();
    let (frames, broken) = drain(&mut *opened(&path));
    assert_eq!((frames.len(), broken), (5, 1));
}

#[test]
fn what_is_no_h264_of_420_is_refused_with_the_remedy() {
    assert!(refusal(&fixture("chroma.mp4")).contains("4:2:0"));
    let text = refusal(&fixture("mpeg4.mp4"));
    assert!(
        text.contains("MPEG-4 Part 2") && text.contains("libx264"),
        "{text}"
    );
}

#[test]
fn jpeg_planes_are_pillows_within_rounding() {
    let golden = golden().mjpeg;
    let mut source = opened(&fixture("clip.mjpeg"));
    assert_eq!(source.info().yuv_space, YuvSpace::Bt601Full);
    assert_eq!(source.info().frames_per_second, Some(25.0));
    let (frames, broken) = drain(&mut *source);
    assert_eq!((frames.len(), broken), (golden.pictures.len(), 0));
    for (frame, picture) in frames.iter().zip(&golden.pictures) {
        assert_eq!(
            (frame.width(), frame.height()),
            (golden.width, golden.height)
        );
        assert_eq!(frame.format(), PixelFormat::I420);
        let (largest, mean) = difference(frame.data(), &hex(&picture.i420));
        assert!(
            largest <= 4 && mean < 0.6,
            "{}: {largest} {mean}",
            picture.name
        );
    }
}

#[test]
fn avi_frames_are_opencvs() {
    let golden = golden().avi;
    let mut source = opened(&fixture("clip.avi"));
    let info = source.info().clone();
    assert_eq!((info.width, info.height), (golden.width, golden.height));
    assert_eq!(info.frames_per_second, Some(golden.rate));
    let (frames, broken) = drain(&mut *source);
    assert_eq!((frames.len(), broken), (golden.rgb.len(), 0));
    for (frame, expected) in frames.iter().zip(&golden.rgb) {
        // OpenCV smooths chroma, rgb_pixels does not: edges of colour differ.
        let (_, mean) = difference(&rgb(frame), &hex(expected));
        assert!(mean < 4.0, "{mean}");
        let average =
            |bytes: &[u8]| bytes.iter().map(|b| f64::from(*b)).sum::<f64>() / bytes.len() as f64;
        let (ours, theirs) = (average(&rgb(frame)), average(&hex(expected)));
        assert!((ours - theirs).abs() < 0.5, "{ours} {theirs}");
    }
}

#[test]
fn damaged_pictures_are_told_and_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mjpeg");
    let bytes = fs::read(fixture("clip.mjpeg")).unwrap();
    let starts: Vec<usize> = (0..bytes.len() - 2)
        .filter(|at| bytes[*at..].starts_with(&[0xff, 0xd8, 0xff]))
        .collect();
    assert_eq!(starts.len(), 5);

    // The second picture loses its end: it is told, and the third is whole.
    let cut = [&bytes[..starts[2] - 40], &bytes[starts[2]..]].concat();
    fs::write(&path, &cut).unwrap();
    let (frames, broken) = drain(&mut *opened(&path));
    assert_eq!((frames.len(), broken), (4, 1));

    // The last one loses its end.
    fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    let (frames, broken) = drain(&mut *opened(&path));
    assert_eq!((frames.len(), broken), (4, 1));

    // A picture of another size in between.
    let mut other = Vec::new();
    let gray = Frame::new(8, 8, PixelFormat::Gray8, vec![50; 64]).unwrap();
    encode_jpeg(&mut other, &gray, 90).unwrap();
    fs::write(
        &path,
        [&bytes[..starts[1]], &other, &bytes[starts[1]..]].concat(),
    )
    .unwrap();
    let (frames, broken) = drain(&mut *opened(&path));
    assert_eq!((frames.len(), broken), (5, 1));

    let path = folder.path().join("clip.avi");
    let bytes = fs::read(fixture("clip.avi")).unwrap();
    let index = bytes.windows(4).position(|w| w == b"idx1").unwrap();
    fs::write(&path, &bytes[..index - 20]).unwrap();
    let (frames, broken) = drain(&mut *opened(&path));
    assert_eq!((frames.len(), broken), (3, 1));
}

#[test]
fn folders_are_read_in_the_order_of_names() {
    let folder = tempfile::tempdir().unwrap();
    let save = |name: &str, side: u32, value: u8| {
        let path = folder.path().join(name);
        image::RgbImage::from_pixel(side, 4, image::Rgb([value; 3]))
            .save(path)
            .unwrap();
    };
    save("b.png", 6, 20);
    save("a.png", 6, 10);
    save("c.bmp", 6, 30);
    save("d.png", 7, 40);
    fs::write(folder.path().join("e.png"), b"no picture").unwrap();
    fs::write(folder.path().join("notes.txt"), b"text").unwrap();
    let mut source = opened(folder.path());
    assert_eq!(source.info().format, PixelFormat::Rgb8);
    assert_eq!(source.info().frames_per_second, Some(10.0));
    let (frames, broken) = drain(&mut *source);
    let values: Vec<u8> = frames.iter().map(|frame| frame.data()[0]).collect();
    assert_eq!((values, broken), (vec![10, 20, 30], 2));

    let empty = tempfile::tempdir().unwrap();
    assert!(refusal(empty.path()).contains("no pictures"));
}

/// A folder of these still pictures, in the order given.
fn folder_of(stills: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (number, name) in stills.iter().enumerate() {
        let to = folder.path().join(format!("{number}-{name}"));
        fs::copy(fixture("stills").join(name), to).unwrap();
    }
    folder
}

#[test]
fn a_folders_pictures_are_read_as_stills_are() {
    // It notes that the camera was held upright.
    let turned = folder_of(&["turned.jpg", "turned.jpg"]);
    let mut source = opened(turned.path());
    assert_eq!((source.info().width, source.info().height), (12, 16));
    let (frames, broken) = drain(&mut *source);
    let still = bedside_video::still::read(&fixture("stills/turned.jpg")).unwrap();
    assert_eq!((frames.len(), broken), (2, 0));
    assert!(frames.iter().all(|frame| frame.data() == still.data()));

    // 16 bits and CMYK are refused, with the file's place and the remedy, and the rest is read.
    let mixed = folder_of(&["rgb.png", "gray16.png", "cmyk.jpg", "turned.jpg", "rgb.bmp"]);
    let mut source = opened(mixed.path());
    assert!(source.next(Vec::new()).unwrap().is_some());
    for (place, cause, remedy) in [
        ("picture 2", "16 bits", "window"),
        ("picture 3", "CMYK", "RGB"),
        ("picture 4", "12x16 among 16x12", "one size"),
    ] {
        let error = source.next(Vec::new()).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Broken);
        let text = error.to_string();
        let (what, hint) = text.split_once("hint:").unwrap();
        assert!(what.contains(place) && what.contains(cause), "{text}");
        assert!(hint.contains(remedy), "{text}");
    }
    assert!(source.next(Vec::new()).unwrap().is_some());
    assert!(refusal(folder_of(&["gray16.png"]).path()).contains("16 bits"));
}

#[test]
fn gray_pictures_fit_into_a_coloured_folder_but_not_the_other_way() {
    let coloured = folder_of(&["rgb.png", "gray.png"]);
    let (frames, broken) = drain(&mut *opened(coloured.path()));
    assert_eq!((frames.len(), broken), (2, 0));
    let gray = bedside_video::still::read(&fixture("stills/gray.png")).unwrap();
    let expected: Vec<u8> = gray.data().iter().flat_map(|v| [*v; 3]).collect();
    assert_eq!(frames[1].data(), expected);

    let gray = folder_of(&["gray.png", "rgb.png"]);
    let mut source = opened(gray.path());
    assert_eq!(source.info().format, PixelFormat::Gray8);
    assert!(source.next(Vec::new()).unwrap().is_some());
    let error = source.next(Vec::new()).unwrap_err().to_string();
    assert!(
        error.contains("picture 2") && error.contains("hint:"),
        "{error}"
    );
}

#[test]
fn what_is_no_camera_is_refused_with_the_remedy() {
    assert!(refusal(Path::new("/dev/video987")).contains("ls /dev/video*"));
    assert!(refusal(Path::new("/dev/null")).contains("/dev/video0"));
}

/// A coloured frame in each format, all of the same picture.
fn pictures() -> Vec<Frame> {
    let mut source = open("phantom:polyp,seed=2,size=97x66", &options()).unwrap();
    let frame = source.next(Vec::new()).unwrap().unwrap();
    let (w, h) = (97, 66);
    let mut y4m = Vec::new();
    Y4mSink::new("memory", &mut y4m, 30.0)
        .write(&frame)
        .unwrap();
    let data = y4m.split_off(y4m.len() - PixelFormat::I420.byte_len(w, h));
    let (w, h, cw) = (w as usize, h as usize, (w as usize).div_ceil(2));
    let (luma, chroma) = data.split_at(w * h);
    let (u, v) = chroma.split_at(chroma.len() / 2);
    let nv12: Vec<u8> = luma
        .iter()
        .copied()
        .chain(u.iter().zip(v).flat_map(|(u, v)| [*u, *v]))
        .collect();
    let mut yuyv = Vec::new();
    for (y, row) in luma.chunks(w).enumerate() {
        for (x, pair) in row.chunks(2).enumerate() {
            let at = y / 2 * cw + x;
            yuyv.extend([pair[0], u[at], *pair.last().unwrap(), v[at]]);
        }
    }
    let new = |format, data| Frame::new(97, 66, format, data).unwrap();
    let mut frames = vec![frame.clone(), new(PixelFormat::Gray8, luma.to_vec())];
    for space in [
        YuvSpace::Bt601Limited,
        YuvSpace::Bt601Full,
        YuvSpace::Bt709Limited,
        YuvSpace::Bt709Full,
    ] {
        frames.push(new(PixelFormat::I420, data.clone()).with_yuv_space(space));
        frames.push(new(PixelFormat::Nv12, nv12.clone()).with_yuv_space(space));
        frames.push(new(PixelFormat::Yuyv, yuyv.clone()).with_yuv_space(space));
    }
    frames
}

fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)).powi(2);
    let mean = a.iter().zip(b).map(square).sum::<f64>() / a.len() as f64;
    10.0 * (255.0 * 255.0 / mean.max(1e-9)).log10()
}

#[test]
fn jpeg_keeps_the_picture_of_every_format_and_space() {
    let folder = tempfile::tempdir().unwrap();
    for frame in pictures() {
        let mut jpeg = vec![1, 2, 3];
        encode_jpeg(&mut jpeg, &frame, 95).unwrap();
        let path = folder.path().join("one.mjpeg");
        fs::write(&path, &jpeg).unwrap();
        let (frames, _) = drain(&mut *opened(&path));
        let quality = psnr(&rgb(&frames[0]), &rgb(&frame));
        assert!(
            quality > 35.0,
            "{frame:?} {:?}: {quality}",
            frame.yuv_space()
        );
        // And another reader agrees on size and colours.
        let image = image::load_from_memory(&jpeg).unwrap().into_rgb8();
        assert_eq!(image.dimensions(), (97, 66));
        assert!(psnr(image.as_raw(), &rgb(&frame)) > 35.0);
    }
}

/// Frames a second, and a file that may be there.
fn at(frames_per_second: f64) -> SinkOptions {
    SinkOptions {
        frames_per_second,
        overwrite: true,
        ..SinkOptions::default()
    }
}

#[test]
fn rgb_becomes_yuv_of_the_same_colours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.y4m");
    for frame in pictures() {
        let mut sink = open_sink(path.to_str().unwrap(), &at(30.0)).unwrap();
        sink.write(&frame).unwrap();
        sink.finish().unwrap();
        let (frames, _) = drain(&mut *opened(&path));
        let quality = psnr(&rgb(&frames[0]), &rgb(&frame));
        assert!(quality > 38.0, "{frame:?}: {quality}");
    }
}

#[test]
fn p_22_a_file_is_bounded_in_bytes_and_none_that_holds_something_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.y4m");
    let frame = Frame::new(64, 64, PixelFormat::Gray8, vec![9; 4096]).unwrap();
    let options = SinkOptions {
        max_bytes: 15_000,
        ..SinkOptions::default()
    };
    let mut sink = open_sink(path.to_str().unwrap(), &options).unwrap();
    sink.write(&frame).unwrap();
    sink.write(&frame).unwrap();
    let error = sink.write(&frame).unwrap_err();
    assert_eq!(error.kind(), SinkErrorKind::Closed);
    assert!(error.to_string().contains("the size that it may have"));
    let written = fs::read(&path).unwrap();
    assert!(written.len() < 15_000);
    assert_eq!(drain(&mut *opened(&path)).0.len(), 2, "whole frames alone");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let error = open_sink(path.to_str().unwrap(), &options).err().unwrap();
    assert!(error.to_string().contains("--overwrite"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), written);
    let overwrite = SinkOptions {
        overwrite: true,
        ..options
    };
    open_sink(path.to_str().unwrap(), &overwrite).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"");
    open_sink(path.to_str().unwrap(), &options).unwrap();
    let device = folder.path().join("device.y4m");
    symlink("/dev/full", &device).unwrap();
    let mut full = open_sink(device.to_str().unwrap(), &options).unwrap();
    assert!(full.write(&frame).is_err());
}

#[test]
fn mjpeg_files_grow_and_keep_to_one_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.mjpeg");
    let mut sink = open_sink(path.to_str().unwrap(), &at(30.0)).unwrap();
    let frame =
        |side| Frame::new(side, 8, PixelFormat::Gray8, vec![99; 8 * side as usize]).unwrap();
    for count in 1..=3 {
        sink.write(&frame(16)).unwrap();
        assert_eq!(drain(&mut *opened(&path)).0.len(), count);
    }
    let error = sink.write(&frame(8)).unwrap_err();
    assert_eq!(error.kind(), SinkErrorKind::Frame);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Damaged files of every kind end, with frames of the told size and without a panic.
    #[test]
    fn damaged_files_end(
        name in prop_oneof![
            Just("high.mp4"), Just("baseline.mp4"), Just("clip.avi"), Just("clip.mjpeg"),
        ],
        cut in prop_oneof![3 => Just(1.0), 1 => 0.0..1.0f64],
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = fs::read(fixture(name)).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let length = bytes.len() as f64;
        bytes.truncate((length * cut) as usize);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, &bytes).unwrap();
        if let Ok(mut source) = open(path.to_str().unwrap(), &options()) {
            let info = source.info().clone();
            let mut calls = 0;
            loop {
                calls += 1;
                prop_assert!(calls < 1000);
                match source.next(Vec::new()) {
                    Ok(Some(frame)) => {
                        prop_assert_eq!((frame.width(), frame.height()), (info.width, info.height));
                        prop_assert_eq!(frame.format(), info.format);
                    }
                    Err(error) if error.kind() == SourceErrorKind::Broken => {}
                    _ => break,
                }
            }
        }
    }

    #[test]
    fn random_bytes_are_no_video(
        ending in prop_oneof![Just("mp4"), Just("avi"), Just("mjpeg"), Just("mov")],
        bytes in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("clip.{ending}"));
        fs::write(&path, &bytes).unwrap();
        refusal(&path);
    }
}

/// A name that may stand nowhere but where it was put.
const CANARY: &str = "ZZPATIENTZZ";

#[test]
fn p_21_neither_names_nor_errors_of_sources_tell_paths_or_contents() {
    let folder = tempfile::Builder::new().prefix(CANARY).tempdir().unwrap();
    let place = |name: &str| folder.path().join(format!("{CANARY}{name}"));
    let told = |text: &str| assert!(!text.contains(CANARY) && !text.is_empty(), "{text}");
    // All that a source says of itself, with its errors.
    let listen = |path: &Path, options: &OpenOptions| {
        let spec = path.to_str().unwrap();
        let mut said = Vec::new();
        match open(spec, options) {
            Err(error) => said.push(format!("{error} {error:?}")),
            Ok(mut source) => {
                said.push(format!("{} {:?}", source.info().name, source.info()));
                for _ in 0..40 {
                    match source.next(Vec::new()) {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(error) => said.push(format!("{error} {error:?}")),
                    }
                }
            }
        }
        said
    };
    let repeated = || {
        let mut options = options();
        options.repeat = true;
        options
    };

    // What is whole, and the same with the name written over its bytes at many places.
    let clip = fixture("clip.avi");
    let mut kinds = vec![
        ("a.avi", fs::read(clip).unwrap()),
        ("a.mp4", fs::read(fixture("mpeg4.mp4")).unwrap()),
        ("b.mp4", fs::read(fixture("chroma.mp4")).unwrap()),
        ("a.mjpg", fs::read(fixture("stills/turned.jpg")).unwrap()),
        ("a.y4m", b"YUV4MPEG2 W2 H2 Cmono\nFRAME\n1234".to_vec()),
        ("a.xyz", b"text".to_vec()),
        ("no-such.y4m", Vec::new()),
    ];
    for entry in fs::read_dir(fixture("stills")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            kinds.push(("stills", fs::read(path).unwrap()));
        }
    }
    let mut errors = 0;
    for (name, whole) in kinds {
        let places = (0..whole.len()).step_by((whole.len() / 40).max(1));
        for at in places.map(Some).chain([None]) {
            let mut bytes = whole.clone();
            if let Some(at) = at {
                let end = whole.len().min(at + CANARY.len());
                bytes[at..end].copy_from_slice(&CANARY.as_bytes()[..end - at]);
            }
            let path = if name == "stills" {
                let stills = place("stills");
                fs::create_dir_all(&stills).unwrap();
                fs::write(stills.join(format!("1{CANARY}.png")), &bytes).unwrap();
                fs::write(stills.join(format!("2{CANARY}.png")), &bytes).unwrap();
                stills
            } else {
                let path = place(name);
                if !whole.is_empty() {
                    fs::write(&path, &bytes).unwrap();
                }
                path
            };
            for options in [options(), repeated()] {
                let said = listen(&path, &options);
                errors += said.iter().filter(|text| text.contains("hint:")).count();
                said.iter().for_each(|text| told(text));
            }
        }
    }
    assert!(
        errors > 100,
        "{errors}: contents that fail to be read were read"
    );

    // A path is told to whoever asks for it, and devices' are told always.
    let mut named = options();
    named.name_source = true;
    let path = place("a.y4m");
    fs::write(&path, b"YUV4MPEG2 W2 H2 Cmono\nFRAME\n1234").unwrap();
    assert!(listen(&path, &named)[0].starts_with(path.to_str().unwrap()));
    assert!(refusal(Path::new("/dev/video987")).starts_with("/dev/video987: "));
}
