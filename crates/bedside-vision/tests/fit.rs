//! Pictures as large as a display, against the definition written out.

use bedside_core::{Frame, PixelFormat};
use bedside_vision::{Fit, Placement};
use proptest::prelude::*;

/// What each sample of a row of `from` counts for in the sample `at` of a row of `to`: a triangle as wide
/// as one of the coarser samples on either side.
fn weights(from: u32, to: u32, at: u32) -> Vec<f64> {
    let scale = f64::from(from) / f64::from(to);
    let (centre, reach) = ((f64::from(at) + 0.5) * scale, scale.max(1.0));
    let weight = |i: u32| (1.0 - ((f64::from(i) + 0.5 - centre) / reach).abs()).max(0.0);
    let weights: Vec<f64> = (0..from).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

proptest! {
    #[test]
    fn a_fitted_frame_is_that_of_the_definition(
        (width, height) in (1_u32..24, 1_u32..24),
        (wide, high) in (1_u32..24, 1_u32..24),
        seed in any::<u64>(),
    ) {
        let bytes = (0..PixelFormat::Rgb8.byte_len(width, height))
            .map(|i| (seed.wrapping_mul(i as u64 * 2 + 1) >> 32) as u8);
        let frame = Frame::new(width, height, PixelFormat::Rgb8, bytes.collect()).unwrap();
        let mut fit = Fit::default();
        // What an earlier frame left behind does not show.
        fit.run(&Frame::new(9, 9, PixelFormat::Gray8, vec![255; 81]).unwrap(), 40, 40);
        let fitted = fit.run(&frame, wide, high);
        prop_assert_eq!(fitted.len(), (wide * high * 3) as usize);
        for (y, row) in (0..high).zip(fitted.chunks_exact(wide as usize * 3)) {
            let down = weights(height, high, y);
            for (x, pixel) in (0..wide).zip(row.as_chunks::<3>().0) {
                let across = weights(width, wide, x);
                for (channel, value) in pixel.iter().enumerate() {
                    let mut sum = 0.0;
                    for (from, down) in frame.data().chunks_exact(width as usize * 3).zip(&down) {
                        let values = from.iter().skip(channel).step_by(3);
                        sum += values.zip(&across).map(|(v, across)| f64::from(*v) * across * down).sum::<f64>();
                    }
                    // Rounded once across and once down.
                    prop_assert!((f64::from(*value) - sum).abs() < 1.6, "{value} for {sum} at {x},{y}");
                }
            }
        }
    }

    #[test]
    fn a_picture_lies_in_the_middle_as_large_as_its_shape_allows(
        picture in (1_u32..5000, 1_u32..5000),
        display in (1_u32..5000, 1_u32..5000),
    ) {
        let place = Placement::within(picture, display);
        let (right, below) = (
            display.0 - place.left - place.width,
            display.1 - place.top - place.height,
        );
        prop_assert!(right - place.left <= 1 && below - place.top <= 1);
        prop_assert!(place.width == display.0 || place.height == display.1);
        // Within half a pixel of the picture's shape, or one where there is less.
        let exact = if place.width == display.0 {
            (f64::from(picture.1) * f64::from(display.0) / f64::from(picture.0), place.height)
        } else {
            (f64::from(picture.0) * f64::from(display.1) / f64::from(picture.1), place.width)
        };
        prop_assert!((exact.0 - f64::from(exact.1)).abs() <= 0.5 || (exact.1 == 1 && exact.0 < 1.0));
    }
}
