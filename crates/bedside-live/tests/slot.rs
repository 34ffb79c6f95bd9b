//! The one-frame slot under every order of two threads' steps.

#[allow(
    dead_code,
    unreachable_pub,
    reason = "the slot is public where it lives"
)]
#[path = "../src/slot.rs"]
mod slot;

mod sync {
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::sync::PoisonError;
}

use loom::sync::Arc;
use loom::thread;
use slot::Slot;

#[test]
fn p_10_the_newest_wins_and_each_value_is_taken_or_handed_back_once() {
    loom::model(|| {
        let slot = Arc::new(Slot::default());
        let giver = slot.clone();
        let giver = thread::spawn(move || {
            let overtaken = (1..=3).filter_map(|value| giver.put(value));
            overtaken.collect::<Vec<i32>>()
        });
        let mut taken = Vec::new();
        taken.extend(slot.take());
        taken.extend(slot.take());
        let overtaken = giver.join().unwrap();
        let left = slot.take();
        assert_eq!(
            left.or(taken.last().copied()),
            Some(3),
            "the newest is never overtaken"
        );
        assert!(taken.is_sorted(), "never an older one after a newer one");
        let mut all: Vec<i32> = taken.into_iter().chain(left).chain(overtaken).collect();
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3], "in = taken + overtaken");
    });
}

#[test]
fn a_giver_that_waits_is_woken_by_taking_and_by_closing() {
    loom::model(|| {
        let slot = Arc::new(Slot::default());
        assert_eq!(slot.put(1), None);
        let giver = slot.clone();
        let giver = thread::spawn(move || giver.put_when_free(2));
        let first = slot.take();
        assert_eq!(first, Some(1));
        slot.close();
        let back = giver.join().unwrap();
        let left = slot.take();
        assert!(matches!((back, left), (None, Some(2)) | (Some(2), None)));
    });
}
