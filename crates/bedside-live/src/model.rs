//! What answers: a model behind two small traits, so that tests can put a faulty one there.

use std::ops::Range;
use std::sync::Arc;

use bedside::engine::Backend;
use bedside::{
    Bundle, Fault, Finding, Frame, Modality, Options, Prompt, PromptSet, PromptTable, Resolved,
    Segmenter,
};

/// A loaded model.
pub trait Model {
    /// Answer the prompts from here on; places in `segment` count within these.
    ///
    /// # Errors
    /// One line for a prompt that the model does not know.
    fn set_prompts(&mut self, prompts: &[Prompt]) -> Result<(), String>;

    /// One finding for each of the prompts at these places, in order.
    ///
    /// # Errors
    /// One line: the backend failed, or answered with NaN or infinite values.
    fn segment(&mut self, frame: &Frame, places: Range<usize>) -> Result<Vec<Finding>, String>;
}

/// Why a model is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    /// What the session's state becomes.
    pub fault: Fault,
    /// One line: cause and remedy.
    pub message: String,
}

/// Loads the model, again after each restart, on the thread that will run it.
pub trait Loader: Send + Sync {
    /// A fresh model.
    ///
    /// # Errors
    /// When it can't be loaded, or fails its self-test.
    fn load(&self) -> Result<Box<dyn Model>, LoadError>;

    /// See whether the model knows these prompts, without loading it, and which modality they
    /// have in common; `None` when they have none, or it is not known.
    ///
    /// # Errors
    /// One line for a prompt that can't be asked.
    fn check(&self, prompts: &[Prompt]) -> Result<Option<Modality>, String>;

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
}

impl BundleLoader {
    /// For a bundle that is open; nothing is loaded yet.
    ///
    /// # Errors
    /// When the bundle's prompt table can't be read.
    pub fn new(
        bundle: Bundle,
        backend: Arc<dyn Backend>,
        options: Options,
    ) -> Result<Self, bedside::Error> {
        Ok(Self {
            table: bundle.prompt_table()?,
            bundle,
            backend,
            options,
        })
    }

    fn resolve(&self, prompt: &Prompt) -> Result<Resolved, bedside::Error> {
        bedside::resolve(self.bundle.manifest(), &self.table, prompt)
    }
}

impl Loader for BundleLoader {
    fn load(&self) -> Result<Box<dyn Model>, LoadError> {
        let failed = |error: bedside::Error| LoadError {
            fault: match error.kind() {
                bedside::ErrorKind::SelfTest => Fault::SelfTest,
                _ => Fault::Load,
            },
            message: error.to_string(),
        };
        let (bundle, backend) = (self.bundle.clone(), self.backend.clone());
        let segmenter = Segmenter::new(bundle, backend, &self.options).map_err(failed)?;
        Ok(Box::new(Loaded {
            segmenter,
            prompts: Vec::new(),
            sets: Vec::new(),
        }))
    }

    fn check(&self, prompts: &[Prompt]) -> Result<Option<Modality>, String> {
        let modality = |prompt| {
            let resolved = self.resolve(prompt).map_err(|e| e.to_string())?;
            Ok(resolved.form.map(|form| form.modality))
        };
        let modalities: Vec<_> = prompts
            .iter()
            .map(modality)
            .collect::<Result<_, String>>()?;
        let first = modalities.first().copied().flatten();
        Ok(first.filter(|_| modalities.iter().all(|m| *m == first)))
    }

    fn label(&self, prompt: &Prompt) -> String {
        let resolved = self.resolve(prompt);
        resolved.map_or_else(|_| prompt.text.clone(), |resolved| resolved.label)
    }
}

/// A segmenter with its prompts, in as many sets as were asked for.
struct Loaded {
    segmenter: Segmenter,
    prompts: Vec<Prompt>,
    sets: Vec<(Range<usize>, PromptSet)>,
}

impl Model for Loaded {
    fn set_prompts(&mut self, prompts: &[Prompt]) -> Result<(), String> {
        let all = self.segmenter.prompts(prompts).map_err(|e| e.to_string())?;
        self.prompts = prompts.to_vec();
        self.sets = vec![(0..prompts.len(), all)];
        Ok(())
    }

    fn segment(&mut self, frame: &Frame, places: Range<usize>) -> Result<Vec<Finding>, String> {
        if !self.sets.iter().any(|(range, _)| *range == places) {
            let some = self.prompts.get(places.clone()).unwrap_or_default();
            let set = self.segmenter.prompts(some).map_err(|e| e.to_string())?;
            self.sets.push((places.clone(), set));
        }
        let set = self.sets.iter().find(|(range, _)| *range == places);
        let (_, set) = set.ok_or("no such prompts")?;
        let answer = self
            .segmenter
            .segment(frame, set)
            .map_err(|e| e.to_string())?;
        Ok(answer.findings)
    }
}
