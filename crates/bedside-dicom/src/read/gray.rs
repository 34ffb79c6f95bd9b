//! Stored gray values as 8-bit gray: modality LUT, then the file's own contrast, else the rule that
//! BiomedParse's training data were made by.

use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use bedside_core::Modality;

use super::header::{descriptor, first_text, holder, items, numbers, words};
use super::stored::{Photometric, Stored};

/// Gray values of a file.
pub(crate) struct Gray {
    /// What each stored value means, in the modality's units, such as Hounsfield units.
    values: Vec<f64>,
    contrast: Contrast,
    inverted: bool,
}

enum Contrast {
    /// The same for all frames: the gray of each stored value.
    Fixed(Vec<u8>),
    /// Each frame's values clipped to these, then stretched.
    Clip(f64, f64),
    /// Each frame's values clipped to percentiles of those above zero, then stretched.
    Percentiles,
}

/// Which of the values above zero the rule clips to.
const PERCENTILES: (f64, f64) = (0.005, 0.995);

/// Hounsfield units that CT is clipped to, by site; abdomen where none is known.
const SITES: [(&str, f64, f64); 7] = [
    ("abdomen", -150.0, 250.0),
    ("lung", -1000.0, 1000.0),
    ("chest", -1000.0, 1000.0),
    ("pelvis", -55.0, 200.0),
    ("liver", -25.0, 230.0),
    ("colon", -68.0, 187.0),
    ("pancreas", -100.0, 200.0),
];

impl Gray {
    pub(crate) fn of(
        header: &InMemDicomObject,
        stored: &Stored,
        modality: Option<Modality>,
        site: Option<&str>,
    ) -> Self {
        let (values, plain) = modality_values(header, stored);
        let range = (2.0_f64).powi(stored.bits as i32) - 1.0;
        let contrast = if let Some(window) = window(header) {
            Contrast::Fixed(values.iter().map(|v| window.gray(*v)).collect())
        } else if let Some(lut) = voi_lut(header, stored) {
            Contrast::Fixed(values.iter().map(|v| lut.gray(*v)).collect())
        } else if modality == Some(Modality::Ct) {
            let site = SITES.iter().find(|entry| Some(entry.0) == site);
            let (_, low, high) = site.unwrap_or(&SITES[0]);
            Contrast::Clip(*low, *high)
        } else if stored.bits <= 8 && !stored.signed && plain {
            // Pictures as people look at them, such as video: not to be stretched.
            Contrast::Fixed(values.iter().map(|v| to_u8(v / range)).collect())
        } else {
            Contrast::Percentiles
        };
        Self {
            values,
            contrast,
            inverted: stored.photometric == Photometric::Monochrome1,
        }
    }

    /// A frame's stored values in the modality's units, row by row.
    pub(crate) fn values(&self, stored: impl Iterator<Item = u16>) -> Vec<f32> {
        let value = |index: u16| {
            self.values
                .get(usize::from(index))
                .map_or(0.0, |v| *v as f32)
        };
        stored.map(value).collect()
    }

    /// A frame's stored values as gray, row by row.
    pub(crate) fn render(&self, stored: impl Iterator<Item = u16> + Clone) -> Vec<u8> {
        let stretched;
        let table = match &self.contrast {
            Contrast::Fixed(table) => table,
            Contrast::Clip(low, high) => {
                stretched = self.stretched(&self.seen(stored.clone()), *low, *high);
                &stretched
            }
            Contrast::Percentiles => {
                let seen = self.seen(stored.clone());
                let above: Vec<_> = seen
                    .iter()
                    .copied()
                    .filter(|(value, _)| *value > 0.0)
                    .collect();
                let clip = |part| percentile(&above, part);
                let (low, high) = clip(PERCENTILES.0)
                    .zip(clip(PERCENTILES.1))
                    .unwrap_or((f64::MIN, f64::MAX));
                stretched = self.stretched(&seen, low, high);
                &stretched
            }
        };
        let gray = |index: u16| table.get(usize::from(index)).copied().unwrap_or_default();
        let flip = if self.inverted { 255 } else { 0 };
        stored.map(|index| gray(index) ^ flip).collect()
    }

    /// The values of a frame in rising order, with how many pixels have each.
    fn seen(&self, stored: impl Iterator<Item = u16>) -> Vec<(f64, u64)> {
        let mut counts = vec![0_u64; self.values.len()];
        for index in stored {
            if let Some(count) = counts.get_mut(usize::from(index)) {
                *count += 1;
            }
        }
        let seen = self.values.iter().copied().zip(counts);
        let mut seen: Vec<_> = seen.filter(|(_, count)| *count > 0).collect();
        seen.sort_by(|a, b| a.0.total_cmp(&b.0));
        seen
    }

    /// The gray of each stored value, clipped and then stretched from the least to the greatest
    /// that is seen; cut off as the training data were, not rounded.
    fn stretched(&self, seen: &[(f64, u64)], low: f64, high: f64) -> Vec<u8> {
        let clip = |v: f64| v.max(low).min(high);
        let ends = seen.first().zip(seen.last());
        let (least, most) = ends.map_or((0.0, 0.0), |(a, b)| (clip(a.0), clip(b.0)));
        let span = most - least;
        let gray = |v: &f64| match span > 0.0 {
            true => ((clip(*v) - least) / span * 255.0) as u8,
            false => 0,
        };
        self.values.iter().map(gray).collect()
    }
}

/// The value below which `part` of all lie, between two neighbours in proportion, as NumPy has it.
fn percentile(seen: &[(f64, u64)], part: f64) -> Option<f64> {
    let count: u64 = seen.iter().map(|(_, count)| count).sum();
    let place = part * (count.checked_sub(1)? as f64);
    let at = |rank: u64| {
        let mut before = 0;
        let found = seen.iter().find(|(_, count)| {
            before += count;
            rank < before
        });
        found.map(|(value, _)| *value)
    };
    let (below, above) = (at(place as u64)?, at(place.ceil() as u64)?);
    Some(below + (above - below) * place.fract())
}

fn to_u8(part: f64) -> u8 {
    (part * 255.0 + 0.5) as u8
}

/// What each stored value means, and whether that is itself.
fn modality_values(header: &InMemDicomObject, stored: &Stored) -> (Vec<f64>, bool) {
    let count = 1_i32 << stored.bits;
    let plain = (0..count).map(|v| {
        if stored.signed && v >= count / 2 {
            v - count
        } else {
            v
        }
    });
    let lut = items(header, tags::MODALITY_LUT_SEQUENCE).first();
    if let Some(lut) = lut.and_then(|item| Lut::of(item, stored.signed)) {
        return (plain.map(|v| lut.at(v)).collect(), false);
    }
    let holder = holder(header, tags::RESCALE_SLOPE).unwrap_or(header);
    let number = |tag| numbers(holder, tag).first().copied();
    let slope = number(tags::RESCALE_SLOPE)
        .filter(|slope| *slope != 0.0)
        .unwrap_or(1.0);
    let intercept = number(tags::RESCALE_INTERCEPT).unwrap_or(0.0);
    let same = (slope, intercept) == (1.0, 0.0);
    (
        plain.map(|v| f64::from(v) * slope + intercept).collect(),
        same,
    )
}

/// A table from whole numbers to others.
struct Lut {
    first: i32,
    data: Vec<u16>,
    most: f64,
}

impl Lut {
    fn of(item: &InMemDicomObject, signed: bool) -> Option<Self> {
        let (entries, first, bits) = descriptor(item, tags::LUT_DESCRIPTOR, signed)?;
        let mut data = words(item, tags::LUT_DATA)?;
        data.truncate(entries);
        let most = (2.0_f64).powi(bits as i32) - 1.0;
        (data.len() == entries).then_some(Self { first, data, most })
    }

    /// Beyond its ends a table goes on with their values.
    fn at(&self, value: i32) -> f64 {
        let index = usize::try_from(value.saturating_sub(self.first)).unwrap_or(0);
        let entry = self.data.get(index).or(self.data.last());
        entry.copied().unwrap_or_default().into()
    }

    fn gray(&self, value: f64) -> u8 {
        to_u8(self.at(value as i32) / self.most)
    }
}

fn voi_lut(header: &InMemDicomObject, stored: &Stored) -> Option<Lut> {
    let item = items(header, tags::VOILUT_SEQUENCE).first()?;
    Lut::of(item, stored.signed)
}

/// A window as PS3.3 C.11.2.1.2 has it.
struct Window {
    centre: f64,
    width: f64,
    function: Function,
}

enum Function {
    Linear,
    LinearExact,
    Sigmoid,
}

impl Window {
    fn gray(&self, value: f64) -> u8 {
        let part = match self.function {
            // Of width one, it is a step.
            Function::Linear if self.width <= 1.0 => f64::from(value > self.centre - 0.5),
            Function::Linear => (value - (self.centre - 0.5)) / (self.width - 1.0) + 0.5,
            Function::LinearExact => (value - self.centre) / self.width + 0.5,
            Function::Sigmoid => 1.0 / (1.0 + (-4.0 * (value - self.centre) / self.width).exp()),
        };
        to_u8(part)
    }
}

/// The first window, where it is one.
fn window(header: &InMemDicomObject) -> Option<Window> {
    let holder = holder(header, tags::WINDOW_CENTER)?;
    let number = |tag| numbers(holder, tag).first().copied();
    let (centre, width) = number(tags::WINDOW_CENTER).zip(number(tags::WINDOW_WIDTH))?;
    let function = match first_text(holder, tags::VOILUT_FUNCTION).as_deref() {
        Some("SIGMOID") => Function::Sigmoid,
        Some("LINEAR_EXACT") => Function::LinearExact,
        _ => Function::Linear,
    };
    (width > 0.0).then_some(Window {
        centre,
        width,
        function,
    })
}
