//! Single values out of a header, none where they are missing or malformed.

use dicom_core::Tag;
use dicom_core::value::Value;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;

/// Text without padding; none where it is empty.
pub(crate) fn text(object: &InMemDicomObject, tag: Tag) -> Option<String> {
    let text = object.get(tag)?.to_str().ok()?;
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// The first of several values of text.
pub(crate) fn first_text(object: &InMemDicomObject, tag: Tag) -> Option<String> {
    let text = text(object, tag)?;
    let first = text.split('\\').next()?.trim();
    (!first.is_empty()).then(|| first.to_owned())
}

pub(crate) fn integer(object: &InMemDicomObject, tag: Tag) -> Option<i64> {
    object.get(tag)?.to_int().ok()
}

/// All finite numbers, up to the first that is none.
pub(crate) fn numbers(object: &InMemDicomObject, tag: Tag) -> Vec<f64> {
    let numbers = object.get(tag).and_then(|e| e.to_multi_float64().ok());
    let numbers = numbers.unwrap_or_default().into_iter();
    numbers.take_while(|v| v.is_finite()).collect()
}

pub(crate) fn number(object: &InMemDicomObject, tag: Tag) -> Option<f64> {
    numbers(object, tag).first().copied()
}

/// The items of a sequence.
pub(crate) fn items(object: &InMemDicomObject, tag: Tag) -> &[InMemDicomObject] {
    let items = object.get(tag).and_then(|element| element.items());
    items.unwrap_or_default()
}

/// The object in which `tag` stands for all frames: the header itself, or an item of what its
/// frames share.
pub(crate) fn holder(header: &InMemDicomObject, tag: Tag) -> Option<&InMemDicomObject> {
    if header.get(tag).is_some() {
        return Some(header);
    }
    let shared = items(header, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first()?;
    let groups = shared.iter().filter_map(InMemElement::items);
    groups
        .filter_map(<[_]>::first)
        .find(|group| group.get(tag).is_some())
}

/// The words of a lookup table's data, which may stand as bytes.
pub(crate) fn words(object: &InMemDicomObject, tag: Tag) -> Option<Vec<u16>> {
    let element = object.get(tag)?;
    match element.value() {
        Value::Primitive(value) => value.to_multi_int::<u16>().ok().map(|words| {
            if matches!(value, dicom_core::PrimitiveValue::U8(_)) {
                let pairs = words.as_chunks::<2>().0.iter();
                return pairs.map(|[low, high]| low | high << 8).collect();
            }
            words
        }),
        _ => None,
    }
}

/// A lookup table as its descriptor tells: number of entries, first value mapped, bits of each.
pub(crate) fn descriptor(
    object: &InMemDicomObject,
    tag: Tag,
    signed: bool,
) -> Option<(usize, i32, u32)> {
    let numbers: Vec<i64> = object.get(tag)?.to_multi_int().ok()?;
    let &[entries, first, bits] = numbers.as_slice() else {
        return None;
    };
    let entries = match entries as u16 {
        0 => 1 << 16,
        n => usize::from(n),
    };
    // Written as a signed or an unsigned word, the first value means what stored values mean.
    let first = first as u16;
    let first = if signed {
        i32::from(first as i16)
    } else {
        first.into()
    };
    let bits = u32::try_from(bits)
        .ok()
        .filter(|bits| (1..=16).contains(bits))?;
    Some((entries, first, bits))
}
