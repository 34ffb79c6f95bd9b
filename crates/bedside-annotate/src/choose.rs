//! Which frames of a clip a person should see.
//!
//! Neighbours in a clip are nearly one frame, and most of them the model knows well. A clip is cut
//! into stretches of like pictures, and of each stretch the frame is taken that the model doubts most.

use bedside::vision::colour::rgb_pixels;
use bedside::{Finding, Frame, Withheld};

/// Most cells of a thumbnail a side.
const CELLS: usize = 32;
/// Mean difference of thumbnails, of 255, from which a picture is another: well above noise and
/// speckle, which cells average out, and below a change of view.
const CHANGED: f32 = 6.0;
/// P-values below this deserve doubt, as everywhere in bedside.
const LOW: f32 = 0.05;

/// How far the model's answer deserves doubt, 0 to 1: 1 where presence is at the threshold, or where
/// fit or validity are 0; 0 where presence is 0 or 1 and nothing is unusual. A frame of another kind of
/// imaging is not doubted: there is nothing to learn from it.
pub fn doubt(finding: &Finding, threshold: f32) -> f32 {
    if finding.withheld == Some(Withheld::OtherModality) {
        return 0.0;
    }
    let presence = finding.presence.clamp(0.0, 1.0);
    let unsure = match presence < threshold {
        true => presence / threshold,
        false => (1.0 - presence) / (1.0 - threshold).max(f32::EPSILON),
    };
    let unusual = |value: Option<f32>| value.map_or(0.0, |value| 1.0 - value / LOW);
    let most = unusual(finding.fit).max(unusual(finding.validity));
    unsure.max(most).clamp(0.0, 1.0)
}

/// Chooses among the frames of a clip as they come, and holds no more than it may choose.
#[derive(Debug)]
pub struct Chooser<T> {
    most: usize,
    stretches: Vec<Stretch<T>>,
}

/// Like pictures, one behind the other.
#[derive(Debug)]
struct Stretch<T> {
    /// The picture that it began with.
    first: Thumbnail,
    /// The one that is doubted most.
    chosen: Thumbnail,
    doubt: f32,
    value: T,
}

impl<T: AsRef<Frame>> Chooser<T> {
    /// At most so many frames, at least one.
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            stretches: Vec::new(),
        }
    }

    /// The clip's next frame with what is to be kept beside it, and how far its answer is doubted.
    pub fn offer(&mut self, value: T, doubt: f32) {
        let thumbnail = Thumbnail::of(value.as_ref());
        if let Some(last) = self.stretches.last_mut()
            && last.first.difference(&thumbnail) < CHANGED
        {
            if doubt > last.doubt {
                (last.chosen, last.doubt, last.value) = (thumbnail, doubt, value);
            }
            return;
        }
        self.stretches.push(Stretch {
            first: thumbnail.clone(),
            chosen: thumbnail,
            doubt,
            value,
        });
        if self.stretches.len() > self.most {
            self.join();
        }
    }

    /// What was chosen, in the clip's order.
    pub fn chosen(self) -> Vec<T> {
        self.stretches.into_iter().map(|s| s.value).collect()
    }

    /// Make one of the two neighbours that are most alike.
    fn join(&mut self) {
        let pairs = self.stretches.windows(2).enumerate();
        let differences = pairs.filter_map(|(place, pair)| match pair {
            [a, b] => Some((place, a.chosen.difference(&b.chosen))),
            _ => None,
        });
        let Some((place, _)) = differences.min_by(|a, b| a.1.total_cmp(&b.1)) else {
            return;
        };
        let later = self.stretches.remove(place + 1);
        if let Some(earlier) = self.stretches.get_mut(place) {
            if later.doubt > earlier.doubt {
                *earlier = later;
            } else {
                earlier.first = later.first;
            }
        }
    }
}

/// A frame's colours, averaged over a grid.
#[derive(Debug, Clone)]
struct Thumbnail(Vec<f32>);

impl Thumbnail {
    fn of(frame: &Frame) -> Self {
        let mut rgb = Vec::new();
        rgb_pixels(frame, &mut rgb);
        let (width, height) = (frame.width() as usize, frame.height() as usize);
        // No cell without a pixel.
        let (columns, lines) = (CELLS.min(width), CELLS.min(height));
        let mut sums = vec![[0_u64; 4]; columns * lines];
        for (y, row) in rgb.chunks_exact(width * 3).enumerate() {
            let line = y * lines / height * columns;
            for (x, pixel) in row.chunks_exact(3).enumerate() {
                if let (Some([red, green, blue, count]), [r, g, b]) =
                    (sums.get_mut(line + x * columns / width), pixel)
                {
                    *red += u64::from(*r);
                    *green += u64::from(*g);
                    *blue += u64::from(*b);
                    *count += 1;
                }
            }
        }
        let means = sums.into_iter().flat_map(|[red, green, blue, count]| {
            [red, green, blue].map(|sum| sum as f32 / count as f32)
        });
        Self(means.collect())
    }

    fn difference(&self, other: &Self) -> f32 {
        let sum: f32 = self
            .0
            .iter()
            .zip(&other.0)
            .map(|(a, b)| (a - b).abs())
            .sum();
        sum / self.0.len() as f32
    }
}

#[cfg(test)]
mod tests {
    use bedside::PixelFormat;
    use proptest::prelude::*;

    use super::*;

    /// A flat frame of some level, and its place.
    struct Flat(Frame, usize);

    impl AsRef<Frame> for Flat {
        fn as_ref(&self) -> &Frame {
            &self.0
        }
    }

    fn flat(level: u8) -> Frame {
        Frame::new(40, 30, PixelFormat::Gray8, vec![level; 1200]).unwrap()
    }

    fn chosen(most: usize, frames: &[(u8, f32)]) -> Vec<usize> {
        let mut chooser = Chooser::new(most);
        for (place, (level, doubt)) in frames.iter().enumerate() {
            chooser.offer(Flat(flat(*level), place), *doubt);
        }
        chooser.chosen().into_iter().map(|flat| flat.1).collect()
    }

    #[test]
    fn of_like_pictures_the_most_doubted_is_chosen() {
        let frames = [
            (10, 0.1),
            (11, 0.9),
            (12, 0.3), // one view
            (80, 0.2),
            (81, 0.2), // another: the first of equals
            (10, 0.0), // back again
        ];
        assert_eq!(chosen(10, &frames), [1, 3, 5]);
    }

    /// Two neighbours that are alike become one, so that what stays tells the clip's whole story.
    #[test]
    fn too_many_stretches_are_joined_where_they_are_most_alike() {
        let frames = [(10, 0.9), (100, 0.1), (110, 0.2), (200, 0.0), (250, 0.3)];
        assert_eq!(chosen(4, &frames), [0, 2, 3, 4]);
        assert_eq!(chosen(3, &frames), [0, 2, 4]);
        assert_eq!(chosen(1, &frames), [0]);
    }

    /// A slow change must not pass for no change.
    #[test]
    fn a_slow_change_begins_a_stretch_too() {
        let frames: Vec<_> = (0..60).map(|level| (level, 0.0)).collect();
        assert_eq!(chosen(100, &frames).len(), 10);
    }

    #[test]
    fn doubt_is_greatest_at_the_threshold_and_where_fit_or_validity_are_low() {
        let of = |presence, fit, validity| {
            let mut finding = Finding::absent("polyp", presence);
            (finding.fit, finding.validity) = (fit, validity);
            doubt(&finding, 0.8)
        };
        assert_eq!(of(0.0, None, None), 0.0);
        assert_eq!(of(1.0, Some(0.5), Some(0.06)), 0.0);
        assert_eq!(of(0.8, None, None), 1.0);
        assert_eq!(of(0.4, None, None), 0.5);
        assert!((of(0.9, None, None) - 0.5).abs() < 1e-5);
        assert!((of(1.0, Some(0.01), None) - 0.8).abs() < 1e-5);
        assert_eq!(of(1.0, None, Some(0.0)), 1.0);
        let mut other = Finding::absent("polyp", 0.8);
        other.withheld = Some(Withheld::OtherModality);
        assert_eq!(doubt(&other, 0.8), 0.0);
    }

    proptest! {
        /// No clip makes it hold more than it may choose, and what it chooses is in order.
        #[test]
        fn never_more_than_asked_for(
            most in 1_usize..6,
            frames in proptest::collection::vec((any::<u8>(), 0.0_f32..1.0), 1..40),
        ) {
            let chosen = chosen(most, &frames);
            prop_assert!((1..=most).contains(&chosen.len()));
            prop_assert!(chosen.is_sorted());
        }
    }
}
