//! How far presence can be believed: whether its probability tells frames that show an object from
//! frames that lack it, whether it is as often right as it says, and what the threshold makes of it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Serialize;

use crate::bootstrap::{self, Estimate};
use crate::record::{Answer, Record};

/// Bins of stated probabilities, equally wide.
pub(crate) const BINS: usize = 10;

/// How far the presence of one prompt's object can be believed.
///
/// Frames that lack it are those whose rows say so and those of its modality that can't show it.
/// Frames of other modalities lack it as well, but stand apart: they are easier to tell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Presence {
    /// Probability from which the bundle reports the object.
    pub threshold: f32,
    /// Share of the frames that show it in which it is reported.
    pub sensitivity: Option<Estimate>,
    /// Share of the frames that lack it in which it is reported.
    pub false_alarms: Option<Estimate>,
    /// The same over those alone whose rows say that it is not there.
    pub false_alarms_labelled: Option<Estimate>,
    /// The same over frames of other modalities.
    pub false_alarms_other_modality: Option<Estimate>,
    /// Share of the frames that show it in which the answer is withheld.
    pub withheld: Option<Estimate>,
    /// Share of the frames of other modalities in which the answer is withheld.
    pub withheld_other_modality: Option<Estimate>,
    /// Frames that show it against those that lack it.
    pub auroc: Option<Auroc>,
    /// Frames that show it against those of other modalities.
    pub auroc_other_modality: Option<Auroc>,
    /// Stated probabilities against the share of frames that show it.
    pub calibration: Option<Calibration>,
}

/// Area under the receiver operating characteristic.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Auroc {
    /// Number of frames with the object.
    pub present: usize,
    /// Number of frames without it.
    pub absent: usize,
    /// Probability that a frame with the object is given a higher presence than one without; where
    /// both are equal, that counts half.
    pub area: f64,
    /// Bounds of the 95 % interval. `None` when resampling can tell nothing: fewer than two groups
    /// with the object or without it, or the same area throughout.
    pub interval: Option<[f64; 2]>,
}

/// Stated probabilities against what was there.
///
/// It depends on how many of the frames show the object: another mix has another calibration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// Expected calibration error: mean distance of [`Bin::observed`] from [`Bin::stated`], each bin
    /// weighted with its frames.
    pub error: f64,
    /// Brier score: mean square of the distance from the probability to 1 where the object is there
    /// and to 0 where it is not.
    pub brier: Estimate,
    /// Bins that hold frames, in order.
    pub bins: Vec<Bin>,
}

/// The frames whose stated probabilities are alike.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bin {
    /// Least and highest probability of the bin; the highest itself belongs to the next, but for 1.
    pub range: [f64; 2],
    /// How many frames.
    pub frames: usize,
    /// Mean of their stated probabilities.
    pub stated: f64,
    /// Share that shows the object.
    pub observed: f64,
}

/// An answer and the frame that it is for.
type Asked<'a> = (&'a Record, &'a Answer);

/// The answers to one prompt, by what is true of their frames.
pub(crate) struct Answers<'a> {
    /// The object is there.
    shown: Vec<Asked<'a>>,
    /// Rows say that it is not.
    labelled: Vec<Asked<'a>>,
    /// It can't be there, in frames of its modality.
    other_object: Vec<Asked<'a>>,
    /// It can't be there, in frames of other modalities.
    other_modality: Vec<Asked<'a>>,
}

impl<'a> Answers<'a> {
    pub(crate) fn of(prompt: &str, records: &'a [Record]) -> Self {
        let own = records.iter().filter(|r| r.answer.prompt == prompt);
        let (shown, labelled) = own
            .map(|r| (r, &r.answer))
            .partition(|(r, _)| r.overlap.is_some());
        // Each row of a picture asks for the same others; the picture counts once.
        let mut pictures = HashSet::new();
        let others = records.iter().filter_map(|r| {
            let other = r.others.iter().find(|o| o.answer.prompt == prompt)?;
            let new = pictures.insert((&r.place.folder, &r.file));
            new.then_some((other.same_modality, (r, &other.answer)))
        });
        let (near, far): (Vec<_>, Vec<_>) = others.partition(|(same_modality, _)| *same_modality);
        let asked = |others: Vec<(bool, Asked<'a>)>| others.into_iter().map(|o| o.1).collect();
        Self {
            shown,
            labelled,
            other_object: asked(near),
            other_modality: asked(far),
        }
    }

    /// Those on frames of the object's modality without it.
    fn lacking(&self) -> impl Iterator<Item = Asked<'a>> {
        self.labelled.iter().chain(&self.other_object).copied()
    }

    /// Frames that show the object and those of its modality that lack it, in order of presence.
    pub(crate) fn ranking(&self) -> Ranking {
        Ranking::new(self.shown.iter().copied(), self.lacking())
    }

    /// Frames that show the object and those of other modalities, in order of presence.
    pub(crate) fn ranking_other_modality(&self) -> Ranking {
        let absent = self.other_modality.iter().copied();
        Ranking::new(self.shown.iter().copied(), absent)
    }
}

impl Presence {
    pub(crate) fn new(threshold: f32, answers: &Answers<'_>) -> Self {
        let reported = |answer: &Answer| answer.present;
        let withheld = |answer: &Answer| answer.withheld.is_some();
        let shown = || answers.shown.iter().copied();
        let elsewhere = || answers.other_modality.iter().copied();
        Self {
            threshold,
            sensitivity: share(shown(), reported),
            false_alarms: share(answers.lacking(), reported),
            false_alarms_labelled: share(answers.labelled.iter().copied(), reported),
            false_alarms_other_modality: share(elsewhere(), reported),
            withheld: share(shown(), withheld),
            withheld_other_modality: share(elsewhere(), withheld),
            auroc: answers.ranking().auroc(),
            auroc_other_modality: answers.ranking_other_modality().auroc(),
            calibration: Calibration::new(answers),
        }
    }
}

fn share<'a>(
    asked: impl Iterator<Item = Asked<'a>>,
    is: impl Fn(&Answer) -> bool,
) -> Option<Estimate> {
    Estimate::of(asked.map(|(r, answer)| (r.cluster(), f64::from(u8::from(is(answer))))))
}

impl Auroc {
    /// The area as "0.912 [0.890, 0.931]".
    pub fn number(&self) -> String {
        bootstrap::number(self.area, self.interval)
    }
}

/// Frames with and without an object, those of the highest presence first.
pub(crate) struct Ranking {
    frames: Vec<Ranked>,
    groups: usize,
}

#[derive(Debug, Clone, Copy)]
struct Ranked {
    presence: f32,
    shown: bool,
    group: usize,
}

impl Ranking {
    fn new<'a>(
        shown: impl Iterator<Item = Asked<'a>>,
        absent: impl Iterator<Item = Asked<'a>>,
    ) -> Self {
        let mut groups = BTreeMap::new();
        let shown = shown.map(|asked| (asked, true));
        let absent = absent.map(|asked| (asked, false));
        let mut frames: Vec<Ranked> = shown
            .chain(absent)
            .map(|((record, answer), shown)| {
                let next = groups.len();
                Ranked {
                    presence: answer.presence,
                    shown,
                    group: *groups.entry(record.cluster()).or_insert(next),
                }
            })
            .collect();
        frames.sort_by(|a, b| b.presence.total_cmp(&a.presence));
        Self {
            frames,
            groups: groups.len(),
        }
    }

    /// Numbers of frames (with, without the object) of each presence, `drawn` times each group.
    fn counts<'a>(&'a self, drawn: &'a [u64]) -> impl Iterator<Item = (u64, u64)> + 'a {
        let ties = self.frames.chunk_by(|a, b| a.presence == b.presence);
        ties.map(|tie| {
            tie.iter().fold((0, 0), |(shown, absent), frame| {
                let times = drawn.get(frame.group).copied().unwrap_or(0);
                match frame.shown {
                    true => (shown + times, absent),
                    false => (shown, absent + times),
                }
            })
        })
    }

    /// The area under the curve; `None` without frames of both kinds.
    fn area(&self, drawn: &[u64]) -> Option<f64> {
        // Twice the pairs in which the frame with the object ranks first, to stay with integers.
        let (mut first, mut shown, mut absent) = (0, 0, 0);
        for (with, without) in self.counts(drawn) {
            first += without * (2 * shown + with);
            shown += with;
            absent += without;
        }
        let pairs = shown * absent;
        (pairs > 0).then(|| first as f64 / (2 * pairs) as f64)
    }

    fn auroc(&self) -> Option<Auroc> {
        let area = self.area(&vec![1; self.groups])?;
        let of = |shown: bool| self.frames.iter().filter(move |f| f.shown == shown);
        let groups = |shown| of(shown).map(|f| f.group).collect::<BTreeSet<_>>().len();
        let told = groups(true) > 1 && groups(false) > 1;
        let interval = told.then(|| bootstrap::interval(self.groups, |drawn| self.area(drawn)));
        Some(Auroc {
            present: of(true).count(),
            absent: of(false).count(),
            area,
            interval: interval.flatten().filter(|[low, high]| low < high),
        })
    }

    /// The corners of the curve: for each threshold the shares of the frames without and with the
    /// object that reach it, from (0, 0) to (1, 1). `None` without frames of both kinds.
    pub(crate) fn curve(&self) -> Option<Vec<(f64, f64)>> {
        let mut corners: Vec<(u64, u64)> = vec![(0, 0)];
        let (mut absent, mut shown) = (0, 0);
        for (with, without) in self.counts(&vec![1; self.groups]) {
            (absent, shown) = (absent + without, shown + with);
            match corners.as_mut_slice() {
                // Straight on, along an axis.
                [.., (x, y), last] if *x == absent || *y == shown => *last = (absent, shown),
                _ => corners.push((absent, shown)),
            }
        }
        let share = |n: u64, all: u64| n as f64 / all as f64;
        let shares = |(x, y)| (share(x, absent), share(y, shown));
        (absent > 0 && shown > 0).then(|| corners.into_iter().map(shares).collect())
    }
}

impl Calibration {
    /// `None` without frames that show the object and frames that lack it: of one kind alone the
    /// share that shows it is 0 or 1, whatever is stated.
    fn new(answers: &Answers<'_>) -> Option<Self> {
        let shown = answers.shown.iter().map(|asked| (*asked, true));
        let lacking = answers.lacking().map(|asked| (asked, false));
        let frames: Vec<(Asked<'_>, bool)> = shown.chain(lacking).collect();
        let both = !answers.shown.is_empty() && answers.lacking().next().is_some();
        let frames = Some(frames).filter(|_| both)?;
        let brier = Estimate::of(frames.iter().map(|((record, answer), shown)| {
            let truth = f64::from(u8::from(*shown));
            (record.cluster(), (stated(answer) - truth).powi(2))
        }))?;
        let bins: Vec<Bin> = (0..BINS).filter_map(|i| Bin::new(i, &frames)).collect();
        let distance = |bin: &Bin| bin.frames as f64 * (bin.observed - bin.stated).abs();
        Some(Self {
            error: bins.iter().map(distance).sum::<f64>() / frames.len() as f64,
            brier,
            bins,
        })
    }
}

impl Bin {
    /// Bin `i` of answers and whether their frames show the object; `None` if it is empty.
    fn new(i: usize, answers: &[(Asked<'_>, bool)]) -> Option<Self> {
        let bin = |stated: f64| ((stated * BINS as f64) as usize).min(BINS - 1);
        let inside = || answers.iter().filter(|((_, a), _)| bin(stated(a)) == i);
        let frames = inside().count();
        let mean = |sum: f64| sum / frames as f64;
        (frames > 0).then(|| Self {
            range: [i, i + 1].map(|bound| bound as f64 / BINS as f64),
            frames,
            stated: mean(inside().map(|((_, a), _)| stated(a)).sum()),
            observed: mean(inside().filter(|(_, shown)| *shown).count() as f64),
        })
    }
}

fn stated(answer: &Answer) -> f64 {
    f64::from(answer.presence)
}

#[cfg(test)]
pub(crate) mod tests {
    use bedside::Withheld;
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::tests::record;

    /// A frame with or without the object "p"; two make a group.
    pub(crate) fn frame(line: usize, presence: f32, shown: bool) -> Record {
        let dice = shown.then_some(0.8);
        let mut frame = record(line as u64, "p", dice, presence >= 0.5, &[]);
        frame.answer.presence = presence;
        frame
    }

    fn frames(of: &[(f32, bool)]) -> Vec<Record> {
        let frame =
            |(line, (presence, shown)): (usize, &(f32, bool))| frame(line, *presence, *shown);
        of.iter().enumerate().map(frame).collect()
    }

    fn presence(of: &[(f32, bool)]) -> Presence {
        Presence::new(0.5, &Answers::of("p", &frames(of)))
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-6, "{a} is not {b}");
    }

    #[test]
    fn the_area_is_the_share_of_pairs_in_order_and_ties_count_half() {
        // 0.9 is above both, each 0.4 above one and level with the other: 2 + 2 * 1.5 of 6.
        let shown = [(0.9, true), (0.4, true), (0.4, true)];
        let auroc = presence(&[&shown[..], &[(0.4, false), (0.1, false)]].concat()).auroc;
        let auroc = auroc.unwrap();
        close(auroc.area, 5.0 / 6.0);
        assert_eq!((auroc.present, auroc.absent), (3, 2));
        let level = presence(&[(0.4, true), (0.4, false)].repeat(4))
            .auroc
            .unwrap();
        assert_eq!((level.area, level.interval), (0.5, None));
        assert_eq!(presence(&shown).auroc, None, "nothing to tell it from");
    }

    #[test]
    fn what_resampling_cannot_tell_of_an_area_has_no_interval() {
        let apart = [(0.9, true), (0.8, true), (0.2, false), (0.1, false)].repeat(3);
        let apart = presence(&apart).auroc.unwrap();
        assert_eq!((apart.area, apart.interval), (1.0, None));
        // Lines 0 and 1 are one group: all frames without the object are of one patient.
        let one = [
            (0.5, false),
            (0.1, false),
            (0.9, true),
            (0.3, true),
            (0.8, true),
        ];
        assert_eq!(presence(&one).auroc.unwrap().interval, None);
        let mixed = [(0.9, true), (0.3, false), (0.2, true), (0.5, false)].repeat(5);
        let auroc = presence(&mixed).auroc.unwrap();
        let [low, high] = auroc.interval.unwrap();
        assert!(0.0 <= low && low < auroc.area && auroc.area < high && high <= 1.0);
    }

    #[test]
    fn calibration_is_as_computed_by_hand() {
        let calibration = presence(&[
            (0.05, false),
            (0.05, false),
            (0.25, true),
            (1.0, true),
            (0.9375, false),
        ]);
        let Calibration { error, brier, bins } = calibration.calibration.unwrap();
        let numbers = |b: &Bin| (b.range[0], b.frames, (b.stated * 1e3).round(), b.observed);
        assert_eq!(
            bins.iter().map(numbers).collect::<Vec<_>>(),
            [
                (0.0, 2, 50.0, 0.0),
                (0.2, 1, 250.0, 1.0),
                (0.9, 2, 969.0, 0.5)
            ]
        );
        close(error, (2.0 * 0.05 + 0.75 + 2.0 * 0.46875) / 5.0);
        close(
            brier.mean,
            (2.0 * 0.0025 + 0.5625 + 0.0 + 0.9375 * 0.9375) / 5.0,
        );
        let one_kind = presence(&[(0.2, true), (0.9, true)]);
        assert_eq!(one_kind.calibration, None);
    }

    #[test]
    fn a_probability_that_is_as_often_right_as_it_says_has_no_error() {
        let mut right = Vec::new();
        for tenths in 1..10 {
            right.extend((0..20).map(|i| (tenths as f32 / 10.0, i < 2 * tenths)));
        }
        let calibration = presence(&right).calibration.unwrap();
        close(calibration.error, 0.0);
        // The variance of what is there, p (1 - p), is left.
        let left: f64 = (1..10).map(|t| f64::from(t * (10 - t)) / 100.0).sum();
        close(calibration.brier.mean, left / 9.0);
    }

    #[test]
    fn a_picture_with_several_rows_counts_once_for_what_they_do_not_name() {
        let mut records = frames(&[(0.9, true), (0.8, true), (0.7, true)]);
        for (record, (file, far)) in records.iter_mut().zip([("a", 1), ("a", 1), ("b", 0)]) {
            record.file = file.to_owned();
            record.others = self::record(9, "p", None, false, &[("q", far == 0, far == 1)]).others;
        }
        let presence = Presence::new(0.5, &Answers::of("q", &records));
        let far = presence.false_alarms_other_modality.unwrap();
        assert_eq!(
            (far.fraction(), presence.sensitivity),
            ("1/1".to_owned(), None)
        );
        assert_eq!(presence.false_alarms.unwrap().fraction(), "0/1");
        // The same name in another folder is another picture.
        records[1].place.folder = "elsewhere".to_owned();
        let presence = Presence::new(0.5, &Answers::of("q", &records));
        assert_eq!(presence.false_alarms_other_modality.unwrap().n, 2);
    }

    #[test]
    fn what_is_withheld_is_counted_where_the_object_is_and_in_other_modalities() {
        let mut records = frames(&[(0.9, true), (0.9, true), (0.9, false)]);
        for record in &mut records {
            record.others = self::record(9, "p", None, false, &[("q", false, false)]).others;
        }
        records[0].answer.withheld = Some(Withheld::Unfamiliar);
        records[2].answer.withheld = Some(Withheld::Unfamiliar);
        for record in &mut records[..2] {
            record.others[0].answer.withheld = Some(Withheld::OtherModality);
        }
        let own = Presence::new(0.5, &Answers::of("p", &records));
        assert_eq!(own.withheld.unwrap().fraction(), "1/2");
        assert_eq!(own.withheld_other_modality, None);
        let other = Presence::new(0.5, &Answers::of("q", &records));
        assert_eq!(other.withheld_other_modality.unwrap().fraction(), "2/3");
        assert_eq!(other.withheld, None);
    }

    /// Few different values, so that there are ties.
    fn some_frames() -> impl Strategy<Value = Vec<(f32, bool)>> {
        let presence = (0_u8..=20).prop_map(|n| f32::from(n) / 20.0);
        prop::collection::vec((presence, any::<bool>()), 1..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn only_the_order_counts_for_the_area(frames in some_frames()) {
            let bent: Vec<_> = frames.iter().map(|(p, shown)| (p.powi(3) / 2.0, *shown)).collect();
            prop_assert_eq!(presence(&frames).auroc, presence(&bent).auroc);
        }

        #[test]
        fn the_area_is_that_of_all_pairs_and_under_the_curve(of in some_frames()) {
            let kind = |shown| of.iter().filter(move |f| f.1 == shown).map(|f| f.0);
            let pairs = kind(true).flat_map(|with| kind(false).map(move |without| {
                if with > without { 1.0 } else if with < without { 0.0 } else { 0.5 }
            }));
            let pairs: Vec<f64> = pairs.collect();
            let records = frames(&of);
            let ranking = Answers::of("p", &records).ranking();
            let area = ranking.auroc().map(|auroc| auroc.area);
            prop_assert_eq!(area.is_some(), !pairs.is_empty());
            let Some(area) = area else { return Ok(()) };
            close(area, pairs.iter().sum::<f64>() / pairs.len() as f64);

            let curve = ranking.curve().unwrap();
            prop_assert_eq!((curve[0], curve[curve.len() - 1]), ((0.0, 0.0), (1.0, 1.0)));
            let steps = curve.windows(2);
            prop_assert!(steps.clone().all(|s| s[0].0 <= s[1].0 && s[0].1 <= s[1].1));
            close(area, steps.map(|s| (s[1].0 - s[0].0) * (s[0].1 + s[1].1) / 2.0).sum());

            let turned: Vec<_> = of.iter().map(|(p, shown)| (*p, !shown)).collect();
            close(presence(&turned).auroc.unwrap().area, 1.0 - area);
        }

        #[test]
        fn the_calibration_error_is_at_most_the_root_of_the_brier_score(of in some_frames()) {
            if let Some(Calibration { error, brier, bins }) = presence(&of).calibration {
                prop_assert!(error <= brier.mean.sqrt() + 1e-9);
                prop_assert_eq!(bins.iter().map(|bin| bin.frames).sum::<usize>(), of.len());
            }
        }
    }
}
