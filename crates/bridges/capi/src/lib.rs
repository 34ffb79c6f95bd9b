#![doc = include_str!("../README.md")]

mod abi;
mod calls;
mod failure;
mod registry;
mod types;

pub use abi::*;
pub use types::*;
