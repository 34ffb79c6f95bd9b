//! The C interface as Rust sees it. What only C can do stands in `misuse.c`, which `.ci/capi` runs.

mod calls;
mod header;
