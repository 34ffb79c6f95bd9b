//! What can be tested only with the scene's geometry at hand.

use crate::math::Vec2;
use crate::{Affine, Phantom, PhantomConfig, PhantomKind};

fn phantom(kind: PhantomKind, seed: u64) -> Phantom {
    let config = PhantomConfig {
        kind,
        width: 96,
        height: 72,
        seed,
        frame_rate: 30.0,
        target: true,
    };
    Phantom::new(config).unwrap()
}

/// The outline in pixels, walked in the target's own space and carried to the frame; masks are
/// made the other way.
fn outline(phantom: &Phantom, index: u64) -> Vec<Vec2> {
    let moment = phantom.moment(index);
    let to_pixels = phantom.stage.view.pixels_to_view().inverse();
    (0..4096)
        .map(|i| {
            let direction = Vec2::at_turns(i as f32 / 4096.0);
            let (mut inside, mut outside) = (0.0, 8.0);
            for _ in 0..40 {
                let middle = (inside + outside) / 2.0;
                if moment.rho(direction * middle) < 1.0 {
                    inside = middle
                } else {
                    outside = middle
                }
            }
            to_pixels.to(moment.view_of_local(direction * inside))
        })
        .collect()
}

/// Even-odd rule; also the distance to the nearest corner of the polygon.
fn within(polygon: &[Vec2], p: Vec2) -> (bool, f32) {
    let mut inside = false;
    let mut nearest = f32::INFINITY;
    for (i, a) in polygon.iter().enumerate() {
        let b = polygon[(i + 1) % polygon.len()];
        nearest = nearest.min((*a - p).length());
        if (a.y > p.y) != (b.y > p.y) && p.x < a.x + (b.x - a.x) * (p.y - a.y) / (b.y - a.y) {
            inside = !inside;
        }
    }
    (inside, nearest)
}

#[test]
fn masks_hold_the_pixels_whose_centres_the_outline_encloses() {
    for kind in PhantomKind::ALL {
        for seed in 0..6 {
            let phantom = phantom(kind, seed);
            let index = seed * 17;
            let (shot, outline) = (phantom.frame_at(index), outline(&phantom, index));
            let map = phantom.stage.view.pixels_to_view();
            let mut set = 0;
            for y in 0..72 {
                for x in 0..96 {
                    let pixel = Vec2::new(x as f32 + 0.5, y as f32 + 0.5);
                    let (inside, distance) = within(&outline, pixel);
                    let shown = phantom.aperture.shows(map.to(pixel));
                    if distance > 0.03 {
                        let expected = inside && shown;
                        assert_eq!(shot.mask.get(x, y), expected, "{kind} {seed}: {x}, {y}");
                        set += u32::from(expected);
                    }
                }
            }
            assert!(set > 0, "{kind} {seed} shows nothing");
        }
    }
}

#[test]
fn motion_leads_back_to_the_same_tissue() {
    for kind in PhantomKind::ALL {
        let phantom = phantom(kind, 4);
        let map = phantom.stage.view.pixels_to_view();
        // From rest through the fastest part of the target's leaving.
        for index in [1, 40, 150, 180, 210] {
            let (now, before) = (phantom.moment(index), phantom.moment(index - 1));
            for (x, y) in [(3.5, 2.5), (47.1, 30.2), (80.0, 60.0), (50.5, 40.5)] {
                let (dx, dy) = phantom.motion(index, x, y);
                let (here, there) = (map.to(Vec2::new(x, y)), map.to(Vec2::new(x - dx, y - dy)));
                let on_target = now.rho(now.local_at(here)) < 1.0;
                let apart = if on_target {
                    now.rest(now.local_at(here)) - before.rest(before.local_at(there))
                } else {
                    now.tissue_at(here) - before.tissue_at(there)
                };
                assert!(apart.length() * 83.0 < 0.01, "{kind} {index}: {apart:?}");
            }
        }
    }
}

#[test]
fn the_target_moves_by_its_affine_map() {
    for kind in PhantomKind::ALL {
        let phantom = phantom(kind, 9);
        assert_eq!(phantom.frame_at(0).motion, Affine::IDENTITY);
        let shot = phantom.frame_at(25);
        let on_target = shot
            .mask
            .data()
            .iter()
            .enumerate()
            .filter(|(_, v)| **v == 1);
        for (i, _) in on_target.step_by(7) {
            let (x, y) = ((i % 96) as f32 + 0.5, (i / 96) as f32 + 0.5);
            let (dx, dy) = phantom.motion(25, x, y);
            let (to_x, to_y) = shot.motion.apply(x - dx, y - dy);
            assert!(
                (to_x - x).abs() < 0.01 && (to_y - y).abs() < 0.01,
                "{kind} at {x}, {y}"
            );
        }
    }
}
