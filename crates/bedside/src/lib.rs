#![doc = include_str!("../README.md")]

mod answer;
mod cache;
mod error;
mod load;
mod look;
mod machine;
mod options;
mod overlap;
mod prompts;
mod proof;
mod segmenter;
mod text;
mod tuning;
mod validity;

pub use bedside_bundle::{
    Bundle, Manifest, Precision, PromptEntry, PromptError, PromptErrorKind, PromptTable, Resolution,
};
pub use bedside_core::frame::MAX_SIDE;
pub use bedside_core::{
    BoundingBox, Category, Clock, ColourModel, Component, Degradation, Fault, Finding, Form, Frame,
    FrameError, FrameView, ManualClock, Mask, Modality, MonotonicClock, ObjectType, Ontology,
    PaintPermit, Pause, Phi, PixelFormat, Plane, PlaneSize, Prompt, Stall, State, Timestamp,
    Withheld, YuvSpace,
};

pub use cache::Cache;
pub use error::{Error, ErrorKind};
pub use look::LooksLike;
pub use machine::machine_name;
pub use options::Options;
pub use prompts::{Orientation, PromptSet, Resolved, resolve, side_for};
pub use proof::{SelfTestCase, Unproven};
pub use segmenter::{Features, MIN_SIDE, Profile, Segmentation, Segmenter, Timings};
pub use tuning::{Outcome, Tried, Tuning, TuningKey, tune};

/// Bundles as files: making and reading them.
pub mod bundle {
    pub use bedside_bundle::{BundleError, ErrorKind, Unverified, manifest, pack};
}

/// Backends: which there are, and what one of your own has to do.
pub mod engine {
    pub use bedside_engine::{
        Backend, Bytes, DType, Dim, EngineError, ErrorKind, FaultyBackend, InjectedFault,
        LoadOptions, OpTime, Placement, Release, Session, Signature, TensorSpec, TractCpu,
        TractStock, Value, backend, backend_names, backends, conformance,
    };
}

/// Pixels: colours, masks as text and on top of frames, and how alike two of them are.
pub mod vision {
    pub use bedside_vision::{colour, dice, iou, overlay, rle};
}
