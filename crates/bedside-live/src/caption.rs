//! The words below the picture.

use crate::record::Name;

/// What the band below the picture says of where results go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outputs {
    /// Whether the picture or results are being kept.
    pub recording: bool,
    /// What is wrong with a sink or a record, in few words.
    pub trouble: Option<Name>,
}
