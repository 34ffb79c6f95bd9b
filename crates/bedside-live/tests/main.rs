//! Live sessions from outside, in one binary: each binary more is linked against tract.

mod log;
mod preview;
mod session;
