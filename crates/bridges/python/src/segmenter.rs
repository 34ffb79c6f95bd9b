//! The segmenter: a bundle ready for images, from any of Python's threads.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{iter, thread};

use bedside::{
    Bundle, ErrorKind, FrameView, Options, Precision, Prompt, PromptSet, Segmentation, side_for,
};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::encoded::Encoded;
use crate::error::{exception, raise};
use crate::finding::Findings;
use crate::image::{Image, Order, Pixels};
use crate::prompt::{modality, prompts};

/// Most sets of prompts that are kept.
const MOST_PROMPTS: usize = 64;

/// A model bundle, loaded, proved on this machine, and ready for images.
///
/// Open one with `Segmenter.open()`. Calls release the GIL. Calls of several threads on one segmenter
/// take turns; `segment_batch` answers on several images side by side.
#[pyclass(frozen, module = "bedside")]
pub(crate) struct Segmenter {
    bundle: Bundle,
    precision: Precision,
    threads: usize,
    loaded: Mutex<Loaded>,
}

/// What is loaded of a bundle. Each side of the model's input is loaded when it is first asked for.
struct Loaded {
    bundle: Bundle,
    options: Options,
    /// For one image at a time, with all threads, by side.
    single: BTreeMap<u32, bedside::Segmenter>,
    /// For images side by side, with one thread each and the same weights, by side.
    batch: BTreeMap<u32, Vec<bedside::Segmenter>>,
    prompts: HashMap<Vec<Prompt>, Asked>,
}

/// Prompts made ready, and the side that suits them.
#[derive(Clone)]
struct Asked {
    set: PromptSet,
    side: u32,
}

#[pymethods]
impl Segmenter {
    /// Load a bundle, and see that its own test frames get their masks here.
    ///
    /// path: a bundle, file or folder; without it the environment variable BEDSIDE_BUNDLE, else the
    ///     edge bundle that comes with this package.
    /// precision: "f32", "f16" or "int8"; without it the bundle's choice.
    /// threads: threads of the engine; without it one per core, at most 4.
    /// side: side of the model's input in pixels, one of `sides`; without it the one that suits the
    ///     prompts, as `bedside segment` does.
    /// presence: least probability of presence, 0 to 1, in place of the bundle's.
    /// cache: folder where it is kept that the bundle passed its test; without it the user's.
    #[staticmethod]
    #[pyo3(signature = (path = None, *, precision = None, threads = None, side = None, presence = None, cache = None))]
    fn open(
        py: Python<'_>,
        path: Option<PathBuf>,
        precision: Option<&str>,
        threads: Option<usize>,
        side: Option<u32>,
        presence: Option<f32>,
        cache: Option<PathBuf>,
    ) -> PyResult<Self> {
        let path = match path.or_else(|| std::env::var_os("BEDSIDE_BUNDLE").map(PathBuf::from)) {
            Some(path) => path,
            None => py.import("bedside")?.getattr("EDGE_BUNDLE")?.extract()?,
        };
        let mut options = Options::default();
        options.precision = precision.map(self::precision).transpose()?;
        options.threads = threads.map(self::threads).transpose()?;
        options.side = side;
        options.presence = presence;
        options.cache = cache;
        py.detach(|| {
            let bundle = Bundle::open(path)?;
            let mut loaded = Loaded {
                bundle: bundle.clone(),
                options,
                single: BTreeMap::new(),
                batch: BTreeMap::new(),
                prompts: HashMap::new(),
            };
            let first = loaded.single(loaded.side())?;
            Ok(Self {
                bundle,
                precision: first.precision(),
                threads: first.threads(),
                loaded: Mutex::new(loaded),
            })
        })
        .map_err(exception)
    }

    /// Answer each prompt on an image.
    ///
    /// image: uint8 of shape (height, width) or (height, width, 3): a numpy array, a picture of PIL, or
    ///     a tensor on the CPU that speaks DLPack. An array without gaps is read in place: do not write
    ///     to it meanwhile.
    /// prompts: a str or `Prompt`, or several. They are resolved once and remembered.
    /// order: "rgb", or "bgr" for images of OpenCV.
    #[pyo3(signature = (image, prompts, *, order = "rgb"))]
    fn segment(
        &self,
        py: Python<'_>,
        image: &Bound<'_, PyAny>,
        prompts: &Bound<'_, PyAny>,
        order: &str,
    ) -> PyResult<Findings> {
        let image = Image::new(image, Order::named(order)?)?;
        let prompts = self::prompts(prompts)?;
        let pixels = image.pixels(py)?;
        let frame = pixels.frame()?;
        let answer =
            py.detach(|| self.ask(prompts, |segmenter, set| segmenter.segment(frame, set)));
        Findings::new(py, answer.map_err(exception)?, image)
    }

    /// Make an image ready for several sets of prompts, one after the other: `encode(image).segment(...)`.
    /// The image encoder runs once for them, not once for each. The image is as for `segment`, and not to
    /// be written to as long as it is asked.
    #[pyo3(signature = (image, *, order = "rgb"))]
    fn encode(slf: Bound<'_, Self>, image: &Bound<'_, PyAny>, order: &str) -> PyResult<Encoded> {
        let image = Image::new(image, Order::named(order)?)?;
        Ok(Encoded::new(slf.unbind(), image))
    }

    /// Answer each prompt on each image; the images are answered side by side, one a thread.
    ///
    /// images: any iterable of what `segment` takes.
    ///
    /// Gives a list of Findings, in the order of the images, with the masks that `segment` gives. An
    /// image that can't be used is an error that tells its place.
    #[pyo3(signature = (images, prompts, *, order = "rgb"))]
    fn segment_batch<'py>(
        &self,
        py: Python<'py>,
        images: &Bound<'py, PyAny>,
        prompts: &Bound<'py, PyAny>,
        order: &str,
    ) -> PyResult<Bound<'py, PyList>> {
        let order = Order::named(order)?;
        let prompts = self::prompts(prompts)?;
        let images: Vec<Image> = images
            .try_iter()?
            .enumerate()
            .map(|(place, image)| Image::new(&image?, order).map_err(|e| at(py, place, &e)))
            .collect::<PyResult<_>>()?;
        let pixels: Vec<Pixels<'_>> = images
            .iter()
            .map(|image| image.pixels(py))
            .collect::<PyResult<_>>()?;
        let frames: Vec<FrameView<'_>> = pixels
            .iter()
            .enumerate()
            .map(|(place, pixels)| pixels.frame().map_err(|e| at(py, place, &e)))
            .collect::<PyResult<_>>()?;
        let answers = py.detach(|| {
            let mut loaded = self.lock();
            let Asked { set, side } = loaded.asked(prompts)?;
            let segmenters = loaded.batch(side, frames.len())?;
            Ok(answer_all(segmenters, &frames, &set))
        });
        let answers = answers.map_err(exception)?;
        let findings = answers.into_iter().zip(images).enumerate();
        let findings = findings.map(|(place, (answer, image))| {
            let answer = answer.map_err(|error| at(py, place, &exception(error)))?;
            Findings::new(py, answer, image)
        });
        PyList::new(py, findings.collect::<PyResult<Vec<_>>>()?)
    }

    /// Find every object that the bundle knows in a modality and site, with masks that don't overlap.
    ///
    /// modality: as in `Prompt`; without it, that which the image looks like, where the bundle tells.
    /// site: part of the body; without it, all.
    #[pyo3(signature = (image, modality = None, site = None, *, order = "rgb"))]
    fn recognize(
        &self,
        py: Python<'_>,
        image: &Bound<'_, PyAny>,
        modality: Option<&str>,
        site: Option<&str>,
        order: &str,
    ) -> PyResult<Findings> {
        let image = Image::new(image, Order::named(order)?)?;
        let modality = modality.map(self::modality).transpose()?;
        let pixels = image.pixels(py)?;
        let frame = pixels.frame()?;
        let answer = py.detach(|| {
            let mut loaded = self.lock();
            let side = loaded.side();
            loaded.single(side)?.recognize(frame, modality, site)
        });
        Findings::new(py, answer.map_err(exception)?, image)
    }

    /// What can be asked: the full text of every object that the weights know.
    #[getter]
    fn known_prompts(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let table = py.detach(|| self.bundle.prompt_table());
        let table = table.map_err(|error| exception(error.into()))?;
        Ok(table.trained_forms().map(bedside::Form::text).collect())
    }

    /// The bundle's file or folder.
    #[getter]
    fn path(&self) -> PathBuf {
        self.bundle.path().to_owned()
    }

    /// The bundle's name.
    #[getter]
    fn name(&self) -> &str {
        &self.bundle.manifest().name
    }

    /// The bundle's version.
    #[getter]
    fn version(&self) -> &str {
        &self.bundle.manifest().version
    }

    /// Licence of the weights.
    #[getter]
    fn licence(&self) -> &str {
        &self.bundle.manifest().licence
    }

    /// SHA-256 of all that the bundle holds: the same digest, the same answers.
    #[getter]
    fn digest(&self) -> &str {
        self.bundle.digest()
    }

    /// The precision that runs: "f32", "f16" or "int8".
    #[getter]
    fn precision(&self) -> String {
        self.precision.to_string()
    }

    /// Threads of the engine.
    #[getter]
    fn threads(&self) -> usize {
        self.threads
    }

    /// Sides of the model's input that the bundle has, in pixels; the first is its own choice.
    #[getter]
    fn sides(&self) -> Vec<u32> {
        self.bundle.manifest().input.sides().collect()
    }

    fn __repr__(&self) -> String {
        format!(
            "<Segmenter {} {}, {}, threads={}>",
            self.name(),
            self.version(),
            self.precision,
            self.threads
        )
    }
}

impl Segmenter {
    pub(crate) fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Have the segmenter of the side that suits some prompts answer them. Only without the GIL.
    pub(crate) fn ask<R>(
        &self,
        prompts: Vec<Prompt>,
        answer: impl FnOnce(&mut bedside::Segmenter, &PromptSet) -> Result<R, bedside::Error>,
    ) -> Result<R, bedside::Error> {
        let mut loaded = self.lock();
        let Asked { set, side } = loaded.asked(prompts)?;
        answer(loaded.single(side)?, &set)
    }

    /// Only without the GIL, which its holder may wait for.
    fn lock(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loaded {
    /// The side where no prompt says which.
    fn side(&self) -> u32 {
        let default = self.bundle.manifest().input.side;
        self.options.side.unwrap_or(default)
    }

    /// Prompts made ready.
    fn asked(&mut self, prompts: Vec<Prompt>) -> Result<Asked, bedside::Error> {
        if let Some(asked) = self.prompts.get(&prompts) {
            return Ok(asked.clone());
        }
        let default = self.side();
        let given = self.options.side;
        let first = self.single(default)?;
        let side = given.unwrap_or_else(|| {
            let table = first.prompt_table();
            side_for(first.manifest(), table, &prompts)
        });
        let set = first.prompts(&prompts)?;
        let asked = Asked { set, side };
        if self.prompts.len() == MOST_PROMPTS {
            self.prompts.clear();
        }
        self.prompts.insert(prompts, asked.clone());
        Ok(asked)
    }

    /// The segmenter of a side.
    fn single(&mut self, side: u32) -> Result<&mut bedside::Segmenter, bedside::Error> {
        Ok(match self.single.entry(side) {
            Entry::Occupied(loaded) => loaded.into_mut(),
            Entry::Vacant(place) => {
                let options = self.options.clone().with_side(side);
                place.insert(load(&self.bundle, &options)?)
            }
        })
    }

    /// As many segmenters as are worth while for so many images.
    fn batch(
        &mut self,
        side: u32,
        images: usize,
    ) -> Result<&mut [bedside::Segmenter], bedside::Error> {
        let workers = self.options.threads().min(images);
        if workers < 2 {
            return Ok(std::slice::from_mut(self.single(side)?));
        }
        let segmenters = self.batch.entry(side).or_default();
        if segmenters.is_empty() {
            let options = self.options.clone().with_side(side).with_threads(1);
            segmenters.push(load(&self.bundle, &options)?);
        }
        while segmenters.len() < workers
            && let Some(first) = segmenters.first()
            && let Some(more) = first.share()?
        {
            segmenters.push(more);
        }
        Ok(segmenters)
    }
}

fn load(bundle: &Bundle, options: &Options) -> Result<bedside::Segmenter, bedside::Error> {
    bedside::Segmenter::new(bundle.clone(), options.backend()?, options)
}

/// Answer on all frames, in their order; each segmenter takes the next one when it is done.
fn answer_all(
    segmenters: &mut [bedside::Segmenter],
    frames: &[FrameView<'_>],
    prompts: &PromptSet,
) -> Vec<Result<Segmentation, bedside::Error>> {
    let next = AtomicUsize::new(0);
    let work = |segmenter: &mut bedside::Segmenter| {
        let answers = iter::from_fn(|| {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let frame = *frames.get(place)?;
            Some((place, segmenter.segment(frame, prompts)))
        });
        answers.collect::<Vec<_>>()
    };
    let mut answers = thread::scope(|scope| {
        let Some((first, others)) = segmenters.split_first_mut() else {
            return Vec::new();
        };
        // Where no thread can be had, this one does the work.
        let start = |segmenter| {
            let thread = thread::Builder::new().name("bedside-images".to_owned());
            thread.spawn_scoped(scope, || work(segmenter)).ok()
        };
        let threads: Vec<_> = others.iter_mut().filter_map(start).collect();
        let mut answers = work(first);
        for thread in threads {
            answers.extend(thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        answers
    });
    answers.sort_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// The same error, of an image of a batch.
fn at(py: Python<'_>, place: usize, error: &PyErr) -> PyErr {
    let text = format!("image {place}: {}", error.value(py));
    PyErr::from_type(error.get_type(py), text)
}

fn precision(name: &str) -> PyResult<Precision> {
    let all = [Precision::F32, Precision::F16, Precision::Int8];
    let named = all.into_iter().find(|p| p.to_string() == name);
    named.ok_or_else(|| {
        let text = format!("no precision '{name}'; hint: one of f32, f16, int8");
        raise(ErrorKind::Config, text)
    })
}

fn threads(number: usize) -> PyResult<usize> {
    if (1..=256).contains(&number) {
        return Ok(number);
    }
    let text = format!("{number} threads; hint: 1 to 256");
    Err(raise(ErrorKind::Config, text))
}
