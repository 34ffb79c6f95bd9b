//! Pictures and masks from files.

use std::path::Path;

use bedside::Frame;

use crate::error::{Error, ErrorKind};

/// Reads a picture of 8 bits a channel, gray or RGB and upright; an error names the file.
pub type ReadStill = fn(&Path) -> Result<Frame, String>;

pub(crate) fn read(read: ReadStill, path: &Path) -> Result<Frame, Error> {
    read(path).map_err(|why| Error::new(ErrorKind::Input, why))
}
