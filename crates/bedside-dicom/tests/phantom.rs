//! Images without pixels, and masks by formula, which the tests here and the reader in Python
//! both know.

use bedside_core::Mask;
use dicom_core::{PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::mem::InMemElement;
use dicom_object::{DefaultDicomObject, FileMetaTableBuilder, InMemDicomObject};

use bedside_dicom::write::{Beat, Context, Extreme, Origin, Series, Source, Ventricle, new_uid};

fn element(tag: Tag, vr: VR, value: impl Into<PrimitiveValue>) -> InMemElement {
    InMemElement::new(tag, vr, value.into())
}

/// An ultrasound image or clip of that size, without its pixels.
pub(crate) fn image(width: u16, height: u16, frames: u32) -> InMemDicomObject {
    let class = match frames {
        1 => uids::ULTRASOUND_IMAGE_STORAGE,
        _ => uids::ULTRASOUND_MULTI_FRAME_IMAGE_STORAGE,
    };
    let mut image = InMemDicomObject::from_element_iter([
        element(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100"),
        element(tags::SOP_CLASS_UID, VR::UI, class),
        element(tags::SOP_INSTANCE_UID, VR::UI, new_uid().unwrap()),
        element(tags::STUDY_INSTANCE_UID, VR::UI, new_uid().unwrap()),
        element(tags::SERIES_INSTANCE_UID, VR::UI, new_uid().unwrap()),
        element(tags::MODALITY, VR::CS, "US"),
        element(tags::PATIENT_NAME, VR::PN, "Grün^Änne"),
        element(tags::PATIENT_ID, VR::LO, "P 1"),
        element(tags::PATIENT_BIRTH_DATE, VR::DA, "19700102"),
        element(tags::PATIENT_SEX, VR::CS, "F"),
        element(tags::PATIENT_AGE, VR::AS, "056Y"),
        element(tags::STUDY_DATE, VR::DA, "20260102"),
        element(tags::STUDY_TIME, VR::TM, "101112"),
        element(tags::STUDY_ID, VR::SH, "S1"),
        element(tags::STUDY_DESCRIPTION, VR::LO, "Schilddrüse"),
        element(tags::ACCESSION_NUMBER, VR::SH, "A1"),
        element(tags::REFERRING_PHYSICIAN_NAME, VR::PN, "Weiß^Dora"),
        element(tags::ROWS, VR::US, height),
        element(tags::COLUMNS, VR::US, width),
    ]);
    if frames > 1 {
        image.put(element(tags::NUMBER_OF_FRAMES, VR::IS, frames.to_string()));
        image.put(element(tags::FRAME_TIME, VR::DS, "33.3"));
    }
    image
}

/// The same with a place in the patient, as a slice of CT has it.
pub(crate) fn slice(width: u16, height: u16) -> InMemDicomObject {
    let mut image = image(width, height, 1);
    let reals =
        |values: &[&str]| PrimitiveValue::Strs(values.iter().map(|v| (*v).to_owned()).collect());
    for element in [
        element(tags::SOP_CLASS_UID, VR::UI, uids::CT_IMAGE_STORAGE),
        element(tags::MODALITY, VR::CS, "CT"),
        element(tags::FRAME_OF_REFERENCE_UID, VR::UI, new_uid().unwrap()),
        element(tags::POSITION_REFERENCE_INDICATOR, VR::LO, ()),
        element(tags::PIXEL_SPACING, VR::DS, reals(&["0.5", "0.25"])),
        element(tags::SLICE_THICKNESS, VR::DS, "2.5"),
        element(
            tags::IMAGE_ORIENTATION_PATIENT,
            VR::DS,
            reals(&["1", "0", "0", "0", "1", "0"]),
        ),
        element(
            tags::IMAGE_POSITION_PATIENT,
            VR::DS,
            reals(&["-10.5", "3", "7.25"]),
        ),
    ] {
        image.put(element);
    }
    image
}

/// So many slices of one series, 2.5 mm apart.
pub(crate) fn slices(width: u16, height: u16, count: u32) -> Vec<DefaultDicomObject> {
    let first = slice(width, height);
    let one = |number: u32| {
        let mut image = first.clone();
        image.put(element(tags::SOP_INSTANCE_UID, VR::UI, new_uid().unwrap()));
        image.put(element(tags::INSTANCE_NUMBER, VR::IS, number.to_string()));
        let depth = 7.25 + 2.5 * f64::from(number);
        let position = ["-10.5".to_owned(), "3".to_owned(), depth.to_string()];
        let position = PrimitiveValue::Strs(position.into_iter().collect());
        image.put(element(tags::IMAGE_POSITION_PATIENT, VR::DS, position));
        file(image)
    };
    (0..count).map(one).collect()
}

/// An object as its file would be read.
pub(crate) fn file(image: InMemDicomObject) -> DefaultDicomObject {
    let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    image.with_meta(meta).unwrap()
}

/// A level for each pixel of a segment and frame, both from 1; every third frame is empty.
pub(crate) fn levels(width: u32, height: u32, segment: u16, frame: u32) -> Vec<u8> {
    let level = |i: u32| {
        let h = i
            .wrapping_add(1_000_003 * u32::from(segment))
            .wrapping_add(7919 * frame);
        (h.wrapping_mul(2_654_435_761) >> 24) as u8
    };
    let empty = (u32::from(segment) + frame).is_multiple_of(3);
    (0..width * height)
        .map(|i| if empty { 0 } else { level(i) })
        .collect()
}

/// The pixels whose level is at least 100.
pub(crate) fn mask(width: u32, height: u32, segment: u16, frame: u32) -> Mask {
    let levels = levels(width, height, segment, frame);
    let set = levels.into_iter().map(|level| u8::from(level >= 100));
    Mask::from_bytes(width, height, set.collect()).unwrap()
}

/// Two beats of the first segment of a clip, and their mean; none of fewer than four frames.
pub(crate) fn ventricle(source: &Source) -> Option<Ventricle> {
    let at = |frame, volume| Extreme { frame, volume };
    let beats = [
        (at(1, Some(120.5)), at(2, Some(48.25)), Some(0.625)),
        (at(3, None), at(4, None), Some(0.5)),
    ];
    let beat = |(diastole, systole, ejection_fraction)| Beat {
        diastole,
        systole,
        ejection_fraction,
    };
    (source.frames() >= 4).then(|| Ventricle {
        segment: 1,
        beats: beats.map(beat).to_vec(),
        mean_ejection_fraction: Some(0.5625),
    })
}

pub(crate) fn origin() -> Origin {
    Origin {
        manufacturer: "bedside".to_owned(),
        model_name: "bedside".to_owned(),
        serial_number: "0001".to_owned(),
        software_version: "0.1.0".to_owned(),
        bundle: "edge".to_owned(),
        bundle_version: "0.2.0".to_owned(),
        bundle_hash: format!("sha256:{}", "0123456789abcdef".repeat(4)),
    }
}

pub(crate) fn context<'a>(
    source: &'a Source,
    origin: &'a Origin,
    series: &'a Series,
) -> Context<'a> {
    let day = dicom_core::chrono::NaiveDate::from_ymd_opt(2026, 1, 2).unwrap();
    let now = day.and_hms_milli_opt(11, 12, 13, 140).unwrap();
    Context {
        source,
        origin,
        series,
        number: 1,
        now,
    }
}
