//! The preview page of `bedside live`; without the cargo feature `preview`, an error that says so.

use std::sync::Arc;

use bedside_live::record::SessionRecord;
use bedside_live::{BundleLoader, Control, Metrics, Monitor};

#[cfg(not(feature = "preview"))]
mod disabled;
#[cfg(feature = "preview")]
mod enabled;

#[cfg(not(feature = "preview"))]
pub(crate) use disabled::{Page, Serving};
#[cfg(feature = "preview")]
pub(crate) use enabled::{Page, Serving};

/// What the page shows and may change.
#[cfg_attr(
    not(feature = "preview"),
    expect(dead_code, reason = "there is no page to read it")
)]
pub(crate) struct Shown<'a> {
    pub monitor: Arc<Monitor>,
    pub control: Arc<Control>,
    pub metrics: Arc<Metrics>,
    pub loader: &'a BundleLoader,
    pub opening: SessionRecord,
    pub max_age_ms: u64,
}
