//! What holds for any frame, mask and logits, against plain references written here.

use bedside_core::{Frame, Mask, PixelFormat};
use bedside_vision::mask::at_frame_size;
use bedside_vision::{Letterbox, Preprocessor, ResizeFilter, colour, dice, iou, rle};
use proptest::prelude::*;

use crate::common::{prepared_mask, prepared_stats};

fn mask_of(width: u32, height: u32, set: impl Fn(u32, u32) -> bool) -> Mask {
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    Mask::from_bytes(
        width,
        height,
        pixels.map(|(x, y)| u8::from(set(x, y))).collect(),
    )
    .unwrap()
}

/// Masks of up to 24x24 pixels, from sparse to full.
fn masks() -> impl Strategy<Value = Mask> {
    (1_u32..24, 1_u32..24, 0_u8..=100).prop_flat_map(|(width, height, percent)| {
        prop::collection::vec(0_u8..100, (width * height) as usize).prop_map(move |draws| {
            mask_of(width, height, |x, y| {
                draws[(y * width + x) as usize] < percent
            })
        })
    })
}

fn frame(width: u32, height: u32, format: PixelFormat, seed: u8) -> Frame {
    let bytes = (0..format.byte_len(width, height))
        .map(|i| (i as u64).wrapping_mul(2_654_435_761).to_le_bytes()[2] ^ seed);
    Frame::new(width, height, format, bytes.collect()).unwrap()
}

fn preprocessor(side: u32) -> Preprocessor {
    Preprocessor::new(side, [0.0; 3], [1.0; 3], ResizeFilter::Bilinear)
}

/// The interpolated logit at a frame pixel, by the definition and in f64.
fn logit_at(logits: &[f32], (h, w): (usize, usize), letterbox: &Letterbox, x: u32, y: u32) -> f64 {
    let along = |pixel: u32, offset: u32, n: usize| {
        let at = (f64::from(pixel + offset) + 0.5) * n as f64 / f64::from(letterbox.square()) - 0.5;
        let at = at.max(0.0);
        let low = (at as usize).min(n - 1);
        (low, (low + 1).min(n - 1), at - low as f64)
    };
    let (x, y) = ((x, letterbox.left()), (y, letterbox.top()));
    let (x, y) = if letterbox.transposed() {
        (y, x)
    } else {
        (x, y)
    };
    let ((x0, x1, tx), (y0, y1, ty)) = (along(x.0, x.1, w), along(y.0, y.1, h));
    let cell = |y: usize, x: usize| f64::from(logits[y * w + x]);
    let row = |y: usize| cell(y, x0) * (1.0 - tx) + cell(y, x1) * tx;
    row(y0) * (1.0 - ty) + row(y1) * ty
}

/// The interpolated logit at a frame pixel, down and then across, as the masks have it to the bit.
fn blended(logits: &[f32], (h, w): (usize, usize), letterbox: &Letterbox, x: u32, y: u32) -> f32 {
    let along = |pixel: u32, offset: u32, n: usize| {
        let at = ((pixel + offset) as f32 + 0.5) * (n as f32 / letterbox.square() as f32) - 0.5;
        let at = at.max(0.0);
        let low = (at as usize).min(n - 1);
        (low, (low + 1).min(n - 1), at - low as f32)
    };
    let transposed = letterbox.transposed();
    let (rows, columns) = if transposed { (w, h) } else { (h, w) };
    let cell = |y: usize, x: usize| logits[if transposed { x * w + y } else { y * w + x }];
    let (x0, x1, tx) = along(x, letterbox.left(), columns);
    let (y0, y1, ty) = along(y, letterbox.top(), rows);
    let column = |x: usize| cell(y0, x) + (cell(y1, x) - cell(y0, x)) * ty;
    column(x0) + (column(x1) - column(x0)) * tx
}

/// A point of the frame, as a point of a grid of `side` x `side` over the square.
fn to_model(letterbox: &Letterbox, (x, y): (f64, f64), side: u32) -> (f64, f64) {
    let scale = f64::from(side) / f64::from(letterbox.square());
    let x = (x + f64::from(letterbox.left())) * scale;
    let y = (y + f64::from(letterbox.top())) * scale;
    if letterbox.transposed() {
        (y, x)
    } else {
        (x, y)
    }
}

proptest! {
    #[test]
    fn frames_lie_in_the_middle_of_the_square(
        (width, height) in (1_u32..4000, 1_u32..4000),
        transposed: bool,
    ) {
        let letterbox = Letterbox::new(width, height, transposed);
        prop_assert_eq!(letterbox.square(), width.max(height));
        let right = letterbox.square() - letterbox.left() - width;
        let below = letterbox.square() - letterbox.top() - height;
        prop_assert!(right - letterbox.left() <= 1 && below - letterbox.top() <= 1);
    }

    /// With as many logits as the square has pixels nothing is interpolated, so whatever is
    /// painted in the model's space must come back pixel by pixel.
    #[test]
    fn what_is_painted_in_the_model_returns_to_its_place(mask in masks(), transpose: bool) {
        let (width, height) = (mask.width(), mask.height());
        let mut preprocessor = preprocessor(8);
        let picture = frame(width, height, PixelFormat::Rgb8, 1);
        let letterbox = preprocessor.run(&picture, transpose, &mut Vec::new());
        let n = letterbox.square();
        let mut logits = vec![-1.0; (n * n) as usize];
        for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
            let centre = (f64::from(x) + 0.5, f64::from(y) + 0.5);
            let (column, row) = to_model(&letterbox, centre, n);
            if mask.get(x, y) {
                logits[row as usize * n as usize + column as usize] = 1.0;
            }
        }
        let (found, stats) =
            prepared_mask(&mut preprocessor, &logits, (n as usize, n as usize), &letterbox, 0.0);
        prop_assert_eq!(&found, &mask);
        prop_assert_eq!(stats.area, mask.area());
        let set = || (0..height).flat_map(|y| (0..width).map(move |x| (x, y)))
            .filter(|(x, y)| mask.get(*x, *y));
        let extents = stats.bounding_box.map(|b| (b.x, b.y, b.x + b.width - 1, b.y + b.height - 1));
        let expected = set().map(|(x, _)| x).min().map(|left| (
            left,
            set().map(|(_, y)| y).min().unwrap(),
            set().map(|(x, _)| x).max().unwrap(),
            set().map(|(_, y)| y).max().unwrap(),
        ));
        prop_assert_eq!(extents, expected);
    }

    #[test]
    fn masks_follow_the_definition_for_any_shape(
        (long, short) in (1_u32..4000, 1_u32..6),
        upright: bool,
        transpose: bool,
        (h, w) in (1_usize..9, 1_usize..9),
        threshold in -2.0_f32..2.0,
        draws in prop::collection::vec(-5.0_f32..5.0, 64),
    ) {
        let (width, height) = if upright { (short, long) } else { (long, short) };
        let logits = &draws[..h * w];
        let letterbox = Letterbox::new(width, height, transpose);
        // The frame's pixels come from a run on a frame; its square is large, so it is run small.
        let mut preprocessor = preprocessor(4);
        if long > 300 {
            prop_assert_eq!(at_frame_size(logits, (h, w), &letterbox).len() as u32, long * short);
        } else {
            preprocessor.run(&frame(width, height, PixelFormat::Gray8, 3), transpose, &mut Vec::new());
            let (mask, _) = prepared_mask(&mut preprocessor, logits, (h, w), &letterbox, threshold);
            for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
                let logit = logit_at(logits, (h, w), &letterbox, x, y) - f64::from(threshold);
                prop_assert!(
                    mask.get(x, y) == (logit > 0.0) || logit.abs() < 1e-4,
                    "({x}, {y}) is {logit} above the threshold"
                );
            }
        }
    }

    /// Masks to the bit, and what is told of them, against the definition pixel by pixel.
    #[test]
    fn masks_and_statistics_are_those_of_every_pixel(
        (width, height) in (1_u32..180, 1_u32..60),
        transpose: bool,
        (h, w) in (1_usize..12, 1_usize..12),
        threshold in -2.0_f32..2.0,
        sparse in 0.0_f32..8.0,
        draws in prop::collection::vec(-5.0_f32..5.0, 144),
        seed: u8,
    ) {
        let logits: Vec<f32> = draws[..h * w].iter().map(|v| v - sparse).collect();
        let picture = frame(width, height, PixelFormat::Rgb8, seed);
        let mut preprocessor = preprocessor(4);
        let letterbox = preprocessor.run(&picture, transpose, &mut Vec::new());
        let (mask, stats) = prepared_mask(&mut preprocessor, &logits, (h, w), &letterbox, threshold);
        let whole = at_frame_size(&logits, (h, w), &letterbox);
        let (mut area, mut probability, mut rgb) = (0_u64, 0.0, [0_u64; 3]);
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        for ((x, y), pixel) in pixels.zip(picture.data().chunks(3)) {
            let logit = blended(&logits, (h, w), &letterbox, x, y);
            prop_assert_eq!(whole[(y * width + x) as usize].to_bits(), logit.to_bits());
            prop_assert_eq!(mask.get(x, y), logit > threshold, "({}, {})", x, y);
            if logit > threshold {
                area += 1;
                probability += 1.0 / (1.0 + (-f64::from(logit)).exp());
                for (sum, v) in rgb.iter_mut().zip(pixel) {
                    *sum += u64::from(*v);
                }
            }
        }
        let count = area.max(1) as f64;
        let mean = probability / count;
        prop_assert_eq!(stats.area, area);
        prop_assert_eq!(stats.mean_rgb, rgb.map(|sum| (sum as f64 / count / 256.0) as f32));
        prop_assert!((f64::from(stats.mean_probability) - mean).abs() <= 1e-6 * mean, "{}", mean);
        let settled = prepared_stats(&mut preprocessor, &mask, &whole);
        prop_assert_eq!((settled.area, settled.bounding_box), (area, stats.bounding_box));
        prop_assert_eq!(settled.mean_rgb, stats.mean_rgb);
    }

    /// Where the input has the square's size nothing is resized: the tensor is the padded frame.
    #[test]
    fn tensors_hold_the_frame_in_black(
        (width, height) in (1_u32..20, 1_u32..20),
        gray: bool,
        transpose: bool,
        seed: u8,
    ) {
        let format = if gray { PixelFormat::Gray8 } else { PixelFormat::Rgb8 };
        let picture = frame(width, height, format, seed);
        let side = width.max(height);
        let mut preprocessor = preprocessor(side);
        let mut tensor = vec![9.0; 7];
        let letterbox = preprocessor.run(&picture, transpose, &mut tensor);
        prop_assert_eq!(tensor.len() as u32, 3 * side * side);
        let mut rgb = Vec::new();
        colour::rgb_pixels(&picture, &mut rgb);
        for (i, value) in (0_u32..).zip(&tensor) {
            let (channel, row, column) = (i / (side * side), i / side % side, i % side);
            let (x, y) = if transpose { (row, column) } else { (column, row) };
            let (x, y) = (x.wrapping_sub(letterbox.left()), y.wrapping_sub(letterbox.top()));
            let expected = if x < width && y < height {
                rgb[((y * width + x) * 3 + channel) as usize]
            } else {
                0
            };
            prop_assert_eq!(*value, f32::from(expected));
        }
    }

    #[test]
    fn run_lengths_return(mask in masks()) {
        let counts = rle::encode(&mask);
        prop_assert_eq!(rle::decode(mask.width(), mask.height(), &counts).unwrap(), mask);
        prop_assert_eq!(rle::from_string(&rle::to_string(&counts)).unwrap(), counts);
    }

    #[test]
    fn any_counts_return_from_text(counts in prop::collection::vec(any::<u32>(), 0..20)) {
        prop_assert_eq!(rle::from_string(&rle::to_string(&counts)).unwrap(), counts);
    }

    #[test]
    fn wrong_run_lengths_are_refused(mask in masks(), cut in 0_usize..50, text in "[ -~]{0,24}") {
        let mut counts = rle::encode(&mask);
        let at = cut % counts.len();
        counts[at] += 1;
        prop_assert!(rle::decode(mask.width(), mask.height(), &counts).is_err());
        // Any text is either run lengths or an error at a place inside it or at its end.
        match rle::from_string(&text) {
            Ok(counts) => prop_assert!(counts.len() <= text.len()),
            Err(rle::RleError::Text { at }) => prop_assert!(at <= text.len()),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn likeness_is_bounded_and_symmetric(a in masks(), b in masks()) {
        for (x, y) in [(&a, &a), (&a, &b)] {
            let (i, d) = (iou(x, y), dice(x, y));
            prop_assert!((0.0..=1.0).contains(&i) && (0.0..=1.0).contains(&d));
            prop_assert_eq!((i, d), (iou(y, x), dice(y, x)));
            prop_assert!((d - 2.0 * i / (1.0 + i)).abs() < 1e-12);
        }
        prop_assert_eq!((iou(&a, &a), dice(&a, &a)), (1.0, 1.0));
    }
}

/// Extreme shapes, with squares that are still small enough for a test.
#[test]
fn lines_of_pixels_are_frames_too() {
    for (width, height) in [(1, 1), (1, 2000), (2000, 1), (3, 1999)] {
        for filter in [ResizeFilter::Bilinear, ResizeFilter::Bicubic] {
            let mut preprocessor = Preprocessor::new(32, [0.0; 3], [1.0; 3], filter);
            let mut tensor = Vec::new();
            let picture = frame(width, height, PixelFormat::Nv12, 5);
            let letterbox = preprocessor.run(&picture, true, &mut tensor);
            assert_eq!(tensor.len(), 3 * 32 * 32);
            let (mask, stats) = prepared_mask(&mut preprocessor, &[1.0], (1, 1), &letterbox, 0.0);
            assert_eq!(mask.area(), u64::from(width * height));
            let all = stats.bounding_box.unwrap();
            assert_eq!((all.width, all.height), (width, height));
        }
    }
}

/// A count of 4 GiB in a file must not become 4 GiB of memory.
#[test]
fn run_lengths_of_an_impossible_size_are_refused_before_room_is_made() {
    let counts = [0, 65_536 * 65_535];
    let error = rle::decode(65_536, 65_535, &counts).unwrap_err();
    assert_eq!(
        error,
        rle::RleError::Size {
            width: 65_536,
            height: 65_535
        }
    );
    assert!(rle::decode(0, 4, &[0]).is_err());
}

/// The colours of another frame, or none, cost the colours and never the mask.
#[test]
fn a_mask_does_not_depend_on_the_colours_that_are_kept() {
    let filter = ResizeFilter::Bilinear;
    let mut preprocessor = Preprocessor::new(16, [0.0; 3], [1.0; 3], filter);
    let letterbox = Letterbox::new(40, 24, false);
    let (mask, stats) = prepared_mask(&mut preprocessor, &[1.0; 16], (4, 4), &letterbox, 0.0);
    assert_eq!((mask.area(), stats.area), (40 * 24, 40 * 24));
    assert!((stats.mean_probability - 0.731_058_6).abs() < 1e-5);
    assert_eq!(stats.mean_rgb, [0.0; 3]);
}
