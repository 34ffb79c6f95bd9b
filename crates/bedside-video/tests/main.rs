//! Video in and out from outside the crate, in one binary.

mod files;
mod streams;
