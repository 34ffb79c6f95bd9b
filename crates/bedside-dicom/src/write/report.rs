//! Measurements as a Structured Report: Comprehensive SR of template TID 1500, a group of
//! measurements for each mask (TID 1410) or each volume (TID 1411).

use std::collections::BTreeSet;

use bedside_core::Mask;
use dicom_core::value::PrimitiveValue;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_encoding::text::SpecificCharacterSet;
use dicom_object::mem::InMemElement;
use dicom_object::{DefaultDicomObject, InMemDicomObject};
use dicom_transfer_syntax_registry::{TransferSyntaxIndex, TransferSyntaxRegistry};

use super::code::Code;
use super::element::{code, coded, element, item, sequence};
use super::error::ObjectError;
use super::measure::{centre, measure};
use super::origin::{Context, file};
use super::segmentation::{Segment, Segmentation};
use super::source::{reference, referenced_series};
use crate::read::header::text;

/// A concept's value, scheme and meaning.
type Concept = (&'static str, &'static str, &'static str);

const CONTAINS: &str = "CONTAINS";
const INFERRED: &str = "INFERRED FROM";
const MODIFIER: &str = "HAS CONCEPT MOD";
const SELECTED: &str = "SELECTED FROM";
const CONTEXT: &str = "HAS OBS CONTEXT";
const GROUP: Concept = ("125007", "DCM", "Measurement Group");
const SOURCE: Concept = ("121112", "DCM", "Source of Measurement");
const MILLILITRE: Concept = ("mL", "UCUM", "milliliter");

/// The left ventricle over a cine, by the single-plane method of discs.
#[derive(Debug, Clone, PartialEq)]
pub struct Ventricle {
    /// Number of the segment that it is, from 1.
    pub segment: u16,
    /// Its beats, in their order.
    pub beats: Vec<Beat>,
    /// The mean of the beats' ejection fractions, where there are several.
    pub mean_ejection_fraction: Option<f64>,
}

/// A beat of the left ventricle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beat {
    /// End of diastole.
    pub diastole: Extreme,
    /// End of systole.
    pub systole: Extreme,
    /// A share: 0.6 for 60 %.
    pub ejection_fraction: Option<f64>,
}

/// The left ventricle at its largest or smallest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extreme {
    /// Number of the frame, from 1.
    pub frame: u32,
    /// Volume in ml, where pixels have a size.
    pub volume: Option<f64>,
}

/// The report of measurements of a segmentation: area, centre and long and short diameter of each
/// mask, with the frame of the image and of the Segmentation object that it is of. Masks of one
/// segment on several frames are tied together by its tracking UID. Of a cine of the left ventricle
/// also volumes and ejection fraction of each beat.
///
/// Lengths are in mm where the image tells the size of its pixels there, else in pixels. Segments
/// without a mask on any frame are reported as absent.
///
/// `stored` is the Segmentation object that [`Segmentation::to_dicom`] made of `segmentation`. The
/// report is to be written: it has its groups encoded already.
///
/// # Errors
/// [`ObjectError::Mismatch`] where the context's image is not that of the segmentation,
/// [`ObjectError::Attribute`] where `stored` has no UIDs, [`ObjectError::NoSegment`] for a ventricle
/// of none, [`ObjectError::Library`].
pub fn report(
    segmentation: &Segmentation,
    stored: &DefaultDicomObject,
    ventricle: Option<&Ventricle>,
    context: &Context,
) -> Result<DefaultDicomObject, ObjectError> {
    let drawn = Stored::of(segmentation, stored, context)?;
    let mut groups = Groups::default();
    for (segment, of) in (1_u16..).zip(segmentation.segments()) {
        let mut is_absent = true;
        for (at, (_, frame)) in (1_u32..)
            .zip(segmentation.frames())
            .filter(|f| f.1.0 == segment)
        {
            // Probabilities below one half everywhere are no finding.
            let mask = segmentation
                .mask(segment, frame)?
                .filter(|mask| !mask.is_empty());
            let drawn = drawn.reference(tags::REFERENCED_FRAME_NUMBER, VR::IS, at.to_string());
            if let Some(group) = mask.and_then(|mask| present(of, frame, &mask, drawn, context)) {
                groups.push(&group)?;
                is_absent = false;
            }
        }
        if is_absent {
            groups.push(&absent(of, context))?;
        }
    }
    if let Some(ventricle) = ventricle {
        let segments = (1_u16..).zip(segmentation.segments());
        let mut own = segments.filter(|(segment, _)| *segment == ventricle.segment);
        let (_, of) = own
            .next()
            .ok_or(ObjectError::NoSegment(ventricle.segment))?;
        for group in beats(of, ventricle, context) {
            groups.push(&group)?;
        }
    }
    document(groups, &drawn, context)
}

/// The report of the volumes of a segmentation of slices: one for each segment, in ml. Segments
/// without a mask on any slice are reported as absent.
///
/// # Errors
/// As [`report`].
pub fn report_volumes(
    segmentation: &Segmentation,
    stored: &DefaultDicomObject,
    volumes: &[f64],
    context: &Context,
) -> Result<DefaultDicomObject, ObjectError> {
    let drawn = Stored::of(segmentation, stored, context)?;
    let found: BTreeSet<u16> = segmentation.frames().map(|(segment, _)| segment).collect();
    let segments = (1_u16..).zip(segmentation.segments()).zip(volumes);
    let mut groups = Groups::default();
    for ((segment, of), volume) in segments {
        groups.push(&match found.contains(&segment) {
            true => {
                let tag = tags::REFERENCED_SEGMENT_NUMBER;
                let drawn = drawn.reference(tag, VR::US, segment);
                volumetric(of, *volume, drawn, context)
            }
            false => absent(of, context),
        })?;
    }
    document(groups, &drawn, context)
}

/// Groups of measurements, each encoded as soon as it is known: as objects those of a cine of
/// thousands of frames take a hundred times the room.
#[derive(Default)]
struct Groups(Vec<u8>);

impl Groups {
    /// One more, as an item of a sequence in the transfer syntax of all objects written here.
    fn push(&mut self, group: &InMemDicomObject) -> Result<(), ObjectError> {
        let syntax = TransferSyntaxRegistry.get(uids::EXPLICIT_VR_LITTLE_ENDIAN);
        let syntax = syntax.ok_or_else(|| ObjectError::Library("no explicit VR".to_owned()))?;
        self.0.extend(*b"\xfe\xff\x00\xe0\xff\xff\xff\xff");
        // Other texts than those of Unicode are ASCII, which is the same in it.
        let set = SpecificCharacterSet::ISO_IR_192;
        let written = group.write_dataset_with_ts_cs(&mut self.0, syntax, set);
        written.map_err(|e| ObjectError::Library(e.to_string()))?;
        self.0.extend(*b"\xfe\xff\x0d\xe0\x00\x00\x00\x00");
        Ok(())
    }
}

/// The Segmentation object that is measured.
struct Stored {
    instance: String,
    series: String,
}

impl Stored {
    fn of(
        segmentation: &Segmentation,
        stored: &DefaultDicomObject,
        context: &Context,
    ) -> Result<Self, ObjectError> {
        segmentation.check(context.source)?;
        let uid = |tag, name| text(stored, tag).ok_or(ObjectError::Attribute(name));
        if uid(tags::STUDY_INSTANCE_UID, "Study Instance UID")? != context.source.study {
            return Err(ObjectError::Mismatch(
                "the Segmentation object is of another study",
            ));
        }
        Ok(Self {
            instance: uid(tags::SOP_INSTANCE_UID, "SOP Instance UID")?,
            series: uid(tags::SERIES_INSTANCE_UID, "Series Instance UID")?,
        })
    }

    /// What refers to a frame or a segment of it.
    fn reference(&self, tag: Tag, vr: VR, number: impl Into<PrimitiveValue>) -> InMemDicomObject {
        let mut item = reference(uids::SEGMENTATION_STORAGE, &self.instance);
        item.put(element(tag, vr, number));
        item
    }
}

/// The report that holds those groups of measurements.
fn document(
    groups: Groups,
    drawn: &Stored,
    context: &Context,
) -> Result<DefaultDicomObject, ObjectError> {
    let (source, origin) = (context.source, context.origin);
    let mut measurements = container(("126010", "DCM", "Imaging Measurements"), None, vec![]);
    let groups = PrimitiveValue::from(groups.0);
    measurements.put(InMemElement::new(tags::CONTENT_SEQUENCE, VR::SQ, groups));
    let observer =
        |concept, text: &str| content(CONTEXT, "TEXT", concept, [value_text(context, text)]);
    let items = vec![
        coded_content(
            MODIFIER,
            ("121049", "DCM", "Language of Content Item and Descendants"),
            &Code::new("en-US", "RFC5646", "English (United States)"),
        ),
        coded_content(
            CONTEXT,
            ("121005", "DCM", "Observer Type"),
            &Code::new("121007", "DCM", "Device"),
        ),
        content(
            CONTEXT,
            "UIDREF",
            ("121012", "DCM", "Device Observer UID"),
            [
                // The device has no UID of its own; this one is its UID in this series.
                element(tags::UID, VR::UI, context.series.uid.as_str()),
            ],
        ),
        observer(
            ("121013", "DCM", "Device Observer Name"),
            &origin.model_name,
        ),
        observer(
            ("121014", "DCM", "Device Observer Manufacturer"),
            &origin.manufacturer,
        ),
        observer(
            ("121015", "DCM", "Device Observer Model Name"),
            &origin.model_name,
        ),
        observer(
            ("121016", "DCM", "Device Observer Serial Number"),
            &origin.serial_number,
        ),
        coded_content(
            MODIFIER,
            ("121058", "DCM", "Procedure reported"),
            &Code::new("363679005", "SCT", "Imaging procedure"),
        ),
        measurements,
    ];
    let mut object = context.object(uids::COMPREHENSIVE_SR_STORAGE, "SR");
    let evidence = vec![
        referenced_series(
            &source.series,
            tags::REFERENCED_SOP_SEQUENCE,
            source.references(),
        ),
        referenced_series(
            &drawn.series,
            tags::REFERENCED_SOP_SEQUENCE,
            vec![reference(uids::SEGMENTATION_STORAGE, &drawn.instance)],
        ),
    ];
    let elements = [
        sequence(tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, vec![]),
        sequence(tags::PERFORMED_PROCEDURE_CODE_SEQUENCE, vec![]),
        element(tags::COMPLETION_FLAG, VR::CS, "COMPLETE"),
        element(tags::VERIFICATION_FLAG, VR::CS, "UNVERIFIED"),
        item(
            tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE,
            [
                element(tags::STUDY_INSTANCE_UID, VR::UI, source.study.as_str()),
                sequence(tags::REFERENCED_SERIES_SEQUENCE, evidence),
            ],
        ),
        element(tags::VALUE_TYPE, VR::CS, "CONTAINER"),
        concept(("126000", "DCM", "Imaging Measurement Report")),
        element(tags::CONTINUITY_OF_CONTENT, VR::CS, "SEPARATE"),
        template("1500"),
        sequence(tags::CONTENT_SEQUENCE, items),
    ];
    for element in elements {
        object.put(element);
    }
    file(object)
}

/// Planar ROI Measurements and Qualitative Evaluations (TID 1410) of one mask.
fn present(
    of: &Segment,
    frame: u32,
    mask: &Mask,
    drawn: InMemDicomObject,
    context: &Context,
) -> Option<InMemDicomObject> {
    let (_, around) = mask.measure_rows(0..mask.height());
    let spacing = context.source.spacing(around?);
    let (width, height) = spacing.map_or((1.0, 1.0), |spacing| (spacing.x, spacing.y));
    let measures = measure(mask, width, height)?;
    let (length, area) = match spacing {
        Some(_) => (("mm", "UCUM", "mm"), ("mm2", "UCUM", "square millimeter")),
        None => (
            ("{pixels}", "UCUM", "pixels"),
            ("{pixels}", "UCUM", "pixels"),
        ),
    };
    let mut items = found(of, None, context);
    let image = context.source.frame_reference(frame);
    items.extend([
        image_content(("121214", "DCM", "Referenced Segmentation Frame"), drawn),
        image_content(
            ("121233", "DCM", "Source image for segmentation"),
            image.clone(),
        ),
        point(("111010", "DCM", "Center"), centre(mask)?, image),
        measured(("42798000", "SCT", "Area"), measures.area, area),
        measured(("103339001", "SCT", "Long axis"), measures.long, length),
        measured(("103340004", "SCT", "Short axis"), measures.short, length),
    ]);
    Some(container(GROUP, Some("1410"), items))
}

/// Volumetric ROI Measurements and Qualitative Evaluations (TID 1411) of one segment.
fn volumetric(
    of: &Segment,
    volume: f64,
    drawn: InMemDicomObject,
    context: &Context,
) -> InMemDicomObject {
    let series = element(tags::UID, VR::UI, context.source.series.as_str());
    let mut items = found(of, None, context);
    items.extend([
        image_content(("121191", "DCM", "Referenced Segment"), drawn),
        content(
            CONTAINS,
            "UIDREF",
            ("121232", "DCM", "Source series for segmentation"),
            [series],
        ),
        measured(("118565006", "SCT", "Volume"), volume, MILLILITRE),
    ]);
    container(GROUP, Some("1411"), items)
}

/// Measurement and Qualitative Evaluation Groups (TID 1501) of the left ventricle (CID 12202): one of
/// each beat, and of their mean.
fn beats(of: &Segment, ventricle: &Ventricle, context: &Context) -> Vec<InMemDicomObject> {
    let method = coded_content(
        MODIFIER,
        ("370129005", "SCT", "Measurement Method"),
        &Code::new("125208", "DCM", "Method of Disks, Single Plane"),
    );
    let group = |images: Vec<InMemDicomObject>, measures: Vec<InMemDicomObject>| {
        let mut items = found(of, None, context);
        items.push(method.clone());
        items.extend(images.into_iter().map(|image| image_content(SOURCE, image)));
        items.extend(measures);
        container(GROUP, Some("1501"), items)
    };
    let fraction = |share: f64| {
        let name = ("18043-0", "LN", "Left Ventricular Ejection Fraction by US");
        measured(name, 100.0 * share, ("%", "UCUM", "Percent"))
    };
    let volume = |name, at: Extreme| {
        let mut volume = measured(name, at.volume?, MILLILITRE);
        let mut image = image_content(SOURCE, context.source.frame_reference(at.frame));
        image.put(element(tags::RELATIONSHIP_TYPE, VR::CS, INFERRED));
        volume.put(sequence(tags::CONTENT_SEQUENCE, vec![image]));
        Some(volume)
    };
    let beat = |beat: &Beat| {
        let images = [beat.diastole, beat.systole];
        let images = images.map(|at| context.source.frame_reference(at.frame));
        let diastolic = ("18026-5", "LN", "Left Ventricular End Diastolic Volume");
        let systolic = ("18148-7", "LN", "Left Ventricular End Systolic Volume");
        let measures = [
            volume(diastolic, beat.diastole),
            volume(systolic, beat.systole),
            beat.ejection_fraction.map(fraction),
        ];
        let measures: Vec<_> = measures.into_iter().flatten().collect();
        (!measures.is_empty()).then(|| group(images.to_vec(), measures))
    };
    let mean = |share: f64| {
        let mut mean = fraction(share);
        let derivation = ("121401", "DCM", "Derivation");
        let of_beats = Code::new("373098007", "SCT", "Mean");
        let derivation = coded_content(MODIFIER, derivation, &of_beats);
        mean.put(sequence(tags::CONTENT_SEQUENCE, vec![derivation]));
        group(context.source.references(), vec![mean])
    };
    let beats = ventricle.beats.iter().filter_map(beat);
    beats
        .chain(ventricle.mean_ejection_fraction.map(mean))
        .collect()
}

/// Measurement and Qualitative Evaluation Group (TID 1501) of what is on no frame.
fn absent(of: &Segment, context: &Context) -> InMemDicomObject {
    // Negation Modifier, Presence of Finding (TID 1350).
    let presence = ("121052", "DCM", "Presence of property");
    let absent = coded_content(MODIFIER, presence, &Code::new("272519000", "SCT", "Absent"));
    let mut items = found(of, Some(absent), context);
    let images = context.source.references().into_iter();
    items.extend(images.map(|image| image_content(SOURCE, image)));
    container(GROUP, Some("1501"), items)
}

/// What a group begins with: what ties it to others, what it is of, and who says so.
fn found(
    of: &Segment,
    presence: Option<InMemDicomObject>,
    context: &Context,
) -> Vec<InMemDicomObject> {
    const SITE: Concept = ("363698007", "SCT", "Finding Site");
    const SIDE: Concept = ("272741003", "SCT", "Laterality");
    const FURTHER: Concept = ("112024", "DCM", "Single Image Finding Modifier");
    let property = &of.property;
    // A side is the site's; anything else is the finding's.
    let (side, further) = match &property.modifier {
        Some(modifier) if modifier.is_side() => (Some(modifier), None),
        other => (None, other.as_ref()),
    };
    let further = further.map(|further| coded_content(MODIFIER, FURTHER, further));
    let mut finding = coded_content(CONTAINS, ("121071", "DCM", "Finding"), &property.kind);
    let modifiers: Vec<_> = presence.into_iter().chain(further).collect();
    if !modifiers.is_empty() {
        finding.put(sequence(tags::CONTENT_SEQUENCE, modifiers));
    }
    let region = property.region.as_ref();
    let site = region
        .or_else(|| side.map(|_| &property.kind))
        .map(|region| {
            let mut site = coded_content(MODIFIER, SITE, region);
            if let Some(side) = side {
                let side = coded_content(MODIFIER, SIDE, side);
                site.put(sequence(tags::CONTENT_SEQUENCE, vec![side]));
            }
            site
        });
    let tracking = [
        content(
            CONTEXT,
            "TEXT",
            ("112039", "DCM", "Tracking Identifier"),
            [value_text(context, &of.label)],
        ),
        content(
            CONTEXT,
            "UIDREF",
            ("112040", "DCM", "Tracking Unique Identifier"),
            [element(tags::UID, VR::UI, of.tracking_uid.as_str())],
        ),
        coded_content(
            CONTAINS,
            ("276214006", "SCT", "Finding category"),
            &property.category,
        ),
        finding,
    ];
    tracking
        .into_iter()
        .chain(site)
        .chain(algorithm(context))
        .collect()
}

/// Algorithm Identification (TID 4019).
fn algorithm(context: &Context) -> [InMemDicomObject; 3] {
    let origin = context.origin;
    let says =
        |concept, text: &str| content(MODIFIER, "TEXT", concept, [value_text(context, text)]);
    [
        says(("111001", "DCM", "Algorithm Name"), &origin.bundle),
        says(
            ("111003", "DCM", "Algorithm Version"),
            &origin.bundle_version,
        ),
        says(
            ("111002", "DCM", "Algorithm Parameters"),
            &origin.bundle_hash,
        ),
    ]
}

fn value_text(context: &Context, text: &str) -> InMemElement {
    element(tags::TEXT_VALUE, VR::UT, context.known(text, 1024))
}

fn concept((value, scheme, meaning): Concept) -> InMemElement {
    coded(tags::CONCEPT_NAME_CODE_SEQUENCE, value, scheme, meaning)
}

/// An item of content of that kind and relationship.
fn content<const N: usize>(
    relationship: &str,
    kind: &str,
    name: Concept,
    value: [InMemElement; N],
) -> InMemDicomObject {
    let mut content = InMemDicomObject::from_element_iter(value);
    content.put(element(tags::RELATIONSHIP_TYPE, VR::CS, relationship));
    content.put(element(tags::VALUE_TYPE, VR::CS, kind));
    content.put(concept(name));
    content
}

fn coded_content(relationship: &str, name: Concept, value: &Code) -> InMemDicomObject {
    let value = code(tags::CONCEPT_CODE_SEQUENCE, value);
    content(relationship, "CODE", name, [value])
}

fn image_content(name: Concept, reference: InMemDicomObject) -> InMemDicomObject {
    let reference = sequence(tags::REFERENCED_SOP_SEQUENCE, vec![reference]);
    content(CONTAINS, "IMAGE", name, [reference])
}

/// A place in an image, as column and row.
fn point(name: Concept, (x, y): (f64, f64), image: InMemDicomObject) -> InMemDicomObject {
    let place = PrimitiveValue::F32([x as f32, y as f32].into_iter().collect());
    let reference = sequence(tags::REFERENCED_SOP_SEQUENCE, vec![image]);
    let image = InMemDicomObject::from_element_iter([
        element(tags::RELATIONSHIP_TYPE, VR::CS, SELECTED),
        element(tags::VALUE_TYPE, VR::CS, "IMAGE"),
        reference,
    ]);
    let mut point = content(
        CONTAINS,
        "SCOORD",
        name,
        [
            element(tags::GRAPHIC_TYPE, VR::CS, "POINT"),
            element(tags::GRAPHIC_DATA, VR::FL, place),
        ],
    );
    point.put(sequence(tags::CONTENT_SEQUENCE, vec![image]));
    point
}

fn measured(name: Concept, value: f64, (unit, scheme, meaning): Concept) -> InMemDicomObject {
    let tag: Tag = tags::MEASUREMENT_UNITS_CODE_SEQUENCE;
    let value = item(
        tags::MEASURED_VALUE_SEQUENCE,
        [
            coded(tag, unit, scheme, meaning),
            element(tags::FLOATING_POINT_VALUE, VR::FD, value),
            element(tags::NUMERIC_VALUE, VR::DS, decimal(value)),
        ],
    );
    content(CONTAINS, "NUM", name, [value])
}

/// A number in the 16 characters of a decimal string.
fn decimal(value: f64) -> String {
    let plain = format!("{value:.4}");
    if plain.len() <= 16 {
        plain
    } else {
        format!("{value:.7e}")
    }
}

fn template(id: &str) -> InMemElement {
    item(
        tags::CONTENT_TEMPLATE_SEQUENCE,
        [
            element(tags::MAPPING_RESOURCE, VR::CS, "DCMR"),
            element(tags::TEMPLATE_IDENTIFIER, VR::CS, id),
        ],
    )
}

fn container(
    name: Concept,
    made_by: Option<&str>,
    items: Vec<InMemDicomObject>,
) -> InMemDicomObject {
    let continuity = element(tags::CONTINUITY_OF_CONTENT, VR::CS, "SEPARATE");
    let mut container = content(CONTAINS, "CONTAINER", name, [continuity]);
    if let Some(id) = made_by {
        container.put(template(id));
    }
    if !items.is_empty() {
        container.put(sequence(tags::CONTENT_SEQUENCE, items));
    }
    container
}
