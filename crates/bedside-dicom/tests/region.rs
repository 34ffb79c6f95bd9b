//! Regions of an ultrasound picture.

use dicom_core::value::DataSetSequence;
use dicom_core::{PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;

/// One region: its first and last column and row, what it shows in DICOM's numbers, the unit of
/// its columns, and how much a pixel is; rows are always 1 mm, and fall.
#[derive(Clone, Copy)]
pub(crate) struct Region {
    pub(crate) place: [u32; 4],
    pub(crate) format: u16,
    pub(crate) unit: u16,
    pub(crate) delta: f64,
}

/// One in two dimensions.
pub(crate) fn tissue(place: [u32; 4], unit: u16, delta: f64) -> Region {
    Region {
        place,
        format: 1,
        unit,
        delta,
    }
}

pub(crate) fn sequence(regions: &[Region]) -> InMemElement {
    let regions: Vec<_> = regions.iter().map(Region::item).collect();
    let regions = DataSetSequence::from(regions);
    InMemElement::new(tags::SEQUENCE_OF_ULTRASOUND_REGIONS, VR::SQ, regions)
}

impl Region {
    fn item(&self) -> InMemDicomObject {
        let [left, top, right, bottom] = self.place;
        let us = |tag, value: u16| InMemElement::new(tag, VR::US, PrimitiveValue::from(value));
        let ul = |tag, value: u32| InMemElement::new(tag, VR::UL, PrimitiveValue::from(value));
        let fd = |tag, value: f64| InMemElement::new(tag, VR::FD, PrimitiveValue::from(value));
        InMemDicomObject::from_element_iter([
            us(tags::REGION_SPATIAL_FORMAT, self.format),
            us(tags::REGION_DATA_TYPE, 1),
            ul(tags::REGION_LOCATION_MIN_X0, left),
            ul(tags::REGION_LOCATION_MIN_Y0, top),
            ul(tags::REGION_LOCATION_MAX_X1, right),
            ul(tags::REGION_LOCATION_MAX_Y1, bottom),
            us(tags::PHYSICAL_UNITS_X_DIRECTION, self.unit),
            us(tags::PHYSICAL_UNITS_Y_DIRECTION, 3),
            fd(tags::PHYSICAL_DELTA_X, self.delta),
            fd(tags::PHYSICAL_DELTA_Y, -0.1),
        ])
    }
}
