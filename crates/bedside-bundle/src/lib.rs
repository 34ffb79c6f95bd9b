//! The one-file model bundle: manifest, graphs, prompt table, self-test.
//!
//! A bundle, `NAME.bedside`, is everything that a device needs to run one model. It is a zip
//! archive in one fixed layout, or the same tree unpacked in a folder; the format is written
//! down in `docs/bundle-format.md`. This crate handles data only: it runs no model and decodes
//! no picture.
//!
//! [`pack()`] makes a bundle on a workstation. On the device [`Bundle::open`] reads headers and
//! [`Manifest`] and refuses what can't be trusted; [`Bundle::part`] reads one part and checks
//! its SHA-256, [`Bundle::map`] does so without a copy; [`Bundle::prompt_table`] gives the cached
//! tokens, and [`PromptTable::resolve`] says which of them a person's words name.
//!
//! ```no_run
//! use bedside_bundle::Bundle;
//! use bedside_core::Prompt;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bundle = Bundle::open("edge.bedside")?;
//! let variant = bundle.variant(bundle.manifest().default_precision)?;
//! let onnx = bundle.map(&variant.encoder)?;
//! let table = bundle.prompt_table()?;
//! let polyp = table.trained(&Prompt::new("polyp"))?;
//! println!("{} bytes, {} token rows", onnx.len(), polyp.rows());
//! # Ok(())
//! # }
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
pub mod onnx;
mod pack;
mod prompts;
mod resolve;

pub use bedside_map::Bytes;

pub use archive::{MAX_BUNDLE_BYTES, MAX_PARTS};
pub use bundle::{Bundle, Unverified};
pub use error::{BundleError, ErrorKind};
pub use manifest::{FORMAT, MAX_MANIFEST_BYTES, Manifest, Precision};
pub use pack::pack;
pub use prompts::{MAX_PROMPT_TABLE_BYTES, PromptEntry, PromptTable};
pub use resolve::{PromptError, PromptErrorKind, Resolution};

/// The part that lists all others; the first in the archive.
const MANIFEST: &str = "manifest.json";
/// The part with the prompt table.
const PROMPT_TABLE: &str = "prompts.postcard";
