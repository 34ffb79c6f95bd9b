//! Masks and bands painted in every pixel format, against their definition.

use bedside_core::{Frame, FrameView, Mask, PixelFormat, YuvSpace};
use bedside_vision::colour::rgb_pixels;
use bedside_vision::paint::palette::{self, FAINT, TEXT};
use bedside_vision::paint::{Band, Canvas, Style};
use proptest::prelude::*;

use crate::common::{frame, noise};

/// Blobs of a few pixels.
fn mask(width: u32, height: u32, seed: u32) -> Mask {
    let cells = noise(64, seed);
    let set = |i: u32| cells[(i % width / 5 + i / width / 5 * 8) as usize % 64] > 128;
    let data = (0..width * height).map(|i| u8::from(set(i))).collect();
    Mask::from_bytes(width, height, data).unwrap()
}

fn band(width: u32) -> Band {
    let mut band = Band::default();
    band.begin(width, 3);
    band.word("ACTIVE   ", TEXT);
    band.marked_word(palette::object(1), " polyp 93 %", TEXT);
    band.finish(
        ("", TEXT),
        &["Research use. Not a medical device.", "Research use"],
        FAINT,
    );
    band
}

#[test]
fn words_that_find_no_room_say_so_and_the_room_is_told() {
    let mut band = Band::default();
    // 6 pixels a character, and a margin of 5 on both sides.
    band.begin(5 + 20 * 6 + 5, 3);
    assert!(band.word("twelve chars", TEXT));
    assert_eq!(band.room(8), 8, "the rest of the first line");
    assert_eq!(band.room(9), 20, "the second line");
    assert!(band.word("twelve chars again", TEXT));
    assert_eq!(band.room(12), 2, "there is no third above the closing one");
    assert!(!band.word("more", TEXT));
    assert!(!band.word("m", TEXT), "nor for what comes after");
}

fn painted<'a>(frame: impl Into<FrameView<'a>>, mask: &Mask, style: Style) -> Frame {
    let frame = frame.into();
    let band = band(frame.width());
    let mut canvas = Canvas::default();
    canvas.begin(frame, band.height());
    let (_, extents) = mask.measure_rows(0..mask.height());
    if let Some(extents) = extents {
        canvas.mask(mask, extents, palette::object(0), style);
    }
    canvas.band(&band);
    canvas.finish().unwrap().clone()
}

fn rgb(frame: &Frame) -> Vec<[u8; 3]> {
    let mut out = Vec::new();
    rgb_pixels(frame, &mut out);
    out.as_chunks::<3>().0.to_vec()
}

fn sizes() -> impl Strategy<Value = (u32, u32)> {
    (1_u32..40, 1_u32..40)
}

proptest! {
    /// The outline is what has a pixel outside of the mask within the stroke, up, down, left or
    /// right; beyond the frame's edge the object goes on.
    #[test]
    fn fresh_masks_are_outlined_in_their_colour_and_filled_faintly(
        (width, height) in sizes(),
        seed: u32,
    ) {
        let (frame, mask) = (frame(width, height, PixelFormat::Rgb8, seed), mask(width, height, seed));
        let after = rgb(&painted(&frame, &mask, Style::fresh(width)));
        let colour = palette::object(0).rgb();
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        for ((before, after), (x, y)) in rgb(&frame).into_iter().zip(after).zip(pixels) {
            let unset = |dx: i64, dy: i64| {
                let (x, y) = (i64::from(x) + dx, i64::from(y) + dy);
                let inside = x >= 0 && y >= 0 && x < i64::from(width) && y < i64::from(height);
                inside && !mask.get(x as u32, y as u32)
            };
            let outline = [(2, 0), (-2, 0), (0, 2), (0, -2)].into_iter().any(|(x, y)| unset(x, y));
            if !mask.get(x, y) {
                prop_assert_eq!(after, before, "({}, {})", x, y);
            } else if outline {
                prop_assert_eq!(after, colour, "({}, {})", x, y);
            } else {
                for ((after, before), colour) in after.into_iter().zip(before).zip(colour) {
                    let expected = f64::from(before) + (f64::from(colour) - f64::from(before)) * 72.0 / 256.0;
                    prop_assert!((f64::from(after) - expected).abs() <= 0.51);
                }
            }
        }
    }

    /// The layout of the chroma is all in which the painted frames differ.
    #[test]
    fn planar_and_interleaved_chroma_are_painted_alike(
        (width, height) in sizes(),
        carried: bool,
        seed: u32,
    ) {
        let planar = frame(width, height, PixelFormat::I420, seed);
        let (luma, chroma) = planar.data().split_at((width * height) as usize);
        let (u, v) = chroma.split_at(chroma.len() / 2);
        let pairs = u.iter().zip(v).flat_map(|(u, v)| [*u, *v]);
        let data = luma.iter().copied().chain(pairs).collect();
        let interleaved = Frame::new(width, height, PixelFormat::Nv12, data).unwrap();
        let mask = mask(width, height, seed);
        let style = if carried { Style::carried(width) } else { Style::fresh(width) };
        let (planar, interleaved) =
            (painted(&planar, &mask, style), painted(&interleaved, &mask, style));
        prop_assert_eq!(interleaved.format(), PixelFormat::Nv12);
        prop_assert_eq!(rgb(&planar), rgb(&interleaved));
    }

    /// Chroma of packed frames is shared by two pixels of a row, and by no others.
    #[test]
    fn packed_frames_change_under_the_mask_alone((width, height) in sizes(), seed: u32) {
        let frame = frame(width, height, PixelFormat::Yuyv, seed);
        let mask = mask(width, height, seed);
        let after = painted(&frame, &mask, Style::fresh(width));
        for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
            let (before, after) = (frame.view().pixel(x, y), after.view().pixel(x, y));
            let near = mask.get(x / 2 * 2, y) || mask.get(x / 2 * 2 + 1, y);
            prop_assert!(before == after || near, "({}, {})", x, y);
            let luma = |pixel: Option<[u8; 3]>| pixel.unwrap()[0];
            prop_assert!(luma(before) == luma(after) || mask.get(x, y), "({}, {})", x, y);
        }
    }

    /// Gray becomes I420 of the same luma, with colour under the masks alone.
    #[test]
    fn gray_frames_are_painted_without_a_detour((width, height) in sizes(), seed: u32) {
        let frame = frame(width, height, PixelFormat::Gray8, seed);
        let mask = mask(width, height, seed);
        let after = painted(&frame, &mask, Style::fresh(width));
        prop_assert_eq!((after.format(), after.yuv_space()), (PixelFormat::I420, YuvSpace::Bt601Full));
        for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
            let [luma, u, v] = after.view().pixel(x, y).unwrap();
            let before = frame.data()[(y * width + x) as usize];
            prop_assert!(luma == before || mask.get(x, y));
            let square = [(0, 0), (1, 0), (0, 1), (1, 1)];
            let near = square.into_iter().any(|(dx, dy)| mask.get(x / 2 * 2 + dx, y / 2 * 2 + dy));
            // An odd last row repeats itself below.
            prop_assert!([u, v] == [128; 2] || near, "({}, {}): {} {}", x, y, u, v);
        }
        // And it is the band of coloured frames that stands below.
        let coloured = Frame::new(width, height, PixelFormat::I420, {
            let mut data = frame.into_data();
            data.resize(PixelFormat::I420.byte_len(width, height), 128);
            data
        });
        let coloured = coloured.unwrap().with_yuv_space(YuvSpace::Bt601Full);
        prop_assert_eq!(painted(&coloured, &mask, Style::fresh(width)), after);
    }

    #[test]
    fn a_hosts_strides_change_nothing((width, height) in sizes(), padding in 1_usize..9, seed: u32) {
        for format in [PixelFormat::Gray8, PixelFormat::Rgb8, PixelFormat::Yuyv] {
            let packed = frame(width, height, format, seed);
            let stride = packed.data().len() / height as usize + padding;
            let rows = packed.view().planes()[0].rows();
            let padded = rows.map(|row| [row, &vec![7; padding]].concat()).collect::<Vec<_>>().concat();
            let padded = FrameView::new(width, height, format, &[(&padded, stride)]).unwrap();
            let mask = mask(width, height, seed);
            prop_assert_eq!(
                painted(padded, &mask, Style::carried(width)),
                painted(&packed, &mask, Style::carried(width))
            );
        }
    }
}

/// Words are drawn in all formats, within the band, and grow with the frame.
#[test]
fn bands_hold_their_words_in_every_format() {
    for (width, height) in [(97_u32, 31_u32), (320, 30), (1280, 20), (2560, 10)] {
        let below = |format| {
            let frame = frame(width, height, format, 3).with_yuv_space(YuvSpace::Bt601Full);
            let after = painted(&frame, &Mask::empty(width, height), Style::fresh(width));
            assert_eq!(rgb(&after)[..(width * height) as usize], rgb(&frame));
            // Chroma of an odd last row is the frame's and the band's alike.
            rgb(&after)[(width * height.next_multiple_of(2)) as usize..].to_vec()
        };
        let exact = below(PixelFormat::Rgb8);
        let [background, text] = [palette::BACKGROUND, TEXT].map(|colour| colour.rgb());
        let words = exact.iter().filter(|pixel| **pixel == text).count();
        assert!(words > 50 && exact[0] == background, "{words}");
        for format in [
            PixelFormat::I420,
            PixelFormat::Nv12,
            PixelFormat::Yuyv,
            PixelFormat::Gray8,
        ] {
            let other = below(format);
            assert_eq!(exact.len(), other.len());
            for (exact, other) in exact
                .iter()
                .zip(&other)
                .filter(|(exact, _)| **exact == text)
            {
                let luma = |rgb: &[u8; 3]| rgb.iter().map(|v| u32::from(*v)).sum::<u32>() / 3;
                assert!(
                    luma(exact).abs_diff(luma(other)) < 60,
                    "{format:?}: {other:?}"
                );
            }
        }
    }
}
