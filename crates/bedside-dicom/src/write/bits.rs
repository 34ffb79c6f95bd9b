//! Bits of masks as PS3.5, 8.1.1 packs them: the first pixel in the lowest bit, nothing between
//! rows or frames.

/// Bytes that are 0 or 1 as bits; the last byte is filled up with zeros.
pub(super) fn pack(pixels: &[u8]) -> Vec<u8> {
    let byte = |pixels: &[u8]| pixels.iter().rev().fold(0, |byte, bit| byte << 1 | bit);
    pixels.chunks(8).map(byte).collect()
}

/// The bits from `start` on as bytes that are 0 or 1; `None` where there are fewer than `count`.
pub(super) fn unpack(packed: &[u8], start: u64, count: u64) -> Option<Vec<u8>> {
    let end = start
        .checked_add(count)
        .filter(|end| *end <= packed.len() as u64 * 8)?;
    let (first, last) = ((start / 8) as usize, end.div_ceil(8) as usize);
    let bits = packed
        .get(first..last)?
        .iter()
        .flat_map(|byte| (0..8).map(move |i| byte >> i & 1));
    Some(
        bits.skip((start % 8) as usize)
            .take(count as usize)
            .collect(),
    )
}

/// Append packed frames of so many bits each as one run of bits, up to the first that can't be had.
pub(super) fn join<E>(
    frames: impl Iterator<Item = Result<Vec<u8>, E>>,
    bits: u64,
    joined: &mut Vec<u8>,
) -> Result<(), E> {
    let start = joined.len();
    let mut used = 0_u64;
    for frame in frames {
        let frame = frame?;
        let shift = used % 8;
        for byte in &frame {
            // The low bits fill up the last byte; the rest begins the next.
            let (low, high) = (byte << shift, (u16::from(*byte) << shift >> 8) as u8);
            match joined.last_mut().filter(|_| shift > 0) {
                Some(last) => {
                    *last |= low;
                    joined.push(high);
                }
                None => joined.push(low),
            }
        }
        used += bits;
        // The last frame's own padding.
        joined.truncate(start + used.div_ceil(8) as usize);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden_bytes() {
        // PS3.5, 8.1.1: the first pixel is the lowest bit of the first byte.
        assert_eq!(pack(&[1, 0, 0, 0, 0, 0, 0, 0, 1]), [0x01, 0x01]);
        assert_eq!(pack(&[0, 1, 1, 0, 0, 0, 0, 1]), [0b1000_0110]);
        // Frames of 3x3: 9 bits each, so that the second begins in bit 1 of byte 1.
        let ones = pack(&[1; 9]);
        let corners = pack(&[1, 0, 1, 0, 0, 0, 1, 0, 1]);
        let mut joined = vec![0x55];
        let frames = [ones.clone(), corners, ones].map(Ok::<_, ()>);
        join(frames.into_iter(), 9, &mut joined).unwrap();
        assert_eq!(joined, [0x55, 0xff, 0b1000_1011, 0b1111_1110, 0b0000_0111]);
    }

    proptest! {
        #[test]
        fn any_number_of_frames_of_any_size_comes_back(
            bits in 1_usize..40,
            frames in proptest::collection::vec(any::<u64>(), 0..9),
        ) {
            let frames: Vec<Vec<u8>> =
                frames.iter().map(|f| (0..bits).map(|i| (f >> i & 1) as u8).collect()).collect();
            let packed: Vec<_> = frames.iter().map(|f| pack(f)).collect();
            let mut joined = Vec::new();
            join(packed.into_iter().map(Ok::<_, ()>), bits as u64, &mut joined).unwrap();
            prop_assert_eq!(joined.len(), (bits * frames.len()).div_ceil(8));
            prop_assert_eq!(&joined, &pack(&frames.concat()));
            for (i, frame) in frames.iter().enumerate() {
                let back = unpack(&joined, (i * bits) as u64, bits as u64).unwrap();
                prop_assert_eq!(&back, frame);
            }
            let end = joined.len() as u64 * 8;
            prop_assert!(unpack(&joined, end, 1).is_none());
        }
    }
}
