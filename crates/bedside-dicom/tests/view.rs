//! The picture within a screen: as the header tells, and as the pixels show.

use bedside_core::{BoundingBox, Mask};
use bedside_dicom::Dicom;
use bedside_dicom::view::{View, ViewFrom};
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use dicom_object::mem::InMemElement;

use crate::phantom::{file, image};
use crate::region;

const WIDTH: u16 = 320;
const HEIGHT: u16 = 240;

/// A screen: a sector of gray that moves, with lines of text, a scale of grays and a banner in
/// colour.
fn screen(frames: u32, more: Vec<InMemElement>) -> Dicom {
    let mut object = image(WIDTH, HEIGHT, frames);
    let pixel = |frame: u32, x: u32, y: u32| {
        let (dx, dy) = (i64::from(x) - 170, i64::from(y) - 30);
        let in_sector = dy > 0 && dx.abs() * 10 < dy * 7 && dx * dx + dy * dy < 170 * 170;
        // Black in half of the sector, another half in each frame.
        let lit = frames == 1 || (y / 20 + frame).is_multiple_of(2);
        match () {
            () if y < 20 => [20, 40, 200],
            () if in_sector && lit => [70; 3],
            () if x < 40 && y.is_multiple_of(9) && x.is_multiple_of(2) => [230; 3],
            () if (304..312).contains(&x) && (60..120).contains(&y) => [140; 3],
            () => [3; 3],
        }
    };
    let pixels = (0..frames).flat_map(|frame| {
        let places =
            (0..u32::from(HEIGHT)).flat_map(|y| (0..u32::from(WIDTH)).map(move |x| (x, y)));
        places.flat_map(move |(x, y)| pixel(frame, x, y))
    });
    let words = [
        (tags::SAMPLES_PER_PIXEL, 3),
        (tags::BITS_ALLOCATED, 8),
        (tags::BITS_STORED, 8),
        (tags::HIGH_BIT, 7),
        (tags::PIXEL_REPRESENTATION, 0),
        (tags::PLANAR_CONFIGURATION, 0),
    ];
    for (tag, word) in words {
        object.put(DataElement::new(
            tag,
            VR::US,
            PrimitiveValue::from(word as u16),
        ));
    }
    let rgb = PrimitiveValue::from("RGB");
    object.put(DataElement::new(
        tags::PHOTOMETRIC_INTERPRETATION,
        VR::CS,
        rgb,
    ));
    let pixels = PrimitiveValue::from(pixels.collect::<Vec<u8>>());
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, pixels));
    for element in more {
        object.put(element);
    }
    let mut bytes = Vec::new();
    file(object).write_all(&mut bytes).unwrap();
    Dicom::from_bytes(bytes).unwrap()
}

#[test]
fn the_largest_region_of_tissue_is_the_picture() {
    let regions = region::sequence(&[
        region::tissue([100, 40, 119, 59], 3, 0.01),
        region::tissue([50, 20, 289, 219], 3, 0.02),
        region::Region {
            format: 4,
            ..region::tissue([0, 0, 319, 239], 3, 0.02)
        },
    ]);
    let view = View::of(&mut screen(1, vec![regions])).unwrap().unwrap();
    let part = BoundingBox {
        x: 50,
        y: 20,
        width: 240,
        height: 200,
    };
    assert_eq!(
        view,
        View {
            part,
            from: ViewFrom::Region
        }
    );
}

#[test]
fn without_a_region_the_picture_is_where_gray_is() {
    for frames in [1, 4] {
        let view = View::of(&mut screen(frames, Vec::new())).unwrap().unwrap();
        assert_eq!(view.from, ViewFrom::Content);
        let BoundingBox {
            x,
            y,
            width,
            height,
        } = view.part;
        // The sector: its arc to both sides, and from top to bottom.
        assert!(
            x.abs_diff(73) <= 8 && (x + width).abs_diff(267) <= 8,
            "{view:?}"
        );
        assert!(
            y.abs_diff(30) <= 16 && (y + height).abs_diff(200) <= 8,
            "{view:?}"
        );
    }
    // What says nothing of regions and is no ultrasound is looked at as a whole.
    let photograph = DataElement::new(tags::MODALITY, VR::CS, PrimitiveValue::from("XC"));
    let class = dicom_dictionary_std::uids::VL_PHOTOGRAPHIC_IMAGE_STORAGE;
    let class = DataElement::new(tags::SOP_CLASS_UID, VR::UI, PrimitiveValue::from(class));
    assert_eq!(View::of(&mut screen(1, vec![photograph, class])), Ok(None));
}

#[test]
fn regions_of_another_picture_are_left_out() {
    let regions = region::sequence(&[
        region::tissue([84, 31, 595, 414], 3, 0.05),
        // As many devices have it: the last is the first behind.
        region::tissue([0, 0, 320, 240], 3, 0.05),
    ]);
    let mut screen = screen(1, vec![regions]);
    assert_eq!((screen.regions().len(), screen.regions_left_out()), (1, 1));
    assert_eq!(
        (screen.regions()[0].right, screen.regions()[0].bottom),
        (319, 239)
    );
    // The whole frame is no part of it.
    assert_eq!(View::of(&mut screen), Ok(None));
}

#[test]
fn a_mask_of_the_picture_goes_back_where_it_was_cut() {
    let regions = region::sequence(&[region::tissue([50, 20, 289, 219], 3, 0.02)]);
    let mut screen = screen(1, vec![regions]);
    let view = View::of(&mut screen).unwrap().unwrap();
    let frame = screen.frame(0).unwrap();
    let picture = view.cut(&frame).unwrap();
    assert_eq!((picture.width(), picture.height()), (240, 200));
    let set = (0..200).flat_map(|y| (0..240).map(move |x| (x, y)));
    let set = set.map(|(x, y)| u8::from(picture.pixel(x, y) == Some([70; 3])));
    let mask = Mask::from_bytes(240, 200, set.collect()).unwrap();
    let whole = view.put_back(&mask, 320, 240);
    assert_eq!(whole.area(), mask.area());
    assert!(mask.area() > 1000);
    for (x, y) in (0..240).flat_map(|y| (0..320).map(move |x| (x, y))) {
        assert!(!whole.get(x, y) || frame.view().pixel(x, y) == Some([70; 3]));
    }
    // A frame of another size has no such part.
    let small = bedside_core::Frame::new(60, 60, bedside_core::PixelFormat::Gray8, vec![0; 3600]);
    assert!(view.cut(&small.unwrap()).is_none());
}
