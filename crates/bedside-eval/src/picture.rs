//! One case as a small image: a JPEG and outlines of masks as SVG paths over it.

use std::fmt::Write;

use bedside::vision::colour::rgb_pixels;
use bedside::{ColourModel, Frame, Mask};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, RgbImage};

use crate::error::{Error, ErrorKind};
use crate::record::Record;

/// Longest side in pixels.
const MAX_SIDE: u32 = 256;
/// JPEG quality, of 100.
const QUALITY: u8 = 80;

/// A frame with the truth and the answer.
#[derive(Debug)]
pub(crate) struct CaseImage<'a> {
    pub record: &'a Record,
    /// Size of the JPEG and of the space that the paths are drawn in.
    pub size: (u32, u32),
    pub jpeg: Vec<u8>,
    /// SVG path along the edge of the true mask.
    pub truth: String,
    /// SVG path along the edge of the mask that the model drew, shown or withheld.
    pub drawn: String,
}

impl<'a> CaseImage<'a> {
    /// A frame scaled down to [`MAX_SIDE`].
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when it can't be encoded.
    pub(crate) fn new(
        record: &'a Record,
        frame: &Frame,
        truth: &Mask,
        drawn: Option<&Mask>,
    ) -> Result<Self, Error> {
        let small = thumbnail(frame).ok_or_else(|| fail("no pixels"))?;
        let size = (small.width(), small.height());
        let mut jpeg = Vec::new();
        small
            .write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, QUALITY))
            .map_err(|e| fail(&e.to_string()))?;
        let path = |mask: &Mask| outline(&reduced(mask, size), size.0);
        Ok(Self {
            record,
            size,
            jpeg,
            truth: path(truth),
            drawn: drawn.map(path).unwrap_or_default(),
        })
    }
}

fn fail(what: &str) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("an image of the page could not be made: {what}"),
    )
}

fn thumbnail(frame: &Frame) -> Option<DynamicImage> {
    let (width, height) = (frame.width(), frame.height());
    let image: DynamicImage = match frame.format().colour_model() {
        ColourModel::Gray => GrayImage::from_raw(width, height, frame.data().to_vec())?.into(),
        ColourModel::Rgb | ColourModel::Yuv => {
            let mut rgb = Vec::new();
            rgb_pixels(frame, &mut rgb);
            RgbImage::from_raw(width, height, rgb)?.into()
        }
    };
    let fits = width.max(height) <= MAX_SIDE;
    Some(if fits {
        image
    } else {
        image.resize(MAX_SIDE, MAX_SIDE, FilterType::Triangle)
    })
}

/// The mask at a smaller size; a cell is set if any of its pixels is, so that nothing vanishes.
fn reduced(mask: &Mask, (width, height): (u32, u32)) -> Vec<bool> {
    let mut cells = vec![false; width as usize * height as usize];
    let scale = |at: usize, from: u32, to: u32| at * to as usize / from as usize;
    for (y, row) in mask
        .data()
        .chunks_exact(mask.width().max(1) as usize)
        .enumerate()
    {
        let start = scale(y, mask.height(), height) * width as usize;
        for (x, _) in row.iter().enumerate().filter(|(_, v)| **v == 1) {
            if let Some(cell) = cells.get_mut(start + scale(x, mask.width(), width)) {
                *cell = true;
            }
        }
    }
    cells
}

/// Every edge between a set and an unset cell (outside counts as unset), as an SVG path.
fn outline(cells: &[bool], width: u32) -> String {
    let columns = width.max(1) as usize;
    let rows = cells.len() / columns;
    let at = |x: Option<usize>, y: Option<usize>| {
        let (Some(x), Some(y)) = (x, y) else {
            return false;
        };
        x < columns && y < rows && cells.get(y * columns + x).is_some_and(|v| *v)
    };
    let mut path = String::new();
    for y in 0..=rows {
        let edge = |x: usize| at(Some(x), y.checked_sub(1)) != at(Some(x), Some(y));
        runs(columns, edge, |x, length| {
            let _ = write!(path, "M{x} {y}h{length}");
        });
    }
    for x in 0..=columns {
        let edge = |y: usize| at(x.checked_sub(1), Some(y)) != at(Some(x), Some(y));
        runs(rows, edge, |y, length| {
            let _ = write!(path, "M{x} {y}v{length}");
        });
    }
    path
}

/// Call `found(start, length)` for each run of places below `n` that hold.
fn runs(n: usize, holds: impl Fn(usize) -> bool, mut found: impl FnMut(usize, usize)) {
    let mut start = None;
    for i in 0..=n {
        match (start, i < n && holds(i)) {
            (None, true) => start = Some(i),
            (Some(from), false) => {
                found(from, i - from);
                start = None;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use bedside::PixelFormat;

    use super::*;
    use crate::metrics::tests::record;

    #[test]
    fn an_outline_runs_along_the_pixels_edges() {
        // A 2x1 block at column 1 of the upper row.
        let cells = [false, true, true, false, false, false, false, false];
        assert_eq!(outline(&cells, 4), "M1 0h2M1 1h2M1 0v1M3 0v1");
        assert_eq!(outline(&[false; 4], 2), "");
        assert_eq!(outline(&[true], 1), "M0 0h1M0 1h1M0 0v1M1 0v1");
    }

    #[test]
    fn a_single_pixel_survives_the_reduction() {
        let mut data = vec![0; 1000 * 500];
        data[499 * 1000 + 999] = 1;
        let mask = Mask::from_bytes(1000, 500, data).unwrap();
        let cells = reduced(&mask, (256, 128));
        let set: Vec<usize> = (0..cells.len()).filter(|i| cells[*i]).collect();
        assert_eq!(set, [256 * 128 - 1]);
    }

    #[test]
    fn large_frames_become_small_jpegs_of_the_same_shape() {
        let record = record(1, "p", Some(0.5), true, &[]);
        let frame = Frame::new(640, 320, PixelFormat::Rgb8, vec![90; 640 * 320 * 3]).unwrap();
        let mask = Mask::from_bytes(640, 320, vec![1; 640 * 320]).unwrap();
        let picture = CaseImage::new(&record, &frame, &mask, None).unwrap();
        assert_eq!(picture.size, (256, 128));
        let decoded = image::load_from_memory(&picture.jpeg).unwrap();
        assert_eq!((decoded.width(), decoded.height()), (256, 128));
        assert_eq!(picture.truth, "M0 0h256M0 128h256M0 0v128M256 0v128");
        assert_eq!(picture.drawn, "");
        let gray = Frame::new(40, 30, PixelFormat::Gray8, vec![9; 1200]).unwrap();
        let truth = Mask::empty(40, 30);
        assert_eq!(
            CaseImage::new(&record, &gray, &truth, None).unwrap().size,
            (40, 30)
        );
    }

    proptest! {
        #[test]
        fn edges_are_as_long_as_the_cells_borders(cells in prop::collection::vec(any::<bool>(), 24)) {
            let (columns, rows) = (6_i32, 4_i32);
            let at = |x: i32, y: i32| {
                (0..columns).contains(&x) && (0..rows).contains(&y) && cells[(y * columns + x) as usize]
            };
            let mut border = 0;
            for y in 0..rows {
                for x in 0..columns {
                    let around = [(x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)];
                    border += around.iter().filter(|(a, b)| at(x, y) && !at(*a, *b)).count();
                }
            }
            let path = outline(&cells, 6);
            let drawn: usize = path
                .split(['h', 'v'])
                .skip(1)
                .map(|s| s.split('M').next().unwrap().parse::<usize>().unwrap())
                .sum();
            prop_assert_eq!(drawn, border);
        }
    }
}
