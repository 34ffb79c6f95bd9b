//! How a file says that its pixels are stored, checked before any is read.

use bedside_core::frame::{MAX_PIXELS, MAX_SIDE, check_size};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::Error;
use super::header::{integer, text};

/// Most frames: nine hours of video.
const MAX_FRAMES: u32 = 1 << 20;

/// What the samples of a pixel mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Photometric {
    /// The higher, the darker.
    Monochrome1,
    Monochrome2,
    Palette,
    Rgb,
    YbrFull,
    /// Two pixels share their chroma; once decoded as `YbrFull`.
    YbrFull422,
    /// RGB by way of JPEG 2000's own transforms, which its decoder undoes.
    YbrJpeg2000,
    /// Of video alone, which says itself what its colours are.
    YbrPartial420,
}

/// Layout of the stored pixels of one frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) frames: u32,
    pub(crate) photometric: Photometric,
    /// Bytes of a sample: 1 or 2.
    pub(crate) bytes: usize,
    /// Bits of a sample that count, 1 to 16, and how far up they stand.
    pub(crate) bits: u32,
    pub(crate) shift: u32,
    pub(crate) signed: bool,
    /// Whether a native or RLE frame has its samples plane by plane.
    pub(crate) planar: bool,
}

impl Stored {
    pub(crate) fn of(header: &InMemDicomObject) -> Result<Self, Error> {
        let number = |tag, name: &str| {
            let value = integer(header, tag).and_then(|v| u32::try_from(v).ok());
            value.ok_or_else(|| Error::damaged(format_args!("it does not tell its {name}")))
        };
        let width = number(tags::COLUMNS, "width")?;
        let height = number(tags::ROWS, "height")?;
        if check_size(width, height).is_err() {
            let what = format!(
                "{width}x{height} pixels; sides must be 1 to {MAX_SIDE}, with at most {MAX_PIXELS} \
                 pixels between them"
            );
            return Err(if width == 0 || height == 0 {
                Error::damaged(what)
            } else {
                Error::too_large(what)
            });
        }
        let frames = match header.get(tags::NUMBER_OF_FRAMES) {
            Some(_) => number(tags::NUMBER_OF_FRAMES, "number of frames")?,
            None => 1,
        };
        if frames > MAX_FRAMES {
            return Err(Error::too_large(format_args!("{frames} frames")));
        }
        if frames == 0 {
            return Err(Error::damaged("it has no frame"));
        }
        let photometric = photometric(header)?;
        let samples = if photometric.is_colour() { 3 } else { 1 };
        if number(tags::SAMPLES_PER_PIXEL, "samples of a pixel")? != samples {
            return Err(Error::damaged(
                "its colours and its samples of a pixel disagree",
            ));
        }
        let allocated = number(tags::BITS_ALLOCATED, "bits of a sample")?;
        let bits = number(tags::BITS_STORED, "bits stored")?;
        let high = integer(header, tags::HIGH_BIT).and_then(|v| u32::try_from(v).ok());
        let high = high.unwrap_or_else(|| bits.saturating_sub(1));
        if !matches!(allocated, 8 | 16) || (samples == 3 && (allocated, bits) != (8, 8)) {
            return Err(Error::unsupported(
                format_args!("{samples} samples a pixel of {bits} bits in {allocated}"),
                "export it with 8 bits of each colour, or up to 16 of gray",
            ));
        }
        if bits == 0 || bits > high + 1 || high >= allocated {
            return Err(Error::damaged(format_args!(
                "samples of {bits} bits up to bit {high} of {allocated}"
            )));
        }
        Ok(Self {
            width,
            height,
            frames,
            photometric,
            bytes: allocated as usize / 8,
            bits,
            shift: high + 1 - bits,
            signed: integer(header, tags::PIXEL_REPRESENTATION) == Some(1),
            planar: integer(header, tags::PLANAR_CONFIGURATION) == Some(1),
        })
    }

    pub(crate) fn pixels(&self) -> usize {
        self.width as usize * self.height as usize
    }

    pub(crate) fn samples(&self) -> usize {
        if self.photometric.is_colour() { 3 } else { 1 }
    }

    /// Bytes of a decoded frame: samples of a pixel side by side, little-endian.
    pub(crate) fn decoded_len(&self) -> usize {
        self.pixels() * self.samples() * self.bytes
    }

    /// That so many bytes have room for all frames, where these are not encoded.
    pub(crate) fn check_room(&self, len: u64) -> Result<(), Error> {
        let room = len / self.native_len() as u64;
        if room < u64::from(self.frames) {
            return Err(Error::damaged(format_args!(
                "its header tells of {} frames, but there is room for {room}",
                self.frames
            )));
        }
        Ok(())
    }

    /// Bytes of a frame that is not encoded.
    pub(crate) fn native_len(&self) -> usize {
        if self.photometric == Photometric::YbrFull422 {
            return 2 * self.pixels();
        }
        self.decoded_len()
    }
}

impl Photometric {
    pub(crate) fn is_colour(self) -> bool {
        !matches!(self, Self::Monochrome1 | Self::Monochrome2 | Self::Palette)
    }
}

fn photometric(header: &InMemDicomObject) -> Result<Photometric, Error> {
    let name = text(header, tags::PHOTOMETRIC_INTERPRETATION);
    let name = name.ok_or_else(|| Error::damaged("it does not tell its colours"))?;
    Ok(match name.as_str() {
        "MONOCHROME1" => Photometric::Monochrome1,
        "MONOCHROME2" => Photometric::Monochrome2,
        "PALETTE COLOR" => Photometric::Palette,
        "RGB" => Photometric::Rgb,
        "YBR_FULL" => Photometric::YbrFull,
        "YBR_FULL_422" => Photometric::YbrFull422,
        "YBR_RCT" | "YBR_ICT" => Photometric::YbrJpeg2000,
        "YBR_PARTIAL_420" => Photometric::YbrPartial420,
        _ => {
            return Err(Error::unsupported(
                "colours other than gray, RGB, YBR and a palette",
                "export it as RGB (for example by `dcmconv` or `dcmdjpeg`)",
            ));
        }
    })
}
