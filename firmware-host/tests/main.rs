//! The daemon through its binary, on a phantom.

mod cart;
mod config;
mod control;
mod link;
mod service;
