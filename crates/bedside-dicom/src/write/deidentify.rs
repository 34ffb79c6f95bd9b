//! Images and segmentations without what tells who the patient is: the Basic Application Level
//! Confidentiality Profile (PS3.15, E.2).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::mem::InMemElement;
use dicom_object::{DefaultDicomObject, InMemDicomObject};
use sha2::{Digest as _, Sha256};

use super::element::{coded, element};
use super::error::ObjectError;
use super::origin::{file_as, uid_of_hash};
use crate::read::header::text;

/// Sequences deeper than this are removed: none that a device writes is.
const DEEPEST: u32 = 16;

/// What is done with an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It is gone.
    Removed,
    /// It has no value.
    Emptied,
    /// It has a value that is the same for all.
    Replaced,
    /// It has another UID, the same wherever the old one stood.
    Renamed,
}

/// What was done, with the places but never the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deidentified {
    /// Attributes by group and element, with what was done; wherever they stood. Private ones
    /// are counted below.
    pub done: BTreeMap<(u16, u16), Action>,
    /// Number of private attributes that were removed.
    pub private: u64,
    /// What the image says of text burned into its pixels (Burned In Annotation), as it stands
    /// there: "YES", "NO" or nothing. Whatever it says, pixels were not looked at.
    pub burned_in: Option<String>,
}

impl fmt::Display for Deidentified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |action| self.done.values().filter(|done| **done == action).count();
        write!(
            f,
            "{} attributes removed, {} emptied, {} replaced, {} UIDs renamed, {} private \
             attributes removed; pixels untouched: text burned into them is still there",
            count(Action::Removed),
            count(Action::Emptied),
            count(Action::Replaced),
            count(Action::Renamed),
            self.private
        )
    }
}

/// Takes out of objects what tells who the patient is. All that one of these has done belong
/// together: their UIDs are renamed alike.
///
/// It goes beyond the profile where that is simpler and safer: of the patient's group (0010)
/// nothing but empty values is left, and all dates and times go, those that the table does not
/// name too.
pub struct Deidentifier {
    key: [u8; 32],
}

impl Deidentifier {
    /// One with a secret of its own, without which new UIDs can't be traced back to old ones.
    ///
    /// # Errors
    /// [`ObjectError::Library`] where the system has no random numbers.
    pub fn new() -> Result<Self, ObjectError> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|e| ObjectError::Library(e.to_string()))?;
        Ok(Self { key })
    }

    /// The object without what tells who the patient is, and what was done.
    ///
    /// **Pixels are not touched.** Ultrasound devices write names into them; crop or paint over
    /// what they show, and look at every image, before it is given away.
    ///
    /// # Errors
    /// [`ObjectError::Class`] for objects that are no images: reports and documents say who the
    /// patient is in their content. [`ObjectError::Library`].
    pub fn deidentify(
        &self,
        object: &DefaultDicomObject,
    ) -> Result<(DefaultDicomObject, Deidentified), ObjectError> {
        if object.get(tags::ROWS).is_none() || object.get(tags::PIXEL_DATA).is_none() {
            let class = text(object, tags::SOP_CLASS_UID).unwrap_or_default();
            return Err(ObjectError::Class(bedside_core::text::one_line(&class)));
        }
        let mut report = Deidentified {
            done: BTreeMap::new(),
            private: 0,
            burned_in: text(object, tags::BURNED_IN_ANNOTATION),
        };
        let mut clean = self.clean(object, 0, &mut report);
        for element in [
            element(tags::PATIENT_IDENTITY_REMOVED, VR::CS, "YES"),
            element(
                tags::DEIDENTIFICATION_METHOD,
                VR::LO,
                "Basic Application Confidentiality Profile; pixels untouched",
            ),
            coded(
                tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE,
                "113100",
                "DCM",
                "Basic Application Confidentiality Profile",
            ),
            element(
                tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED,
                VR::CS,
                "REMOVED",
            ),
        ] {
            clean.put(element);
        }
        Ok((file_as(clean, object.meta().transfer_syntax())?, report))
    }

    fn clean(
        &self,
        object: &InMemDicomObject,
        depth: u32,
        report: &mut Deidentified,
    ) -> InMemDicomObject {
        let mut clean = InMemDicomObject::new_empty();
        for old in object.iter() {
            let tag = old.header().tag;
            // A private creator is private too.
            if tag.group() % 2 == 1 {
                report.private += 1;
                continue;
            }
            let action = action(tag, old.vr(), depth);
            if let Some(action) = action {
                report.done.insert((tag.group(), tag.element()), action);
            }
            let new = match (action, old.items()) {
                (Some(Action::Removed), _) => continue,
                (Some(Action::Emptied), _) if old.vr() == VR::SQ => sequence_of(tag, vec![]),
                (Some(Action::Emptied), _) => element(tag, old.vr(), PrimitiveValue::Empty),
                (Some(Action::Replaced), _) => dummy(tag, old.vr()),
                (None | Some(Action::Renamed), Some(items)) => {
                    let items = items.iter().map(|item| self.clean(item, depth + 1, report));
                    sequence_of(tag, items.collect())
                }
                (Some(Action::Renamed), None) => self.renamed(old),
                (None, None) => old.clone(),
            };
            clean.put(new);
        }
        clean
    }

    /// Other UIDs in the place of an element's.
    fn renamed(&self, old: &InMemElement) -> InMemElement {
        let rename =
            |uid: &str| uid_of_hash(Sha256::new().chain_update(self.key).chain_update(uid));
        let uids = old.to_multi_str().unwrap_or_default();
        let uids = uids.iter().map(|uid| uid.trim_matches([' ', '\0']));
        let renamed: Vec<_> = uids.filter(|uid| !uid.is_empty()).map(rename).collect();
        element(old.header().tag, old.vr(), renamed.join("\\"))
    }
}

fn sequence_of(tag: Tag, items: Vec<InMemDicomObject>) -> InMemElement {
    InMemElement::new(tag, VR::SQ, DataSetSequence::from(items))
}

/// What the profile does with an attribute; `None` for one that stays.
fn action(tag: Tag, vr: VR, depth: u32) -> Option<Action> {
    static TABLE: LazyLock<BTreeMap<u32, Action>> =
        LazyLock::new(|| table(include_str!("../../confidentiality.csv")));
    let number = u32::from(tag.group()) << 16 | u32::from(tag.element());
    let named = TABLE.get(&number).copied();
    let overlay = tag.group() >> 8 == 0x60 && matches!(tag.element(), 0x3000 | 0x4000);
    match (named, vr) {
        (Some(action), _) => Some(action),
        _ if tag.group() >> 8 == 0x50 || overlay || tag.group() == 0x0010 => Some(Action::Removed),
        (None, VR::SQ) if depth >= DEEPEST => Some(Action::Removed),
        (None, VR::DA | VR::TM | VR::DT) => Some(Action::Replaced),
        (None, VR::PN) => Some(Action::Emptied),
        (None, _) => None,
    }
}

/// Rows that are not well formed are left out; the tests below see to it that none is.
fn table(csv: &str) -> BTreeMap<u32, Action> {
    let row = |line: &str| {
        let (tag, action) = line.split_once(',')?;
        let action = match action {
            "X" => Action::Removed,
            "Z" => Action::Emptied,
            "D" => Action::Replaced,
            "U" => Action::Renamed,
            _ => return None,
        };
        Some((u32::from_str_radix(tag, 16).ok()?, action))
    };
    csv.lines().filter_map(row).collect()
}

/// A value that says nothing and is valid for the VR.
fn dummy(tag: Tag, vr: VR) -> InMemElement {
    let text = match vr {
        VR::SQ => return sequence_of(tag, vec![InMemDicomObject::new_empty()]),
        VR::DA => "19000101",
        VR::TM => "000000",
        VR::DT => "19000101000000",
        VR::AS => "000Y",
        VR::IS | VR::DS => "0",
        VR::UI => "2.25.0",
        VR::PN => "Removed^",
        VR::AE | VR::CS => "REMOVED",
        VR::LO | VR::LT | VR::SH | VR::ST | VR::UC | VR::UR | VR::UT => "removed",
        VR::US | VR::OW => return element(tag, vr, 0_u16),
        VR::SS => return element(tag, vr, 0_i16),
        VR::UL | VR::OL | VR::AT => return element(tag, vr, 0_u32),
        VR::SL => return element(tag, vr, 0_i32),
        VR::FL | VR::OF => return element(tag, vr, 0_f32),
        VR::FD | VR::OD => return element(tag, vr, 0_f64),
        VR::UV | VR::OV => return element(tag, vr, 0_u64),
        VR::SV => return element(tag, vr, 0_i64),
        _ => return element(tag, vr, vec![0_u8; 2]),
    };
    element(tag, vr, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_understood() {
        let csv = include_str!("../../confidentiality.csv");
        let rows = csv.lines().filter(|l| !l.starts_with('#')).count() - 1;
        let table = table(csv);
        assert_eq!(table.len(), rows);
        let action = |tag: Tag| action(tag, VR::LO, 0);
        assert_eq!(action(tags::PATIENT_NAME), Some(Action::Emptied));
        assert_eq!(action(tags::INSTITUTION_ADDRESS), Some(Action::Removed));
        assert_eq!(action(tags::SOP_INSTANCE_UID), Some(Action::Renamed));
        assert_eq!(action(tags::DEVICE_SERIAL_NUMBER), Some(Action::Replaced));
        assert_eq!(action(Tag(0x6002, 0x3000)), Some(Action::Removed));
        assert_eq!(action(tags::ROWS), None);
    }
}
