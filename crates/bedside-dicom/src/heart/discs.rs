//! Volume by the single-plane method of discs.

use bedside_core::Mask;

/// How many discs a ventricle is cut into: as the guideline of the American Society of
/// Echocardiography has it.
const DISCS: usize = 20;
/// Points along the longer side of a mask at least, which stand for its area: pixels of small masks
/// have more.
const POINTS: u32 = 240;

/// A mask as a stack of discs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Discs {
    /// Sum of the volumes of the discs, in cubes of the unit of the pixels' sides.
    pub volume: f64,
    /// Length of the axis.
    pub length: f64,
    /// How far the axis leans: from the columns' direction, in degrees, -90 to 90, positive where
    /// its lower end lies to the right.
    pub angle: f64,
    /// How much longer the mask is along the axis than across it, by its second moments. Near 1
    /// the axis is not to be relied on.
    pub elongation: f64,
}

/// A point of the plane, or a direction.
type Point = (f64, f64);

/// The volume of a mask whose pixels have that width and height, as of a body that is round about
/// its long axis; `None` for one with none set.
///
/// The axis is the principal one of the mask's second moments, and as long as the mask along it. It
/// is cut into 20 discs of equal height, each as wide as the mask there on average.
pub fn discs(mask: &Mask, width: f64, height: f64) -> Option<Discs> {
    let (_, extents) = mask.measure_rows(0..mask.height());
    let extents = extents?;
    let sides = (POINTS / extents.width.max(extents.height)).clamp(3, 16);
    let points = points(mask, width, height, sides);
    let n = points.len() as f64;
    let mean = |of: &dyn Fn(&Point) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(&|p| p.0), mean(&|p| p.1));
    let xx = mean(&|p| (p.0 - x).powi(2));
    let yy = mean(&|p| (p.1 - y).powi(2));
    let xy = mean(&|p| (p.0 - x) * (p.1 - y));
    // Eigenvalues of the matrix of moments, and the direction of the larger one.
    let (half, apart) = ((xx + yy) / 2.0, ((xx - yy) / 2.0).hypot(xy));
    let lean = 0.5 * (2.0 * xy).atan2(yy - xx);
    let (dx, dy) = lean.sin_cos();
    let along = |p: &Point| (p.0 - x) * dx + (p.1 - y) * dy;
    let (first, last) = points
        .iter()
        .map(along)
        .fold((f64::MAX, f64::MIN), |(a, b), t| (a.min(t), b.max(t)));
    // Points stand for the ground around them.
    let reach = (width * dx.abs() + height * dy.abs()) / f64::from(sides);
    let length = last - first + reach;
    let disc = length / DISCS as f64;
    let mut counts = [0_u32; DISCS];
    for point in &points {
        let place = ((along(point) - first + reach / 2.0) / disc) as usize;
        if let Some(count) = counts.get_mut(place.min(DISCS - 1)) {
            *count += 1;
        }
    }
    let ground = width * height / f64::from(sides * sides);
    let volumes = counts.iter().map(|count| {
        let across = f64::from(*count) * ground / disc;
        std::f64::consts::FRAC_PI_4 * across * across * disc
    });
    Some(Discs {
        volume: volumes.sum(),
        length,
        angle: lean.to_degrees(),
        elongation: ((half + apart) / (half - apart)).sqrt(),
    })
}

/// Points evenly spread over the set pixels, so many along each side of a pixel.
fn points(mask: &Mask, width: f64, height: f64, sides: u32) -> Vec<Point> {
    let across = mask.width().max(1) as usize;
    let set = (0..).zip(mask.data()).filter(|(_, v)| **v == 1);
    let spread = |(i, _): (usize, &u8)| {
        let (x, y) = ((i % across) as f64, (i / across) as f64);
        let at = |k: u32| (f64::from(k) + 0.5) / f64::from(sides);
        (0..sides)
            .flat_map(move |j| (0..sides).map(move |i| ((x + at(i)) * width, (y + at(j)) * height)))
    };
    set.flat_map(spread).collect()
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use proptest::prelude::*;

    use super::*;

    /// An ellipse of those half axes in mm, leaning by that angle, in pixels of that width and
    /// height.
    fn ellipse(long: f64, short: f64, angle: f64, pixel: (f64, f64)) -> Mask {
        let (width, height) = ((260.0 / pixel.0) as u32, (260.0 / pixel.1) as u32);
        let (dx, dy) = angle.to_radians().sin_cos();
        let inside = |i: u32| {
            let x = (f64::from(i % width) + 0.5) * pixel.0 - 130.0;
            let y = (f64::from(i / width) + 0.5) * pixel.1 - 130.0;
            let (along, across) = (x * dx + y * dy, x * dy - y * dx);
            (along / long).powi(2) + (across / short).powi(2) < 1.0
        };
        let data = (0..width * height).map(|i| u8::from(inside(i)));
        Mask::from_bytes(width, height, data.collect()).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Of a body that is round about its axis, the volume is known.
        #[test]
        fn an_ellipse_has_the_volume_of_its_spheroid(
            long in 40.0..60.0_f64,
            narrow in 0.4..0.7_f64,
            angle in -88.0..88.0_f64,
            pixel in (0.5..1.2_f64, 0.5..1.2_f64),
        ) {
            let short = long * narrow;
            let found = discs(&ellipse(long, short, angle, pixel), pixel.0, pixel.1).unwrap();
            let volume = 4.0 / 3.0 * PI * long * short * short;
            prop_assert!((found.volume / volume - 1.0).abs() < 0.02, "{found:?}, not {volume}");
            prop_assert!((found.length / (2.0 * long) - 1.0).abs() < 0.02, "{found:?}");
            prop_assert!((found.angle - angle).abs() < 1.0, "{found:?}, not {angle}");
            prop_assert!((found.elongation * narrow - 1.0).abs() < 0.02, "{found:?}");
        }
    }

    #[test]
    fn a_box_is_a_cylinder_also_of_one_pixel() {
        let column = Mask::from_bytes(3, 4, vec![0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0]).unwrap();
        let found = discs(&column, 0.5, 2.0).unwrap();
        assert!((found.length - 8.0).abs() < 1e-9 && found.angle.abs() < 1e-9);
        // Of height 8 and diameter 0.5, but for points that fall into one disc or the next.
        let volume = 8.0 * PI * 0.0625;
        assert!((found.volume / volume - 1.0).abs() < 0.1, "{found:?}");
        let pixel = Mask::from_bytes(1, 1, vec![1]).unwrap();
        assert!(discs(&pixel, 1.0, 1.0).unwrap().volume > 0.0);
        assert_eq!(discs(&Mask::empty(4, 4), 1.0, 1.0), None);
    }
}
