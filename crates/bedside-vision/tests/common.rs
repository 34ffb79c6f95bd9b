//! What a library above does with a frame that was prepared.

use bedside_core::Mask;
use bedside_vision::{Letterbox, MaskStats, Preprocessor, mask};

/// The mask of the frame that was prepared last.
pub(crate) fn prepared_mask(
    preprocessor: &mut Preprocessor,
    logits: &[f32],
    size: (usize, usize),
    letterbox: &Letterbox,
    threshold: f32,
) -> (Mask, MaskStats) {
    with_rgb(preprocessor, |rgb| {
        mask::from_logits(logits, size, letterbox, threshold, rgb)
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
