//! A folder of pictures, in the order of their names.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec::IntoIter;

use bedside_core::{Clock, Frame, Phi, PixelFormat, YuvSpace};
use bedside_vision::colour::rgb_pixels;

use crate::{Source, SourceError, SourceInfo, size, still};

/// Pictures of a folder; the first one says of what size, and whether colour, all are.
pub(crate) struct FolderSource {
    first: Option<Frame>,
    rest: IntoIter<PathBuf>,
    count: usize,
    info: SourceInfo,
    clock: Arc<dyn Clock>,
}

impl FolderSource {
    pub(crate) fn new(
        name: Phi<String>,
        frames_per_second: f64,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SourceError> {
        let io = |error: &std::io::Error| SourceError::io(&name, error);
        let paths = still::in_folder(Path::new(name.reveal())).map_err(|error| io(&error))?;
        let count = paths.len();
        let mut rest = paths.into_iter();
        let first = rest.next().ok_or_else(|| {
            SourceError::fatal(format!(
                "{name}: no pictures in it; hint: PNG, JPEG, BMP, TIFF and WebP are read"
            ))
        })?;
        let first = still::picture(&first)
            .map_err(|why| SourceError::fatal(format!("{name}, its first picture: {why}")))?;
        size::check(first.width(), first.height())
            .map_err(|why| SourceError::fatal(format!("{name}: {why}; hint: scale them")))?;
        let info = SourceInfo {
            name,
            width: first.width(),
            height: first.height(),
            format: first.format(),
            yuv_space: YuvSpace::default(),
            frames_per_second: Some(frames_per_second),
            live: false,
        };
        Ok(Self {
            first: Some(first),
            rest,
            info,
            clock,
            count,
        })
    }

    /// What is wrong with the picture that was taken last, by its place in the order of names.
    fn broken(&self, why: &str) -> SourceError {
        let place = self.count - self.rest.len();
        SourceError::broken(format!("{}, picture {place}: {why}", self.info.name))
    }
}

impl Source for FolderSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    /// Decoding makes its own memory: `buffer` is dropped.
    fn next(&mut self, _buffer: Vec<u8>) -> Result<Option<Frame>, SourceError> {
        let now = self.clock.now();
        let picture = match self.first.take() {
            Some(first) => first,
            None => match self.rest.next() {
                Some(path) => still::picture(&path).map_err(|why| self.broken(&why))?,
                None => return Ok(None),
            },
        };
        let info = &self.info;
        let (width, height) = (picture.width(), picture.height());
        if (width, height) != (info.width, info.height) {
            let why = format!(
                "a picture of {width}x{height} among {}x{}",
                info.width, info.height
            );
            return Err(self.broken(&format!("{why}; hint: one size to a folder")));
        }
        let data = match (picture.format(), info.format) {
            (from, to) if from == to => picture.into_data(),
            (PixelFormat::Gray8, _) => {
                let mut rgb = Vec::new();
                rgb_pixels(&picture, &mut rgb);
                rgb
            }
            _ => {
                let why = "a picture in colour among gray ones; hint: one kind to a folder";
                return Err(self.broken(why));
            }
        };
        self.info.frame(data, now).map(Some)
    }
}
