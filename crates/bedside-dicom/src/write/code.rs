//! Coded concepts: what a segment shows, in terms that other programs know.

use bedside_core::{Category, Ontology};

/// A concept of a coding scheme, as DICOM's Code Sequence Macro has it (PS3.3, 8.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// Code value, at most 16 characters, such as "10200004".
    pub value: String,
    /// Coding scheme designator: "SCT" for SNOMED CT, "DCM" for DICOM's own, "UCUM" for units.
    pub scheme: String,
    /// What people read, at most 64 characters.
    pub meaning: String,
}

impl Code {
    /// A code of those three.
    pub fn new(value: &str, scheme: &str, meaning: &str) -> Self {
        Self {
            value: value.to_owned(),
            scheme: scheme.to_owned(),
            meaning: meaning.to_owned(),
        }
    }

    /// Whether it says left or right.
    pub(super) fn is_side(&self) -> bool {
        [LEFT, RIGHT].into_iter().any(|side| *self == code(side))
    }
}

/// The property that a segment has where its pixels are set (PS3.3, C.8.20.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Broadest kind: of context group CID 7150.
    pub category: Code,
    /// The kind itself.
    pub kind: Code,
    /// What tells it from others of its kind, such as its side.
    pub modifier: Option<Code>,
    /// The part of the body, where the kind does not say it.
    pub region: Option<Code>,
}

/// Value, scheme, meaning.
type Static = (&'static str, &'static str, &'static str);
/// Object type, category, kind, modifier, region.
type Known = (&'static str, Static, Static, Option<Static>, Option<Static>);

const ANATOMY: Static = ("91723000", "SCT", "Anatomical Structure");
const ABNORMAL: Static = ("49755003", "SCT", "Morphologically Abnormal Structure");
const TISSUE: Static = ("85756007", "SCT", "Tissue");

const LEFT: Static = ("7771000", "SCT", "Left");
const RIGHT: Static = ("24028007", "SCT", "Right");
const BENIGN: Static = ("30807003", "SCT", "Benign");
const MALIGNANT: Static = ("21594007", "SCT", "Malignant");
const NEOPLASM: Static = ("108369006", "SCT", "Neoplasm");
const INFLAMMATION: Static = ("409774005", "SCT", "Inflammation");
const LESION: Static = ("52988006", "SCT", "Lesion");
const ORGAN: Static = ("91772007", "SCT", "Organ");
const CELL: Static = ("4421005", "SCT", "Cell");
const DISC: Static = ("81016008", "SCT", "Optic nerve head");

const BREAST: Static = ("76752008", "SCT", "Breast");
const COLON: Static = ("71854001", "SCT", "Colon");
const LUNG: Static = ("39607008", "SCT", "Lung");
const RETINA: Static = ("5665001", "SCT", "Retina");
const SKIN: Static = ("39937001", "SCT", "Skin");

/// What is neither in SNOMED CT nor in DICOM, as far as we know.
const OWN: &str = "99BEDSIDE";

/// The object types that the edge model knows.
#[rustfmt::skip]
const KNOWN: [Known; 25] = [
    ("colon polyp", ABNORMAL, ("41329004", "SCT", "Polyp"), None, Some(COLON)),
    ("breast tumor", ABNORMAL, NEOPLASM, None, Some(BREAST)),
    ("benign breast tumor", ABNORMAL, NEOPLASM, Some(BENIGN), Some(BREAST)),
    ("malignant breast tumor", ABNORMAL, NEOPLASM, Some(MALIGNANT), Some(BREAST)),
    ("COVID-19 infection", ABNORMAL, INFLAMMATION, None, Some(LUNG)),
    ("skin lesion", ABNORMAL, LESION, None, Some(SKIN)),
    ("left heart ventricle", ANATOMY, ("87878005", "SCT", "Left ventricle"), None, None),
    ("right heart ventricle", ANATOMY, ("53085002", "SCT", "Right ventricle"), None, None),
    ("left heart atrium", ANATOMY, ("82471001", "SCT", "Left atrium"), None, None),
    ("myocardium", ANATOMY, ("74281007", "SCT", "Myocardium"), None, None),
    ("heart", ANATOMY, ("80891009", "SCT", "Heart"), None, None),
    ("fetal head", ANATOMY, ("69536005", "SCT", "Head"), Some(("121026", "DCM", "Fetus")), None),
    ("brachial plexus nerve", ANATOMY, ("36582005", "SCT", "Brachial plexus"), None, None),
    ("lung", ANATOMY, LUNG, None, None),
    ("left lung", ANATOMY, LUNG, Some(LEFT), None),
    ("right lung", ANATOMY, LUNG, Some(RIGHT), None),
    ("liver", ANATOMY, ("10200004", "SCT", "Liver"), None, None),
    ("optic disc", ANATOMY, DISC, None, None),
    ("optic cup", ANATOMY, DISC, Some(("optic-cup", OWN, "Cup of optic disc")), None),
    ("retinal vessel", ANATOMY, ("59820001", "SCT", "Blood Vessel"), None, Some(RETINA)),
    ("colon glandular structure", TISSUE, ("gland", OWN, "Glandular structure"), None, Some(COLON)),
    ("inflammatory cells", ANATOMY, CELL, Some(INFLAMMATION), None),
    ("epithelial cells", ANATOMY, ("4212006", "SCT", "Epithelial cell"), None, None),
    ("connective tissue cells", ANATOMY, CELL, Some(("21793004", "SCT", "Connective tissue")), None),
    ("neoplastic cells", ABNORMAL, CELL, Some(NEOPLASM), None),
];

fn code((value, scheme, meaning): Static) -> Code {
    Code::new(value, scheme, meaning)
}

impl Property {
    /// The property of an object type by its name in the ontology.
    ///
    /// Of types that are not in the table it is the broadest that is true: an organ, a lesion, a
    /// cell; of no type, or one that the ontology does not have, tissue. The segment's label says
    /// more then.
    pub fn of(object: Option<&str>) -> Self {
        let known = |name| KNOWN.iter().find(|known| known.0 == name);
        if let Some((_, category, kind, modifier, region)) = object.and_then(known) {
            return Self {
                category: code(*category),
                kind: code(*kind),
                modifier: modifier.map(code),
                region: region.map(code),
            };
        }
        let object = object.and_then(|name| Ontology::biomedparse_v1().object(name));
        let (category, kind) = match object.map(|object| object.category) {
            Some(Category::Organ) => (ANATOMY, ORGAN),
            Some(Category::Abnormality) => (ABNORMAL, LESION),
            Some(Category::Histology) => (ANATOMY, CELL),
            None => (TISSUE, TISSUE),
        };
        Self {
            category: code(category),
            kind: code(kind),
            modifier: None,
            region: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_fit_their_elements_and_are_of_the_objects_that_they_name() {
        for (name, category, kind, modifier, region) in KNOWN {
            let codes = [Some(category), Some(kind), modifier, region];
            for (value, scheme, meaning) in codes.into_iter().flatten() {
                assert!(
                    value.len() <= 16 && scheme.len() <= 16 && meaning.len() <= 64,
                    "{name}"
                );
                let digits = value.bytes().all(|b| b.is_ascii_digit());
                assert_eq!(digits, scheme != OWN, "{name}");
            }
            if let Some(object) = Ontology::biomedparse_v1().object(name) {
                let abnormal = object.category == Category::Abnormality;
                assert!(!abnormal || category == ABNORMAL, "{name}");
            }
        }
        assert_eq!(Property::of(Some("melanoma")).kind, code(LESION));
        assert_eq!(Property::of(Some("spleen")).kind, code(ORGAN));
        assert_eq!(Property::of(None).kind, code(TISSUE));
        assert_eq!(Property::of(Some("right lung")).modifier, Some(code(RIGHT)));
    }

    #[test]
    fn all_that_are_trained_are_known() {
        let forms = include_str!("../../../../models/train/bedside_train/forms.py");
        let (_, trained) = forms.split_once("\n_TRAINED = (").unwrap();
        let (trained, _) = trained.split_once("\n)").unwrap();
        let rows = trained
            .lines()
            .filter_map(|line| line.trim().strip_prefix("(\""));
        let names: Vec<_> = rows.filter_map(|row| row.split('"').next()).collect();
        assert!(names.len() > 20);
        for name in names {
            assert!(
                KNOWN.iter().any(|known| known.0 == name),
                "{name} has no code"
            );
        }
    }
}
