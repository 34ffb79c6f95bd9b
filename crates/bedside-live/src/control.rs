//! What a person asks of a running session.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bedside::{Modality, Prompt};

use crate::error::{Error, ErrorKind};
use crate::model::Loader;
use crate::record::Name;

/// Most prompts at once; one more is refused, so that a page can't stop the model with a thousand.
pub const MAX_PROMPTS: usize = 100;

/// Changes a session's prompts and switches inference on and off, from any thread.
pub struct Control {
    loader: Arc<dyn Loader>,
    request: Mutex<Request>,
    /// Generation of the newest request, so that the video path need not lock to see that there is
    /// no newer one.
    newest: AtomicU64,
}

/// What is asked of the session.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Counts the changes.
    pub generation: u64,
    /// Whether inference is on.
    pub on: bool,
    /// Whether the picture is to be frozen.
    pub frozen: bool,
    /// Counts the changes of patient.
    pub case: u64,
    pub prompts: Arc<Prompts>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            generation: 0,
            on: true,
            frozen: false,
            case: 0,
            prompts: Arc::default(),
        }
    }
}

/// The prompts that are asked together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prompts {
    /// Generation of the request that brought them.
    pub generation: u64,
    pub prompts: Vec<Prompt>,
    pub names: Vec<Name>,
    /// Sides of the input that they may be asked at, as [`Loader::sides`] has them.
    pub sides: Vec<u32>,
    /// Whether all are for endoscopy, where the camera can be outside the body.
    pub endoscopy: bool,
}

impl Control {
    /// Inference on, with these prompts.
    ///
    /// # Errors
    /// As [`set_prompts`](Self::set_prompts).
    pub fn new(loader: Arc<dyn Loader>, prompts: &[Prompt]) -> Result<Self, Error> {
        let control = Self {
            loader,
            request: Mutex::default(),
            newest: AtomicU64::new(0),
        };
        control.set_prompts(prompts)?;
        Ok(control)
    }

    /// Ask for these from the next pass on; masks of others go at once.
    ///
    /// # Errors
    /// [`ErrorKind::Prompt`] when there is none, there are more than [`MAX_PROMPTS`], or the model
    /// refuses one; then nothing changes.
    pub fn set_prompts(&self, prompts: &[Prompt]) -> Result<(), Error> {
        if prompts.is_empty() || prompts.len() > MAX_PROMPTS {
            let message = format!(
                "{} prompts; hint: ask for 1 to {MAX_PROMPTS}",
                prompts.len()
            );
            return Err(Error::new(ErrorKind::Prompt, message));
        }
        let modality = self.loader.check(prompts)?;
        self.change(|request| {
            // The same again: what is known of their objects stays.
            if request.prompts.prompts == prompts {
                return;
            }
            request.prompts = Arc::new(Prompts {
                generation: request.generation,
                prompts: prompts.to_vec(),
                names: prompts
                    .iter()
                    .map(|p| Name::from(self.loader.label(p).as_str()))
                    .collect(),
                sides: self.loader.sides(prompts),
                endoscopy: modality == Some(Modality::Endoscopy),
            });
        });
        Ok(())
    }

    /// Switch inference on or off; video goes on.
    pub fn switch(&self, on: bool) {
        self.change(|request| request.on = on);
    }

    /// Freeze the picture as it is painted, masks included, or go on with live video. While it is
    /// frozen the state says so, nothing is asked of the model, and frames that come are dropped.
    pub fn freeze(&self, frozen: bool) {
        self.change(|request| request.frozen = frozen);
    }

    /// Another patient: what is known of the one before is forgotten, and its picture not held.
    pub fn next_patient(&self) {
        self.change(|request| {
            request.case += 1;
            request.frozen = false;
        });
    }

    /// Whether the picture is to be frozen.
    pub fn is_frozen(&self) -> bool {
        let request = self.request.lock().unwrap_or_else(PoisonError::into_inner);
        request.frozen
    }

    /// Whether inference is to be on, and the prompts that are asked from the next pass on.
    pub fn requested(&self) -> (bool, Vec<Prompt>) {
        let request = self.request.lock().unwrap_or_else(PoisonError::into_inner);
        (request.on, request.prompts.prompts.clone())
    }

    fn change(&self, change: impl FnOnce(&mut Request)) {
        let mut request = self.request.lock().unwrap_or_else(PoisonError::into_inner);
        request.generation += 1;
        change(&mut request);
        self.newest.store(request.generation, Ordering::Release);
    }

    /// The request, if it is newer than `generation`. Waits for no one: one that is just being
    /// written is there with the next frame.
    pub(crate) fn newer_than(&self, generation: u64) -> Option<Request> {
        if self.newest.load(Ordering::Acquire) == generation {
            return None;
        }
        self.request.try_lock().ok().map(|request| request.clone())
    }
}
