//! Dense optical flow, and masks carried along it: what a mask of an older frame is in the newest.
//!
//! [`Luma`] reduces a frame, [`Flow`] finds how two of them differ by movement, [`Track`] joins the
//! flows of successive frames from a keyframe on, and a [`Carrier`] brings one of the keyframe's
//! masks to the newest frame. A mask is moved once, by the whole way since its frame, so that it
//! keeps its outline however many frames there are between.
//!
//! ```
//! use bedside_core::{Frame, Mask, PixelFormat};
//! use bedside_vision::flow::{Carrier, Flow, Luma, Track, Verdict};
//!
//! let frame = Frame::new(64, 48, PixelFormat::Gray8, vec![0; 64 * 48])?;
//! let (mut before, mut now, mut flow) = (Luma::default(), Luma::default(), Flow::default());
//! before.reduce(&frame);
//! let mut track = Track::default();
//! track.start(&before);
//!
//! // With every frame that comes:
//! now.reduce(&frame);
//! if flow.between(&before, &now).verdict() == Verdict::Carried {
//!     track.step(&flow);
//! }
//! std::mem::swap(&mut before, &mut now);
//!
//! // When the keyframe's mask is there at last:
//! let mut carrier = Carrier::default();
//! carrier.take(&Mask::empty(64, 48));
//! let (_confidence, _mask) = (carrier.carry(&track), carrier.carried());
//! # Ok::<(), bedside_core::FrameError>(())
//! ```
//!
//! The method is dense inverse search (Kroeger et al. 2016): patches of 8 x 8 pixels that search by
//! gradient, coarse to fine, each with its mean taken out, and a blend of their shifts weighted by
//! how well they fit. All buffers are kept while frames keep their size.

mod carry;
mod luma;
mod search;
#[cfg(test)]
mod tests;

pub use carry::{Carrier, Track};
pub use luma::Luma;

use luma::Grid;
use search::{Match, STRIDE, Search, Shift};

/// Longest side of the reduced frame that flow works on, in pixels.
pub const LONGEST_SIDE: u32 = 240;

/// Patches whose mean squared gradient is below this, in the direction in which it is least, say
/// nothing of movement: their shift is their neighbours'.
const TEXTURE: f32 = 4.0;

/// Flow there and back may miss its start by the root of this many square pixels of the reduced
/// picture, and of [`MISS_SHARE`] of both ways' squares.
const MISS: f32 = 0.5;

/// See [`MISS`]; both are those of Sundaram et al. 2010.
const MISS_SHARE: f32 = 0.01;

/// Movement between two frames: where each pixel of the later one was in the earlier one.
#[derive(Debug, Clone, Default)]
pub struct Flow {
    grid: Grid,
    back: Search,
    forth: Search,
    /// For each pixel 1 where the way there and back ends at its start, else 0.
    sound: Vec<u8>,
}

/// What two frames have in common, in numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Motion {
    /// Share of the textured places whose flow there and back does not end at its start, 0 to 1.
    pub lost: f32,
    /// Median length of the textured places' displacement, as a share of the frame's longer side.
    pub displacement: f32,
    /// Luminance that movement doesn't explain, in the textured places of both frames: mean
    /// absolute difference after the movement, as a share of the places' own contrast. About 1 for
    /// frames that have nothing in common.
    pub residual: f32,
    /// Share of the pixels whose luminance would have to change for equal histograms, 0 to 1.
    pub histogram: f32,
}

/// Whether masks may be carried from one frame to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The frames show the same scene.
    Carried,
    /// They may, but it moved too far for its masks to follow.
    TooFar,
    /// They show different scenes.
    Cut,
}

impl Motion {
    /// Frames of different sizes.
    const NONE: Self = Self {
        lost: 1.0,
        displacement: 0.0,
        residual: 1.0,
        histogram: 1.0,
    };

    /// [`residual`](Self::residual) above which the frames show different scenes. Phantoms of
    /// different seeds give 0.91 and more, moving ones and recorded ultrasound less than 0.6.
    pub const RESIDUAL_CUT: f32 = 0.78;
    /// [`histogram`](Self::histogram) above which they do too, for frames without texture; moving
    /// scenes give less than 0.1.
    pub const HISTOGRAM_CUT: f32 = 0.5;
    /// [`lost`](Self::lost) above which masks do not follow; moving phantoms give less than 0.35.
    pub const LOST_FAR: f32 = 0.5;
    /// [`displacement`](Self::displacement) above which masks do not follow: the coarsest level
    /// doesn't find much longer ways.
    pub const DISPLACEMENT_FAR: f32 = 0.1;

    /// The verdict by the constants above.
    pub fn verdict(&self) -> Verdict {
        if self.residual > Self::RESIDUAL_CUT || self.histogram > Self::HISTOGRAM_CUT {
            Verdict::Cut
        } else if self.lost > Self::LOST_FAR || self.displacement > Self::DISPLACEMENT_FAR {
            Verdict::TooFar
        } else {
            Verdict::Carried
        }
    }
}

impl Flow {
    /// Find the movement from one frame to a later one.
    ///
    /// Frames of different sizes show different scenes; nothing moves between them then.
    pub fn between(&mut self, from: &Luma, to: &Luma) -> Motion {
        self.fit(to.grid());
        if from.grid() != to.grid() {
            self.sound.fill(0);
            self.back.clear();
            return Motion::NONE;
        }
        let histogram = from.histogram_distance(to);
        self.back.run(to.levels(), from.levels());
        // The way back only has to tell right from wrong: half the size does.
        let halved = usize::from(to.levels().len() > 1);
        let (from, to) = (from.levels().get(halved..), to.levels().get(halved..));
        let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
        self.forth.run(from, to);
        self.check(halved);
        self.motion(histogram)
    }

    fn fit(&mut self, grid: &Grid) {
        if self.grid != *grid {
            self.grid = *grid;
            self.back = Search::new(grid.width, grid.height);
            self.forth = self.back.clone();
            self.sound = vec![0; grid.pixels()];
        }
    }

    /// Where each pixel of the later frame was in the earlier one, as displacement in pixels of the
    /// reduced frame (see [`Luma::size`]), right and down, row by row.
    pub fn field(&self) -> &[[f32; 2]] {
        self.back.field()
    }

    /// Go back and forth from each pixel; the field forth is halved or not.
    fn check(&mut self, halved: usize) {
        let Grid { width, height, .. } = self.grid;
        let (back, forth) = (self.back.field(), self.forth.field());
        let forth_width = width.div_ceil(1 + halved);
        let enlarge = (1 + halved) as f32;
        let rows = self.sound.chunks_exact_mut(width.max(1));
        for (y, (row, back)) in rows.zip(back.chunks_exact(width.max(1))).enumerate() {
            for (x, (sound, [dx, dy])) in row.iter_mut().zip(back).enumerate() {
                let there = pixel_at(x as f32 + dx, y as f32 + dy, width, height);
                let there = there.map(|(x, y)| (y >> halved) * forth_width + (x >> halved));
                *sound = there.and_then(|pixel| forth.get(pixel)).map_or(0, |shift| {
                    let [ex, ey] = shift.map(|v| v * enlarge);
                    let missed = (dx + ex) * (dx + ex) + (dy + ey) * (dy + ey);
                    let ways = dx * dx + dy * dy + ex * ex + ey * ey;
                    u8::from(missed < MISS_SHARE * ways + MISS)
                });
            }
        }
    }

    fn motion(&self, histogram: f32) -> Motion {
        let textured = |found: &Match| found.texture > TEXTURE;
        let (mut residual, mut contrast) = (0.0, 0.0);
        let both = self.back.matches.iter().chain(&self.forth.matches);
        for found in both.filter(|found| textured(found)) {
            residual += found.residual;
            contrast += found.contrast;
        }
        let (mut places, mut lost, mut lengths) = (0_u32, 0_u32, [0_u32; 256]);
        let patches = self.back.matches.iter().enumerate();
        for (i, found) in patches.filter(|(_, found)| textured(found)) {
            let x = i % self.back.columns * STRIDE + STRIDE;
            let y = i / self.back.columns * STRIDE + STRIDE;
            let pixel = y.min(self.grid.height - 1) * self.grid.width + x.min(self.grid.width - 1);
            places += 1;
            lost += u32::from(self.sound.get(pixel) != Some(&1));
            let [dx, dy] = found.shift;
            let length = (dx * dx + dy * dy).sqrt() / LONGEST_SIDE as f32;
            if let Some(count) = lengths.get_mut((length * 1024.0).min(255.0) as usize) {
                *count += 1;
            }
        }
        let share = 1.0 / places.max(1) as f32;
        let mut below = 0;
        let median = lengths.iter().position(|count| {
            below += count;
            below * 2 >= places
        });
        Motion {
            lost: lost as f32 * share,
            displacement: median.unwrap_or_default() as f32 / 1024.0,
            residual: residual / f32::max(contrast, 1.0),
            histogram,
        }
    }
}

/// The pixel nearest to a position, pixel centres at whole numbers; `None` outside the frame.
#[inline]
fn pixel_at(x: f32, y: f32, width: usize, height: usize) -> Option<(usize, usize)> {
    let (x, y) = (x + 0.5, y + 0.5);
    let inside = x >= 0.0 && y >= 0.0 && x < width as f32 && y < height as f32;
    inside.then_some((x as usize, y as usize))
}

/// The shift at a position between pixels, at the rim when it is outside.
#[inline(always)]
fn shift_at(field: &[Shift], x: f32, y: f32, width: usize, height: usize) -> Shift {
    let x = x.max(0.0).min((width - 1) as f32);
    let y = y.max(0.0).min((height - 1) as f32);
    // The last row and column are reached by a share of 1.
    let left = (x as usize).min(width.saturating_sub(2));
    let top = (y as usize).min(height.saturating_sub(2));
    let (along, down) = (x - left as f32, y - top as f32);
    let first = top * width + left;
    let pair = |row: &[Shift]| match *row {
        [a, b, ..] => mix(a, b, along),
        [a] => a,
        [] => Shift::default(),
    };
    let above = pair(field.get(first..).unwrap_or_default());
    match field.get(first + width..) {
        Some(below) if !below.is_empty() => mix(above, pair(below), down),
        _ => above,
    }
}

#[inline(always)]
fn mix([ax, ay]: Shift, [bx, by]: Shift, share: f32) -> Shift {
    [ax + (bx - ax) * share, ay + (by - ay) * share]
}
