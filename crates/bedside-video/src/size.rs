//! How large the pictures of a video may be, checked before room is made for them.

use bedside_core::frame::{MAX_SIDE, check_size};

/// Most pixels of a picture of a video, in any shape: those of 4096x2304, the largest size that
/// level 5.2 of H.264 has. The header of a file or pipe can't ask for more memory than that; a
/// still may be larger, see [`MAX_PIXELS`](bedside_core::frame::MAX_PIXELS).
pub const MAX_VIDEO_PIXELS: u32 = 4096 * 2304;

/// Refuse sizes that no picture of a video has here.
pub(crate) fn check(width: u32, height: u32) -> Result<(), String> {
    let pixels = width.checked_mul(height);
    if check_size(width, height).is_err() || pixels.is_none_or(|n| n > MAX_VIDEO_PIXELS) {
        return Err(format!(
            "pictures of {width}x{height} pixels: sides must be 1 to {MAX_SIDE}, with at most \
             {MAX_VIDEO_PIXELS} pixels (4096x2304) between them"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_counted_not_sides() {
        for (width, height) in [
            (1, 1),
            (4096, 2304),
            (2304, 4096),
            (3840, 2160),
            (16384, 576),
        ] {
            assert_eq!(check(width, height), Ok(()));
        }
        let wrong = [
            (0, 5),
            (5, 0),
            (4096, 2305),
            (16385, 1),
            (16384, 16384),
            (u32::MAX, u32::MAX),
        ];
        for (width, height) in wrong {
            let why = check(width, height).unwrap_err();
            assert!(why.contains(&format!("{width}x{height}")), "{why}");
        }
    }
}
