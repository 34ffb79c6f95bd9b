//! Data elements in short.

use dicom_core::value::DataSetSequence;
use dicom_core::{PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;

use super::code::Code;
use crate::read::header::{integer, items, text};

/// An element of a value.
pub(super) fn element(tag: Tag, vr: VR, value: impl Into<PrimitiveValue>) -> InMemElement {
    InMemElement::new(tag, vr, value.into())
}

/// A sequence of items.
pub(super) fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> InMemElement {
    InMemElement::new(tag, VR::SQ, DataSetSequence::from(items))
}

/// A sequence of one item.
pub(super) fn item<const N: usize>(tag: Tag, elements: [InMemElement; N]) -> InMemElement {
    sequence(tag, vec![InMemDicomObject::from_element_iter(elements)])
}

/// A sequence of one code.
pub(super) fn coded(tag: Tag, value: &str, scheme: &str, meaning: &str) -> InMemElement {
    item(
        tag,
        [
            element(tags::CODE_VALUE, VR::SH, value),
            element(tags::CODING_SCHEME_DESIGNATOR, VR::SH, scheme),
            element(tags::CODE_MEANING, VR::LO, meaning),
        ],
    )
}

/// A sequence of that code.
pub(super) fn code(tag: Tag, code: &Code) -> InMemElement {
    coded(tag, &code.value, &code.scheme, &code.meaning)
}

/// The number of an element that counts something.
pub(super) fn number(object: &InMemDicomObject, tag: Tag) -> Option<u32> {
    u32::try_from(integer(object, tag)?).ok()
}

/// The code in a sequence.
pub(super) fn read_code(object: &InMemDicomObject, tag: Tag) -> Option<Code> {
    let item = items(object, tag).first()?;
    Some(Code {
        value: text(item, tags::CODE_VALUE)?,
        scheme: text(item, tags::CODING_SCHEME_DESIGNATOR)?,
        meaning: text(item, tags::CODE_MEANING).unwrap_or_default(),
    })
}
