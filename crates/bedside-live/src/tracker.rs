//! Masks carried from the frame that the model saw to the newest frame.

use std::ops::Range;
use std::time::Duration;

use bedside::{BoundingBox, Finding, Frame, Mask, Timestamp, Withheld};
use bedside_vision::flow::{Carrier, Flow, Luma, Track, Verdict};

use crate::painter::{Answer, Claim, Said};
use crate::record::Name;

/// Probability of presence from which an object shows at its first answer; below it, at its second
/// in a row.
const APPEAR: f32 = 0.8;
/// Probability of presence below which an object goes at once; from it on, or where the model does
/// not know frames like this one, at the second answer in a row that does not find it.
const VANISH: f32 = 0.25;
/// Share of a mask's pixels whose motion must be trusted.
const TRUST: f32 = 0.5;
/// Tracks that may be open at once: one waits to be taken, one is with the model, the rest belong
/// to objects that were answered in different passes.
const TRACKS: usize = 6;

/// The motion from one frame to the newest.
struct OpenTrack {
    number: u64,
    captured: Timestamp,
    track: Track,
}

/// What is known of one prompt's object.
#[derive(Default)]
struct Object {
    /// Number and capture of the frame that the mask was made for.
    made_for: Option<(u64, Timestamp)>,
    carrier: Carrier,
    /// Number of the carried mask's pixels, and the box around them.
    area: u64,
    bounding_box: Option<BoundingBox>,
    presence: f32,
    validity: Option<f32>,
    trusted: f32,
    /// Capture of the frame of the newest answer, and why it was none.
    answered: Option<Timestamp>,
    withheld: Option<Withheld>,
    /// Answers in a row that found it, and that did not.
    hits: u32,
    misses: u32,
    /// Whether it was found surely enough to show.
    shown: bool,
}

impl Object {
    /// Number and capture of the frame that the mask was made for, where it may be shown.
    fn visible(&self) -> Option<(u64, Timestamp)> {
        let shows = self.shown && self.trusted >= TRUST;
        self.made_for.filter(|_| shows)
    }

    /// What the newest answer says, as [`carry`](Tracker::carry) left it.
    fn said(&self) -> Said<'_> {
        let Some(answered) = self.answered else {
            return Said::Nothing;
        };
        match (self.visible(), self.made_for.filter(|_| self.shown)) {
            (Some((made_for, captured)), _) => Said::Mask(Claim {
                mask: self.carrier.carried(),
                area: self.area,
                bounding_box: self.bounding_box,
                made_for,
                captured,
                trusted: self.trusted,
                presence: self.presence,
                validity: self.validity,
            }),
            (None, Some((_, captured))) => Said::Uncertain(captured),
            (None, None) => match self.withheld {
                Some(why) => Said::Withheld(answered, why),
                None if self.misses > 0 => Said::Absent(answered),
                None => Said::Uncertain(answered),
            },
        }
    }

    fn clear(&mut self) {
        (self.made_for, self.answered, self.withheld) = (None, None, None);
        (self.hits, self.misses, self.shown) = (0, 0, false);
    }
}

/// How the newest frame differs from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Not at all, as far as the reduced luma shows.
    None,
    /// By movement that can be followed.
    Moved,
    /// So much that nothing follows.
    Cut,
}

/// Follows the motion of the video, and carries masks along it.
#[derive(Default)]
pub(crate) struct Tracker {
    before: Luma,
    luma: Luma,
    flow: Flow,
    started: bool,
    open: Vec<OpenTrack>,
    /// Tracks to be used again.
    spare: Vec<Track>,
    /// The frame that waits to be taken by the model, and the one that was.
    waiting: Option<u64>,
    taken: Option<u64>,
    objects: Vec<Object>,
}

impl Tracker {
    /// Other prompts: nothing is known of their objects.
    pub(crate) fn set_prompts(&mut self, prompts: usize) {
        self.objects.clear();
        self.objects.resize_with(prompts, Object::default);
    }

    /// The newest frame's reduced luma.
    pub(crate) fn luma(&self) -> &Luma {
        &self.luma
    }

    /// Follow the motion to the next frame.
    pub(crate) fn step(&mut self, frame: &Frame) -> Change {
        std::mem::swap(&mut self.before, &mut self.luma);
        self.luma.reduce(frame);
        if self.started && self.luma.rows().eq(self.before.rows()) {
            return Change::None;
        }
        let motion = self.flow.between(&self.before, &self.luma);
        if !self.started || motion.verdict() != Verdict::Carried {
            self.started = true;
            self.forget();
            self.provide();
            return Change::Cut;
        }
        for open in &mut self.open {
            open.track.step(&self.flow);
        }
        Change::Moved
    }

    /// Have the memory of all tracks, so that none is asked for in the middle of video.
    fn provide(&mut self) {
        while self.open.len() + self.spare.len() < TRACKS {
            let mut track = Track::default();
            track.start(&self.luma);
            self.spare.push(track);
        }
    }

    /// Drop all masks, and the answers to come on frames before this one.
    pub(crate) fn forget(&mut self) {
        self.objects.iter_mut().for_each(Object::clear);
        (self.waiting, self.taken) = (None, None);
        self.tidy();
    }

    /// The newest frame was offered to the model; `overtook` if an older one had waited still.
    pub(crate) fn offered(&mut self, number: u64, captured: Timestamp, overtook: bool) {
        if !overtook {
            self.taken = self.waiting;
        }
        self.waiting = Some(number);
        self.tidy();
        if self.open.len() == TRACKS {
            // The oldest is the one that matters least.
            if let Some(oldest) = self.open.first().map(|open| open.number) {
                self.close(|open| open.number == oldest);
            }
        }
        let mut track = self.spare.pop().unwrap_or_default();
        track.start(&self.luma);
        self.open.push(OpenTrack {
            number,
            captured,
            track,
        });
    }

    /// The newest frame that the model has still to answer.
    pub(crate) fn asked(&self) -> Option<u64> {
        self.waiting.or(self.taken)
    }

    /// Take an answer over; `false` if it is for a frame that nothing can be carried from.
    pub(crate) fn answered(
        &mut self,
        number: u64,
        places: Range<usize>,
        findings: &[Finding],
    ) -> bool {
        let open = self.open.iter().find(|open| open.number == number);
        let followed = open.map(|open| (open.number, open.captured));
        if let Some(frame) = followed {
            let objects = self.objects.get_mut(places).unwrap_or_default();
            for (object, finding) in objects.iter_mut().zip(findings) {
                take(object, frame, finding);
            }
        }
        self.failed(number);
        followed.is_some()
    }

    /// There will be no answer for this frame, nor for one before it: answers come in order, and a
    /// newer one takes the place of one that nobody took yet.
    pub(crate) fn failed(&mut self, number: u64) {
        for place in [&mut self.waiting, &mut self.taken] {
            *place = place.filter(|n| *n > number);
        }
        self.tidy();
    }

    /// Close the tracks that nothing refers to.
    fn tidy(&mut self) {
        let used: [Option<u64>; 2] = [self.waiting, self.taken];
        let objects = std::mem::take(&mut self.objects);
        self.close(|open| {
            let here = |o: &Object| o.made_for.is_some_and(|(n, _)| n == open.number);
            !used.contains(&Some(open.number)) && !objects.iter().any(here)
        });
        self.objects = objects;
    }

    fn close(&mut self, mut unused: impl FnMut(&OpenTrack) -> bool) {
        let mut at = 0;
        while let Some(open) = self.open.get(at) {
            if unused(open) {
                let closed = self.open.remove(at);
                self.spare.push(closed.track);
            } else {
                at += 1;
            }
        }
    }

    /// Carry every object that shows to the newest frame.
    pub(crate) fn carry(&mut self) {
        for object in &mut self.objects {
            let Some((number, _)) = object.made_for.filter(|_| object.shown) else {
                continue;
            };
            let open = self.open.iter().find(|open| open.number == number);
            match open {
                Some(open) => {
                    object.trusted = object.carrier.carry(&open.track);
                    (object.area, object.bounding_box) = object.carrier.measure();
                }
                None => object.clear(),
            }
        }
    }

    /// The answers to the prompts of these names, their masks on the newest frame.
    pub(crate) fn answers<'a>(&'a self, names: &'a [Name]) -> impl Iterator<Item = Answer<'a>> {
        let objects = self.objects.iter().zip(names).enumerate();
        objects.map(|(place, (object, name))| Answer {
            prompt: name,
            place,
            said: object.said(),
        })
    }

    /// The mask of the prompt at `place` on the newest frame, if it was made for that frame.
    pub(crate) fn mask(&self, place: usize, made_for: u64) -> Option<&Mask> {
        let object = self.objects.get(place)?;
        let (number, _) = object.visible()?;
        (number == made_for).then(|| object.carrier.carried())
    }

    /// Whether every prompt was answered, on a frame no older than this or from one whose mask is
    /// none the older.
    pub(crate) fn knows_all(&self, now: Timestamp, oldest: Duration) -> bool {
        let made_for = |o: &Object| o.made_for.map(|(_, captured)| captured);
        self.objects.iter().all(|object| {
            let captured = made_for(object).or(object.answered);
            captured.is_some_and(|captured| now.since(captured) <= oldest)
        })
    }
}

fn take(object: &mut Object, frame: (u64, Timestamp), finding: &Finding) {
    object.answered = Some(frame.1);
    object.withheld = finding.withheld.filter(|_| !finding.present);
    match &finding.mask {
        Some(mask) if finding.present => {
            object.carrier.take(mask);
            object.made_for = Some(frame);
            (object.presence, object.validity) = (finding.presence, finding.validity);
            (object.hits, object.misses) = (object.hits + 1, 0);
            object.shown |= finding.presence >= APPEAR || object.hits > 1;
        }
        _ => {
            (object.hits, object.misses) = (0, object.misses + 1);
            // Of a frame that the model does not know, a low presence says nothing.
            let gone = finding.withheld.is_none() && finding.presence < VANISH;
            if object.misses > 1 || gone || !object.shown {
                object.made_for = None;
                object.shown = false;
            }
        }
    }
}
