//! B-mode of a fetal head under a convex probe: abdominal wall, placenta, amniotic fluid, skull.

use crate::aperture::{Aperture, Sector};
use crate::canvas::{Writing, soften};
use crate::math::{Vec2, bell, from_db, mix, smoothstep, to_db};
use crate::noise::{Field, Rng};
use crate::scene::{Liveliness, Moment, Target, Viewport};
use crate::shape::Shape;
use crate::speckle::Speckle;

/// The look of one womb and of the machine that shows it. Levels are in decibels.
#[derive(Debug, Clone)]
pub(crate) struct Fetal {
    sector: Sector,
    speckle: Speckle,
    grain: Vec2,
    looks: u32,
    range: f32,
    gain: f32,
    attenuation: f32,
    placenta: f32,
    contrast: f32,
    /// How much of the womb is fluid, and the side of the head on which it lies.
    fluid: f32,
    fluid_side: Vec2,
    brain: f32,
    midline: f32,
    plexus: Option<Vec2>,
    skull: Skull,
    shadows: f32,
    texture: Field,
    pockets: Field,
    gaps: Field,
    columns: Field,
    blur: f32,
    pub(crate) noise: f32,
    bar: bool,
    writing: Option<Writing>,
}

#[derive(Debug, Clone, Copy)]
struct Skull {
    level: f32,
    /// Half thickness in units of the view.
    thickness: f32,
    /// Echo of bone that lies along the beam, below that of bone across it.
    flank: f32,
    gaps: f32,
}

impl Fetal {
    pub(crate) fn new(
        rng: &mut Rng,
        view: &Viewport,
        aperture: &Aperture,
        sector: Sector,
    ) -> (Self, Target, Liveliness) {
        let across = view.half.y.min(view.half.x);
        let size = across * rng.range(0.4, 0.95);
        let round = rng.range(0.68, 0.88);
        // Near the middle of the beam, the lower the smaller the head is.
        let place = aperture.place(rng, 0.5 * (1.15 - size / across));
        let target = Target {
            shape: Shape::ROUND,
            middle: place + Vec2::new(0.0, rng.range(0.0, 0.08)),
            axes: Vec2::new(size, size * round),
            turn: if rng.chance(0.8) {
                rng.range(-0.08, 0.08)
            } else {
                rng.range(-0.25, 0.25)
            },
            pulse: rng.range(0.01, 0.03),
        };
        let lively = Liveliness {
            drift: Vec2::new(0.05, 0.025),
            turn: 0.012,
            zoom: 0.03,
            ripple: Vec2::new(0.008, 0.008),
            sidewise: true,
        };
        let grain = rng.range(200.0, 380.0);
        let writing = rng.chance(0.3).then(|| {
            let at = Vec2::new(rng.range(0.02, 0.08), rng.range(0.05, 0.2));
            let size = rng.range(0.04, 0.06);
            Writing::new(rng, at, size, 2)
        });
        let fetal = Self {
            sector,
            speckle: Speckle::new(rng),
            grain: Vec2::new(grain * rng.range(0.35, 0.6), grain),
            looks: 2 + rng.next_u32() % 3,
            range: rng.range(36.0, 52.0),
            gain: rng.range(-10.0, 2.0),
            attenuation: rng.range(0.0, 10.0),
            placenta: rng.range(-15.0, -5.0),
            contrast: rng.range(5.0, 11.0),
            fluid: rng.range(-0.5, 0.35),
            fluid_side: Vec2::at_turns(rng.range(0.0, 1.0)),
            brain: rng.range(-23.0, -12.0),
            midline: rng.range(3.0, 15.0),
            plexus: rng
                .chance(0.5)
                .then(|| Vec2::new(rng.range(-0.5, 0.5), rng.sign(0.35))),
            skull: Skull {
                level: rng.range(8.0, 18.0),
                thickness: rng.range(0.0045, 0.011),
                flank: rng.range(14.0, 40.0),
                gaps: rng.range(8.0, 30.0),
            },
            shadows: rng.range(3.0, 12.0),
            texture: Field::new(rng),
            pockets: Field::new(rng),
            gaps: Field::new(rng),
            columns: Field::new(rng),
            blur: rng.range(0.1, 0.25),
            noise: rng.range(0.003, 0.01),
            bar: rng.chance(0.6),
            writing,
        };
        (fetal, target, lively)
    }

    /// Levels of 0 to 1, one a pixel.
    pub(crate) fn draw(
        &self,
        view: &Viewport,
        aperture: &Aperture,
        moment: &Moment,
        target: bool,
    ) -> Vec<f32> {
        let mut plane = Vec::with_capacity(view.width as usize * view.height as usize);
        for p in view.rows().flatten() {
            plane.push(if aperture.shows(p) {
                self.level_at(moment, target, p)
            } else {
                0.0
            });
        }
        soften(&mut plane, view.width as usize, 1, self.blur);
        if self.bar {
            self.draw_bar(view, &mut plane);
        }
        if let Some(writing) = &self.writing {
            writing.draw(&mut plane, view, 1, 0.7);
        }
        plane
    }

    /// The grey scale that machines show beside the frame.
    fn draw_bar(&self, view: &Viewport, plane: &mut [f32]) {
        let (width, height) = (view.width as usize, view.height as usize);
        let from = width / 80;
        let to = from + width / 120;
        for (y, row) in plane.chunks_exact_mut(width).enumerate().skip(height / 30) {
            let level = 1.0 - (y as f32 / height as f32) * 3.0;
            if let Some(bar) = row.get_mut(from..to)
                && level > 0.0
            {
                bar.fill(level);
            }
        }
    }

    fn level_at(&self, moment: &Moment, target: bool, p: Vec2) -> f32 {
        let tissue = moment.tissue_at(p);
        let ray = p - self.sector.apex;
        let range = ray.length();
        let beam = ray * (1.0 / range);
        let depth = (range - self.sector.near) / (self.sector.far - self.sector.near);

        let texture = self.texture.fractal(tissue.scaled(5.0, 8.0));
        let local = moment.local_at(p);
        let rho = moment.rho(local);
        let mut level = self.womb_level(tissue, texture, depth, local, rho, target);
        let mut echo = 0.0;
        let mut grain = tissue;
        if target {
            let rest = moment.rest(local);
            if rho < 1.0 {
                grain = rest;
            }
            level = self.with_brain(level, local, rho, rest, beam, moment);
            echo = from_db(self.skull_level(moment, local, rho, rest, beam));
            level -= self.wake(moment, p, rho);
        }
        // Speckle follows the beam: cells widen with depth. Tangents stand in for angles.
        let spread = grain - self.sector.apex;
        let angle = spread.x / spread.y.max(0.2);
        let cell = Vec2::new(angle * self.sector.far * 0.75, spread.length());
        let speckle = self
            .speckle
            .compounded(cell.scaled(self.grain.x, self.grain.y), self.looks);

        let column = self.columns.at(Vec2::new(angle * 7.0, depth * 0.6));
        let shadow = self.shadows * smoothstep(0.1, 0.7, column) * smoothstep(0.05, 0.4, depth);
        let fall = self.attenuation * depth * depth + shadow;
        let intensity = from_db(level) * (speckle + 0.03) + echo * (0.6 + 0.4 * speckle.min(3.0));
        let level = to_db(intensity + 1e-4) * 0.85 - fall + self.gain;
        ((level + self.range * 0.66) / self.range).clamp(0.003, 1.0)
    }

    /// Mean echo of all that is not the head.
    fn womb_level(
        &self,
        tissue: Vec2,
        texture: f32,
        depth: f32,
        local: Vec2,
        rho: f32,
        target: bool,
    ) -> f32 {
        let coarse = self.pockets.at(tissue * 1.9);
        let tissue_level = self.placenta + self.contrast * (texture + 0.9 * coarse);
        // Fluid keeps to one side of the head and is walled in by tissue farther out.
        let near_head = if target {
            let side = local.dot(self.fluid_side) / rho.max(0.3);
            0.55 * side - 0.5 * (rho - 1.35).abs()
        } else {
            -0.25
        };
        let fluid = smoothstep(-0.06, 0.06, coarse * 0.7 + near_head + self.fluid - 0.1);
        let level = mix(tissue_level, -34.0, fluid);
        // Abdominal wall: bright layers along the probe's face.
        let wall = 1.0 - smoothstep(0.06, 0.16, depth + 0.05 * coarse);
        let layers = self.gaps.at(Vec2::new(tissue.x * 1.5, depth * 70.0));
        mix(level, self.placenta + 4.0 + 9.0 * layers, wall)
    }

    fn with_brain(
        &self,
        level: f32,
        local: Vec2,
        rho: f32,
        rest: Vec2,
        beam: Vec2,
        moment: &Moment,
    ) -> f32 {
        let inside = 1.0 - smoothstep(0.96, 1.0, rho);
        if inside <= 0.0 {
            return level;
        }
        let folds = self.texture.fractal(rest * 13.0);
        let mut brain = self.brain + 5.0 * folds + 3.0 * self.pockets.at(rest * 5.0);
        // The falx and the ventricles' walls: broken lines along the head, seen when the beam
        // meets them squarely.
        let along = moment.target_to_view().linear(Vec2::new(1.0, 0.0));
        let square = (along.x * beam.y - along.y * beam.x).abs() / along.length();
        let wavering = 0.05 * self.gaps.at(Vec2::new(local.x * 2.5, 3.0));
        let broken = |row: f32| smoothstep(-0.35, 0.3, self.gaps.at(Vec2::new(local.x * 3.0, row)));
        let ends = 1.0 - smoothstep(0.6, 0.9, local.x.abs());
        let line = |at: f32, width: f32| bell(local.y - at - wavering, width);
        let walls = line(-0.17, 0.035) * broken(7.3) + line(0.2, 0.035) * broken(9.1);
        let lines = line(0.0, 0.032) * broken(5.7) + 0.7 * walls;
        brain += (self.midline + 8.0) * lines * ends * square;
        if let Some(at) = self.plexus {
            let offset = (local - at).scaled(1.0 / 0.28, 1.0 / 0.14);
            brain += 14.0 * bell(offset.length(), 1.0) * (1.0 + 0.5 * folds);
        }
        mix(level, brain, inside)
    }

    /// Echo of the skull: bright where the beam meets it squarely, faint along its flanks.
    fn skull_level(&self, moment: &Moment, local: Vec2, rho: f32, rest: Vec2, beam: Vec2) -> f32 {
        let skull = &self.skull;
        let gradient = moment
            .view_to_target()
            .pull_gradient(local * (1.0 / rho.max(0.01)));
        let steepness = gradient.length();
        // Distance to the outline, positive outside; the bone lies just within.
        let distance = (rho - 1.0) / steepness + skull.thickness;
        if distance.abs() > 6.0 * skull.thickness {
            return -60.0;
        }
        let squarely = (gradient.dot(beam) / steepness).abs();
        let facing = smoothstep(0.1, 0.95, squarely);
        let gap = smoothstep(-0.1, 0.7, self.gaps.at(rest * 3.3));
        let level = skull.level - skull.flank * (1.0 - facing) - skull.gaps * gap;
        let shell = distance / (skull.thickness * (0.6 + 0.4 * facing));
        // Towards the probe the echo starts at once; behind it rings out.
        let behind = distance * gradient.dot(beam) > 0.0;
        let fade = if behind { 5.0 } else { 9.0 };
        level - fade * shell * shell
    }

    /// Dimming behind the flanks of the skull, where sound is bent away, and behind the head.
    fn wake(&self, moment: &Moment, p: Vec2, rho: f32) -> f32 {
        if rho < 1.0 {
            return 0.0;
        }
        let to_view = moment.target_to_view();
        let middle = to_view.to(Vec2::ZERO) - self.sector.apex;
        let reach = Vec2::new(to_view.xx, to_view.xy).length();
        let ray = p - self.sector.apex;
        if ray.y < middle.y {
            return 0.0;
        }
        let across = (ray.x / ray.y * middle.y - middle.x) / reach;
        let below = smoothstep(0.0, 0.6, (ray.y - middle.y) / reach);
        let flank = bell(across.abs() - 0.97, 0.12);
        below * (9.0 * flank + 3.0 * (1.0 - smoothstep(0.8, 1.0, across.abs())))
    }
}
