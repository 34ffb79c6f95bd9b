//! Which model was evaluated.

use bedside::{Manifest, Options, Segmenter};
use serde::{Deserialize, Serialize};

/// Which model answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Model {
    /// Name of the bundle.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Licence of the weights.
    pub licence: String,
    /// Number format of the weights.
    pub precision: String,
    /// Name of the backend.
    pub backend: String,
    /// Threads of the backend.
    pub threads: usize,
}

impl Model {
    /// The model that is loaded.
    pub fn of(segmenter: &Segmenter) -> Self {
        let manifest = segmenter.manifest();
        Self {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            licence: manifest.licence.clone(),
            precision: segmenter.precision().to_string(),
            backend: segmenter.backend().to_owned(),
            threads: segmenter.threads(),
        }
    }

    /// What will be loaded, before it is.
    pub fn planned(manifest: &Manifest, options: &Options, backend: &str) -> Self {
        let precision = options.precision.unwrap_or(manifest.default_precision);
        Self {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            licence: manifest.licence.clone(),
            precision: precision.to_string(),
            backend: backend.to_owned(),
            threads: options.threads(),
        }
    }
}
