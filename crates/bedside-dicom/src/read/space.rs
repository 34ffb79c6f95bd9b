//! Where and how large things are in a picture.

use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::header::{holder, integer, items, number, numbers};

/// Size of a pixel in mm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spacing {
    /// From one column to the next.
    pub x: f64,
    /// From one row to the next.
    pub y: f64,
    /// Where these lengths are measured.
    pub at: SpacingAt,
}

/// Where a [`Spacing`] is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpacingAt {
    /// In the patient: `PixelSpacing`, or an ultrasound region that fills its frame's only
    /// two-dimensional picture.
    Patient,
    /// At the detector of an X-ray machine, larger than in the patient: `ImagerPixelSpacing`.
    Detector,
}

/// A part of an ultrasound picture with scales of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Region {
    /// First column.
    pub left: u32,
    /// First row.
    pub top: u32,
    /// Last column, within the frame.
    pub right: u32,
    /// Last row, within the frame.
    pub bottom: u32,
    /// What it shows.
    pub format: RegionFormat,
    /// Whether what it shows is tissue or colour flow, and not such as a trace.
    pub tissue: bool,
    /// Scale along rows of pixels.
    pub x: Scale,
    /// Scale along columns of pixels.
    pub y: Scale,
}

/// What a [`Region`] shows: PS3.3 C.8.5.5.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegionFormat {
    /// Tissue or flow in two dimensions.
    TwoD,
    /// Motion over time.
    MMode,
    /// Velocities or frequencies over time.
    Spectral,
    /// Such as an ECG.
    Waveform,
    /// Drawn, such as a scale of colours.
    Graphics,
    /// None of these.
    Other,
}

/// What a pixel measures along one direction of a [`Region`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// Unit of the quantity.
    pub unit: Unit,
    /// How much of it one pixel is; negative where it falls from left to right or downwards.
    pub per_pixel: f64,
}

/// Physical units of ultrasound regions: PS3.3 C.8.5.5.1.15.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names say it")]
pub enum Unit {
    None,
    Percent,
    Decibel,
    Centimetre,
    Second,
    Hertz,
    DecibelPerSecond,
    CentimetrePerSecond,
    SquareCentimetre,
    SquareCentimetrePerSecond,
    CubicCentimetre,
    CubicCentimetrePerSecond,
    Degree,
}

impl Unit {
    fn of(code: i64) -> Self {
        match code {
            1 => Self::Percent,
            2 => Self::Decibel,
            3 => Self::Centimetre,
            4 => Self::Second,
            5 => Self::Hertz,
            6 => Self::DecibelPerSecond,
            7 => Self::CentimetrePerSecond,
            8 => Self::SquareCentimetre,
            9 => Self::SquareCentimetrePerSecond,
            10 => Self::CubicCentimetre,
            11 => Self::CubicCentimetrePerSecond,
            12 => Self::Degree,
            _ => Self::None,
        }
    }
}

/// The regions of a frame of this size, those that lie in it. One that does not was written for a
/// picture that has been scaled or cut since: neither its place nor its scales hold.
pub(crate) fn regions(header: &InMemDicomObject, width: u32, height: u32) -> Vec<Region> {
    let all = items(header, tags::SEQUENCE_OF_ULTRASOUND_REGIONS);
    all.iter()
        .filter_map(|item| region(item, width, height))
        .collect()
}

fn region(item: &InMemDicomObject, width: u32, height: u32) -> Option<Region> {
    let place = |tag| integer(item, tag).and_then(|v| u32::try_from(v).ok());
    let scale = |unit, delta| Scale {
        unit: Unit::of(integer(item, unit).unwrap_or_default()),
        per_pixel: number(item, delta).unwrap_or_default(),
    };
    // Some devices give the first column and row behind the region as its last.
    let last = |tag, side: u32| {
        let last = place(tag).filter(|last| *last <= side)?;
        Some(last.min(side.saturating_sub(1)))
    };
    let region = Region {
        left: place(tags::REGION_LOCATION_MIN_X0)?,
        top: place(tags::REGION_LOCATION_MIN_Y0)?,
        right: last(tags::REGION_LOCATION_MAX_X1, width)?,
        bottom: last(tags::REGION_LOCATION_MAX_Y1, height)?,
        format: match integer(item, tags::REGION_SPATIAL_FORMAT) {
            Some(1) => RegionFormat::TwoD,
            Some(2) => RegionFormat::MMode,
            Some(3) => RegionFormat::Spectral,
            Some(4) => RegionFormat::Waveform,
            Some(5) => RegionFormat::Graphics,
            _ => RegionFormat::Other,
        },
        tissue: matches!(integer(item, tags::REGION_DATA_TYPE), Some(1 | 2)),
        x: scale(tags::PHYSICAL_UNITS_X_DIRECTION, tags::PHYSICAL_DELTA_X),
        y: scale(tags::PHYSICAL_UNITS_Y_DIRECTION, tags::PHYSICAL_DELTA_Y),
    };
    (region.left <= region.right && region.top <= region.bottom).then_some(region)
}

/// The size of a pixel, where the header tells one for the whole picture.
pub(crate) fn spacing(header: &InMemDicomObject, regions: &[Region]) -> Option<Spacing> {
    let told = |tag, at| match *numbers(holder(header, tag)?, tag) {
        // Between rows first.
        [y, x, ..] => spacing_of(x, y, at),
        _ => None,
    };
    let in_regions = || {
        let mut pictures = regions
            .iter()
            .filter(|region| region.format == RegionFormat::TwoD);
        let (first, more) = (pictures.next()?, pictures);
        let scales = |r: &Region| {
            let length = r.x.unit == Unit::Centimetre && r.y.unit == Unit::Centimetre;
            length.then_some((r.x.per_pixel.abs(), r.y.per_pixel.abs()))
        };
        let (x, y) = scales(first)?;
        let mut more = more.map(scales);
        let one = more.all(|other| other == Some((x, y)));
        one.then(|| spacing_of(10.0 * x, 10.0 * y, SpacingAt::Patient))?
    };
    told(tags::PIXEL_SPACING, SpacingAt::Patient)
        .or_else(in_regions)
        .or_else(|| told(tags::IMAGER_PIXEL_SPACING, SpacingAt::Detector))
}

fn spacing_of(x: f64, y: f64, at: SpacingAt) -> Option<Spacing> {
    (x > 0.0 && y > 0.0).then_some(Spacing { x, y, at })
}
