//! What a header says of the kind of imaging and the part of the body, in bedside's words.

use bedside_core::{Modality, Ontology};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;

use super::header::{first_text, items, text};

/// The kind of imaging: what the header calls it, else what its SOP class is for.
pub(crate) fn modality(header: &InMemDicomObject) -> Option<Modality> {
    let class = text(header, tags::SOP_CLASS_UID);
    let class = class.as_deref().unwrap_or_default();
    let by_class = || {
        Some(match class {
            uids::ULTRASOUND_IMAGE_STORAGE | uids::ULTRASOUND_MULTI_FRAME_IMAGE_STORAGE => {
                Modality::Ultrasound
            }
            uids::VL_ENDOSCOPIC_IMAGE_STORAGE | uids::VIDEO_ENDOSCOPIC_IMAGE_STORAGE => {
                Modality::Endoscopy
            }
            uids::VL_MICROSCOPIC_IMAGE_STORAGE
            | uids::VIDEO_MICROSCOPIC_IMAGE_STORAGE
            | uids::VL_SLIDE_COORDINATES_MICROSCOPIC_IMAGE_STORAGE
            | uids::VL_WHOLE_SLIDE_MICROSCOPY_IMAGE_STORAGE => Modality::Pathology,
            uids::DERMOSCOPIC_PHOTOGRAPHY_IMAGE_STORAGE => Modality::Dermoscopy,
            uids::OPHTHALMIC_PHOTOGRAPHY8_BIT_IMAGE_STORAGE
            | uids::OPHTHALMIC_PHOTOGRAPHY16_BIT_IMAGE_STORAGE => Modality::Fundus,
            uids::OPHTHALMIC_TOMOGRAPHY_IMAGE_STORAGE => Modality::Oct,
            uids::CT_IMAGE_STORAGE | uids::ENHANCED_CT_IMAGE_STORAGE => Modality::Ct,
            uids::MR_IMAGE_STORAGE | uids::ENHANCED_MR_IMAGE_STORAGE => Modality::Mri,
            uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE
            | uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION
            | uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PROCESSING => Modality::XRay,
            _ => return None,
        })
    };
    let name = first_text(header, tags::MODALITY);
    Some(match name.as_deref().unwrap_or_default() {
        "US" | "IVUS" | "BDUS" => Modality::Ultrasound,
        "ES" => Modality::Endoscopy,
        "CT" => Modality::Ct,
        "MR" => Modality::Mri,
        "CR" | "DX" | "DR" | "RF" | "XA" | "RG" | "MG" => Modality::XRay,
        "OP" => Modality::Fundus,
        "OPT" => Modality::Oct,
        "DMS" => Modality::Dermoscopy,
        "SM" | "GM" => Modality::Pathology,
        // Photographs of skin; dermoscopy is mostly stored as such.
        "XC" if words_of(header).iter().any(|words| words.contains("SKIN")) => Modality::Dermoscopy,
        _ => return by_class(),
    })
}

/// Words of headers, and the site that each means; the first that fits counts.
const SITES: [(&str, &str); 31] = [
    ("PERINE", "transperineal"),
    ("BREAST", "breast"),
    ("MAMMA", "breast"),
    ("HEART", "heart"),
    ("CARDIAC", "heart"),
    ("VENTRICLE", "heart"),
    ("CHAMBER", "heart"),
    ("PARASTERNAL", "heart"),
    ("APICAL", "heart"),
    ("COLON", "colon"),
    ("RECTUM", "colon"),
    ("CECUM", "colon"),
    ("LARGE INTESTINE", "colon"),
    ("PROSTATE", "prostate"),
    ("PANCREA", "pancreas"),
    ("LIVER", "liver"),
    ("LUNG", "lung"),
    ("BRACHIAL PLEXUS", "neck"),
    ("NECK", "neck"),
    ("BRAIN", "brain"),
    ("HEAD", "brain"),
    ("SKULL", "brain"),
    ("RETINA", "retinal"),
    ("EYE", "retinal"),
    ("SKIN", "skin"),
    ("PELVIS", "pelvis"),
    ("CHEST", "chest"),
    ("THORAX", "chest"),
    ("ABDOMEN", "abdomen"),
    ("KIDNEY", "kidney"),
    ("STOMACH", "stomach"),
];

/// The organ counts as the region that it lies in, where that is what training called it.
const REGIONS: [(Modality, &str, &str); 8] = [
    (Modality::XRay, "lung", "chest"),
    (Modality::Ct, "kidney", "abdomen"),
    (Modality::Ct, "stomach", "abdomen"),
    (Modality::Ct, "prostate", "pelvis"),
    (Modality::Mri, "liver", "abdomen"),
    (Modality::Mri, "kidney", "abdomen"),
    (Modality::Mri, "pancreas", "abdomen"),
    (Modality::Pathology, "pancreas", "pancreatic"),
];

/// Sites that bundles may know beyond the ontology.
const BEYOND: [(Modality, &str); 1] = [(Modality::Ultrasound, "neck")];

/// The part of the body, where it is one that the modality was trained at.
pub(crate) fn site(header: &InMemDicomObject, modality: Modality) -> Option<&'static str> {
    // There is but one site to look at.
    match modality {
        Modality::Fundus | Modality::Oct => return Some("retinal"),
        Modality::Dermoscopy => return Some("skin"),
        _ => {}
    }
    let all = words_of(header);
    let told = SITES
        .iter()
        .filter(|(word, _)| all.iter().any(|words| words.contains(word)));
    told.map(|(_, site)| *site).find_map(|site| {
        let region = REGIONS
            .iter()
            .find(|entry| (entry.0, entry.1) == (modality, site));
        let site = region.map_or(site, |entry| entry.2);
        let forms = Ontology::biomedparse_v1().forms();
        let trained = forms
            .iter()
            .any(|f| f.modality == modality && f.site == site);
        (trained || BEYOND.contains(&(modality, site))).then_some(site)
    })
}

/// What a header calls the part of the body and the view of it, in capitals.
fn words_of(header: &InMemDicomObject) -> Vec<String> {
    let coded = [
        tags::ANATOMIC_REGION_SEQUENCE,
        tags::PRIMARY_ANATOMIC_STRUCTURE_SEQUENCE,
        tags::VIEW_CODE_SEQUENCE,
    ];
    let coded = coded.iter().flat_map(|tag| items(header, *tag));
    let coded = coded.filter_map(|item| text(item, tags::CODE_MEANING));
    let plain = text(header, tags::BODY_PART_EXAMINED);
    plain
        .into_iter()
        .chain(coded)
        .map(|words| words.to_uppercase())
        .collect()
}
