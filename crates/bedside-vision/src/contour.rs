//! Outlines of a mask.

use bedside_core::Mask;

/// The pixels of the mask that touch an unset pixel by an edge, or the border of the picture, as
/// (column, row) in reading order: the inner outline.
pub fn outline(mask: &Mask) -> impl Iterator<Item = (u32, u32)> + '_ {
    (0..mask.height()).flat_map(move |y| {
        (0..mask.width()).filter_map(move |x| {
            let inside = |x: Option<u32>, y: Option<u32>| match (x, y) {
                (Some(x), Some(y)) => mask.get(x, y),
                _ => false,
            };
            let edge = mask.get(x, y)
                && !(inside(x.checked_sub(1), Some(y))
                    && inside(Some(x + 1), Some(y))
                    && inside(Some(x), y.checked_sub(1))
                    && inside(Some(x), Some(y + 1)));
            edge.then_some((x, y))
        })
    })
}

/// The outer border of each 8-connected component, as closed polygons along pixel edges:
/// corners (x, y) in pixels, clockwise on the screen, largest component first. Holes are left
/// out.
pub fn polygons(mask: &Mask) -> Vec<Vec<(u32, u32)>> {
    crate::components::components(mask)
        .iter()
        // All pixels at a component's border are its own, so the whole mask serves.
        .filter_map(|c| c.first().map(|start| walk(mask, start)))
        .collect()
}

/// Walk around a component with the inside at the right hand, from its topmost leftmost corner.
fn walk(mask: &Mask, start: (u32, u32)) -> Vec<(u32, u32)> {
    let pixel = |x: i64, y: i64| match (u32::try_from(x), u32::try_from(y)) {
        (Ok(x), Ok(y)) => mask.get(x, y),
        _ => false,
    };
    let mut corners = vec![start];
    let (mut x, mut y) = (i64::from(start.0), i64::from(start.1));
    let (mut dx, mut dy) = (1_i64, 0_i64);
    loop {
        (x, y) = (x + dx, y + dy);
        // The pixels ahead of the corner, at the left and the right hand.
        let (left, right) = match (dx, dy) {
            (1, _) => (pixel(x, y - 1), pixel(x, y)),
            (-1, _) => (pixel(x - 1, y), pixel(x - 1, y - 1)),
            (_, 1) => (pixel(x, y), pixel(x - 1, y)),
            _ => (pixel(x - 1, y - 1), pixel(x, y - 1)),
        };
        (dx, dy) = match (left, right) {
            (true, _) => (dy, -dx),
            (false, true) => continue,
            (false, false) => (-dy, dx),
        };
        match (u32::try_from(x), u32::try_from(y)) {
            (Ok(x), Ok(y)) if (x, y) != start => corners.push((x, y)),
            _ => return corners,
        }
    }
}
