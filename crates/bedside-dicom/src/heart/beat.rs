//! Beats in a curve of areas.

/// Seconds that curves are smoothed over.
const SMOOTH: f64 = 0.15;
/// Seconds of missing areas that are bridged; at longer ones a curve is cut in two.
const BRIDGE: f64 = 0.2;
/// Share of a curve's swing that it must go back by before it has turned.
const TURNED: f64 = 0.4;
/// Share of its swing by which a frame's own area may be off what is usual around it.
const NEAR: f64 = 0.1;
/// Share of the median area that a curve must swing by at least.
const SWING: f64 = 0.08;

/// A frame at which the curve turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Which of the areas, from 0.
    pub at: usize,
    /// It lies where the curve begins or ends, so that it may have gone on beyond.
    pub at_edge: bool,
}

/// A beat: the largest area, and the smallest that follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// End of diastole.
    pub diastole: Turn,
    /// End of systole.
    pub systole: Turn,
}

/// The beats in areas that are `step` seconds apart, none where there was no answer.
///
/// Gaps of up to 0.2 s are bridged by a straight line; longer ones cut the curve. The curve is
/// smoothed over 0.15 s by a running median, which single wrong areas do not move, then by a
/// running mean. It has turned once it has gone back by 40 % of its swing, which must be 8 % of its
/// median or more. Of the frames within the 0.15 s around a turn, the nearest to it is taken whose
/// own area is within a tenth of the swing of the median there.
///
/// Beats that the curve's ends cut are not told where there are whole ones. In a clip without a
/// largest area and a smallest one that follows, the smallest and the largest that follows make the
/// beat.
pub fn beats(areas: &[Option<f64>], step: f64) -> Vec<Beat> {
    let frames = |seconds: f64| (seconds / step).round().clamp(2.0, 1e6) as usize;
    let half = frames(SMOOTH) / 2;
    let (mut falling, mut rising) = (Vec::new(), Vec::new());
    for (start, run) in runs(areas, frames(BRIDGE)) {
        let curve = Curve::of(run, half);
        let turn = |(place, is_largest)| Some((curve.turn(start, place, half)?, is_largest));
        let turns: Vec<(Turn, bool)> = curve.turns().into_iter().filter_map(turn).collect();
        for ((from, is_largest), (to, _)) in turns.iter().zip(turns.iter().skip(1)) {
            let (diastole, systole, beats) = match is_largest {
                true => (*from, *to, &mut falling),
                false => (*to, *from, &mut rising),
            };
            beats.push(Beat { diastole, systole });
        }
    }
    let whole = |beats: &[Beat]| -> Vec<Beat> {
        let cut = |beat: &Beat| beat.diastole.at_edge || beat.systole.at_edge;
        beats.iter().copied().filter(|beat| !cut(beat)).collect()
    };
    let choices = [whole(&falling), whole(&rising), falling, rising];
    let mut choices = choices.into_iter().filter(|beats| !beats.is_empty());
    choices.next().unwrap_or_default()
}

/// The parts of a curve between gaps of more than so many frames, each from its first area to its
/// last.
fn runs(areas: &[Option<f64>], most: usize) -> Vec<(usize, &[Option<f64>])> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    let known = (0..).zip(areas).filter(|(_, area)| area.is_some());
    for (at, _) in known {
        match runs.last_mut() {
            Some((_, end)) if at - *end <= most => *end = at + 1,
            _ => runs.push((at, at + 1)),
        }
    }
    let run = |(start, end): (usize, usize)| Some((start, areas.get(start..end)?));
    runs.into_iter().filter_map(run).collect()
}

struct Curve<'a> {
    own: &'a [Option<f64>],
    /// The running median, of the bridged curve.
    middle: Vec<f64>,
    smooth: Vec<f64>,
    /// From its least to its most.
    swing: f64,
}

impl<'a> Curve<'a> {
    fn of(own: &'a [Option<f64>], half: usize) -> Self {
        let middle = running(&bridged(own), half, median);
        let smooth = running(&middle, half, |near| {
            near.iter().sum::<f64>() / near.len() as f64
        });
        let most = smooth.iter().copied().fold(f64::MIN, f64::max);
        let least = smooth.iter().copied().fold(f64::MAX, f64::min);
        Self {
            own,
            middle,
            smooth,
            swing: most - least,
        }
    }

    /// The frame nearest to a place whose own area is about the usual one there.
    fn turn(&self, start: usize, place: usize, half: usize) -> Option<Turn> {
        let usual = self.middle.get(place)?;
        let own = (0..).zip(self.own).take(place + half + 1);
        let near = own.skip(place.saturating_sub(half));
        let off = near.filter_map(|(at, own)| Some((at, (own.as_ref()? - usual).abs())));
        let usual = off.filter(|(_, off)| *off <= NEAR * self.swing);
        let (at, _) = usual.min_by_key(|(at, _)| place.abs_diff(*at))?;
        Some(Turn {
            at: start + at,
            at_edge: place <= half || place + half + 1 >= self.own.len(),
        })
    }

    /// Where the curve turns, from a largest value (`true`) to a smallest or back.
    fn turns(&self) -> Vec<(usize, bool)> {
        let mut turns = Vec::new();
        if self.smooth.is_empty() || self.swing < SWING * median(&self.smooth) {
            return turns;
        }
        let back = TURNED * self.swing;
        let (mut high, mut low) = ((0, f64::MIN), (0, f64::MAX));
        for (at, v) in self.smooth.iter().copied().enumerate() {
            if v > high.1 {
                high = (at, v);
            }
            if v < low.1 {
                low = (at, v);
            }
            let last = turns.last().map(|(_, is_largest)| *is_largest);
            if last != Some(true) && high.1 - v >= back {
                turns.push((high.0, true));
                low = (at, v);
            } else if last != Some(false) && v - low.1 >= back {
                turns.push((low.0, false));
                high = (at, v);
            }
        }
        // What the curve was on its way to when it ended.
        match turns.last() {
            Some((_, true)) => turns.push((low.0, false)),
            Some((_, false)) => turns.push((high.0, true)),
            None => {}
        }
        turns
    }
}

/// Missing areas on the straight line between those beside them.
fn bridged(run: &[Option<f64>]) -> Vec<f64> {
    let mut curve: Vec<f64> = Vec::with_capacity(run.len());
    for area in run
        .iter()
        .enumerate()
        .filter_map(|(at, a)| Some((at, (*a)?)))
    {
        let (at, area) = area;
        let last = curve.last().copied().unwrap_or(area);
        let steps = (at + 1 - curve.len()) as f64;
        while curve.len() <= at {
            let left = (at - curve.len()) as f64 / steps;
            curve.push(area + (last - area) * left);
        }
    }
    curve
}

/// A function of each value and those up to `half` places before and behind.
fn running(curve: &[f64], half: usize, of: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let near = |at: usize| {
        // As many on both sides, so that ends are not drawn to what lies within.
        let half = half.min(at).min(curve.len() - 1 - at);
        curve.get(at - half..=at + half).unwrap_or_default()
    };
    (0..curve.len()).map(|at| of(near(at))).collect()
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::*;

    const MOST: f64 = 30.0;
    const LEAST: f64 = 18.0;

    /// Areas of a heart that is at the end of diastole at `first` seconds and once in each period.
    fn areas(frames: usize, step: f64, first: f64, period: f64) -> Vec<Option<f64>> {
        let area = |at: usize| {
            let phase = (at as f64 * step - first) / period;
            LEAST + (MOST - LEAST) * (0.5 + 0.5 * (TAU * phase).cos())
        };
        (0..frames).map(|at| Some(area(at))).collect()
    }

    fn places(beats: &[Beat]) -> Vec<(usize, usize)> {
        beats
            .iter()
            .map(|b| (b.diastole.at, b.systole.at))
            .collect()
    }

    #[test]
    fn each_beat_has_its_largest_and_smallest_area() {
        // 30 a second; beats of 0.8 s, 24 frames each.
        let areas = areas(84, 1.0 / 30.0, 0.2, 0.8);
        let found = beats(&areas, 1.0 / 30.0);
        assert_eq!(places(&found), [(6, 18), (30, 42), (54, 66)]);
        assert!(
            found
                .iter()
                .all(|b| !b.diastole.at_edge && !b.systole.at_edge)
        );
    }

    #[test]
    fn one_beat_from_diastole_to_diastole_says_where_it_is_cut() {
        let found = beats(&areas(25, 1.0 / 30.0, 0.0, 0.8), 1.0 / 30.0);
        assert_eq!(places(&found), [(0, 12)]);
        assert!(found[0].diastole.at_edge && !found[0].systole.at_edge);
        // From systole to diastole and on, in the midst of the next beat.
        let found = beats(&areas(30, 1.0 / 30.0, 0.6, 0.8), 1.0 / 30.0);
        assert_eq!(places(&found), [(18, 6)]);
        // From systole to diastole alone.
        let found = beats(&areas(13, 1.0 / 30.0, 0.4, 0.8), 1.0 / 30.0);
        assert_eq!(places(&found), [(12, 0)]);
        assert!(found[0].diastole.at_edge && found[0].systole.at_edge);
    }

    #[test]
    fn what_does_not_move_has_no_beat() {
        let still: Vec<_> = (0..60)
            .map(|at| Some(20.0 + 0.2 * f64::from(at % 3)))
            .collect();
        assert_eq!(beats(&still, 0.04), []);
        assert_eq!(beats(&[], 0.04), []);
        assert_eq!(beats(&[None; 9], 0.04), []);
        assert_eq!(beats(&[None, Some(3.0), None], 0.04), []);
    }

    #[test]
    fn a_long_gap_cuts_the_curve_and_none_is_found_across_it() {
        let mut areas = areas(120, 0.04, 0.2, 0.8);
        areas[50..62].fill(None);
        for (diastole, systole) in places(&beats(&areas, 0.04)) {
            assert!(diastole.max(systole) < 50 || diastole.min(systole) >= 62);
            assert!(areas[diastole].is_some() && areas[systole].is_some());
        }
    }

    proptest! {
        /// Beats are found, and their areas are near the true ones, whatever is missing or wrong now
        /// and then.
        #[test]
        fn noise_gaps_and_wrong_frames_move_little(
            step in prop::sample::select(vec![1.0 / 60.0, 1.0 / 40.0, 1.0 / 30.0]),
            period in 0.6..1.2_f64,
            noise in prop::collection::vec(-0.5..0.5_f64, 200),
            wrong in prop::collection::vec(0.2..2.0_f64, 200),
            gaps in 0_usize..3,
        ) {
            let clean = areas(200, step, 0.0, period);
            let mut areas = clean.clone();
            for (at, area) in areas.iter_mut().enumerate() {
                *area = area.map(|area| area + noise[at]);
                if at % 20 == 5 {
                    *area = area.map(|area| area * wrong[at]);
                }
                // Bridges are built on what is right.
                if (12..12 + gaps).contains(&(at % 20)) {
                    *area = None;
                }
            }
            let found = beats(&areas, step);
            let whole = (200.0 * step / period) as usize;
            prop_assert!(
                (whole - 1..=whole).contains(&found.len()),
                "{} beats of {whole}: {:?}", found.len(), places(&found)
            );
            for beat in &found {
                let area = |turn: Turn| (areas[turn.at].unwrap(), clean[turn.at].unwrap());
                let (large, small) = (area(beat.diastole), area(beat.systole));
                prop_assert!((large.0 - large.1).abs() <= 2.5 && (small.0 - small.1).abs() <= 2.5);
                let change = (large.0 - small.0) / large.0;
                let known = (MOST - LEAST) / MOST;
                prop_assert!((change - known).abs() < 0.08, "{change}, not {known}");
            }
        }
    }
}
