//! What crosses the boundary, laid out as C has it.
#![allow(non_camel_case_types, reason = "these are their names in C")]

use std::ffi::c_char;

/// What a call came to. Where it is not `BEDSIDE_STATUS_OK`, `bedside_last_error` has the cause and
/// the remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum bedside_status {
    /// Done.
    Ok = 0,
    /// A mistake in the program: NULL, a number that is none of its enumeration, text that is not
    /// UTF-8, an index past the end, a buffer that is too small.
    Argument = 1,
    /// A handle of nothing: never made, freed, or of another kind.
    Handle = 2,
    /// The bundle is damaged, cut off, of another format, or lacks the precision.
    Bundle = 3,
    /// A prompt is unknown, ambiguous, or of a type that the weights were not trained on.
    Prompt = 4,
    /// The frame is too small or too large, or its bytes end before its last pixel.
    Frame = 5,
    /// The backend failed, or answered with NaN, infinite or absurd values.
    Engine = 6,
    /// One of the bundle's own test frames got another mask here: there is no segmenter.
    SelfTest = 7,
    /// Prompts of another bundle or precision, or an encoded frame of another segmenter, or one that
    /// was encoded for prompts that see frames the other way round.
    Mismatch = 8,
    /// An option is out of its range.
    Config = 9,
    /// What was measured on this device could not be kept or read.
    Cache = 10,
    /// A fault of bedside itself. The segmenter that it happened in answers nothing more: free it.
    Internal = 11,
}

/// A loaded bundle that has passed its self-test. `{0}` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct bedside_segmenter {
    /// For bedside alone.
    pub id: u64,
}

/// Prompts made ready. `{0}` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct bedside_prompts {
    /// For bedside alone.
    pub id: u64,
}

/// A frame after the image encoder, which any prompts can be asked of. `{0}` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct bedside_encoded {
    /// For bedside alone.
    pub id: u64,
}

/// The findings on one frame. `{0}` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct bedside_answer {
    /// For bedside alone.
    pub id: u64,
}

/// Number format of weights and arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum bedside_precision {
    /// The bundle's choice.
    Default = 0,
    /// 32-bit floating point.
    F32 = 1,
    /// 16-bit floating point.
    F16 = 2,
    /// 8-bit integers.
    Int8 = 3,
}

/// How a bundle is run. All zero: the bundle's own choices.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct bedside_options {
    /// A `bedside_precision`.
    pub precision: i32,
    /// Side of the model's input in pixels, one of those that the bundle has; 0: the bundle's own.
    /// `bedside_suited_side` says which suits some prompts.
    pub side: u32,
    /// Threads of the engine; 0: one per core, at most 4.
    pub threads: u32,
    /// Least probability of presence, up to 1, in place of the bundle's; 0: the bundle's own; below
    /// 0: no mask is withheld.
    pub presence: f32,
    /// Name of the engine; NULL: `"tract-cpu"`.
    pub backend: *const c_char,
    /// Folder for what is learned of this device, such as passed self-tests; NULL: `bedside` in the
    /// user's cache folder.
    pub cache: *const c_char,
}

/// What to find.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct bedside_prompt {
    /// The words, such as `"polyp"` or `"tumor in breast ultrasound"`.
    pub text: *const c_char,
    /// Kind of imaging, where the words alone may mean several objects: `"ct"`, `"mri"`, `"x-ray"`,
    /// `"ultrasound"`, `"pathology"`, `"endoscopy"`, `"dermoscopy"`, `"fundus"` or `"oct"`. May be
    /// NULL.
    pub modality: *const c_char,
    /// Part of the body, likewise. May be NULL.
    pub site: *const c_char,
}

/// How the bytes of a frame lie. Chroma planes of odd sizes are rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum bedside_pixel_format {
    /// One plane: red, green, blue, 3 bytes a pixel.
    Rgb8 = 0,
    /// One plane: a luminance byte a pixel, full range.
    Gray8 = 1,
    /// Two planes: Y; U and V in turn at half the width and height.
    Nv12 = 2,
    /// Three planes: Y; U, V at half the width and height.
    I420 = 3,
    /// One plane: Y0 U Y1 V for each two pixels of a row.
    Yuyv = 4,
}

/// What Y, U and V mean in frames of the YUV formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum bedside_yuv_space {
    /// ITU-R BT.601, 16 to 235: webcams and standard-definition capture.
    Bt601Limited = 0,
    /// ITU-R BT.601, 0 to 255: MJPEG cameras.
    Bt601Full = 1,
    /// ITU-R BT.709, 16 to 235: HDMI and SDI capture of 720 lines and more.
    Bt709Limited = 2,
    /// ITU-R BT.709, 0 to 255.
    Bt709Full = 3,
}

/// Most planes that a pixel format has.
pub const BEDSIDE_PLANES: usize = 3;

/// One plane of a frame, in memory of the caller's.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct bedside_plane {
    /// The first pixel of the top row.
    pub data: *const u8,
    /// Bytes from there on that may be read. The padding of the last row may be missing.
    pub size: usize,
    /// Bytes from one row to the next.
    pub stride: usize,
}

/// A picture in memory of the caller's: read during a call, and not kept.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct bedside_frame {
    /// Pixels in a row, 16 to 16384.
    pub width: u32,
    /// Rows, 16 to 16384.
    pub height: u32,
    /// A `bedside_pixel_format`.
    pub format: i32,
    /// A `bedside_yuv_space`; ignored for RGB and gray.
    pub yuv_space: i32,
    /// As many as the format has, in its order; the others are ignored.
    pub planes: [bedside_plane; BEDSIDE_PLANES],
}

/// Kind of imaging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(i32)]
pub enum bedside_modality {
    /// None that the model knows, or the bundle does not tell.
    #[default]
    Unknown = 0,
    /// Computed tomography.
    Ct = 1,
    /// Magnetic resonance imaging.
    Mri = 2,
    /// Radiography.
    XRay = 3,
    /// Sonography.
    Ultrasound = 4,
    /// Microscopy of tissue.
    Pathology = 5,
    /// Cameras inside the body.
    Endoscopy = 6,
    /// Magnified skin.
    Dermoscopy = 7,
    /// Photographs of the retina.
    Fundus = 8,
    /// Optical coherence tomography.
    Oct = 9,
}

/// Why a prompt is not answered on a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(i32)]
pub enum bedside_withheld {
    /// It is answered.
    #[default]
    No = 0,
    /// The frame looks like another kind of imaging than the prompt is for.
    OtherModality = 1,
    /// The frame is unlike those that the model learned the object from.
    Unfamiliar = 2,
}

/// An answer as a whole.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct bedside_summary {
    /// Number of findings: one a prompt, in the order of the prompts.
    pub findings: usize,
    /// Pixels in a row of the frame, and of each mask.
    pub width: u32,
    /// Rows of the frame, and of each mask.
    pub height: u32,
    /// The kind of imaging that the frame looks like.
    pub looks_like: bedside_modality,
    /// How probable that is, 0 to 1; NaN where the bundle does not tell.
    pub looks_like_probability: f32,
    /// Wall time of the passes in nanoseconds, 0 for those that this answer took none of: the frame made
    /// ready for the model,
    pub preprocess_ns: u64,
    /// the image encoder,
    pub encoder_ns: u64,
    /// the mask decoder,
    pub decoder_ns: u64,
    /// and masks with their statistics.
    pub masks_ns: u64,
}

/// A box in pixels of the frame; all zero where there is no mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct bedside_box {
    /// Leftmost column.
    pub x: u32,
    /// Topmost row.
    pub y: u32,
    /// Number of columns.
    pub width: u32,
    /// Number of rows.
    pub height: u32,
}

/// The answer to one prompt. "Not present" is an answer.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct bedside_finding {
    /// Whether the object is in the frame. Then there is a mask, and only then.
    pub present: bool,
    /// Why the prompt is not answered.
    pub withheld: bedside_withheld,
    /// The model's probability that the object is in the frame, 0 to 1.
    pub presence: f32,
    /// Pixels in the mask.
    pub area: u64,
    /// Extents of the mask.
    pub bounding_box: bedside_box,
    /// Mean probability over the mask's pixels, 0.5 to 1; NaN where there is no mask.
    pub mean_probability: f32,
    /// How usual mask and colours are for this object, 0 to 1; low values deserve doubt. NaN where
    /// the bundle does not tell, or there is no mask.
    pub validity: f32,
    /// Of frames like those that the model learned the object from, the share that is less alike than
    /// this one, 0 to 1; low values deserve doubt. NaN where the bundle does not tell.
    pub fit: f32,
}

/// A text of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum bedside_text {
    /// The prompt as it was asked; where modality or site settled which of several objects its words
    /// mean, that object's full text.
    Prompt = 0,
    /// Name of the object type; empty for a prompt outside the table.
    Object = 1,
    /// Class that the model reads from the region; empty where the bundle does not tell.
    MetaObject = 2,
    /// The mask as COCO's compressed run lengths, which pycocotools reads; empty where there is none.
    Rle = 3,
}

impl Default for bedside_plane {
    fn default() -> Self {
        Self {
            data: std::ptr::null(),
            size: 0,
            stride: 0,
        }
    }
}
