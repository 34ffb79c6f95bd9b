//! Images as Python has them: arrays, pictures of PIL, and whatever speaks DLPack.

use bedside::{FrameView, PixelFormat};
use numpy::{
    PyArrayDescr, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn,
    PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::error::bad_image;

/// What the three values of a pixel are.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Order {
    Rgb,
    Bgr,
}

impl Order {
    pub(crate) fn named(name: &str) -> PyResult<Self> {
        match name {
            "rgb" => Ok(Self::Rgb),
            "bgr" => Ok(Self::Bgr),
            _ => Err(bad_image(format!(
                "no order of colours '{name}'; hint: 'rgb', or 'bgr' as OpenCV has it"
            ))),
        }
    }
}

/// An image: an array of bytes without gaps, `(height, width)` or `(height, width, 3)`.
pub(crate) struct Image {
    array: Py<PyArrayDyn<u8>>,
    width: u32,
    height: u32,
    format: PixelFormat,
    order: Order,
}

impl Image {
    /// The image that a Python object is. An array without gaps is not copied.
    pub(crate) fn new(object: &Bound<'_, PyAny>, order: Order) -> PyResult<Self> {
        let array = bytes(&array(object)?)?;
        let (height, width, format) = match *array.shape() {
            [height, width] | [height, width, 1] => (height, width, PixelFormat::Gray8),
            [height, width, 3] => (height, width, PixelFormat::Rgb8),
            _ => return Err(wrong_shape(array.shape())),
        };
        let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Self {
            array: array.unbind(),
            width: side(width),
            height: side(height),
            format,
            order,
        })
    }

    /// The same image, and the same memory.
    pub(crate) fn again(&self, py: Python<'_>) -> Self {
        Self {
            array: self.array.clone_ref(py),
            ..*self
        }
    }

    /// Its size, as in 640x480.
    pub(crate) fn name(&self) -> String {
        format!("{}x{}", self.width, self.height)
    }

    /// The pixels, which the array keeps as long as this lives.
    pub(crate) fn pixels<'py>(&self, py: Python<'py>) -> PyResult<Pixels<'py>> {
        let array = self.array.bind(py).try_readonly();
        let array = array.map_err(|error| bad_image(format!("the array is in use: {error}")))?;
        let swapped = match (self.format, self.order) {
            (PixelFormat::Rgb8, Order::Bgr) => {
                let mut bytes = array.as_slice()?.to_vec();
                for pixel in bytes.chunks_exact_mut(3) {
                    pixel.reverse();
                }
                Some(bytes)
            }
            _ => None,
        };
        Ok(Pixels {
            array,
            swapped,
            width: self.width,
            height: self.height,
            format: self.format,
        })
    }
}

/// An image's pixels on loan from Python.
pub(crate) struct Pixels<'py> {
    array: PyReadonlyArrayDyn<'py, u8>,
    /// BGR turned into RGB.
    swapped: Option<Vec<u8>>,
    width: u32,
    height: u32,
    format: PixelFormat,
}

impl Pixels<'_> {
    /// The frame that they are.
    pub(crate) fn frame(&self) -> PyResult<FrameView<'_>> {
        let bytes = match &self.swapped {
            Some(bytes) => bytes,
            None => self.array.as_slice()?,
        };
        let stride = self.format.planes(self.width, 1)[0].row;
        FrameView::from_buffer(self.width, self.height, self.format, bytes, stride)
            .map_err(|error| bad_image(format!("{error}; hint: crop or scale the image")))
    }
}

/// The array that an object is, or that it gives.
fn array<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = object.py();
    if let Ok(array) = object.cast::<PyUntypedArray>() {
        return Ok(array.clone());
    }
    let numpy = py.import("numpy")?;
    let has = |name: &str| object.hasattr(name);
    let given = if has("__dlpack__")? {
        numpy
            .call_method1("from_dlpack", (object,))
            .map_err(|error| {
                bad_image(format!(
                    "DLPack: {}; hint: move it to the CPU's memory, as `.cpu()` does",
                    error.value(py)
                ))
            })?
    } else if has("getbands")? && has("convert")? {
        numpy.call_method1("asarray", (picture(object)?,))?
    } else if has("__array_interface__")? || has("__array__")? {
        numpy.call_method1("asarray", (object,))?
    } else {
        let kind = object.get_type().name()?;
        let hint = match object.is_instance_of::<PyString>() || has("__fspath__")? {
            true => "read the file with `bedside.read_image`",
            false => "give a numpy array, a picture of PIL, or a tensor that speaks DLPack",
        };
        return Err(bad_image(format!("{kind} is no image; hint: {hint}")));
    };
    Ok(given.cast_into()?)
}

/// A picture of PIL with 8 bits a channel, gray or RGB: palettes become RGB, alpha is dropped.
fn picture<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let mode: String = object.getattr("mode")?.extract()?;
    match mode.as_str() {
        "L" | "RGB" => Ok(object.clone()),
        "1" | "LA" => object.call_method1("convert", ("L",)),
        "P" | "PA" | "RGBA" | "RGBX" => object.call_method1("convert", ("RGB",)),
        _ => Err(bad_image(format!(
            "a picture of mode {mode} has no one way into 8 bits of gray or RGB; hint: choose a window, \
             or `picture.convert('RGB')` where that is right"
        ))),
    }
}

/// The array's bytes without gaps; copied only where there are some.
fn bytes<'py>(array: &Bound<'py, PyUntypedArray>) -> PyResult<Bound<'py, PyArrayDyn<u8>>> {
    let py = array.py();
    let dtype = array.dtype();
    if !dtype.is_equiv_to(&PyArrayDescr::of::<u8>(py)) {
        let hint = match dtype.kind() {
            b'f' => "scale it to 0 to 255, then `.astype(numpy.uint8)`",
            b'u' | b'i' => "choose a window and scale it to 0 to 255, then `.astype(numpy.uint8)`",
            b'b' => "`255 * array.astype(numpy.uint8)`",
            _ => "give an array of numbers",
        };
        return Err(bad_image(format!(
            "an image of {dtype}, not of uint8; hint: {hint}"
        )));
    }
    let whole = match array.is_c_contiguous() {
        true => array.clone().into_any(),
        false => py
            .import("numpy")?
            .call_method1("ascontiguousarray", (array,))?,
    };
    Ok(whole.cast_into()?)
}

fn wrong_shape(shape: &[usize]) -> PyErr {
    let hint = match *shape {
        [_, _, 4] => "drop alpha: `image[..., :3]`",
        [1 | 3, _, _] => "put the channels last: `image.transpose(1, 2, 0)`",
        [_, _, _, 1 | 3] => "one image at a time, or `segment_batch(list(images), ...)`",
        _ => "(height, width) for gray, (height, width, 3) for colour",
    };
    bad_image(format!("an image of shape {shape:?}; hint: {hint}"))
}
