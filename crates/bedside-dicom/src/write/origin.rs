//! Who makes an object, when, and in which series.

use dicom_core::chrono::NaiveDateTime;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::mem::InMemElement;
use dicom_object::{DefaultDicomObject, FileMetaTableBuilder, InMemDicomObject};
use sha2::{Digest as _, Sha256};

use super::element::{coded, element, item};
use super::error::ObjectError;
use super::source::Source;

/// The device, its software, and the model that it ran.
///
/// All are needed: derived objects name who made them (PS3.3, C.7.5.2). Those that are empty are
/// written as "unknown".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Who makes the device or the software.
    pub manufacturer: String,
    /// Name of the device's model, or of the program.
    pub model_name: String,
    /// Serial number of the device.
    pub serial_number: String,
    /// Version of the software.
    pub software_version: String,
    /// Name of the bundle whose model drew the masks.
    pub bundle: String,
    /// Its version.
    pub bundle_version: String,
    /// Its content hash, such as "sha256:9f86d0...".
    pub bundle_hash: String,
}

impl Origin {
    /// This program, with a bundle of that name, version and digest.
    pub fn bedside(bundle: &str, version: &str, digest: &str) -> Self {
        Self {
            manufacturer: "bedside".to_owned(),
            model_name: "bedside".to_owned(),
            serial_number: String::new(),
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
            bundle: bundle.to_owned(),
            bundle_version: version.to_owned(),
            bundle_hash: format!("sha256:{digest}"),
        }
    }
}

/// A series that objects go into. Segmentations and reports go into series of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Series Instance UID.
    pub uid: String,
    /// Number in the study.
    pub number: u32,
    /// What people read.
    pub description: String,
}

impl Series {
    /// A series with a new UID.
    ///
    /// # Errors
    /// [`ObjectError::Library`] where the system has no random numbers.
    pub fn new(number: u32, description: &str) -> Result<Self, ObjectError> {
        Ok(Self {
            uid: new_uid()?,
            number,
            description: description.to_owned(),
        })
    }

    /// The series of what a model finds on the images of one series, where it is asked for these prompts:
    /// the same whenever it is made, so that objects which are made and sent again are the same ones.
    pub fn derived(
        number: u32,
        description: &str,
        source: &Source,
        digest: &str,
        prompts: &[String],
    ) -> Self {
        let prompts = prompts.join("\n");
        Self {
            uid: derived_uid(&[source.series(), digest, &prompts, description]),
            number,
            description: description.to_owned(),
        }
    }
}

/// Numbers of the series that masks and reports by bedside go into: above those that devices give.
pub const SEG_SERIES: u32 = 9101;
/// As [`SEG_SERIES`], of reports.
pub const SR_SERIES: u32 = 9102;
/// What people read of these series.
pub const SEG_DESCRIPTION: &str = "Segmentation by bedside";
/// As [`SEG_DESCRIPTION`], of reports.
pub const SR_DESCRIPTION: &str = "Measurements by bedside";

/// What an object is made of besides its content. Its UID follows from image, series and number: two
/// objects of one class that have these in common are one.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The image that the object is of.
    pub source: &'a Source,
    /// Who makes it.
    pub origin: &'a Origin,
    /// The series that it goes into.
    pub series: &'a Series,
    /// Its number in the series.
    pub number: u32,
    /// Now, in the source's own time zone (its Timezone Offset From UTC), else in the device's.
    pub now: NaiveDateTime,
}

/// A new UID: a random UUID as PS3.5, B.2 writes it.
///
/// # Errors
/// [`ObjectError::Library`] where the system has no random numbers.
pub fn new_uid() -> Result<String, ObjectError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| ObjectError::Library(e.to_string()))?;
    Ok(uid_of(u128::from_be_bytes(bytes)))
}

/// The UID of a name in parts: the same for the same ones, and as unlike any other as a random one.
pub fn derived_uid(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    uid_of_hash(hash)
}

/// The UID of the first bits of a hash.
pub(super) fn uid_of_hash(hash: Sha256) -> String {
    let bytes = hash.finalize().into_iter().take(16);
    uid_of(bytes.fold(0, |all, byte| all << 8 | u128::from(byte)))
}

/// The UID of a UUID of those random bits: version 4, variant 1 (RFC 9562).
fn uid_of(random: u128) -> String {
    let random = random & !(0xf << 76) & !(0b11 << 62);
    format!("2.25.{}", random | 4 << 76 | 0b10 << 62)
}

impl Context<'_> {
    /// A UID of something in the object.
    pub(super) fn uid(&self, what: &str) -> String {
        let number = self.number.to_string();
        derived_uid(&[self.source.instance(), &self.series.uid, &number, what])
    }

    /// What segmentations and reports have in common: patient, study, series, equipment.
    pub(super) fn object(&self, class: &str, modality: &str) -> InMemDicomObject {
        let Self {
            source,
            origin,
            series,
            ..
        } = self;
        let (date, time) = (self.now.format("%Y%m%d"), self.now.format("%H%M%S%.6f"));
        let (date, time) = (date.to_string(), time.to_string());
        let mut object = InMemDicomObject::from_element_iter(source.carried());
        let elements = [
            element(tags::SOP_CLASS_UID, VR::UI, class),
            element(tags::SOP_INSTANCE_UID, VR::UI, self.uid(class)),
            element(tags::INSTANCE_CREATION_DATE, VR::DA, date.as_str()),
            element(tags::INSTANCE_CREATION_TIME, VR::TM, time.as_str()),
            element(tags::CONTENT_DATE, VR::DA, date),
            element(tags::CONTENT_TIME, VR::TM, time),
            element(tags::MODALITY, VR::CS, modality),
            element(tags::SERIES_INSTANCE_UID, VR::UI, series.uid.as_str()),
            element(tags::SERIES_NUMBER, VR::IS, series.number.to_string()),
            self.text(tags::SERIES_DESCRIPTION, &series.description),
            element(tags::INSTANCE_NUMBER, VR::IS, self.number.to_string()),
            self.text(tags::MANUFACTURER, &origin.manufacturer),
            self.text(tags::MANUFACTURER_MODEL_NAME, &origin.model_name),
            self.text(tags::DEVICE_SERIAL_NUMBER, &origin.serial_number),
            self.text(tags::SOFTWARE_VERSIONS, &origin.software_version),
        ];
        for element in elements {
            object.put(element);
        }
        object
    }

    /// Text of VR LO; "unknown" where there is none, as such elements must have a value.
    pub(super) fn text(&self, tag: Tag, text: &str) -> InMemElement {
        element(tag, VR::LO, self.known(text, 64))
    }

    /// `text` as it can be written, at most so many characters; "unknown" where there is none.
    pub(super) fn known(&self, text: &str, most: usize) -> String {
        let text = self.source.writable(text, most);
        if text.is_empty() {
            "unknown".to_owned()
        } else {
            text
        }
    }

    /// Algorithm Identification Macro (PS3.3, 10.16).
    pub(super) fn algorithm(&self, tag: Tag) -> InMemElement {
        let hash = self.known(&self.origin.bundle_hash, 128);
        item(
            tag,
            [
                coded(
                    tags::ALGORITHM_FAMILY_CODE_SEQUENCE,
                    "123110",
                    "DCM",
                    "Artificial Intelligence",
                ),
                self.text(tags::ALGORITHM_NAME, &self.origin.bundle),
                self.text(tags::ALGORITHM_VERSION, &self.origin.bundle_version),
                element(
                    tags::ALGORITHM_PARAMETERS,
                    VR::LT,
                    format!("content hash {hash}"),
                ),
            ],
        )
    }
}

/// The object as a file.
pub(super) fn file(object: InMemDicomObject) -> Result<DefaultDicomObject, ObjectError> {
    file_as(object, uids::EXPLICIT_VR_LITTLE_ENDIAN)
}

/// The object as a file of that transfer syntax.
pub(super) fn file_as(
    object: InMemDicomObject,
    syntax: &str,
) -> Result<DefaultDicomObject, ObjectError> {
    let meta = FileMetaTableBuilder::new().transfer_syntax(syntax);
    object
        .with_meta(meta)
        .map_err(|e| ObjectError::Library(e.to_string()))
}
