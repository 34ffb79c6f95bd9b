//! Frames from files: pictures and clips.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bedside::vision::colour::rgb_pixels;
use bedside::{Frame, MonotonicClock, PixelFormat};
use bedside_video::{OpenOptions, Pace, Source, still};
use numpy::{PyArray1, PyArrayDyn, PyArrayMethods};
use pyo3::prelude::*;

use crate::error::bad_image;

/// Endings of clips; whatever else a file is called, it is a picture, by content.
const CLIPS: [&str; 7] = ["y4m", "avi", "mjpeg", "mjpg", "mp4", "m4v", "mov"];

/// Read a picture: PNG, JPEG, BMP, TIFF or WebP of 8 bits a channel, told apart by content.
///
/// Gives uint8 of shape (height, width) for gray, (height, width, 3) for RGB. Alpha is dropped, and
/// the orientation that a camera noted is applied, as `bedside segment` does.
#[pyfunction]
pub(crate) fn read_image(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyArrayDyn<u8>>> {
    let frame = py.detach(|| still::read(&path));
    array(py, frame.map_err(|error| bad_image(error.to_string()))?)
}

/// The frames of a file, one after the other: of a picture, or of a clip.
///
/// An iterator over uint8 arrays, (height, width) for gray and (height, width, 3) for RGB. Clips are
/// Y4M, AVI, MJPEG and H.264 in MP4, by the file's ending; pictures are those of `read_image`.
#[pyclass(frozen, module = "bedside")]
pub(crate) struct Frames(Mutex<Rest>);

/// What is still to come.
enum Rest {
    Picture(Option<Frame>),
    Clip(Box<dyn Source>),
}

#[pymethods]
impl Frames {
    /// Open a file.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let rest = py.detach(|| Rest::of(&path)).map_err(bad_image)?;
        Ok(Self(Mutex::new(rest)))
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyArrayDyn<u8>>>> {
        let next = py.detach(|| {
            let mut rest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            rest.next()
        });
        let next = next.map_err(bad_image)?;
        next.map(|frame| array(py, frame)).transpose()
    }
}

impl Rest {
    fn of(path: &Path) -> Result<Self, String> {
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        if !CLIPS.contains(&ending.to_ascii_lowercase().as_str()) {
            let frame = still::read(path).map_err(|error| error.to_string())?;
            return Ok(Self::Picture(Some(frame)));
        }
        let at = |why: &dyn Display| format!("{}: {why}", path.display());
        let mut options = OpenOptions::new(Arc::new(MonotonicClock::new()));
        options.pace = Pace::Fast;
        let spec = path.to_str();
        let spec = spec.ok_or_else(|| at(&"its name is not UTF-8; hint: rename it"))?;
        let clip = bedside_video::open(spec, &options).map_err(|error| at(&error))?;
        Ok(Self::Clip(clip))
    }

    fn next(&mut self) -> Result<Option<Frame>, String> {
        match self {
            Self::Picture(frame) => Ok(frame.take()),
            Self::Clip(clip) => clip.next(Vec::new()).map_err(|error| error.to_string()),
        }
    }
}

/// The memory of a frame as an array's; frames in YUV become RGB first.
pub(crate) fn array(py: Python<'_>, frame: Frame) -> PyResult<Bound<'_, PyArrayDyn<u8>>> {
    let (height, width) = (frame.height() as usize, frame.width() as usize);
    let (shape, bytes) = match frame.format() {
        PixelFormat::Gray8 => (vec![height, width], frame.into_data()),
        PixelFormat::Rgb8 => (vec![height, width, 3], frame.into_data()),
        _ => {
            let mut rgb = Vec::new();
            rgb_pixels(&frame, &mut rgb);
            (vec![height, width, 3], rgb)
        }
    };
    PyArray1::from_vec(py, bytes).reshape(shape)
}
