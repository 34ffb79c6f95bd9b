//! Masks and probabilities as a Segmentation object (PS3.3, A.51), and back.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;

use bedside_core::Mask;
use dicom_core::value::PrimitiveValue;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::mem::InMemElement;
use dicom_object::{DefaultDicomObject, InMemDicomObject};

use super::bits;
use super::code::{Code, Property};
use super::element::{code, coded, element, item, number, read_code, sequence};
use super::error::ObjectError;
use super::origin::{Context, derived_uid, file, new_uid};
use super::packed::Packed;
use super::source::{Source, referenced_series};
use crate::read::file::{File, PixelData};
use crate::read::header::{items, text};

/// Most bytes of an element: its length is an even 32-bit number, all ones meaning something else.
const MOST: u64 = 0xffff_fffe;

/// What the pixels of a segmentation are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// In or out, one bit a pixel.
    Binary,
    /// Probabilities in steps of 1/255, one byte a pixel.
    Probability,
}

/// What was looked for: one for each prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// What people read, such as the prompt; at most 64 characters are written.
    pub label: String,
    /// What it is in codes.
    pub property: Property,
    /// What ties the object together in this and other documents, such as the report.
    pub tracking_uid: String,
}

impl Segment {
    /// The segment of a prompt, with a new tracking UID. `object` is the object type's name in
    /// the ontology, as a [`bedside_core::Finding`] has it.
    ///
    /// # Errors
    /// [`ObjectError::Library`] where the system has no random numbers.
    pub fn new(label: &str, object: Option<&str>) -> Result<Self, ObjectError> {
        Ok(Self {
            label: label.to_owned(),
            property: Property::of(object),
            tracking_uid: new_uid()?,
        })
    }

    /// The same with a tracking UID that follows from image and prompt: the same object, whenever it is
    /// looked for there.
    pub fn of(source: &Source, prompt: &str, object: Option<&str>) -> Self {
        Self {
            label: prompt.to_owned(),
            property: Property::of(object),
            tracking_uid: derived_uid(&[source.instance(), prompt]),
        }
    }
}

/// Masks, or probabilities, of one image: any number of segments on any of its frames.
///
/// Frames where nothing is set are not kept: a segment that has no mask for a frame is not there,
/// or was not looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segmentation {
    pub(super) kind: Kind,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) source_frames: u32,
    pub(super) segments: Vec<Segment>,
    /// Packed bits, or bytes, by number of segment and of the source's frame, from 1. The order
    /// is that of the frames in the object.
    pub(super) frames: BTreeMap<(u16, u32), Packed>,
}

impl Segmentation {
    /// A segmentation of that image with no mask yet.
    ///
    /// # Errors
    /// [`ObjectError::Segments`] for none, or more than 65535.
    pub fn new(source: &Source, kind: Kind, segments: Vec<Segment>) -> Result<Self, ObjectError> {
        if segments.is_empty() || segments.len() > usize::from(u16::MAX) {
            return Err(ObjectError::Segments(segments.len()));
        }
        Ok(Self {
            kind,
            width: source.width,
            height: source.height,
            source_frames: source.frames,
            segments,
            frames: BTreeMap::new(),
        })
    }

    /// What the pixels are.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The segments; that of number `n` stands at `n - 1`.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Segment and frame, both from 1, of all masks that have a pixel set, in the order in which
    /// they stand in the object.
    pub fn frames(&self) -> impl Iterator<Item = (u16, u32)> + '_ {
        self.frames.keys().copied()
    }

    /// Add the mask of a segment on a frame, both counted from 1.
    ///
    /// # Errors
    /// [`ObjectError::Size`] for a mask of another size than the frames, [`ObjectError::NoSegment`],
    /// [`ObjectError::NoFrame`], [`ObjectError::Twice`], [`ObjectError::Kind`] where probabilities
    /// are kept, [`ObjectError::TooLarge`] where a file could not hold one more.
    pub fn add(&mut self, segment: u16, frame: u32, mask: &Mask) -> Result<(), ObjectError> {
        let same = (mask.width(), mask.height()) == (self.width, self.height);
        if self.kind != Kind::Binary {
            return Err(ObjectError::Kind);
        }
        if !same {
            return Err(self.size(mask.data().len()));
        }
        self.insert(segment, frame, bits::pack(mask.data()))
    }

    /// Add the probabilities of a segment on a frame, both counted from 1: row-major, from 0 to
    /// 1; what is not a number counts as 0.
    ///
    /// # Errors
    /// As [`add`](Self::add), [`ObjectError::Kind`] where masks are kept.
    pub fn add_probabilities(
        &mut self,
        segment: u16,
        frame: u32,
        probabilities: &[f32],
    ) -> Result<(), ObjectError> {
        if self.kind != Kind::Probability {
            return Err(ObjectError::Kind);
        }
        if probabilities.len() as u64 != self.pixels() {
            return Err(self.size(probabilities.len()));
        }
        // A conversion that saturates, and makes 0 of what is not a number.
        let levels = probabilities.iter().map(|p| (p * 255.0).round() as u8);
        self.insert(segment, frame, levels.collect())
    }

    /// The mask of a segment on a frame, both counted from 1; of probabilities the pixels of at
    /// least one half. `None` where nothing is set.
    ///
    /// # Errors
    /// [`ObjectError::Library`] where what is kept of it is damaged.
    pub fn mask(&self, segment: u16, frame: u32) -> Result<Option<Mask>, ObjectError> {
        let Some(data) = self.frames.get(&(segment, frame)) else {
            return Ok(None);
        };
        let data = data.bytes()?;
        let data = match self.kind {
            Kind::Binary => bits::unpack(&data, 0, self.pixels()),
            Kind::Probability => Some(data.iter().map(|v| u8::from(*v > 127)).collect()),
        };
        Ok(data.and_then(|data| Mask::from_bytes(self.width, self.height, data)))
    }

    /// The probabilities of a segment on a frame, both counted from 1, in 255ths. `None` where
    /// all are 0, or where masks are kept.
    ///
    /// # Errors
    /// As [`mask`](Self::mask).
    pub fn levels(&self, segment: u16, frame: u32) -> Result<Option<Vec<u8>>, ObjectError> {
        let data = self.frames.get(&(segment, frame));
        data.filter(|_| self.kind == Kind::Probability)
            .map(Packed::bytes)
            .transpose()
    }

    fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    fn size(&self, given: usize) -> ObjectError {
        ObjectError::Size {
            source: (self.width, self.height),
            given,
        }
    }

    /// Bytes of pixel data of so many frames, without padding.
    fn bytes(&self, frames: usize) -> u64 {
        let pixels = self.pixels().saturating_mul(frames as u64);
        match self.kind {
            Kind::Binary => pixels.div_ceil(8),
            Kind::Probability => pixels,
        }
    }

    fn insert(&mut self, segment: u16, frame: u32, data: Vec<u8>) -> Result<(), ObjectError> {
        if segment == 0 || usize::from(segment) > self.segments.len() {
            return Err(ObjectError::NoSegment(segment));
        }
        if !(1..=self.source_frames).contains(&frame) {
            return Err(ObjectError::NoFrame {
                frame,
                frames: self.source_frames,
            });
        }
        if data.iter().all(|v| *v == 0) {
            return Ok(());
        }
        let bytes = self.bytes(self.frames.len() + 1);
        if bytes > MOST {
            return Err(ObjectError::TooLarge(bytes));
        }
        let data = Packed::of(&data)?;
        match self.frames.insert((segment, frame), data) {
            None => Ok(()),
            Some(_) => Err(ObjectError::Twice { segment, frame }),
        }
    }

    /// The Segmentation object: one frame for each segment and frame of the source where a pixel
    /// is set.
    ///
    /// Where none is at all, the object has one frame, of the first segment, with no pixel set:
    /// an object without frames can't be (Number of Frames is 1 or more, Per-Frame Functional
    /// Groups Sequence has an item or more), and that everything was looked for and nothing found
    /// is worth keeping.
    ///
    /// Slices with a place in the patient keep it, with their Frame of Reference. All else has
    /// none: its pixels are those of the source, frame by frame, which Derivation Image
    /// says (PS3.3, A.51.5.1).
    ///
    /// # Errors
    /// [`ObjectError::Mismatch`] where the context's source is not of the size, or has not the
    /// frames, that the segmentation was made for; [`ObjectError::Library`].
    pub fn to_dicom(&self, context: &Context) -> Result<DefaultDicomObject, ObjectError> {
        let mut object = self.head(context)?;
        let mut data = Vec::new();
        self.put_pixels(&mut data)?;
        object.put(element(tags::PIXEL_DATA, VR::OB, data));
        Ok(object)
    }

    /// The file of the Segmentation object, and the object without what it has for each frame: all
    /// that a [`report`](super::report) needs of it. For cines of thousands of frames, whose pixels
    /// take room: they are in memory once.
    ///
    /// # Errors
    /// As [`to_dicom`](Self::to_dicom).
    pub fn to_file(&self, context: &Context) -> Result<(Vec<u8>, DefaultDicomObject), ObjectError> {
        let mut object = self.head(context)?;
        let mut file = Vec::new();
        let written = object.write_all(&mut file);
        written.map_err(|e| ObjectError::Library(e.to_string()))?;
        object.remove_element(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
        // Pixel Data is the last element, in the transfer syntax of all objects written here: explicit
        // VR, little endian.
        file.extend([0xe0, 0x7f, 0x10, 0x00, b'O', b'B', 0, 0]);
        file.extend((self.pixel_bytes() as u32).to_le_bytes());
        self.put_pixels(&mut file)?;
        Ok((file, object))
    }

    /// The object without its pixels.
    fn head(&self, context: &Context) -> Result<DefaultDicomObject, ObjectError> {
        let source = context.source;
        self.check(source)?;
        let none = [(1, 1)];
        let keys: Vec<(u16, u32)> = match self.frames.is_empty() {
            true => none.to_vec(),
            false => self.frames().collect(),
        };
        let mut object = context.object(uids::SEGMENTATION_STORAGE, "SEG");
        let segments = (1..).zip(&self.segments);
        let segments = segments
            .map(|(n, segment)| described(n, segment, context))
            .collect();
        let organization = element(
            tags::DIMENSION_ORGANIZATION_UID,
            VR::UI,
            context.uid("dimensions"),
        );
        let (stored, label) = match self.kind {
            Kind::Binary => (1_u16, "BINARY"),
            Kind::Probability => (8, "FRACTIONAL"),
        };
        let elements = [
            element(
                tags::IMAGE_TYPE,
                VR::CS,
                PrimitiveValue::Strs(
                    ["DERIVED", "PRIMARY"]
                        .map(str::to_owned)
                        .into_iter()
                        .collect(),
                ),
            ),
            source.patient_orientation.clone(),
            element(tags::CONTENT_LABEL, VR::CS, "BEDSIDE"),
            context.text(tags::CONTENT_DESCRIPTION, &context.series.description),
            element(tags::CONTENT_CREATOR_NAME, VR::PN, ()),
            element(tags::SAMPLES_PER_PIXEL, VR::US, 1_u16),
            element(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
            element(tags::NUMBER_OF_FRAMES, VR::IS, keys.len().to_string()),
            element(tags::ROWS, VR::US, self.height as u16),
            element(tags::COLUMNS, VR::US, self.width as u16),
            element(tags::BITS_ALLOCATED, VR::US, stored),
            element(tags::BITS_STORED, VR::US, stored),
            element(tags::HIGH_BIT, VR::US, stored - 1),
            element(tags::PIXEL_REPRESENTATION, VR::US, 0_u16),
            element(tags::SEGMENTATION_TYPE, VR::CS, label),
            element(tags::SEGMENTS_OVERLAP, VR::CS, self.overlap()?),
            sequence(tags::SEGMENT_SEQUENCE, segments),
            item(
                tags::DIMENSION_ORGANIZATION_SEQUENCE,
                [organization.clone()],
            ),
            sequence(
                tags::DIMENSION_INDEX_SEQUENCE,
                dimensions(source, &organization),
            ),
            sequence(
                tags::REFERENCED_SERIES_SEQUENCE,
                vec![referenced_series(
                    &source.series,
                    tags::REFERENCED_INSTANCE_SEQUENCE,
                    source.references(),
                )],
            ),
            sequence(
                tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
                vec![shared(source)],
            ),
            sequence(
                tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
                per_frame(source, &keys),
            ),
        ];
        for element in elements.into_iter().chain(source.lossy.iter().cloned()) {
            object.put(element);
        }
        if self.kind == Kind::Probability {
            object.put(element(
                tags::SEGMENTATION_FRACTIONAL_TYPE,
                VR::CS,
                "PROBABILITY",
            ));
            object.put(element(tags::MAXIMUM_FRACTIONAL_VALUE, VR::US, 255_u16));
        }
        for element in source
            .geometry
            .iter()
            .flat_map(|g| g.frame_of_reference.clone())
        {
            object.put(element);
        }
        file(object)
    }

    /// That the segmentation is of that source.
    pub(super) fn check(&self, source: &Source) -> Result<(), ObjectError> {
        let own = (self.width, self.height, self.source_frames);
        if own != (source.width, source.height, source.frames) {
            return Err(ObjectError::Mismatch(
                "the segmentation is of another image",
            ));
        }
        Ok(())
    }

    /// Length of Pixel Data, which is even.
    fn pixel_bytes(&self) -> u64 {
        self.bytes(self.frames.len().max(1)).next_multiple_of(2)
    }

    /// Append all frames, one after the other: bits run on from one to the next, and one byte pads
    /// the whole to an even length (PS3.5, 8.1.1).
    fn put_pixels(&self, data: &mut Vec<u8>) -> Result<(), ObjectError> {
        let end = data.len() + self.pixel_bytes() as usize;
        // With the padding that a frame has until the next one comes.
        data.reserve_exact(self.pixel_bytes() as usize + 1);
        let mut frames = self.frames.values().map(Packed::bytes);
        match self.kind {
            Kind::Binary => bits::join(frames, self.pixels(), data)?,
            Kind::Probability => frames.try_for_each(|frame| frame.map(|f| data.extend(f)))?,
        }
        data.resize(end, 0);
        Ok(())
    }

    /// Whether a pixel is in two segments; probabilities may always be.
    fn overlap(&self) -> Result<&'static str, ObjectError> {
        if self.kind == Kind::Probability {
            return Ok("UNDEFINED");
        }
        let mut by_frame: BTreeMap<u32, Vec<&Packed>> = BTreeMap::new();
        for ((_, frame), data) in &self.frames {
            by_frame.entry(*frame).or_default().push(data);
        }
        for masks in by_frame.values().filter(|masks| masks.len() > 1) {
            let mut all: Vec<u8> = Vec::new();
            for mask in masks {
                let own = mask.bytes()?;
                all.resize(own.len(), 0);
                let mut pairs = all.iter_mut().zip(own);
                if pairs.any(|(all, own)| std::mem::replace(all, *all | own) & own != 0) {
                    return Ok("YES");
                }
            }
        }
        Ok("NO")
    }
}

/// Segment Description Macro (PS3.3, C.8.20.2.1).
fn described(n: u16, segment: &Segment, context: &Context) -> InMemDicomObject {
    let label = context.known(&segment.label, 64);
    let Property {
        category,
        kind,
        modifier,
        region,
    } = &segment.property;
    let mut kind = code(tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE, kind);
    if let (Some(modifier), Some([item])) = (modifier, kind.items_mut().map(|i| i.as_mut_slice())) {
        item.put(code(
            tags::SEGMENTED_PROPERTY_TYPE_MODIFIER_CODE_SEQUENCE,
            modifier,
        ));
    }
    let mut described = InMemDicomObject::from_element_iter([
        element(tags::SEGMENT_NUMBER, VR::US, n),
        element(tags::SEGMENT_LABEL, VR::LO, label.as_str()),
        code(tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, category),
        kind,
        element(tags::SEGMENT_ALGORITHM_TYPE, VR::CS, "AUTOMATIC"),
        context.text(tags::SEGMENT_ALGORITHM_NAME, &context.origin.bundle),
        context.algorithm(tags::SEGMENTATION_ALGORITHM_IDENTIFICATION_SEQUENCE),
        element(tags::TRACKING_ID, VR::UT, label),
        element(tags::TRACKING_UID, VR::UI, segment.tracking_uid.as_str()),
    ]);
    if let Some(region) = region {
        described.put(code(tags::ANATOMIC_REGION_SEQUENCE, region));
    }
    described
}

/// The attribute that says where a frame lies within its source, and the group it stands in, where
/// there are several frames.
fn place(source: &Source) -> Option<(Tag, Tag)> {
    let place = match source.cine {
        _ if source.is_stack() => (tags::IMAGE_POSITION_PATIENT, tags::PLANE_POSITION_SEQUENCE),
        true => (tags::TEMPORAL_POSITION_INDEX, tags::FRAME_CONTENT_SEQUENCE),
        false => (tags::IN_STACK_POSITION_NUMBER, tags::FRAME_CONTENT_SEQUENCE),
    };
    (source.frames > 1).then_some(place)
}

/// What orders the frames: first the segment, then the place in the source.
fn dimensions(source: &Source, organization: &InMemElement) -> Vec<InMemDicomObject> {
    let dimension = |pointer: Tag, group: Tag, label| {
        InMemDicomObject::from_element_iter([
            organization.clone(),
            element(tags::DIMENSION_INDEX_POINTER, VR::AT, pointer),
            element(tags::FUNCTIONAL_GROUP_POINTER, VR::AT, group),
            element(tags::DIMENSION_DESCRIPTION_LABEL, VR::LO, label),
        ])
    };
    let mut dimensions = vec![dimension(
        tags::REFERENCED_SEGMENT_NUMBER,
        tags::SEGMENT_IDENTIFICATION_SEQUENCE,
        "Segment",
    )];
    dimensions.extend(place(source).map(|(place, group)| dimension(place, group, "Source frame")));
    dimensions
}

fn shared(source: &Source) -> InMemDicomObject {
    let mut shared = InMemDicomObject::new_empty();
    if let Some(geometry) = &source.geometry {
        let measures = InMemDicomObject::from_element_iter(geometry.measures.iter().cloned());
        shared.put(sequence(tags::PIXEL_MEASURES_SEQUENCE, vec![measures]));
        shared.put(item(
            tags::PLANE_ORIENTATION_SEQUENCE,
            [geometry.orientation.clone()],
        ));
    }
    shared
}

fn per_frame(source: &Source, keys: &[(u16, u32)]) -> Vec<InMemDicomObject> {
    // The index of a position in the patient is its rank among those that are there; one in time, or
    // in a stack by number, is its own (PS3.3, C.7.6.17).
    let frames: BTreeSet<u32> = keys.iter().map(|(_, frame)| *frame).collect();
    let ranks: BTreeMap<u32, u32> = frames.into_iter().zip(1..).collect();
    let group = |(segment, frame): &(u16, u32)| {
        let mut index = vec![u32::from(*segment)];
        let mut content = InMemDicomObject::new_empty();
        if source.is_stack() {
            index.push(ranks.get(frame).copied().unwrap_or(*frame));
        } else if let Some((place, _)) = place(source) {
            index.push(*frame);
            content.put(element(place, VR::UL, *frame));
            if place == tags::IN_STACK_POSITION_NUMBER {
                content.put(element(tags::STACK_ID, VR::SH, "1"));
            }
        }
        let index = PrimitiveValue::U32(index.into());
        content.put(element(tags::DIMENSION_INDEX_VALUES, VR::UL, index));
        let mut image = source.frame_reference(*frame);
        image.put(element(tags::SPATIAL_LOCATIONS_PRESERVED, VR::CS, "YES"));
        image.put(coded(
            tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE,
            "121322",
            "DCM",
            "Source image for image processing operation",
        ));
        let derivation = InMemDicomObject::from_element_iter([
            sequence(tags::SOURCE_IMAGE_SEQUENCE, vec![image]),
            coded(
                tags::DERIVATION_CODE_SEQUENCE,
                "113076",
                "DCM",
                "Segmentation",
            ),
        ]);
        let number = element(tags::REFERENCED_SEGMENT_NUMBER, VR::US, *segment);
        let mut group = InMemDicomObject::from_element_iter([
            sequence(tags::FRAME_CONTENT_SEQUENCE, vec![content]),
            sequence(tags::DERIVATION_IMAGE_SEQUENCE, vec![derivation]),
            item(tags::SEGMENT_IDENTIFICATION_SEQUENCE, [number]),
        ]);
        let positions = source.geometry.as_ref().map(|g| &g.positions);
        let position = positions.and_then(|all| all.get((*frame as usize).saturating_sub(1)));
        if let Some(position) = position {
            group.put(item(tags::PLANE_POSITION_SEQUENCE, [position.clone()]));
        }
        group
    };
    keys.iter().map(group).collect()
}

/// The masks or probabilities of a file with a Segmentation object, as [`read_segmentation`].
///
/// # Errors
/// As there, and [`ObjectError::Library`] for bytes that are no whole file of uncompressed pixels.
pub fn segmentation_from_bytes(bytes: Vec<u8>) -> Result<Segmentation, ObjectError> {
    let no_file = |e: crate::Error| ObjectError::Library(e.to_string());
    let mut file = File::open(Box::new(Cursor::new(bytes))).map_err(no_file)?;
    let PixelData::Native(native) = file.data else {
        return Err(ObjectError::Attribute("uncompressed Pixel Data"));
    };
    let data = file.native(native, 0, native.len, false).map_err(no_file)?;
    read(&file.header, &data)
}

/// The masks or probabilities of a Segmentation object that is of one image, frame by frame: of
/// those that [`Segmentation::to_dicom`] makes, and of others' that are alike.
///
/// Allocates no more than some times the object's own size, whatever the object says.
///
/// # Errors
/// [`ObjectError::Class`] for another SOP class, [`ObjectError::Attribute`] for what is missing
/// or contradicts itself, [`ObjectError::Twice`] where two frames are of the same segment and
/// frame, as where a segmentation is of several images.
pub fn read_segmentation(object: &InMemDicomObject) -> Result<Segmentation, ObjectError> {
    let data = object
        .get(tags::PIXEL_DATA)
        .and_then(|e| e.value().primitive());
    let data = data.ok_or(ObjectError::Attribute("Pixel Data"))?;
    read(object, &data.to_bytes())
}

fn read(object: &InMemDicomObject, data: &[u8]) -> Result<Segmentation, ObjectError> {
    use ObjectError::Attribute;
    let class = text(object, tags::SOP_CLASS_UID).unwrap_or_default();
    if class != uids::SEGMENTATION_STORAGE {
        return Err(ObjectError::Class(bedside_core::text::one_line(&class)));
    }
    let side = |tag| number(object, tag).filter(|n| (1..=u32::from(u16::MAX)).contains(n));
    let kind = text(object, tags::SEGMENTATION_TYPE);
    let bits = number(object, tags::BITS_ALLOCATED);
    let kind = match (kind.as_deref(), bits) {
        (Some("BINARY"), Some(1)) => Kind::Binary,
        (Some("FRACTIONAL"), Some(8)) => Kind::Probability,
        _ => return Err(Attribute("Segmentation Type with Bits Allocated")),
    };
    let groups = items(object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    if groups.is_empty() || number(object, tags::NUMBER_OF_FRAMES) != Some(groups.len() as u32) {
        return Err(Attribute("Number of Frames"));
    }
    let mut read = Segmentation {
        kind,
        width: side(tags::COLUMNS).ok_or(Attribute("Columns"))?,
        height: side(tags::ROWS).ok_or(Attribute("Rows"))?,
        source_frames: 1,
        segments: read_segments(object)?,
        frames: BTreeMap::new(),
    };
    // Before anything is made of that size.
    if (data.len() as u64) < read.bytes(groups.len()) {
        return Err(Attribute("Pixel Data"));
    }
    // Full scale is what the object says; ours is 255.
    let most = number(object, tags::MAXIMUM_FRACTIONAL_VALUE).unwrap_or(255);
    if kind == Kind::Probability && !(1..=255).contains(&most) {
        return Err(Attribute("Maximum Fractional Value"));
    }
    let pixels = read.pixels();
    for (at, group) in (0_u64..).zip(groups) {
        let segment = items(group, tags::SEGMENT_IDENTIFICATION_SEQUENCE).first();
        let segment = segment.and_then(|item| number(item, tags::REFERENCED_SEGMENT_NUMBER));
        let segment = segment.and_then(|n| u16::try_from(n).ok());
        let segment = segment.ok_or(Attribute("Referenced Segment Number"))?;
        let frame = source_frame(group).ok_or(Attribute("Derivation Image Sequence"))?;
        read.source_frames = read.source_frames.max(frame);
        let frame_data = match kind {
            Kind::Binary => bits::unpack(data, at * pixels, pixels).map(|set| bits::pack(&set)),
            Kind::Probability => {
                let start = (at * pixels) as usize;
                let levels = data.get(start..start + pixels as usize);
                levels.map(|levels| levels.iter().map(|v| scaled(*v, most)).collect())
            }
        };
        read.insert(segment, frame, frame_data.ok_or(Attribute("Pixel Data"))?)?;
    }
    Ok(read)
}

/// A level of `most` in 255ths, rounded.
fn scaled(level: u8, most: u32) -> u8 {
    let level = u32::from(level).min(most);
    ((level * 255 + most / 2) / most) as u8
}

/// The number of the source's frame, 1 where it has one alone.
fn source_frame(group: &InMemDicomObject) -> Option<u32> {
    let derivation = items(group, tags::DERIVATION_IMAGE_SEQUENCE).first()?;
    let [image] = items(derivation, tags::SOURCE_IMAGE_SEQUENCE) else {
        return None;
    };
    match image.get(tags::REFERENCED_FRAME_NUMBER) {
        None => Some(1),
        Some(frame) => frame.to_int().ok().filter(|frame| *frame > 0),
    }
}

fn read_segments(object: &InMemDicomObject) -> Result<Vec<Segment>, ObjectError> {
    let segments = items(object, tags::SEGMENT_SEQUENCE);
    if segments.is_empty() || segments.len() > usize::from(u16::MAX) {
        return Err(ObjectError::Segments(segments.len()));
    }
    let segment = |(n, item): (u32, &InMemDicomObject)| {
        if number(item, tags::SEGMENT_NUMBER) != Some(n) {
            return Err(ObjectError::Attribute("Segment Number"));
        }
        let kind = tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE;
        let modifier = items(item, kind)
            .first()
            .and_then(|kind| read_code(kind, tags::SEGMENTED_PROPERTY_TYPE_MODIFIER_CODE_SEQUENCE));
        let code = |tag, name| -> Result<Code, ObjectError> {
            read_code(item, tag).ok_or(ObjectError::Attribute(name))
        };
        Ok(Segment {
            label: text(item, tags::SEGMENT_LABEL).unwrap_or_default(),
            property: Property {
                category: code(
                    tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE,
                    "Segmented Property Category Code Sequence",
                )?,
                kind: code(kind, "Segmented Property Type Code Sequence")?,
                modifier,
                region: read_code(item, tags::ANATOMIC_REGION_SEQUENCE),
            },
            tracking_uid: text(item, tags::TRACKING_UID).unwrap_or_default(),
        })
    };
    (1..).zip(segments).map(segment).collect()
}
