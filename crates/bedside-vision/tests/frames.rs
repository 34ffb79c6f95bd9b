//! Frames of every format and size through the whole way, and values known by hand.

use bedside_core::{Frame, FrameView, Mask, PixelFormat, YuvSpace};
use bedside_vision::flow::Luma;
use bedside_vision::mask::at_frame_size;
use bedside_vision::rle::{self, RleError};
use bedside_vision::{Letterbox, Preprocessor, ResizeFilter, colour, dice, iou};
use proptest::prelude::*;

use crate::common::{frame, noise, prepared_mask, prepared_stats};

const FORMATS: [PixelFormat; 5] = [
    PixelFormat::Rgb8,
    PixelFormat::Gray8,
    PixelFormat::Nv12,
    PixelFormat::I420,
    PixelFormat::Yuyv,
];
const SPACES: [YuvSpace; 4] = [
    YuvSpace::Bt601Limited,
    YuvSpace::Bt601Full,
    YuvSpace::Bt709Limited,
    YuvSpace::Bt709Full,
];

fn plain(side: u32) -> Preprocessor {
    Preprocessor::new(side, [0.0; 3], [1.0; 3], ResizeFilter::Bilinear)
}

/// Logits from -8 to 8.
fn logits(count: usize, seed: u32) -> Vec<f32> {
    noise(count, seed)
        .iter()
        .map(|v| f32::from(*v) / 16.0 - 8.0)
        .collect()
}

/// Sides of up to 4000 pixels with an area that a test can afford.
fn sides() -> impl Strategy<Value = (u32, u32)> {
    prop_oneof![
        (1..=64_u32, 1..=64_u32),
        (1..=4000_u32, 1..=64_u32),
        (1..=64_u32, 1..=4000_u32),
        Just((1, 1)),
        Just((4000, 1)),
        Just((1, 4000)),
    ]
}

/// From YUV to RGB in floating point, with the factors as ITU-R BT.601-7 and BT.709-6 print them.
fn reference(space: YuvSpace, [y, u, v]: [u8; 3]) -> [f64; 3] {
    let full = matches!(space, YuvSpace::Bt601Full | YuvSpace::Bt709Full);
    let (y, u, v) = (f64::from(y), f64::from(u) - 128.0, f64::from(v) - 128.0);
    let (y, u, v) = if full {
        (y, u, v)
    } else {
        (
            (y - 16.0).max(0.0) / 219.0 * 255.0,
            u / 224.0 * 255.0,
            v / 224.0 * 255.0,
        )
    };
    let rgb = match space {
        YuvSpace::Bt601Limited | YuvSpace::Bt601Full => [
            y + 1.402 * v,
            y - 0.344_136 * u - 0.714_136 * v,
            y + 1.772 * u,
        ],
        YuvSpace::Bt709Limited | YuvSpace::Bt709Full => [
            y + 1.5748 * v,
            y - 0.187_324 * u - 0.468_124 * v,
            y + 1.8556 * u,
        ],
    };
    rgb.map(|c| c.clamp(0.0, 255.0))
}

/// Y, U and V of a pixel, found by its place in the buffer.
fn yuv_at(frame: &Frame, x: usize, y: usize) -> [u8; 3] {
    let (width, height, data) = (
        frame.width() as usize,
        frame.height() as usize,
        frame.data(),
    );
    let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
    let (luma, chroma) = (y * width + x, (y / 2) * half_width + x / 2);
    let planes = width * height;
    let places = match frame.format() {
        PixelFormat::Nv12 => [luma, planes + 2 * chroma, planes + 2 * chroma + 1],
        PixelFormat::I420 => [
            luma,
            planes + chroma,
            planes + half_width * half_height + chroma,
        ],
        _ => {
            let pair = y * half_width * 4 + x / 2 * 4;
            [pair + x % 2 * 2, pair + 1, pair + 3]
        }
    };
    places.map(|at| data[at])
}

proptest! {
    #[test]
    fn yuv_of_any_size_and_space_is_within_one_level_of_the_standard(
        (width, height) in (1..20_u32, 1..20_u32),
        format in prop::sample::select(&FORMATS[2..]),
        space in prop::sample::select(&SPACES[..]),
        seed: u32,
    ) {
        let frame = frame(width, height, format, seed).with_yuv_space(space);
        let mut rgb = vec![9; 7];
        colour::rgb_pixels(&frame, &mut rgb);
        prop_assert_eq!(rgb.len(), (width * height * 3) as usize);
        let places = (0..height as usize).flat_map(|y| (0..width as usize).map(move |x| (x, y)));
        for (rgb, (x, y)) in rgb.chunks_exact(3).zip(places) {
            for (found, expected) in rgb.iter().zip(reference(space, yuv_at(&frame, x, y))) {
                prop_assert!((f64::from(*found) - expected).abs() <= 1.0, "({}, {})", x, y);
            }
        }
    }

    /// A host's buffers need not be packed first.
    #[test]
    fn padding_between_rows_changes_nothing(
        (width, height) in (1..20_u32, 1..20_u32),
        format in prop::sample::select(&FORMATS[..]),
        space in prop::sample::select(&SPACES[..]),
        padding in prop::array::uniform3(0_usize..9),
        seed: u32,
    ) {
        let packed = frame(width, height, format, seed).with_yuv_space(space);
        let buffers: Vec<(Vec<u8>, usize)> = packed
            .view()
            .planes()
            .iter()
            .zip(padding)
            .map(|(plane, padding)| {
                let rows = plane.rows().map(|row| [row, &vec![77; padding]].concat());
                (rows.collect::<Vec<_>>().concat(), plane.stride() + padding)
            })
            .collect();
        let planes: Vec<(&[u8], usize)> =
            buffers.iter().map(|(data, stride)| (data.as_slice(), *stride)).collect();
        let padded = FrameView::new(width, height, format, &planes).unwrap();
        let padded = padded.with_yuv_space(space);

        prop_assert_eq!(padded.to_frame(), packed.clone());
        let (mut a, mut b) = (Vec::new(), Vec::new());
        colour::rgb_pixels(padded, &mut a);
        colour::rgb_pixels(&packed, &mut b);
        prop_assert_eq!(a, b);
        let (mut a, mut b) = (Luma::default(), Luma::default());
        a.reduce(padded);
        b.reduce(&packed);
        prop_assert!(a.rows().eq(b.rows()));
        let (mut a, mut b) = (Vec::new(), Vec::new());
        plain(8).run(padded, false, &mut a);
        plain(8).run(&packed, false, &mut b);
        prop_assert_eq!(a, b);
    }

    #[test]
    fn transposing_is_as_if_the_frame_had_been_transposed(
        (width, height) in (1..50_u32, 1..50_u32),
        bicubic: bool,
        seed: u32,
    ) {
        let filter = if bicubic { ResizeFilter::Bicubic } else { ResizeFilter::Bilinear };
        // Nothing that the bicubic kernel overshoots black or white from: the resize clips between
        // its two directions, whose order differs here.
        let height = if bicubic { width } else { height };
        let levels = noise((width * height * 3) as usize, seed);
        let levels = levels.iter().map(|v| 64 + v / 2).collect();
        let upright = Frame::new(width, height, PixelFormat::Rgb8, levels).unwrap();
        let pixels = upright.data().as_chunks::<3>().0;
        let turned: Vec<u8> = (0..width * height)
            .map(|i| pixels[(i % height * width + i / height) as usize])
            .collect::<Vec<_>>()
            .concat();
        let turned = Frame::new(height, width, PixelFormat::Rgb8, turned).unwrap();
        let mut preprocessor = Preprocessor::new(16, [0.0; 3], [1.0; 3], filter);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        preprocessor.run(&upright, true, &mut a);
        preprocessor.run(&turned, false, &mut b);
        prop_assert_eq!(a.len(), b.len());
        // Rounding after each direction.
        let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        prop_assert!(worst <= 2.0, "{} levels", worst);
    }

    /// A ramp is interpolated exactly inside of the outermost centres, so its edge can be told.
    #[test]
    fn a_half_plane_painted_for_the_model_lies_where_the_letterbox_says(
        (width, height) in sides(),
        side in 2..40_u32,
        part in 0.0..1.0_f64,
        (transpose, down) in any::<(bool, bool)>(),
    ) {
        let edge = 0.5 + part * f64::from(side - 1);
        let letterbox = Letterbox::new(width, height, transpose);
        let ramp: Vec<f32> = (0..side * side)
            .map(|i| (f64::from(if down { i / side } else { i % side }) + 0.5 - edge) as f32)
            .collect();
        let found = at_frame_size(&ramp, (side as usize, side as usize), &letterbox);
        prop_assert_eq!(found.len(), (width * height) as usize);
        for (i, logit) in (0..).zip(found) {
            let centre = (f64::from(i % width) + 0.5, f64::from(i / width) + 0.5);
            let across = centre.0 + f64::from(letterbox.left());
            let down_by = centre.1 + f64::from(letterbox.top());
            let at = if down == transpose { across } else { down_by };
            let beyond = at * f64::from(side) / f64::from(letterbox.square()) - edge;
            if beyond.abs() > 1e-4 {
                prop_assert_eq!(logit > 0.0, beyond > 0.0, "{:?}", centre);
            }
        }
    }

    #[test]
    fn statistics_are_means_over_the_set_pixels(
        (width, height) in (1..40_u32, 1..40_u32),
        threshold in -8.0..9.0_f32,
        format in prop::sample::select(&FORMATS[..]),
        seed: u32,
    ) {
        let mut preprocessor = plain(4);
        let frame = frame(width, height, format, seed);
        let letterbox = preprocessor.run(&frame, false, &mut Vec::new());
        let logits = logits(6 * 5, seed);
        let (mask, stats) = prepared_mask(&mut preprocessor, &logits, (6, 5), &letterbox, threshold);
        let large = at_frame_size(&logits, (6, 5), &letterbox);
        prop_assert_eq!(prepared_stats(&mut preprocessor, &mask, &large), stats);

        let set: Vec<usize> = (0..large.len()).filter(|i| mask.data()[*i] == 1).collect();
        prop_assert_eq!(stats.area, set.len() as u64);
        prop_assert_eq!(stats.bounding_box.is_none(), set.is_empty());
        let mean = |value: &dyn Fn(usize) -> f64| {
            set.iter().map(|i| value(*i)).sum::<f64>() / set.len().max(1) as f64
        };
        let probability = mean(&|i| 1.0 / (1.0 + (-f64::from(large[i])).exp()));
        prop_assert!((f64::from(stats.mean_probability) - probability).abs() < 1e-5);
        let mut rgb = Vec::new();
        colour::rgb_pixels(&frame, &mut rgb);
        for (c, found) in stats.mean_rgb.iter().enumerate() {
            let expected = mean(&|i| f64::from(rgb[i * 3 + c]) / 256.0);
            prop_assert!((f64::from(*found) - expected).abs() < 1e-5);
        }
    }
}

proptest! {
    // Frames of 4000 pixels a side take a padded square of 48 MB.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn frames_of_any_size_format_and_aspect_pass(
        (width, height) in sides(),
        format in prop::sample::select(&FORMATS[..]),
        transpose: bool,
        threshold in prop_oneof![
            -9.0..9.0_f32,
            Just(f32::NAN),
            Just(f32::INFINITY),
            Just(f32::NEG_INFINITY)
        ],
        seed: u32,
    ) {
        pass(&frame(width, height, format, seed), transpose, threshold);
    }
}

#[test]
fn large_frames_pass() {
    for (width, height, format) in [
        (3840, 2160, PixelFormat::Nv12),
        (1999, 3999, PixelFormat::I420),
        (4000, 4000, PixelFormat::Gray8),
    ] {
        pass(&frame(width, height, format, 7), true, 0.0);
    }
}

/// There and back, with broken logits among the sound ones.
fn pass(frame: &Frame, transpose: bool, threshold: f32) {
    let mut preprocessor = plain(24);
    let mut tensor = vec![5.0; 3];
    let letterbox = preprocessor.run(frame, transpose, &mut tensor);
    assert_eq!(tensor.len(), 3 * 24 * 24);
    assert!(tensor.iter().all(|v| (0.0..=255.0).contains(v)));
    let mut logits = logits(9 * 13, 1);
    for (at, broken) in [(3, f32::NAN), (40, f32::INFINITY), (77, f32::NEG_INFINITY)] {
        logits[at] = broken;
    }
    let (mask, stats) = prepared_mask(&mut preprocessor, &logits, (9, 13), &letterbox, threshold);
    assert_eq!(
        (mask.width(), mask.height()),
        (frame.width(), frame.height())
    );
    assert_eq!(stats.area, mask.area());
    if threshold.is_nan() || threshold == f32::INFINITY {
        assert!(mask.is_empty(), "nothing is above {threshold}");
    }
}

#[test]
fn logits_that_are_no_number_are_not_set() {
    let mut preprocessor = plain(4);
    let letterbox = preprocessor.run(&frame(6, 4, PixelFormat::Gray8, 1), false, &mut Vec::new());
    let (mask, stats) = prepared_mask(&mut preprocessor, &[f32::NAN; 9], (3, 3), &letterbox, 0.0);
    assert!(mask.is_empty() && stats.bounding_box.is_none());
    assert_eq!((stats.mean_probability, stats.mean_rgb), (0.0, [0.0; 3]));
}

#[test]
fn fewer_logits_than_told_are_no_reason_to_panic() {
    let mut preprocessor = plain(4);
    let letterbox = preprocessor.run(&frame(6, 4, PixelFormat::Gray8, 1), false, &mut Vec::new());
    for size in [(0, 0), (0, 3), (3, 0), (9, 9)] {
        let (mask, _) = prepared_mask(&mut preprocessor, &[1.0; 3], size, &letterbox, 2.0);
        assert!(mask.is_empty(), "{size:?}");
        assert_eq!(
            at_frame_size(&[1.0; 3], size, &letterbox).len(),
            24,
            "{size:?}"
        );
    }
}

#[test]
fn similarity_of_known_masks() {
    let mask = |data: [u8; 6]| Mask::from_bytes(3, 2, data.to_vec()).unwrap();
    let a = mask([1, 1, 0, 1, 0, 0]);
    let b = mask([1, 0, 0, 1, 1, 1]);
    assert_eq!((iou(&a, &b), dice(&a, &b)), (2.0 / 5.0, 4.0 / 7.0));
    let none = Mask::empty(3, 2);
    assert_eq!((iou(&a, &none), dice(&a, &none)), (0.0, 0.0));
    assert_eq!((iou(&none, &none), dice(&none, &none)), (1.0, 1.0));
    // As many pixels in another shape: nothing can be compared, not even two empty masks.
    let other = Mask::from_bytes(2, 3, a.data().to_vec()).unwrap();
    assert_eq!((iou(&a, &other), dice(&a, &other)), (0.0, 0.0));
    assert_eq!(
        (
            iou(&none, &Mask::empty(2, 3)),
            dice(&none, &Mask::empty(2, 3))
        ),
        (0.0, 0.0)
    );
}

#[test]
fn run_lengths_that_do_not_fit_are_refused() {
    for counts in [&[][..], &[5], &[3, 4], &[0, 7], &[u32::MAX, u32::MAX]] {
        let runs = counts.iter().map(|c| u64::from(*c)).sum();
        let refused = rle::decode(3, 2, counts).unwrap_err();
        assert_eq!(refused, RleError::Length { pixels: 6, runs });
        assert!(refused.to_string().contains(&runs.to_string()));
    }
    // A byte below and one above the alphabet, an end within a number, a negative run, and a
    // number of more than 40 bits.
    for (text, at) in [
        ("1/", 1),
        ("12p", 2),
        ("1P", 2),
        ("N", 0),
        ("PPPPPPPPPPPP1", 8),
    ] {
        assert_eq!(rle::from_string(text), Err(RleError::Text { at }), "{text}");
    }
}
