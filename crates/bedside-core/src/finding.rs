//! What is known of one prompt on one frame.

use serde::{Deserialize, Serialize};

use crate::mask::Mask;

/// An axis-aligned box in pixels: `x..x + width`, `y..y + height`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundingBox {
    /// Leftmost column.
    pub x: u32,
    /// Topmost row.
    pub y: u32,
    /// Number of columns, at least 1.
    pub width: u32,
    /// Number of rows, at least 1.
    pub height: u32,
}

/// Why a prompt is not answered on a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Withheld {
    /// The frame looks like another kind of imaging than the prompt is for.
    OtherModality,
    /// The frame is unlike those that the model learned the object from.
    Unfamiliar,
}

/// The answer to one prompt on one frame.
///
/// "Not present" is an answer: then `mask`, `bounding_box`, `mean_probability` and `validity`
/// are `None` and `area` is 0, whatever the network drew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// The prompt as it was asked; where modality or site settled which of several forms its words
    /// mean, that form's full text.
    pub prompt: String,
    /// Name of the object type in the ontology; `None` for a free prompt.
    pub object: Option<String>,
    /// Whether the object is in the frame: presence at or above the bundle's threshold, at least one
    /// pixel in the mask, and nothing `withheld` (unless every mask was asked for).
    pub present: bool,
    /// The model's probability that the object is in the frame, 0 to 1.
    pub presence: f32,
    /// Meta object that the model reads from the region, when the bundle has that head.
    pub meta_object: Option<String>,
    /// The object's pixels at the frame's own size. Left out where a finding is serialised: masks
    /// are as large as frames, and travel as pixels do.
    #[serde(skip)]
    pub mask: Option<Mask>,
    /// Number of pixels in the mask.
    pub area: u64,
    /// Extents of the mask.
    pub bounding_box: Option<BoundingBox>,
    /// Mean probability over the mask's pixels, 0.5 to 1.
    pub mean_probability: Option<f32>,
    /// How usual mask and colours are for this object, 0 to 1; low values deserve doubt.
    /// `None` when the bundle has no reference for the object.
    pub validity: Option<f32>,
    /// Of frames like those that the model learned the object from, the share that is less alike
    /// than this one, 0 to 1; low values deserve doubt. `None` when the bundle does not tell.
    pub fit: Option<f32>,
    /// Why the prompt is not answered; `None` where it is.
    pub withheld: Option<Withheld>,
}

impl Finding {
    /// The answer that the object is not in the frame.
    pub fn absent(prompt: impl Into<String>, presence: f32) -> Self {
        Self {
            prompt: prompt.into(),
            object: None,
            present: false,
            presence,
            meta_object: None,
            mask: None,
            area: 0,
            bounding_box: None,
            mean_probability: None,
            validity: None,
            fit: None,
            withheld: None,
        }
    }
}
