//! Tests of the crate from outside.

mod phantom;
mod write;
