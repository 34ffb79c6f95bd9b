//! DICOM files as images, and masks of them as Segmentation objects.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bedside::{BoundingBox, ErrorKind, Frame, Mask, Modality};
use bedside_dicom::view::View;
use bedside_dicom::write::{
    self, Context, Kind, Origin, SEG_DESCRIPTION, SEG_SERIES, Segment, Series, Source,
};
use numpy::PyArrayDyn;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::{bad_image, raise};
use crate::finding::Findings;
use crate::frames::array;
use crate::segmenter::Segmenter;

/// A box in Python: (x, y, width, height).
type Corner = (u32, u32, u32, u32);

/// A DICOM file: a sequence of its frames, as `bedside segment` shows them to the model.
///
/// A frame is a uint8 array, (height, width) for gray and (height, width, 3) for RGB, decoded when it is
/// asked for: gray through the file's own window, or as docs/dicom.md tells; of ultrasound the picture
/// alone, without the text and scales around it.
#[pyclass(frozen, sequence, module = "bedside")]
pub(crate) struct Dicom {
    path: PathBuf,
    file: Mutex<bedside_dicom::Dicom>,
    source: Source,
    view: Option<View>,
    modality: Option<Modality>,
    site: Option<&'static str>,
}

#[pymethods]
impl Dicom {
    /// Open a file. Its header is read; of ultrasound without regions, some frames are looked at too.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| Self::of(path)).map_err(bad_image)
    }

    fn __len__(&self) -> usize {
        self.source.frames() as usize
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        index: isize,
    ) -> PyResult<Bound<'py, PyArrayDyn<u8>>> {
        let index = u32::try_from(index).ok();
        let index = index.filter(|index| *index < self.source.frames());
        let index = index.ok_or_else(|| PyIndexError::new_err("no such frame"))?;
        let frame = py.detach(|| {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            let frame = file.frame(index);
            frame.map(|frame| self.picture_of(frame))
        });
        array(py, frame.map_err(|error| self.bad(&error))?)
    }

    /// Where in each frame of the file the picture lies that is shown to the model: (x, y, width,
    /// height).
    #[getter]
    fn picture(&self) -> Corner {
        let (width, height) = (self.source.width(), self.source.height());
        let whole = (0, 0, width, height);
        let corner = |BoundingBox {
                          x,
                          y,
                          width,
                          height,
                      }| (x, y, width, height);
        self.view.map_or(whole, |view| corner(view.part))
    }

    /// Width and height of the file's frames, and of masks in a Segmentation.
    #[getter]
    fn size(&self) -> (u32, u32) {
        (self.source.width(), self.source.height())
    }

    /// Kind of imaging, in the word that prompts use; None where the header does not tell.
    #[getter]
    fn modality(&self) -> Option<&'static str> {
        self.modality.map(Modality::name)
    }

    /// Part of the body, where the header tells one that models know.
    #[getter]
    fn site(&self) -> Option<&'static str> {
        self.site
    }

    /// Width and height in millimetres of a pixel within a box of the picture (x, y, width, height); None
    /// where the file does not tell, or the box lies across regions of different scales.
    fn spacing(&self, within: Corner) -> Option<(f64, f64)> {
        let (left, top, ..) = self.picture();
        let (x, y, width, height) = within;
        let within = BoundingBox {
            x: x.saturating_add(left),
            y: y.saturating_add(top),
            width,
            height,
        };
        let spacing = self.source.spacing(within)?;
        Some((spacing.x, spacing.y))
    }

    fn __repr__(&self) -> String {
        let (width, height) = self.size();
        let frames = self.source.frames();
        format!("<Dicom {width}x{height}, {frames} frames>")
    }
}

impl Dicom {
    fn of(path: PathBuf) -> Result<Self, String> {
        let mut file = bedside_dicom::Dicom::open(&path).map_err(|e| at(&path, &e))?;
        let source = Source::of(file.header()).map_err(|e| at(&path, &e))?;
        let view = View::of(&mut file).map_err(|e| at(&path, &e))?;
        Ok(Self {
            modality: file.modality(),
            site: file.site(),
            file: Mutex::new(file),
            source,
            view,
            path,
        })
    }

    /// The picture within a frame, as one of its own.
    fn picture_of(&self, frame: Frame) -> Frame {
        let cut = self
            .view
            .and_then(|view| Some(view.cut(&frame)?.to_frame()));
        cut.unwrap_or(frame)
    }

    /// A mask of the picture as one of the whole frame.
    fn whole(&self, mask: Mask) -> PyResult<Mask> {
        let (_, _, width, height) = self.picture();
        if (mask.width(), mask.height()) != (width, height) {
            return Err(self.bad(&format!(
                "a mask of {}x{} where the picture has {width}x{height}; hint: ask of its own frames",
                mask.width(),
                mask.height()
            )));
        }
        let (width, height) = self.size();
        Ok(match self.view {
            Some(view) => view.put_back(&mask, width, height),
            None => mask,
        })
    }

    fn bad(&self, why: &impl Display) -> PyErr {
        bad_image(at(&self.path, why))
    }
}

fn at(path: &Path, why: &impl Display) -> String {
    format!("{}: {why}", path.display())
}

/// What is found on the frames of a DICOM file, on its way to a Segmentation object: a segment for each
/// prompt, a frame for each mask.
///
/// image: the file.
/// segmenter: what found it, which the object names.
#[pyclass(module = "bedside")]
pub(crate) struct Segmentation {
    image: Py<Dicom>,
    origin: Origin,
    digest: String,
    masks: Option<write::Segmentation>,
}

#[pymethods]
impl Segmentation {
    #[new]
    fn new(image: Py<Dicom>, segmenter: &Bound<'_, Segmenter>) -> Self {
        let bundle = segmenter.get().bundle();
        let manifest = bundle.manifest();
        Self {
            image,
            origin: Origin::bedside(&manifest.name, &manifest.version, bundle.digest()),
            digest: bundle.digest().to_owned(),
            masks: None,
        }
    }

    /// Add what was found on a frame, counted from 0; of every frame the same prompts.
    fn add(&mut self, py: Python<'_>, frame: u32, findings: &Bound<'_, Findings>) -> PyResult<()> {
        let image = self.image.get();
        let bad = |error: write::ObjectError| image.bad(&error);
        let findings = findings.get().each(py)?;
        let prompts = findings.iter().map(|finding| finding.get().prompt());
        let masks = match &mut self.masks {
            Some(masks) => masks,
            none => {
                let segments = findings.iter().map(Bound::get);
                let segments = segments.map(|f| Segment::of(&image.source, f.prompt(), f.object()));
                let empty =
                    write::Segmentation::new(&image.source, Kind::Binary, segments.collect());
                none.insert(empty.map_err(bad)?)
            }
        };
        if !prompts.eq(masks.segments().iter().map(|segment| &*segment.label)) {
            return Err(raise(
                ErrorKind::Mismatch,
                "findings of other prompts than those before; hint: a Segmentation for each set of \
                 prompts"
                    .to_owned(),
            ));
        }
        for (segment, finding) in (1..).zip(&findings) {
            if let Some(mask) = finding.get().drawn(py)? {
                let mask = image.whole(mask)?;
                masks
                    .add(segment, frame.saturating_add(1), &mask)
                    .map_err(bad)?;
            }
        }
        Ok(())
    }

    /// The object, as a DICOM file has it. Its UIDs follow from the image's, the bundle and the prompts:
    /// made again, it is the same object.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let image = self.image.get();
        let none = || image.bad(&"no findings; hint: add those of a frame");
        let masks = self.masks.as_ref().ok_or_else(none)?;
        let source = &image.source;
        let prompts: Vec<String> = masks.segments().iter().map(|s| s.label.clone()).collect();
        let series = Series::derived(SEG_SERIES, SEG_DESCRIPTION, source, &self.digest, &prompts);
        let context = Context {
            source,
            origin: &self.origin,
            series: &series,
            number: source.number().unwrap_or(1),
            now: source.now(),
        };
        let written = py.detach(|| masks.to_file(&context));
        let (bytes, _) = written.map_err(|error| image.bad(&error))?;
        Ok(PyBytes::new(py, &bytes))
    }
}
