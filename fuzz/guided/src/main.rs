//! One program for all targets: `BEDSIDE_FUZZ_TARGET` names the one that libFuzzer feeds.

#![no_main]

use std::sync::LazyLock;

use bedside_fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("BEDSIDE_FUZZ_TARGET").unwrap_or_default();
    let named = TARGETS.iter().find(|target| target.0 == name);
    named.unwrap_or_else(|| panic!("no target '{name}'; hint: set BEDSIDE_FUZZ_TARGET"))
});

fuzz_target!(|data: &[u8]| (TARGET.1)(data));
