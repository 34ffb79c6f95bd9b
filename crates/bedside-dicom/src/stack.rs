//! Slices of a series that lie one behind another.

use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use crate::Object;
use crate::read::header::{integer, numbers, text};

/// Where a slice lies, from its header.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// UID of its series.
    pub series: String,
    /// Its own UID.
    pub instance: String,
    frame_of_reference: String,
    rows: i64,
    columns: i64,
    number: i64,
    spacing: [f64; 2],
    /// Directions of rows and of columns.
    orientation: [f64; 6],
    position: [f64; 3],
}

impl Place {
    /// The place of an image of one frame; none where its header does not tell it in the patient.
    pub fn of(header: &Object) -> Option<Self> {
        if integer(header, tags::NUMBER_OF_FRAMES).is_some_and(|frames| frames != 1) {
            return None;
        }
        Some(Self {
            series: text(header, tags::SERIES_INSTANCE_UID)?,
            instance: text(header, tags::SOP_INSTANCE_UID)?,
            frame_of_reference: text(header, tags::FRAME_OF_REFERENCE_UID)?,
            rows: integer(header, tags::ROWS)?,
            columns: integer(header, tags::COLUMNS)?,
            number: integer(header, tags::INSTANCE_NUMBER).unwrap_or_default(),
            spacing: exactly(header, tags::PIXEL_SPACING)?,
            orientation: exactly(header, tags::IMAGE_ORIENTATION_PATIENT)?,
            position: exactly(header, tags::IMAGE_POSITION_PATIENT)?,
        })
    }

    /// Whether both can be slices of one stack: of the same series and size, and parallel.
    fn fits(&self, other: &Self) -> bool {
        let near =
            |a: &[f64], b: &[f64], most: f64| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= most);
        (&self.series, &self.frame_of_reference) == (&other.series, &other.frame_of_reference)
            && (self.rows, self.columns) == (other.rows, other.columns)
            && near(&self.spacing, &other.spacing, 1e-4)
            && near(&self.orientation, &other.orientation, 1e-3)
    }

    /// How far it lies along the direction across rows and columns.
    fn depth(&self) -> f64 {
        let [a, b, c, d, e, f] = self.orientation;
        let [x, y, z] = self.position;
        x * (b * f - c * e) + y * (c * d - a * f) + z * (a * e - b * d)
    }
}

fn exactly<const N: usize>(header: &InMemDicomObject, tag: dicom_core::Tag) -> Option<[f64; N]> {
    numbers(header, tag).try_into().ok()
}

/// Parallel slices of one series, sorted by where they lie.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    /// Which of the places given.
    pub slices: Vec<usize>,
    /// How far each lies along the direction across the slices, in mm, rising.
    pub depths: Vec<f64>,
}

/// Slices nearer than this lie at the same place, in mm.
const SAME: f64 = 0.01;
/// Distances that differ by no more than this share are even.
const EVEN: f64 = 0.01;
/// A distance of so many usual ones is a gap.
const GAP: f64 = 1.5;

/// The stacks that slices make up. Those of a series that are not parallel, or of another size, are
/// stacks of their own. Where several lie at the same place, as in phases, the first by its number
/// goes to one stack, the second to a further one.
pub fn stacks(places: &[Place]) -> Vec<Stack> {
    let mut alike: Vec<Vec<(usize, &Place)>> = Vec::new();
    for (at, place) in places.iter().enumerate() {
        let group =
            |group: &&mut Vec<(usize, &Place)>| group.first().is_some_and(|(_, p)| p.fits(place));
        match alike.iter_mut().find(group) {
            Some(group) => group.push((at, place)),
            None => alike.push(vec![(at, place)]),
        }
    }
    let mut found = Vec::new();
    for mut group in alike {
        group.sort_by(|(_, a), (_, b)| {
            let depths = a.depth().total_cmp(&b.depth());
            depths.then(a.number.cmp(&b.number))
        });
        let mut stacks: Vec<Stack> = Vec::new();
        for (at, place) in group {
            let depth = place.depth();
            let free = |stack: &&mut Stack| stack.depths.last().is_none_or(|d| depth - d > SAME);
            match stacks.iter_mut().find(free) {
                Some(stack) => {
                    stack.slices.push(at);
                    stack.depths.push(depth);
                }
                None => stacks.push(Stack {
                    slices: vec![at],
                    depths: vec![depth],
                }),
            }
        }
        found.append(&mut stacks);
    }
    found
}

impl Stack {
    /// Distances from each slice to the next in mm.
    fn distances(&self) -> impl Iterator<Item = f64> + '_ {
        self.depths
            .iter()
            .zip(self.depths.iter().skip(1))
            .map(|(a, b)| b - a)
    }

    /// The usual distance of slices in mm: the median; none for a single one.
    pub fn spacing(&self) -> Option<f64> {
        let mut all: Vec<f64> = self.distances().collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    }

    /// Whether all distances are the same.
    pub fn is_even(&self) -> bool {
        let usual = self.spacing().unwrap_or_default();
        self.distances().all(|d| (d - usual).abs() <= EVEN * usual)
    }

    /// Slices, counted from 0, behind which one or more seem to be missing, with the distance to the
    /// next in mm.
    pub fn gaps(&self) -> Vec<(usize, f64)> {
        let usual = self.spacing().unwrap_or_default();
        let wide = self.distances().enumerate();
        wide.filter(|(_, d)| *d > GAP * usual).collect()
    }

    /// The volume of an object with those areas on the slices: each slice stands for what lies
    /// nearer to it than to its neighbours, and the first and last for as much outwards. None for
    /// a single slice, whose thickness is not that of what it stands for.
    pub fn volume(&self, areas: &[f64]) -> Option<f64> {
        let distances: Vec<f64> = self.distances().collect();
        let (first, last) = (*distances.first()?, *distances.last()?);
        let before = std::iter::once(first).chain(distances.iter().copied());
        let behind = distances.iter().copied().chain([last]);
        let extents = before.zip(behind).map(|(a, b)| (a + b) / 2.0);
        Some(
            areas
                .iter()
                .zip(extents)
                .map(|(area, extent)| area * extent)
                .sum(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(depth: f64, number: i64) -> Place {
        Place {
            series: "1.2".to_owned(),
            instance: format!("1.2.{number}"),
            frame_of_reference: "1.3".to_owned(),
            rows: 4,
            columns: 5,
            number,
            spacing: [0.5, 0.5],
            // Sagittal: rows run to the back, columns downwards, slices from right to left.
            orientation: [0.0, 1.0, 0.0, 0.0, 0.0, -1.0],
            position: [-depth, 17.0, 4.0],
        }
    }

    #[test]
    fn slices_are_sorted_along_the_normal_and_gaps_told() {
        let places = [5.0, 0.0, 2.5, 12.5, 10.0].map(|depth| place(depth, 1));
        let [stack] = &stacks(&places)[..] else {
            panic!("one stack")
        };
        assert_eq!(stack.slices, [1, 2, 0, 4, 3]);
        assert_eq!(stack.spacing(), Some(2.5));
        assert_eq!(stack.gaps(), [(2, 5.0)]);
        assert!(!stack.is_even());
        let areas = [0.0, 10.0, 10.0, 10.0, 10.0];
        // 2.5 + 3.75 + 3.75 + 2.5 mm.
        assert_eq!(stack.volume(&areas), Some(125.0));
    }

    #[test]
    fn even_slices_count_with_their_distance() {
        let places: Vec<_> = (0..4).map(|i| place(f64::from(i) * 3.0, 1)).collect();
        let stack = &stacks(&places)[0];
        assert!(stack.is_even() && stack.gaps().is_empty());
        assert_eq!(stack.volume(&[1.0, 2.0, 3.0, 4.0]), Some(30.0));
        let single = &stacks(&places[..1])[0];
        assert_eq!((single.spacing(), single.volume(&[1.0])), (None, None));
    }

    #[test]
    fn a_ball_has_its_volume_with_even_and_with_mixed_distances() {
        let (radius, pi) = (24.0_f64, std::f64::consts::PI);
        let area = |depth: &f64| pi * (radius * radius - depth * depth).max(0.0);
        let even: Vec<f64> = (-20..=20).map(|i| f64::from(i) * 1.5).collect();
        // Every second slice of one half is missing.
        let mut mixed = even.clone();
        mixed.retain(|depth| *depth <= 0.0 || depth % 3.0 == 0.0);
        for depths in [even, mixed] {
            let places: Vec<_> = depths.iter().map(|depth| place(*depth, 1)).collect();
            let areas: Vec<f64> = depths.iter().map(area).collect();
            let volume = stacks(&places)[0].volume(&areas).unwrap();
            let known = 4.0 / 3.0 * pi * radius.powi(3);
            assert!(
                (volume / known - 1.0).abs() < 0.005,
                "{volume}, not {known}"
            );
        }
    }

    #[test]
    fn other_directions_and_places_taken_twice_make_further_stacks() {
        let mut places = vec![place(0.0, 3), place(1.0, 4), place(0.0, 1), place(1.0, 2)];
        let mut across = place(0.0, 5);
        across.orientation = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        places.push(across);
        let found: Vec<_> = stacks(&places).into_iter().map(|s| s.slices).collect();
        assert_eq!(found, [vec![2, 3], vec![0, 1], vec![4]]);
    }
}
