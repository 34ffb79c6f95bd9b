//! Why a phantom cannot be made.

use std::fmt;

use crate::{FRAME_RATES, MAX_SIDE};

/// Kinds of [`PhantomError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PhantomErrorKind {
    /// A side is 0 or above [`MAX_SIDE`].
    Size,
    /// The frame rate is none of [`FRAME_RATES`].
    FrameRate,
    /// No kind of phantom has the name.
    Name,
}

/// Why a phantom cannot be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhantomError {
    kind: PhantomErrorKind,
    given: String,
}

impl PhantomError {
    pub(crate) fn new(kind: PhantomErrorKind, given: String) -> Self {
        Self { kind, given }
    }

    /// What went wrong.
    pub fn kind(&self) -> PhantomErrorKind {
        self.kind
    }
}

impl fmt::Display for PhantomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = &self.given;
        match self.kind {
            PhantomErrorKind::Size => {
                write!(
                    f,
                    "a phantom of {given} pixels; hint: sides must be 1 to {MAX_SIDE}"
                )
            }
            PhantomErrorKind::FrameRate => {
                let (low, high) = (FRAME_RATES.start(), FRAME_RATES.end());
                write!(
                    f,
                    "a frame rate of {given} a second; hint: it must be {low} to {high}"
                )
            }
            PhantomErrorKind::Name => {
                write!(
                    f,
                    "no phantom '{given}'; hint: one of polyp, breast-tumor, fetal-head"
                )
            }
        }
    }
}

impl std::error::Error for PhantomError {}
