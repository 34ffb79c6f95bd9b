//! From a frame to an encoder's input, and back.

use bedside_core::{Frame, Mask};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::colour::rgb_pixels;
use crate::letterbox::Letterbox;
use crate::mask::{self, MaskStats};

/// Kernel of the resize to the encoder's input; both widen when shrinking (antialias).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResizeFilter {
    /// Triangle, as Pillow's BILINEAR.
    Bilinear,
    /// Catmull-Rom with a = -0.5, as Pillow's BICUBIC.
    Bicubic,
}

/// Turns frames into the encoder's input, and the decoder's logits into masks at the size of the
/// frame that was turned last. Keeps its buffers from frame to frame.
#[derive(Debug)]
pub struct Preprocessor {
    side: u32,
    /// For each channel: factor and offset of `value * factor + offset`.
    scale: [(f32, f32); 3],
    options: ResizeOptions,
    resizer: Resizer,
    rgb: Vec<u8>,
    square: Vec<u8>,
    small: Image<'static>,
}

impl Preprocessor {
    /// For an encoder of input `[1,3,side,side]`; mean and standard deviation of red, green and
    /// blue are on the scale 0 to 255.
    pub fn new(side: u32, mean: [f32; 3], std: [f32; 3], filter: ResizeFilter) -> Self {
        let filter = match filter {
            ResizeFilter::Bilinear => FilterType::Bilinear,
            ResizeFilter::Bicubic => FilterType::CatmullRom,
        };
        let [r, g, b] = [0, 1, 2].map(|c: usize| {
            let at = |values: &[f32; 3]| values.get(c).copied().unwrap_or(1.0);
            (1.0 / at(&std), -at(&mean) / at(&std))
        });
        Self {
            side,
            scale: [r, g, b],
            options: ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)),
            resizer: Resizer::new(),
            rgb: Vec::new(),
            square: Vec::new(),
            small: Image::new(side, side, PixelType::U8x3),
        }
    }

    /// Fill `out` with f32 `[3, side, side]`: RGB, padded to a square with black, resized,
    /// normalised. With `transpose` rows and columns change places.
    pub fn run(&mut self, frame: &Frame, transpose: bool, out: &mut Vec<f32>) -> Letterbox {
        rgb_pixels(frame, &mut self.rgb);
        let letterbox = Letterbox::new(frame.width(), frame.height(), transpose);
        let square = letterbox.square();
        let source = if frame.width() == frame.height() {
            &self.rgb
        } else {
            pad(&self.rgb, &letterbox, &mut self.square);
            &self.square
        };
        // Both images have the sizes they are made for, so neither call can fail; if one did,
        // the input would stay black, which is seen as an empty frame.
        if let Ok(source) = ImageRef::new(square, square, source, PixelType::U8x3) {
            let _ = self.resizer.resize(&source, &mut self.small, &self.options);
        }
        normalise(
            self.small.buffer(),
            self.side as usize,
            &self.scale,
            transpose,
            out,
        );
        letterbox
    }

    /// Mask and statistics from one prompt's logits, row-major `(rows, columns)` over the square:
    /// exactly the crop of their bilinear enlargement (half-pixel centres) to the frame's size,
    /// set where above `threshold`.
    ///
    /// The frame's colours are those of the last [`run`](Self::run).
    pub fn mask(
        &self,
        logits: &[f32],
        size: (usize, usize),
        letterbox: &Letterbox,
        threshold: f32,
    ) -> (Mask, MaskStats) {
        mask::from_logits(logits, size, letterbox, threshold, &self.rgb)
    }

    /// One prompt's logits at the frame's own size, row-major.
    pub fn logits(&self, logits: &[f32], size: (usize, usize), letterbox: &Letterbox) -> Vec<f32> {
        let mut out = Vec::with_capacity(letterbox.width() as usize * letterbox.height() as usize);
        mask::rows(
            logits,
            size,
            letterbox,
            f32::NEG_INFINITY,
            |_, row| match row {
                Some(row) => out.extend_from_slice(row),
                None => out.resize(out.len() + letterbox.width() as usize, f32::NEG_INFINITY),
            },
        );
        out
    }

    /// Statistics of a mask whose logits are known at the frame's own size.
    pub fn stats(&self, mask: &Mask, frame_logits: &[f32]) -> MaskStats {
        mask::stats(mask, frame_logits, &self.rgb)
    }
}

/// Copy the frame's RGB pixels into a black square.
fn pad(rgb: &[u8], letterbox: &Letterbox, square: &mut Vec<u8>) {
    let side = letterbox.square() as usize;
    let width = letterbox.width() as usize;
    square.clear();
    square.resize(side * side * 3, 0);
    let rows = square
        .chunks_exact_mut(side * 3)
        .skip(letterbox.top() as usize);
    for (to, from) in rows.zip(rgb.chunks_exact(width * 3)) {
        let left = letterbox.left() as usize * 3;
        if let Some(to) = to.get_mut(left..left + width * 3) {
            to.copy_from_slice(from);
        }
    }
}

/// Interleaved bytes to normalised planes.
fn normalise(
    rgb: &[u8],
    side: usize,
    scale: &[(f32, f32); 3],
    transpose: bool,
    out: &mut Vec<f32>,
) {
    out.clear();
    out.resize(3 * side * side, 0.0);
    for (c, (plane, (factor, offset))) in out.chunks_exact_mut(side * side).zip(scale).enumerate() {
        let values = rgb
            .iter()
            .skip(c)
            .step_by(3)
            .map(|v| f32::from(*v) * factor + offset);
        if transpose {
            for (i, value) in values.enumerate() {
                if let Some(to) = plane.get_mut(i % side * side + i / side) {
                    *to = value;
                }
            }
        } else {
            for (to, value) in plane.iter_mut().zip(values) {
                *to = value;
            }
        }
    }
}
