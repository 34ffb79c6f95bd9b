//! Why an object can't be made of another, or understood.

use std::fmt;

/// Why an object can't be made of another, or understood.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObjectError {
    /// An attribute that is needed is absent, empty, or not what the standard allows there.
    Attribute(&'static str),
    /// The object is of another SOP class than is read here.
    Class(String),
    /// Segments are none, or more than the 65535 that have numbers.
    Segments(usize),
    /// There is no segment of that number, counted from 1.
    NoSegment(u16),
    /// There is no frame of that number, counted from 1.
    NoFrame {
        /// Number asked for.
        frame: u32,
        /// Frames of the source.
        frames: u32,
    },
    /// A mask is of another size than the source's frames.
    Size {
        /// Width and height of the source's frames.
        source: (u32, u32),
        /// Number of pixels given.
        given: usize,
    },
    /// Masks go into binary segmentations, probabilities into fractional ones.
    Kind,
    /// A frame has a mask for that segment already.
    Twice {
        /// Number of the segment.
        segment: u16,
        /// Number of the frame.
        frame: u32,
    },
    /// More pixel data than an element of a file can hold.
    TooLarge(u64),
    /// An object of that source and segmentation does not belong with the other one given.
    Mismatch(&'static str),
    /// The library that writes files says no.
    Library(String),
}

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute(name) => write!(
                f,
                "{name} is missing or not valid; hint: the object must be whole, as its device \
                 or archive sends it"
            ),
            Self::Class(class) => write!(f, "SOP class '{class}' is not read here"),
            Self::Segments(n) => {
                write!(
                    f,
                    "{n} segments; hint: a segmentation has 1 to {}",
                    u16::MAX
                )
            }
            Self::NoSegment(n) => write!(f, "no segment {n}; hint: they count from 1"),
            Self::NoFrame { frame, frames } => write!(
                f,
                "no frame {frame}; hint: they count from 1, and the source has {frames}"
            ),
            Self::Size {
                source: (w, h),
                given,
            } => write!(
                f,
                "{given} pixels for a frame of {w}x{h}; hint: masks are at the size of the \
                 source's frames"
            ),
            Self::Kind => f.write_str(
                "masks go into binary segmentations and probabilities into fractional ones",
            ),
            Self::Twice { segment, frame } => {
                write!(f, "segment {segment} has two masks for frame {frame}")
            }
            Self::TooLarge(bytes) => write!(
                f,
                "{bytes} bytes of pixel data; hint: write the frames to several segmentations"
            ),
            Self::Mismatch(what) => write!(f, "{what}"),
            Self::Library(text) => write!(f, "{text}"),
        }
    }
}

impl std::error::Error for ObjectError {}
