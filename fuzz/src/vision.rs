//! Masks as text.

use bedside_vision::rle;

use crate::bounded;

/// Most bytes for run lengths of an input, and a mask of the largest size that is asked for.
const MOST: u64 = 4 << 20;

/// Run lengths in COCO's text, as a mask of each of two sizes.
pub fn rle(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    bounded(MOST, || {
        let Ok(counts) = rle::from_string(&text) else {
            return;
        };
        assert_eq!(
            rle::from_string(&rle::to_string(&counts)),
            Ok(counts.clone())
        );
        for (width, height) in [(4, 3), (640, 480)] {
            if let Ok(mask) = rle::decode(width, height, &counts) {
                let again = rle::encode(&mask);
                assert_eq!(rle::decode(width, height, &again), Ok(mask));
            }
        }
        let _ = rle::decode(u32::MAX, u32::MAX, &counts);
    });
}
