//! An image of which prompts are asked again and again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use bedside::{Features, Orientation};
use pyo3::prelude::*;

use crate::error::exception;
use crate::finding::Findings;
use crate::image::Image;
use crate::prompt::prompts;
use crate::segmenter::Segmenter;

/// An image of which several sets of prompts are asked: `Segmenter.encode` gives it. The image encoder
/// runs with the first of them, and once more for prompts that want another side of the model's input.
#[pyclass(frozen, module = "bedside")]
pub(crate) struct Encoded {
    segmenter: Py<Segmenter>,
    image: Image,
    /// By side of the model's input.
    features: Mutex<HashMap<(u32, Orientation), Features>>,
}

impl Encoded {
    pub(crate) fn new(segmenter: Py<Segmenter>, image: Image) -> Self {
        Self {
            segmenter,
            image,
            features: Mutex::default(),
        }
    }
}

#[pymethods]
impl Encoded {
    /// Answer each prompt on the image, as `Segmenter.segment` does; from the second time on for the time
    /// of the mask decoder alone.
    fn segment(&self, py: Python<'_>, prompts: &Bound<'_, PyAny>) -> PyResult<Findings> {
        let prompts = self::prompts(prompts)?;
        let pixels = self.image.pixels(py)?;
        let frame = pixels.frame()?;
        let segmenter = self.segmenter.get();
        let answer = py.detach(|| {
            segmenter.ask(prompts, |segmenter, set| {
                let mut features = self.features.lock().unwrap_or_else(PoisonError::into_inner);
                let features = match features.entry((segmenter.side(), set.orientation())) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(place) => {
                        place.insert(segmenter.encode(frame, set.orientation())?)
                    }
                };
                segmenter.decode(features, set)
            })
        });
        Findings::new(py, answer.map_err(exception)?, self.image.again(py))
    }

    fn __repr__(&self) -> String {
        format!("<Encoded {}>", self.image.name())
    }
}
