//! Choices of whoever runs a bundle.

use std::path::PathBuf;

use bedside_bundle::Precision;
use bedside_engine::{Backend, TractCpu};
use serde::Deserialize;

use crate::cache::Cache;
use crate::error::Error;

/// Choices of whoever runs a bundle; the default is the bundle's own. Any of them may stand in a
/// configuration file under the name of its field.
///
/// ```
/// use bedside::{Options, Precision};
///
/// let options = Options::default().with_precision(Precision::Int8).with_threads(2);
/// let file = r#"{ "precision": "int8", "threads": 2 }"#;
/// assert_eq!(serde_json::from_str::<Options>(file)?, options);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Options {
    /// Which variant of the bundle to run.
    pub precision: Option<Precision>,
    /// Side of the encoder's input in pixels, one of those that the bundle has. A smaller one is
    /// quicker, a larger one sees smaller things.
    pub side: Option<u32>,
    /// Threads of the backend and of the masks after it, at least 1. Without it, as many as there
    /// are cores, up to 4.
    pub threads: Option<usize>,
    /// Least probability of presence, 0 to 1, in place of the bundle's; 0 withholds no mask.
    pub presence: Option<f32>,
    /// Name of the backend, one of [`engine::backends`](crate::engine::backends). Without it,
    /// tract on the CPU.
    pub backend: Option<String>,
    /// Fail unless all of every graph runs on the backend's device, nothing on the CPU.
    pub require_device: bool,
    /// Folder for what is learned of this device and compiled for it. Without it, that of
    /// [`Cache::of_user`].
    pub cache: Option<PathBuf>,
}

impl Options {
    /// These options with this precision.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = Some(precision);
        self
    }

    /// These options with this side of the encoder's input.
    #[must_use]
    pub fn with_side(mut self, side: u32) -> Self {
        self.side = Some(side);
        self
    }

    /// These options with this number of threads.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// These options with this least probability of presence.
    #[must_use]
    pub fn with_presence(mut self, presence: f32) -> Self {
        self.presence = Some(presence);
        self
    }

    /// These options with this backend.
    #[must_use]
    pub fn with_backend(mut self, name: impl Into<String>) -> Self {
        self.backend = Some(name.into());
        self
    }

    /// These options, with a device required or not.
    #[must_use]
    pub fn with_require_device(mut self, required: bool) -> Self {
        self.require_device = required;
        self
    }

    /// These options with this folder for what is kept.
    #[must_use]
    pub fn with_cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// The backend that the options name.
    ///
    /// # Errors
    /// [`ErrorKind::Engine`](crate::ErrorKind::Engine) when this build has none of that name; the
    /// text names the feature that brings it, or the backends that there are.
    pub fn backend(&self) -> Result<&'static dyn Backend, Error> {
        match &self.backend {
            None => Ok(&TractCpu),
            Some(name) => Ok(bedside_engine::backend(name)?),
        }
    }

    /// Threads of the backend: as given, or one per core up to 4.
    pub fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, |n| n.get().min(4));
        self.threads.unwrap_or_else(cores).max(1)
    }

    /// Where things are kept; `None` when no folder is given and the user has none.
    pub fn cache(&self) -> Option<Cache> {
        let given = self.cache.as_ref().map(Cache::at);
        given.or_else(Cache::of_user)
    }
}
