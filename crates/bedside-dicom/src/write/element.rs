//! Data elements in short.

use dicom_core::value::DataSetSequence;
use dicom_core::{PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;

use super::code::Code;

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

/// The text of an element without padding; `None` where it is absent, empty or no text.
pub(super) fn text(object: &InMemDicomObject, tag: Tag) -> Option<String> {
    let text = object.get(tag)?.to_str().ok()?;
    let text = text.trim_matches([' ', '\0']);
    (!text.is_empty()).then(|| text.to_owned())
}

/// The number of an element.
pub(super) fn number(object: &InMemDicomObject, tag: Tag) -> Option<u32> {
    object.get(tag)?.to_int().ok()
}

/// The numbers of an element.
pub(super) fn reals(object: &InMemDicomObject, tag: Tag) -> Option<Vec<f64>> {
    let numbers = object.get(tag)?.to_multi_float64().ok()?;
    numbers.iter().all(|n| n.is_finite()).then_some(numbers)
}

/// The items of a sequence.
pub(super) fn items(object: &InMemDicomObject, tag: Tag) -> &[InMemDicomObject] {
    object.get(tag).and_then(|e| e.items()).unwrap_or_default()
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
