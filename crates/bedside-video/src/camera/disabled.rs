//! Where there is no V4L2.

use std::sync::Arc;

use bedside_core::Clock;

use crate::{CaptureFormat, Source, SourceError};

pub(crate) fn open(
    path: &str,
    _request: CaptureFormat,
    _clock: Arc<dyn Clock>,
) -> Result<Box<dyn Source>, SourceError> {
    Err(SourceError::fatal(format!(
        "{path}: cameras are read on Linux alone; hint: pipe one in with ffmpeg, see docs/video.md"
    )))
}
