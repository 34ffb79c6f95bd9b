//! What the decoder does not tell of a JPEG: its number of components, and whether it is whole.

/// Facts from a walk over a JPEG's markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JpegFacts {
    /// 1 for gray, 3 for YCbCr or RGB, 4 for CMYK or YCCK.
    pub components: u8,
    /// Whether the end-of-image marker was reached. Decoders paint what is missing gray.
    pub complete: bool,
}

/// Walk from marker to marker; `None` when no frame header is found on the way.
pub(crate) fn facts(bytes: &[u8]) -> Option<JpegFacts> {
    let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?;
    let mut components = None;
    let complete = loop {
        let Some((marker, after)) = next_marker(rest) else {
            break false;
        };
        match marker {
            0xd9 => break true,
            // Restart markers and TEM stand alone; the rest have a length.
            0x01 | 0xd0..=0xd7 => rest = after,
            _ => {
                let Some((&[high, low], _)) = after.split_first_chunk::<2>() else {
                    break false;
                };
                let length = usize::from(u16::from_be_bytes([high, low]));
                let Some((segment, behind)) = after.split_at_checked(length.max(2)) else {
                    break false;
                };
                // Frame headers, but not DHT (c4), JPG (c8) and DAC (cc) among them.
                if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
                    components = segment.get(7).copied();
                }
                rest = behind;
            }
        }
    };
    Some(JpegFacts {
        components: components?,
        complete,
    })
}

/// The next marker's code and what follows it; entropy-coded bytes on the way are skipped.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let mut pairs = bytes.windows(2).enumerate();
    let (at, code) = pairs.find_map(|(at, pair)| match pair {
        // ff 00 is a stuffed byte of data, ff ff is padding.
        [0xff, code] if !matches!(code, 0x00 | 0xff) => Some((at, *code)),
        _ => None,
    })?;
    Some((code, bytes.get(at + 2..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// SOI, an APP1 whose thumbnail holds an end marker, SOF0 of `components`, SOS, data, EOI.
    fn sample(components: u8) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xe1, 0, 6, 0xff, 0xd9, 1, 2];
        bytes.extend([0xff, 0xc4, 0, 3, 9]);
        bytes.extend([0xff, 0xc0, 0, 9, 8, 0, 4, 0, 4, components, 0]);
        bytes.extend([
            0xff, 0xda, 0, 3, 0, 5, 0xff, 0, 6, 0xff, 0xd0, 7, 0xff, 0xff, 0xd9,
        ]);
        bytes
    }

    #[test]
    fn components_and_end_are_found_past_stuffing_and_thumbnails() {
        for components in [1, 3, 4] {
            let whole = sample(components);
            assert_eq!(
                facts(&whole),
                Some(JpegFacts {
                    components,
                    complete: true
                })
            );
            for end in 0..whole.len() {
                let cut = facts(&whole[..end]);
                assert!(cut.is_none_or(|f| !f.complete), "cut at {end}: {cut:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = facts(&bytes);
            let _ = facts(&[&[0xff, 0xd8], bytes.as_slice()].concat());
        }
    }
}
