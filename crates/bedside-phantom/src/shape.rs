//! Outlines of targets.

use crate::math::Vec2;
use crate::noise::Rng;

/// A star-shaped outline: around a unit circle, with bumps and at most one stalk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Of the second to sixth harmonic: amplitude times direction.
    bumps: [Vec2; 5],
    stalk: Option<Stalk>,
    /// No point of the outline lies farther from the middle.
    reach: f32,
}

/// Distance from the middle beyond which the outline's form is of no account; most of a frame
/// lies there.
const FAR: f32 = 4.0;

/// How far from the crease between head and stalk it is rounded, in units of rho.
const CREASE: f32 = 0.5;

/// A strip with a round end that grows from the middle.
#[derive(Debug, Clone, Copy)]
struct Stalk {
    direction: Vec2,
    length: f32,
    half_width: f32,
}

impl Shape {
    /// The unit circle.
    pub(crate) const ROUND: Self = Self {
        bumps: [Vec2::ZERO; 5],
        stalk: None,
        reach: 1.0,
    };

    /// A circle with random bumps, none higher than `roughness`.
    pub(crate) fn rough(rng: &mut Rng, roughness: f32) -> Self {
        let bumps = [0.5, 0.26, 0.14, 0.08, 0.05]
            .map(|share| Vec2::at_turns(rng.range(0.0, 1.0)) * (rng.range(0.2, 1.0) * share))
            .map(|bump| bump * roughness);
        let reach = bumps.iter().fold(1.0, |sum, bump| sum + bump.length());
        Self {
            bumps,
            stalk: None,
            reach,
        }
    }

    /// The same shape with a stalk.
    pub(crate) fn with_stalk(self, rng: &mut Rng) -> Self {
        let stalk = Stalk {
            direction: Vec2::at_turns(rng.range(0.0, 1.0)),
            length: rng.range(1.3, 1.8),
            half_width: rng.range(0.3, 0.48),
        };
        // Rounding the crease lowers rho by a quarter of it at most.
        let margin = 1.0 + CREASE * 0.25;
        let reach = (self.reach * margin).max(stalk.length + stalk.half_width * margin);
        Self {
            stalk: Some(stalk),
            reach,
            ..self
        }
    }

    /// Distance from the middle to the outline of the head, without its stalk.
    fn head_radius(&self, direction: Vec2) -> f32 {
        let mut power = direction;
        self.bumps.iter().fold(1.0, |radius, bump| {
            power = power.turned(direction);
            radius + power.dot(*bump)
        })
    }

    /// Below 1 inside, 1 on the outline, growing outwards.
    pub(crate) fn rho(&self, p: Vec2) -> f32 {
        let length = p.length();
        if length > FAR {
            return length;
        }
        let (head, stalk) = (self.head_rho(p), self.stalk_rho(p));
        // A minimum that rounds the crease where the stalk leaves the head.
        let near = (1.0 - (head - stalk).abs() / CREASE).max(0.0);
        head.min(stalk) - near * near * CREASE * 0.25
    }

    /// As [`rho`](Self::rho), of the head alone.
    fn head_rho(&self, p: Vec2) -> f32 {
        let length = p.length();
        if length > 0.0 {
            length / self.head_radius(p * (1.0 / length))
        } else {
            0.0
        }
    }

    /// Distance to the stalk's axis over its half width; far out if there is no stalk.
    fn stalk_rho(&self, p: Vec2) -> f32 {
        let Some(stalk) = self.stalk else {
            return f32::INFINITY;
        };
        let along = p.dot(stalk.direction).clamp(0.0, stalk.length);
        (p - stalk.direction * along).length() / stalk.half_width
    }

    /// Whether a point lies inside.
    pub(crate) fn covers(&self, p: Vec2) -> bool {
        p.length() <= self.reach && self.rho(p) < 1.0
    }

    /// No point of the outline lies farther from the middle.
    pub(crate) fn reach(&self) -> f32 {
        self.reach
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outline_is_where_rho_is_one() {
        let mut rng = Rng::new(3, 0);
        for _ in 0..50 {
            let shape = Shape::rough(&mut rng, 0.5);
            let stalked = shape.with_stalk(&mut rng);
            for i in 0..64 {
                let direction = Vec2::at_turns(i as f32 / 64.0);
                let edge = direction * shape.head_radius(direction);
                assert!((shape.rho(edge) - 1.0).abs() < 1e-5);
                assert!(shape.rho(edge * 0.99) < 1.0 && shape.rho(edge * 1.01) > 1.0);
                assert!(edge.length() <= shape.reach() + 1e-5);
                let beyond = direction * (stalked.reach() + 1e-4);
                assert!(stalked.rho(beyond) > 1.0);
                assert!(
                    stalked.rho(edge * 0.99) < 1.0,
                    "a stalk adds and never takes"
                );
            }
        }
    }

    #[test]
    fn a_round_shape_is_the_unit_circle() {
        assert_eq!(Shape::ROUND.rho(Vec2::new(0.6, 0.8)), 1.0);
        assert_eq!(Shape::ROUND.rho(Vec2::ZERO), 0.0);
        assert_eq!(Shape::ROUND.reach(), 1.0);
    }
}
