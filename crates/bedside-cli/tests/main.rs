//! The command from outside, in one binary: each binary more is linked against everything.

mod cli;
mod eval;
mod preview_browser;
