//! Decoders of single frames.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dicom_dictionary_std::uids;
use hayro_jpeg2000::{DecodeSettings, DecoderContext, Image};
use jpeg_decoder::{ColorTransform, PixelFormat};

use super::file::BIG_ENDIAN;
use super::stored::{Photometric, Stored};
use super::{Error, jpeg_ls as ls};

/// How frames are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Native,
    Rle,
    Jpeg,
    JpegLossless,
    JpegLs,
    Jpeg2000,
}

/// A frame as it is stored: [`Stored::decoded_len`] bytes, samples of a pixel side by side.
pub(crate) struct Decoded {
    pub(crate) data: Vec<u8>,
    /// Whether colours are YBR, where the decoder knows better than the header.
    pub(crate) ybr: Option<bool>,
}

/// A picture is judged from here on by what its bytes can hold at most; below it is small anyway.
const LARGE: usize = 16 << 20;

impl Codec {
    pub(crate) fn of(syntax: &str) -> Result<Self, Error> {
        Ok(match syntax {
            uids::IMPLICIT_VR_LITTLE_ENDIAN
            | uids::EXPLICIT_VR_LITTLE_ENDIAN
            | BIG_ENDIAN
            | uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN
            | uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => Self::Native,
            uids::RLE_LOSSLESS => Self::Rle,
            uids::JPEG_BASELINE8_BIT | uids::JPEG_EXTENDED12_BIT => Self::Jpeg,
            uids::JPEG_LOSSLESS | uids::JPEG_LOSSLESS_SV1 => Self::JpegLossless,
            uids::JPEGLS_LOSSLESS | uids::JPEGLS_NEAR_LOSSLESS => Self::JpegLs,
            uids::JPEG2000_LOSSLESS | uids::JPEG2000 => Self::Jpeg2000,
            _ => return Err(unread(syntax)),
        })
    }

    /// Whether the bytes of a large picture are too few to hold it.
    fn overpromised(self, encoded: usize, samples: usize) -> bool {
        // Most samples that a byte can stand for, generously.
        let most = match self {
            Self::Native => 1,
            Self::Rle => 128,
            Self::JpegLossless => 16,
            Self::Jpeg => 1024,
            // One bit can stand for a long run of one value, or for a block of none.
            Self::JpegLs | Self::Jpeg2000 => 16_384,
        };
        samples >= LARGE && samples / most > encoded
    }

    /// Decode one frame from its bytes.
    pub(crate) fn decode(self, bytes: Vec<u8>, stored: &Stored) -> Result<Decoded, Error> {
        if self.overpromised(bytes.len(), stored.pixels() * stored.samples()) {
            return Err(Error::too_large(format_args!(
                "{} bytes that claim to be {}x{} pixels",
                bytes.len(),
                stored.width,
                stored.height
            )));
        }
        // Decoders of others, on bytes of nobody knows whom: one that panics is of no worth for
        // this frame, and keeps no state for the next.
        let decoded = catch_unwind(AssertUnwindSafe(|| match self {
            Self::Native => native(bytes, stored),
            Self::Rle => rle(&bytes, stored),
            Self::Jpeg | Self::JpegLossless => jpeg(&bytes, stored),
            Self::JpegLs => jpeg_ls(&bytes, stored),
            Self::Jpeg2000 => jpeg_2000(&bytes, stored),
        }));
        let decoded = decoded.unwrap_or_else(|_| Err(broken("it defies its decoder")))?;
        if decoded.data.len() != stored.decoded_len() {
            return Err(broken("it has another size than the header says"));
        }
        Ok(decoded)
    }
}

fn unread(syntax: &str) -> Error {
    let name = match syntax {
        uids::HTJ2K_LOSSLESS | uids::HTJ2K_LOSSLESS_RPCL | uids::HTJ2K => {
            "High-Throughput JPEG 2000"
        }
        uids::JPEGXL_LOSSLESS | uids::JPEGXLJPEG_RECOMPRESSION | uids::JPEGXL => "JPEG XL",
        _ if syntax.starts_with("1.2.840.10008.1.2.4.10") => "MPEG video",
        _ => "another",
    };
    // A UID from a damaged file may be any text.
    let shown: String = syntax
        .chars()
        .filter(|c| matches!(c, '0'..='9' | '.'))
        .take(64)
        .collect();
    Error::unsupported(
        format_args!("pixels in transfer syntax {shown} ({name})"),
        match name {
            "MPEG video" => "export the video as H.264, or the object uncompressed",
            "another" => "convert it to an uncompressed one (for example by `dcmconv`)",
            _ => {
                "have the archive send it uncompressed or as JPEG 2000 (pydicom with                  pylibjpeg-openjpeg converts it)"
            }
        },
    )
}

fn broken(what: &str) -> Error {
    Error::damaged(format_args!("a frame: {what}"))
}

fn plain(data: Vec<u8>) -> Result<Decoded, Error> {
    Ok(Decoded { data, ybr: None })
}

fn native(mut data: Vec<u8>, stored: &Stored) -> Result<Decoded, Error> {
    // A piece may be padded to an even length.
    data.truncate(stored.native_len());
    if data.len() != stored.native_len() {
        return Err(broken("it is cut short"));
    }
    if stored.photometric == Photometric::YbrFull422 {
        let mut pixels = Vec::with_capacity(stored.decoded_len());
        for [first, second, blue, red] in data.as_chunks::<4>().0 {
            pixels.extend([*first, *blue, *red, *second, *blue, *red]);
        }
        return plain(pixels);
    }
    if stored.planar && stored.samples() > 1 {
        return plain(interleaved(&data, stored));
    }
    plain(data)
}

/// Planes of samples as pixels.
fn interleaved(data: &[u8], stored: &Stored) -> Vec<u8> {
    let mut out = vec![0; data.len()];
    let size = stored.samples() * stored.bytes;
    for (index, plane) in data.chunks(stored.pixels() * stored.bytes).enumerate() {
        for (pixel, sample) in out.chunks_mut(size).zip(plane.chunks(stored.bytes)) {
            let place = pixel.iter_mut().skip(index * stored.bytes);
            place.zip(sample).for_each(|(to, from)| *to = *from);
        }
    }
    out
}

/// RLE as PS3.5 annex G has it: a table of segments, one for each byte of a pixel, the highest byte
/// of a sample first; each segment in PackBits.
fn rle(bytes: &[u8], stored: &Stored) -> Result<Decoded, Error> {
    let table = bytes
        .get(..64)
        .ok_or_else(|| broken("its RLE table is cut short"))?;
    let mut words = table
        .as_chunks::<4>()
        .0
        .iter()
        .map(|w| u32::from_le_bytes(*w) as usize);
    let size = stored.samples() * stored.bytes;
    if words.next() != Some(size) {
        return Err(broken(
            "it has another number of RLE segments than a pixel has bytes",
        ));
    }
    let starts: Vec<usize> = words.take(size).collect();
    let mut data = vec![0; stored.decoded_len()];
    for (segment, start) in starts.iter().enumerate() {
        let end = starts.get(segment + 1).copied().unwrap_or(bytes.len());
        let packed = bytes.get(*start..end);
        let packed = packed.ok_or_else(|| broken("an RLE segment lies nowhere"))?;
        let (sample, byte) = (segment / stored.bytes, segment % stored.bytes);
        let offset = sample * stored.bytes + (stored.bytes - 1 - byte);
        let places = data.iter_mut().skip(offset).step_by(size);
        unpack(packed, places).ok_or_else(|| broken("an RLE segment is cut short"))?;
    }
    plain(data)
}

/// Fill all places from PackBits; none when they do not suffice.
fn unpack<'a>(
    mut packed: &[u8],
    mut places: impl ExactSizeIterator<Item = &'a mut u8>,
) -> Option<()> {
    while places.len() > 0 {
        let (&control, rest) = packed.split_first()?;
        match control {
            0..=127 => {
                let (literal, rest) = rest.split_at_checked(usize::from(control) + 1)?;
                for (value, place) in literal.iter().zip(&mut places) {
                    *place = *value;
                }
                packed = rest;
            }
            128 => packed = rest,
            129..=255 => {
                let (value, rest) = rest.split_first()?;
                let run = 257 - usize::from(control);
                places.by_ref().take(run).for_each(|place| *place = *value);
                packed = rest;
            }
        }
    }
    Some(())
}

fn jpeg(bytes: &[u8], stored: &Stored) -> Result<Decoded, Error> {
    let damaged = |error| match error {
        jpeg_decoder::Error::Unsupported(_) => Error::unsupported(
            "JPEG of a kind that its decoder does not know, such as 12-bit or arithmetic",
            "convert it to an uncompressed one (for example by `dcmdjpeg`)",
        ),
        _ => broken("it is no whole JPEG"),
    };
    let mut decoder = jpeg_decoder::Decoder::new(bytes);
    // This leaves samples as they are, where `None` would put planes one behind another.
    decoder.set_color_transform(ColorTransform::RGB);
    decoder.set_max_decoding_buffer_size(2 * stored.decoded_len());
    decoder.read_info().map_err(damaged)?;
    let info = decoder
        .info()
        .ok_or_else(|| broken("it is no whole JPEG"))?;
    let size = (u32::from(info.width), u32::from(info.height));
    if size != (stored.width, stored.height) {
        return Err(broken("it has another size than the header says"));
    }
    let lossless = info.coding_process == jpeg_decoder::CodingProcess::Lossless;
    let data = decoder.decode().map_err(damaged)?;
    let data = match (info.pixel_format, stored.samples(), stored.bytes) {
        (PixelFormat::L8, 1, 1) | (PixelFormat::RGB24, 3, 1) => data,
        (PixelFormat::L8, 1, 2) if data.len() == stored.pixels() => {
            data.into_iter().flat_map(|v| [v, 0]).collect()
        }
        // Lossless samples of less than eight bits come as words, though it says bytes.
        (PixelFormat::L8 | PixelFormat::L16, 1, bytes) if data.len() == 2 * stored.pixels() => {
            let words = data
                .as_chunks::<2>()
                .0
                .iter()
                .map(|v| u16::from_ne_bytes(*v).to_le_bytes());
            words
                .flat_map(|word| word.into_iter().take(bytes))
                .collect()
        }
        _ => return Err(broken("its samples are others than the header says")),
    };
    let ybr = (stored.samples() == 3 && !lossless)
        .then(|| is_ybr(bytes))
        .flatten();
    Ok(Decoded { data, ybr })
}

/// What a JPEG says of its own colours: files that are called RGB are mostly YBR all the same.
fn is_ybr(bytes: &[u8]) -> Option<bool> {
    let mut rest = bytes.get(2..)?;
    let mut told = None;
    loop {
        let [0xff, marker, a, b, ..] = *rest else {
            return told;
        };
        let (segment, after) = rest
            .get(2..)?
            .split_at_checked(u16::from_be_bytes([a, b]).into())?;
        let body = segment.get(2..)?;
        match marker {
            0xe0 if body.starts_with(b"JFIF\0") => told = told.or(Some(true)),
            // The Adobe segment's last byte is its transform.
            0xee if body.starts_with(b"Adobe") => {
                told = body.get(11).map(|transform| *transform != 0)
            }
            // A frame header: components may be called by their letters.
            0xc0..=0xc2 => {
                let letters = [body.get(6), body.get(9), body.get(12)];
                let rgb = letters == [Some(&b'R'), Some(&b'G'), Some(&b'B')];
                return if rgb { Some(false) } else { told };
            }
            0xda => return told,
            _ => {}
        }
        rest = after;
    }
}

fn jpeg_ls(bytes: &[u8], stored: &Stored) -> Result<Decoded, Error> {
    let samples = ls::decode(bytes, (stored.width, stored.height), stored.samples());
    let samples = samples.ok_or_else(|| {
        broken("it is no whole JPEG-LS of the size and colours that the header says")
    })?;
    if stored.bytes == 1 && samples.iter().any(|sample| *sample > 255) {
        return Err(broken("its samples are others than the header says"));
    }
    let words = samples.into_iter().map(u16::to_le_bytes);
    plain(
        words
            .flat_map(|word| word.into_iter().take(stored.bytes))
            .collect(),
    )
}

fn jpeg_2000(bytes: &[u8], stored: &Stored) -> Result<Decoded, Error> {
    let damaged =
        |_| broken("it is no whole JPEG 2000, or of a kind that its decoder does not know");
    let settings = DecodeSettings {
        strict: true,
        ..DecodeSettings::default()
    };
    let image = Image::new(bytes, &settings).map_err(damaged)?;
    if (image.width(), image.height()) != (stored.width, stored.height) {
        return Err(broken("it has another size than the header says"));
    }
    let mut context = DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(damaged)?;
    let components = decoded.components();
    let fits = |c: &hayro_jpeg2000::ComponentData| {
        usize::from(c.bit_depth()) <= 8 * stored.bytes && c.samples().len() == stored.pixels()
    };
    if components.len() != stored.samples() || !components.iter().all(fits) {
        return Err(broken("its samples are others than the header says"));
    }
    let mut data = vec![0; stored.decoded_len()];
    let size = stored.samples() * stored.bytes;
    for (index, component) in components.iter().enumerate() {
        // Its decoder lifts signed samples as it does others.
        let lift = if is_signed(bytes) {
            1 << (component.bit_depth() - 1)
        } else {
            0
        };
        for (pixel, sample) in data.chunks_mut(size).zip(component.samples()) {
            let word = (sample.round() as i32 - lift) as u16;
            let word = word.to_le_bytes();
            let place = pixel.iter_mut().skip(index * stored.bytes);
            place
                .take(stored.bytes)
                .zip(word)
                .for_each(|(to, from)| *to = from);
        }
    }
    plain(data)
}

/// Whether the first component of a JPEG 2000 codestream is signed: the sign's bit in its SIZ.
fn is_signed(codestream: &[u8]) -> bool {
    codestream.get(42).is_some_and(|depth| depth & 0x80 != 0)
}
