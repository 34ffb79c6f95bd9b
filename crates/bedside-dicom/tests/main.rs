//! Tests of the crate from outside.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]
#![allow(clippy::indexing_slicing, reason = "as above")]

mod deidentify;
mod phantom;
mod write;
