//! Frames of noise, and what a library above does with a frame that was prepared.

use bedside_core::{Frame, Mask, PixelFormat};
use bedside_vision::{Letterbox, MaskStats, Preprocessor, mask};

/// Bytes of a linear congruential generator.
pub(crate) fn noise(count: usize, mut state: u32) -> Vec<u8> {
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// A frame of noise.
pub(crate) fn frame(width: u32, height: u32, format: PixelFormat, seed: u32) -> Frame {
    let data = noise(format.byte_len(width, height), seed);
    Frame::new(width, height, format, data).unwrap()
}

/// The mask of the frame that was prepared last.
pub(crate) fn prepared_mask(
    preprocessor: &mut Preprocessor,
    logits: &[f32],
    size: (usize, usize),
    letterbox: &Letterbox,
    threshold: f32,
) -> (Mask, MaskStats) {
    with_rgb(preprocessor, |rgb| {
        mask::from_logits(logits, size, letterbox, threshold, rgb, vec![7; 100])
    })
}

/// Statistics over the frame that was prepared last.
pub(crate) fn prepared_stats(
    preprocessor: &mut Preprocessor,
    mask: &Mask,
    logits: &[f32],
) -> MaskStats {
    with_rgb(preprocessor, |rgb| mask::stats(mask, logits, rgb))
}

fn with_rgb<T>(preprocessor: &mut Preprocessor, with: impl FnOnce(&[u8]) -> T) -> T {
    let mut rgb = Vec::new();
    preprocessor.swap_rgb(&mut rgb);
    let result = with(&rgb);
    preprocessor.swap_rgb(&mut rgb);
    result
}
