//! Frame and prompts in, findings out.

use std::panic::resume_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

use bedside_bundle::manifest::SelfTest;
use bedside_bundle::{Bundle, Manifest, Precision, PromptTable};
use bedside_core::{Finding, Form, Frame, Mask, Modality, PixelFormat, Prompt};
use bedside_engine::{Backend, OpTime, Placement, Session, TractCpu, Value};
use bedside_vision::{Letterbox, Preprocessor};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::answer::{Answer, Outputs, Raw, finding};
use crate::error::{Error, ErrorKind};
use crate::load::{self, DecoderInput};
use crate::overlap::{Claim, settle};
use crate::prompts::{PromptSet, Resolver};
use crate::text::TextEncoder;

/// Shortest side of a frame that can hold anything worth finding, in pixels.
pub const MIN_SIDE: u32 = 16;

/// Choices of whoever runs a bundle; the default is the bundle's own.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Options {
    /// Which variant of the bundle to run.
    pub precision: Option<Precision>,
    /// Threads of the backend and of the masks after it, at least 1; as many as there are cores,
    /// up to 4, unless told.
    pub threads: Option<usize>,
    /// Least probability of presence, 0 to 1, in place of the bundle's; 0 withholds no mask.
    pub presence: Option<f32>,
    /// Name of the backend, of [`bedside_engine::backends`]; the first of them unless told.
    pub backend: Option<&'static str>,
    /// Fail unless all of the encoder and the decoder runs on the backend's device.
    pub require_device: bool,
}

impl Options {
    /// The backend that the options name.
    ///
    /// # Errors
    /// [`ErrorKind::Engine`] when this build has none of that name.
    pub fn backend(&self) -> Result<&'static dyn Backend, Error> {
        match self.backend {
            None => Ok(&TractCpu),
            Some(name) => Ok(bedside_engine::backend(name)?),
        }
    }

    /// Threads of the backend: as told, or one per core up to 4.
    pub fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, |n| n.get().min(4));
        self.threads.unwrap_or_else(cores).max(1)
    }
}

/// Answers to a set of prompts on one frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Segmentation {
    /// One finding a prompt, in the order of the prompts.
    pub findings: Vec<Finding>,
    /// Where the time went.
    pub timings: Timings,
}

/// Wall time of the stages of one pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Colour conversion, letterbox, resize, normalisation.
    pub preprocess: Duration,
    /// Image encoder: once a frame.
    pub encoder: Duration,
    /// Mask decoder: all prompts in one batch.
    pub decoder: Duration,
    /// Logits to masks at the frame's size, with their statistics.
    pub masks: Duration,
}

impl Timings {
    /// The sum of the stages.
    pub fn total(&self) -> Duration {
        self.preprocess + self.encoder + self.decoder + self.masks
    }
}

/// Per-operator times of one pass.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Operators of the image encoder.
    pub encoder: Vec<OpTime>,
    /// Operators of the mask decoder.
    pub decoder: Vec<OpTime>,
}

/// Outcome of one of the bundle's self-tests.
#[derive(Debug, Clone, PartialEq)]
pub struct SelfTestCase {
    /// What was asked.
    pub prompt: String,
    /// Intersection over union of the mask with the expected one.
    pub iou: f64,
    /// Least value that passes.
    pub min_iou: f64,
}

impl SelfTestCase {
    /// Whether the mask came out as expected.
    pub fn passed(&self) -> bool {
        self.iou >= self.min_iou
    }
}

/// A bundle, loaded on a backend and ready for frames.
pub struct Segmenter {
    bundle: Bundle,
    table: PromptTable,
    precision: Precision,
    presence: f32,
    threads: usize,
    backend: &'static str,
    preprocessor: Preprocessor,
    encoder: Box<dyn Session>,
    decoder: Box<dyn Session>,
    decoder_inputs: Vec<DecoderInput>,
    outputs: Outputs,
    text: Option<TextEncoder>,
    /// Threads that make masks while those of the backend rest; `None` for one thread.
    pool: Option<ThreadPool>,
}

impl Segmenter {
    /// Open a bundle (file or folder) and load it on the backend that the options name.
    ///
    /// # Errors
    /// [`ErrorKind::Bundle`] when the bundle can't be trusted, [`ErrorKind::Engine`] when there is
    /// no such backend or it can't load the graphs.
    pub fn open(path: &Path, options: &Options) -> Result<Self, Error> {
        Self::new(Bundle::open(path)?, options.backend()?, options)
    }

    /// Load a bundle on a backend.
    ///
    /// # Errors
    /// As [`open`](Self::open); also when `options` ask for a precision that the bundle lacks.
    pub fn new(bundle: Bundle, backend: &dyn Backend, options: &Options) -> Result<Self, Error> {
        let manifest = bundle.manifest().clone();
        let precision = options.precision.unwrap_or(manifest.default_precision);
        let variant = manifest.variant(precision).ok_or_else(|| {
            let known: Vec<String> = manifest
                .variants
                .iter()
                .map(|v| v.precision.to_string())
                .collect();
            Error::new(
                ErrorKind::Bundle,
                format!(
                    "no {precision} graphs in the bundle; hint: it has {}",
                    known.join(", ")
                ),
            )
        })?;
        let threads = options.threads();
        let device = options.require_device;
        let load = |part: &str| load::session(&bundle, part, backend, threads, device);
        // The encoder is nearly all of it; the decoder is done while its hash is taken.
        let (encoder, decoder) = std::thread::scope(|scope| {
            let decoder = scope.spawn(|| load(&variant.decoder));
            let encoder = load(&variant.encoder);
            let decoder = decoder.join().unwrap_or_else(|panic| resume_unwind(panic));
            Ok::<_, Error>((encoder?, decoder?))
        })?;
        let input = &manifest.input;
        Ok(Self {
            table: bundle.prompt_table()?,
            precision,
            presence: options.presence.unwrap_or(manifest.thresholds.presence),
            threads,
            backend: backend.name(),
            preprocessor: Preprocessor::new(
                input.side,
                input.mean,
                input.std,
                load::filter(input.resize),
            ),
            decoder_inputs: load::decoder_inputs(
                load::described(&manifest, &variant.encoder)?,
                load::described(&manifest, &variant.decoder)?,
            )?,
            outputs: load::outputs(load::described(&manifest, &variant.decoder)?)?,
            encoder,
            decoder,
            text: None,
            pool: pool(threads)?,
            bundle,
        })
    }

    /// The bundle's manifest.
    pub fn manifest(&self) -> &Manifest {
        self.bundle.manifest()
    }

    /// The bundle's prompt table.
    pub fn prompt_table(&self) -> &PromptTable {
        &self.table
    }

    /// The precision that runs.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Threads of the backend.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Name of the backend.
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// Which nodes of the encoder and of the decoder run on the backend's device; `None` when it
    /// has none or does not say.
    pub fn placements(&self) -> [Option<&Placement>; 2] {
        [self.encoder.placement(), self.decoder.placement()]
    }

    /// Make prompts ready, once, outside the frame loop. A prompt outside the table is encoded
    /// by the bundle's text graph if it has one.
    ///
    /// # Errors
    /// [`ErrorKind::Prompt`] for a prompt that is unknown, ambiguous or of an object type that
    /// the weights were not trained on.
    pub fn prompts(&mut self, prompts: &[Prompt]) -> Result<PromptSet, Error> {
        if prompts
            .iter()
            .any(|p| p.resolve(self.table.forms()).is_err())
        {
            self.load_text()?;
        }
        self.resolver().prompts(prompts)
    }

    /// Answer each prompt on a frame: the image encoder runs once, all prompts go through the
    /// decoder in one batch, and each gets the mask that it would get alone.
    ///
    /// # Errors
    /// [`ErrorKind::Frame`] for a frame with a side under [`MIN_SIDE`]; [`ErrorKind::Engine`]
    /// when the backend fails or answers with numbers that are none.
    pub fn segment(&mut self, frame: &Frame, prompts: &PromptSet) -> Result<Segmentation, Error> {
        let mut timings = Timings::default();
        let (raw, letterbox) = self.run(frame, prompts, &mut timings)?;
        let start = Instant::now();
        let answers = raw.answers(
            &prompts.prompts,
            &self.outputs,
            &self.manifest().meta_objects,
        )?;
        let findings = self.findings(&answers, &letterbox);
        timings.masks = start.elapsed();
        Ok(Segmentation { findings, timings })
    }

    /// Ask for every object type that the weights know in a modality (and site), settle whose
    /// a pixel is where several claim it, and report all of them, the present ones with masks
    /// that do not overlap.
    ///
    /// # Errors
    /// As [`segment`](Self::segment), and [`ErrorKind::Prompt`] when the bundle knows nothing
    /// there.
    pub fn recognize(
        &mut self,
        frame: &Frame,
        modality: Modality,
        site: Option<&str>,
    ) -> Result<Segmentation, Error> {
        let prompts = self.known(modality, site)?;
        let mut timings = Timings::default();
        let (raw, letterbox) = self.run(frame, &prompts, &mut timings)?;
        let start = Instant::now();
        let answers = raw.answers(
            &prompts.prompts,
            &self.outputs,
            &self.manifest().meta_objects,
        )?;
        let threshold = self.threshold();
        let mut findings = self.findings(&answers, &letterbox);
        let (mut claims, mut claimants) = (Vec::new(), Vec::new());
        for (i, (answer, found)) in answers.iter().zip(&findings).enumerate() {
            if found.present {
                let rank = found.validity.unwrap_or(found.presence);
                let logits =
                    self.preprocessor
                        .logits(answer.logits, self.outputs.size(), &letterbox);
                claims.push(Claim { logits, rank });
                claimants.push(i);
            }
        }
        let settled = settle(frame.width(), frame.height(), &claims, threshold);
        for ((i, claim), mask) in claimants.into_iter().zip(&claims).zip(settled) {
            let inside = mask.map(|mask| {
                let stats = self.preprocessor.stats(&mask, &claim.logits);
                (mask, stats)
            });
            if let (Some(slot), Some(answer)) = (findings.get_mut(i), answers.get(i)) {
                *slot = finding(answer, inside);
            }
        }
        timings.masks = start.elapsed();
        Ok(Segmentation { findings, timings })
    }

    /// Run the bundle's golden frames on this backend and precision. A device should paint
    /// nothing unless all [`passed`](SelfTestCase::passed).
    ///
    /// # Errors
    /// When a test can't be run; a mask that comes out wrong is no error but a failed case.
    pub fn self_test(&mut self) -> Result<Vec<SelfTestCase>, Error> {
        let tests = self.manifest().self_tests.clone();
        tests
            .into_iter()
            .map(|test| {
                let frame = self.self_test_frame(&test)?;
                let expected = bedside_vision::rle::decode(test.width, test.height, &test.mask)
                    .map_err(|e| Error::new(ErrorKind::Bundle, format!("{}: {e}", test.part)))?;
                let prompts = self.prompts(&[Prompt::new(test.prompt.as_str())])?;
                let found = self.segment(&frame, &prompts)?.findings.pop();
                let mask = found
                    .and_then(|f| f.mask)
                    .unwrap_or_else(|| Mask::empty(test.width, test.height));
                Ok(SelfTestCase {
                    prompt: test.prompt,
                    iou: bedside_vision::iou(&mask, &expected),
                    min_iou: f64::from(test.min_iou),
                })
            })
            .collect()
    }

    /// The frame of a self-test.
    pub(crate) fn self_test_frame(&self, test: &SelfTest) -> Result<Frame, Error> {
        let rgb = self.bundle.part(&test.part)?;
        Frame::new(test.width, test.height, PixelFormat::Rgb8, rgb)
            .map_err(|e| Error::new(ErrorKind::Bundle, format!("{}: {e}", test.part)))
    }

    /// Time every operator of one pass.
    ///
    /// # Errors
    /// As [`segment`](Self::segment).
    pub fn profile(&mut self, frame: &Frame, prompts: &PromptSet) -> Result<Profile, Error> {
        check_frame(frame)?;
        let image = self.image(frame, prompts.transpose)?.0;
        let encoder = self.encoder.profile(std::slice::from_ref(&image))?;
        let features = self.encoder.run(&[image])?;
        let inputs = self.decoder_values(&features, prompts)?;
        Ok(Profile {
            encoder,
            decoder: self.decoder.profile(&inputs)?,
        })
    }

    /// One finding an answer, each made apart from the others.
    fn findings(&self, answers: &[Answer<'_>], letterbox: &Letterbox) -> Vec<Finding> {
        let (preprocessor, least, threshold) =
            (&self.preprocessor, self.presence, self.threshold());
        let size = self.outputs.size();
        let found = |answer: &Answer<'_>| {
            let inside = (answer.presence >= least)
                .then(|| preprocessor.mask(answer.logits, size, letterbox, threshold));
            finding(answer, inside)
        };
        let present = answers.iter().filter(|a| a.presence >= least).count();
        match &self.pool {
            Some(pool) if present > 1 => pool.install(|| answers.par_iter().map(found).collect()),
            _ => answers.iter().map(found).collect(),
        }
    }

    fn threshold(&self) -> f32 {
        self.manifest().thresholds.mask_logit
    }

    fn resolver(&mut self) -> Resolver<'_> {
        Resolver {
            manifest: self.bundle.manifest(),
            table: &self.table,
            precision: self.precision,
            text: self.text.as_mut(),
        }
    }

    /// The prompts of every form that the weights know there.
    fn known(&mut self, modality: Modality, site: Option<&str>) -> Result<PromptSet, Error> {
        let here = |f: &&Form| f.modality == modality && site.is_none_or(|s| s == f.site);
        let forms: Vec<Form> = self.table.trained_forms().filter(here).cloned().collect();
        if forms.is_empty() {
            let mut places: Vec<String> = self
                .table
                .trained_forms()
                .map(|f| format!("{} {}", f.modality, f.site))
                .collect();
            places.sort();
            places.dedup();
            let at = site.map(|s| format!(" at site '{s}'")).unwrap_or_default();
            return Err(Error::new(
                ErrorKind::Prompt,
                format!(
                    "the bundle knows no object in {modality}{at}; hint: it knows {}",
                    places.join(", ")
                ),
            ));
        }
        let forms: Vec<&Form> = forms.iter().collect();
        self.resolver().forms(&forms)
    }

    /// The text graph is big and seldom needed, so it is loaded at the first prompt that asks.
    fn load_text(&mut self) -> Result<(), Error> {
        let Some(text) = self.manifest().text.clone() else {
            return Ok(());
        };
        if self.text.is_none() {
            let tokenizer = self.bundle.part(&text.tokenizer)?;
            let session = load::session(&self.bundle, &text.graph, &TractCpu, self.threads, false)?;
            self.text = Some(TextEncoder::new(
                &tokenizer,
                session,
                self.table.token_dim(),
            )?);
        }
        Ok(())
    }

    /// Encoder and decoder on one frame.
    fn run(
        &mut self,
        frame: &Frame,
        prompts: &PromptSet,
        timings: &mut Timings,
    ) -> Result<(Raw, Letterbox), Error> {
        check_frame(frame)?;
        if prompts.is_empty() {
            return Err(Error::new(
                ErrorKind::Prompt,
                "no prompt; hint: ask for at least one",
            ));
        }
        let start = Instant::now();
        let (image, letterbox) = self.image(frame, prompts.transpose)?;
        let encoding = Instant::now();
        let features = self.encoder.run(&[image])?;
        let decoding = Instant::now();
        let inputs = self.decoder_values(&features, prompts)?;
        let outputs = self.decoder.run(&inputs)?;
        let raw = Raw::new(&outputs, &self.outputs)?;
        timings.preprocess = encoding - start;
        timings.encoder = decoding - encoding;
        timings.decoder = decoding.elapsed();
        Ok((raw, letterbox))
    }

    fn image(&mut self, frame: &Frame, transpose: bool) -> Result<(Value, Letterbox), Error> {
        let side = self.manifest().input.side as usize;
        let mut image = Vec::new();
        let letterbox = self.preprocessor.run(frame, transpose, &mut image);
        Ok((Value::f32(&[1, 3, side, side], image)?, letterbox))
    }

    fn decoder_values(&self, features: &[Value], prompts: &PromptSet) -> Result<Vec<Value>, Error> {
        self.decoder_inputs
            .iter()
            .map(|input| match input {
                DecoderInput::Tokens => Ok(prompts.tokens.clone()),
                DecoderInput::TokenMask => Ok(prompts.token_mask.clone()),
                DecoderInput::Feature(i) => features.get(*i).cloned().ok_or_else(|| {
                    Error::new(ErrorKind::Engine, "the encoder gave too few features")
                }),
            })
            .collect()
    }
}

/// `None` for one thread, which the caller has.
fn pool(threads: usize) -> Result<Option<ThreadPool>, Error> {
    let pool = (threads > 1).then(|| ThreadPoolBuilder::new().num_threads(threads).build());
    pool.transpose().map_err(|e| {
        Error::new(
            ErrorKind::Engine,
            format!("can't start {threads} threads: {e}; hint: ask for fewer"),
        )
    })
}

fn check_frame(frame: &Frame) -> Result<(), Error> {
    let (width, height) = (frame.width(), frame.height());
    if width.min(height) < MIN_SIDE {
        return Err(Error::new(
            ErrorKind::Frame,
            format!(
                "a frame of {width}x{height} pixels is too small to hold anything; hint: each \
                 side needs at least {MIN_SIDE}"
            ),
        ));
    }
    Ok(())
}
