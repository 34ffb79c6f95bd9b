//! The part of the frame that shows tissue; the rest is black.

use crate::math::Vec2;
use crate::noise::Rng;

/// A rectangle of the view that the machine blanks.
#[derive(Debug, Clone, Copy)]
struct Blank {
    from: Vec2,
    to: Vec2,
}

impl Blank {
    fn holds(&self, p: Vec2) -> bool {
        p.x >= self.from.x && p.x < self.to.x && p.y >= self.from.y && p.y < self.to.y
    }
}

#[derive(Debug, Clone, Copy)]
enum Outline {
    /// Rectangle with its corners cut off.
    Octagon {
        half: Vec2,
        cut: f32,
    },
    Sector(Sector),
}

/// What a convex probe sees: rays from `apex`, downwards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sector {
    pub(crate) apex: Vec2,
    /// Distances from the apex to the probe's face and to the deepest echo.
    pub(crate) near: f32,
    pub(crate) far: f32,
    /// Tangent of half the opening angle.
    pub(crate) slope: f32,
}

/// Which points of the view show tissue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aperture {
    outline: Outline,
    half: Vec2,
    blanks: [Option<Blank>; 2],
}

impl Aperture {
    /// The whole frame.
    pub(crate) fn open(half: Vec2) -> Self {
        Self {
            outline: Outline::Octagon { half, cut: 0.0 },
            half,
            blanks: [None; 2],
        }
    }

    /// As endoscopy towers crop, at times with a box for their own use at the lower left.
    pub(crate) fn octagon(rng: &mut Rng, half: Vec2) -> Self {
        let cut = half.x.min(half.y) * rng.range(0.4, 0.62);
        let corner = Vec2::new(-half.x, half.y);
        let from = corner + half.scaled(0.0, -rng.range(0.3, 0.7));
        let to = corner + half.scaled(rng.range(0.5, 0.66), 1.0);
        let blank = rng.chance(0.35).then_some(Blank { from, to });
        Self {
            outline: Outline::Octagon { half, cut },
            half,
            blanks: [blank, None],
        }
    }

    /// A convex probe's sector that fills the frame and is cut by its sides.
    pub(crate) fn sector(rng: &mut Rng, half: Vec2) -> (Self, Sector) {
        let near = rng.range(0.25, 0.8);
        let top = if rng.chance(0.6) {
            rng.range(0.0, 0.06)
        } else {
            rng.range(-0.3, 0.0)
        };
        let sector = Sector {
            apex: Vec2::new(half.x * rng.range(-0.08, 0.08), top - half.y - near),
            near,
            far: near + 2.0 * half.y * rng.range(0.96, 1.15),
            slope: rng.range(0.48, 0.85),
        };
        let low = half.scaled(1.0 - rng.range(0.3, 0.6), 1.0 - rng.range(0.2, 0.36));
        let high = Vec2::new(half.x, rng.range(0.2, 0.45) * half.y - half.y);
        let blanks = [
            rng.chance(0.6).then_some(Blank {
                from: low,
                to: half * 2.0,
            }),
            rng.chance(0.3).then_some(Blank {
                from: Vec2::new(half.x * 0.86, -2.0 * half.y),
                to: Vec2::new(half.x * 2.0, high.y),
            }),
        ];
        (
            Self {
                outline: Outline::Sector(sector),
                half,
                blanks,
            },
            sector,
        )
    }

    pub(crate) fn shows(&self, p: Vec2) -> bool {
        let within = match self.outline {
            Outline::Octagon { half, cut } => {
                let (x, y) = (half.x - p.x.abs(), half.y - p.y.abs());
                x >= 0.0 && y >= 0.0 && x + y >= cut
            }
            Outline::Sector(sector) => {
                let ray = p - sector.apex;
                let range = ray.length();
                range >= sector.near && range <= sector.far && ray.x.abs() <= ray.y * sector.slope
            }
        };
        within && !self.blanks.iter().flatten().any(|blank| blank.holds(p))
    }

    /// A place in the frame's inner part, where a target stands when it is seen; `spread` of 1
    /// reaches the frame's sides.
    pub(crate) fn place(&self, rng: &mut Rng, spread: f32) -> Vec2 {
        // Triangular in both directions: rather in the middle than outside.
        let mut share = || (rng.range(-0.5, 0.5) + rng.range(-0.5, 0.5)) * spread;
        (0..8)
            .map(|_| self.half.scaled(share(), share()))
            .find(|place| self.shows(*place))
            // Eight tries where nothing shows: the middle always does.
            .unwrap_or(Vec2::ZERO)
    }
}
