//! Where there is no V4L2.

use std::sync::Arc;

use bedside_core::{Clock, Phi};

use crate::camera::CameraInfo;
use crate::{CaptureFormat, Source, SourceError};

pub(crate) fn open(
    name: Phi<String>,
    _request: CaptureFormat,
    _clock: Arc<dyn Clock>,
) -> Result<Box<dyn Source>, SourceError> {
    Err(SourceError::fatal(format!(
        "{name}: cameras are read on Linux alone; hint: pipe one in with ffmpeg, see docs/video.md"
    )))
}

pub(crate) fn list() -> Vec<CameraInfo> {
    Vec::new()
}
