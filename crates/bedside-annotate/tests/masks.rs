//! One shape, one mask.

use bedside::Mask;
use bedside_annotate::{Change, Picture, Rle, Shape, outcomes};
use proptest::prelude::*;
use serde_json::Value;

use crate::{golden_json, mask, task};

/// The mask that shapes of one label make on an empty picture.
fn drawn(width: u32, height: u32, shapes: Vec<Shape>) -> Mask {
    let task = task(&["polyp"], &[("a.png", (width, height), vec![])]);
    let shapes: Vec<_> = shapes
        .into_iter()
        .map(|s| ("polyp".to_owned(), s))
        .collect();
    let outcomes = outcomes(&task, &task.pictures[0], &shapes).unwrap();
    let mask = outcomes.into_iter().next().unwrap().mask;
    mask.unwrap_or_else(|| Mask::empty(width, height))
}

fn numbers(value: &Value) -> Vec<u32> {
    let numbers = value.as_array().unwrap().iter();
    numbers.map(|n| n.as_u64().unwrap() as u32).collect()
}

#[test]
fn masks_of_every_tool_come_out_exactly() {
    let all = golden_json("masks.json");
    for golden in all.as_array().unwrap() {
        let truth = mask(&golden["rows"]);
        let number = |key: &str| golden["boxed"][key].as_u64().unwrap() as u32;
        let columns = &golden["columns"];
        let brush = numbers(&golden["brushed"]);
        let shapes = [
            Shape::Compressed(serde_json::from_value(golden["compressed"].clone()).unwrap()),
            Shape::Columns {
                size: [truth.height(), truth.width()],
                counts: numbers(&columns["counts"]),
            },
            Shape::Box {
                left: number("left"),
                top: number("top"),
                width: number("width"),
                height: number("height"),
                counts: golden["boxed"]["rle"]
                    .as_str()
                    .unwrap()
                    .split(", ")
                    .map(|n| n.parse().unwrap())
                    .collect(),
            },
            Shape::Brush(brush.into_iter().map(|b| b as u8).collect()),
        ];
        for shape in shapes {
            let drawn = drawn(truth.width(), truth.height(), vec![shape.clone()]);
            assert!(drawn == truth, "{shape:?}: {golden}");
        }
        let rle: Rle = serde_json::from_value(golden["compressed"].clone()).unwrap();
        assert_eq!(Rle::from(&truth), rle, "as pycocotools encodes it");
    }
}

/// pycocotools rounds an outline to pixels in its own way; no other pixel than those along the outline
/// may differ.
#[test]
fn outlines_are_filled_as_pycocotools_does_but_for_pixels_along_them() {
    let all = golden_json("polygons.json");
    for golden in all.as_array().unwrap() {
        let truth = mask(&golden["rows"]);
        let corners: Vec<[f64; 2]> = serde_json::from_value(golden["corners"].clone()).unwrap();
        let drawn = drawn(
            truth.width(),
            truth.height(),
            vec![Shape::Outline(corners.clone())],
        );
        for y in 0..truth.height() {
            for x in 0..truth.width() {
                if drawn.get(x, y) != truth.get(x, y) {
                    let off = distance([f64::from(x) + 0.5, f64::from(y) + 0.5], &corners);
                    assert!(off <= 1.0, "{x},{y} is {off} from {corners:?}");
                }
            }
        }
    }
}

/// Distance of a point from a closed outline.
fn distance([x, y]: [f64; 2], corners: &[[f64; 2]]) -> f64 {
    let ends = corners.iter().cycle().skip(1);
    let distances = corners.iter().zip(ends).map(|([x0, y0], [x1, y1])| {
        let (dx, dy) = (x1 - x0, y1 - y0);
        let along = ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy);
        let along = along.clamp(0.0, 1.0);
        (x - x0 - along * dx).hypot(y - y0 - along * dy)
    });
    distances.fold(f64::INFINITY, f64::min)
}

#[test]
fn outlines_know_their_pixels_centres() {
    let block = |left, top, right, bottom| {
        Shape::Outline(vec![
            [left, top],
            [right, top],
            [right, bottom],
            [left, bottom],
        ])
    };
    let set = |shape| {
        let mask = drawn(4, 3, vec![shape]);
        (0..12)
            .filter(|p| mask.get(p % 4, p / 4))
            .collect::<Vec<_>>()
    };
    assert_eq!(set(block(1.0, 1.0, 3.0, 2.0)), [5, 6]);
    assert_eq!(set(block(1.51, 0.49, 3.49, 1.51)), [2, 6]);
    assert_eq!(
        set(block(-9.0, -9.0, 99.0, 99.0)).len(),
        12,
        "it may reach out"
    );
    assert_eq!(set(block(4.0, 0.0, 9.0, 9.0)), [0; 0], "or lie outside");
    assert_eq!(set(block(0.6, 0.6, 1.4, 1.4)), [0; 0], "or hold no centre");
}

#[test]
fn what_became_of_a_mask_is_told_by_its_pixels() {
    let two = Mask::from_bytes(2, 2, vec![1, 1, 0, 0]).unwrap();
    let other = Mask::from_bytes(2, 2, vec![0, 1, 1, 1]).unwrap();
    let change = |before: Option<&Mask>, after: Option<&Mask>| {
        let before = before.map(|mask| ("polyp", mask)).into_iter().collect();
        let task = task(&["polyp"], &[("a.png", (2, 2), before)]);
        let shape = |mask: &Mask| ("polyp".to_owned(), Shape::Compressed(Rle::from(mask)));
        let shapes: Vec<_> = after.map(shape).into_iter().collect();
        let found = outcomes(&task, &task.pictures[0], &shapes).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].mask.as_ref(),
            after.filter(|mask| !mask.is_empty())
        );
        found[0].change
    };
    let none = Mask::empty(2, 2);
    assert_eq!(change(Some(&two), Some(&two)), Change::Unchanged);
    assert_eq!(
        change(Some(&two), Some(&other)),
        Change::Corrected { dice: 0.4 }
    );
    assert_eq!(change(None, Some(&two)), Change::Added);
    assert_eq!(change(Some(&two), None), Change::Deleted);
    assert_eq!(change(Some(&two), Some(&none)), Change::Deleted);
    assert_eq!(change(None, None), Change::Absent);
}

proptest! {
    /// However it is cut up, what is drawn under one label is one mask.
    #[test]
    fn shapes_of_one_label_add_up(
        (width, height, bits) in (1_u32..34, 1_u32..34)
            .prop_flat_map(|(w, h)| (Just(w), Just(h), proptest::collection::vec(0_u8..3, (w * h) as usize))),
    ) {
        let part = |which: u8| {
            let data = bits.iter().map(|b| u8::from(*b == which)).collect();
            Mask::from_bytes(width, height, data).unwrap()
        };
        let shapes = [1, 2].map(|which| Shape::Compressed(Rle::from(&part(which))));
        let whole: Vec<u8> = bits.iter().map(|b| u8::from(*b > 0)).collect();
        let drawn = drawn(width, height, shapes.to_vec());
        prop_assert_eq!(drawn.data(), whole);
    }
}

/// An object that was not asked for is known where it is drawn, and nowhere else.
#[test]
fn objects_that_were_not_asked_for_are_added_where_they_are_drawn() {
    let task = task(&["polyp"], &[("a.png", (2, 2), vec![])]);
    let dot = Mask::from_bytes(2, 2, vec![1, 0, 0, 0]).unwrap();
    let draw = |mask: &Mask| {
        let shape = Shape::Compressed(Rle::from(mask));
        let picture: &Picture = &task.pictures[0];
        outcomes(&task, picture, &[("ulcer".to_owned(), shape)]).unwrap()
    };
    let found = draw(&dot);
    let named: Vec<_> = found
        .iter()
        .map(|o| (o.object.as_str(), o.change))
        .collect();
    assert_eq!(named, [("polyp", Change::Absent), ("ulcer", Change::Added)]);
    assert_eq!(draw(&Mask::empty(2, 2)).len(), 1);
}
