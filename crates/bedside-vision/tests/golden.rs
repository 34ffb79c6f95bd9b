//! Golden values from OpenCV, Pillow, PyTorch and pycocotools; `golden/make.py` made them.

use bedside_core::{Frame, Mask, PixelFormat, YuvSpace};
use bedside_vision::mask::at_frame_size;
use bedside_vision::{Preprocessor, ResizeFilter, colour, rle};
use serde::Deserialize;

use crate::common::{prepared_mask, prepared_stats};

/// The cases of one file; bytes are hexadecimal digits.
fn cases<T: for<'a> Deserialize<'a>>(json: &str) -> Vec<T> {
    let cases: Vec<T> = serde_json::from_str(json).unwrap();
    assert!(!cases.is_empty());
    cases
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks_exact(2);
    digits
        .map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap())
        .collect()
}

fn mask(width: u32, height: u32, text: &str) -> Mask {
    rle::decode(width, height, &rle::from_string(text).unwrap()).unwrap()
}

/// The largest difference of two pictures in levels.
fn worst(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[derive(Deserialize)]
struct Colour {
    format: String,
    space: String,
    width: u32,
    height: u32,
    data: String,
    rgb: String,
}

#[test]
fn colours_are_those_of_opencv_and_itu() {
    for case in cases::<Colour>(include_str!("golden/colour.json")) {
        let format = match case.format.as_str() {
            "Nv12" => PixelFormat::Nv12,
            "I420" => PixelFormat::I420,
            _ => PixelFormat::Yuyv,
        };
        let space = match case.space.as_str() {
            "Bt601Limited" => YuvSpace::Bt601Limited,
            "Bt601Full" => YuvSpace::Bt601Full,
            "Bt709Limited" => YuvSpace::Bt709Limited,
            _ => YuvSpace::Bt709Full,
        };
        let frame = Frame::new(case.width, case.height, format, bytes(&case.data)).unwrap();
        // What a larger frame has left in the buffer must not show.
        let mut rgb = vec![77; 1000];
        colour::rgb_pixels(&frame.with_yuv_space(space), &mut rgb);
        let off = worst(&rgb, &bytes(&case.rgb));
        assert!(off <= 1, "{} {}: {off} levels off", case.format, case.space);
    }
}

#[derive(Deserialize)]
struct Resize {
    width: u32,
    height: u32,
    side: u32,
    gray: bool,
    pixels: String,
    bilinear: String,
    bicubic: String,
}

#[test]
fn padding_and_resize_are_those_of_pillow() {
    for case in cases::<Resize>(include_str!("golden/resize.json")) {
        let format = if case.gray {
            PixelFormat::Gray8
        } else {
            PixelFormat::Rgb8
        };
        let frame = Frame::new(case.width, case.height, format, bytes(&case.pixels)).unwrap();
        for (filter, golden) in [
            (ResizeFilter::Bilinear, &case.bilinear),
            (ResizeFilter::Bicubic, &case.bicubic),
        ] {
            for transpose in [false, true] {
                let levels = levels(&frame, case.side, filter, transpose);
                let golden = planes(&bytes(golden), case.side as usize, case.gray, transpose);
                let off = worst(&levels, &golden);
                let (width, height) = (case.width, case.height);
                assert!(
                    off <= 1,
                    "{width}x{height} {filter:?} {transpose}: {off} levels off"
                );
            }
        }
    }
}

/// The tensor of a frame, brought back to levels of 0 to 255.
fn levels(frame: &Frame, side: u32, filter: ResizeFilter, transpose: bool) -> Vec<u8> {
    let (mean, std) = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]);
    let mut preprocessor = Preprocessor::new(side, mean, std, filter);
    let mut tensor = Vec::new();
    // A bright frame first: nothing of it may stay in the padding.
    let bright = Frame::new(
        side + 9,
        side + 9,
        PixelFormat::Gray8,
        vec![255; (side as usize + 9).pow(2)],
    );
    preprocessor.run(&bright.unwrap(), false, &mut tensor);
    preprocessor.run(frame, transpose, &mut tensor);
    let planes = tensor
        .chunks_exact((side * side) as usize)
        .zip(mean)
        .zip(std);
    planes
        .flat_map(|((plane, mean), std)| plane.iter().map(move |v| v * std + mean))
        .map(|level| {
            assert!(
                (level - level.round()).abs() < 1e-3,
                "{level} is no whole level"
            );
            level.round() as u8
        })
        .collect()
}

/// Interleaved RGB or gray as three planes, rows and columns swapped where asked.
fn planes(pixels: &[u8], side: usize, gray: bool, transpose: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for channel in 0..3 {
        for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
            let at = if transpose {
                x * side + y
            } else {
                y * side + x
            };
            out.push(if gray {
                pixels[at]
            } else {
                pixels[at * 3 + channel]
            });
        }
    }
    out
}

#[derive(Deserialize)]
struct Logits {
    width: u32,
    height: u32,
    rows: usize,
    columns: usize,
    transpose: bool,
    threshold: f32,
    logits: Vec<f32>,
    rgb: String,
    mask: String,
    area: u64,
    r#box: [u32; 4],
    mean_probability: f32,
    mean_rgb: [f32; 3],
    corners: [f32; 4],
}

#[test]
fn masks_and_statistics_are_those_of_pytorch() {
    let close = |a: f32, b: f32, by: f32| assert!((a - b).abs() < by, "{a} is not {b}");
    for case in cases::<Logits>(include_str!("golden/masks.json")) {
        let (width, height) = (case.width, case.height);
        let frame = Frame::new(width, height, PixelFormat::Rgb8, bytes(&case.rgb)).unwrap();
        let mut preprocessor = Preprocessor::new(16, [0.0; 3], [1.0; 3], ResizeFilter::Bilinear);
        let letterbox = preprocessor.run(&frame, case.transpose, &mut Vec::new());
        let size = (case.rows, case.columns);
        let (found, stats) = prepared_mask(
            &mut preprocessor,
            &case.logits,
            size,
            &letterbox,
            case.threshold,
        );
        assert_eq!(
            found,
            mask(width, height, &case.mask),
            "{width}x{height} {}",
            case.transpose
        );
        assert_eq!(stats.area, case.area);
        let found_box = stats.bounding_box.unwrap();
        assert_eq!(
            case.r#box,
            [found_box.x, found_box.y, found_box.width, found_box.height]
        );
        close(stats.mean_probability, case.mean_probability, 1e-5);
        for (a, b) in stats.mean_rgb.into_iter().zip(case.mean_rgb) {
            close(a, b, 1e-5);
        }
        let large = at_frame_size(&case.logits, size, &letterbox);
        let (w, n) = (width as usize, large.len());
        for (at, corner) in [0, w - 1, n - w, n - 1].into_iter().zip(case.corners) {
            close(large[at], corner, 1e-3);
        }
        assert_eq!(prepared_stats(&mut preprocessor, &found, &large), stats);
    }
}

#[derive(Deserialize)]
struct Runs {
    width: u32,
    height: u32,
    counts: Vec<u32>,
    text: String,
}

#[test]
fn run_lengths_are_those_of_pycocotools() {
    for case in cases::<Runs>(include_str!("golden/rle.json")) {
        assert_eq!(rle::to_string(&case.counts), case.text);
        assert_eq!(rle::from_string(&case.text).unwrap(), case.counts);
        let mask = rle::decode(case.width, case.height, &case.counts).unwrap();
        assert_eq!(rle::encode(&mask), case.counts);
    }
}
