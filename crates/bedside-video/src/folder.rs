//! A folder of pictures, in the order of their names.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec::IntoIter;

use bedside_core::frame::MAX_SIDE;
use bedside_core::{Clock, Frame, PixelFormat, YuvSpace};
use image::{DynamicImage, ImageReader, Limits};

use crate::{Source, SourceError, SourceInfo};

/// Most bytes of a picture file, and of a decoded picture.
const MAX_BYTES: u64 = 512 << 20;

const ENDINGS: [&str; 7] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp"];

/// Pictures of a folder; the first one says of what size, and whether colour, all are.
pub(crate) struct FolderSource {
    first: Option<DynamicImage>,
    rest: IntoIter<PathBuf>,
    info: SourceInfo,
    clock: Arc<dyn Clock>,
}

impl FolderSource {
    pub(crate) fn new(
        name: &str,
        frames_per_second: f64,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SourceError> {
        let io = |error: &std::io::Error| SourceError::io(name, error);
        let mut paths = Vec::new();
        for entry in fs::read_dir(name).map_err(|error| io(&error))? {
            let path = entry.map_err(|error| io(&error))?.path();
            let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
            if ENDINGS.iter().any(|known| ending == *known) {
                paths.push(path);
            }
        }
        paths.sort();
        let mut rest = paths.into_iter();
        let first = rest.next().ok_or_else(|| {
            SourceError::fatal(format!(
                "{name}: no pictures in it; hint: PNG, JPEG, BMP, TIFF and WebP are read"
            ))
        })?;
        let first = read(&first).map_err(|why| SourceError::fatal(format!("{name}: {why}")))?;
        let info = SourceInfo {
            name: name.to_owned(),
            width: first.width(),
            height: first.height(),
            format: if first.color().has_color() {
                PixelFormat::Rgb8
            } else {
                PixelFormat::Gray8
            },
            yuv_space: YuvSpace::default(),
            frames_per_second: Some(frames_per_second),
            live: false,
        };
        Ok(Self {
            first: Some(first),
            rest,
            info,
            clock,
        })
    }
}

fn read(path: &Path) -> Result<DynamicImage, String> {
    let name = path.file_name().unwrap_or_default().display();
    let damaged = |error: &dyn std::fmt::Display| {
        format!("{name}: {error}; hint: take the picture out of the folder")
    };
    let size = fs::metadata(path).map_err(|error| damaged(&error))?.len();
    if size > MAX_BYTES {
        return Err(damaged(&"more than 512 MiB"));
    }
    let bytes = fs::read(path).map_err(|error| damaged(&error))?;
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| damaged(&error))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    reader.decode().map_err(|error| damaged(&error))
}

impl Source for FolderSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    /// Decoding makes its own memory: `buffer` is dropped.
    fn next(&mut self, _buffer: Vec<u8>) -> Result<Option<Frame>, SourceError> {
        let now = self.clock.now();
        let broken = |why: String| SourceError::broken(format!("{}: {why}", self.info.name));
        let picture = match self.first.take() {
            Some(first) => first,
            None => match self.rest.next() {
                Some(path) => read(&path).map_err(broken)?,
                None => return Ok(None),
            },
        };
        let (width, height) = (picture.width(), picture.height());
        if (width, height) != (self.info.width, self.info.height) {
            return Err(broken(format!(
                "a picture of {width}x{height} among {}x{}; hint: one size to a folder",
                self.info.width, self.info.height
            )));
        }
        let data = match self.info.format {
            PixelFormat::Gray8 => picture.into_luma8().into_raw(),
            _ => picture.into_rgb8().into_raw(),
        };
        self.info.frame(data, now).map(Some)
    }
}
