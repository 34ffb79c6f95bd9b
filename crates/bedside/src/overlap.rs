//! Who owns a pixel that several objects claim: BiomedParse's rules for recognition.
//!
//! Source: `inference_utils/inference.py` and `output_processing.py` (`combine_masks`) of
//! github.com/microsoft/BiomedParse, in our own words below.

use bedside_core::Mask;

/// A mask whose own area lies to more than this share under a better one is a double.
const DOUBLE: f64 = 0.5;
/// Logit of probability 0.1: from here on an object bids for a pixel.
const BID: f32 = -2.197_224_6;
/// An object that wins less than this share of the pixels it bids for is dropped.
const LEAST_SHARE: f64 = 0.5;

/// One object's claim, at the frame's size.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    /// Logits, row-major, `width * height`; above the threshold is inside.
    pub logits: Vec<f32>,
    /// How good the claim is; the higher is kept of two that cover the same.
    pub rank: f32,
}

/// The masks that remain, in the order of `claims`; `None` for an object that had to give way.
///
/// 1. Claims are taken from best rank to worst; one that lies to more than half of its own area
///    under a single claim already taken is dropped, and so is an empty one.
/// 2. Each pixel goes to the highest of the bids above probability 0.1. An object that wins less
///    than half of its bids is dropped, except the one with the highest mean probability over
///    its bids.
/// 3. Each pixel goes to the remaining object with the highest logit above `threshold`.
pub(crate) fn settle(
    width: u32,
    height: u32,
    claims: &[Claim],
    threshold: f32,
) -> Vec<Option<Mask>> {
    let kept = win(claims, without_doubles(claims, threshold));
    let owner = owners(claims, &kept, threshold);
    (0..claims.len())
        .map(|i| {
            let data: Vec<u8> = owner.iter().map(|o| u8::from(*o == Some(i))).collect();
            Mask::from_bytes(width, height, data).filter(|m| kept.contains(&i) && !m.is_empty())
        })
        .collect()
}

/// Indices of the claims that are no doubles, best rank first.
fn without_doubles(claims: &[Claim], threshold: f32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..claims.len()).collect();
    let rank = |i: &usize| claims.get(*i).map_or(f32::MIN, |c| c.rank);
    order.sort_by(|a, b| rank(b).total_cmp(&rank(a)));
    let mut kept: Vec<usize> = Vec::new();
    for i in order {
        let Some(claim) = claims.get(i) else { continue };
        let area = claim.logits.iter().filter(|l| **l > threshold).count();
        let double = kept.iter().filter_map(|k| claims.get(*k)).any(|better| {
            let both = claim.logits.iter().zip(&better.logits);
            let shared = both
                .filter(|(a, b)| **a > threshold && **b > threshold)
                .count();
            shared as f64 > DOUBLE * area as f64
        });
        if area > 0 && !double {
            kept.push(i);
        }
    }
    kept
}

/// Of `kept`, those that win enough of the pixels they bid for.
fn win(claims: &[Claim], kept: Vec<usize>) -> Vec<usize> {
    let owner = owners(claims, &kept, BID);
    let score = |i: usize| {
        let bids: Vec<f32> = claims
            .get(i)
            .map(|c| c.logits.iter().copied().filter(|l| *l > BID).collect())
            .unwrap_or_default();
        let mean = bids
            .iter()
            .map(|l| 1.0 / (1.0 + f64::from(-l).exp()))
            .sum::<f64>()
            / bids.len() as f64;
        let won = owner.iter().filter(|o| **o == Some(i)).count();
        (mean, won as f64 >= LEAST_SHARE * bids.len() as f64)
    };
    let scores: Vec<(usize, f64, bool)> = kept
        .into_iter()
        .map(|i| {
            let (mean, wins) = score(i);
            (i, mean, wins)
        })
        .collect();
    let surest = scores.iter().map(|s| s.1).fold(f64::MIN, f64::max);
    scores
        .into_iter()
        .filter(|(_, mean, wins)| *wins || *mean >= surest)
        .map(|s| s.0)
        .collect()
}

/// For each pixel the claim among `kept` with the highest logit above `least`.
fn owners(claims: &[Claim], kept: &[usize], least: f32) -> Vec<Option<usize>> {
    let size = claims.first().map_or(0, |c| c.logits.len());
    let mut owner = vec![None; size];
    let mut best = vec![least; size];
    for &i in kept {
        let Some(claim) = claims.get(i) else { continue };
        for ((logit, best), owner) in claim.logits.iter().zip(&mut best).zip(&mut owner) {
            if *logit > *best {
                *best = *logit;
                *owner = Some(i);
            }
        }
    }
    owner
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A claim on `inside` pixels of ten, with the given logit there and -9 elsewhere.
    fn claim(inside: std::ops::Range<usize>, logit: f32, rank: f32) -> Claim {
        let logits = (0..10)
            .map(|i| if inside.contains(&i) { logit } else { -9.0 })
            .collect();
        Claim { logits, rank }
    }

    fn areas(claims: &[Claim]) -> Vec<u64> {
        settle(10, 1, claims, 0.0)
            .iter()
            .map(|m| m.as_ref().map_or(0, Mask::area))
            .collect()
    }

    #[test]
    fn a_double_gives_way_to_the_better_rank() {
        assert_eq!(
            areas(&[claim(0..6, 3.0, 0.2), claim(0..7, 2.0, 0.9)]),
            [0, 7]
        );
        // Exactly half of its own area is not yet a double.
        assert_eq!(
            areas(&[claim(0..4, 3.0, 0.9), claim(2..6, 2.0, 0.2)]),
            [4, 2]
        );
    }

    #[test]
    fn a_small_object_inside_a_large_one_is_a_double_only_of_its_own_area() {
        assert_eq!(
            areas(&[claim(0..9, 2.0, 0.2), claim(0..3, 5.0, 0.9)]),
            [6, 3]
        );
        assert_eq!(
            areas(&[claim(0..9, 2.0, 0.9), claim(0..3, 5.0, 0.2)]),
            [9, 0]
        );
    }

    #[test]
    fn an_object_that_loses_most_of_its_bids_is_dropped_unless_it_is_the_surest() {
        // Bids at probability 0.3 (logit -0.85) around a small core, outbid nearly everywhere.
        let mut faint = claim(0..8, -0.85, 0.9);
        faint.logits[9] = 1.0;
        let strong = claim(0..8, 4.0, 0.5);
        assert_eq!(areas(&[faint.clone(), strong]), [0, 8]);
        assert_eq!(areas(&[faint]), [1], "alone it is the surest");
    }

    #[test]
    fn nothing_claimed_nothing_owned() {
        assert!(settle(10, 1, &[], 0.0).is_empty());
        assert_eq!(areas(&[claim(0..0, 1.0, 1.0)]), [0]);
    }

    #[test]
    fn masks_never_share_a_pixel() {
        let claims: Vec<Claim> = (0..5)
            .map(|i| claim(i..i + 5, i as f32 + 0.5, 0.5))
            .collect();
        let masks = settle(10, 1, &claims, 0.0);
        for x in 0..10 {
            assert!(masks.iter().flatten().filter(|m| m.get(x, 0)).count() <= 1);
        }
    }
}
