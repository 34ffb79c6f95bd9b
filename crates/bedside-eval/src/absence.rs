//! Which objects a frame surely does not show, though no row says so.
//!
//! A dataset outlines what it is about, and leaves out the rest: a chest film that is labelled for
//! its lungs shows a heart as well. To count the heart as absent there would be to count right
//! answers as false alarms. So an object counts as absent only where the frame can't show it.

use bedside::{Form, Modality};

/// Whether a frame of a modality can't show a form. `there` are the forms that the frame's rows
/// name, be they in it or not: they tell where in the body it was taken. What they name is no
/// other object, and without any of them nothing of the modality is sure.
pub(crate) fn surely_absent(form: &Form, modality: Modality, there: &[&Form]) -> bool {
    let may_be_beside = |known: &&Form| {
        known.object == form.object || share_frames(modality, &known.site, &form.site)
    };
    form.modality != modality || !(there.is_empty() || there.iter().any(may_be_beside))
}

/// Whether one frame may show objects of both sites, marked or not.
fn share_frames(modality: Modality, a: &str, b: &str) -> bool {
    let among = |sites: &[&str]| sites.contains(&a) && sites.contains(&b);
    a == b
        || match modality {
            // A slice through the liver's dome has lung beside it, one through the lower abdomen
            // has colon and pelvis; organs with a site of their own lie inside these.
            Modality::Ct => among(&[
                "abdomen", "chest", "colon", "liver", "lung", "pancreas", "pelvis",
            ]),
            // Views of the heart reach below the diaphragm, and abdominal ones into the pelvis.
            Modality::Mri => among(&["abdomen", "heart"]) || among(&["abdomen", "prostate"]),
            // A chest film shows the heart.
            Modality::XRay => among(&["chest", "heart"]),
            // The site of a form is the organ that training's slides came from; cells of a kind are
            // in slides of every organ.
            Modality::Pathology => true,
            // One view, one site: the probe or scope is at one organ.
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use bedside::Ontology;

    use super::*;

    fn form(text: &str) -> &'static Form {
        let forms = Ontology::biomedparse_v1().forms();
        forms.iter().find(|f| f.text() == text).unwrap()
    }

    /// Whether a frame that is labelled for one object surely lacks another.
    fn absent(other: &str, labelled: &str) -> bool {
        let labelled = form(labelled);
        surely_absent(form(other), labelled.modality, &[labelled])
    }

    #[test]
    fn what_a_frame_may_show_unmarked_is_not_absent() {
        for (one, other) in [
            ("lung in chest x-ray", "heart in heart x-ray"),
            ("lung in chest x-ray", "left lung in chest x-ray"),
            (
                "left heart ventricle in heart ultrasound",
                "left heart atrium in heart ultrasound",
            ),
            (
                "retinal vessel in retinal fundus",
                "optic cup in retinal fundus",
            ),
            (
                "benign tumor in breast ultrasound",
                "tumor in breast ultrasound",
            ),
            ("liver in abdomen ct", "nodule in lung ct"),
            ("left heart ventricle in heart mri", "liver in abdomen mri"),
            ("prostate in prostate mri", "aorta in abdomen mri"),
            (
                "glandular structure in colon pathology",
                "inflammatory cells in adrenal gland pathology",
            ),
        ] {
            assert!(!absent(other, one), "{other} beside {one}");
            assert!(!absent(one, other), "{one} beside {other}");
        }
    }

    #[test]
    fn what_a_frame_cannot_show_is_absent() {
        for (labelled, other) in [
            (
                "tumor in breast ultrasound",
                "left heart ventricle in heart ultrasound",
            ),
            (
                "fetal head in transperineal ultrasound",
                "tumor in breast ultrasound",
            ),
            (
                "prostate in prostate mri",
                "left heart ventricle in heart mri",
            ),
            (
                "left heart ventricle in heart mri",
                "enhancing tumor in brain mri-t1-gd",
            ),
            ("liver in abdomen ct", "liver in abdomen mri"),
            ("lung in chest x-ray", "polyp in colon endoscope"),
        ] {
            assert!(absent(other, labelled), "{other} beside {labelled}");
        }
    }

    #[test]
    fn all_that_rows_say_of_a_frame_counts() {
        let [breast, heart, head] = [
            "tumor in breast ultrasound",
            "left heart atrium in heart ultrasound",
            "fetal head in transperineal ultrasound",
        ]
        .map(form);
        let absent = |form, there: &[&Form]| surely_absent(form, Modality::Ultrasound, there);
        assert!(absent(heart, &[breast]) && !absent(heart, &[breast, heart]));
        assert!(absent(head, &[breast, heart]));
        // Known by nothing but its modality, it may show anything of that.
        assert!(!absent(heart, &[]));
        assert!(absent(form("lung in chest x-ray"), &[]));
    }
}
