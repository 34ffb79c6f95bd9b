//! Still pictures in and out.

use std::path::Path;

use bedside::vision::colour::rgb_pixels;
use bedside::{Frame, Mask, PixelFormat};
use bedside_video::still;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::failure::{Exit, Failure};

/// As [`still::read`]; every failure is an [`Exit::Input`] that names the file.
pub(crate) fn read(path: &Path) -> Result<Frame, Failure> {
    still::read(path).map_err(|error| Failure::new(Exit::Input, error.to_string()))
}

/// A PNG of gray or RGB pixels, row by row.
pub(crate) fn png(
    width: u32,
    height: u32,
    format: PixelFormat,
    data: &[u8],
) -> Result<Vec<u8>, Failure> {
    let colour = if format == PixelFormat::Gray8 {
        ExtendedColorType::L8
    } else {
        ExtendedColorType::Rgb8
    };
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(data, width, height, colour)
        .map_err(|e| Failure::new(Exit::Internal, format!("could not encode a PNG: {e}")))?;
    Ok(bytes)
}

/// A frame as a PNG: gray where it is, else RGB.
pub(crate) fn frame_png(frame: &Frame) -> Result<Vec<u8>, Failure> {
    let (width, height) = (frame.width(), frame.height());
    match frame.format() {
        format @ (PixelFormat::Gray8 | PixelFormat::Rgb8) => {
            png(width, height, format, frame.data())
        }
        _ => {
            let mut rgb = Vec::new();
            rgb_pixels(frame, &mut rgb);
            png(width, height, PixelFormat::Rgb8, &rgb)
        }
    }
}

/// A mask as a gray PNG: 0 outside, 255 inside.
pub(crate) fn mask_png(mask: &Mask) -> Result<Vec<u8>, Failure> {
    let data: Vec<u8> = mask.data().iter().map(|v| v * 255).collect();
    png(mask.width(), mask.height(), PixelFormat::Gray8, &data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn png_gives_back_what_went_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.png");
        let decoded = |png: Vec<u8>| {
            std::fs::write(&path, png).unwrap();
            read(&path).unwrap()
        };
        let rgb: Vec<u8> = (0..60).collect();
        let frame = decoded(png(5, 4, PixelFormat::Rgb8, &rgb).unwrap());
        assert_eq!(
            (frame.width(), frame.format(), frame.data()),
            (5, PixelFormat::Rgb8, &*rgb)
        );
        let mask = Mask::from_bytes(2, 2, vec![0, 1, 1, 0]).unwrap();
        let frame = decoded(mask_png(&mask).unwrap());
        assert_eq!(
            (frame.format(), frame.data()),
            (PixelFormat::Gray8, &[0, 255, 255, 0][..])
        );
    }
}
