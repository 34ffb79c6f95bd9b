//! Still pictures from files, without trust in their names, sizes or ends.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use bedside::{Frame, Mask, PixelFormat};
use image::codecs::png::PngEncoder;
use image::{
    ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError,
    ImageFormat, ImageReader, Limits,
};

use crate::failure::{Exit, Failure};
use crate::jpeg;

/// Most bytes of a picture file.
const MAX_FILE: u64 = 512 << 20;
/// Most bytes of a decoded picture.
const MAX_DECODED: u64 = 512 << 20;
/// Longest side in pixels.
const MAX_SIDE: u32 = bedside::frame::MAX_SIDE;

/// Formats that are read, by content.
const FORMATS: [ImageFormat; 5] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::Bmp,
    ImageFormat::Tiff,
    ImageFormat::WebP,
];

/// Read a picture of 8 bits a channel: gray stays gray, colour becomes RGB, alpha is dropped and
/// the orientation that the camera noted is applied.
///
/// Every failure is an [`Exit::Input`] that names the file.
pub(crate) fn read(path: &Path) -> Result<Frame, Failure> {
    let named = |failure: Failure| failure.at(path.display());
    decode(&bytes_of(path).map_err(named)?).map_err(named)
}

/// A PNG of gray or RGB pixels, row by row.
pub(crate) fn png(
    width: u32,
    height: u32,
    format: PixelFormat,
    data: &[u8],
) -> Result<Vec<u8>, Failure> {
    let colour = if format == PixelFormat::Gray8 {
        ColorType::L8
    } else {
        ColorType::Rgb8
    };
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(data, width, height, colour.into())
        .map_err(|e| Failure::new(Exit::Internal, format!("could not encode a PNG: {e}")))?;
    Ok(bytes)
}

/// A mask as a gray PNG: 0 outside, 255 inside.
pub(crate) fn mask_png(mask: &Mask) -> Result<Vec<u8>, Failure> {
    let data: Vec<u8> = mask.data().iter().map(|v| v * 255).collect();
    png(mask.width(), mask.height(), PixelFormat::Gray8, &data)
}

fn refuse(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Input, message)
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, Failure> {
    let cannot = |error: std::io::Error| {
        refuse(format!(
            "could not be read: {error}; hint: check the path and who may read it"
        ))
    };
    let file = File::open(path).map_err(cannot)?;
    if file.metadata().map_err(cannot)?.is_dir() {
        return Err(refuse(
            "is a folder; hint: name the pictures in it, as in FOLDER/*.png",
        ));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    match bytes.len() as u64 {
        0 => Err(refuse("is empty; hint: copy the file again")),
        n if n > MAX_FILE => Err(refuse(format!(
            "has more than {} MiB; hint: export a smaller picture",
            MAX_FILE >> 20
        ))),
        _ => Ok(bytes),
    }
}

fn decode(bytes: &[u8]) -> Result<Frame, Failure> {
    let format = format_of(bytes)?;
    let damaged = |error: ImageError| damaged(format, &error);

    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;

    check_colours(
        format,
        bytes,
        decoder.original_color_type(),
        decoder.color_type(),
    )?;
    if decoder.total_bytes() > MAX_DECODED {
        let (width, height) = decoder.dimensions();
        return Err(too_large(&format!("{width}x{height} pixels")));
    }
    let orientation = decoder.orientation().map_err(damaged)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    picture.apply_orientation(orientation);

    let (width, height) = (picture.width(), picture.height());
    let (pixels, data) = if picture.color().has_color() {
        (PixelFormat::Rgb8, picture.into_rgb8().into_raw())
    } else {
        (PixelFormat::Gray8, picture.into_luma8().into_raw())
    };
    Frame::new(width, height, pixels, data)
        .map_err(|error| refuse(format!("{error}; hint: crop or scale the picture")))
}

/// What the content says, whatever the name's ending says.
fn format_of(bytes: &[u8]) -> Result<ImageFormat, Failure> {
    if bytes.get(128..132) == Some(b"DICM") {
        return Err(refuse(
            "is a DICOM file; hint: export the frame as PNG (for example `dcmj2pnm +on`)",
        ));
    }
    match image::guess_format(bytes) {
        Ok(format) if FORMATS.contains(&format) => Ok(format),
        Ok(other) => Err(refuse(format!(
            "is {other:?}, which is not read; hint: convert it to PNG, JPEG, BMP, TIFF or WebP"
        ))),
        Err(_) => Err(refuse(
            "is no picture that is known; hint: PNG, JPEG, BMP, TIFF and WebP are read",
        )),
    }
}

/// Refuse what would have to be squeezed into 8-bit gray or RGB by guesswork.
fn check_colours(
    format: ImageFormat,
    bytes: &[u8],
    original: ExtendedColorType,
    decoded: ColorType,
) -> Result<(), Failure> {
    let cmyk = || {
        refuse(
            "holds CMYK colours; hint: convert to RGB with the colour profile that it was made in",
        )
    };
    if format == ImageFormat::Jpeg {
        let facts = jpeg::facts(bytes);
        if facts.is_some_and(|f| f.components == 4) {
            return Err(cmyk());
        }
        if facts.is_none_or(|f| !f.complete) {
            return Err(cut_short(format));
        }
    }
    if matches!(
        original,
        ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16
    ) {
        return Err(cmyk());
    }
    match decoded {
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => Ok(()),
        other => Err(refuse(format!(
            "has {} bits a channel; hint: convert to 8 bits with the window (contrast range) in \
             which a person would read it",
            other.bits_per_pixel() / u16::from(other.channel_count())
        ))),
    }
}

fn cut_short(format: ImageFormat) -> Failure {
    refuse(format!(
        "is {format:?}, but cut short; hint: copy the file again"
    ))
}

fn too_large(what: &str) -> Failure {
    refuse(format!(
        "is too large ({what}): sides may have {MAX_SIDE} pixels and the whole {} MiB; hint: crop \
         or scale the picture",
        MAX_DECODED >> 20
    ))
}

fn damaged(format: ImageFormat, error: &ImageError) -> Failure {
    match error {
        ImageError::Limits(limit) => too_large(&limit.to_string()),
        ImageError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            cut_short(format)
        }
        ImageError::Unsupported(e) => refuse(format!(
            "uses what is not supported: {e}; hint: convert it to 8-bit PNG"
        )),
        other => refuse(format!("is damaged: {other}; hint: copy the file again")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../bedside-video/tests/golden/stills")
            .join(name)
    }

    /// Pixels as Pillow reads them.
    #[derive(serde::Deserialize)]
    struct Reference {
        width: u32,
        height: u32,
        format: String,
        data: String,
    }

    fn references() -> BTreeMap<String, Reference> {
        serde_json::from_slice(&fs::read(golden("reference.json")).unwrap()).unwrap()
    }

    fn unhex(text: &str) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(byte).collect()
    }

    #[test]
    fn pixels_agree_with_pillow() {
        for (name, reference) in references() {
            let frame = read(&golden(&name)).unwrap();
            assert_eq!(
                (frame.width(), frame.height()),
                (reference.width, reference.height),
                "{name}"
            );
            assert_eq!(format!("{:?}", frame.format()), reference.format, "{name}");
            // JPEG decoders may round differently; all else is exact.
            let lossy = name != "png-called.jpg" && name.ends_with(".jpg");
            let expected = unhex(&reference.data);
            let most = frame
                .data()
                .iter()
                .zip(&expected)
                .map(|(a, b)| a.abs_diff(*b))
                .max();
            assert_eq!(frame.data().len(), expected.len(), "{name}");
            assert!(
                most.unwrap() <= if lossy { 4 } else { 0 },
                "{name}: off by {most:?}"
            );
        }
    }

    #[test]
    fn what_would_need_guesswork_is_refused_with_a_remedy() {
        for (name, cause, remedy) in [
            ("cmyk.jpg", "CMYK", "RGB"),
            ("cmyk.tiff", "CMYK", "RGB"),
            ("gray16.png", "16 bits", "window"),
            ("gray16.tiff", "16 bits", "window"),
            ("still.gif", "Gif", "PNG"),
            ("dicom.dcm", "DICOM", "PNG"),
            ("huge.png", "too large", "scale"),
            ("vast.png", "too large", "scale"),
            ("reference.json", "no picture", "PNG"),
            ("no-such-file.png", "could not be read", "path"),
            ("", "folder", "*.png"),
        ] {
            let failure = read(&golden(name)).unwrap_err();
            assert_eq!(failure.exit(), Exit::Input, "{name}");
            let text = failure.to_string();
            let (what, hint) = text.split_once("hint:").unwrap_or_else(|| panic!("{text}"));
            assert!(what.contains(name) && what.contains(cause), "{text}");
            assert!(hint.contains(remedy), "{text}");
        }
    }

    /// Cut anywhere, a file is refused, or read whole where only its ending was lost.
    #[test]
    fn cut_files_are_never_read_half() {
        for name in references().into_keys() {
            let bytes = fs::read(golden(&name)).unwrap();
            let whole = decode(&bytes).unwrap();
            let mut refused = 0;
            for end in 0..bytes.len() {
                match decode(&bytes[..end]) {
                    Ok(frame) => assert_eq!(frame, whole, "{name} cut at {end} is read half"),
                    Err(failure) => {
                        assert!(failure.to_string().contains("hint:"), "{failure}");
                        refused += 1;
                    }
                }
            }
            assert!(
                refused * 10 > bytes.len() * 5,
                "{name}: refused {refused} of {}",
                bytes.len()
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn damaged_files_do_not_panic(
            pick: proptest::sample::Index, at: proptest::sample::Index, value: u8,
        ) {
            let names: Vec<String> = references().into_keys().collect();
            let name: &String = pick.get(&names);
            let mut bytes = fs::read(golden(name)).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = value;
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn png_gives_back_what_went_in() {
        let rgb: Vec<u8> = (0..60).collect();
        let decoded = decode(&png(5, 4, PixelFormat::Rgb8, &rgb).unwrap()).unwrap();
        assert_eq!(
            (decoded.width(), decoded.format(), decoded.data()),
            (5, PixelFormat::Rgb8, &*rgb)
        );
        let mask = Mask::from_bytes(2, 2, vec![0, 1, 1, 0]).unwrap();
        let decoded = decode(&mask_png(&mask).unwrap()).unwrap();
        assert_eq!(
            (decoded.format(), decoded.data()),
            (PixelFormat::Gray8, &[0, 255, 255, 0][..])
        );
    }
}
