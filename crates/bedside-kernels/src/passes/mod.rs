//! Rewrites of tract's graph.

pub(crate) mod project;
pub(crate) mod rewrite;
