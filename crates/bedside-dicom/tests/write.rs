//! Segmentations and reports: there and back, and what they say.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use bedside_core::{BoundingBox, Mask};
use bedside_dicom::write::{
    Kind, ObjectError, Property, Segment, Segmentation, Series, Source, new_uid, read_segmentation,
    report, segmentation_from_bytes,
};
use dicom_core::{PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::mem::InMemElement;
use dicom_object::{DefaultDicomObject, InMemDicomObject};
use proptest::prelude::*;

use crate::phantom::{context, file, image, levels, mask, origin, slice, slices};
use crate::region;

fn bytes(object: &DefaultDicomObject) -> Vec<u8> {
    let mut bytes = Vec::new();
    object.write_all(&mut bytes).unwrap();
    bytes
}

/// Written to a file and read again.
fn again(object: &DefaultDicomObject) -> DefaultDicomObject {
    dicom_object::from_reader(bytes(object).as_slice()).unwrap()
}

fn segments(n: u16) -> Vec<Segment> {
    let names = ["colon polyp", "left lung", "optic cup"];
    let segment = |i: u16| {
        let name = names[usize::from(i) % names.len()];
        Segment::new(&format!("{name} {i}"), Some(name)).unwrap()
    };
    (0..n).map(segment).collect()
}

/// A segmentation of all frames with masks, or probabilities, by formula.
fn drawn(source: &Source, kind: Kind, n: u16) -> Segmentation {
    let mut drawn = Segmentation::new(source, kind, segments(n)).unwrap();
    let (width, height) = (source.width(), source.height());
    for (segment, frame) in (1..=n).flat_map(|s| (1..=source.frames()).map(move |f| (s, f))) {
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
    drawn
}

fn written(source: &Source, drawn: &Segmentation) -> DefaultDicomObject {
    let series = Series::new(9, "masks").unwrap();
    drawn
        .to_dicom(&context(source, &origin(), &series))
        .unwrap()
}

fn items(object: &InMemDicomObject, tag: Tag) -> Vec<InMemDicomObject> {
    object
        .get(tag)
        .and_then(|e| e.items())
        .unwrap_or_default()
        .to_vec()
}

fn text(object: &InMemDicomObject, tag: Tag) -> String {
    object.element(tag).unwrap().to_str().unwrap().into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn p_24_masks_and_probabilities_come_back_as_they_were(
        width in 1_u16..34,
        height in 1_u16..34,
        frames in 1_u32..5,
        n in 1_u16..5,
        probability in any::<bool>(),
    ) {
        let source = Source::of(&file(image(width, height, frames))).unwrap();
        let kind = if probability { Kind::Probability } else { Kind::Binary };
        let drawn = drawn(&source, kind, n);
        let object = again(&written(&source, &drawn));
        let back = read_segmentation(&object).unwrap();
        prop_assert_eq!(&segmentation_from_bytes(bytes(&object)).unwrap(), &back);
        let (origin, series) = (origin(), Series::new(1, "").unwrap());
        let (file, head) = drawn.to_file(&context(&source, &origin, &series)).unwrap();
        let other = dicom_object::from_reader(file.as_slice()).unwrap();
        prop_assert_eq!(other.get(tags::PIXEL_DATA), object.get(tags::PIXEL_DATA));
        let uid = text(&other, tags::SOP_INSTANCE_UID);
        prop_assert_eq!(uid.trim_end_matches('\0'), text(&head, tags::SOP_INSTANCE_UID));
        prop_assert_eq!(&segmentation_from_bytes(file).unwrap(), &back);
        prop_assert_eq!(back.frames().collect::<Vec<_>>(), drawn.frames().collect::<Vec<_>>());
        prop_assert_eq!(back.segments(), drawn.segments());
        prop_assert_eq!(back.kind(), kind);
        let (width, height) = (u32::from(width), u32::from(height));
        for (segment, frame) in back.frames() {
            match kind {
                Kind::Binary => {
                    let same = back.mask(segment, frame) == Ok(Some(mask(width, height, segment, frame)));
                    prop_assert!(same);
                }
                Kind::Probability => prop_assert_eq!(
                    back.levels(segment, frame),
                    Ok(Some(levels(width, height, segment, frame)))
                ),
            }
        }
    }
}

#[test]
fn pixel_data_is_packed_to_the_bit() {
    let source = Source::of(&file(image(3, 3, 2))).unwrap();
    let mut drawn = Segmentation::new(&source, Kind::Binary, segments(2)).unwrap();
    let all = Mask::from_bytes(3, 3, vec![1; 9]).unwrap();
    let corners = Mask::from_bytes(3, 3, vec![1, 0, 1, 0, 0, 0, 1, 0, 1]).unwrap();
    // In any order; the object has them by segment, then by frame.
    drawn.add(2, 1, &all).unwrap();
    drawn.add(1, 2, &corners).unwrap();
    drawn.add(1, 1, &all).unwrap();
    drawn.add(2, 2, &Mask::empty(3, 3)).unwrap();
    let object = again(&written(&source, &drawn));
    // 27 bits and one byte more would be even: four bytes hold them.
    let data = object
        .element(tags::PIXEL_DATA)
        .unwrap()
        .to_bytes()
        .unwrap();
    assert_eq!(*data, [0xff, 0b1000_1011, 0b1111_1110, 0b0000_0111]);
    assert_eq!(text(&object, tags::NUMBER_OF_FRAMES), "3");
    assert_eq!(text(&object, tags::SEGMENTS_OVERLAP), "YES");
    let groups = items(&object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    let index = |group: &InMemDicomObject| {
        let content = &items(group, tags::FRAME_CONTENT_SEQUENCE)[0];
        content
            .element(tags::DIMENSION_INDEX_VALUES)
            .unwrap()
            .to_multi_int::<u32>()
            .unwrap()
    };
    assert_eq!(
        groups.iter().map(index).collect::<Vec<_>>(),
        [[1, 1], [1, 2], [2, 1]]
    );
    // Nine bits and five of padding, to an even number of bytes.
    let mut one = Segmentation::new(&source, Kind::Binary, segments(1)).unwrap();
    one.add(1, 1, &all).unwrap();
    let object = again(&written(&source, &one));
    let data = object
        .element(tags::PIXEL_DATA)
        .unwrap()
        .to_bytes()
        .unwrap();
    assert_eq!(*data, [0xff, 0x01]);
}

#[test]
fn nothing_found_is_one_frame_without_a_pixel() {
    let source = Source::of(&file(image(7, 5, 3))).unwrap();
    for kind in [Kind::Binary, Kind::Probability] {
        let drawn = Segmentation::new(&source, kind, segments(2)).unwrap();
        let object = again(&written(&source, &drawn));
        assert_eq!(text(&object, tags::NUMBER_OF_FRAMES), "1");
        assert_eq!(items(&object, tags::SEGMENT_SEQUENCE).len(), 2);
        let back = read_segmentation(&object).unwrap();
        assert_eq!(back.frames().count(), 0);
        assert_eq!(back.segments(), drawn.segments());
    }
}

#[test]
fn patient_and_study_are_carried_over_and_the_rest_is_new() {
    for set in ["ISO_IR 100", "ISO_IR 192"] {
        let mut image = image(5, 4, 1);
        image.put_str(tags::SPECIFIC_CHARACTER_SET, VR::CS, set);
        image.put_str(tags::PATIENT_WEIGHT, VR::DS, "70.50");
        image.put_str(tags::STATION_NAME, VR::SH, "not carried over");
        // As it was read from a file, with the padding and all.
        let image = again(&file(image));
        let source = Source::of(&image).unwrap();
        let mut named = segments(1);
        named[0].label = "Schilddrüse\\links\n".to_owned();
        let mut drawn = Segmentation::new(&source, Kind::Binary, named).unwrap();
        drawn.add(1, 1, &mask(5, 4, 2, 3)).unwrap();
        let object = again(&written(&source, &drawn));
        for element in image.iter().filter(|e| e.header().tag.group() == 0x0010) {
            assert_eq!(Some(element), object.get(element.header().tag));
        }
        for tag in [
            tags::SPECIFIC_CHARACTER_SET,
            tags::STUDY_INSTANCE_UID,
            tags::STUDY_DATE,
            tags::STUDY_DESCRIPTION,
            tags::REFERRING_PHYSICIAN_NAME,
        ] {
            assert_eq!(image.get(tag), object.get(tag));
        }
        for tag in [tags::SOP_INSTANCE_UID, tags::SERIES_INSTANCE_UID] {
            assert_ne!(text(&image, tag), text(&object, tag));
        }
        assert!(object.get(tags::STATION_NAME).is_none());
        let label = text(
            &items(&object, tags::SEGMENT_SEQUENCE)[0],
            tags::SEGMENT_LABEL,
        );
        let held = if set == "ISO_IR 192" {
            "Schilddrüse?links"
        } else {
            "Schilddr?se?links"
        };
        assert_eq!(label, held);
    }
}

#[test]
fn what_was_lossy_stays_so_and_frames_are_named_only_where_there_are_several() {
    let mut clip = image(4, 4, 3);
    clip.put_str(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "01");
    clip.put_str(tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS, "19");
    let source = Source::of(&file(clip)).unwrap();
    let object = written(&source, &drawn(&source, Kind::Binary, 1));
    assert_eq!(text(&object, tags::LOSSY_IMAGE_COMPRESSION_RATIO), "19");
    let image_of = |object: &DefaultDicomObject| {
        let group = items(object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE)
            .pop()
            .unwrap();
        let derivation = items(&group, tags::DERIVATION_IMAGE_SEQUENCE)
            .pop()
            .unwrap();
        items(&derivation, tags::SOURCE_IMAGE_SEQUENCE)
            .pop()
            .unwrap()
    };
    assert_eq!(text(&image_of(&object), tags::REFERENCED_FRAME_NUMBER), "3");
    assert!(object.get(tags::FRAME_OF_REFERENCE_UID).is_none());

    let source = Source::of(&file(slice(4, 4))).unwrap();
    let object = written(&source, &drawn(&source, Kind::Binary, 1));
    assert_eq!(text(&object, tags::LOSSY_IMAGE_COMPRESSION), "00");
    assert!(
        image_of(&object)
            .get(tags::REFERENCED_FRAME_NUMBER)
            .is_none()
    );
    let shared = &items(&object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE)[0];
    let measures = &items(shared, tags::PIXEL_MEASURES_SEQUENCE)[0];
    assert_eq!(text(measures, tags::PIXEL_SPACING), "0.5\\0.25");
}

#[test]
fn what_does_not_fit_is_refused() {
    let source = Source::of(&file(image(4, 3, 2))).unwrap();
    assert_eq!(
        Segmentation::new(&source, Kind::Binary, vec![]),
        Err(ObjectError::Segments(0))
    );
    let mut drawn = Segmentation::new(&source, Kind::Binary, segments(1)).unwrap();
    let mask = Mask::from_bytes(4, 3, vec![1; 12]).unwrap();
    drawn.add(1, 2, &mask).unwrap();
    assert_eq!(
        drawn.add(1, 2, &mask),
        Err(ObjectError::Twice {
            segment: 1,
            frame: 2
        })
    );
    assert_eq!(drawn.add(0, 1, &mask), Err(ObjectError::NoSegment(0)));
    assert_eq!(drawn.add(2, 1, &mask), Err(ObjectError::NoSegment(2)));
    assert_eq!(
        drawn.add(1, 3, &mask),
        Err(ObjectError::NoFrame {
            frame: 3,
            frames: 2
        })
    );
    let turned = Mask::from_bytes(3, 4, vec![1; 12]).unwrap();
    assert!(matches!(
        drawn.add(1, 1, &turned),
        Err(ObjectError::Size { .. })
    ));
    assert_eq!(
        drawn.add_probabilities(1, 1, &[1.0; 12]),
        Err(ObjectError::Kind)
    );
    let other = Source::of(&file(image(4, 3, 1))).unwrap();
    let series = Series::new(1, "").unwrap();
    let origin = origin();
    let refused = drawn.to_dicom(&context(&other, &origin, &series));
    assert!(matches!(refused, Err(ObjectError::Mismatch(_))));
    let mut bare = image(4, 3, 1);
    bare.put_str(tags::SOP_INSTANCE_UID, VR::UI, "not a UID");
    assert!(matches!(
        Source::of(&file(bare)),
        Err(ObjectError::Attribute("SOP Instance UID"))
    ));
}

#[test]
fn probabilities_are_rounded_and_held_to_their_range() {
    let source = Source::of(&file(image(3, 2, 1))).unwrap();
    let mut drawn = Segmentation::new(&source, Kind::Probability, segments(1)).unwrap();
    let given = [0.0, 0.5, 1.0, -3.0, 7.0, f32::NAN];
    drawn.add_probabilities(1, 1, &given).unwrap();
    assert_eq!(
        drawn.levels(1, 1).unwrap().unwrap(),
        [0, 128, 255, 0, 255, 0]
    );
    let mask = drawn.mask(1, 1).unwrap().unwrap();
    assert_eq!(mask.data(), [0, 1, 1, 0, 1, 0]);
}

#[test]
fn uids_are_uuids_of_their_own() {
    let (a, b) = (new_uid().unwrap(), new_uid().unwrap());
    assert_ne!(a, b);
    let number: u128 = a.strip_prefix("2.25.").unwrap().parse().unwrap();
    assert_eq!((number >> 76 & 0xf, number >> 62 & 0b11), (4, 0b10));
}

/// All measured values of a report, as name, unit and value.
fn measured(report: &InMemDicomObject) -> Vec<(String, String, f64)> {
    let mut all = Vec::new();
    for content in items(report, tags::CONTENT_SEQUENCE) {
        if let Some(value) = items(&content, tags::MEASURED_VALUE_SEQUENCE).first() {
            let name = &items(&content, tags::CONCEPT_NAME_CODE_SEQUENCE)[0];
            let unit = &items(value, tags::MEASUREMENT_UNITS_CODE_SEQUENCE)[0];
            let number = value
                .element(tags::NUMERIC_VALUE)
                .unwrap()
                .to_float64()
                .unwrap();
            all.push((
                text(name, tags::CODE_MEANING),
                text(unit, tags::CODE_VALUE),
                number,
            ));
        }
        all.extend(measured(&content));
    }
    all
}

fn report_of(image: InMemDicomObject, around: BoundingBox) -> Vec<(String, String, f64)> {
    let source = Source::of(&file(image)).unwrap();
    let mut drawn = Segmentation::new(&source, Kind::Binary, segments(1)).unwrap();
    let mut mask = Mask::empty(source.width(), source.height());
    mask.write_rows(around.y..around.y + around.height, |_, row| {
        row[around.x as usize..(around.x + around.width) as usize].fill(1);
    });
    drawn.add(1, 1, &mask).unwrap();
    let object = written(&source, &drawn);
    let (origin, series) = (origin(), Series::new(2, "").unwrap());
    measured(&again(
        &report(&drawn, &object, None, &context(&source, &origin, &series)).unwrap(),
    ))
}

#[test]
fn measurements_are_in_millimetres_where_the_image_tells_them_and_else_in_pixels() {
    let around = BoundingBox {
        x: 2,
        y: 1,
        width: 4,
        height: 3,
    };
    let expect = |got: Vec<(String, String, f64)>, unit: [&str; 2], values: [f64; 3]| {
        let names = ["Area", "Long axis", "Short axis"];
        let units = [unit[0], unit[1], unit[1]];
        assert_eq!(got.len(), 3);
        for (i, (name, unit, value)) in got.into_iter().enumerate() {
            assert_eq!((name.as_str(), unit.as_str()), (names[i], units[i]));
            assert!((value - values[i]).abs() < 1e-3, "{name} {value}");
        }
    };
    let pixels = ["{pixels}", "{pixels}"];
    expect(
        report_of(image(20, 10, 1), around),
        pixels,
        [12.0, 5.0, 4.8],
    );
    // Rows 0.5 mm, columns 0.25 mm: a box of 1 mm x 1.5 mm.
    let diagonal = 3.25_f64.sqrt();
    let values = [1.5, diagonal, 3.0 / diagonal];
    expect(report_of(slice(20, 10), around), ["mm2", "mm"], values);

    // An ultrasound region of 0.1 cm x 0.1 cm that ends with column 5, beside a Doppler trace.
    let mut scanned = image(20, 10, 1);
    let left = region::tissue([0, 0, 5, 9], 3, 0.1);
    let trace = region::tissue([6, 0, 19, 9], 4, 0.02);
    scanned.put(region::sequence(&[left, trace]));
    expect(
        report_of(scanned.clone(), around),
        ["mm2", "mm"],
        [12.0, 5.0, 4.8],
    );
    let across = BoundingBox { x: 3, ..around };
    expect(report_of(scanned.clone(), across), pixels, [12.0, 5.0, 4.8]);
    let in_trace = BoundingBox { x: 8, ..around };
    expect(
        report_of(scanned.clone(), in_trace),
        pixels,
        [12.0, 5.0, 4.8],
    );
    // Flow within tissue, of the same scale and of another.
    for (delta, told) in [(0.1, ["mm2", "mm"]), (0.05, pixels)] {
        let flow = region::tissue([2, 2, 4, 4], 3, delta);
        scanned.put(region::sequence(&[left, flow]));
        expect(report_of(scanned.clone(), around), told, [12.0, 5.0, 4.8]);
    }
}

#[test]
fn slices_of_a_series_keep_their_places_and_are_named_one_by_one() {
    let images = slices(6, 4, 5);
    let sources = || images.iter().map(|image| Source::of(image).unwrap());
    let source = Source::stack(sources(), Some(2.5)).unwrap();
    assert_eq!(source.frames(), 5);
    let mut drawn = Segmentation::new(&source, Kind::Binary, segments(2)).unwrap();
    for (segment, frame) in [(1, 2), (1, 4), (2, 4)] {
        drawn
            .add(segment, frame, &mask(6, 4, segment, frame + 5))
            .unwrap();
    }
    let object = again(&written(&source, &drawn));
    assert_eq!(
        text(&object, tags::FRAME_OF_REFERENCE_UID),
        text(&images[0], tags::FRAME_OF_REFERENCE_UID)
    );
    let groups = items(&object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    let of = |group: &InMemDicomObject| {
        let plane = &items(group, tags::PLANE_POSITION_SEQUENCE)[0];
        let derivation = &items(group, tags::DERIVATION_IMAGE_SEQUENCE)[0];
        let source = &items(derivation, tags::SOURCE_IMAGE_SEQUENCE)[0];
        let content = &items(group, tags::FRAME_CONTENT_SEQUENCE)[0];
        let index = content.element(tags::DIMENSION_INDEX_VALUES).unwrap();
        (
            text(plane, tags::IMAGE_POSITION_PATIENT),
            text(source, tags::REFERENCED_SOP_INSTANCE_UID),
            index.to_multi_int::<u32>().unwrap(),
        )
    };
    // Positions count among those that are there.
    let expected = [(1, vec![1, 1]), (3, vec![1, 2]), (3, vec![2, 2])].map(|(slice, index)| {
        let image = &images[slice];
        let position = text(image, tags::IMAGE_POSITION_PATIENT);
        (position, text(image, tags::SOP_INSTANCE_UID), index)
    });
    assert_eq!(groups.iter().map(of).collect::<Vec<_>>(), expected);
    let shared = &items(&object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE)[0];
    let measures = &items(shared, tags::PIXEL_MEASURES_SEQUENCE)[0];
    let apart = measures.element(tags::SPACING_BETWEEN_SLICES).unwrap();
    assert_eq!(apart.to_float64().unwrap(), 2.5);
    // Slices of another series or without a place make no stack.
    let other = Source::of(&slices(6, 4, 1)[0]).unwrap();
    let flat = Source::of(&file(image(6, 4, 1))).unwrap();
    for odd in [other, flat] {
        assert!(Source::stack(sources().chain([odd]), None).is_err());
    }
    assert!(Source::stack([], None).is_err());
}

#[test]
fn a_report_of_a_clip_ties_frames_together_and_names_them() {
    let source = Source::of(&file(image(8, 8, 5))).unwrap();
    let drawn = drawn(&source, Kind::Binary, 2);
    let object = written(&source, &drawn);
    let (origin, series) = (origin(), Series::new(2, "").unwrap());
    let context = context(&source, &origin, &series);
    let report = again(&report(&drawn, &object, None, &context).unwrap());
    assert_eq!(
        text(&report, tags::SOP_CLASS_UID),
        uids::COMPREHENSIVE_SR_STORAGE
    );
    let content = items(&report, tags::CONTENT_SEQUENCE);
    let groups = items(content.last().unwrap(), tags::CONTENT_SEQUENCE);
    assert_eq!(groups.len(), drawn.frames().count());
    for (at, ((segment, frame), group)) in drawn.frames().zip(groups).enumerate() {
        let content = items(&group, tags::CONTENT_SEQUENCE);
        let tracked = content.iter().find_map(|item| item.get(tags::UID)).unwrap();
        let uid = &drawn.segments()[usize::from(segment) - 1].tracking_uid;
        assert_eq!(tracked.to_str().unwrap(), uid.as_str());
        let images = content
            .iter()
            .flat_map(|item| items(item, tags::REFERENCED_SOP_SEQUENCE));
        let numbers: Vec<_> = images
            .map(|image| text(&image, tags::REFERENCED_FRAME_NUMBER))
            .collect();
        assert_eq!(numbers, [(at + 1).to_string(), frame.to_string()]);
    }
}

#[test]
fn images_of_devices_carry_over() {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("BEDSIDE_SHARED").map_or_else(beside, PathBuf::from);
    let folder = shared.join("inputs");
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let images = entries.map(|entry| entry.path());
    let images: Vec<_> = images
        .filter(|path| path.extension().is_some_and(|e| e == "dcm"))
        .collect();
    if images.is_empty() {
        // The print macros would be captured.
        let reason = format!("skipped: no DICOM files in {}\n", folder.display());
        std::io::stderr().write_all(reason.as_bytes()).unwrap();
    }
    for path in images {
        let image = dicom_object::open_file(&path).unwrap();
        let source = Source::of(&image).unwrap();
        let drawn = drawn(&source, Kind::Binary, 2);
        let object = again(&written(&source, &drawn));
        assert_eq!(
            text(&object, tags::PATIENT_NAME),
            text(&image, tags::PATIENT_NAME)
        );
        let back = read_segmentation(&object).unwrap();
        for (segment, frame) in back.frames() {
            assert_eq!(
                back.mask(segment, frame),
                drawn.mask(segment, frame),
                "{}",
                path.display()
            );
        }
    }
}

/// One change of a data set, somewhere in its sequences: an element is gone, empty, or another.
fn damage(object: &mut InMemDicomObject, mut choice: u64) {
    let tags: Vec<_> = object.tags().collect();
    let Some(tag) = tags
        .get((choice % tags.len().max(1) as u64) as usize)
        .copied()
    else {
        return;
    };
    choice /= 61;
    let Some(mut element) = object.take(tag) else {
        return;
    };
    if let Some(items) = element
        .items_mut()
        .filter(|items| !items.is_empty() && choice % 5 > 1)
    {
        let n = items.len() as u64;
        match choice % 5 {
            2 => items.truncate((choice / 5 % n) as usize),
            3 => items.push(items[0].clone()),
            _ => damage(&mut items[(choice / 5 % n) as usize], choice / 67),
        }
        object.put(element);
        return;
    }
    let vr = element.vr();
    match choice % 6 {
        0 => {}
        1 => _ = object.put(InMemElement::new(tag, vr, PrimitiveValue::Empty)),
        2 => {
            _ = object.put(InMemElement::new(
                tag,
                vr,
                PrimitiveValue::from(choice as u16),
            ))
        }
        3 => _ = object.put(InMemElement::new(tag, vr, PrimitiveValue::from(u32::MAX))),
        4 => _ = object.put(InMemElement::new(tag, VR::IS, "-1")),
        _ => _ = object.put(InMemElement::new(tag, VR::LO, "65535\\4294967295")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_damaged_object_is_understood_or_refused(
        probability in any::<bool>(),
        choices in proptest::collection::vec(any::<u64>(), 1..6),
    ) {
        let source = Source::of(&file(image(5, 3, 2))).unwrap();
        let kind = if probability { Kind::Probability } else { Kind::Binary };
        let mut object = written(&source, &drawn(&source, kind, 2)).into_inner();
        for choice in choices {
            damage(&mut object, choice);
        }
        if let Ok(read) = read_segmentation(&object) {
            for (segment, frame) in read.frames().collect::<Vec<_>>() {
                prop_assert!(read.mask(segment, frame).unwrap().is_some());
            }
        }
        let image = file_of(object);
        if let Some(source) = image.and_then(|image| Source::of(&image).ok()) {
            let drawn = Segmentation::new(&source, Kind::Binary, segments(1)).unwrap();
            let _ = drawn.frames().count();
        }
    }
}

/// The object as a file, where it has what a file's head needs.
fn file_of(object: InMemDicomObject) -> Option<DefaultDicomObject> {
    let meta =
        dicom_object::FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    object.with_meta(meta).ok()
}

#[test]
fn segmentations_of_another_library_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/masks");
    let golden = |name: &str| {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        segmentation_from_bytes(bytes).unwrap()
    };
    let (binary, fractional) = (golden("binary.dcm"), golden("fractional.dcm"));
    assert_eq!(binary.segments()[2].label, "segment 4");
    assert_eq!(binary.segments()[0].property, Property::of(Some("liver")));
    for (n, segment) in (1..).zip([1, 3, 4]) {
        assert_eq!(binary.mask(n, 1), Ok(Some(mask(5, 3, segment, 1))));
        let expected = levels(5, 3, segment, 1);
        assert_eq!(fractional.levels(n, 1), Ok(Some(expected)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn damaged_bytes_are_understood_or_refused(
        probability in any::<bool>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let name = if probability { "fractional.dcm" } else { "binary.dcm" };
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/masks");
        let mut bytes = std::fs::read(folder.join(name)).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(read) = segmentation_from_bytes(bytes) {
            for (segment, frame) in read.frames().collect::<Vec<_>>() {
                prop_assert!(read.mask(segment, frame).unwrap().is_some());
            }
        }
    }
}
