//! The codec beside pyigtl's bytes, and connections with peers that misbehave.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod codec;
mod connection;
