//! Colours as RGB.

use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::Error;
use super::header::{descriptor, words};
use super::stored::Stored;

/// YBR in full range as RGB, in place: PS3.3 C.7.6.3.1.2, which is ITU-R BT.601.
pub(crate) fn ybr_to_rgb(pixels: &mut [u8]) {
    // Twenty bits after the point.
    const ONE: i32 = 1 << 20;
    const fn fixed(factor: f64) -> i32 {
        (factor * ONE as f64 + 0.5) as i32
    }
    const RED_RED: i32 = fixed(1.402);
    const BLUE_BLUE: i32 = fixed(1.772);
    const GREEN_RED: i32 = fixed(0.299 * 1.402 / 0.587);
    const GREEN_BLUE: i32 = fixed(0.114 * 1.772 / 0.587);
    for [y, b, r] in pixels.as_chunks_mut::<3>().0 {
        let (luma, blue, red) = (
            i32::from(*y) * ONE,
            i32::from(*b) - 128,
            i32::from(*r) - 128,
        );
        let whole = |v: i32| ((v + ONE / 2) >> 20).clamp(0, 255) as u8;
        *y = whole(luma + RED_RED * red);
        *b = whole(luma - GREEN_BLUE * blue - GREEN_RED * red);
        *r = whole(luma + BLUE_BLUE * blue);
    }
}

/// The colour of each stored value.
pub(crate) struct Palette(Vec<[u8; 3]>);

impl Palette {
    pub(crate) fn of(header: &InMemDicomObject, stored: &Stored) -> Result<Self, Error> {
        if header
            .get(tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA)
            .is_some()
        {
            return Err(Error::unsupported(
                "a palette in segments",
                "export it as RGB",
            ));
        }
        let channel = |shape, data| {
            let damaged =
                || Error::damaged("its palette is missing or has another length than it says");
            let (entries, first, bits) =
                descriptor(header, shape, stored.signed).ok_or_else(damaged)?;
            let words = words(header, data).ok_or_else(damaged)?;
            // Entries of eight bits stand two in a word, or one in each.
            let levels: Vec<u8> = if bits > 8 {
                words.into_iter().map(|w| (w >> (bits - 8)) as u8).collect()
            } else if words.len() >= entries {
                words.into_iter().map(|w| w as u8).collect()
            } else {
                words.into_iter().flat_map(u16::to_le_bytes).collect()
            };
            let levels = levels.get(..entries).ok_or_else(damaged)?.to_vec();
            Ok::<_, Error>((first, levels))
        };
        let channels = [
            channel(
                tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            )?,
            channel(
                tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            )?,
            channel(
                tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            )?,
        ];
        let count = 1_i32 << stored.bits;
        let value = |v| {
            if stored.signed && v >= count / 2 {
                v - count
            } else {
                v
            }
        };
        let colour = |v: i32| {
            channels.each_ref().map(|(first, levels)| {
                let index = usize::try_from(v.saturating_sub(*first)).unwrap_or(0);
                levels
                    .get(index)
                    .or(levels.last())
                    .copied()
                    .unwrap_or_default()
            })
        };
        Ok(Self((0..count).map(value).map(colour).collect()))
    }

    pub(crate) fn render(&self, stored: impl Iterator<Item = u16>) -> Vec<u8> {
        let colour = |index: u16| self.0.get(usize::from(index)).copied().unwrap_or_default();
        stored.flat_map(colour).collect()
    }
}
