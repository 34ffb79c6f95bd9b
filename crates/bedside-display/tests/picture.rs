//! What a person in front of the display sees.

use bedside_core::{Frame, PixelFormat};
use bedside_video::sink::Sink;

use crate::fake::{Fake, plain};

const RED: [u8; 3] = [200, 30, 10];
const BLACK: [u8; 3] = [0; 3];

/// Show a frame, and another of the same so that the first is seen for sure.
fn show(sink: &mut dyn Sink, frame: &Frame) {
    sink.write(frame).unwrap();
    sink.write(frame).unwrap();
}

#[test]
fn a_frame_of_the_displays_size_is_shown_pixel_by_pixel() {
    let fake = Fake::new(16, 9);
    let mut sink = fake.sink();
    let bytes: Vec<u8> = (0..16 * 9 * 3).map(|i| (i * 37 % 251) as u8).collect();
    let frame = Frame::new(16, 9, PixelFormat::Rgb8, bytes).unwrap();
    show(&mut sink, &frame);
    for (x, y) in (0..16).flat_map(|x| (0..9).map(move |y| (x, y))) {
        assert_eq!(Some(fake.pixel(x, y)), frame.view().pixel(x, y), "{x},{y}");
    }
}

#[test]
fn another_shape_lies_in_the_middle_with_black_around() {
    let fake = Fake::new(40, 20);
    let mut sink = fake.sink();
    for (frame, inside) in [
        // As high as the display, and as wide.
        (plain(10, 10, RED), (10..30, 0..20)),
        (plain(300, 100, RED), (0..40, 3..16)),
        (plain(1, 500, RED), (19..20, 0..20)),
    ] {
        show(&mut sink, &frame);
        for (x, y) in (0..40).flat_map(|x| (0..20).map(move |y| (x, y))) {
            let within = inside.0.contains(&x) && inside.1.contains(&y);
            let size = (frame.width(), frame.height());
            assert_eq!(
                fake.pixel(x, y),
                if within { RED } else { BLACK },
                "{size:?} at {x},{y}"
            );
        }
    }
}

/// The frame that was there before leaves nothing at the sides, in whichever of the buffers.
#[test]
fn a_frame_of_another_shape_leaves_nothing_of_the_one_before() {
    let fake = Fake::new(32, 32);
    let mut sink = fake.sink();
    for _ in 0..4 {
        show(&mut sink, &plain(32, 32, RED));
    }
    for _ in 0..4 {
        show(&mut sink, &plain(32, 8, [9, 9, 9]));
        assert_eq!(fake.pixel(0, 0), BLACK);
        assert_eq!(fake.pixel(31, 31), BLACK);
        assert_eq!(fake.pixel(16, 16), [9, 9, 9]);
    }
}

#[test]
fn every_format_is_shown_in_its_colours() {
    let fake = Fake::new(8, 8);
    let mut sink = fake.sink();
    // Mid gray by BT.601 in limited range: (126 - 16) * 255 / 219.
    for format in [PixelFormat::Nv12, PixelFormat::I420, PixelFormat::Yuyv] {
        let data = match format {
            PixelFormat::Yuyv => [126, 128].repeat(4 * 4),
            _ => [vec![126; 4 * 4], vec![128; 2 * 4]].concat(),
        };
        let frame = Frame::new(4, 4, format, data).unwrap();
        show(&mut sink, &frame);
        assert_eq!(fake.pixel(3, 5), [128; 3], "{format:?}");
    }
    let gray = Frame::new(4, 4, PixelFormat::Gray8, vec![77; 16]).unwrap();
    show(&mut sink, &gray);
    assert_eq!(fake.pixel(7, 0), [77; 3]);
}
