//! Flow and carried masks, against movement that is known.

use bedside_core::{Frame, Mask, PixelFormat};
use bedside_phantom::{Phantom, PhantomConfig, PhantomFrame, PhantomKind};
use bedside_vision::dice;
use bedside_vision::flow::{Carrier, Flow, Luma, Track, Verdict};

/// A smooth texture without period, 0 to 255.
fn texture(x: f32, y: f32) -> f32 {
    let wave = |a: f32, b: f32, c: f32| (a * x + b * y + c).sin();
    let sum = wave(0.11, 0.05, 0.0) + wave(-0.07, 0.13, 1.0) + wave(0.23, -0.19, 2.0);
    let fine = sum + wave(0.31, 0.37, 3.0);
    let coarse = wave(0.031, 0.017, 4.0) + wave(-0.02, 0.037, 5.0) + wave(0.011, 0.009, 6.0);
    128.0 + 15.0 * fine + 20.0 * coarse
}

fn gray(width: u32, height: u32, of: impl Fn(f32, f32) -> f32) -> Frame {
    let pixels =
        (0..height).flat_map(|y| (0..width).map(move |x| (x as f32 + 0.5, y as f32 + 0.5)));
    let bytes = pixels
        .map(|(x, y)| of(x, y).clamp(0.0, 255.0) as u8)
        .collect();
    Frame::new(width, height, PixelFormat::Gray8, bytes).unwrap()
}

fn luma(frame: &Frame) -> Luma {
    let mut luma = Luma::default();
    luma.reduce(frame);
    luma
}

fn mask_of(width: u32, height: u32, set: impl Fn(f32, f32) -> bool) -> Mask {
    let pixels =
        (0..height).flat_map(|y| (0..width).map(move |x| (x as f32 + 0.5, y as f32 + 0.5)));
    Mask::from_bytes(
        width,
        height,
        pixels.map(|(x, y)| u8::from(set(x, y))).collect(),
    )
    .unwrap()
}

fn phantom(kind: PhantomKind, seed: u64, width: u32, height: u32) -> Phantom {
    Phantom::new(PhantomConfig {
        kind,
        width,
        height,
        seed,
        frame_rate: 30.0,
        target: true,
    })
    .unwrap()
}

/// An affine map around the middle of the frame, and where it comes from.
#[derive(Clone, Copy)]
struct Warp {
    linear: [f32; 4],
    shift: [f32; 2],
}

impl Warp {
    /// Where in the earlier frame the pixel position of the later one was.
    fn back(&self, x: f32, y: f32, width: u32, height: u32) -> (f32, f32) {
        let (cx, cy) = (width as f32 / 2.0, height as f32 / 2.0);
        let [xx, xy, yx, yy] = self.linear;
        let (x, y) = (x - cx, y - cy);
        (
            xx * x + xy * y + self.shift[0] + cx,
            yx * x + yy * y + self.shift[1] + cy,
        )
    }
}

/// Mean end-point error in pixels of the frame, a tenth of the sides off at each rim.
fn error(frame: (u32, u32), warp: Warp, change: impl Fn(f32) -> f32) -> f32 {
    let (width, height) = frame;
    let before = luma(&gray(width, height, texture));
    let now = luma(&gray(width, height, |x, y| {
        let (x, y) = warp.back(x, y, width, height);
        change(texture(x, y))
    }));
    let mut flow = Flow::default();
    let motion = flow.between(&before, &now);
    assert_eq!(motion.verdict(), Verdict::Carried, "{motion:?}");
    let (columns, rows) = now.size();
    let scale = width as f32 / columns as f32;
    let (mut sum, mut count) = (0.0, 0.0);
    for y in rows / 10..rows - rows / 10 {
        for x in columns / 10..columns - columns / 10 {
            let (px, py) = ((x as f32 + 0.5) * scale, (y as f32 + 0.5) * scale);
            let (bx, by) = warp.back(px, py, width, height);
            let [dx, dy] = flow.field()[y * columns + x];
            sum += (bx - px - dx * scale).hypot(by - py - dy * scale);
            count += 1.0;
        }
    }
    sum / count
}

const STILL: [f32; 4] = [1.0, 0.0, 0.0, 1.0];

#[test]
fn translations_are_found_to_a_part_of_a_pixel() {
    for shift in [[0.0, 0.0], [0.4, -0.3], [3.25, 1.5], [-9.0, 6.0]] {
        let small = error(
            (320, 240),
            Warp {
                linear: STILL,
                shift,
            },
            |v| v,
        );
        assert!(small < 0.1, "{shift:?}: {small}");
        let large = error(
            (960, 720),
            Warp {
                linear: STILL,
                shift,
            },
            |v| v,
        );
        assert!(large < 0.3, "{shift:?}: {large}");
    }
}

#[test]
fn turns_and_zooms_are_found() {
    for linear in [
        [0.999, -0.03, 0.03, 0.999],
        [1.03, 0.0, 0.0, 1.03],
        [0.97, 0.02, 0.0, 1.01],
    ] {
        let error = error(
            (320, 240),
            Warp {
                linear,
                shift: [1.3, -0.8],
            },
            |v| v,
        );
        assert!(error < 0.15, "{linear:?}: {error}");
    }
}

#[test]
fn a_change_of_light_is_no_movement() {
    let warp = Warp {
        linear: STILL,
        shift: [2.5, -1.5],
    };
    let error = error((320, 240), warp, |v| v * 0.9 - 15.0);
    assert!(error < 0.15, "{error}");
}

#[test]
fn the_same_picture_keeps_masks_bit_for_bit() {
    for (width, height) in [(640, 480), (641, 363), (1, 1), (3, 500), (500, 3), (17, 9)] {
        let now = luma(&gray(width, height, texture));
        let ragged = mask_of(width, height, |x, y| texture(y * 3.0, x * 2.0) > 150.0);
        let (mut flow, mut track) = (Flow::default(), Track::default());
        let mut carrier = Carrier::default();
        track.start(&now);
        for _ in 0..5 {
            let motion = flow.between(&now, &now);
            assert_eq!(motion.verdict(), Verdict::Carried);
            track.step(&flow);
        }
        carrier.take(&ragged);
        assert_eq!(carrier.carry(&track), 1.0);
        assert_eq!(*carrier.carried(), ragged, "{width}x{height}");
    }
}

#[test]
fn many_steps_do_not_wear_a_mask() {
    let (width, height, steps) = (640, 480, 40);
    let at = |i: u32| {
        gray(width, height, |x, y| {
            texture(x - i as f32 * 1.3, y + i as f32 * 0.7)
        })
    };
    let disc = |dx: f32, dy: f32| {
        mask_of(width, height, |x, y| {
            (x - 250.0 - dx).hypot(y - 260.0 - dy) < 60.0
        })
    };
    let (mut before, mut now) = (luma(&at(0)), Luma::default());
    let (mut flow, mut track) = (Flow::default(), Track::default());
    track.start(&before);
    for i in 1..=steps {
        now.reduce(&at(i));
        flow.between(&before, &now);
        track.step(&flow);
        std::mem::swap(&mut before, &mut now);
    }
    let mut carrier = Carrier::default();
    carrier.take(&disc(0.0, 0.0));
    let confidence = carrier.carry(&track);
    let truth = disc(steps as f32 * 1.3, steps as f32 * -0.7);
    assert!(confidence > 0.99, "{confidence}");
    let all = carrier.carried().measure_rows(0..height);
    assert_eq!(carrier.measure(), all);
    // A way of 59 pixels, found to within about one, a third of a reduced pixel.
    assert!(
        dice(carrier.carried(), &truth) > 0.97,
        "{}",
        dice(carrier.carried(), &truth)
    );
    // The same carrier serves another mask.
    carrier.take(&Mask::empty(width, height));
    assert_eq!(carrier.carry(&track), 1.0);
    assert!(carrier.carried().is_empty());
}

/// A mask may be smaller than a pixel of the reduced picture.
#[test]
fn the_smallest_masks_are_carried_and_trusted() {
    let now = luma(&gray(1280, 720, texture));
    let (mut flow, mut track) = (Flow::default(), Track::default());
    track.start(&now);
    flow.between(&now, &now);
    track.step(&flow);
    let mut carrier = Carrier::default();
    for (left, side) in [(4, 5), (600, 1), (1279, 1), (301, 2)] {
        let inside = |v: f32| v >= left as f32 && v < (left + side) as f32;
        let small = mask_of(1280, 720, |x, y| inside(x) && (y as u32) < side);
        carrier.take(&small);
        assert_eq!(carrier.carry(&track), 1.0, "{left} {side}");
        assert_eq!(*carrier.carried(), small);
    }
}

#[test]
fn a_mask_that_left_the_picture_has_no_confidence() {
    let at = |i: u32| gray(320, 240, |x, y| texture(x + i as f32 * 6.0, y));
    let (mut before, mut now) = (luma(&at(0)), Luma::default());
    let (mut flow, mut track) = (Flow::default(), Track::default());
    track.start(&before);
    for i in 1..=8 {
        now.reduce(&at(i));
        flow.between(&before, &now);
        track.step(&flow);
        std::mem::swap(&mut before, &mut now);
    }
    let mut carrier = Carrier::default();
    carrier.take(&mask_of(320, 240, |x, y| {
        x > 5.0 && x < 25.0 && y > 80.0 && y < 120.0
    }));
    assert!(carrier.carry(&track) == 0.0 && carrier.carried().is_empty());
}

#[test]
fn blank_pictures_and_changed_sizes_are_no_trouble() {
    let blank = luma(&gray(320, 240, |_, _| 0.0));
    let other = luma(&gray(240, 320, texture));
    let (mut flow, mut track) = (Flow::default(), Track::default());
    let mut carrier = Carrier::default();
    // Nothing was ever given.
    flow.between(&Luma::default(), &Luma::default());
    track.step(&flow);
    carrier.carry(&track);

    track.start(&blank);
    let full = mask_of(320, 240, |_, _| true);
    carrier.take(&full);
    assert_eq!(flow.between(&blank, &blank).verdict(), Verdict::Carried);
    track.step(&flow);
    assert_eq!(carrier.carry(&track), 1.0);
    assert_eq!(*carrier.carried(), full);

    assert_eq!(flow.between(&blank, &other).verdict(), Verdict::Cut);
    track.step(&flow);
    assert_eq!(carrier.carry(&track), 0.0);
    assert_eq!(*carrier.carried(), Mask::empty(240, 320));
}

/// Luminance is read alike from all formats.
#[test]
fn formats_agree() {
    let plain = gray(331, 77, texture);
    let (width, height) = (331_usize, 77_usize);
    let mut planar = plain.data().to_vec();
    planar.resize(PixelFormat::Nv12.byte_len(331, 77), 77);
    let rgb = plain.data().iter().flat_map(|v| [*v; 3]).collect();
    let packed = plain.data().chunks_exact(width).flat_map(|row| {
        row.chunks(2)
            .flat_map(|y| [y[0], 9, *y.get(1).unwrap_or(&200), 9])
    });
    let packed: Vec<u8> = packed.collect();
    assert_eq!(packed.len(), width.div_ceil(2) * 4 * height);
    let mut flow = Flow::default();
    for (format, bytes) in [
        (PixelFormat::Nv12, planar.clone()),
        (PixelFormat::I420, planar),
        (PixelFormat::Yuyv, packed),
        (PixelFormat::Rgb8, rgb),
    ] {
        let frame = Frame::new(331, 77, format, bytes).unwrap();
        let motion = flow.between(&luma(&plain), &luma(&frame));
        assert!(
            motion.residual < 1e-3 && motion.histogram < 0.01,
            "{format:?} {motion:?}"
        );
        assert!(
            flow.field().iter().flatten().all(|v| v.abs() < 1e-3),
            "{format:?}"
        );
    }
}

/// Mean Dice of masks carried for 1 to 10 frames at 30 frames a second, over two keyframes.
fn carried(phantom: &Phantom, first: u64) -> f32 {
    let (mut before, mut now) = (Luma::default(), Luma::default());
    let (mut flow, mut track) = (Flow::default(), Track::default());
    let mut carrier = Carrier::default();
    let mut scores = Vec::new();
    for i in 0..=20 {
        let PhantomFrame { frame, mask, .. } = phantom.frame_at(first + i);
        now.reduce(&frame);
        if i > 0 {
            let motion = flow.between(&before, &now);
            assert_eq!(motion.verdict(), Verdict::Carried, "{motion:?} at {i}");
            track.step(&flow);
            carrier.carry(&track);
            scores.push(dice(carrier.carried(), &mask) as f32);
        }
        if i % 10 == 0 {
            track.start(&now);
            carrier.take(&mask);
        }
        std::mem::swap(&mut before, &mut now);
    }
    scores.iter().sum::<f32>() / scores.len() as f32
}

#[test]
fn masks_follow_phantoms() {
    for kind in PhantomKind::ALL {
        for (seed, width, height) in [(11, 640, 480), (12, 320, 180)] {
            let mean = carried(&phantom(kind, seed, width, height), 40);
            assert!(mean > 0.95, "{kind} {seed}: {mean}");
        }
    }
}

#[test]
fn a_cut_is_seen_at_its_first_frame() {
    let scenes = PhantomKind::ALL
        .into_iter()
        .flat_map(|kind| [(kind, 1), (kind, 2)]);
    let scenes: Vec<_> = scenes
        .map(|(kind, seed)| luma(&phantom(kind, seed, 320, 240).frame_at(0).frame))
        .collect();
    let black = luma(&gray(320, 240, |_, _| 0.0));
    let mut flow = Flow::default();
    for (i, from) in scenes.iter().enumerate() {
        for (j, to) in scenes.iter().enumerate() {
            let motion = flow.between(from, to);
            let expected = if i == j {
                Verdict::Carried
            } else {
                Verdict::Cut
            };
            assert_eq!(motion.verdict(), expected, "{i} to {j}: {motion:?}");
        }
        for motion in [flow.between(from, &black), flow.between(&black, from)] {
            assert_eq!(motion.verdict(), Verdict::Cut, "{i} and black: {motion:?}");
        }
    }
}
