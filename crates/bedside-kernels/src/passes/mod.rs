//! Rewrites of tract's graph.

pub(crate) mod attention;
pub(crate) mod dynamic;
pub(crate) mod norm;
pub(crate) mod project;
pub(crate) mod rewrite;
