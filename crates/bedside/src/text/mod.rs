//! Tokens for prompts outside the table, by the bundle's own text graph and tokenizer: in builds
//! with the feature `text`.

#[cfg(not(feature = "text"))]
mod disabled;
#[cfg(feature = "text")]
mod enabled;

#[cfg(not(feature = "text"))]
pub(crate) use disabled::TextEncoder;
#[cfg(feature = "text")]
pub(crate) use enabled::TextEncoder;
