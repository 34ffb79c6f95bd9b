//! Handles: numbers that name things, never given twice. One that was freed, made up, or belongs to
//! another kind of thing names nothing, so that its use is an error and not undefined.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::failure::Failure;
use crate::types::bedside_status as Status;

/// All things of one kind that are in use.
pub(crate) struct Registry<T> {
    kind: &'static str,
    things: Mutex<BTreeMap<u64, Arc<T>>>,
}

/// 0 is no handle. One count for all kinds, so that a handle of one is none of another.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl<T> Registry<T> {
    pub(crate) const fn new(kind: &'static str) -> Self {
        Self {
            kind,
            things: Mutex::new(BTreeMap::new()),
        }
    }

    pub(crate) fn add(&self, thing: T) -> u64 {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        self.things().insert(id, Arc::new(thing));
        id
    }

    /// The thing, which lives until it was removed and this is dropped.
    pub(crate) fn get(&self, id: u64) -> Result<Arc<T>, Failure> {
        let thing = self.things().get(&id).cloned();
        thing.ok_or_else(|| self.unknown(id))
    }

    /// Remove the thing; 0 is nothing to remove.
    pub(crate) fn remove(&self, id: u64) -> Result<(), Failure> {
        if id == 0 {
            return Ok(());
        }
        // Dropped when the lock is free again: a segmenter takes a while.
        let removed = self.things().remove(&id);
        removed.map(drop).ok_or_else(|| self.unknown(id))
    }

    fn things(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<T>>> {
        self.things.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unknown(&self, id: u64) -> Failure {
        let kind = self.kind;
        Failure::new(
            Status::Handle,
            format!(
                "no {kind} has the handle {id}; hint: it was freed, never made, or is of another kind"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_names_one_thing_until_it_is_removed() {
        static NUMBERS: Registry<i32> = Registry::new("number");
        static WORDS: Registry<&str> = Registry::new("word");
        let (one, word) = (NUMBERS.add(1), WORDS.add("one"));
        assert_eq!(*NUMBERS.get(one).unwrap(), 1);
        assert!(NUMBERS.get(word).is_err() && NUMBERS.get(0).is_err());
        let held = NUMBERS.get(one).unwrap();
        NUMBERS.remove(one).unwrap();
        assert_eq!(*held, 1);
        assert!(NUMBERS.get(one).is_err() && NUMBERS.remove(one).is_err());
        assert!(NUMBERS.add(2) > one);
        NUMBERS.remove(0).unwrap();
    }
}
