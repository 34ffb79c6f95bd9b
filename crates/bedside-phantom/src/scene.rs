//! Where things are at each moment: the camera over the tissue, the tissue's own movement, and
//! the target in it.
//!
//! Three spaces, each mapped to the next: *pixels* of the frame; *view*, the same with its
//! origin in the frame's middle and the root of the frame's area as unit; *tissue*, which
//! moves and bends below the camera and carries every texture.

use crate::affine::Affine;
use crate::math::{Vec2, sin_turns, smoothstep};
use crate::noise::Rng;
use crate::shape::Shape;

/// The frame's size and its mapping to view space.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Viewport {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Pixels in a unit of view space.
    pub(crate) unit: f32,
    /// Half of the frame's sides in view space.
    pub(crate) half: Vec2,
}

impl Viewport {
    pub(crate) fn new(width: u32, height: u32) -> Self {
        let (w, h) = (width as f32, height as f32);
        let unit = (w * h).sqrt();
        Self {
            width,
            height,
            unit,
            half: Vec2::new(w, h) * (0.5 / unit),
        }
    }

    pub(crate) fn pixels_to_view(&self) -> Affine {
        let scale = 1.0 / self.unit;
        Affine::pose(scale, scale, Vec2::new(1.0, 0.0), Vec2::ZERO - self.half)
    }

    /// Rows of pixel centres in view space, from the top.
    pub(crate) fn rows(self) -> impl Iterator<Item = impl Iterator<Item = Vec2> + Clone> {
        let map = self.pixels_to_view();
        (0..self.height).map(move |y| {
            (0..self.width).map(move |x| map.to(Vec2::new(x as f32 + 0.5, y as f32 + 0.5)))
        })
    }
}

/// A sine in time.
#[derive(Debug, Clone, Copy)]
struct Wave {
    amplitude: f32,
    /// Turns per second.
    rate: f64,
    phase: f64,
}

impl Wave {
    fn new(rng: &mut Rng, amplitude: f32, rate: f32) -> Self {
        let rate = f64::from(rate * rng.range(0.7, 1.3));
        Self {
            amplitude,
            rate,
            phase: f64::from(rng.range(0.0, 1.0)),
        }
    }

    fn at(&self, seconds: f64) -> f32 {
        self.amplitude * sin_turns(seconds * self.rate + self.phase)
    }
}

/// A wave of displacement that runs through the tissue.
#[derive(Debug, Clone, Copy)]
struct Ripple {
    displacement: Vec2,
    /// Turns per unit of space.
    wave: Vec2,
    rate: f64,
    phase: f64,
}

/// How much a kind of scene moves; lengths in units of view space, turns in full turns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Liveliness {
    pub(crate) drift: Vec2,
    pub(crate) turn: f32,
    /// Greatest relative change of scale.
    pub(crate) zoom: f32,
    pub(crate) ripple: Vec2,
    /// Whether the camera leaves the target sidewise only, as a probe slides over skin.
    pub(crate) sidewise: bool,
}

/// The target at rest, chosen by a scene.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) shape: Shape,
    /// Middle in the first frame, in view space.
    pub(crate) middle: Vec2,
    /// Half axes in units of view space.
    pub(crate) axes: Vec2,
    /// Direction of the first axis.
    pub(crate) turn: f32,
    /// Greatest relative change of the axes.
    pub(crate) pulse: f32,
}

impl Target {
    /// A circle around the middle that holds the target however it pulses.
    fn reach(&self) -> f32 {
        self.shape.reach() * self.axes.x.max(self.axes.y) * (1.0 + self.pulse)
    }
}

/// All movement of one scene; a pure function of time.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    pub(crate) view: Viewport,
    target: Target,
    /// The target's middle in tissue space.
    anchor: Vec2,
    drift: [Wave; 2],
    sway: [Wave; 2],
    turn: Wave,
    zoom: Wave,
    ripples: [Ripple; 2],
    pulse: [Wave; 2],
    rock: Wave,
    /// The camera's shift when the target is out of the frame.
    away: Vec2,
    /// Seconds from one absence to the next.
    period: f64,
}

impl Stage {
    pub(crate) fn new(rng: &mut Rng, view: Viewport, target: Target, lively: Liveliness) -> Self {
        let wave = |rng: &mut Rng, amplitude, rate| Wave::new(rng, amplitude, rate);
        let ripple = |rng: &mut Rng, displacement: Vec2| Ripple {
            displacement,
            wave: Vec2::at_turns(rng.range(0.0, 1.0)) * rng.range(0.6, 1.1),
            rate: f64::from(rng.range(0.15, 0.3)),
            phase: f64::from(rng.range(0.0, 1.0)),
        };
        let heading = if lively.sidewise {
            Vec2::new(rng.sign(1.0), 0.0)
        } else {
            Vec2::at_turns(rng.range(0.0, 1.0))
        };
        let slack = lively.drift.length() * 2.0 + lively.ripple.length() * 2.0;
        let far = view.half.length() + target.middle.length() + target.reach() + slack;
        let mut stage = Self {
            view,
            anchor: Vec2::ZERO,
            drift: [
                wave(rng, lively.drift.x, 0.11),
                wave(rng, lively.drift.y, 0.13),
            ],
            sway: [
                wave(rng, lively.drift.x * 0.3, 0.5),
                wave(rng, lively.drift.y * 0.3, 0.6),
            ],
            turn: wave(rng, lively.turn, 0.09),
            zoom: wave(rng, lively.zoom, 0.12),
            ripples: [
                ripple(rng, Vec2::new(lively.ripple.x, 0.0)),
                ripple(rng, Vec2::new(0.0, lively.ripple.y)),
            ],
            pulse: [wave(rng, target.pulse, 0.4), wave(rng, target.pulse, 0.3)],
            rock: wave(rng, target.pulse * 0.3, 0.25),
            away: heading * (far * 1.15 * (1.0 + lively.zoom)),
            period: f64::from(rng.range(10.0, 15.0)),
            target,
        };
        let first = stage.at(0.0);
        stage.anchor = first.tissue(first.camera.to(target.middle));
        stage
    }

    /// 0 while the camera looks at the target, 1 while it looks elsewhere.
    fn excursion(&self, seconds: f64) -> f32 {
        let turns = seconds / self.period;
        let phase = (turns - turns.floor()) as f32;
        smoothstep(0.4, 0.58, phase) - smoothstep(0.72, 0.9, phase)
    }

    pub(crate) fn at(&self, seconds: f64) -> Moment {
        let [drift_x, drift_y] = &self.drift;
        let [sway_x, sway_y] = &self.sway;
        let shift = Vec2::new(
            drift_x.at(seconds) + sway_x.at(seconds),
            drift_y.at(seconds) + sway_y.at(seconds),
        );
        let scale = 1.0 + self.zoom.at(seconds);
        let turn = Vec2::at_turns(self.turn.at(seconds));
        let shift = shift + self.away * self.excursion(seconds);
        let camera = Affine::pose(scale, scale, turn, shift);
        let ripples = self.ripples.map(|r| Ripple {
            phase: r.phase + seconds * r.rate,
            ..r
        });

        let [along, across] = &self.pulse;
        let target = self.target;
        let turn = Vec2::at_turns(target.turn + self.rock.at(seconds));
        let middle = bend_back(&ripples, self.anchor);
        let axes = target
            .axes
            .scaled(1.0 + along.at(seconds), 1.0 + across.at(seconds));
        let to_view = camera
            .inverse()
            .after(Affine::pose(axes.x, axes.y, turn, middle));
        let rest_turn = Vec2::at_turns(target.turn);
        Moment {
            camera,
            ripples,
            shape: target.shape,
            to_view,
            from_view: to_view.inverse(),
            rest: Affine::pose(target.axes.x, target.axes.y, rest_turn, self.anchor),
        }
    }
}

/// Displacement of the tissue at `p`.
fn bend(ripples: &[Ripple; 2], p: Vec2) -> Vec2 {
    ripples.iter().fold(Vec2::ZERO, |sum, r| {
        sum + r.displacement * sin_turns(f64::from(r.wave.dot(p)) + r.phase)
    })
}

/// The point that the ripples take to `to`. They are shallow, so that the iteration contracts at
/// least fourfold a step.
fn bend_back(ripples: &[Ripple; 2], to: Vec2) -> Vec2 {
    (0..16).fold(to, |p, _| to - bend(ripples, p))
}

/// A scene at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    camera: Affine,
    ripples: [Ripple; 2],
    shape: Shape,
    /// From the target's own space, where its half axes are 1, to view space.
    to_view: Affine,
    from_view: Affine,
    /// From the target's own space to the tissue space of the target at rest.
    rest: Affine,
}

impl Moment {
    fn tissue(&self, scene: Vec2) -> Vec2 {
        scene + bend(&self.ripples, scene)
    }

    /// The tissue that is seen at a point of the view.
    pub(crate) fn tissue_at(&self, view: Vec2) -> Vec2 {
        self.tissue(self.camera.to(view))
    }

    /// Where in the view a point of the tissue is seen.
    pub(crate) fn view_of(&self, tissue: Vec2) -> Vec2 {
        self.camera.inverse().to(bend_back(&self.ripples, tissue))
    }

    /// The target's point at a point of the view.
    pub(crate) fn local_at(&self, view: Vec2) -> Vec2 {
        self.from_view.to(view)
    }

    /// Where in the view a point of the target is seen.
    pub(crate) fn view_of_local(&self, local: Vec2) -> Vec2 {
        self.to_view.to(local)
    }

    /// How far out a point of the target lies: below 1 inside, 1 on the outline.
    pub(crate) fn rho(&self, local: Vec2) -> f32 {
        self.shape.rho(local)
    }

    /// Whether the target covers a point of the view.
    pub(crate) fn covers(&self, view: Vec2) -> bool {
        self.shape.covers(self.local_at(view))
    }

    /// Texture coordinates of a point of the target: they move and stretch with it.
    pub(crate) fn rest(&self, local: Vec2) -> Vec2 {
        self.rest.to(local)
    }

    /// From the target's own space to the view.
    pub(crate) fn target_to_view(&self) -> Affine {
        self.to_view
    }

    /// From the view to the target's own space.
    pub(crate) fn view_to_target(&self) -> Affine {
        self.from_view
    }
}
