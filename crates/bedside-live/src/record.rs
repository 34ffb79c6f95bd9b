//! The records of a session, frame by frame: one type for JSON lines and the result log.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bedside::{BoundingBox, Phi, State, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::BundleLoader;
use crate::painter::Claim;

/// A text that every frame repeats, such as a prompt: cloning it allocates nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| text.as_str().into())
    }
}

/// One record. In JSON an object with one key, the variant's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// Opens a session.
    Session(SessionRecord),
    /// The prompts from here on.
    Prompts(Vec<Name>),
    /// One frame that was shown.
    Frame(FrameRecord),
    /// Closes a session that ended in order.
    End(Counts),
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Version of bedside.
    pub bedside: String,
    /// Name and version of the model bundle.
    pub model: String,
    /// Number format of the weights.
    pub precision: String,
    /// Name of the backend.
    pub backend: String,
    /// Where frames come from: of files and folders the kind alone, unless somebody asked for more.
    pub source: String,
    /// Wall clock at the start, milliseconds since 1970 (UTC); no decision reads it.
    pub started_unix_ms: u64,
}

impl SessionRecord {
    /// What a loader is about to run on frames of `source`, starting now.
    pub fn of(loader: &BundleLoader, source: &Phi<String>) -> Self {
        let manifest = loader.bundle().manifest();
        let precision = loader.options().precision;
        Self {
            bedside: env!("CARGO_PKG_VERSION").to_owned(),
            model: format!("{} {}", manifest.name, manifest.version),
            precision: precision.unwrap_or(manifest.default_precision).to_string(),
            backend: loader.backend().name().to_owned(),
            source: source.to_string(),
            started_unix_ms: unix_ms(),
        }
    }

    /// The same, starting now.
    pub(crate) fn restarted(&self) -> Self {
        Self {
            started_unix_ms: unix_ms(),
            ..self.clone()
        }
    }
}

/// The wall clock, milliseconds since 1970 (UTC).
fn unix_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.map_or(0, |t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX))
}

/// One frame as it was shown.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FrameRecord {
    /// Number of the frame since the session's start, counting those that were dropped.
    pub frame: u64,
    /// Capture on the session's monotonic clock, nanoseconds.
    pub captured_ns: u64,
    /// From the frame in memory to the annotated frame in memory, microseconds.
    pub delay_us: u64,
    /// [`State::name`].
    pub state: Name,
    /// [`State::reason`], empty where there is none.
    pub reason: Name,
    /// Masks that were painted.
    pub masks: Vec<MaskRecord>,
    /// Prompts whose object is not in the frame, as the newest answer says.
    pub absent: Vec<Name>,
    /// Prompts whose mask was withheld: found once and not surely, lost from sight by the motion
    /// since, or asked of a frame unlike those that the model learned from.
    pub uncertain: Vec<Name>,
    /// Prompts for which no answer is recent enough to be shown. Each prompt is here, above, or has
    /// a mask.
    pub unanswered: Vec<Name>,
    /// Whether the frame was shown before, and is shown again as no newer one came.
    pub repeated: bool,
}

impl FrameRecord {
    pub(crate) fn empty() -> Self {
        let state = State::Starting;
        Self {
            state: state.name().into(),
            reason: state.reason().into(),
            ..Self::default()
        }
    }

    pub(crate) fn begin(&mut self, frame: u64, captured: Timestamp, repeated: bool) {
        (self.frame, self.captured_ns) = (frame, captured.as_nanos());
        self.repeated = repeated;
        self.masks.clear();
        for names in [&mut self.absent, &mut self.uncertain, &mut self.unanswered] {
            names.clear();
        }
    }

    pub(crate) fn set_state(&mut self, state: State) {
        (self.state, self.reason) = (state.name().into(), state.reason().into());
    }
}

/// One painted mask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MaskRecord {
    /// The prompt that it answers.
    pub prompt: Name,
    /// The frame that the model saw.
    pub made_for: u64,
    /// From the capture of that frame to painting, microseconds.
    pub age_us: u64,
    /// Share of the mask's pixels whose motion is trusted, less what age takes, 0 to 1.
    pub confidence: f32,
    /// The model's probability that the object was in the frame it saw, 0 to 1.
    pub presence: f32,
    /// Pixels as painted.
    pub area: u64,
    /// Extents as painted.
    pub bounding_box: Option<BoundingBox>,
    /// How usual mask and colours were for the object in the frame that the model saw, 0 to 1;
    /// `None` where the bundle has no reference.
    pub validity: Option<f32>,
}

impl MaskRecord {
    pub(crate) fn new(prompt: &Name, claim: &Claim<'_>, age: Duration, confidence: f32) -> Self {
        Self {
            prompt: prompt.clone(),
            made_for: claim.made_for,
            age_us: u64::try_from(age.as_micros()).unwrap_or(u64::MAX),
            confidence,
            presence: claim.presence,
            area: claim.area,
            bounding_box: claim.bounding_box,
            validity: claim.validity,
        }
    }
}

/// Where the frames went: `captured = shown + dropped + failed` once a session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Frames that the source gave or failed to give.
    pub captured: u64,
    /// Frames that were shown.
    pub shown: u64,
    /// Frames that a newer one overtook.
    pub dropped: u64,
    /// Frames that could not be read or painted.
    pub failed: u64,
}
