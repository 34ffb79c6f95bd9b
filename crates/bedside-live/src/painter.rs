//! Masks onto video, with their age, in the frame's own pixel format.
//!
//! The frame itself is copied unchanged but for the masks' pixels; all words stand in a band
//! below it. A mask of this very frame has a full outline; one that was carried from an older
//! frame has a dashed outline and half the fill. What a mask shows follows from its frame number and
//! capture time alone, here, so no caller can pass an old mask for a fresh one.

use std::fmt::Write;
use std::time::Duration;

use bedside::{BoundingBox, Frame, FrameError, Mask, PaintPermit, State, Timestamp};
use bedside_vision::paint::palette::{self, ALERT, FAINT, TEXT};
use bedside_vision::paint::{Band, Canvas, Colour, Style};

/// How old a painted mask may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgePolicy {
    /// Time from the capture of a mask's frame to painting beyond which it is not painted.
    pub limit: Duration,
}

impl Default for AgePolicy {
    fn default() -> Self {
        Self {
            limit: Duration::from_millis(500),
        }
    }
}

/// A mask, and which frame it was made for.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The prompt that it answers.
    pub prompt: &'a str,
    /// Place of the prompt among all, which chooses the colour.
    pub place: usize,
    /// Pixels, of the frame's size; a mask of another size is not painted.
    pub mask: &'a Mask,
    /// Number of its pixels.
    pub area: u64,
    /// The box around them; nothing beyond it is painted.
    pub bounding_box: Option<BoundingBox>,
    /// Number of the frame that the model saw.
    pub made_for: u64,
    /// Capture of that frame.
    pub captured: Timestamp,
    /// Share of the mask's pixels whose motion is trusted, 0 to 1.
    pub trusted: f32,
    /// The model's probability of presence, 0 to 1.
    pub presence: f32,
}

/// What became of a [`Claim`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Painted {
    /// On its own frame.
    Fresh,
    /// On a later frame, marked as such.
    Carried {
        /// Time since the capture of its frame.
        age: Duration,
        /// Trusted share, less what age takes: it falls to nothing at the limit.
        confidence: f32,
    },
    /// Not painted: beyond the limit, of another size, or made for a frame yet to come.
    Withheld,
}

impl Claim<'_> {
    /// What to make of the mask on frame `number` at the time `now`.
    pub fn verdict(
        &self,
        frame: &Frame,
        number: u64,
        now: Timestamp,
        policy: AgePolicy,
    ) -> Painted {
        let age = now.since(self.captured);
        let size = (self.mask.width(), self.mask.height());
        if size != (frame.width(), frame.height()) || self.made_for > number || age > policy.limit {
            return Painted::Withheld;
        }
        if self.made_for == number {
            return Painted::Fresh;
        }
        let share = age.as_secs_f32() / policy.limit.as_secs_f32().max(f32::MIN_POSITIVE);
        Painted::Carried {
            age,
            confidence: self.trusted.clamp(0.0, 1.0) * (1.0 - share).max(0.0),
        }
    }
}

/// What the band says beside the masks.
#[derive(Debug, Clone, Copy)]
pub struct Caption<'a> {
    /// The session's state.
    pub state: State,
    /// Frames a second that are shown, masks a second that are new.
    pub rates: (f32, f32),
    /// Prompts that were asked for and are not in the frame, as the model says.
    pub absent: &'a [crate::record::Name],
}

/// Paints into a frame of its own; nothing is allocated once a frame size is known.
#[derive(Debug, Default)]
pub struct Painter {
    canvas: Canvas,
    band: Band,
    text: String,
}

/// Lines of the band, the last of which is the closing one.
const LINES: u32 = 3;
/// The closing line, as much as there is room for.
const SAFETY: [&str; 3] = [
    "Research use. Not a medical device. Not for clinical decisions.",
    "Research use. Not a medical device.",
    "Research use",
];
impl Painter {
    /// The frame, with the masks that may be painted and a band below that says what they are.
    /// `became` is called with what became of each claim, in order.
    ///
    /// Without a permit no mask is painted. Gray frames become I420, others keep their format.
    ///
    /// # Errors
    /// When frame and band together are larger than a frame may be.
    #[allow(
        clippy::too_many_arguments,
        reason = "each is one fact that painting depends on"
    )]
    pub fn paint<'a>(
        &mut self,
        permit: Option<PaintPermit>,
        frame: &Frame,
        number: u64,
        now: Timestamp,
        policy: AgePolicy,
        claims: impl Iterator<Item = Claim<'a>>,
        caption: &Caption<'_>,
        mut became: impl FnMut(&Claim<'a>, Painted),
    ) -> Result<&Frame, FrameError> {
        self.band.begin(frame.width(), LINES);
        self.canvas.begin(frame, self.band.height());
        self.head(caption);
        for claim in claims {
            let verdict = match permit {
                Some(_) => claim.verdict(frame, number, now, policy),
                None => Painted::Withheld,
            };
            let colour = palette::object(claim.place);
            let style = match verdict {
                Painted::Fresh => Some(Style::fresh(frame.width())),
                Painted::Carried { .. } => Some(Style::carried(frame.width())),
                Painted::Withheld => None,
            };
            if let Some((style, extents)) = style.zip(claim.bounding_box) {
                self.canvas.mask(claim.mask, extents, colour, style);
            }
            self.legend(&claim, verdict, colour);
            became(&claim, verdict);
        }
        for prompt in caption.absent {
            self.band.word(prompt, FAINT);
            self.band.word(": not present   ", FAINT);
        }
        self.band.finish(&SAFETY, FAINT);
        self.canvas.band(&self.band);
        self.canvas.finish()
    }

    /// What was painted last.
    pub fn painted(&self) -> Option<&Frame> {
        self.canvas.painted()
    }

    fn head(&mut self, caption: &Caption<'_>) {
        let colour = match caption.state {
            State::Active => TEXT,
            _ => ALERT,
        };
        let (frames, masks) = caption.rates;
        self.text.clear();
        // Writing to a string can't fail.
        let _ = write!(
            self.text,
            "{}   {frames:.0} fps, {masks:.0} masks/s   ",
            Shout(caption.state)
        );
        self.band.word(&self.text, colour);
    }

    fn legend(&mut self, claim: &Claim<'_>, verdict: Painted, colour: Colour) {
        self.text.clear();
        let presence = claim.presence * 100.0;
        let _ = match verdict {
            Painted::Fresh => write!(
                self.text,
                " {} {presence:.0} %, this frame   ",
                claim.prompt
            ),
            Painted::Carried { age, confidence } => write!(
                self.text,
                " {} {presence:.0} %, carried {} ms, trust {:.0} %   ",
                claim.prompt,
                age.as_millis(),
                confidence * 100.0
            ),
            Painted::Withheld => return,
        };
        self.band.marked_word(colour, &self.text, TEXT);
    }
}

/// A state in capitals, to be read from afar.
struct Shout(State);

impl std::fmt::Display for Shout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut upper = |text: &str| {
            text.chars()
                .try_for_each(|c| f.write_char(c.to_ascii_uppercase()))
        };
        upper(self.0.name())?;
        match self.0.reason() {
            "" => Ok(()),
            reason => {
                upper(": ")?;
                upper(reason)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bedside::{Degradation, PixelFormat};
    use proptest::prelude::*;

    use super::*;
    use crate::record::Name;

    fn formats() -> impl Strategy<Value = PixelFormat> {
        prop::sample::select(vec![
            PixelFormat::Rgb8,
            PixelFormat::Gray8,
            PixelFormat::Nv12,
            PixelFormat::I420,
            PixelFormat::Yuyv,
        ])
    }

    /// Whether `painted` is `frame` wherever `mask` and what lies within two pixels of it is not.
    fn unchanged_outside(frame: &Frame, painted: &Frame, mask: &Mask) -> bool {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        bedside_vision::colour::rgb_pixels(frame, &mut before);
        bedside_vision::colour::rgb_pixels(painted, &mut after);
        let near = |x: u32, y: u32| {
            (x.saturating_sub(2)..=x + 2)
                .any(|x| (y.saturating_sub(2)..=y + 2).any(|y| mask.get(x, y)))
        };
        let pixels = before
            .as_chunks::<3>()
            .0
            .iter()
            .zip(after.as_chunks::<3>().0);
        let width = frame.width();
        (0..)
            .zip(pixels)
            .all(|(i, (a, b))| a == b || near(i % width, i / width))
    }

    /// What is known of a mask that was made for frame 1 at time zero.
    fn claim_of(mask: &Mask) -> Claim<'_> {
        let (area, bounding_box) = mask.measure_rows(0..mask.height());
        Claim {
            prompt: "polyp",
            place: 0,
            mask,
            area,
            bounding_box,
            made_for: 1,
            captured: Timestamp::default(),
            trusted: 1.0,
            presence: 0.9,
        }
    }

    proptest! {
        #[test]
        fn p_01_p_02_only_a_mask_of_this_frame_is_fresh_and_none_is_older_than_the_limit(
            (number, made_for) in (0_u64..8, 0_u64..8),
            (now, captured) in (0_u64..900, 0_u64..900),
            limit in 1_u64..600,
            trusted in -0.5_f32..1.5,
            format in formats(),
            (width, height) in (1_u32..40, 1_u32..40),
            state in prop::sample::select(vec![
                State::Starting,
                State::Active,
                State::Degraded(Degradation::Slow),
            ]),
            seed in any::<u64>(),
        ) {
            let noise = |i: usize| (seed.wrapping_mul(i as u64 * 2 + 1) >> 32) as u8;
            let bytes = (0..format.byte_len(width, height)).map(noise).collect();
            let frame = Frame::new(width, height, format, bytes).unwrap();
            let inside = |i: u32| u8::from(i % width >= width / 3 && i / width >= height / 3);
            let mask = (0..width * height).map(inside).collect();
            let mask = Mask::from_bytes(width, height, mask).unwrap();
            let at = |ms: u64| Timestamp::from_nanos(ms * 1_000_000);
            let claim = Claim {
                made_for,
                captured: at(captured),
                trusted,
                ..claim_of(&mask)
            };
            let policy = AgePolicy { limit: Duration::from_millis(limit) };
            let caption = Caption { state, rates: (30.0, 10.0), absent: &[] };
            let mut painter = Painter::default();
            let mut became = None;
            let claims = std::iter::once(claim);
            let tell = |_: &Claim<'_>, painted| became = Some(painted);
            let permit = state.permit();
            let painted = painter
                .paint(permit, &frame, number, at(now), policy, claims, &caption, tell)
                .unwrap();
            prop_assert_eq!(painted.width(), width);
            prop_assert!(painted.height() > height);
            match became.unwrap() {
                Painted::Fresh => prop_assert_eq!(made_for, number),
                Painted::Carried { age, confidence } => {
                    prop_assert!(made_for < number);
                    prop_assert!(age <= policy.limit);
                    prop_assert!((0.0..=1.0).contains(&confidence));
                }
                Painted::Withheld => {
                    let old = now.saturating_sub(captured) > limit;
                    prop_assert!(permit.is_none() || old || made_for > number);
                    prop_assert!(unchanged_outside(&frame, painted, &Mask::empty(width, height)));
                }
            }
            prop_assert!(unchanged_outside(&frame, painted, &mask));
        }
    }

    #[test]
    fn p_06_the_band_names_what_is_not_present() {
        let frame = Frame::new(320, 64, PixelFormat::Gray8, vec![90; 320 * 64]).unwrap();
        let names = [Name::from("polyp"), Name::from("fetal head")];
        let picture = |absent: &[Name]| {
            let caption = Caption {
                state: State::Active,
                rates: (0.0, 0.0),
                absent,
            };
            let mut painter = Painter::default();
            let (permit, now) = (State::Active.permit(), Timestamp::default());
            let (policy, claims) = (AgePolicy::default(), std::iter::empty());
            let painted =
                painter.paint(permit, &frame, 1, now, policy, claims, &caption, |_, _| {});
            painted.unwrap().data().to_vec()
        };
        let [none, polyp, head] = [&names[..0], &names[..1], &names[1..]].map(picture);
        assert!(none != polyp && polyp != head && head != none);
        let above = 320 * 64;
        assert_eq!(none[..above], polyp[..above], "the frame is as it came");
    }

    #[test]
    fn fresh_and_carried_masks_look_different() {
        let frame = Frame::new(64, 64, PixelFormat::Rgb8, vec![90; 64 * 64 * 3]).unwrap();
        let inside =
            |i: u32| u8::from((16..48).contains(&(i % 64)) && (16..48).contains(&(i / 64)));
        let mask = Mask::from_bytes(64, 64, (0..64 * 64).map(inside).collect()).unwrap();
        let picture = |number| {
            let caption = Caption {
                state: State::Active,
                rates: (0.0, 0.0),
                absent: &[],
            };
            let mut painter = Painter::default();
            let claims = std::iter::once(claim_of(&mask));
            let now = Timestamp::default();
            let policy = AgePolicy::default();
            let permit = State::Active.permit();
            let painted = painter
                .paint(
                    permit,
                    &frame,
                    number,
                    now,
                    policy,
                    claims,
                    &caption,
                    |_, _| {},
                )
                .unwrap();
            painted.data()[..64 * 64 * 3].to_vec()
        };
        let (fresh, carried) = (picture(1), picture(2));
        let changed = |picture: &[u8]| picture.iter().filter(|v| **v != 90).count();
        assert_ne!(fresh, carried);
        assert_eq!(
            changed(&fresh),
            changed(&carried),
            "both mark the whole mask"
        );
    }
}
