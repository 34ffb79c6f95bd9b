//! What a bundle says of itself: `manifest.json`.

use std::fmt;

use bedside_core::{Form, Modality};
use serde::{Deserialize, Serialize};

use crate::error::{BundleError, ErrorKind};

/// The newest bundle format that this version reads and writes; it reads all from 1 on.
///
/// Format 2 keeps the tokens of prompts in f32, format 1 in f16. Since format 3 one graph may serve
/// several sides of the input, and forms may have a side and a presence of their own.
pub const FORMAT: u32 = 3;
/// The first format in which a dimension may depend on the side of the input.
pub(crate) const FORMAT_OF_SIDES: u32 = 3;
/// Most bytes of a `manifest.json`.
pub const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// The encoder's output with a logit for each kind of imaging, f32 `[1,n]`.
pub const MODALITY: &str = "modality";
/// The encoder's output with the frame's distance from each prototype, f32 `[1,n]`.
pub const DISTANCE: &str = "distance";

/// Everything about a bundle but the bytes of its parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// 1 to [`FORMAT`].
    pub format: u32,
    /// Name of the model, such as "edge": lower-case letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Version of the weights.
    pub version: String,
    /// One line for people.
    pub description: String,
    /// Licence of the weights: an SPDX expression or its name.
    pub licence: String,
    /// What the weights were trained on or exported from, and how.
    pub lineage: String,
    /// The sets of frames that the weights learned from, with the terms of each, where the bundle
    /// tells them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub training_data: Vec<TrainingData>,
    /// How a frame becomes the encoder's input.
    pub input: Input,
    /// Every graph once.
    pub graphs: Vec<Graph>,
    /// Which graphs serve which precision; at least one, each precision at most once.
    pub variants: Vec<Variant>,
    /// Precision of the variant to run where nothing else is asked for.
    pub default_precision: Precision,
    /// The text encoder for prompts outside the prompt table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Text>,
    /// Where answers begin.
    pub thresholds: Thresholds,
    /// Kinds of frames that are not fed upright; all others are.
    #[serde(default)]
    pub orientation: Vec<Orientation>,
    /// What CT frames were clipped to in training, by site.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// References for the validity of masks, fitted on the outputs of this bundle's variants.
    #[serde(default)]
    pub validity: Vec<Validity>,
    /// What is particular to single forms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forms: Vec<Particular>,
    /// The classes of the encoder's output [`MODALITY`], from class 0; further classes mean "none of
    /// them". Empty when there is no such output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modalities: Vec<Modality>,
    /// What the encoder's output [`DISTANCE`] means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub familiarity: Option<Familiarity>,
    /// Names of the classes of the decoder's output `meta`, from class 0; further classes mean
    /// "none of them". Empty when there is no such output.
    #[serde(default)]
    pub meta_objects: Vec<String>,
    /// Frames with known masks; at least one, and one at least whose mask is not empty.
    pub self_tests: Vec<SelfTest>,
    /// Every file of the bundle but the manifest, sorted by name. Absent before packing.
    #[serde(default)]
    pub parts: Vec<Part>,
}

/// Number format of a graph's weights and arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names say it")]
pub enum Precision {
    F32,
    F16,
    Int8,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        })
    }
}

/// How a frame becomes the encoder's input: padded to a square with black, resized to
/// `side` x `side`, then each channel `(value - mean) / std`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Height and width of the encoder's input in pixels.
    pub side: u32,
    /// Other sides that the graphs take as well, in place of `side`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_sides: Vec<u32>,
    /// Mean of red, green, blue on the scale 0 to 255.
    pub mean: [f32; 3],
    /// Standard deviation of red, green, blue on the scale 0 to 255.
    pub std: [f32; 3],
    /// Kernel of the resize.
    pub resize: Resize,
}

impl Input {
    /// Every side that the graphs take, first the one to use where nothing else is asked for.
    pub fn sides(&self) -> impl Iterator<Item = u32> {
        std::iter::once(self.side).chain(self.other_sides.iter().copied())
    }
}

/// Kernel of the resize to the encoder's input; both widen when shrinking (antialias).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// Triangle.
    Bilinear,
    /// Catmull-Rom, a = -0.5.
    Bicubic,
}

/// One ONNX graph and its tensors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Graph {
    /// Name of the part, ending in `.onnx`.
    pub part: String,
    /// Inputs in the graph's order.
    pub inputs: Vec<TensorSpec>,
    /// Outputs in the graph's order.
    pub outputs: Vec<TensorSpec>,
}

impl Graph {
    /// The graph as it is for one side of the input: dimensions that depend on the side are numbers.
    /// `None` where one is no whole number.
    pub fn at(&self, side: u32) -> Option<Self> {
        let tensors =
            |list: &[TensorSpec]| -> Option<Vec<_>> { list.iter().map(|t| t.at(side)).collect() };
        Some(Self {
            part: self.part.clone(),
            inputs: tensors(&self.inputs)?,
            outputs: tensors(&self.outputs)?,
        })
    }
}

/// An input or output of a graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    /// Its name in the graph.
    pub name: String,
    /// Type of its elements, the same at every precision of the weights.
    pub dtype: DType,
    /// Its dimensions, outermost first.
    pub shape: Vec<Dim>,
}

impl TensorSpec {
    fn at(&self, side: u32) -> Option<Self> {
        let dims = self.shape.iter().map(|dim| dim.at(side));
        Some(Self {
            shape: dims.collect::<Option<_>>()?,
            ..self.clone()
        })
    }
}

/// Type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum DType {
    F32,
    I64,
}

/// One dimension of a tensor: a number, or a symbol such as "P" that has one value in all
/// tensors of a run. Symbols that begin with "side" depend on the input's side: `side`, a part of it
/// such as `side/4`, or a product of these such as `side/16*side/16`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Dim {
    /// At least 1.
    Fixed(usize),
    /// Name of the symbol.
    Symbol(String),
}

impl Dim {
    /// Whether it depends on the side of the input.
    pub(crate) fn of_side(&self) -> bool {
        matches!(self, Self::Symbol(symbol) if symbol.starts_with("side"))
    }

    /// A number where it depends on the side; `None` where that is no whole number.
    fn at(&self, side: u32) -> Option<Self> {
        match self {
            Self::Symbol(product) if self.of_side() => {
                let part = |factor: &str| match factor.strip_prefix("side")? {
                    "" => Some(side),
                    part => {
                        let divisor = part.strip_prefix('/')?.parse().ok()?;
                        (side.checked_rem(divisor)? == 0).then(|| side / divisor)
                    }
                };
                let mut factors = product.split('*');
                let number = factors.try_fold(1usize, |n, f| n.checked_mul(part(f)? as usize));
                number.map(Self::Fixed)
            }
            _ => Some(self.clone()),
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(n) => n.fmt(f),
            Self::Symbol(s) => s.fmt(f),
        }
    }
}

/// `'tokens' f32 [P,T,384]`
impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dtype = match self.dtype {
            DType::F32 => "f32",
            DType::I64 => "i64",
        };
        write!(f, "'{}' {dtype} [", self.name)?;
        for (i, dim) in self.shape.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{dim}")?;
        }
        f.write_str("]")
    }
}

/// The graphs that serve one precision. Variants may share graphs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// The precision that a user asks for.
    pub precision: Precision,
    /// Part of the image encoder.
    pub encoder: String,
    /// Part of the mask decoder.
    pub decoder: String,
}

/// The text encoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Part of the graph from token ids `[1,T]` to tokens `[1,T,D]`.
    pub graph: String,
    /// Part of the tokenizer, a `tokenizer.json` of the Hugging Face tokenizers.
    pub tokenizer: String,
}

/// Where answers begin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// A pixel belongs to the mask when its logit is above this.
    pub mask_logit: f32,
    /// An object is present when the sigmoid of its score is at least this, 0 to 1.
    pub presence: f32,
}

/// How frames of a modality and site are fed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orientation {
    /// Kind of imaging.
    pub modality: Modality,
    /// Part of the body, as in [`Form::site`].
    pub site: String,
    /// Whether rows and columns are swapped before the encoder, and back in the mask.
    pub transpose: bool,
}

/// A set of frames that the weights learned from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingData {
    /// Its name and who made it.
    pub name: String,
    /// The terms that it is under, as far as they are known.
    pub terms: String,
}

/// The range of radiodensity that CT frames of a site show, black to white.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Part of the body, as in [`Form::site`].
    pub site: String,
    /// Black, in Hounsfield units.
    pub low: f32,
    /// White, in Hounsfield units; above `low`.
    pub high: f32,
}

/// Beta distributions of four statistics over correct masks of one object: the mean of the
/// probability and of each colour inside the mask, divided by 256. Each is `[a, b]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validity {
    /// As in [`Form::object`].
    pub object: String,
    /// Kind of imaging.
    pub modality: Modality,
    /// As in [`Form::site`].
    pub site: String,
    /// As in [`Form::acquisition`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub acquisition: String,
    /// The variant on whose outputs the distributions were fitted.
    pub precision: Precision,
    /// Mean probability.
    pub prob: [f64; 2],
    /// Mean of red.
    pub red: [f64; 2],
    /// Mean of green.
    pub green: [f64; 2],
    /// Mean of blue.
    pub blue: [f64; 2],
}

/// What is particular to one form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Particular {
    /// As in [`Form::object`].
    pub object: String,
    /// Kind of imaging.
    pub modality: Modality,
    /// As in [`Form::site`].
    pub site: String,
    /// As in [`Form::acquisition`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub acquisition: String,
    /// The side of the input that its masks are best at, one of [`Input::sides`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<u32>,
    /// What its scores mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence: Option<Presence>,
}

/// How a frame's distances from prototypes tell whether the weights know frames like it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Familiarity {
    /// A prompt is not answered where the fit is below this, 0 to 1.
    pub least: f32,
    /// The kinds of frames that the weights learned from.
    pub domains: Vec<Domain>,
}

/// A kind of frames, and its prototypes among the encoder's distances. On frames of it that the
/// weights did not learn from, the logarithm of the least distance has a mean and a deviation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// Kind of imaging.
    pub modality: Modality,
    /// Part of the body, as in [`Form::site`].
    pub site: String,
    /// Place of its first prototype.
    pub first: usize,
    /// Number of its prototypes, at least 1.
    pub count: usize,
    /// Mean of the logarithm.
    pub mean: f32,
    /// Standard deviation of the logarithm; above 0.
    pub std: f32,
}

/// How a form's score becomes a probability, and what is asked of that: calibrated on labelled
/// frames.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Presence {
    /// The probability is the sigmoid of `slope * score + offset`; above 0.
    pub slope: f32,
    /// See `slope`.
    pub offset: f32,
    /// The object is present when the probability is at least this, 0 to 1.
    pub threshold: f32,
}

impl Presence {
    /// The probability that a score stands for.
    pub fn of(&self, score: f32) -> f32 {
        1.0 / (1.0 + (-(self.slope * score + self.offset)).exp())
    }
}

/// A frame whose mask is known. Its mask has to come out at every precision and on every backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfTest {
    /// Part with the frame: interleaved RGB bytes, row by row.
    pub part: String,
    /// Columns of the frame.
    pub width: u32,
    /// Rows of the frame.
    pub height: u32,
    /// What to ask for; names one form of the prompt table.
    pub prompt: String,
    /// The mask as COCO run lengths: column by column, runs of unset and set pixels in turn,
    /// unset first. `[width * height]` is the answer "not present".
    pub mask: Vec<u32>,
    /// Least intersection over union with `mask`, above 0 and at most 1; two empty masks have 1.
    pub min_iou: f32,
    /// The side of the input that the mask is of; without it, [`Input::side`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<u32>,
}

/// A file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Path inside the bundle.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in lower-case hexadecimal digits.
    pub sha256: String,
}

/// The one field that is read before the format is known.
#[derive(Deserialize)]
struct Gate {
    format: u32,
}

impl Manifest {
    /// The manifest in `json`, its format checked first; fields are well typed, not yet sensible.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, BundleError> {
        let broken = |e: serde_json::Error| {
            BundleError::new(
                ErrorKind::Manifest,
                printable(&e.to_string()),
                "docs/bundle-format.md lists the fields",
            )
        };
        let Gate { format } = serde_json::from_slice(json).map_err(broken)?;
        if !(1..=FORMAT).contains(&format) {
            return Err(BundleError::new(
                ErrorKind::Format,
                format!("format {format}, this bedside reads formats 1 to {FORMAT}"),
                if format > FORMAT {
                    "update bedside"
                } else {
                    "pack the model again"
                },
            ));
        }
        serde_json::from_slice(json).map_err(broken)
    }

    /// The part of that name.
    pub fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|p| p.name == name)
    }

    /// The graph in the part of that name.
    pub fn graph(&self, part: &str) -> Option<&Graph> {
        self.graphs.iter().find(|g| g.part == part)
    }

    /// The graph in the part of that name, as it is for one side of the input.
    pub fn graph_at(&self, part: &str, side: u32) -> Option<Graph> {
        let graph = self.graph(part)?;
        match self.format < FORMAT_OF_SIDES {
            true => Some(graph.clone()),
            false => graph.at(side),
        }
    }

    /// The variant of that precision.
    pub fn variant(&self, precision: Precision) -> Option<&Variant> {
        self.variants.iter().find(|v| v.precision == precision)
    }

    /// Whether frames of that modality and site are fed with rows and columns swapped.
    pub fn transposed(&self, modality: Modality, site: &str) -> bool {
        self.orientation
            .iter()
            .any(|o| o.transpose && o.modality == modality && o.site == site)
    }

    /// The tests for one side of the input.
    pub fn self_tests_at(&self, side: u32) -> impl Iterator<Item = &SelfTest> {
        let default = self.input.side;
        let tests = self.self_tests.iter();
        tests.filter(move |test| test.side.unwrap_or(default) == side)
    }

    /// What is particular to a form.
    pub fn particular(&self, form: &Form) -> Option<&Particular> {
        let mut forms = self.forms.iter();
        forms.find(|p| (&p.object, p.modality, &p.site, &p.acquisition) == key(form))
    }

    /// What the scores of a form mean; of no form, what scores mean in general.
    pub fn presence(&self, form: Option<&Form>) -> Presence {
        let particular = form.and_then(|form| self.particular(form)?.presence);
        particular.unwrap_or(Presence {
            slope: 1.0,
            offset: 0.0,
            threshold: self.thresholds.presence,
        })
    }

    /// The validity reference of a form at a precision.
    pub fn validity(&self, form: &Form, precision: Precision) -> Option<&Validity> {
        self.validity
            .iter()
            .find(|v| v.precision == precision && v.is_for(form))
    }
}

impl Validity {
    /// Whether the distributions are of this form's masks.
    pub fn is_for(&self, form: &Form) -> bool {
        (&self.object, self.modality, &self.site, &self.acquisition) == key(form)
    }
}

/// What tells a form from all others.
fn key(form: &Form) -> (&String, Modality, &String, &String) {
    (&form.object, form.modality, &form.site, &form.acquisition)
}

/// The text without control characters, which could steer the terminal it is printed on.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}
