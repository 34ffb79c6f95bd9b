//! What the end-to-end tests share: the workspace's own files, and the folder of real data sets.

mod shared;
pub mod workspace;

pub use shared::{shared_data, skipped};
