//! The crate from outside, in one binary: each binary more is linked against tract.

mod examples;
