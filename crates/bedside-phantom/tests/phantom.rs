//! What a phantom promises to its users.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests, where a panic is the finding"
)]

use bedside_core::{Frame, Mask, PixelFormat};
use bedside_phantom::{MAX_SIDE, Phantom, PhantomConfig, PhantomErrorKind, PhantomKind};
use proptest::prelude::*;

fn config(kind: PhantomKind, seed: u64) -> PhantomConfig {
    PhantomConfig {
        kind,
        width: 128,
        height: 96,
        seed,
        frame_rate: 30.0,
        target: true,
    }
}

fn phantom(kind: PhantomKind, seed: u64) -> Phantom {
    Phantom::new(config(kind, seed)).unwrap()
}

/// FNV-1a, 64 bits.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Mean level of each pixel, 0 to 255.
fn levels(frame: &Frame) -> Vec<f64> {
    let channels = if frame.format() == PixelFormat::Rgb8 {
        3
    } else {
        1
    };
    let mean = |pixel: &[u8]| pixel.iter().map(|v| f64::from(*v)).sum::<f64>() / channels as f64;
    frame.data().chunks_exact(channels).map(mean).collect()
}

/// Mean of `values` over the mask, and over the pixels around it up to `reach` pixels off.
fn inside_and_around(values: &[f64], mask: &Mask, reach: i64) -> (f64, f64) {
    let (mut inside, mut around) = (Vec::new(), Vec::new());
    let set = |x: i64, y: i64| x >= 0 && y >= 0 && mask.get(x as u32, y as u32);
    for y in 0..i64::from(mask.height()) {
        for x in 0..i64::from(mask.width()) {
            let value = values[(y * i64::from(mask.width()) + x) as usize];
            if set(x, y) {
                inside.push(value);
            } else if (-reach..=reach).any(|d| set(x + d, y) || set(x, y + d)) {
                around.push(value);
            }
        }
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    (mean(&inside), mean(&around))
}

/// Bytes may change only with a reason: data sets and figures in reports follow from them.
#[test]
fn frames_are_the_same_bytes_everywhere() {
    let pinned: [(PhantomKind, u64, u64, u64, u64); 6] = [
        (
            PhantomKind::Polyp,
            1,
            0,
            0x2449_1217_5a86_45b5,
            0x0c0e_d313_963c_5730,
        ),
        (
            PhantomKind::Polyp,
            40,
            123,
            0x3c07_212a_bb96_a90d,
            0x9117_9adb_2545_f408,
        ),
        (
            PhantomKind::BreastTumor,
            1,
            0,
            0x7988_e24f_3d99_302c,
            0x7eaf_0768_4563_7c91,
        ),
        (
            PhantomKind::BreastTumor,
            40,
            123,
            0xb627_4fca_d8f3_20d5,
            0xa31b_6c28_455f_1f5b,
        ),
        (
            PhantomKind::FetalHead,
            1,
            0,
            0xce72_8673_c204_fd0c,
            0x764e_79ca_28ed_43c1,
        ),
        (
            PhantomKind::FetalHead,
            40,
            123,
            0x57b7_fdb2_1f4b_a727,
            0x23b0_d643_ef52_34ed,
        ),
    ];
    let drawn = pinned.map(|(kind, seed, index, ..)| {
        let shot = phantom(kind, seed).frame_at(index);
        (
            kind,
            seed,
            index,
            hash(shot.frame.data()),
            hash(shot.mask.data()),
        )
    });
    assert_eq!(drawn, pinned, "drawn, pinned: {drawn:#x?}");
}

#[test]
fn frames_do_not_depend_on_order_or_thread() {
    for kind in PhantomKind::ALL {
        let phantom = phantom(kind, 3);
        let forward: Vec<_> = [0, 1, 77].map(|i| phantom.frame_at(i)).into();
        let threads: Vec<_> = std::thread::scope(|scope| {
            let phantom = &phantom;
            let started: Vec<_> = [77, 1, 0]
                .map(|i| scope.spawn(move || phantom.frame_at(i)))
                .into();
            started
                .into_iter()
                .rev()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(forward == threads, "{kind}");
        assert!(forward[0].frame != forward[1].frame, "{kind} moves");
    }
}

#[test]
fn seeds_differ_and_time_is_the_index_over_the_rate() {
    for kind in PhantomKind::ALL {
        let (a, b) = (phantom(kind, 1).frame_at(0), phantom(kind, 2).frame_at(0));
        assert!(a.mask != b.mask, "{kind}");
        assert_eq!(
            phantom(kind, 1).frame_at(45).frame.captured().as_nanos(),
            1_500_000_000
        );
        // The same moment at another rate shows the same, up to the sensor's noise.
        let fast = PhantomConfig {
            frame_rate: 60.0,
            ..config(kind, 1)
        };
        let (slow, fast) = (phantom(kind, 1), Phantom::new(fast).unwrap());
        assert!(slow.frame_at(20).mask == fast.frame_at(40).mask, "{kind}");
    }
}

#[test]
fn the_first_frame_shows_the_target() {
    for kind in PhantomKind::ALL {
        for seed in 0..60 {
            let small = PhantomConfig {
                width: 64,
                height: 48,
                ..config(kind, seed)
            };
            let shot = Phantom::new(small).unwrap().frame_at(0);
            assert!(shot.visible, "{kind} seed {seed}");
            let share = shot.mask.area() as f64 / (64.0 * 48.0);
            assert!(
                (0.002..0.75).contains(&share),
                "{kind} seed {seed}: {share}"
            );
        }
    }
}

#[test]
fn the_target_leaves_and_comes_back_again_and_again() {
    for kind in PhantomKind::ALL {
        for seed in 0..5 {
            let slow = PhantomConfig {
                width: 64,
                height: 48,
                frame_rate: 4.0,
                ..config(kind, seed)
            };
            let phantom = Phantom::new(slow).unwrap();
            let shots: Vec<_> = (0..124).map(|i| phantom.frame_at(i)).collect();
            assert!(
                shots
                    .iter()
                    .all(|shot| shot.visible != shot.mask.is_empty())
            );
            let seen: Vec<bool> = shots.iter().map(|shot| shot.visible).collect();
            let left = seen.windows(2).filter(|pair| pair[0] && !pair[1]).count();
            let back = seen.windows(2).filter(|pair| !pair[0] && pair[1]).count();
            assert!(
                left >= 2 && back >= 2,
                "{kind} seed {seed}: left {left}, back {back}"
            );
            assert!(
                seen[..16].iter().all(|seen| *seen),
                "{kind} seed {seed}: 4 s undisturbed"
            );
            assert!(
                seen[..60].windows(2).any(|pair| !pair[0] && pair[1]),
                "back within 15 s"
            );
        }
    }
}

#[test]
fn a_scene_without_target_is_otherwise_the_same() {
    for kind in PhantomKind::ALL {
        let with = phantom(kind, 5).frame_at(0);
        let without = Phantom::new(PhantomConfig {
            target: false,
            ..config(kind, 5)
        })
        .unwrap();
        let without = without.frame_at(0);
        assert!(!without.visible && without.mask.is_empty());
        let same = levels(&with.frame)
            .iter()
            .zip(levels(&without.frame))
            .filter(|(a, b)| (**a - b).abs() < 1e-9)
            .count();
        assert!(
            same > 1000 && with.frame != without.frame,
            "{kind}: {same} pixels alike"
        );
    }
}

#[test]
fn lesions_are_darker_than_their_surroundings() {
    for seed in 0..30 {
        let shot = phantom(PhantomKind::BreastTumor, seed).frame_at(0);
        let (inside, around) = inside_and_around(&levels(&shot.frame), &shot.mask, 8);
        assert!(
            inside < around * 0.92,
            "seed {seed}: {inside:.1} in, {around:.1} around"
        );
    }
}

#[test]
fn skulls_shine_between_brain_and_womb() {
    for seed in 0..20 {
        let shot = phantom(PhantomKind::FetalHead, seed).frame_at(0);
        let values = levels(&shot.frame);
        // The rim: pixels of the mask within two pixels of its outside.
        let (width, height) = (shot.mask.width(), shot.mask.height());
        let is_rim = |x: u32, y: u32| {
            let near = [(0, 2), (2, 0), (4, 2), (2, 4)];
            near.iter().any(|(dx, dy)| {
                !shot
                    .mask
                    .get((x + dx).wrapping_sub(2), (y + dy).wrapping_sub(2))
            })
        };
        let (mut rim, mut brain) = (Vec::new(), Vec::new());
        for (i, value) in values
            .iter()
            .enumerate()
            .filter(|(i, _)| shot.mask.data()[*i] == 1)
        {
            let (x, y) = (i as u32 % width, i as u32 / width);
            // Where the picture cuts the head there is no skull.
            if x > 3 && y > 3 && x + 4 < width && y + 4 < height {
                if is_rim(x, y) {
                    rim.push(*value)
                } else {
                    brain.push(*value)
                }
            }
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (rim, brain) = (mean(&rim), mean(&brain));
        assert!(
            rim > brain + 8.0,
            "seed {seed}: {rim:.1} on the rim, {brain:.1} inside"
        );
    }
}

#[test]
fn polyps_stand_out_in_colour_or_light() {
    for seed in 0..30 {
        let shot = phantom(PhantomKind::Polyp, seed).frame_at(0);
        let channel = |c: usize| -> Vec<f64> {
            shot.frame
                .data()
                .chunks_exact(3)
                .map(|pixel| f64::from(pixel[c]))
                .collect()
        };
        let square: f64 = (0..3)
            .map(|c| inside_and_around(&channel(c), &shot.mask, 8))
            .map(|(inside, around)| (inside - around) * (inside - around))
            .sum();
        assert!(square.sqrt() > 4.0, "seed {seed}: {:.1}", square.sqrt());
        let (red, blue) = (channel(0), channel(2));
        assert!(
            red.iter().sum::<f64>() > 1.25 * blue.iter().sum::<f64>(),
            "mucosa is red"
        );
    }
}

/// Frame `i` looked up in frame `i - 1` by the motion differs far less than without it.
#[test]
fn motion_explains_what_changes() {
    for (kind, share) in [
        (PhantomKind::BreastTumor, 0.5),
        (PhantomKind::FetalHead, 0.8),
    ] {
        let phantom = phantom(kind, 7);
        // Early in the target's leaving: everything moves by pixels.
        let index = (120..300)
            .find(|i| phantom.motion(*i, 64.0, 48.0).0.abs() > 1.5)
            .expect("the camera leaves");
        let now = levels(&phantom.frame_at(index).frame);
        let before = levels(&phantom.frame_at(index - 1).frame);
        let sample = |x: f32, y: f32| {
            let (x, y) = (x - 0.5, y - 0.5);
            let (u, v) = (f64::from(x - x.floor()), f64::from(y - y.floor()));
            let at = |dx: usize, dy: usize| before[(y as usize + dy) * 128 + x as usize + dx];
            let top = at(0, 0) * (1.0 - u) + at(1, 0) * u;
            let bottom = at(0, 1) * (1.0 - u) + at(1, 1) * u;
            top * (1.0 - v) + bottom * v
        };
        let (mut moved, mut still) = (0.0, 0.0);
        for y in 20..76 {
            for x in 30..98 {
                let (px, py) = (x as f32 + 0.5, y as f32 + 0.5);
                let (dx, dy) = phantom.motion(index, px, py);
                let here = now[y * 128 + x];
                moved += (here - sample(px - dx, py - dy)).abs();
                still += (here - sample(px, py)).abs();
            }
        }
        assert!(
            moved < share * still,
            "{kind}: {moved:.0} along the motion, {still:.0} without"
        );
    }
}

#[test]
fn bad_configurations_are_refused_with_a_hint() {
    let good = config(PhantomKind::Polyp, 1);
    let refused = |config| Phantom::new(config).map(|_| ()).unwrap_err();
    for (width, height) in [(0, 5), (5, 0), (MAX_SIDE + 1, 5), (5, u32::MAX)] {
        let error = refused(PhantomConfig {
            width,
            height,
            ..good
        });
        assert_eq!(error.kind(), PhantomErrorKind::Size);
        assert!(error.to_string().contains("hint: ") && error.to_string().contains("4096"));
    }
    for frame_rate in [0.0, -30.0, f64::MIN_POSITIVE, 1e9, f64::NAN, f64::INFINITY] {
        let error = refused(PhantomConfig { frame_rate, ..good });
        assert_eq!(error.kind(), PhantomErrorKind::FrameRate);
    }
    let error = "liver".parse::<PhantomKind>().unwrap_err();
    assert_eq!(error.kind(), PhantomErrorKind::Name);
    for kind in PhantomKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
        assert!(error.to_string().contains(kind.name()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_size_seed_and_index_gives_a_frame(
        kind in prop::sample::select(PhantomKind::ALL.to_vec()),
        (width, height) in prop_oneof![
            (1u32..=600, 1u32..=12),
            (1u32..=12, 1u32..=600),
            (1u32..=600, 1u32..=600),
        ],
        seed in any::<u64>(),
        index in prop_oneof![0u64..2000, any::<u64>(), Just(u64::MAX)],
        frame_rate in prop_oneof![Just(0.001), 0.1..240.0, Just(10_000.0)],
        target in any::<bool>(),
    ) {
        let config = PhantomConfig { kind, width, height, seed, frame_rate, target };
        let phantom = Phantom::new(config).unwrap();
        let shot = phantom.frame_at(index);
        prop_assert_eq!((shot.frame.width(), shot.frame.height()), (width, height));
        prop_assert_eq!((shot.mask.width(), shot.mask.height()), (width, height));
        prop_assert_eq!(shot.visible, shot.mask.area() > 0);
        prop_assert!(target || !shot.visible);
        let (dx, dy) = phantom.motion(index, 0.5, 0.5);
        prop_assert!(dx.is_finite() && dy.is_finite());
    }
}
