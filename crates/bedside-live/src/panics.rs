//! What a process that holds a patient's pictures keeps to itself when it panics.

use std::panic;
use std::thread;

/// Have panics of this process `tell` where they happened, in one line, and not what they say: that
/// may quote a picture, a path or a file. `tell` writes, and must not wait for a reader where video
/// passes.
pub fn withhold_panics(tell: fn(&str)) {
    panic::set_hook(Box::new(move |panic| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("without a name");
        let place = panic.location().map(ToString::to_string);
        let place = place.as_deref().unwrap_or("an unknown place");
        tell(&format!("thread {name} panicked at {place}\n"));
    }));
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Set for the process that is to panic.
    const PANIC: &str = "BEDSIDE_TEST_PANIC";

    #[test]
    #[allow(clippy::panic, reason = "what is tested")]
    fn p_21_a_panic_tells_its_place_alone() {
        if let Ok(said) = std::env::var(PANIC) {
            withhold_panics(|text| eprint!("{text}"));
            let work = move || panic!("unexpected {said}");
            let thread = thread::Builder::new().name("model".to_owned());
            assert!(thread.spawn(work).unwrap().join().is_err());
            return;
        }
        let name = "panics::tests::p_21_a_panic_tells_its_place_alone";
        let ran = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(PANIC, "ZZPATIENTZZ")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{told}");
        assert!(told.contains("thread model panicked at "), "{told}");
        assert!(told.contains("panics.rs:"), "{told}");
        assert!(!told.contains("ZZPATIENTZZ"), "{told}");
    }
}
