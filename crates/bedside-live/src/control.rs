//! What a person wishes of a running session.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bedside::{Modality, Prompt};

use crate::model::Loader;
use crate::record::Name;
use crate::worker::Prompts;

/// Most prompts at once; one more is refused, so that a page can't stop the model with a thousand.
pub const MAX_PROMPTS: usize = 100;

/// Changes a session's prompts and switches it on and off, from any thread.
pub struct Control {
    loader: Arc<dyn Loader>,
    wish: Mutex<Wish>,
    /// Number of the newest wish, so that the video path need not lock to see that there is none.
    newest: AtomicU64,
}

/// What is wished now.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub prompts: Arc<Prompts>,
    pub endoscopy: bool,
    pub on: bool,
}

impl Control {
    /// On, with these prompts.
    ///
    /// # Errors
    /// As [`set_prompts`](Self::set_prompts).
    pub fn new(loader: Arc<dyn Loader>, prompts: &[Prompt]) -> Result<Self, String> {
        let control = Self {
            loader,
            wish: Mutex::new(Wish {
                prompts: Arc::default(),
                endoscopy: false,
                on: true,
            }),
            newest: AtomicU64::new(0),
        };
        control.set_prompts(prompts)?;
        Ok(control)
    }

    /// Ask for these from the next pass on; masks of others go at once.
    ///
    /// # Errors
    /// One line when there is none, there are more than [`MAX_PROMPTS`], or the model does not
    /// know one; then nothing changes.
    pub fn set_prompts(&self, prompts: &[Prompt]) -> Result<(), String> {
        if prompts.is_empty() || prompts.len() > MAX_PROMPTS {
            return Err(format!(
                "{} prompts; hint: ask for 1 to {MAX_PROMPTS}",
                prompts.len()
            ));
        }
        let modality = self.loader.check(prompts)?;
        self.change(|wish, number| {
            wish.endoscopy = modality == Some(Modality::Endoscopy);
            wish.prompts = Arc::new(Prompts {
                wish: number,
                prompts: prompts.to_vec(),
                names: prompts
                    .iter()
                    .map(|p| Name::from(self.loader.label(p).as_str()))
                    .collect(),
            });
        });
        Ok(())
    }

    /// Switch inference on or off; video goes on.
    pub fn switch(&self, on: bool) {
        self.change(|wish, number| {
            wish.on = on;
            let Prompts { prompts, names, .. } = (*wish.prompts).clone();
            wish.prompts = Arc::new(Prompts {
                wish: number,
                prompts,
                names,
            });
        });
    }

    /// Whether inference is on, and the prompts that are asked.
    pub fn wished(&self) -> (bool, Vec<Prompt>) {
        let wish = self.wish.lock().unwrap_or_else(PoisonError::into_inner);
        (wish.on, wish.prompts.prompts.clone())
    }

    fn change(&self, change: impl FnOnce(&mut Wish, u64)) {
        let mut wish = self.wish.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.newest.load(Ordering::Acquire) + 1;
        change(&mut wish, number);
        self.newest.store(number, Ordering::Release);
    }

    /// The wish, if there is a newer one. Waits for no one: a wish that is just being written is
    /// there with the next frame.
    pub(crate) fn newer_than(&self, number: u64) -> Option<Wish> {
        if self.newest.load(Ordering::Acquire) == number {
            return None;
        }
        self.wish.try_lock().ok().map(|wish| wish.clone())
    }
}
