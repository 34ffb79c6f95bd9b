//! What answers: a model behind two small traits, so that tests can put a faulty one there.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bedside::engine::Backend;
use bedside::{
    Bundle, Finding, Form, Frame, Modality, Options, Prompt, PromptSet, PromptTable, Resolved,
    Segmenter,
};
use serde::Serialize;

use crate::error::{Error, ErrorKind};

/// A loaded model.
pub trait Model {
    /// Answer the prompts from here on; places in `segment` count within these. `side` is one of
    /// [`Loader::sides`], in pixels; `None` is the model's choice.
    ///
    /// # Errors
    /// [`ErrorKind::Prompt`] for a prompt that the model refuses, [`ErrorKind::Model`] when it can't
    /// be made ready for that side.
    fn set_prompts(&mut self, prompts: &[Prompt], side: Option<u32>) -> Result<(), Error>;

    /// One finding for each of the prompts at these places, in order.
    ///
    /// # Errors
    /// [`ErrorKind::Model`] when the backend failed, or gave NaN, infinite or absurd values.
    fn segment(&mut self, frame: &Frame, places: Range<usize>) -> Result<Vec<Finding>, Error>;

    /// Take back findings that are done with, for the memory of their masks.
    fn reuse(&mut self, findings: Vec<Finding>) {
        drop(findings);
    }

    /// Whether it can still answer; asked now and then while it has nothing to do.
    ///
    /// # Errors
    /// [`ErrorKind::Process`] when its process has ended.
    fn alive(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// Whether these can be a model's answers to so many prompts on this frame: one to each, a mask of
/// the frame's size to what is present, and neither NaN nor anything beyond 0 to 1 among the shares.
pub(crate) fn credible(frame: &Frame, asked: usize, findings: &[Finding]) -> bool {
    let size = (frame.width(), frame.height());
    let share = |value: f32| (0.0..=1.0).contains(&value);
    findings.len() == asked
        && findings.iter().all(|finding| {
            let masked = finding.mask.as_ref();
            let fits = masked.is_some_and(|mask| (mask.width(), mask.height()) == size);
            let shares = [finding.mean_probability, finding.validity, finding.fit];
            (fits || !finding.present)
                && share(finding.presence)
                && shares.into_iter().flatten().all(share)
        })
}

/// How the watchdog ends a model that does not answer, where that can be done from outside.
#[derive(Default)]
pub struct Kill(Mutex<Killing>);

#[derive(Default)]
enum Killing {
    /// Nobody has said how.
    #[default]
    Unable,
    Able(Box<dyn FnOnce() + Send>),
    Done,
}

impl Kill {
    /// Say how: `kill` returns at once, and whatever waits for the model on another thread returns
    /// soon after. It runs at once where it was to run already.
    pub fn by(&self, kill: impl FnOnce() + Send + 'static) {
        let mut killing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *killing {
            Killing::Done => {
                drop(killing);
                kill();
            }
            _ => *killing = Killing::Able(Box::new(kill)),
        }
    }

    pub(crate) fn kill(&self) {
        let mut killing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *killing, Killing::Done);
        drop(killing);
        if let Killing::Able(kill) = before {
            kill();
        }
    }
}

/// Loads the model, again after each restart, on the thread that will run it.
pub trait Loader: Send + Sync {
    /// A fresh model.
    ///
    /// # Errors
    /// [`ErrorKind::SelfTest`] when it fails its self-test, [`ErrorKind::Process`] when another
    /// try may do better, any other kind when it can't be loaded.
    fn load(&self) -> Result<Box<dyn Model>, Error>;

    /// As [`load`](Self::load), of a model that can be ended from outside: `kill` is told how.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    fn load_killable(&self, kill: &Kill) -> Result<Box<dyn Model>, Error> {
        let _ = kill;
        self.load()
    }

    /// See whether the model knows these prompts, without loading it, and which modality they
    /// have in common; `None` when they have none, or it is not known.
    ///
    /// # Errors
    /// [`ErrorKind::Prompt`] for a prompt that the model refuses.
    fn check(&self, prompts: &[Prompt]) -> Result<Option<Modality>, Error>;

    /// Sides of the model's input that these prompts may be answered at, in pixels: first the one
    /// that suits them, then smaller ones, for a device that is too slow for it. Empty where there
    /// is no choice.
    fn sides(&self, prompts: &[Prompt]) -> Vec<u32> {
        let _ = prompts;
        Vec::new()
    }

    /// What to call a prompt on the picture and in records: as findings do.
    fn label(&self, prompt: &Prompt) -> String {
        prompt.text.clone()
    }
}

/// Loads a bundle on a backend; it may paint only if its self-test passes there.
#[derive(Clone)]
pub struct BundleLoader {
    bundle: Bundle,
    table: PromptTable,
    backend: Arc<dyn Backend>,
    options: Options,
    /// Whose weights all sessions use: one for each side of the input that was asked for.
    loaded: Option<Arc<Mutex<Vec<Segmenter>>>>,
}

/// A prompt that a model was trained on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TrainedPrompt {
    /// Kind of imaging, for order.
    pub modality: String,
    /// What to ask, such as "polyp in colon endoscope".
    pub text: String,
}

impl BundleLoader {
    /// For a bundle that is open; nothing is loaded yet.
    ///
    /// Unless `options` name a number of threads, one core is left to the video path. Unless they
    /// name a side of the input, the prompts choose it, and a session that falls behind takes
    /// smaller ones.
    ///
    /// # Errors
    /// When the bundle's prompt table can't be read.
    pub fn new(
        bundle: Bundle,
        backend: Arc<dyn Backend>,
        mut options: Options,
    ) -> Result<Self, bedside::Error> {
        if options.threads.is_none() {
            options.threads = Some(options.threads().saturating_sub(1).max(1));
        }
        Ok(Self {
            table: bundle.prompt_table()?,
            bundle,
            backend,
            options,
            loaded: None,
        })
    }

    /// Load the model now, once: the sessions of this loader and of its clones then have the same
    /// weights in memory, and answer side by side, each on a thread of its own. For several sources
    /// on one device. A backend that can't share weights loads them again for each session.
    ///
    /// # Errors
    /// As [`Segmenter::new`].
    pub fn shared(mut self) -> Result<Self, bedside::Error> {
        self.loaded = Some(Arc::default());
        self.segmenter(self.options.side)?;
        Ok(self)
    }

    fn segmenter(&self, side: Option<u32>) -> Result<Segmenter, bedside::Error> {
        let mut options = self.options.clone();
        options.side = side.or(options.side);
        let new = || Segmenter::new(self.bundle.clone(), self.backend.clone(), &options);
        let Some(loaded) = &self.loaded else {
            return new();
        };
        let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let side = options.side.unwrap_or(self.bundle.manifest().input.side);
        let known = loaded.iter().find(|segmenter| segmenter.side() == side);
        if let Some(known) = known {
            return known.share()?.map_or_else(new, Ok);
        }
        let first = new()?;
        let shared = first.share()?;
        loaded.push(first);
        shared.map_or_else(new, Ok)
    }

    /// The bundle.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The backend that the bundle runs on.
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// How it runs.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What the model was trained on, by modality and text: what a page or menu may offer.
    pub fn trained_prompts(&self) -> Vec<TrainedPrompt> {
        let forms = self.table.trained_forms();
        let mut prompts: Vec<_> = forms
            .map(|form| TrainedPrompt {
                modality: form.modality.to_string(),
                text: form.text(),
            })
            .collect();
        prompts.sort();
        prompts.dedup();
        prompts
    }

    fn resolve(&self, prompt: &Prompt) -> Result<Resolved, bedside::Error> {
        bedside::resolve(self.bundle.manifest(), &self.table, prompt)
    }
}

impl Loader for BundleLoader {
    fn load(&self) -> Result<Box<dyn Model>, Error> {
        let failed = |error: bedside::Error| {
            let kind = match error.kind() {
                bedside::ErrorKind::SelfTest => ErrorKind::SelfTest,
                _ => ErrorKind::Load,
            };
            Error::of(kind, error).without(self.bundle.path())
        };
        let segmenter = self.segmenter(None).map_err(failed)?;
        Ok(Box::new(Loaded {
            loader: self.clone(),
            segmenter,
            resting: Vec::new(),
            prompts: Vec::new(),
            sets: Vec::new(),
        }))
    }

    fn check(&self, prompts: &[Prompt]) -> Result<Option<Modality>, Error> {
        let manifest = self.bundle.manifest();
        let facts = |prompt| {
            let form = self.resolve(prompt)?.form;
            let transposed = |f: &Form| manifest.transposed(f.modality, &f.site);
            let transposed = form.as_ref().is_some_and(transposed);
            Ok((form.map(|form| form.modality), transposed))
        };
        let facts: Vec<_> = prompts.iter().map(facts).collect::<Result<_, Error>>()?;
        let Some((modality, transposed)) = facts.first().copied() else {
            return Ok(None);
        };
        if facts.iter().any(|f| f.1 != transposed) {
            let message = "these prompts want the frame in different orientations; hint: ask for \
                           them in sessions of their own";
            return Err(Error::new(ErrorKind::Prompt, message));
        }
        Ok(modality.filter(|_| facts.iter().all(|f| f.0 == modality)))
    }

    fn label(&self, prompt: &Prompt) -> String {
        let resolved = self.resolve(prompt);
        resolved.map_or_else(|_| prompt.text.clone(), |resolved| resolved.label)
    }

    fn sides(&self, prompts: &[Prompt]) -> Vec<u32> {
        if let Some(side) = self.options.side {
            return vec![side];
        }
        let manifest = self.bundle.manifest();
        let suits = bedside::side_for(manifest, &self.table, prompts);
        let sides = manifest.input.sides();
        let mut sides: Vec<u32> = sides.filter(|side| *side <= suits).collect();
        sides.sort_unstable_by_key(|side| Reverse(*side));
        sides
    }
}

/// A segmenter with its prompts, in as many sets as were asked for.
struct Loaded {
    loader: BundleLoader,
    segmenter: Segmenter,
    /// Those of other sides of the input, which may be wanted again.
    resting: Vec<Segmenter>,
    prompts: Vec<Prompt>,
    sets: Vec<(Range<usize>, PromptSet)>,
}

impl Loaded {
    fn take_side(&mut self, side: u32) -> Result<(), Error> {
        if self.segmenter.side() == side {
            return Ok(());
        }
        let place = self.resting.iter().position(|s| s.side() == side);
        let wanted = match place {
            Some(place) => self.resting.swap_remove(place),
            None => {
                let loaded = self.loader.segmenter(Some(side));
                loaded.map_err(|e| Error::of(ErrorKind::Model, e))?
            }
        };
        self.resting
            .push(std::mem::replace(&mut self.segmenter, wanted));
        Ok(())
    }
}

impl Model for Loaded {
    fn set_prompts(&mut self, prompts: &[Prompt], side: Option<u32>) -> Result<(), Error> {
        if let Some(side) = side {
            self.take_side(side)?;
        }
        let all = self.segmenter.prompts(prompts)?;
        self.prompts = prompts.to_vec();
        self.sets = vec![(0..prompts.len(), all)];
        Ok(())
    }

    fn segment(&mut self, frame: &Frame, places: Range<usize>) -> Result<Vec<Finding>, Error> {
        if !self.sets.iter().any(|(range, _)| *range == places) {
            let some = self.prompts.get(places.clone()).unwrap_or_default();
            let set = self.segmenter.prompts(some)?;
            self.sets.push((places.clone(), set));
        }
        let set = self.sets.iter().find(|(range, _)| *range == places);
        let missing = || Error::new(ErrorKind::Prompt, "no such prompts");
        let (_, set) = set.ok_or_else(missing)?;
        Ok(self.segmenter.segment(frame, set)?.findings)
    }

    fn reuse(&mut self, findings: Vec<Finding>) {
        self.segmenter.reuse(findings);
    }
}
