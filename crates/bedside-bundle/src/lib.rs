//! The one-file model bundle: manifest, graphs, prompt table, self-test.
//!
//! A bundle, `NAME.bedside`, is everything that a device needs to run one model. It is a zip
//! archive in one fixed layout, or the same tree unpacked in a folder; the format is written
//! down in `docs/bundle-format.md`. This crate handles data only: it runs no model and decodes
//! no picture.
//!
//! [`pack()`] makes a bundle on a workstation. On the device [`Bundle::open`] reads headers and
//! [`Manifest`] and refuses what can't be trusted; [`Bundle::part`] reads one part and checks
//! its SHA-256, [`Bundle::map`] does so without a copy; [`Bundle::prompt_table`] gives the cached tokens.
//!
//! ```no_run
//! use bedside_bundle::{Bundle, Role};
//!
//! let bundle = Bundle::open("edge.bedside")?;
//! let precision = bundle.manifest().default_precision;
//! let encoder = bundle.graph(Role::Encoder, precision)?;
//! let onnx = bundle.map(&encoder.part)?;
//! let prompts = bundle.prompt_table()?;
//! println!("{} bytes, {} prompts", onnx.len(), prompts.entries().len());
//! # Ok::<(), bedside_bundle::BundleError>(())
//! ```
//!
//! Nothing here panics on any input, follows a link, or allocates more than the caps
//! ([`MAX_BUNDLE_BYTES`], [`MAX_MANIFEST_BYTES`], [`MAX_PROMPT_TABLE_BYTES`]) and the file's own
//! size allow.

mod archive;
mod bundle;
mod check;
mod contract;
mod error;
mod folder;
pub mod manifest;
mod name;
mod onnx;
mod pack;
mod prompts;

pub use bedside_map::Bytes;

pub use archive::{MAX_BUNDLE_BYTES, MAX_PARTS};
pub use bundle::{Bundle, Role};
pub use error::{BundleError, ErrorKind};
pub use manifest::{FORMAT, MAX_MANIFEST_BYTES, Manifest, Precision};
pub use pack::pack;
pub use prompts::{MAX_PROMPT_TABLE_BYTES, PromptEntry, PromptTable};

/// The part that lists all others; the first in the archive.
const MANIFEST: &str = "manifest.json";
/// The part with the prompt table.
const PROMPT_TABLE: &str = "prompts.postcard";
