//! Affine maps of the plane.

use crate::math::Vec2;

/// An affine map of pixel coordinates, pixel centres at `.5`:
/// `x' = xx * x + xy * y + dx`, `y' = yx * x + yy * y + dy`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "the formula above names them all")]
pub struct Affine {
    pub xx: f32,
    pub xy: f32,
    pub yx: f32,
    pub yy: f32,
    pub dx: f32,
    pub dy: f32,
}

impl Affine {
    /// The map that moves nothing.
    pub const IDENTITY: Self = Self {
        xx: 1.0,
        xy: 0.0,
        yx: 0.0,
        yy: 1.0,
        dx: 0.0,
        dy: 0.0,
    };

    /// Where the map takes a point.
    #[must_use]
    pub fn apply(&self, x: f32, y: f32) -> (f32, f32) {
        let to = self.to(Vec2::new(x, y));
        (to.x, to.y)
    }

    pub(crate) fn to(self, p: Vec2) -> Vec2 {
        self.linear(p) + Vec2::new(self.dx, self.dy)
    }

    /// The map without its shift.
    pub(crate) fn linear(self, p: Vec2) -> Vec2 {
        Vec2::new(self.xx * p.x + self.xy * p.y, self.yx * p.x + self.yy * p.y)
    }

    /// The gradient, in the coordinates that the map takes, of a field with gradient `g` in the
    /// coordinates that it gives.
    pub(crate) fn pull_gradient(self, g: Vec2) -> Vec2 {
        Vec2::new(self.xx * g.x + self.yx * g.y, self.xy * g.x + self.yy * g.y)
    }

    /// Scale by `a` and `b` along the axes, then turn by the unit vector `turn`, then shift.
    pub(crate) fn pose(a: f32, b: f32, turn: Vec2, shift: Vec2) -> Self {
        Self {
            xx: a * turn.x,
            xy: -b * turn.y,
            yx: a * turn.y,
            yy: b * turn.x,
            dx: shift.x,
            dy: shift.y,
        }
    }

    /// `self` after `first`.
    pub(crate) fn after(self, first: Self) -> Self {
        let x = self.linear(Vec2::new(first.xx, first.yx));
        let y = self.linear(Vec2::new(first.xy, first.yy));
        let d = self.to(Vec2::new(first.dx, first.dy));
        Self {
            xx: x.x,
            xy: y.x,
            yx: x.y,
            yy: y.y,
            dx: d.x,
            dy: d.y,
        }
    }

    /// The map back. Every map made here scales by more than zero.
    pub(crate) fn inverse(self) -> Self {
        let det = self.xx * self.yy - self.xy * self.yx;
        let back = Self {
            xx: self.yy / det,
            xy: -self.xy / det,
            yx: -self.yx / det,
            yy: self.xx / det,
            dx: 0.0,
            dy: 0.0,
        };
        let d = back.linear(Vec2::new(self.dx, self.dy));
        Self {
            dx: -d.x,
            dy: -d.y,
            ..back
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_undoes_and_after_chains() {
        let turn = Vec2::at_turns(0.13);
        let a = Affine::pose(0.4, 1.7, turn, Vec2::new(3.0, -2.0));
        let b = Affine::pose(1.2, 0.8, Vec2::at_turns(-0.4), Vec2::new(0.5, 9.0));
        let p = Vec2::new(0.3, -0.9);
        let close = |a: Vec2, b: Vec2| (a - b).length() < 1e-5;
        assert!(close(a.inverse().to(a.to(p)), p));
        assert!(close(a.after(b).to(p), a.to(b.to(p))));
        // A quarter turn takes x to y.
        let quarter = Affine::pose(2.0, 1.0, Vec2::at_turns(0.25), Vec2::ZERO);
        assert!(close(quarter.to(Vec2::new(1.0, 0.0)), Vec2::new(0.0, 2.0)));
    }
}
