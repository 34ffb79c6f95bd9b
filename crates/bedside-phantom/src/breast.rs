//! B-mode of a breast under a linear probe: skin, fat with its septa, glandular tissue, muscle.

use crate::aperture::Aperture;
use crate::canvas::{Writing, soften};
use crate::math::{Vec2, bell, mix, smoothstep, to_db};
use crate::noise::{Field, Rng};
use crate::scene::{Liveliness, Moment, Target, Viewport};
use crate::shape::Shape;
use crate::speckle::Speckle;

/// The look of one breast and of the machine that shows it. Levels are in decibels.
#[derive(Debug, Clone)]
pub(crate) struct Breast {
    speckle: Speckle,
    grain: Vec2,
    looks: u32,
    range: f32,
    gain: f32,
    attenuation: f32,
    focus: f32,
    /// Depths of the lower ends of skin, fat and glandular tissue, as shares of the frame.
    layers: [f32; 3],
    relief: f32,
    layer_levels: [f32; 3],
    gland_contrast: f32,
    septa: f32,
    /// Strands in the height of the frame, about.
    strands: f32,
    stripes: f32,
    shadows: f32,
    shift: Field,
    lobules: Field,
    septum: Field,
    gland: Field,
    muscle: Field,
    columns: Field,
    lesion: Lesion,
    blur: f32,
    pub(crate) noise: f32,
    writing: Option<Writing>,
}

#[derive(Debug, Clone, Copy)]
struct Lesion {
    level: f32,
    texture: f32,
    softness: f32,
    halo: f32,
    /// Positive for enhancement behind a cyst, negative for a shadow.
    posterior: f32,
}

impl Breast {
    pub(crate) fn new(rng: &mut Rng, aperture: &Aperture) -> (Self, Target, Liveliness) {
        let malignant = rng.chance(0.4);
        let cyst = !malignant && rng.chance(0.22);
        let lesion = Lesion {
            level: if cyst {
                rng.range(-27.0, -18.0)
            } else {
                rng.range(-13.0, -5.5)
            },
            texture: rng.range(2.5, 7.0),
            softness: if malignant {
                rng.range(0.14, 0.34)
            } else {
                rng.range(0.07, 0.2)
            },
            halo: if malignant {
                rng.range(2.0, 6.0)
            } else {
                rng.range(0.0, 3.0)
            },
            posterior: match (malignant, cyst) {
                (true, _) => rng.range(-14.0, 1.0),
                (_, true) => rng.range(4.0, 9.0),
                _ => rng.range(-3.0, 5.0),
            },
        };
        let fat = rng.range(0.22, 0.42);
        let gland = rng.range(0.55, 0.8);
        let place = aperture.place(rng, 0.75);
        let size = rng.range(0.06, 0.24);
        let flat = if malignant {
            rng.range(0.65, 1.25)
        } else {
            rng.range(0.42, 0.85)
        };
        let target = Target {
            shape: Shape::rough(rng, if malignant { 0.75 } else { 0.3 }),
            middle: place.scaled(1.0, 0.75) + Vec2::new(0.0, rng.range(-0.07, 0.04)),
            axes: Vec2::new(size, size * flat),
            turn: rng.range(-0.06, 0.06),
            pulse: rng.range(0.03, 0.1),
        };
        let lively = Liveliness {
            drift: Vec2::new(0.05, 0.0),
            turn: 0.0,
            zoom: 0.0,
            ripple: Vec2::new(0.008, 0.008),
            sidewise: true,
        };
        let grain = rng.range(230.0, 400.0);
        let writing = rng.chance(0.3).then(|| {
            let at = Vec2::new(rng.range(0.05, 0.6), rng.range(0.72, 0.9));
            let size = rng.range(0.045, 0.07);
            Writing::new(rng, at, size, 1)
        });
        let breast = Self {
            speckle: Speckle::new(rng),
            grain: Vec2::new(grain * rng.range(0.5, 0.75), grain),
            looks: 2 + rng.next_u32() % 3,
            range: rng.range(37.0, 54.0),
            gain: rng.range(-9.0, 1.5),
            attenuation: rng.range(8.0, 28.0),
            focus: rng.range(0.2, 0.5),
            layers: [rng.range(0.03, 0.07), fat, gland],
            relief: rng.range(0.03, 0.1),
            layer_levels: [
                rng.range(-9.0, -2.0),
                rng.range(0.0, 5.0),
                rng.range(-8.0, -2.0),
            ],
            gland_contrast: rng.range(6.0, 14.0),
            septa: rng.range(6.0, 16.0),
            strands: rng.range(11.0, 22.0),
            stripes: rng.range(5.0, 14.0),
            shadows: rng.range(2.0, 14.0),
            shift: Field::new(rng),
            lobules: Field::new(rng),
            septum: Field::new(rng),
            gland: Field::new(rng),
            muscle: Field::new(rng),
            columns: Field::new(rng),
            lesion,
            blur: rng.range(0.03, 0.18),
            noise: rng.range(0.004, 0.015),
            writing,
        };
        (breast, target, lively)
    }

    /// Levels of 0 to 1, one a pixel.
    pub(crate) fn draw(&self, view: &Viewport, moment: &Moment, target: bool) -> Vec<f32> {
        let mut plane = Vec::with_capacity(view.width as usize * view.height as usize);
        for p in view.rows().flatten() {
            plane.push(self.level_at(view, moment, target, p));
        }
        soften(&mut plane, view.width as usize, 1, self.blur);
        if let Some(writing) = &self.writing {
            writing.draw(&mut plane, view, 1, 0.85);
        }
        plane
    }

    fn level_at(&self, view: &Viewport, moment: &Moment, target: bool, p: Vec2) -> f32 {
        let tissue = moment.tissue_at(p);
        let depth = (p.y + view.half.y) / (2.0 * view.half.y);
        let mut level = self.tissue_level(view, tissue);
        let mut grain = tissue;
        if target {
            let local = moment.local_at(p);
            let rho = moment.rho(local);
            let rest = moment.rest(local);
            if rho < 1.0 {
                grain = rest;
            }
            level = self.with_lesion(moment, level, p, local, rho, rest);
        }
        // Time gain compensation never quite undoes attenuation, and the focus is brightest.
        let away = depth - self.focus;
        let fall = if away > 0.0 {
            self.attenuation * away * away * 2.2
        } else {
            8.0 * away * away
        };
        let column = self.columns.at(Vec2::new(tissue.x * 3.0, tissue.y * 0.5));
        let shadow = self.shadows * smoothstep(-0.1, 0.9, column) * smoothstep(0.1, 0.6, depth);
        let speckle = self
            .speckle
            .compounded(grain.scaled(self.grain.x, self.grain.y), self.looks);
        let echo = to_db(speckle + 0.03) * 0.85 + level - fall - shadow + self.gain;
        ((echo + self.range * 0.62) / self.range).clamp(0.003, 1.0)
    }

    /// Mean echo of healthy tissue.
    fn tissue_level(&self, view: &Viewport, q: Vec2) -> f32 {
        let depth = (q.y + view.half.y) / (2.0 * view.half.y);
        let [skin, fat, gland] = self.layers;
        let [fat_level, gland_level, muscle_level] = self.layer_levels;
        let shift = self.shift.at(q.scaled(1.6, 2.2));
        let relief = shift * self.relief;
        let in_gland = smoothstep(-0.03, 0.03, depth - fat - relief);
        let in_muscle = smoothstep(-0.02, 0.02, depth - gland - relief * 0.6);

        let lobules = self.lobules.at(q.scaled(3.2, 8.0));
        let bent = q + Vec2::new(0.0, shift * 0.08);
        // Fibrous strands: thin, nearly parallel to the skin, stronger in some places.
        let phase = bent.y * self.strands + 1.3 * self.septum.at(bent.scaled(2.3, 3.4));
        let strand = phase.floor();
        let present = self.septum.at(Vec2::new(q.x * 2.6, strand * 7.31 + 0.5));
        let strand = bell(phase - strand - 0.5, 0.07) * smoothstep(-0.1, 0.5, present);
        let fat_tissue = fat_level + 5.5 * lobules + self.septa * strand;
        let gland_tissue = if in_gland > 0.0 && in_muscle < 1.0 {
            let texture = self.gland.fractal(bent.scaled(5.0, 13.0));
            gland_level + self.gland_contrast * texture * 1.6 + 0.6 * self.septa * strand
        } else {
            gland_level
        };
        let muscle_tissue = if in_muscle > 0.0 {
            let stripes = self.muscle.at(bent.scaled(2.2, 26.0));
            muscle_level + self.stripes * stripes.max(-0.3) + 3.0 * lobules
        } else {
            muscle_level
        };
        let level = mix(
            mix(fat_tissue, gland_tissue, in_gland),
            muscle_tissue,
            in_muscle,
        );
        // The skin: two bright lines with a grey band between.
        let lines = bell(depth - 0.008, 0.007) + bell(depth - skin, 0.006);
        let level = mix(2.0, level, smoothstep(skin - 0.01, skin + 0.01, depth));
        level + 12.0 * lines
    }

    /// Echo with the lesion, its rim and what lies in its acoustic wake.
    fn with_lesion(
        &self,
        moment: &Moment,
        level: f32,
        p: Vec2,
        local: Vec2,
        rho: f32,
        rest: Vec2,
    ) -> f32 {
        let lesion = &self.lesion;
        let to_view = moment.target_to_view();
        // Half width and height as the probe sees them.
        let reach = Vec2::new(
            Vec2::new(to_view.xx, to_view.xy).length(),
            Vec2::new(to_view.yx, to_view.yy).length(),
        );
        let offset = p - to_view.to(Vec2::ZERO);
        let across = offset.x / reach.x;
        let below = offset.y / reach.y;
        let mut level = level;
        if across.abs() < 1.4 && below > 0.0 {
            let beam = 1.0 - smoothstep(0.35, 1.15, across.abs());
            let wake = smoothstep(0.3, 1.9, below + 0.5 * across * across)
                * (1.0 - smoothstep(2.0, 7.0, below));
            level += lesion.posterior * beam * wake;
            // Sound bends away at the flanks.
            level -= 4.0 * bell(across.abs() - 1.0, 0.16) * wake;
        }
        if rho < 2.0 {
            level += lesion.halo * bell(rho - 1.0 - lesion.softness, 0.16);
            let inside = 1.0 - smoothstep(1.0 - lesion.softness, 1.0 + lesion.softness, rho);
            let texture = self.gland.fractal(rest * 14.0) + 0.4 * self.lobules.at(local * 1.1);
            level = mix(level, lesion.level + lesion.texture * texture * 2.0, inside);
        }
        level
    }
}
