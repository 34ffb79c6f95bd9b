//! Masks onto video, with their age, in the frame's own pixel format.
//!
//! The frame itself is copied unchanged but for the masks' pixels; all words stand in a band
//! below it. A mask of this very frame has a full outline; one that was carried from an older
//! frame has a dashed outline and half the fill. What a mask shows follows from its frame number and
//! capture time alone, here, so no caller can pass an old mask for a fresh one.

use std::time::Duration;

use bedside::{BoundingBox, Frame, FrameError, Mask, PaintPermit, Timestamp, Withheld};
use bedside_vision::paint::{Canvas, Style, palette};

use crate::caption::{Caption, Words};

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

/// What the model's newest answer says of one prompt.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The prompt.
    pub prompt: &'a str,
    /// Its place among all, which chooses the colour.
    pub place: usize,
    /// The answer.
    pub said: Said<'a>,
}

/// An answer, with the capture of the frame that the model saw.
#[derive(Debug, Clone, Copy)]
pub enum Said<'a> {
    /// None yet, or none that the picture's motion could be followed from.
    Nothing,
    /// The object is not in the frame.
    Absent(Timestamp),
    /// It was found, but not surely enough, or the motion since could not be followed.
    Uncertain(Timestamp),
    /// The frame is none that the model could answer for.
    Withheld(Timestamp, Withheld),
    /// It is there.
    Mask(Claim<'a>),
}

/// A mask, and which frame it was made for.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
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
    /// How usual mask and colours were for the object, 0 to 1, where the bundle has a reference.
    pub validity: Option<f32>,
}

/// What a picture says of one prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Standing {
    /// A mask on its own frame.
    Fresh,
    /// A mask on a later frame, marked as such.
    Carried {
        /// Time since the capture of its frame.
        age: Duration,
        /// Trusted share, less what age takes: it falls to nothing at the limit.
        confidence: f32,
    },
    /// "Not present".
    Absent,
    /// That there is something, which is too uncertain to be painted.
    Uncertain,
    /// That the model does not know frames like this one, or not for this object.
    Withheld(Withheld),
    /// That there is no answer to show: none at all, one beyond the limit, or a mask of another size
    /// or for a frame yet to come.
    Unanswered,
}

impl Answer<'_> {
    /// Capture of the frame that the model saw.
    pub fn captured(&self) -> Option<Timestamp> {
        match self.said {
            Said::Nothing => None,
            Said::Absent(captured) | Said::Uncertain(captured) | Said::Withheld(captured, _) => {
                Some(captured)
            }
            Said::Mask(claim) => Some(claim.captured),
        }
    }

    /// What to say on frame `number` at the time `now`.
    pub fn standing(
        &self,
        frame: &Frame,
        number: u64,
        now: Timestamp,
        policy: AgePolicy,
    ) -> Standing {
        let age = self.captured().map(|captured| now.since(captured));
        let Some(age) = age.filter(|age| *age <= policy.limit) else {
            return Standing::Unanswered;
        };
        let claim = match &self.said {
            Said::Nothing => return Standing::Unanswered,
            Said::Absent(_) => return Standing::Absent,
            Said::Uncertain(_) => return Standing::Uncertain,
            Said::Withheld(_, why) => return Standing::Withheld(*why),
            Said::Mask(claim) => claim,
        };
        let size = (claim.mask.width(), claim.mask.height());
        if size != (frame.width(), frame.height()) || claim.made_for > number {
            return Standing::Unanswered;
        }
        if claim.made_for == number {
            return Standing::Fresh;
        }
        let share = age.as_secs_f32() / policy.limit.as_secs_f32().max(f32::MIN_POSITIVE);
        Standing::Carried {
            age,
            confidence: claim.trusted.clamp(0.0, 1.0) * (1.0 - share).max(0.0),
        }
    }
}

/// Paints into a frame of its own; nothing is allocated once a frame size is known.
#[derive(Debug, Default)]
pub struct Painter {
    canvas: Canvas,
    words: Words,
}

impl Painter {
    /// The frame, with the masks that may be painted and a band below that says what they are.
    /// `became` is called with what the picture says of each prompt, in order.
    ///
    /// In a state that does not permit it no mask is painted, and no prompt has an answer. Gray
    /// frames become I420, others keep their format.
    ///
    /// # Errors
    /// When frame and band together are larger than a frame may be.
    #[allow(
        clippy::too_many_arguments,
        reason = "each is one fact that painting depends on"
    )]
    pub fn paint<'a>(
        &mut self,
        caption: &Caption<'_>,
        frame: &Frame,
        number: u64,
        now: Timestamp,
        policy: AgePolicy,
        answers: impl Iterator<Item = Answer<'a>>,
        mut became: impl FnMut(&Answer<'a>, Standing),
    ) -> Result<&Frame, FrameError> {
        let band = self.words.begin(frame.width());
        self.canvas.begin(frame, band);
        self.words.head(caption);
        let permit = caption.picture.permit();
        for answer in answers {
            let standing = match &permit {
                Some(permit) => self.answer(permit, &answer, frame, number, now, policy),
                None => Standing::Unanswered,
            };
            self.words.prompt(&answer, standing);
            became(&answer, standing);
        }
        self.canvas.band(self.words.finish(caption));
        self.canvas.finish()
    }

    /// Paint what may be seen of an answer.
    fn answer(
        &mut self,
        _: &PaintPermit<'_>,
        answer: &Answer<'_>,
        frame: &Frame,
        number: u64,
        now: Timestamp,
        policy: AgePolicy,
    ) -> Standing {
        let standing = answer.standing(frame, number, now, policy);
        let style = match standing {
            Standing::Fresh => Style::fresh(frame.width()),
            Standing::Carried { .. } => Style::carried(frame.width()),
            Standing::Absent
            | Standing::Uncertain
            | Standing::Withheld(_)
            | Standing::Unanswered => return standing,
        };
        if let Said::Mask(claim) = &answer.said
            && let Some(extents) = claim.bounding_box
        {
            let colour = palette::object(answer.place);
            self.canvas.mask(claim.mask, extents, colour, style);
        }
        standing
    }

    /// Begin anew after a panic.
    pub(crate) fn recover(&mut self) {
        self.words = Words::default();
    }

    /// Put an even gray in the place of what was painted last.
    pub(crate) fn blank(&mut self) {
        self.canvas.blank();
    }

    /// What was painted last.
    pub fn painted(&self) -> Option<&Frame> {
        self.canvas.painted()
    }
}

#[cfg(test)]
mod tests {
    use bedside::{Degradation, PixelFormat, State};
    use proptest::prelude::*;

    use super::*;
    use crate::caption::Outputs;

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
            mask,
            area,
            bounding_box,
            made_for: 1,
            captured: Timestamp::default(),
            trusted: 1.0,
            presence: 0.9,
            validity: None,
        }
    }

    fn answer_of(claim: Claim<'_>) -> impl Iterator<Item = Answer<'_>> {
        std::iter::once(Answer {
            prompt: "polyp",
            place: 0,
            said: Said::Mask(claim),
        })
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
            let outputs = Outputs::default();
            let caption = Caption { state, picture: state, rates: (30.0, 10.0), outputs: &outputs };
            let mut painter = Painter::default();
            let mut became = None;
            let answers = answer_of(claim);
            let tell = |_: &Answer<'_>, standing| became = Some(standing);
            let painted = painter
                .paint(&caption, &frame, number, at(now), policy, answers, tell)
                .unwrap();
            prop_assert_eq!(painted.width(), width);
            prop_assert!(painted.height() > height);
            match became.unwrap() {
                Standing::Fresh => prop_assert_eq!(made_for, number),
                Standing::Carried { age, confidence } => {
                    prop_assert!(made_for < number);
                    prop_assert!(age <= policy.limit);
                    prop_assert!((0.0..=1.0).contains(&confidence));
                }
                Standing::Unanswered => {
                    let old = now.saturating_sub(captured) > limit;
                    prop_assert!(state.permit().is_none() || old || made_for > number);
                    prop_assert!(unchanged_outside(&frame, painted, &Mask::empty(width, height)));
                }
                other => prop_assert!(false, "{other:?}"),
            }
            prop_assert!(unchanged_outside(&frame, painted, &mask));
        }
    }

    #[test]
    fn p_06_the_band_names_what_is_not_present() {
        let frame = Frame::new(320, 64, PixelFormat::Gray8, vec![90; 320 * 64]).unwrap();
        let picture = |absent: &[&str]| {
            let outputs = Outputs::default();
            let caption = Caption {
                state: State::Active,
                picture: State::Active,
                rates: (0.0, 0.0),
                outputs: &outputs,
            };
            let mut painter = Painter::default();
            let now = Timestamp::default();
            let answers = absent.iter().map(|prompt| Answer {
                prompt,
                place: 0,
                said: Said::Absent(now),
            });
            let policy = AgePolicy::default();
            let tell = |_: &Answer<'_>, standing| assert_eq!(standing, Standing::Absent);
            let painted = painter.paint(&caption, &frame, 1, now, policy, answers, tell);
            painted.unwrap().data().to_vec()
        };
        let [none, polyp, head] = [&[][..], &["polyp"], &["fetal head"]].map(picture);
        assert!(none != polyp && polyp != head && head != none);
        let above = 320 * 64;
        assert_eq!(none[..above], polyp[..above], "the frame is as it came");
    }

    #[test]
    fn p_01_fresh_and_carried_masks_look_different() {
        let frame = Frame::new(64, 64, PixelFormat::Rgb8, vec![90; 64 * 64 * 3]).unwrap();
        let inside =
            |i: u32| u8::from((16..48).contains(&(i % 64)) && (16..48).contains(&(i / 64)));
        let mask = Mask::from_bytes(64, 64, (0..64 * 64).map(inside).collect()).unwrap();
        let picture = |number| {
            let outputs = Outputs::default();
            let caption = Caption {
                state: State::Active,
                picture: State::Active,
                rates: (0.0, 0.0),
                outputs: &outputs,
            };
            let mut painter = Painter::default();
            let answers = answer_of(claim_of(&mask));
            let now = Timestamp::default();
            let policy = AgePolicy::default();
            let painted = painter
                .paint(&caption, &frame, number, now, policy, answers, |_, _| {})
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
