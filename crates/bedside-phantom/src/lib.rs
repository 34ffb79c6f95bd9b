//! Seeded moving ultrasound and endoscopy phantoms with exact masks.
//!
//! A [`Phantom`] is a scene that never ends: [`Phantom::frame_at`] draws any of its frames
//! directly, with the mask of its target, and [`Phantom::motion`] tells how the tissue below a
//! pixel has moved since the frame before. A phantom keeps no state between calls, and the same
//! configuration gives the same bytes on every platform, because only arithmetic that IEEE 754
//! pins to the bit is used.
//!
//! ```
//! use bedside_phantom::{Phantom, PhantomConfig, PhantomKind};
//!
//! let config = PhantomConfig {
//!     kind: PhantomKind::Polyp,
//!     width: 96,
//!     height: 64,
//!     seed: 7,
//!     frame_rate: 30.0,
//!     target: true,
//! };
//! let shot = Phantom::new(config)?.frame_at(0);
//! assert!(shot.visible && shot.mask.area() > 0);
//! # Ok::<(), bedside_phantom::PhantomError>(())
//! ```
//!
//! Every seed has its own anatomy, size, contrast, gain, colours, speckle, blur and movement. In
//! each scene the target is in the frame in frame 0, leaves it after 4 to 9 seconds, and is back
//! before 15 seconds are over, again and again. A scene without target is otherwise the same.
//!
//! The frames are meant to look right to a network, not to a physicist: ultrasound is speckle
//! over drawn echo levels, endoscopy a height field lit from the camera.

mod affine;
mod aperture;
mod breast;
mod canvas;
mod endoscopy;
mod error;
mod fetal;
mod math;
mod noise;
mod scene;
mod shape;
mod speckle;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use bedside_core::{Frame, Mask, PixelFormat, Timestamp};

pub use affine::Affine;
pub use error::{PhantomError, PhantomErrorKind};

use aperture::Aperture;
use breast::Breast;
use endoscopy::Endoscopy;
use fetal::Fetal;
use math::Vec2;
use noise::Rng;
use scene::{Moment, Stage, Viewport};

/// Longest side of a phantom in pixels. Bounds memory: drawing takes at most 48 bytes a pixel.
pub const MAX_SIDE: u32 = 4_096;

/// Frame rates that a phantom may have, in frames a second: from time lapse to high speed.
pub const FRAME_RATES: RangeInclusive<f64> = 0.001..=10_000.0;

/// What a phantom shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PhantomKind {
    /// A polyp in a colonoscope's view, in colour.
    Polyp,
    /// A lesion in a breast under a linear ultrasound probe, gray.
    BreastTumor,
    /// A fetal head under a convex ultrasound probe, gray.
    FetalHead,
}

impl PhantomKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Polyp, Self::BreastTumor, Self::FetalHead];

    /// Name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Polyp => "polyp",
            Self::BreastTumor => "breast-tumor",
            Self::FetalHead => "fetal-head",
        }
    }
}

impl fmt::Display for PhantomKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for PhantomKind {
    type Err = PhantomError;

    fn from_str(name: &str) -> Result<Self, PhantomError> {
        let error = || PhantomError::new(PhantomErrorKind::Name, name.to_owned());
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(error)
    }
}

/// All that a phantom's frames follow from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PhantomConfig {
    /// What is shown.
    pub kind: PhantomKind,
    /// Width in pixels, 1 to [`MAX_SIDE`].
    pub width: u32,
    /// Height in pixels, 1 to [`MAX_SIDE`].
    pub height: u32,
    /// Chooses the scene.
    pub seed: u64,
    /// Frames a second, one of [`FRAME_RATES`]; sets how far things move from frame to frame.
    pub frame_rate: f64,
    /// Whether the scene has a target at all.
    pub target: bool,
}

/// One frame of a phantom, with what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct PhantomFrame {
    /// The frame: RGB for endoscopy, gray for ultrasound, captured at `index / frame_rate`.
    pub frame: Frame,
    /// Pixels whose centre the target covers and that show tissue at all, of the frame's size.
    pub mask: Mask,
    /// Whether any pixel of the mask is set.
    pub visible: bool,
    /// Takes a pixel position on the target in the frame before to its position in this frame;
    /// the identity for frame 0 and in scenes without target.
    pub motion: Affine,
}

/// A moving scene. See the [crate docs](crate).
#[derive(Debug, Clone)]
pub struct Phantom {
    config: PhantomConfig,
    aperture: Aperture,
    stage: Stage,
    scenery: Scenery,
}

#[derive(Debug, Clone)]
enum Scenery {
    Endoscopy(Endoscopy),
    Breast(Breast),
    Fetal(Fetal),
}

impl Phantom {
    /// Choose a scene.
    ///
    /// # Errors
    /// [`PhantomErrorKind::Size`] when a side is 0 or above [`MAX_SIDE`],
    /// [`PhantomErrorKind::FrameRate`] when the frame rate is none of [`FRAME_RATES`].
    pub fn new(config: PhantomConfig) -> Result<Self, PhantomError> {
        let PhantomConfig {
            kind,
            width,
            height,
            seed,
            frame_rate,
            ..
        } = config;
        let sides = 1..=MAX_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(PhantomError::new(
                PhantomErrorKind::Size,
                format!("{width}x{height}"),
            ));
        }
        if !FRAME_RATES.contains(&frame_rate) {
            return Err(PhantomError::new(
                PhantomErrorKind::FrameRate,
                frame_rate.to_string(),
            ));
        }
        let view = Viewport::new(width, height);
        let mut rng = Rng::new(seed, kind as u64 + 1);
        let rng = &mut rng;
        let (aperture, scenery, target, lively) = match kind {
            PhantomKind::Polyp => {
                let crops = rng.chance(0.85);
                let aperture = if crops {
                    Aperture::octagon(rng, view.half)
                } else {
                    Aperture::open(view.half)
                };
                let (scene, target, lively) = Endoscopy::new(rng, &view, &aperture);
                (aperture, Scenery::Endoscopy(scene), target, lively)
            }
            PhantomKind::BreastTumor => {
                let aperture = Aperture::open(view.half);
                let (scene, target, lively) = Breast::new(rng, &aperture);
                (aperture, Scenery::Breast(scene), target, lively)
            }
            PhantomKind::FetalHead => {
                let (aperture, sector) = Aperture::sector(rng, view.half);
                let (scene, target, lively) = Fetal::new(rng, &view, &aperture, sector);
                (aperture, Scenery::Fetal(scene), target, lively)
            }
        };
        let stage = Stage::new(rng, view, target, lively);
        Ok(Self {
            config,
            aperture,
            stage,
            scenery,
        })
    }

    /// The configuration that the phantom was made from.
    pub fn config(&self) -> &PhantomConfig {
        &self.config
    }

    /// Draw frame `index`; any index, in any order.
    pub fn frame_at(&self, index: u64) -> PhantomFrame {
        let PhantomConfig {
            width,
            height,
            target,
            ..
        } = self.config;
        let (view, moment) = (&self.stage.view, self.moment(index));
        let (format, planes, noise) = match &self.scenery {
            Scenery::Endoscopy(scene) => {
                let planes = scene.draw(view, &self.aperture, &moment, target);
                (PixelFormat::Rgb8, planes, scene.noise)
            }
            Scenery::Breast(scene) => (
                PixelFormat::Gray8,
                scene.draw(view, &moment, target),
                scene.noise,
            ),
            Scenery::Fetal(scene) => {
                let planes = scene.draw(view, &self.aperture, &moment, target);
                (PixelFormat::Gray8, planes, scene.noise)
            }
        };
        let mask = view
            .rows()
            .flatten()
            .map(|p| u8::from(self.covers(&moment, p)))
            .collect();
        // Sizes are checked in `new`, and the rows above hold one value a pixel.
        let mask =
            Mask::from_bytes(width, height, mask).unwrap_or_else(|| Mask::empty(width, height));
        let captured = self.seconds(index) * 1e9;
        let frame = Frame::new(
            width,
            height,
            format,
            canvas::to_bytes(&planes, noise, index),
        )
        .unwrap_or_else(|error| unreachable!("{error}; the size was checked"))
        .captured_at(Timestamp::from_nanos(captured as u64));
        PhantomFrame {
            frame,
            visible: !mask.is_empty(),
            mask,
            motion: self.target_motion(index),
        }
    }

    /// Displacement, in pixels, of what is seen at the pixel position `(x, y)` of frame `index`
    /// since the frame before; pixel centres are at `.5`. The target carries its own pixels, the
    /// tissue all others. Zero for frame 0.
    ///
    /// Light, highlights, shadows and the machine's own writing do not follow it.
    pub fn motion(&self, index: u64, x: f32, y: f32) -> (f32, f32) {
        let Some(before) = index.checked_sub(1) else {
            return (0.0, 0.0);
        };
        let (now, before) = (self.moment(index), self.moment(before));
        let map = self.stage.view.pixels_to_view();
        let here = map.to(Vec2::new(x, y));
        let there = if self.config.target && now.covers(here) {
            before.view_of_local(now.local_at(here))
        } else {
            before.view_of(now.tissue_at(here))
        };
        let step = (here - there) * self.stage.view.unit;
        (step.x, step.y)
    }

    fn seconds(&self, index: u64) -> f64 {
        index as f64 / self.config.frame_rate
    }

    fn moment(&self, index: u64) -> Moment {
        self.stage.at(self.seconds(index))
    }

    /// Whether the target is seen at a point of the view.
    fn covers(&self, moment: &Moment, p: Vec2) -> bool {
        self.config.target && moment.covers(p) && self.aperture.shows(p)
    }

    fn target_motion(&self, index: u64) -> Affine {
        let Some(before) = index.checked_sub(1).filter(|_| self.config.target) else {
            return Affine::IDENTITY;
        };
        let to_view = self.stage.view.pixels_to_view();
        let now = self.moment(index).target_to_view();
        let before = self.moment(before).view_to_target();
        to_view.inverse().after(now).after(before).after(to_view)
    }
}
