//! The image that findings are of: what objects derived from it carry over, and how they refer
//! to it.

use std::time::{SystemTime, UNIX_EPOCH};

use bedside_core::BoundingBox;
use dicom_core::chrono::{DateTime, NaiveDateTime};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::mem::InMemElement;
use dicom_object::{DefaultDicomObject, InMemDicomObject};

use super::element::{element, number, sequence};
use super::error::ObjectError;
use crate::read::header::{holder, numbers, text};
use crate::read::{Region, Scale, Spacing, SpacingAt, Unit, space};

/// Attributes of patient and study outside group 0010, which is the patient's as a whole
/// (PS3.3, C.7.1 and C.7.2), and what tells how text and times are to be read.
const CARRIED: [Tag; 37] = [
    tags::SPECIFIC_CHARACTER_SET,
    tags::TIMEZONE_OFFSET_FROM_UTC,
    tags::STUDY_INSTANCE_UID,
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::STUDY_ID,
    tags::STUDY_DESCRIPTION,
    tags::ACCESSION_NUMBER,
    tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::REFERRING_PHYSICIAN_IDENTIFICATION_SEQUENCE,
    tags::CONSULTING_PHYSICIAN_NAME,
    tags::PHYSICIANS_OF_RECORD,
    tags::PHYSICIANS_OF_RECORD_IDENTIFICATION_SEQUENCE,
    tags::NAME_OF_PHYSICIANS_READING_STUDY,
    tags::REQUESTING_SERVICE,
    tags::REFERENCED_STUDY_SEQUENCE,
    tags::REFERENCED_PATIENT_SEQUENCE,
    tags::PROCEDURE_CODE_SEQUENCE,
    tags::REASON_FOR_PERFORMED_PROCEDURE_CODE_SEQUENCE,
    tags::ADMITTING_DIAGNOSES_DESCRIPTION,
    tags::ADMITTING_DIAGNOSES_CODE_SEQUENCE,
    tags::ADMISSION_ID,
    tags::SERVICE_EPISODE_ID,
    tags::SERVICE_EPISODE_DESCRIPTION,
    tags::CLINICAL_TRIAL_SPONSOR_NAME,
    tags::CLINICAL_TRIAL_PROTOCOL_ID,
    tags::CLINICAL_TRIAL_PROTOCOL_NAME,
    tags::CLINICAL_TRIAL_SITE_ID,
    tags::CLINICAL_TRIAL_SITE_NAME,
    tags::CLINICAL_TRIAL_SUBJECT_ID,
    tags::CLINICAL_TRIAL_SUBJECT_READING_ID,
    tags::CLINICAL_TRIAL_TIME_POINT_ID,
    tags::CLINICAL_TRIAL_TIME_POINT_DESCRIPTION,
    tags::PATIENT_IDENTITY_REMOVED,
    tags::DEIDENTIFICATION_METHOD,
    tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE,
];

/// Attributes that must be there, if empty (type 2).
const NEEDED: [(Tag, VR); 9] = [
    (tags::PATIENT_NAME, VR::PN),
    (tags::PATIENT_ID, VR::LO),
    (tags::PATIENT_BIRTH_DATE, VR::DA),
    (tags::PATIENT_SEX, VR::CS),
    (tags::STUDY_DATE, VR::DA),
    (tags::STUDY_TIME, VR::TM),
    (tags::STUDY_ID, VR::SH),
    (tags::ACCESSION_NUMBER, VR::SH),
    (tags::REFERRING_PHYSICIAN_NAME, VR::PN),
];

/// Attributes that say that frames follow each other in time.
const CINE: [Tag; 4] = [
    tags::FRAME_TIME,
    tags::FRAME_TIME_VECTOR,
    tags::CINE_RATE,
    tags::RECOMMENDED_DISPLAY_FRAME_RATE,
];

/// Transfer syntaxes that always lose something; those that need not are taken at their word.
const LOSSY: [&str; 3] = [
    uids::JPEG_BASELINE8_BIT,
    uids::JPEG_EXTENDED12_BIT,
    uids::JPEGLS_NEAR_LOSSLESS,
];
/// What those of MPEG-2, H.264 and HEVC begin with.
const VIDEO: &str = "1.2.840.10008.1.2.4.10";

/// Where slices lie in the patient.
#[derive(Debug, Clone)]
pub(super) struct Geometry {
    pub(super) frame_of_reference: [InMemElement; 2],
    pub(super) measures: Vec<InMemElement>,
    pub(super) orientation: InMemElement,
    /// One for each frame.
    pub(super) positions: Vec<InMemElement>,
}

/// One image, of one or more frames, or several parallel slices of a series, of one frame each, that
/// segmentations and reports are made of.
#[derive(Debug, Clone)]
pub struct Source {
    /// SOP class and instance: of the image, or of each slice.
    instances: Vec<(String, String)>,
    pub(super) series: String,
    pub(super) study: String,
    /// Number in the series, of the image or of the first slice.
    number: Option<u32>,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) frames: u32,
    /// Frames follow each other in time.
    pub(super) cine: bool,
    pub(super) patient_orientation: InMemElement,
    pub(super) lossy: Vec<InMemElement>,
    pub(super) geometry: Option<Geometry>,
    carried: Vec<InMemElement>,
    /// Where it is one for the whole image.
    spacing: Option<Spacing>,
    regions: Vec<Region>,
}

impl Source {
    /// What derived objects need of an image. Its pixels are not looked at, and may be left out.
    ///
    /// # Errors
    /// [`ObjectError::Attribute`] where the image lacks what references to it or its size are
    /// made of.
    pub fn of(image: &DefaultDicomObject) -> Result<Self, ObjectError> {
        let uid = |tag, name| {
            let text = text(image, tag).filter(|text| is_uid(text));
            text.ok_or(ObjectError::Attribute(name))
        };
        let side = |tag, name| {
            let side = number(image, tag).filter(|n| (1..=u32::from(u16::MAX)).contains(n));
            side.ok_or(ObjectError::Attribute(name))
        };
        let frames = match image.get(tags::NUMBER_OF_FRAMES) {
            None => 1,
            Some(n) => {
                let n = n.to_int::<i32>().ok().filter(|n| *n > 0);
                n.ok_or(ObjectError::Attribute("Number of Frames"))? as u32
            }
        };
        let width = side(tags::COLUMNS, "Columns")?;
        let height = side(tags::ROWS, "Rows")?;
        let orientation = image.get(tags::PATIENT_ORIENTATION).cloned();
        Ok(Self {
            instances: vec![(
                uid(tags::SOP_CLASS_UID, "SOP Class UID")?,
                uid(tags::SOP_INSTANCE_UID, "SOP Instance UID")?,
            )],
            series: uid(tags::SERIES_INSTANCE_UID, "Series Instance UID")?,
            study: uid(tags::STUDY_INSTANCE_UID, "Study Instance UID")?,
            number: number(image, tags::INSTANCE_NUMBER),
            width,
            height,
            frames,
            cine: CINE.iter().any(|tag| image.get(*tag).is_some()),
            patient_orientation: orientation
                .unwrap_or_else(|| element(tags::PATIENT_ORIENTATION, VR::CS, ())),
            lossy: lossy(image),
            geometry: (frames == 1).then(|| geometry(image)).flatten(),
            carried: carried(image),
            spacing: spacing(image),
            regions: space::regions(image, width, height),
        })
    }

    /// SOP Instance UID of the image, or of the first slice.
    pub fn instance(&self) -> &str {
        self.instances.first().map_or("", |(_, instance)| instance)
    }

    /// Series Instance UID.
    pub fn series(&self) -> &str {
        &self.series
    }

    /// Number of the image, or of the first slice, in the series, where it tells.
    pub fn number(&self) -> Option<u32> {
        self.number
    }

    /// Parallel slices, each of which counts as a frame, in this order: those of a
    /// [`Stack`](crate::stack::Stack). `spacing` is the distance from each to the next in mm, where
    /// it is the same throughout. Patient and study are taken from the first.
    ///
    /// # Errors
    /// [`ObjectError::Attribute`] where a slice has no place in the patient,
    /// [`ObjectError::Mismatch`] where they are not of one series and size, or there is none.
    pub fn stack(
        slices: impl IntoIterator<Item = Self>,
        spacing: Option<f64>,
    ) -> Result<Self, ObjectError> {
        let mut slices = slices.into_iter();
        let first = slices.next();
        let mut all = first.ok_or(ObjectError::Mismatch("a stack without slices"))?;
        let place = || ObjectError::Attribute("Image Position (Patient)");
        let mut geometry = all.geometry.take().ok_or_else(place)?;
        for slice in slices {
            let own = (&slice.series, slice.width, slice.height);
            if own != (&all.series, all.width, all.height) {
                return Err(ObjectError::Mismatch(
                    "slices are of different series or sizes",
                ));
            }
            let position = slice.geometry.ok_or_else(place)?.positions;
            geometry.positions.extend(position);
            all.instances.extend(slice.instances);
            // What is lossy says more.
            if all.lossy.len() < slice.lossy.len() {
                all.lossy = slice.lossy;
            }
        }
        if let Some(spacing) = spacing {
            let spacing = format!("{spacing:.6}");
            let spacing = element(tags::SPACING_BETWEEN_SLICES, VR::DS, spacing);
            geometry.measures.push(spacing);
        }
        all.frames = all.instances.len() as u32;
        all.geometry = Some(geometry);
        Ok(all)
    }

    /// Whether its frames are slices.
    pub(super) fn is_stack(&self) -> bool {
        self.instances.len() > 1
    }

    /// Width of the frames in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height of the frames in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Number of frames.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// The size of pixels within a box, from Pixel Spacing or the ultrasound region that the box
    /// lies in; `None` where the image does not tell, the box lies across regions of different
    /// scales, or their axes are not lengths (a Doppler trace).
    ///
    /// Imager Pixel Spacing is not used: it is at the detector, and tells no size of what is in
    /// the patient.
    pub fn spacing(&self, within: BoundingBox) -> Option<Spacing> {
        if self.spacing.is_some() || self.regions.is_empty() {
            return self.spacing;
        }
        let right = within.x.checked_add(within.width)?.checked_sub(1)?;
        let bottom = within.y.checked_add(within.height)?.checked_sub(1)?;
        let meets = |r: &&Region| {
            r.left <= right && within.x <= r.right && r.top <= bottom && within.y <= r.bottom
        };
        let holds = |r: &Region| {
            r.left <= within.x && right <= r.right && r.top <= within.y && bottom <= r.bottom
        };
        // One region may lie in another, as that of flow in that of tissue.
        let met: Vec<_> = self.regions.iter().filter(meets).collect();
        let spacing = region_spacing(met.iter().find(|r| holds(r))?)?;
        let agreed = met.iter().all(|r| region_spacing(r) == Some(spacing));
        agreed.then_some(spacing)
    }

    /// Now, in the image's own time zone where it tells one, else in UTC: what
    /// [`Context::now`](super::Context::now) asks for.
    pub fn now(&self) -> NaiveDateTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = since.map_or(0, |since| since.as_secs());
        let here = i64::try_from(seconds).unwrap_or(0) + self.offset().unwrap_or(0);
        DateTime::from_timestamp(here, 0).map_or_else(NaiveDateTime::default, |d| d.naive_utc())
    }

    /// Seconds that the image's time zone is ahead of UTC, from `+HHMM`.
    fn offset(&self) -> Option<i64> {
        let tag = tags::TIMEZONE_OFFSET_FROM_UTC;
        let offset = self.carried.iter().find(|e| e.header().tag == tag)?;
        let offset = offset.to_str().ok()?;
        let (sign, digits) = offset.trim().split_at_checked(1)?;
        let digits: i64 = digits.parse().ok().filter(|d| (0..=1400).contains(d))?;
        let seconds = digits / 100 * 3600 + digits % 100 * 60;
        match sign {
            "+" => Some(seconds),
            "-" => Some(-seconds),
            _ => None,
        }
    }

    /// Attributes of patient and study.
    pub(super) fn carried(&self) -> impl Iterator<Item = InMemElement> + '_ {
        self.carried.iter().cloned()
    }

    /// `text` as the source's character set can hold it: other sets than Unicode are trusted
    /// with ASCII alone. Control characters and the backslash, which separates values, are out.
    pub(super) fn writable(&self, text: &str, most: usize) -> String {
        let set = self
            .carried
            .iter()
            .find(|e| e.header().tag == tags::SPECIFIC_CHARACTER_SET);
        let set = set.and_then(|e| e.to_str().ok());
        let unicode = set.is_some_and(|set| set.trim() == "ISO_IR 192");
        let text = bedside_core::text::one_line(text);
        let held = |c: char| c != '\\' && (unicode || c.is_ascii());
        text.chars()
            .map(|c| if held(c) { c } else { '?' })
            .take(most)
            .collect()
    }

    /// What refers to a frame, counted from 1: an item of Referenced SOP Sequence and its kin.
    pub(super) fn frame_reference(&self, frame: u32) -> InMemDicomObject {
        let slice = if self.is_stack() { frame as usize } else { 1 };
        let instance = self.instances.get(slice.saturating_sub(1));
        let mut item = instance.map_or_else(InMemDicomObject::new_empty, |(c, i)| reference(c, i));
        if self.frames > 1 && !self.is_stack() {
            item.put(element(
                tags::REFERENCED_FRAME_NUMBER,
                VR::IS,
                frame.to_string(),
            ));
        }
        item
    }

    /// What refers to the image as a whole, or to each slice.
    pub(super) fn references(&self) -> Vec<InMemDicomObject> {
        let item = |(class, instance): &(String, String)| reference(class, instance);
        self.instances.iter().map(item).collect()
    }
}

/// An item that refers to an instance.
pub(super) fn reference(class: &str, instance: &str) -> InMemDicomObject {
    InMemDicomObject::from_element_iter([
        element(tags::REFERENCED_SOP_CLASS_UID, VR::UI, class),
        element(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, instance),
    ])
}

/// Whether a text is a UID: numbers between dots, at most 64 characters.
fn is_uid(text: &str) -> bool {
    let component = |c: &str| !c.is_empty() && c.bytes().all(|b| b.is_ascii_digit());
    text.len() <= 64 && text.split('.').all(component)
}

fn carried(image: &InMemDicomObject) -> Vec<InMemElement> {
    let wanted = |tag: Tag| tag.group() == 0x0010 || CARRIED.contains(&tag);
    let mut carried: Vec<_> = image
        .iter()
        .filter(|e| wanted(e.header().tag))
        .cloned()
        .collect();
    for (tag, vr) in NEEDED {
        if image.get(tag).is_none() {
            carried.push(element(tag, vr, ()));
        }
    }
    carried
}

/// What was lost once stays lost.
fn lossy(image: &DefaultDicomObject) -> Vec<InMemElement> {
    let syntax = image.meta().transfer_syntax().trim_end_matches('\0');
    let said = text(image, tags::LOSSY_IMAGE_COMPRESSION);
    let loses = LOSSY.contains(&syntax) || syntax.starts_with(VIDEO);
    if said.as_deref() != Some("01") && !loses {
        return vec![element(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00")];
    }
    let mut lossy = vec![element(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "01")];
    let how = [
        tags::LOSSY_IMAGE_COMPRESSION_RATIO,
        tags::LOSSY_IMAGE_COMPRESSION_METHOD,
    ];
    lossy.extend(how.into_iter().filter_map(|tag| image.get(tag)).cloned());
    lossy
}

fn spacing(image: &InMemDicomObject) -> Option<Spacing> {
    match *numbers(holder(image, tags::PIXEL_SPACING)?, tags::PIXEL_SPACING) {
        // Between rows first.
        [y, x] => spacing_of(x, y),
        _ => None,
    }
}

fn region_spacing(region: &Region) -> Option<Spacing> {
    let millimetres =
        |scale: Scale| (scale.unit == Unit::Centimetre).then_some(10.0 * scale.per_pixel.abs());
    spacing_of(millimetres(region.x)?, millimetres(region.y)?)
}

fn spacing_of(x: f64, y: f64) -> Option<Spacing> {
    let at = SpacingAt::Patient;
    (x > 0.0 && y > 0.0).then_some(Spacing { x, y, at })
}

fn geometry(image: &InMemDicomObject) -> Option<Geometry> {
    let exact = |tag, n| {
        let element = image.get(tag).filter(|_| numbers(image, tag).len() == n);
        element.cloned()
    };
    let uid = text(image, tags::FRAME_OF_REFERENCE_UID).filter(|uid| is_uid(uid))?;
    let indicator = image.get(tags::POSITION_REFERENCE_INDICATOR).cloned();
    spacing(image)?;
    let mut measures = vec![exact(tags::PIXEL_SPACING, 2)?];
    measures.extend(exact(tags::SLICE_THICKNESS, 1));
    Some(Geometry {
        frame_of_reference: [
            element(tags::FRAME_OF_REFERENCE_UID, VR::UI, uid),
            indicator.unwrap_or_else(|| element(tags::POSITION_REFERENCE_INDICATOR, VR::LO, ())),
        ],
        measures,
        orientation: exact(tags::IMAGE_ORIENTATION_PATIENT, 6)?,
        positions: vec![exact(tags::IMAGE_POSITION_PATIENT, 3)?],
    })
}

/// An item of Referenced Series Sequence.
pub(super) fn referenced_series(
    series: &str,
    of: Tag,
    instances: Vec<InMemDicomObject>,
) -> InMemDicomObject {
    InMemDicomObject::from_element_iter([
        element(tags::SERIES_INSTANCE_UID, VR::UI, series),
        sequence(of, instances),
    ])
}
