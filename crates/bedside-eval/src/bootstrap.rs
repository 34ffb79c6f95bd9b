//! Means and other figures with 95 % confidence intervals: the percentile bootstrap over groups.
//!
//! Frames of one patient resemble each other, so whole groups are drawn, not frames: an interval
//! over single frames would be too narrow. The draw is seeded, so a report can be repeated.

use std::collections::BTreeMap;

use serde::Serialize;

/// Number of resamples.
pub(crate) const RESAMPLES: usize = 2_000;
/// Start of the pseudo-random draws.
const SEED: u64 = 1;
/// The quantiles that 95 % of the resamples lie between.
const QUANTILES: [f64; 2] = [0.025, 0.975];

/// A mean and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// Number of values.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Bounds of the 95 % interval. `None` when resampling can tell nothing: fewer than two
    /// groups, or the same value throughout (3 of 3 right does not prove a rate of 100 %).
    pub interval: Option<[f64; 2]>,
}

impl Estimate {
    /// The mean of values, each with its group; `None` without a value.
    pub(crate) fn of<G: Ord>(values: impl IntoIterator<Item = (G, f64)>) -> Option<Self> {
        let mut groups: BTreeMap<G, Sum> = BTreeMap::new();
        let mut total = Sum::default();
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for (group, value) in values {
            let one = Sum { sum: value, n: 1 };
            groups.entry(group).or_default().add(one);
            total.add(one);
            (least, most) = (least.min(value), most.max(value));
        }
        let groups: Vec<Sum> = groups.into_values().collect();
        let mean = |drawn: &[u64]| {
            let mut total = Sum::default();
            for (group, times) in groups.iter().zip(drawn) {
                total.add(Sum {
                    sum: group.sum * *times as f64,
                    n: group.n * *times as usize,
                });
            }
            Some(total.mean())
        };
        (total.n > 0).then(|| Self {
            n: total.n,
            mean: total.mean(),
            interval: (least < most)
                .then(|| interval(groups.len(), mean))
                .flatten(),
        })
    }
}

impl Estimate {
    /// The mean as "0.912 [0.890, 0.931]".
    pub fn number(&self) -> String {
        number(self.mean, self.interval)
    }

    /// The mean of zeros and ones as "12/100".
    pub fn fraction(&self) -> String {
        format!("{}/{}", (self.mean * self.n as f64).round(), self.n)
    }

    /// The mean of zeros and ones as "12/100 = 12.0 % [6.0, 19.0]".
    pub fn share(&self) -> String {
        let text = format!("{} = {:.1} %", self.fraction(), self.mean * 100.0);
        match self
            .interval
            .map(|bounds| bounds.map(|bound| bound * 100.0))
        {
            Some([low, high]) => format!("{text} [{low:.1}, {high:.1}]"),
            None => text,
        }
    }
}

/// A figure and its interval as "0.912 [0.890, 0.931]".
pub(crate) fn number(figure: f64, interval: Option<[f64; 2]>) -> String {
    match interval {
        Some([low, high]) => format!("{figure:.3} [{low:.3}, {high:.3}]"),
        None => format!("{figure:.3}"),
    }
}

/// The middle value, or the mean of the two middle ones; `None` without a value.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    sum: f64,
    n: usize,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.sum += other.sum;
        self.n += other.n;
    }

    fn mean(self) -> f64 {
        self.sum / self.n as f64
    }
}

/// The 95 % interval of a figure that is computed from how often each of the `groups` was drawn.
/// Draws that it is undefined for are left out. `None` for fewer than two groups.
pub(crate) fn interval(groups: usize, figure: impl Fn(&[u64]) -> Option<f64>) -> Option<[f64; 2]> {
    if groups < 2 {
        return None;
    }
    let mut random = SplitMix64(SEED);
    let mut drawn = vec![0_u64; groups];
    let draw = |_| {
        drawn.fill(0);
        for _ in 0..groups {
            if let Some(times) = drawn.get_mut(random.below(groups)) {
                *times += 1;
            }
        }
        figure(&drawn)
    };
    let mut figures: Vec<f64> = (0..RESAMPLES).filter_map(draw).collect();
    figures.sort_by(f64::total_cmp);
    let [low, high] = QUANTILES.map(|q| quantile(&figures, q));
    Some([low?, high?])
}

/// Quantile `q` of sorted values, linear between neighbours (Hyndman and Fan's type 7).
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let position = q * (sorted.len().checked_sub(1)? as f64);
    let low = sorted.get(position.floor() as usize)?;
    let high = sorted.get(position.ceil() as usize)?;
    Some(low + (high - low) * position.fract())
}

/// Steele, Lea and Flood's generator of 2014: the same numbers on every machine and version.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `n - 1`; the bias of n / 2^64 is of no account here.
    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        groups: Vec<String>,
        values: Vec<f64>,
        mean: f64,
        median: f64,
        interval: [f64; 2],
        /// How far a bound from 2,000 resamples may lie from the one of many: four standard
        /// errors of a quantile, `sqrt(q (1 - q) / 2000) / density(q)`.
        tolerance: [f64; 2],
    }

    #[test]
    fn intervals_agree_with_numpy() {
        let golden: Golden = serde_json::from_str(include_str!("golden/bootstrap.json")).unwrap();
        assert!(golden.cases.len() >= 3);
        for case in golden.cases {
            let values = case.groups.iter().zip(case.values.iter().copied());
            let estimate = Estimate::of(values).unwrap();
            assert!((estimate.mean - case.mean).abs() < 1e-12, "{}", case.name);
            assert!((median(case.values.clone()).unwrap() - case.median).abs() < 1e-12);
            let interval = estimate.interval.unwrap();
            for i in 0..2 {
                let off = (interval[i] - case.interval[i]).abs();
                assert!(
                    off <= case.tolerance[i],
                    "{}: {interval:?} {:?}",
                    case.name,
                    case.interval
                );
            }
        }
    }

    #[test]
    fn random_numbers_are_splitmix64s() {
        let mut random = SplitMix64(1_234_567);
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!([random.next(), random.next(), random.next()], expected);
    }

    #[test]
    fn what_resampling_cannot_tell_has_no_interval() {
        assert_eq!(Estimate::of::<u8>([]), None);
        assert_eq!(median([]), None);
        let one_patient = Estimate::of([("a", 0.2), ("a", 0.8)]).unwrap();
        assert_eq!((one_patient.n, one_patient.interval), (2, None));
        let all_right = Estimate::of([("a", 1.0), ("b", 1.0), ("c", 1.0)]).unwrap();
        assert_eq!((all_right.mean, all_right.interval), (1.0, None));
    }

    #[test]
    fn frames_of_one_patient_do_not_count_as_independent() {
        let values = |frames: usize| {
            let at = move |i: usize| {
                (
                    i / frames,
                    f64::from(u8::from((i / frames).is_multiple_of(2))),
                )
            };
            Estimate::of((0..10 * frames).map(at))
                .unwrap()
                .interval
                .unwrap()
        };
        let (single, tenfold) = (values(1), values(10));
        assert_eq!(
            single, tenfold,
            "ten equal frames a patient tell no more than one"
        );
    }

    fn width(n: u32, spread: f64) -> f64 {
        let values = (0..n).map(|i| (i, 0.5 + if i % 2 == 0 { spread } else { -spread }));
        let [low, high] = Estimate::of(values).unwrap().interval.unwrap();
        high - low
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn symmetric_values_have_their_mean_inside(
            offsets in prop::collection::vec(0.01_f64..0.5, 2..40),
        ) {
            let values = offsets.iter().flat_map(|o| [0.5 + o, 0.5 - o]).enumerate();
            let estimate = Estimate::of(values).unwrap();
            let [low, high] = estimate.interval.unwrap();
            prop_assert!((estimate.mean - 0.5).abs() < 1e-9);
            prop_assert!(low < 0.5 && 0.5 < high, "{:?}", (low, high));
        }

        #[test]
        fn bounds_stay_within_the_values_and_repeat_in_any_order(
            mut values in prop::collection::vec((0_u8..9, 0.0_f64..1.0), 2..60),
        ) {
            let forward = Estimate::of(values.clone()).unwrap();
            prop_assert_eq!(forward, Estimate::of(values.clone()).unwrap());
            values.reverse();
            let backward = Estimate::of(values.clone()).unwrap();
            prop_assert!((forward.mean - backward.mean).abs() < 1e-12);
            if let (Some(a), Some(b)) = (forward.interval, backward.interval) {
                let least = values.iter().map(|v| v.1).fold(1.0, f64::min);
                let most = values.iter().map(|v| v.1).fold(0.0, f64::max);
                prop_assert!(least - 1e-12 <= a[0] && a[0] <= a[1] && a[1] <= most + 1e-12);
                prop_assert!((a[0] - b[0]).abs() < 1e-9 && (a[1] - b[1]).abs() < 1e-9);
            }
        }

        #[test]
        fn intervals_shrink_as_the_square_root_of_the_number(
            n in 10_u32..60, spread in 0.05_f64..0.5,
        ) {
            // 16 times the frames: a quarter of the width, within the draw's own noise.
            let ratio = width(n * 2, spread) / width(n * 32, spread);
            prop_assert!((3.0..5.3).contains(&ratio), "{}", ratio);
        }
    }
}
