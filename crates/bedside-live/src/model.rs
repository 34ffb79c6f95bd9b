//! What answers: a model behind two small traits, so that tests can put a faulty one there.

use std::ops::Range;
use std::sync::Arc;

use bedside::engine::Backend;
use bedside::{
    Bundle, Fault, Finding, Frame, Modality, Options, Prompt, PromptErrorKind, PromptSet,
    PromptTable, Segmenter,
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
    /// One line: the backend failed, or answered with numbers that are none.
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
}

impl Loader for BundleLoader {
    fn load(&self) -> Result<Box<dyn Model>, LoadError> {
        let failed = |error: bedside::Error| LoadError {
            fault: Fault::Load,
            message: error.to_string(),
        };
        let mut segmenter =
            Segmenter::new(self.bundle.clone(), &*self.backend, &self.options).map_err(failed)?;
        let cases = segmenter.self_test().map_err(failed)?;
        if let Some(case) = cases.iter().find(|case| !case.passed()) {
            let message = format!(
                "self-test '{}' reached IoU {:.3} of {:.3}; hint: another precision or backend, \
                 and `bedside verify`",
                case.prompt, case.iou, case.min_iou
            );
            return Err(LoadError {
                fault: Fault::SelfTest,
                message,
            });
        }
        Ok(Box::new(Loaded {
            segmenter,
            prompts: Vec::new(),
            sets: Vec::new(),
        }))
    }

    fn check(&self, prompts: &[Prompt]) -> Result<Option<Modality>, String> {
        let mut modalities = Vec::new();
        for prompt in prompts {
            let trained = prompt.resolve(self.table.trained_forms());
            match (trained, prompt.resolve(self.table.forms())) {
                (Ok(form), _) => modalities.push(Some(form.modality)),
                (Err(_), Ok(form)) => {
                    return Err(format!(
                        "'{}' is an object type that these weights were not trained on",
                        form.object
                    ));
                }
                // Words that no form bears are for the bundle's own text part, where it has one.
                (Err(_), Err(error))
                    if self.bundle.manifest().text.is_none()
                        || error.kind() != PromptErrorKind::Unknown
                        || prompt.text.trim().is_empty() =>
                {
                    return Err(error.to_string());
                }
                _ => modalities.push(None),
            }
        }
        let first = modalities.first().copied().flatten();
        Ok(first.filter(|_| modalities.iter().all(|m| *m == first)))
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
