//! Frame and prompts in, findings out.

use std::fmt;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bedside_bundle::{Bundle, Manifest, Precision, PromptTable};
use bedside_core::{Finding, Form, FrameView, Mask, Modality, Prompt};
use bedside_engine::{Backend, OpTime, Placement, Session, Value};
use bedside_vision::{Letterbox, Preprocessor, mask};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::answer::{Answer, Outputs, Raw, finding};
use crate::cache::Cache;
use crate::error::{Error, ErrorKind};
use crate::load::{self, DecoderInput};
use crate::look::{Heads, Look, LooksLike};
use crate::options::Options;
use crate::overlap::{Claim, settle};
use crate::prompts::{Orientation, Preparer, PromptSet, resolve};
use crate::proof::Unproven;
use crate::text::TextEncoder;

/// Shortest side of a frame that can hold anything worth finding, in pixels.
pub const MIN_SIDE: u32 = 16;

/// Most masks whose memory is kept: one for each object type that models of this kind know, and some.
const MOST_SPARE: usize = 128;

/// Answers to a set of prompts on one frame.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Segmentation {
    /// One finding a prompt, in the order of the prompts.
    pub findings: Vec<Finding>,
    /// The kind of imaging that the frame looks like; `None` where the bundle does not tell.
    pub looks_like: Option<LooksLike>,
    /// Where the time went.
    pub timings: Timings,
}

/// Wall time of the stages of one pass; zero for those that did not run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
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

/// A frame after the image encoder: all that does not depend on the prompts. Made by
/// [`Segmenter::encode`], and good for that segmenter alone.
///
/// Holds the encoder's features, on the backend's device if it has one, and 3 bytes a pixel of the
/// frame.
pub struct Features {
    /// Of the segmenter.
    id: u64,
    values: Vec<Value>,
    look: Look,
    letterbox: Letterbox,
    /// The frame's pixels, interleaved.
    rgb: Vec<u8>,
    timings: Timings,
}

impl Features {
    /// Width of the frame in pixels, and of its masks.
    pub fn width(&self) -> u32 {
        self.letterbox.width()
    }

    /// Height of the frame in pixels, and of its masks.
    pub fn height(&self) -> u32 {
        self.letterbox.height()
    }

    /// How the frame was fed.
    pub fn orientation(&self) -> Orientation {
        match self.letterbox.transposed() {
            true => Orientation::Transposed,
            false => Orientation::Upright,
        }
    }

    /// The kind of imaging that the frame looks like; `None` where the bundle does not tell.
    pub fn looks_like(&self) -> Option<LooksLike> {
        self.look.like
    }

    /// Time of preprocessing and of the encoder.
    pub fn timings(&self) -> Timings {
        self.timings
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (width, height) = (self.width(), self.height());
        write!(f, "Features({width}x{height}, {:?})", self.values)
    }
}

/// A bundle, loaded on a backend, proved there, and ready for frames.
pub struct Segmenter {
    /// Of this segmenter in the process, so that features of another are known.
    id: u64,
    bundle: Bundle,
    table: PromptTable,
    precision: Precision,
    side: u32,
    /// In place of the least probabilities that the bundle has.
    pub(crate) presence: Option<f32>,
    options: Options,
    backend: Arc<dyn Backend>,
    preprocessor: Preprocessor,
    /// The encoder's input, kept from frame to frame.
    image: Vec<f32>,
    encoder: Box<dyn Session>,
    decoder: Box<dyn Session>,
    decoder_inputs: Vec<DecoderInput>,
    heads: Heads,
    outputs: Outputs,
    text: Option<TextEncoder>,
    /// Memory of masks that are done with.
    spare: Mutex<Vec<Vec<u8>>>,
    /// Threads that make masks while those of the backend rest; `None` for one thread.
    pool: Option<ThreadPool>,
}

impl Segmenter {
    /// Open a bundle (file or folder) and load it on the backend that the options name, as
    /// [`new`](Self::new) does.
    ///
    /// # Errors
    /// [`ErrorKind::Bundle`] when the bundle can't be trusted, and as [`new`](Self::new).
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self, Error> {
        Self::new(Bundle::open(path)?, options.backend()?, options)
    }

    /// Load a bundle on a backend, be it one of your own, and see that the bundle's own test
    /// frames get their masks on it.
    ///
    /// That they did is remembered in [`Options::cache`] for this bundle, precision, backend,
    /// machine and program, so that later starts are short. Without a folder that can be written,
    /// or on a backend without a [`fingerprint`](Backend::fingerprint), each start runs them.
    ///
    /// # Errors
    /// [`ErrorKind::Bundle`] when the bundle is damaged or lacks the precision,
    /// [`ErrorKind::Engine`] when the backend can't load the graphs, or the options name another
    /// backend, [`ErrorKind::Config`] for a presence outside 0 to 1; [`ErrorKind::SelfTest`] when a
    /// test frame gets another mask.
    pub fn new(
        bundle: Bundle,
        backend: impl Backend + 'static,
        options: &Options,
    ) -> Result<Self, Error> {
        Unproven::load(bundle, backend, options)?.prove()
    }

    pub(crate) fn load(
        bundle: Bundle,
        backend: Arc<dyn Backend>,
        options: &Options,
    ) -> Result<Self, Error> {
        let name = backend.name();
        if let Some(named) = options.backend.as_deref().filter(|named| *named != name) {
            return Err(Error::new(
                ErrorKind::Engine,
                format!("the options name backend {named}, not {name}; hint: name one of them"),
            ));
        }
        let manifest = bundle.manifest().clone();
        if let Some(presence) = options.presence.filter(|p| !(0.0..=1.0).contains(p)) {
            return Err(Error::new(
                ErrorKind::Config,
                format!("presence {presence} is no probability; hint: a number from 0 to 1"),
            ));
        }
        let side = options.side.unwrap_or(manifest.input.side);
        if !manifest.input.sides().any(|s| s == side) {
            let sides: Vec<_> = manifest.input.sides().map(|s| s.to_string()).collect();
            let sides = sides.join(", ");
            return Err(Error::new(
                ErrorKind::Config,
                format!("no side {side} in this bundle; hint: it has {sides}"),
            ));
        }
        let precision = options.precision.unwrap_or(manifest.default_precision);
        let variant = bundle.variant(precision)?;
        let load = |part: &str| load::session(&bundle, part, side, &backend, options);
        // The encoder is nearly all of it; the decoder is done while its hash is taken.
        let (encoder, decoder) = std::thread::scope(|scope| {
            let decoder = scope.spawn(|| load(&variant.decoder));
            let encoder = load(&variant.encoder);
            let decoder = decoder.join().unwrap_or_else(|panic| resume_unwind(panic));
            Ok::<_, Error>((encoder?, decoder?))
        })?;
        let described = |part: &str| load::described(&manifest, part, side);
        let graphs = (described(&variant.encoder)?, described(&variant.decoder)?);
        Ok(Self {
            id: next_id(),
            table: bundle.prompt_table()?,
            precision,
            side,
            presence: options.presence,
            preprocessor: load::preprocessor(&manifest, side),
            image: Vec::new(),
            decoder_inputs: load::decoder_inputs(&graphs.0, &graphs.1)?,
            heads: Heads::of(&manifest, &graphs.0),
            outputs: load::outputs(&graphs.1)?,
            encoder,
            decoder,
            text: None,
            spare: Mutex::default(),
            pool: pool(options.threads())?,
            options: options.clone(),
            backend,
            bundle,
        })
    }

    /// A further segmenter of this bundle with the same weights in memory, to answer on other frames
    /// at the same time, on another thread. It takes the same prompts, and gives the same masks.
    /// `None` where the backend can't share weights: load the bundle again.
    ///
    /// # Errors
    /// [`ErrorKind::Engine`] when the backend fails.
    pub fn share(&self) -> Result<Option<Self>, Error> {
        let (Some(encoder), Some(decoder)) = (self.encoder.share()?, self.decoder.share()?) else {
            return Ok(None);
        };
        Ok(Some(Self {
            id: next_id(),
            bundle: self.bundle.clone(),
            table: self.table.clone(),
            precision: self.precision,
            side: self.side,
            presence: self.presence,
            options: self.options.clone(),
            backend: self.backend.clone(),
            preprocessor: load::preprocessor(self.manifest(), self.side),
            image: Vec::new(),
            encoder,
            decoder,
            decoder_inputs: self.decoder_inputs.clone(),
            heads: self.heads,
            outputs: self.outputs,
            text: None,
            spare: Mutex::default(),
            pool: pool(self.options.threads())?,
        }))
    }

    /// A further segmenter of this bundle, loaded and proved for another side of the input. It takes
    /// the same prompts.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a side that the bundle does not have, and as [`new`](Self::new).
    pub fn at_side(&self, side: u32) -> Result<Self, Error> {
        let options = self.options.clone().with_side(side);
        Unproven::load(self.bundle.clone(), self.backend.clone(), &options)?.prove()
    }

    /// The bundle.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
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

    /// The side of the encoder's input in pixels.
    pub fn side(&self) -> u32 {
        self.side
    }

    /// Threads of the backend.
    pub fn threads(&self) -> usize {
        self.options.threads()
    }

    /// Name of the backend.
    pub fn backend(&self) -> &'static str {
        self.backend.name()
    }

    pub(crate) fn cache(&self) -> Option<Cache> {
        self.options.cache()
    }

    pub(crate) fn fingerprint(&self) -> Option<String> {
        self.backend.fingerprint()
    }

    /// Which nodes of the encoder and of the decoder run on the backend's device; `None` when it
    /// has none or does not say.
    pub fn placements(&self) -> [Option<&Placement>; 2] {
        [self.encoder.placement(), self.decoder.placement()]
    }

    /// Make prompts ready, once, outside the frame loop. A prompt outside the table is encoded
    /// by the bundle's text graph, if it has one, on this backend; that takes a build with the
    /// feature `text`.
    ///
    /// # Errors
    /// [`ErrorKind::Prompt`] for a prompt that is unknown, ambiguous or of an object type that
    /// the weights were not trained on.
    pub fn prompts(&mut self, prompts: &[Prompt]) -> Result<PromptSet, Error> {
        let mut rows = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let resolved = resolve(self.bundle.manifest(), &self.table, prompt)?;
            rows.push(match &resolved.form {
                Some(form) => self.preparer().form(form, resolved.label)?,
                None => {
                    let tokens = self.text_encoder()?.encode(&prompt.text)?;
                    self.preparer().free(resolved.label, tokens)
                }
            });
        }
        self.preparer().stack(rows)
    }

    /// Answer each prompt on a frame: the image encoder runs once, all prompts go through the
    /// decoder in one batch, and each gets the mask that it would get alone. The same as
    /// [`encode`](Self::encode) and [`decode`](Self::decode) one after the other.
    ///
    /// A [`Frame`](bedside_core::Frame) is passed by reference, a buffer with padded rows as a
    /// [`FrameView`].
    ///
    /// # Errors
    /// [`ErrorKind::Frame`] for a frame with a side under [`MIN_SIDE`], [`ErrorKind::Mismatch`] for
    /// prompts of another bundle or precision; [`ErrorKind::Engine`] when the backend fails or
    /// answers with NaN, infinite or absurd values.
    pub fn segment<'f>(
        &mut self,
        frame: impl Into<FrameView<'f>>,
        prompts: &PromptSet,
    ) -> Result<Segmentation, Error> {
        self.pass(frame.into(), prompts, Self::findings)
    }

    /// Hand back findings that are done with: the masks of the next frame take the memory of theirs.
    /// Of many prompts, masks are the largest part of what a frame needs anew.
    pub fn reuse(&mut self, findings: Vec<Finding>) {
        let masks = findings.into_iter().filter_map(|finding| finding.mask);
        let spare = self.spare.get_mut().unwrap_or_else(PoisonError::into_inner);
        spare.extend(masks.map(Mask::into_data));
        spare.truncate(MOST_SPARE);
    }

    /// Run the image encoder on a frame, once for all the prompts that will be asked of it. Feed it
    /// as [`PromptSet::orientation`] says; upright is right for most.
    ///
    /// # Errors
    /// [`ErrorKind::Frame`] for a frame with a side under [`MIN_SIDE`]; [`ErrorKind::Engine`] when
    /// the backend fails.
    pub fn encode<'f>(
        &mut self,
        frame: impl Into<FrameView<'f>>,
        orientation: Orientation,
    ) -> Result<Features, Error> {
        let start = Instant::now();
        let (image, letterbox) = self.prepare(frame.into(), orientation)?;
        let encoding = Instant::now();
        let values = self.encoder.run(&[image])?;
        let mut rgb = Vec::new();
        self.preprocessor.swap_rgb(&mut rgb);
        Ok(Features {
            id: self.id,
            look: self.heads.look(&values, self.bundle.manifest())?,
            values,
            letterbox,
            rgb,
            timings: Timings {
                preprocess: encoding - start,
                encoder: encoding.elapsed(),
                ..Timings::default()
            },
        })
    }

    /// Answer each prompt on a frame that [`encode`](Self::encode) has seen, as often as wanted
    /// and with other prompts: each time costs a pass of the decoder alone.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] for features of another segmenter, or fed otherwise than the prompts
    /// ask, and for prompts of another bundle or precision; [`ErrorKind::Engine`] when the backend
    /// fails or answers with NaN, infinite or absurd values.
    pub fn decode(
        &mut self,
        features: &Features,
        prompts: &PromptSet,
    ) -> Result<Segmentation, Error> {
        self.decode_with(features, prompts, Self::findings)
    }

    /// Ask for every object type that the weights know in a modality (and site), settle whose
    /// a pixel is where several claim it, and report all of them, the present ones with masks
    /// that do not overlap. Without a modality, it is the one that the frame looks like.
    ///
    /// # Errors
    /// As [`segment`](Self::segment), and [`ErrorKind::Prompt`] when the bundle knows nothing
    /// there, or no modality is given and none can be told.
    pub fn recognize<'f>(
        &mut self,
        frame: impl Into<FrameView<'f>>,
        modality: Option<Modality>,
        site: Option<&str>,
    ) -> Result<Segmentation, Error> {
        let frame = frame.into();
        let modality = match modality {
            Some(modality) => modality,
            None => self.modality_of(frame)?,
        };
        let prompts = self.known(modality, site)?;
        self.pass(frame, &prompts, Self::settled)
    }

    fn modality_of(&mut self, frame: FrameView<'_>) -> Result<Modality, Error> {
        let features = self.encode(frame, Orientation::Upright)?;
        let why = match features.looks_like() {
            Some(LooksLike {
                modality: Some(modality),
                ..
            }) => return Ok(modality),
            Some(_) => "the frame looks like no kind of imaging that the bundle knows",
            None => "the bundle does not tell kinds of imaging apart",
        };
        Err(Error::new(
            ErrorKind::Prompt,
            format!("{why}; hint: name the modality"),
        ))
    }

    /// Time every operator of one pass.
    ///
    /// # Errors
    /// As [`segment`](Self::segment).
    pub fn profile<'f>(
        &mut self,
        frame: impl Into<FrameView<'f>>,
        prompts: &PromptSet,
    ) -> Result<Profile, Error> {
        self.check_prompts(prompts)?;
        let (image, _) = self.prepare(frame.into(), prompts.orientation())?;
        let encoder = self.encoder.profile(std::slice::from_ref(&image))?;
        let features = self.encoder.run(&[image])?;
        let inputs = self.decoder_values(&features, prompts)?;
        Ok(Profile {
            encoder,
            decoder: self.decoder.profile(&inputs)?,
        })
    }

    /// Encoder and decoder; `findings` makes the decoder's answers into what is found.
    fn pass(
        &mut self,
        frame: FrameView<'_>,
        prompts: &PromptSet,
        findings: impl FnOnce(&Self, &[Answer<'_>], &Features) -> Vec<Finding>,
    ) -> Result<Segmentation, Error> {
        self.check_prompts(prompts)?;
        let mut features = self.encode(frame, prompts.orientation())?;
        let mut answer = self.decode_with(&features, prompts, findings)?;
        answer.timings.preprocess = features.timings.preprocess;
        answer.timings.encoder = features.timings.encoder;
        // The next frame's pixels go where this one's were.
        self.preprocessor.swap_rgb(&mut features.rgb);
        Ok(answer)
    }

    fn decode_with(
        &mut self,
        features: &Features,
        prompts: &PromptSet,
        findings: impl FnOnce(&Self, &[Answer<'_>], &Features) -> Vec<Finding>,
    ) -> Result<Segmentation, Error> {
        self.check_prompts(prompts)?;
        self.check_features(features, prompts)?;
        let start = Instant::now();
        let inputs = self.decoder_values(&features.values, prompts)?;
        let outputs = self.decoder.run(&inputs)?;
        let raw = Raw::new(&outputs, &self.outputs)?;
        let masks = Instant::now();
        let answers = raw.answers(
            &prompts.prompts,
            &self.outputs,
            self.manifest(),
            &features.look,
        )?;
        let findings = findings(self, &answers, features);
        Ok(Segmentation {
            findings,
            looks_like: features.looks_like(),
            timings: Timings {
                decoder: masks - start,
                masks: masks.elapsed(),
                ..Timings::default()
            },
        })
    }

    /// One finding an answer, each made apart from the others.
    fn findings(&self, answers: &[Answer<'_>], features: &Features) -> Vec<Finding> {
        let (asked, threshold) = (self.presence, self.threshold());
        let size = self.outputs.size();
        let Features { letterbox, rgb, .. } = features;
        let spare = &self.spare;
        let found = |answer: &Answer<'_>| {
            let inside = answer.is_present(asked).then(|| {
                let mut spare = spare.lock().unwrap_or_else(PoisonError::into_inner);
                let buffer = spare.pop();
                drop(spare);
                let buffer = buffer.unwrap_or_default();
                mask::from_logits(answer.logits, size, letterbox, threshold, rgb, buffer)
            });
            finding(answer, inside)
        };
        let present = answers.iter().filter(|a| a.is_present(asked)).count();
        match &self.pool {
            Some(pool) if present > 1 => pool.install(|| answers.par_iter().map(found).collect()),
            _ => answers.iter().map(found).collect(),
        }
    }

    /// One finding an answer, with each pixel in one mask at most.
    fn settled(&self, answers: &[Answer<'_>], features: &Features) -> Vec<Finding> {
        let Features { letterbox, rgb, .. } = features;
        let mut findings = self.findings(answers, features);
        let (mut claims, mut claimants) = (Vec::new(), Vec::new());
        for (i, (answer, found)) in answers.iter().zip(&findings).enumerate() {
            if found.present {
                let rank = found.validity.unwrap_or(found.presence);
                let size = self.outputs.size();
                let logits = mask::at_frame_size(answer.logits, size, letterbox);
                claims.push(Claim { logits, rank });
                claimants.push(i);
            }
        }
        let (width, height) = (features.width(), features.height());
        let settled = settle(width, height, &claims, self.threshold());
        for ((i, claim), mask) in claimants.into_iter().zip(&claims).zip(settled) {
            let inside = mask.map(|mask| {
                let stats = mask::stats(&mask, &claim.logits, rgb);
                (mask, stats)
            });
            if let (Some(slot), Some(answer)) = (findings.get_mut(i), answers.get(i)) {
                *slot = finding(answer, inside);
            }
        }
        findings
    }

    fn threshold(&self) -> f32 {
        self.manifest().thresholds.mask_logit
    }

    fn preparer(&self) -> Preparer<'_> {
        Preparer {
            bundle: &self.bundle,
            table: &self.table,
            precision: self.precision,
        }
    }

    /// The prompts of every form that the weights know there.
    fn known(&self, modality: Modality, site: Option<&str>) -> Result<PromptSet, Error> {
        let here = |f: &&Form| f.modality == modality && site.is_none_or(|s| s == f.site);
        let forms = self.table.trained_forms().filter(here);
        let rows = forms.map(|form| self.preparer().form(form, form.text()));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        if rows.is_empty() {
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
        self.preparer().stack(rows)
    }

    /// The text graph is big and seldom needed, so it is loaded at the first prompt that asks.
    fn text_encoder(&mut self) -> Result<&mut TextEncoder, Error> {
        let load = || {
            let text =
                self.bundle.manifest().text.as_ref().ok_or_else(|| {
                    Error::new(ErrorKind::Bundle, "the bundle has no text encoder")
                })?;
            TextEncoder::new(
                || Ok(self.bundle.part(&text.tokenizer)?),
                || {
                    load::session(
                        &self.bundle,
                        &text.graph,
                        self.side,
                        &self.backend,
                        &self.options,
                    )
                },
                self.table.token_dim(),
            )
        };
        let loaded = self.text.take().map_or_else(load, Ok)?;
        Ok(self.text.insert(loaded))
    }

    fn check_prompts(&self, prompts: &PromptSet) -> Result<(), Error> {
        prompts.check(self.bundle.digest(), self.precision)
    }

    fn check_features(&self, features: &Features, prompts: &PromptSet) -> Result<(), Error> {
        let wrong = |message: &str| Err(Error::new(ErrorKind::Mismatch, message));
        if features.id != self.id {
            return wrong(
                "these features are of another segmenter; hint: encode the frame with this one",
            );
        }
        if features.orientation() != prompts.orientation() {
            return wrong(
                "these prompts want the frame in another orientation; hint: encode it as \
                 `PromptSet::orientation` says",
            );
        }
        Ok(())
    }

    /// The encoder's input.
    fn prepare(
        &mut self,
        frame: FrameView<'_>,
        orientation: Orientation,
    ) -> Result<(Value, Letterbox), Error> {
        check_frame(&frame)?;
        let side = self.side as usize;
        let transpose = orientation == Orientation::Transposed;
        let letterbox = self.preprocessor.run(frame, transpose, &mut self.image);
        Ok((Value::f32(&[1, 3, side, side], &self.image)?, letterbox))
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

/// Of a segmenter in the process.
fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
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

fn check_frame(frame: &FrameView<'_>) -> Result<(), Error> {
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
