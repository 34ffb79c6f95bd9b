//! JPEG pictures as frames, by way of YCbCr alone.

use bedside_core::PixelFormat;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::convert::ycbcr_to_i420;
use crate::{SourceInfo, size};

/// Most bytes of one compressed picture, which leaves nearly two for each pixel of the largest.
pub(crate) const MAX_PICTURE: usize = 16 << 20;

/// Decodes one JPEG after the other.
#[derive(Default)]
pub(crate) struct Decoder {
    /// Memory for interleaved YCbCr.
    pixels: Vec<u8>,
}

impl Decoder {
    /// Put the picture into `out` as `info` says: I420 of BT.601 in full range, or gray.
    ///
    /// # Errors
    /// When the picture is damaged or cut, or of another size.
    pub(crate) fn decode(
        &mut self,
        jpeg: &[u8],
        info: &SourceInfo,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let mut decoder = begin(jpeg)?;
        let (width, height) = size_of(&decoder)?;
        if (width, height) != (info.width, info.height) {
            return Err(format!(
                "a picture of {width}x{height} among {}x{}",
                info.width, info.height
            ));
        }
        let coloured = match decoder.input_colorspace() {
            Some(ColorSpace::Luma) => false,
            Some(ColorSpace::YCbCr) => info.format != PixelFormat::Gray8,
            other => return Err(format!("a picture in {other:?}, which cameras do not give")),
        };
        let (space, samples, target) = if coloured {
            (ColorSpace::YCbCr, 3, &mut self.pixels)
        } else {
            (ColorSpace::Luma, 1, &mut *out)
        };
        decoder.set_options(options().jpeg_set_out_colorspace(space));
        target.resize(width as usize * height as usize * samples, 0);
        let decoded = decoder.decode_into(target);
        decoded.map_err(|error| format!("a damaged picture ({})", one_line(error)))?;
        if coloured {
            out.clear();
            ycbcr_to_i420(&self.pixels, width as usize, out);
        } else {
            // A gray picture among coloured ones: chroma of no colour.
            out.resize(info.format.byte_len(width, height), 128);
        }
        Ok(())
    }
}

/// Width, height and whether it is gray, without decoding.
pub(crate) fn facts(jpeg: &[u8]) -> Result<(u32, u32, bool), String> {
    let decoder = begin(jpeg)?;
    let (width, height) = size_of(&decoder)?;
    Ok((
        width,
        height,
        decoder.input_colorspace() == Some(ColorSpace::Luma),
    ))
}

/// Strict: what others paint over in gray is an error here. Of any size, so that a size that is
/// refused is called so.
pub(crate) fn options() -> DecoderOptions {
    DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
}

/// Read the headers.
pub(crate) fn begin(jpeg: &[u8]) -> Result<JpegDecoder<ZCursor<&[u8]>>, String> {
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options());
    let headers = decoder.decode_headers();
    headers.map_err(|error| format!("no JPEG ({})", one_line(error)))?;
    Ok(decoder)
}

fn size_of(decoder: &JpegDecoder<ZCursor<&[u8]>>) -> Result<(u32, u32), String> {
    let info = decoder.info().ok_or("no JPEG")?;
    let (width, height) = (info.width.into(), info.height.into());
    size::check(width, height)?;
    Ok((width, height))
}

/// An error of the decoder as one line.
pub(crate) fn one_line(error: impl std::fmt::Debug) -> String {
    bedside_core::text::one_line(&format!("{error:?}"))
}

/// Finds the end of a JPEG whose bytes come in bit by bit.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Walk {
    /// Up to here no end was found.
    at: usize,
}

/// Where a picture ends, as far as a [`Walk`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Boundary {
    /// The picture has this many bytes.
    End(usize),
    /// It breaks off, and another begins here.
    Begin(usize),
    /// More bytes are needed.
    More,
}

impl Walk {
    /// Walk on; `bytes` begins with the picture and may have grown since the last call.
    pub(crate) fn on(&mut self, bytes: &[u8]) -> Boundary {
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let mut pairs = rest.windows(2);
            // ff 00 is a stuffed byte of data, ff ff is padding.
            let marker =
                pairs.position(|pair| matches!(pair, [0xff, code] if !matches!(code, 0 | 0xff)));
            let Some(offset) = marker else {
                // The last byte may be the first half of a marker.
                self.at += rest.len().saturating_sub(1);
                return Boundary::More;
            };
            let at = self.at + offset;
            let behind = at + 2;
            match bytes.get(at + 1) {
                Some(0xd9) => return Boundary::End(behind),
                Some(0xd8) if at > 0 => return Boundary::Begin(at),
                Some(0x01 | 0xd0..=0xd8) => self.at = behind,
                _ => match bytes.get(behind..behind + 2) {
                    Some(&[high, low]) => {
                        let length = usize::from(u16::from_be_bytes([high, low]));
                        self.at = behind + length.max(2);
                    }
                    _ => {
                        self.at = at;
                        return Boundary::More;
                    }
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// SOI, an APP1 whose thumbnail holds an end, SOS, data with stuffing and restart, EOI.
    const PICTURE: [u8; 24] = [
        0xff, 0xd8, 0xff, 0xe1, 0, 6, 0xff, 0xd9, 1, 2, 0xff, 0xda, 0, 3, 0, 5, 0xff, 0, 0xff,
        0xd0, 0xff, 0xff, 0xd9, 0xff,
    ];

    #[test]
    fn the_end_is_found_past_thumbnails_and_stuffing_however_the_bytes_come() {
        for first in 0..PICTURE.len() {
            let mut walk = Walk::default();
            let found = walk.on(&PICTURE[..first]);
            let found = if found == Boundary::More {
                walk.on(&PICTURE)
            } else {
                found
            };
            assert_eq!(found, Boundary::End(23), "{first}");
        }
    }

    #[test]
    fn a_cut_picture_ends_where_the_next_begins() {
        let cut = [&PICTURE[..17], &PICTURE].concat();
        assert_eq!(Walk::default().on(&cut), Boundary::Begin(17));
    }

    proptest! {
        #[test]
        fn random_bytes_are_walked_and_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut walk = Walk::default();
            for end in 0..bytes.len() {
                match walk.on(&bytes[..end]) {
                    Boundary::End(at) | Boundary::Begin(at) => prop_assert!(at <= end),
                    Boundary::More => prop_assert!(walk.at <= end + 65_537),
                }
            }
            prop_assert!(facts(&bytes).is_err());
        }
    }
}
