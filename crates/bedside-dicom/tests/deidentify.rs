//! What tells who the patient is goes, and what an image is stays.

use bedside_dicom::write::{
    Action, Deidentifier, Kind, ObjectError, Segment, Segmentation, Series, Source,
    read_segmentation, report,
};
use dicom_core::value::DataSetSequence;
use dicom_core::{PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::mem::InMemElement;
use dicom_object::{DefaultDicomObject, InMemDicomObject};

use crate::phantom::{context, file, image, mask, origin};

const SECRET: &str = "DOE^JANE";

fn text(object: &InMemDicomObject, tag: Tag) -> String {
    object.element(tag).unwrap().to_str().unwrap().into_owned()
}

fn bytes(object: &DefaultDicomObject) -> Vec<u8> {
    let mut bytes = Vec::new();
    object.write_all(&mut bytes).unwrap();
    bytes
}

fn tells(object: &DefaultDicomObject) -> bool {
    bytes(object)
        .windows(SECRET.len())
        .any(|w| w == SECRET.as_bytes())
}

fn with_pixels(mut image: InMemDicomObject) -> InMemDicomObject {
    image.put(InMemElement::new(
        tags::PIXEL_DATA,
        VR::OB,
        PrimitiveValue::from(vec![7_u8; 20]),
    ));
    image
}

#[test]
fn no_attribute_of_the_table_tells_anything_wherever_it_stands() {
    let table = include_str!("../confidentiality.csv");
    let rows = table.lines().filter_map(|line| line.split_once(','));
    let numbers = rows.filter_map(|row| u32::from_str_radix(row.0, 16).ok());
    let named: Vec<_> = numbers.map(|n| Tag((n >> 16) as u16, n as u16)).collect();
    assert!(named.len() > 600);
    let beyond = [
        tags::PATIENT_SPECIES_DESCRIPTION,
        Tag(0x0009, 0x0010),
        Tag(0x0009, 0x1001),
        Tag(0x5002, 0x0022),
        Tag(0x6000, 0x4000),
    ];
    let put = |object: &mut InMemDicomObject| {
        for tag in named.iter().chain(&beyond) {
            object.put(InMemElement::new(*tag, VR::LO, SECRET));
        }
    };
    let mut telling = with_pixels(image(5, 4, 1));
    put(&mut telling);
    let mut item = InMemDicomObject::new_empty();
    put(&mut item);
    let items = DataSetSequence::from(vec![item.clone(), item]);
    telling.put(InMemElement::new(
        tags::SEQUENCE_OF_ULTRASOUND_REGIONS,
        VR::SQ,
        items,
    ));
    for tag in [
        tags::SOP_INSTANCE_UID,
        tags::STUDY_INSTANCE_UID,
        tags::SERIES_INSTANCE_UID,
    ] {
        telling.put(InMemElement::new(tag, VR::UI, "1.2.3"));
    }
    let telling = file(telling);
    assert!(tells(&telling));
    let (clean, done) = Deidentifier::new().unwrap().deidentify(&telling).unwrap();
    assert!(!tells(&clean));
    assert!(
        named
            .iter()
            .all(|tag| done.done.contains_key(&(tag.group(), tag.element())))
    );
    assert_eq!(done.private, 6);
    assert_eq!(text(&clean, tags::PATIENT_IDENTITY_REMOVED), "YES");
    assert!(done.to_string().contains("still there") && !format!("{done:?}").contains(SECRET));
}

#[test]
fn what_an_image_is_stays_and_dates_go() {
    let mut dated = with_pixels(image(5, 4, 2));
    dated.put_str(tags::BURNED_IN_ANNOTATION, VR::CS, "YES");
    // A date that the table does not name.
    dated.put_str(tags::DATE_OF_LAST_CALIBRATION, VR::DA, "20260102");
    let (clean, done) = Deidentifier::new()
        .unwrap()
        .deidentify(&file(dated.clone()))
        .unwrap();
    for tag in [
        tags::SOP_CLASS_UID,
        tags::MODALITY,
        tags::ROWS,
        tags::COLUMNS,
        tags::NUMBER_OF_FRAMES,
        tags::FRAME_TIME,
        tags::PIXEL_DATA,
        tags::BURNED_IN_ANNOTATION,
    ] {
        assert_eq!(clean.get(tag), dated.get(tag));
    }
    assert_eq!(done.burned_in.as_deref(), Some("YES"));
    assert_eq!(done.done[&(0x0010, 0x0010)], Action::Emptied);
    assert_eq!(
        clean.element(tags::STUDY_DATE).unwrap().to_str().unwrap(),
        ""
    );
    assert_eq!(
        clean.element(tags::PATIENT_NAME).unwrap().to_str().unwrap(),
        ""
    );
    let all = bytes(&clean);
    assert!(!all.windows(8).any(|w| w == b"20260102"));
}

#[test]
fn an_image_and_its_segmentation_still_belong_together() {
    let image = file(with_pixels(image(9, 7, 3)));
    let source = Source::of(&image).unwrap();
    let segment = Segment::new("polyp", Some("colon polyp")).unwrap();
    let mut drawn = Segmentation::new(&source, Kind::Binary, vec![segment]).unwrap();
    drawn.add(1, 3, &mask(9, 7, 1, 3)).unwrap();
    let (origin, series) = (origin(), Series::new(1, "masks").unwrap());
    let object = drawn.to_dicom(&context(&source, &origin, &series)).unwrap();
    let context = context(&source, &origin, &series);
    let report = report(&drawn, &object, None, &context).unwrap();

    let one = Deidentifier::new().unwrap();
    let (image, _) = one.deidentify(&image).unwrap();
    let (object, _) = one.deidentify(&object).unwrap();
    assert_eq!(
        text(&image, tags::STUDY_INSTANCE_UID),
        text(&object, tags::STUDY_INSTANCE_UID)
    );
    assert_ne!(
        text(&image, tags::STUDY_INSTANCE_UID),
        source_study(&source)
    );
    let groups = object
        .element(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE)
        .unwrap();
    let derivation = groups.items().unwrap()[0]
        .element(tags::DERIVATION_IMAGE_SEQUENCE)
        .unwrap();
    let source = derivation.items().unwrap()[0]
        .element(tags::SOURCE_IMAGE_SEQUENCE)
        .unwrap();
    let referenced = text(
        &source.items().unwrap()[0],
        tags::REFERENCED_SOP_INSTANCE_UID,
    );
    assert_eq!(referenced, text(&image, tags::SOP_INSTANCE_UID));
    let back = read_segmentation(&object).unwrap();
    assert_eq!(back.mask(1, 3), drawn.mask(1, 3));
    // Another one renames otherwise, and no report gets through.
    let (other, _) = Deidentifier::new().unwrap().deidentify(&image).unwrap();
    assert_ne!(
        text(&other, tags::SOP_INSTANCE_UID),
        text(&image, tags::SOP_INSTANCE_UID)
    );
    assert!(matches!(
        one.deidentify(&report),
        Err(ObjectError::Class(_))
    ));
}

fn source_study(source: &Source) -> String {
    let (origin, series) = (origin(), Series::new(1, "").unwrap());
    let segment = Segment::new("polyp", None).unwrap();
    let drawn = Segmentation::new(source, Kind::Binary, vec![segment]).unwrap();
    let object = drawn.to_dicom(&context(source, &origin, &series)).unwrap();
    text(&object, tags::STUDY_INSTANCE_UID)
}
