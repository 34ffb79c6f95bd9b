//! Displays are driven on Linux alone.

use bedside_video::sink::{SinkError, SinkErrorKind};

use crate::{Connector, Screen};

pub(crate) fn open(_: &Connector) -> Result<Box<dyn Screen>, SinkError> {
    let message = "is driven on Linux alone; hint: pipe the video to a player";
    Err(SinkError::new(SinkErrorKind::Away, message))
}
