//! Findings as Python has them.

use bedside::vision::overlay::{self, Item, Overlay};
use bedside::{BoundingBox, Mask, Segmentation, Timings, Withheld};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use numpy::{PyArray1, PyArray2, PyArray3, PyArrayDescr, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyIterator, PyTuple};

use crate::error::{bad_image, raise};
use crate::image::Image;

/// What stands below every overlay.
const SAFETY: &str = "Research use only. Not a medical device. Not for clinical decisions.";

/// The answer to one prompt on one image.
///
/// "Not present" is an answer: then mask, bounding_box, mean_probability and validity are None and
/// area is 0. Jupyter shows a finding as the image with the mask drawn in.
#[pyclass(frozen, module = "bedside")]
pub(crate) struct Finding {
    /// The prompt as it was asked; the full text of the form where modality or site settled which
    /// one its words mean.
    #[pyo3(get)]
    prompt: String,
    /// Name of the object in the ontology; None for a prompt outside the bundle's table.
    #[pyo3(get)]
    object: Option<String>,
    /// Whether the object is in the image.
    #[pyo3(get)]
    present: bool,
    /// The model's probability that the object is in the image, 0 to 1.
    #[pyo3(get)]
    presence: f32,
    /// Group that the model reads from the region, where the bundle tells.
    #[pyo3(get)]
    meta_object: Option<String>,
    /// The object's pixels: bool of shape (height, width), the image's own; the memory is the
    /// finding's, nothing is copied. `mask.view(numpy.uint8)` gives 0 and 1.
    #[pyo3(get)]
    mask: Option<Py<PyArray2<bool>>>,
    /// Number of pixels in the mask.
    #[pyo3(get)]
    area: u64,
    /// Extents of the mask in pixels: (x, y, width, height).
    #[pyo3(get)]
    bounding_box: Option<(u32, u32, u32, u32)>,
    /// Mean probability over the mask's pixels, 0.5 to 1.
    #[pyo3(get)]
    mean_probability: Option<f32>,
    /// How usual mask and colours are for the object, a p-value of 0 to 1; below 0.05 deserves doubt.
    #[pyo3(get)]
    validity: Option<f32>,
    /// Share of the images like those of training that are less alike than this one, 0 to 1.
    #[pyo3(get)]
    fit: Option<f32>,
    /// Why the prompt is not answered: "other-modality", "unfamiliar", or None where it is.
    #[pyo3(get)]
    withheld: Option<&'static str>,
    image: Py<Shown>,
}

/// The image that findings are of, kept so that they can be drawn.
#[pyclass(frozen)]
struct Shown(Image);

impl Finding {
    fn new(py: Python<'_>, finding: bedside::Finding, image: &Py<Shown>) -> PyResult<Self> {
        let corner = |b: BoundingBox| (b.x, b.y, b.width, b.height);
        Ok(Self {
            prompt: finding.prompt,
            object: finding.object,
            present: finding.present,
            presence: finding.presence,
            meta_object: finding.meta_object,
            mask: finding.mask.map(|mask| pixels(py, mask)).transpose()?,
            area: finding.area,
            bounding_box: finding.bounding_box.map(corner),
            mean_probability: finding.mean_probability,
            validity: finding.validity,
            fit: finding.fit,
            withheld: finding.withheld.map(|why| match why {
                Withheld::OtherModality => "other-modality",
                _ => "unfamiliar",
            }),
            image: image.clone_ref(py),
        })
    }

    pub(crate) fn prompt(&self) -> &str {
        &self.prompt
    }

    pub(crate) fn object(&self) -> Option<&str> {
        self.object.as_deref()
    }

    fn name(&self) -> &str {
        self.object.as_deref().unwrap_or(&self.prompt)
    }

    /// The mask as it is now, for drawing.
    pub(crate) fn drawn(&self, py: Python<'_>) -> PyResult<Option<Mask>> {
        let Some(mask) = &self.mask else {
            return Ok(None);
        };
        let mask = mask.bind(py).try_readonly();
        let mask = mask.map_err(|error| bad_image(format!("the mask is in use: {error}")))?;
        let side = |n: Option<&usize>| n.and_then(|n| u32::try_from(*n).ok()).unwrap_or(0);
        let (height, width) = (side(mask.shape().first()), side(mask.shape().get(1)));
        let bytes = mask
            .as_array()
            .iter()
            .map(|inside| u8::from(*inside))
            .collect();
        Ok(Mask::from_bytes(width, height, bytes))
    }
}

#[pymethods]
impl Finding {
    /// The image with the mask drawn in and a legend below: uint8 of shape (height + legend, width, 3).
    fn overlay<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyArray3<u8>>> {
        array(slf.py(), overlay_of(slf.py(), std::slice::from_ref(slf))?)
    }

    fn _repr_png_<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyBytes>> {
        png(slf.py(), &overlay_of(slf.py(), std::slice::from_ref(slf))?)
    }

    fn __repr__(&self) -> String {
        let presence = self.presence;
        match (self.withheld, self.present) {
            (Some(why), _) => format!("<Finding {}: withheld, {why}>", self.name()),
            (None, true) => format!(
                "<Finding {}: present ({presence:.3}), {} pixels>",
                self.name(),
                self.area
            ),
            (None, false) => format!("<Finding {}: not present ({presence:.3})>", self.name()),
        }
    }
}

/// Findings on one image, one a prompt in the order of the prompts: a sequence.
///
/// Jupyter shows them as the image with all masks drawn in, and a table.
#[pyclass(frozen, sequence, module = "bedside")]
pub(crate) struct Findings {
    findings: Py<PyTuple>,
    /// The kind of imaging that the image looks like and its probability: (modality, probability),
    /// modality being None for none that the model knows; None where the bundle does not tell.
    #[pyo3(get)]
    looks_like: Option<(Option<&'static str>, f32)>,
    timings: Timings,
}

impl Findings {
    pub(crate) fn new(py: Python<'_>, answer: Segmentation, image: Image) -> PyResult<Self> {
        let image = Py::new(py, Shown(image))?;
        let findings = answer.findings.into_iter();
        let findings = findings.map(|finding| Py::new(py, Finding::new(py, finding, &image)?));
        let findings = findings.collect::<PyResult<Vec<_>>>()?;
        let looks_like = answer.looks_like;
        Ok(Self {
            findings: PyTuple::new(py, findings)?.unbind(),
            looks_like: looks_like.map(|l| (l.modality.map(|m| m.name()), l.probability)),
            timings: answer.timings,
        })
    }

    pub(crate) fn each<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, Finding>>> {
        let findings = self.findings.bind(py).iter();
        findings.map(|finding| Ok(finding.cast_into()?)).collect()
    }

    fn drawn<'py>(&self, py: Python<'py>) -> PyResult<Overlay> {
        overlay_of(py, &self.each(py)?)
    }
}

#[pymethods]
impl Findings {
    /// Wall time of the stages in milliseconds: preprocess, encoder, decoder, masks, total.
    #[getter]
    fn milliseconds<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let times = PyDict::new(py);
        for (stage, time) in [
            ("preprocess", self.timings.preprocess),
            ("encoder", self.timings.encoder),
            ("decoder", self.timings.decoder),
            ("masks", self.timings.masks),
            ("total", self.timings.total()),
        ] {
            times.set_item(stage, time.as_secs_f64() * 1e3)?;
        }
        Ok(times)
    }

    /// The image with all masks drawn in and a legend below: uint8 of shape
    /// (height + legend, width, 3).
    fn overlay<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray3<u8>>> {
        array(py, self.drawn(py)?)
    }

    /// One row a finding, as a pandas.DataFrame. Masks are not in it.
    fn to_pandas<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let tables = slf.py().import("bedside._tables")?;
        tables.call_method1("to_pandas", (slf,))
    }

    fn _repr_png_<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        png(py, &self.drawn(py)?)
    }

    fn _repr_html_<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let tables = slf.py().import("bedside._tables")?;
        tables.call_method1("to_html", (slf,))
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.findings.bind(py).len()
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.findings.bind(py).as_any().get_item(index)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.findings.bind(py).as_any().try_iter()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<Findings {}>", self.findings.bind(py).repr()?))
    }
}

/// A mask's memory as an array's.
fn pixels(py: Python<'_>, mask: Mask) -> PyResult<Py<PyArray2<bool>>> {
    let shape = [mask.height() as usize, mask.width() as usize];
    let bytes = PyArray1::from_vec(py, mask.into_data()).reshape(shape)?;
    let bools = bytes.call_method1("view", (PyArrayDescr::of::<bool>(py),))?;
    Ok(bools.cast_into()?.unbind())
}

/// Pixels as an array: uint8 of shape (height, width, 3).
pub(crate) fn array(py: Python<'_>, picture: Overlay) -> PyResult<Bound<'_, PyArray3<u8>>> {
    let shape = [picture.height as usize, picture.width as usize, 3];
    PyArray1::from_vec(py, picture.rgb).reshape(shape)
}

/// What stands in the legend of a finding is what the command writes there.
fn overlay_of(py: Python<'_>, findings: &[Bound<'_, Finding>]) -> PyResult<Overlay> {
    let Some(first) = findings.first() else {
        return Err(bad_image("no finding, nothing to draw"));
    };
    let pixels = first.get().image.get().0.pixels(py)?;
    let frame = pixels.frame()?;
    let size = f64::from(frame.width()) * f64::from(frame.height());
    let mut masks = Vec::with_capacity(findings.len());
    for finding in findings {
        if let Some(mask) = finding.get().drawn(py)? {
            masks.push((finding.get(), mask));
        }
    }
    let items = masks.iter().map(|(finding, mask)| Item {
        mask,
        label: finding.name().to_owned(),
        detail: format!(
            "{:.0} %  area {:.1} %",
            finding.presence * 100.0,
            finding.area as f64 / size * 100.0
        ),
    });
    Ok(overlay::draw(frame, &items.collect::<Vec<_>>(), SAFETY))
}

fn png<'py>(py: Python<'py>, picture: &Overlay) -> PyResult<Bound<'py, PyBytes>> {
    let mut bytes = Vec::new();
    let (width, height) = (picture.width, picture.height);
    PngEncoder::new(&mut bytes)
        .write_image(&picture.rgb, width, height, ExtendedColorType::Rgb8)
        .map_err(|error| {
            let text = format!("could not encode a PNG: {error}");
            raise(bedside::ErrorKind::Frame, text)
        })?;
    Ok(PyBytes::new(py, &bytes))
}
