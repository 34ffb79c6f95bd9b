//! Still pictures from files, without trust in their names, sizes or ends.

use std::fs::File;
use std::io::{self, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};

use bedside_core::frame::{MAX_PIXELS, MAX_SIDE};
use bedside_core::{Frame, PixelFormat};
use image::metadata::Orientation;
use image::{
    ColorType, DynamicImage, ExtendedColorType, GrayImage, ImageDecoder, ImageError, ImageFormat,
    ImageReader, Limits, RgbImage,
};
use zune_jpeg::zune_core::colorspace::ColorSpace;

use crate::SourceError;
use crate::jpeg::{self, Boundary};

/// Most bytes of a file.
const MAX_FILE: u64 = 512 << 20;
/// Most bytes that a decoder may ask for.
const MAX_DECODER: u64 = 512 << 20;

/// Endings of their names, by which pictures are found.
const ENDINGS: [&str; 7] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp"];

/// Formats that are read, by content.
const FORMATS: [ImageFormat; 5] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::Bmp,
    ImageFormat::Tiff,
    ImageFormat::WebP,
];

/// Read a picture of 8 bits a channel: gray stays gray, colour becomes RGB, alpha is dropped and
/// the orientation that the camera noted is applied. PNG, JPEG, BMP, TIFF and WebP are read, told
/// apart by content. Captured at time zero.
///
/// # Errors
/// [`Fatal`](crate::SourceErrorKind::Fatal), with the file's name, for what is not a whole picture
/// or would have to be squeezed into 8-bit gray or RGB by guesswork: 16 bits, CMYK, DICOM.
pub fn read(path: &Path) -> Result<Frame, SourceError> {
    picture(path).map_err(|why| SourceError::fatal(format!("{}: {why}", path.display())))
}

/// Whether a file is called as pictures are.
pub fn is_named(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    ENDINGS.iter().any(|known| ending == *known)
}

/// The files of a folder that are called as pictures are, in the order of their names.
///
/// # Errors
/// When the folder can't be listed.
pub fn in_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = folder.read_dir()?.map(|entry| Ok(entry?.path()));
    let mut paths: Vec<_> = entries.collect::<io::Result<_>>()?;
    paths.retain(|path| is_named(path));
    paths.sort();
    Ok(paths)
}

/// As [`read`]; the error leaves it to the caller what to call the file.
pub(crate) fn picture(path: &Path) -> Result<Frame, String> {
    decode(&bytes_of(path)?)
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: io::Error| {
        format!("could not be read: {error}; hint: check the path and who may read it")
    };
    let file = File::open(path).map_err(cannot)?;
    if file.metadata().map_err(cannot)?.is_dir() {
        return Err("is a folder; hint: name the pictures in it, as in FOLDER/*.png".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    match bytes.len() as u64 {
        0 => Err("is empty; hint: copy the file again".to_owned()),
        n if n > MAX_FILE => Err(format!(
            "has more than {} MiB; hint: export a smaller picture",
            MAX_FILE >> 20
        )),
        _ => Ok(bytes),
    }
}

fn decode(bytes: &[u8]) -> Result<Frame, String> {
    let format = format_of(bytes)?;
    let (mut picture, orientation) = if format == ImageFormat::Jpeg {
        decode_jpeg(bytes)?
    } else {
        decode_other(bytes, format)?
    };
    picture.apply_orientation(orientation);
    let (width, height) = (picture.width(), picture.height());
    let (pixels, data) = if picture.color().has_color() {
        (PixelFormat::Rgb8, picture.into_rgb8().into_raw())
    } else {
        (PixelFormat::Gray8, picture.into_luma8().into_raw())
    };
    Frame::new(width, height, pixels, data)
        .map_err(|error| format!("{error}; hint: crop or scale the picture"))
}

/// What the content says, whatever the name's ending says.
fn format_of(bytes: &[u8]) -> Result<ImageFormat, String> {
    if bytes.get(128..132) == Some(b"DICM") {
        return Err(
            "is a DICOM file; hint: export the frame as PNG (for example `dcmj2pnm +on`)"
                .to_owned(),
        );
    }
    match image::guess_format(bytes) {
        Ok(format) if FORMATS.contains(&format) => Ok(format),
        Ok(other) => Err(format!(
            "is {other:?}, which is not read; hint: convert it to PNG, JPEG, BMP, TIFF or WebP"
        )),
        Err(_) => Err(
            "is no picture that is known; hint: PNG, JPEG, BMP, TIFF and WebP are read".to_owned(),
        ),
    }
}

/// By way of `zune-jpeg` itself: `image` has it paint over what is damaged.
fn decode_jpeg(bytes: &[u8]) -> Result<(DynamicImage, Orientation), String> {
    let damaged = |why: String| format!("is damaged: {why}; hint: copy the file again");
    if !matches!(jpeg::Walk::default().on(bytes), Boundary::End(_)) {
        return Err(cut_short(ImageFormat::Jpeg));
    }
    let mut decoder = jpeg::begin(bytes).map_err(damaged)?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    let (width, height) = (width as u32, height as u32);
    check_size(width, height)?;
    let gray = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => true,
        Some(ColorSpace::YCbCr | ColorSpace::RGB) => false,
        Some(ColorSpace::CMYK | ColorSpace::YCCK) => return Err(cmyk()),
        other => {
            return Err(format!(
                "holds colours that are not read ({other:?}); hint: convert it to RGB or gray"
            ));
        }
    };
    let space = if gray {
        ColorSpace::Luma
    } else {
        ColorSpace::RGB
    };
    decoder.set_options(jpeg::options().jpeg_set_out_colorspace(space));
    let data = decoder.decode().map_err(|e| damaged(jpeg::one_line(e)))?;
    let picture = if gray {
        GrayImage::from_raw(width, height, data).map(DynamicImage::from)
    } else {
        RgbImage::from_raw(width, height, data).map(DynamicImage::from)
    };
    let picture = picture.ok_or_else(|| cut_short(ImageFormat::Jpeg))?;
    let exif = decoder.exif().map(Vec::as_slice);
    let orientation = exif.and_then(Orientation::from_exif_chunk);
    Ok((picture, orientation.unwrap_or(Orientation::NoTransforms)))
}

fn decode_other(bytes: &[u8], format: ImageFormat) -> Result<(DynamicImage, Orientation), String> {
    let damaged = |error: ImageError| damaged(format, &error);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODER);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    check_colours(decoder.original_color_type(), decoder.color_type())?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    let orientation = decoder.orientation().map_err(damaged)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    Ok((picture, orientation))
}

/// Refuse what would have to be squeezed into 8-bit gray or RGB by guesswork.
fn check_colours(original: ExtendedColorType, decoded: ColorType) -> Result<(), String> {
    if matches!(
        original,
        ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16
    ) {
        return Err(cmyk());
    }
    match decoded {
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => Ok(()),
        other => Err(format!(
            "has {} bits a channel; hint: convert to 8 bits with the window (contrast range) in \
             which a person would read it",
            other.bits_per_pixel() / u16::from(other.channel_count())
        )),
    }
}

/// Before room is made: a header of a few bytes can ask for gigabytes.
fn check_size(width: u32, height: u32) -> Result<(), String> {
    let pixels = u64::from(width) * u64::from(height);
    if width > MAX_SIDE || height > MAX_SIDE || pixels > MAX_PIXELS {
        return Err(too_large(&format!("{width}x{height} pixels")));
    }
    Ok(())
}

fn cmyk() -> String {
    "holds CMYK colours; hint: convert to RGB with the colour profile that it was made in"
        .to_owned()
}

fn cut_short(format: ImageFormat) -> String {
    format!("is {format:?}, but cut short; hint: copy the file again")
}

fn too_large(what: &str) -> String {
    format!(
        "is too large ({what}): at most {MAX_SIDE} pixels a side and {} megapixels (of 2^20) are \
         read; hint: crop or scale the picture",
        MAX_PIXELS >> 20
    )
}

fn damaged(format: ImageFormat, error: &ImageError) -> String {
    match error {
        ImageError::Limits(limit) => too_large(&limit.to_string()),
        ImageError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => cut_short(format),
        ImageError::Unsupported(e) => {
            format!("uses what is not supported: {e}; hint: convert it to 8-bit PNG")
        }
        // The decoder's own words may quote what stands in the file.
        _ => "is damaged; hint: copy the file again".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::SourceErrorKind;

    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden/stills")
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
            assert_eq!(failure.kind(), SourceErrorKind::Fatal, "{name}");
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
                        assert!(failure.contains("hint:"), "{failure}");
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
}
