//! A colonoscope's view: mucosa with folds and vessels, the lumen, wet highlights, a polyp.
//!
//! The wall is a height field over the frame, lit from the camera.

use crate::aperture::Aperture;
use crate::canvas::{Writing, soften};
use crate::math::{Vec2, bell, exp2, log2, mix, smoothstep};
use crate::noise::{Field, Rng};
use crate::scene::{Liveliness, Moment, Target, Viewport};
use crate::shape::Shape;

type Rgb = [f32; 3];

/// The look of one colon and of the tower that shows it.
#[derive(Debug, Clone)]
pub(crate) struct Endoscopy {
    mucosa: [Rgb; 2],
    /// Middle of the lumen in tissue space, and its radius.
    lumen: Vec2,
    lumen_radius: f32,
    folds: f32,
    fold_height: f32,
    fold_shade: f32,
    vessels: f32,
    /// Colour and share of the wall that fluid covers.
    fluid: Rgb,
    fluid_cover: f32,
    gloss: f32,
    gloss_scale: f32,
    exposure: f32,
    fall_off: f32,
    light: Vec2,
    polyp: Polyp,
    bubbles: Vec<Bubble>,
    tint: Field,
    relief: Field,
    crest: Field,
    vein: Field,
    fine: Field,
    wet: Field,
    blur: f32,
    pub(crate) noise: f32,
    writing: Option<Writing>,
}

#[derive(Debug, Clone, Copy)]
struct Polyp {
    /// Factor on the mucosa's colour.
    tint: Rgb,
    /// 0 for a flat patch, towards 1 for a ball.
    bulge: f32,
    lift: f32,
    pits: f32,
    pit_scale: f32,
    contact: f32,
    radius: f32,
}

#[derive(Debug, Clone, Copy)]
struct Bubble {
    /// In tissue space.
    middle: Vec2,
    radius: f32,
}

/// What the light meets at one pixel.
#[derive(Debug, Clone, Copy)]
struct Surface {
    height: f32,
    /// Fine relief of the wet film, which only highlights see.
    film: f32,
    /// Light that reaches the place, 0 to 1, before its slope is known.
    reach: f32,
    /// How readily highlights form.
    wet: f32,
    colour: Rgb,
}

fn scaled(colour: Rgb, by: f32) -> Rgb {
    colour.map(|c| c * by)
}

fn blend(a: Rgb, b: Rgb, t: f32) -> Rgb {
    [mix(a[0], b[0], t), mix(a[1], b[1], t), mix(a[2], b[2], t)]
}

fn product(a: Rgb, b: Rgb) -> Rgb {
    [a[0] * b[0], a[1] * b[1], a[2] * b[2]]
}

impl Endoscopy {
    pub(crate) fn new(
        rng: &mut Rng,
        view: &Viewport,
        aperture: &Aperture,
    ) -> (Self, Target, Liveliness) {
        let inner = view.half.x.min(view.half.y);
        let size = inner * rng.range(0.16, 0.75);
        let stalked = rng.chance(0.22);
        let rough = rng.range(0.05, 0.5);
        let shape = Shape::rough(rng, rough);
        let target = Target {
            shape: if stalked {
                shape.with_stalk(rng)
            } else {
                shape
            },
            middle: aperture.place(rng, 0.75),
            axes: Vec2::new(size, size * rng.range(0.7, 1.0)),
            turn: rng.range(0.0, 1.0),
            pulse: rng.range(0.02, 0.07),
        };
        let lively = Liveliness {
            drift: Vec2::new(0.06, 0.06),
            turn: 0.03,
            zoom: 0.09,
            ripple: Vec2::new(0.015, 0.015),
            sidewise: false,
        };
        let (lumen, lumen_radius) = Self::choose_lumen(rng, view, &target);
        let mucosa = Self::choose_mucosa(rng);
        let polyp = Polyp {
            tint: {
                let red = rng.range(0.0, 1.0);
                let light = rng.range(0.9, 1.12);
                scaled(blend([1.02, 0.97, 0.92], [1.08, 0.78, 0.76], red), light)
            },
            bulge: rng.range(0.6, 0.94),
            lift: rng.range(0.55, 1.0),
            pits: rng.range(0.02, 0.16),
            pit_scale: rng.range(35.0, 90.0),
            contact: rng.range(0.08, 0.4),
            radius: size,
        };
        let bubble = |rng: &mut Rng| Bubble {
            middle: Vec2::new(rng.range(-0.7, 0.7), rng.range(-0.6, 0.6)),
            radius: rng.range(0.008, 0.035),
        };
        let count = if rng.chance(0.3) {
            1 + rng.next_u32() % 9
        } else {
            0
        };
        let bubbles = (0..count).map(|_| bubble(rng)).collect();
        let writing = rng.chance(0.5).then(|| {
            let at = Vec2::new(0.015, rng.range(0.28, 0.4));
            let size = rng.range(0.03, 0.042);
            Writing::new(rng, at, size, 4)
        });
        let endoscopy = Self {
            mucosa,
            lumen,
            lumen_radius,
            folds: rng.range(0.9, 2.8),
            fold_height: rng.range(0.02, 0.07),
            fold_shade: rng.range(0.25, 0.7),
            vessels: if rng.chance(0.6) {
                rng.range(0.1, 0.45)
            } else {
                rng.range(0.0, 0.1)
            },
            fluid: blend([0.75, 0.52, 0.16], [0.6, 0.5, 0.3], rng.range(0.0, 1.0)),
            fluid_cover: if rng.chance(0.3) {
                rng.range(0.1, 0.5)
            } else {
                0.0
            },
            gloss: rng.range(0.25, 1.0),
            gloss_scale: rng.range(4.5, 10.0),
            exposure: rng.range(1.25, 2.6),
            fall_off: rng.range(1.2, 4.0),
            light: Vec2::new(rng.range(-0.15, 0.15), rng.range(-0.15, 0.15)),
            polyp,
            bubbles,
            tint: Field::new(rng),
            relief: Field::new(rng),
            crest: Field::new(rng),
            vein: Field::new(rng),
            fine: Field::new(rng),
            wet: Field::new(rng),
            blur: rng.range(0.05, 0.25),
            noise: rng.range(0.008, 0.025),
            writing,
        };
        (endoscopy, target, lively)
    }

    /// In half of the scenes the tube is seen end on; else its wall, with the lumen beyond the
    /// picture. Never where the polyp stands.
    fn choose_lumen(rng: &mut Rng, view: &Viewport, target: &Target) -> (Vec2, f32) {
        let away = Vec2::ZERO - target.middle;
        let length = away.length();
        let heading = if length > 0.05 {
            away * (1.0 / length)
        } else {
            Vec2::new(0.0, -1.0)
        };
        let heading = heading.turned(Vec2::at_turns(rng.range(-0.2, 0.2)));
        let gap = target.axes.x * 1.3 + 0.1;
        if rng.chance(0.5) {
            (
                target.middle + heading * (gap + rng.range(0.05, 0.3)),
                rng.range(0.12, 0.3),
            )
        } else {
            let far = view.half.length() + rng.range(0.1, 0.7);
            (heading * far + target.middle * 0.3, rng.range(0.3, 0.7))
        }
    }

    fn choose_mucosa(rng: &mut Rng) -> [Rgb; 2] {
        const PALETTE: [Rgb; 5] = [
            [0.83, 0.39, 0.28],
            [0.85, 0.43, 0.24],
            [0.83, 0.51, 0.34],
            [0.79, 0.33, 0.26],
            [0.70, 0.42, 0.38],
        ];
        let mut pick = || {
            let at = (rng.next_u32() % 5) as usize;
            PALETTE.get(at).copied().unwrap_or([0.8, 0.5, 0.4])
        };
        let (a, b, c) = (pick(), pick(), pick());
        let base = blend(a, b, rng.range(0.0, 0.6));
        [
            base,
            blend(base, product(c, [1.0, 0.92, 0.9]), rng.range(0.3, 0.8)),
        ]
    }

    /// Colours of 0 to 1, interleaved.
    pub(crate) fn draw(
        &self,
        view: &Viewport,
        aperture: &Aperture,
        moment: &Moment,
        target: bool,
    ) -> Vec<f32> {
        let width = view.width as usize;
        let surfaces: Vec<Option<Surface>> = view
            .rows()
            .flatten()
            .map(|p| aperture.shows(p).then(|| self.surface(moment, target, p)))
            .collect();
        let mut planes = Vec::with_capacity(surfaces.len() * 3);
        let slope_scale = 0.5 * view.unit;
        for (y, row) in view.rows().enumerate() {
            for (x, p) in row.enumerate() {
                let at = |x: usize, y: usize| {
                    if x < width {
                        surfaces.get(y * width + x)?.as_ref()
                    } else {
                        None
                    }
                };
                let Some(here) = at(x, y) else {
                    planes.extend([0.0; 3]);
                    continue;
                };
                let right = at(x + 1, y).unwrap_or(here);
                let left = x.checked_sub(1).and_then(|x| at(x, y)).unwrap_or(here);
                let below = at(x, y + 1).unwrap_or(here);
                let above = y.checked_sub(1).and_then(|y| at(x, y)).unwrap_or(here);
                let slope = Vec2::new(right.height - left.height, below.height - above.height);
                let film = Vec2::new(right.film - left.film, below.film - above.film);
                planes.extend(self.shade(p, here, slope * slope_scale, film * slope_scale));
            }
        }
        self.draw_bubbles(view, aperture, moment, &mut planes);
        soften(&mut planes, width, 3, self.blur);
        if let Some(writing) = &self.writing {
            writing.draw(&mut planes, view, 3, 0.9);
        }
        planes
    }

    fn surface(&self, moment: &Moment, target: bool, p: Vec2) -> Surface {
        let q = moment.tissue_at(p);
        let mut surface = self.wall(q);
        if target {
            let local = moment.local_at(p);
            let rho = moment.rho(local);
            if rho < 1.0 {
                self.add_polyp(&mut surface, moment.rest(local), rho);
            } else if rho < 2.2 {
                // Where the head meets the wall little light gets in, least on the far side.
                let from = moment.view_of_local(Vec2::ZERO);
                let outward = from - self.light;
                let side = (p - from).dot(outward) / ((p - from).length() * 0.4 + 1e-3);
                let width = 1.0 + side.clamp(-0.5, 1.0) * 0.5;
                let close = bell((rho - 1.0) / width, 0.32);
                surface.reach *= 1.0 - self.polyp.contact * close;
            }
        }
        surface
    }

    /// The wall without a polyp.
    fn wall(&self, q: Vec2) -> Surface {
        let relief = self.relief.at(q * 2.1);
        let waver = self.crest.at(q * 1.3);
        let tint = self.tint.fractal(q * 2.3);
        // A tube of radius 1 seen end on shows the depth 1 / r at the distance r of its vanishing
        // point.
        let out = (q - self.lumen).length() / self.lumen_radius;
        let r = (out * (1.0 + 0.4 * waver + 0.15 * relief)).max(0.0);
        let depth = 1.0 / (r + 0.22);
        let phase = depth * self.folds + 0.9 * waver + 0.25 * relief;
        let f = phase - phase.floor();
        // From crest to crest: a slow rise, a short edge, and shade behind it.
        let strength = smoothstep(-0.35, 0.45, 0.9 * relief - 0.6 * waver);
        let edge = smoothstep(0.9, 1.0, f);
        let crest = f * f * (1.0 - edge);
        let shade = (1.0 - smoothstep(0.0, 0.55, f)) * (1.0 - edge) + edge;
        let dark = depth * depth * 0.35;
        let mut reach = 1.0 / (1.0 + self.fall_off * dark);
        reach *= reach;
        reach *= 1.0 - self.fold_shade * strength * shade;

        let fine = self.fine.at(q * 38.0);
        let mut colour = blend(self.mucosa[0], self.mucosa[1], smoothstep(-0.6, 0.6, tint));
        colour = scaled(colour, 1.0 + 0.08 * tint + 0.035 * fine);
        let mut wet = 1.0;
        if self.vessels > 0.0 {
            let bent = q + Vec2::new(tint, relief) * 0.06;
            let (branches, twigs) = (smoothstep(-0.4, 0.5, relief), smoothstep(-0.2, 0.6, tint));
            let mut vessel = 0.0;
            if branches > 0.0 {
                vessel += branches * self.vein.lines(bent * 5.0, 0.1);
            }
            if twigs > 0.0 {
                vessel += 0.55 * twigs * self.fine.lines(bent * 13.0, 0.13);
            }
            let vessel = vessel.min(1.0) * self.vessels;
            colour = product(colour, blend([1.0; 3], [0.72, 0.38, 0.42], vessel));
        }
        if self.fluid_cover > 0.0 {
            let cover = self.wet.at(q * 3.3) * 0.8 + 0.7 * tint + self.fluid_cover - 0.62;
            let cover = smoothstep(0.0, 0.16, cover);
            colour = blend(colour, self.fluid, cover * 0.75);
            wet += cover;
        }
        let film = self.wet.at(q.scaled(1.0, 1.35) * self.gloss_scale);
        let patch = 0.8 * waver - 0.7 * relief + 0.1;
        Surface {
            height: 0.075 * relief + self.fold_height * strength * crest + 0.002 * fine,
            film: film * (1.0 / self.gloss_scale),
            reach,
            wet: wet * smoothstep(-0.05, 0.5, patch),
            colour,
        }
    }

    /// A dome over the wall, with its own colour, pits and film.
    fn add_polyp(&self, surface: &mut Surface, rest: Vec2, rho: f32) {
        let polyp = &self.polyp;
        let b = polyp.bulge;
        let dome = ((1.0 - b * b * rho * rho).sqrt() - (1.0 - b * b).sqrt()) / b;
        let mottle = self.tint.at(rest * 9.0);
        let pits = self.fine.at(rest * polyp.pit_scale);
        let pit = 1.0 - polyp.pits * smoothstep(-0.1, 0.5, pits);
        let own = product(
            blend(self.mucosa[0], self.mucosa[1], 0.5 + 0.3 * mottle),
            polyp.tint,
        );
        let own = scaled(own, (1.0 + 0.07 * mottle) * pit);
        surface.colour = blend(surface.colour, own, 0.9);
        surface.height += polyp.lift * polyp.radius * dome + 0.004 * mottle;
        // The head stands out of the wall's own shade.
        surface.reach = mix(surface.reach, 1.0, 0.6) * (1.06 + 0.14 * dome);
        surface.wet = surface.wet.max(0.35) + 0.15 * mottle;
    }

    fn shade(&self, p: Vec2, surface: &Surface, slope: Vec2, film: Vec2) -> Rgb {
        let to_light = (self.light - p) * 0.55;
        let light_length = (to_light.dot(to_light) + 1.0).sqrt();
        let steep = (slope.dot(slope) + 1.0).sqrt();
        let facing = (1.0 - slope.dot(to_light)) / (steep * light_length);
        let off = p - self.light;
        let spread = 1.0 / (1.0 + self.fall_off * 0.75 * off.dot(off));
        let lambert = 0.18 + 0.82 * facing.max(0.0);
        let light = self.exposure * lambert * surface.reach * spread;
        // Light that went through tissue comes back redder: shadows keep their red.
        let stops = log2(light);
        let reddened = [exp2(stops * 0.86), exp2(stops * 1.06), exp2(stops * 1.1)];
        let lit = product(surface.colour, reddened);
        // A camera's knee: bright parts lose their colour before they clip.
        let toned = lit.map(|c| {
            if c > 0.7 {
                1.0 - 0.3 * 0.3 / (c - 0.7 + 0.3)
            } else {
                c
            }
        });
        let normal = slope + film;
        let mirror = normal + to_light * 0.5;
        let sharp = 1.0 - mirror.dot(mirror) / (0.12 * surface.wet.clamp(0.02, 1.4) * self.gloss);
        let highlight = smoothstep(0.0, 0.35, sharp) * smoothstep(0.12, 0.4, light);
        toned.map(|c| mix(c, 1.0, 0.95 * highlight).max(0.012))
    }

    fn draw_bubbles(
        &self,
        view: &Viewport,
        aperture: &Aperture,
        moment: &Moment,
        planes: &mut [f32],
    ) {
        let map = view.pixels_to_view();
        for bubble in &self.bubbles {
            let middle = map.inverse().to(moment.view_of(bubble.middle));
            let radius = bubble.radius * view.unit;
            let span = |middle: f32, side: u32| {
                let from = (middle - radius - 1.0).max(0.0) as u32;
                from..((middle + radius + 2.0).max(0.0) as u32).min(side)
            };
            for y in span(middle.y, view.height) {
                for x in span(middle.x, view.width) {
                    let pixel = Vec2::new(x as f32 + 0.5, y as f32 + 0.5);
                    let off = (pixel - middle) * (1.0 / radius);
                    let r = off.length();
                    if r > 1.0 || !aperture.shows(map.to(pixel)) {
                        continue;
                    }
                    // A bright rim, and the lamp mirrored on one side.
                    let rim = smoothstep(0.7, 0.97, r) * (1.0 - smoothstep(0.97, 1.0, r));
                    let lamp = bell((off - Vec2::new(-0.35, -0.4)).length(), 0.22);
                    let at = (y as usize * view.width as usize + x as usize) * 3;
                    for value in planes.iter_mut().skip(at).take(3) {
                        *value = mix(*value * (1.0 - 0.12 * r), 1.0, (0.3 * rim + lamp).min(1.0));
                    }
                }
            }
        }
    }
}
