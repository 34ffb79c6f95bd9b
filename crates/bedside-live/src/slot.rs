//! A place for one thing, between two threads: the newest wins.

use std::time::Duration;

use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Holds at most one value. Putting another one in its place hands the older one back, so that
/// nothing is lost without being counted and its memory can be used again.
#[derive(Debug)]
pub struct Slot<T> {
    inner: Mutex<Inner<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner<T> {
    value: Option<T>,
    closed: bool,
}

/// What waiting on a [`Slot`] came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Waited<T> {
    /// The value that was there.
    Value(T),
    /// Nothing came in that time.
    TimedOut,
    /// Nothing is there, and nothing will come.
    Closed,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                value: None,
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }
}

impl<T> Slot<T> {
    /// Put a value in; the one that it takes the place of comes back. A closed slot hands back
    /// the value itself.
    pub fn put(&self, value: T) -> Option<T> {
        let mut inner = self.lock();
        if inner.closed {
            return Some(value);
        }
        let overtaken = inner.value.replace(value);
        drop(inner);
        self.changed.notify_all();
        overtaken
    }

    /// Put a value in as soon as the place is free. A closed slot hands it back.
    pub fn put_when_free(&self, value: T) -> Option<T> {
        let mut inner = self.lock();
        while inner.value.is_some() && !inner.closed {
            inner = self
                .changed
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if inner.closed {
            return Some(value);
        }
        inner.value = Some(value);
        drop(inner);
        self.changed.notify_all();
        None
    }

    /// Put a value in as soon as the place is free, if that is within `patience` (once woken for
    /// nothing, the wait may end early). Else, and from a closed slot, it comes back.
    pub fn put_within(&self, value: T, patience: Duration) -> Option<T> {
        let mut inner = self.lock();
        if inner.value.is_some() && !inner.closed {
            inner = self
                .changed
                .wait_timeout(inner, patience)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        if inner.value.is_some() || inner.closed {
            return Some(value);
        }
        inner.value = Some(value);
        drop(inner);
        self.changed.notify_all();
        None
    }

    /// Take the value, if there is one.
    pub fn take(&self) -> Option<T> {
        let value = self.lock().value.take();
        if value.is_some() {
            self.changed.notify_all();
        }
        value
    }

    /// Take the value, waiting for one for at most `patience` (once woken for nothing, the wait
    /// may end early). What was put in before the slot was closed can still be taken.
    pub fn wait(&self, patience: Duration) -> Waited<T> {
        let mut inner = self.lock();
        if inner.value.is_none() && !inner.closed {
            inner = self
                .changed
                .wait_timeout(inner, patience)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        match inner.value.take() {
            Some(value) => {
                drop(inner);
                self.changed.notify_all();
                Waited::Value(value)
            }
            None if inner.closed => Waited::Closed,
            None => Waited::TimedOut,
        }
    }

    /// Whether nothing is there at this moment.
    pub fn is_free(&self) -> bool {
        self.lock().value.is_none()
    }

    /// Let nothing more in.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        // A panic elsewhere leaves the slot as it was: each change is one assignment.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
