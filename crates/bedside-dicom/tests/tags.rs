//! What headers say.

use bedside_core::{Modality, Timestamp};
use bedside_dicom::Dicom;
use bedside_dicom::read::{RegionFormat, SpacingAt, Unit};
use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

use crate::region;

/// A gray file of three frames of 4 x 2 pixels with these elements besides.
fn opened(more: Vec<DataElement<InMemDicomObject>>) -> Dicom {
    let number = |value: u16| PrimitiveValue::from(value);
    let mut object = InMemDicomObject::from_element_iter([
        DataElement::new(
            tags::SOP_CLASS_UID,
            VR::UI,
            uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
        ),
        DataElement::new(tags::SOP_INSTANCE_UID, VR::UI, "2.25.1"),
        DataElement::new(tags::PATIENT_NAME, VR::PN, "ZZNAME"),
        DataElement::new(tags::SAMPLES_PER_PIXEL, VR::US, number(1)),
        DataElement::new(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        DataElement::new(tags::NUMBER_OF_FRAMES, VR::IS, "3"),
        DataElement::new(tags::ROWS, VR::US, number(2)),
        DataElement::new(tags::COLUMNS, VR::US, number(4)),
        DataElement::new(tags::BITS_ALLOCATED, VR::US, number(8)),
        DataElement::new(tags::BITS_STORED, VR::US, number(8)),
        DataElement::new(tags::HIGH_BIT, VR::US, number(7)),
        DataElement::new(tags::PIXEL_REPRESENTATION, VR::US, number(0)),
        DataElement::new(
            tags::PIXEL_DATA,
            VR::OB,
            PrimitiveValue::from((0..24).collect::<Vec<u8>>()),
        ),
    ]);
    for element in more {
        object.put(element);
    }
    let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    let mut bytes = Vec::new();
    object
        .with_meta(meta)
        .unwrap()
        .write_all(&mut bytes)
        .unwrap();
    Dicom::from_bytes(bytes).unwrap()
}

fn text(tag: dicom_core::Tag, vr: VR, value: &str) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, vr, value)
}

#[test]
fn kind_and_site_are_in_the_words_of_prompts() {
    for (modality, part, expected) in [
        ("US", "BREAST", (Some(Modality::Ultrasound), Some("breast"))),
        ("US", "HEART", (Some(Modality::Ultrasound), Some("heart"))),
        ("US", "NECK", (Some(Modality::Ultrasound), Some("neck"))),
        ("ES", "COLON", (Some(Modality::Endoscopy), Some("colon"))),
        ("CT", "ABDOMENPELVIS", (Some(Modality::Ct), Some("pelvis"))),
        ("CT", "KIDNEY", (Some(Modality::Ct), Some("abdomen"))),
        ("MR", "HEAD", (Some(Modality::Mri), Some("brain"))),
        ("DX", "CHEST", (Some(Modality::XRay), Some("chest"))),
        ("CR", "HAND", (Some(Modality::XRay), None)),
        ("OP", "", (Some(Modality::Fundus), Some("retinal"))),
        ("XC", "SKIN", (Some(Modality::Dermoscopy), Some("skin"))),
        ("XC", "HAND", (None, None)),
        ("OT", "BREAST", (None, None)),
    ] {
        let file = opened(vec![
            text(tags::MODALITY, VR::CS, modality),
            text(tags::BODY_PART_EXAMINED, VR::CS, part),
        ]);
        assert_eq!(
            (file.modality(), file.site()),
            expected,
            "{modality} {part}"
        );
    }
    let class = uids::VL_ENDOSCOPIC_IMAGE_STORAGE;
    let region =
        InMemDicomObject::from_element_iter([text(tags::CODE_MEANING, VR::LO, "Large intestine")]);
    let file = opened(vec![
        text(tags::SOP_CLASS_UID, VR::UI, class),
        DataElement::new(
            tags::ANATOMIC_REGION_SEQUENCE,
            VR::SQ,
            DataSetSequence::from(vec![region]),
        ),
    ]);
    assert_eq!(
        (file.modality(), file.site()),
        (Some(Modality::Endoscopy), Some("colon"))
    );
}

#[test]
fn times_of_frames_come_from_the_vector_or_the_step() {
    let nanos = |file: &Dicom| {
        file.frame_times()
            .iter()
            .map(|t| t.as_nanos())
            .collect::<Vec<_>>()
    };
    assert!(nanos(&opened(Vec::new())).is_empty());
    let step = || text(tags::FRAME_TIME, VR::DS, "40");
    let mut file = opened(vec![step()]);
    assert_eq!(nanos(&file), [0, 40_000_000, 80_000_000]);
    assert_eq!(
        file.frame(2).unwrap().captured(),
        Timestamp::from_nanos(80_000_000)
    );
    assert_eq!(file.frame(2).unwrap().data(), (16..24).collect::<Vec<u8>>());
    let vector = text(tags::FRAME_TIME_VECTOR, VR::DS, "0\\30\\45.5");
    assert_eq!(
        nanos(&opened(vec![step(), vector])),
        [0, 30_000_000, 75_500_000]
    );
    let rate = text(tags::CINE_RATE, VR::IS, "50");
    assert_eq!(nanos(&opened(vec![rate])), [0, 20_000_000, 40_000_000]);
}

#[test]
fn regions_and_spacing_tell_lengths() {
    let file = opened(vec![region::sequence(&[region::tissue(
        [1, 0, 4, 1],
        3,
        0.02,
    )])]);
    let [region] = file.regions() else {
        panic!("{:?}", file.regions())
    };
    assert_eq!(
        (region.left, region.top, region.right, region.bottom),
        (1, 0, 3, 1)
    );
    assert_eq!(
        (region.format, region.x.unit),
        (RegionFormat::TwoD, Unit::Centimetre)
    );
    let spacing = file.spacing().unwrap();
    assert!((spacing.x - 0.2).abs() < 1e-12 && (spacing.y - 1.0).abs() < 1e-12);
    let of = |tag| {
        opened(vec![text(tag, VR::DS, "0.5\\0.25")])
            .spacing()
            .unwrap()
    };
    assert_eq!(
        (of(tags::PIXEL_SPACING).x, of(tags::PIXEL_SPACING).y),
        (0.25, 0.5)
    );
    assert_eq!(of(tags::IMAGER_PIXEL_SPACING).at, SpacingAt::Detector);
}

#[test]
fn identity_is_told_to_who_asks_alone() {
    let file = opened(vec![text(tags::BURNED_IN_ANNOTATION, VR::CS, "YES")]);
    assert_eq!(file.burned_in(), Some(true));
    assert_eq!(file.identity().name.reveal().as_deref(), Some("ZZNAME"));
    assert!(!format!("{file:?} {:?}", file.identity()).contains("ZZNAME"));
}
