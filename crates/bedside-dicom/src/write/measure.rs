//! Area and diameters of a mask.

use bedside_core::Mask;

/// What is measured of a mask, in the unit of its pixels' sides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measures {
    /// Sum of the areas of the pixels.
    pub area: f64,
    /// The longest line between two points of the pixels' outlines.
    pub long: f64,
    /// The extent across that line.
    pub short: f64,
}

type Point = (f64, f64);

/// Area and diameters of a mask whose pixels have that width and height; `None` for one with none
/// set.
///
/// Pixels count with their whole area: a single one of 1 mm x 1 mm has a long diameter of 1.41 mm.
pub fn measure(mask: &Mask, width: f64, height: f64) -> Option<Measures> {
    let hull = hull(corners(mask, width, height));
    let mut long = (0.0, (0.0, 0.0));
    for (i, a) in hull.iter().enumerate() {
        for b in hull.iter().skip(i + 1) {
            let line = (b.0 - a.0, b.1 - a.1);
            let length = line.0.hypot(line.1);
            if length > long.0 {
                long = (length, line);
            }
        }
    }
    let (long, (dx, dy)) = long;
    if hull.is_empty() {
        return None;
    }
    let across = |p: &Point| (p.1 * dx - p.0 * dy) / long;
    let least = hull.iter().map(across).fold(f64::INFINITY, f64::min);
    let most = hull.iter().map(across).fold(f64::NEG_INFINITY, f64::max);
    Some(Measures {
        area: mask.area() as f64 * width * height,
        long,
        // No width is more than the diameter, but for rounding.
        short: (most - least).min(long),
    })
}

/// Where the middle of a mask is: column and row as DICOM counts them in images, from the upper left
/// corner of the first pixel (PS3.3, C.18.6.1.1), so that the middle of that pixel is at 0.5, 0.5.
/// `None` for a mask with none set.
pub fn centre(mask: &Mask) -> Option<(f64, f64)> {
    let across = (mask.width() as usize).max(1);
    let set = (0..).zip(mask.data()).filter(|(_, v)| **v == 1);
    let place = |(i, _): (usize, &u8)| (i % across, i / across);
    let add =
        |(n, x, y): (u64, u64, u64), at: (usize, usize)| (n + 1, x + at.0 as u64, y + at.1 as u64);
    let (n, x, y) = set.map(place).fold((0, 0, 0), add);
    let middle = |sum: u64| sum as f64 / n as f64 + 0.5;
    (n > 0).then(|| (middle(x), middle(y)))
}

/// The outer corners of each row's first and last pixel, ordered from top to bottom.
fn corners(mask: &Mask, width: f64, height: f64) -> Vec<Point> {
    let mut corners = Vec::new();
    let rows = mask.data().chunks((mask.width() as usize).max(1));
    for (y, row) in (0_u32..).zip(rows) {
        let first = row.iter().position(|v| *v == 1);
        let last = row.iter().rposition(|v| *v == 1);
        if let (Some(first), Some(last)) = (first, last) {
            let (left, right) = (first as f64 * width, (last + 1) as f64 * width);
            let (top, bottom) = (f64::from(y) * height, f64::from(y + 1) * height);
            corners.extend([(left, top), (right, top), (left, bottom), (right, bottom)]);
        }
    }
    corners
}

/// The corners of the convex hull (Andrew's monotone chain).
fn hull(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.total_cmp(&b.0)));
    points.dedup();
    let mut hull = chain(points.iter());
    hull.extend(chain(points.iter().rev()));
    hull
}

/// One side of the hull, without its last point, with which the other side begins.
fn chain<'a>(points: impl Iterator<Item = &'a Point>) -> Vec<Point> {
    let mut chain: Vec<Point> = Vec::new();
    for p in points {
        while let [.., a, b] = chain.as_slice() {
            let turn = (b.0 - a.0) * (p.1 - a.1) - (b.1 - a.1) * (p.0 - a.0);
            if turn > 0.0 {
                break;
            }
            chain.pop();
        }
        chain.push(*p);
    }
    chain.pop();
    chain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask(width: u32, height: u32, inside: impl Fn(f64, f64) -> bool) -> Mask {
        let centre = |i: u32| {
            let (x, y) = (i % width, i / width);
            (f64::from(x) + 0.5, f64::from(y) + 0.5)
        };
        let data = (0..width * height)
            .map(centre)
            .map(|(x, y)| u8::from(inside(x, y)));
        Mask::from_bytes(width, height, data.collect()).unwrap()
    }

    #[test]
    fn a_box_has_its_diagonal_and_its_height_over_it() {
        let mask = mask(10, 10, |x, y| x > 2.0 && x < 6.0 && y > 1.0 && y < 4.0);
        let measures = measure(&mask, 1.0, 1.0).unwrap();
        assert_eq!((measures.area, measures.long), (12.0, 5.0));
        // Both other corners are 4 * 3 / 5 from the diagonal.
        assert!((measures.short - 4.8).abs() < 1e-9, "{measures:?}");
        let measures = measure(&mask, 0.5, 2.0).unwrap();
        assert_eq!(measures.area, 12.0);
        assert!((measures.long - 40_f64.sqrt()).abs() < 1e-9, "{measures:?}");
        assert_eq!(measure(&Mask::empty(4, 4), 1.0, 1.0), None);
    }

    #[test]
    fn an_ellipse_has_about_its_axes() {
        let mask = mask(200, 100, |x, y| {
            ((x - 100.0) / 80.0).powi(2) + ((y - 50.0) / 30.0).powi(2) < 1.0
        });
        let measures = measure(&mask, 0.1, 0.1).unwrap();
        assert!(
            (measures.area - 24.0 * std::f64::consts::PI).abs() < 0.3,
            "{measures:?}"
        );
        assert!((measures.long - 16.0).abs() < 0.15, "{measures:?}");
        assert!((measures.short - 6.0).abs() < 0.25, "{measures:?}");
    }

    proptest! {
        #[test]
        fn diameters_are_those_of_all_corners(bits in proptest::collection::vec(0_u8..2, 48)) {
            let mask = Mask::from_bytes(8, 6, bits).unwrap();
            let mut corners = Vec::new();
            for (x, y) in (0..6).flat_map(|y| (0..8).map(move |x| (x, y))) {
                if mask.get(x, y) {
                    let (x, y) = (f64::from(x), f64::from(y) * 2.0);
                    corners.extend([(x, y), (x + 1.0, y), (x, y + 2.0), (x + 1.0, y + 2.0)]);
                }
            }
            let pairs = corners.iter().flat_map(|a| corners.iter().map(move |b| (a, b)));
            let long = pairs.map(|(a, b)| (a.0 - b.0).hypot(a.1 - b.1)).fold(0.0, f64::max);
            match measure(&mask, 1.0, 2.0) {
                None => prop_assert!(corners.is_empty()),
                Some(measures) => {
                    prop_assert!((measures.long - long).abs() < 1e-9);
                    prop_assert!(measures.short > 0.0 && measures.short <= long + 1e-9);
                    // The box around it along and across the line holds it all.
                    prop_assert!(measures.area <= measures.long * measures.short + 1e-9);
                }
            }
        }
    }
}
