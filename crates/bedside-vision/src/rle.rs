//! Run lengths as COCO has them (github.com/cocodataset/cocoapi, `maskApi.c`): column by column,
//! runs of unset and set pixels in turn, unset first.

use std::fmt;

use bedside_core::Mask;
use bedside_core::frame::check_size;

/// Why run lengths are not a mask of the size given.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RleError {
    /// No mask has that size: a side is 0 or above [`bedside_core::frame::MAX_SIDE`].
    Size {
        /// Width given.
        width: u32,
        /// Height given.
        height: u32,
    },
    /// The runs do not add up to the number of pixels.
    Length {
        /// Pixels of the mask.
        pixels: u64,
        /// What the runs add up to.
        runs: u64,
    },
    /// The compressed string has a byte that can't be there, or ends within a number.
    Text {
        /// Position of the byte.
        at: usize,
    },
}

impl fmt::Display for RleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { width, height } => write!(f, "no mask has {width}x{height} pixels"),
            Self::Length { pixels, runs } => {
                write!(f, "run lengths add up to {runs} of {pixels} pixels")
            }
            Self::Text { at } => write!(f, "run lengths are broken at byte {at}"),
        }
    }
}

impl std::error::Error for RleError {}

/// Run lengths of a mask.
pub fn encode(mask: &Mask) -> Vec<u32> {
    let (width, height) = (mask.width() as usize, mask.height() as usize);
    let mut counts = Vec::new();
    let (mut run, mut value) = (0, 0);
    for x in 0..width {
        for v in mask.data().iter().skip(x).step_by(width).take(height) {
            if *v != value {
                counts.push(run);
                run = 0;
                value = *v;
            }
            run += 1;
        }
    }
    counts.push(run);
    counts
}

/// The mask of those run lengths.
///
/// # Errors
/// [`RleError::Size`] when no mask has that size, [`RleError::Length`] when the runs do not add
/// up to `width * height`.
pub fn decode(width: u32, height: u32, counts: &[u32]) -> Result<Mask, RleError> {
    // Before room is made: two numbers in a file could ask for gigabytes.
    check_size(width, height).map_err(|_| RleError::Size { width, height })?;
    let pixels = u64::from(width) * u64::from(height);
    let runs = counts.iter().map(|c| u64::from(*c)).sum();
    if runs != pixels {
        return Err(RleError::Length { pixels, runs });
    }
    let (columns, rows) = (width as usize, height as usize);
    let mut data = vec![0; columns * rows];
    let mut at = 0;
    for (i, count) in counts.iter().enumerate() {
        let end = at + *count as usize;
        if i % 2 == 1 {
            for p in at..end {
                if let Some(v) = data.get_mut(p % rows * columns + p / rows) {
                    *v = 1;
                }
            }
        }
        at = end;
    }
    Ok(Mask::from_bytes(width, height, data).unwrap_or_else(|| Mask::empty(width, height)))
}

/// The compressed string of pycocotools: from the fourth number on the difference to the one
/// two before, in groups of five bits, least first, 48 added to each.
pub fn to_string(counts: &[u32]) -> String {
    let mut text = String::new();
    for (i, count) in counts.iter().enumerate() {
        let mut x = i64::from(*count);
        if i > 2 {
            x -= counts.get(i - 2).copied().map_or(0, i64::from);
        }
        loop {
            let bits = (x & 0x1f) as u8;
            x >>= 5;
            let more = if bits & 0x10 != 0 { x != -1 } else { x != 0 };
            text.push(char::from(bits + if more { 0x20 } else { 0 } + 48));
            if !more {
                break;
            }
        }
    }
    text
}

/// The run lengths of a compressed string.
///
/// # Errors
/// [`RleError::Text`] for a byte outside the alphabet, a number out of range, or an end within
/// a number.
pub fn from_string(text: &str) -> Result<Vec<u32>, RleError> {
    let mut counts: Vec<u32> = Vec::new();
    let (mut x, mut shift) = (0_i64, 0);
    for (at, byte) in text.bytes().enumerate() {
        let broken = RleError::Text { at };
        let bits = match byte.checked_sub(48) {
            Some(bits) if bits < 64 && shift < 40 => bits,
            _ => return Err(broken),
        };
        x |= i64::from(bits & 0x1f) << shift;
        shift += 5;
        if bits & 0x20 == 0 {
            if bits & 0x10 != 0 {
                x |= -1 << shift;
            }
            let two_before = counts.len().checked_sub(2).filter(|_| counts.len() > 2);
            let base = two_before
                .and_then(|i| counts.get(i))
                .copied()
                .map_or(0, i64::from);
            counts.push(u32::try_from(base + x).map_err(|_| broken)?);
            (x, shift) = (0, 0);
        }
    }
    if shift != 0 {
        return Err(RleError::Text { at: text.len() });
    }
    Ok(counts)
}
