//! Tells the linker how memory is laid out: `link.x` of cortex-m-rt reads `memory.x` beside this.

#![allow(clippy::print_stdout, reason = "cargo is told by printing")]

fn main() {
    println!("cargo:rustc-link-search={}", env!("CARGO_MANIFEST_DIR"));
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    // Sections are not aligned to pages, of which there are none.
    println!("cargo:rustc-link-arg-bins=--nmagic");
    println!("cargo:rerun-if-changed=memory.x");
}
