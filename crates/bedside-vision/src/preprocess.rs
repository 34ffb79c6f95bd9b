//! From a frame to an encoder's input, and back.

use bedside_core::FrameView;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use crate::colour::rgb_pixels;
use crate::letterbox::Letterbox;

/// Kernel of the resize to the encoder's input; both widen when shrinking (antialias).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResizeFilter {
    /// Triangle, as Pillow's BILINEAR.
    Bilinear,
    /// Catmull-Rom with a = -0.5, as Pillow's BICUBIC.
    Bicubic,
}

/// Converts frames to the encoder's input, and the decoder's logits into masks at the size of the
/// frame of the last [`run`](Self::run). Keeps its buffers from frame to frame.
#[derive(Debug)]
pub struct Preprocessor {
    side: u32,
    /// For each channel: factor and offset of `value * factor + offset`.
    scale: [(f32, f32); 3],
    options: ResizeOptions,
    resizer: Resizer,
    rgb: Vec<u8>,
    /// The frame with padding at the sides, when it has any.
    square: Vec<u8>,
    /// The padded square after the pass across.
    narrow: Vec<u8>,
    small: Vec<u8>,
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
            // An empty input would leave nothing to divide the square by.
            side: side.max(1),
            scale: [r, g, b],
            options: ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)),
            resizer: Resizer::new(),
            rgb: Vec::new(),
            square: Vec::new(),
            narrow: Vec::new(),
            small: vec![0; side.max(1) as usize * side.max(1) as usize * 3],
        }
    }

    /// Fill `out` with f32 `[3, side, side]`: RGB, padded to a square with black, resized,
    /// normalised. With `transpose` rows and columns change places.
    pub fn run<'a>(
        &mut self,
        frame: impl Into<FrameView<'a>>,
        transpose: bool,
        out: &mut Vec<f32>,
    ) -> Letterbox {
        let frame = frame.into();
        rgb_pixels(frame, &mut self.rgb);
        let letterbox = Letterbox::new(frame.width(), frame.height(), transpose);
        self.resize(&letterbox);
        normalise(&self.small, self.side as usize, &self.scale, transpose, out);
        letterbox
    }

    /// Pad and resize into `small`: across, then down, which is Pillow's order.
    ///
    /// Padding above and below goes in between the passes, so that no black row is resized.
    fn resize(&mut self, letterbox: &Letterbox) {
        let (width, height, square) = (letterbox.width(), letterbox.height(), letterbox.square());
        let side = self.side;
        let bytes = |width: u32, height: u32| width as usize * height as usize * 3;
        let (source, from_width) = if width < square {
            pad(&self.rgb, letterbox, &mut self.square);
            (&self.square, square)
        } else {
            (&self.rgb, width)
        };
        self.narrow.clear();
        self.narrow.resize(bytes(side, square), 0);
        let rows = bytes(side, letterbox.top());
        let narrow = self.narrow.get_mut(rows..rows + bytes(side, height));
        convolve(
            &mut self.resizer,
            &self.options,
            (source, from_width, height),
            (narrow.unwrap_or_default(), side, height),
        );
        convolve(
            &mut self.resizer,
            &self.options,
            (&self.narrow, side, square),
            (self.small.as_mut_slice(), side, side),
        );
    }

    /// Exchange the frame's interleaved RGB pixels for another buffer: whoever makes masks of a
    /// frame after the next one was prepared keeps them.
    pub fn swap_rgb(&mut self, rgb: &mut Vec<u8>) {
        std::mem::swap(&mut self.rgb, rgb);
    }
}

/// Resize interleaved RGB pixels, given with their width and height.
#[expect(
    clippy::expect_used,
    reason = "the buffers are sized by these very numbers; a stale frame would be worse"
)]
pub(crate) fn convolve(
    resizer: &mut Resizer,
    options: &ResizeOptions,
    from: (&[u8], u32, u32),
    to: (&mut [u8], u32, u32),
) {
    let from = TypedImageRef::<U8x3>::from_buffer(from.1, from.2, from.0).expect("a whole source");
    let mut to = TypedImage::from_buffer(to.1, to.2, to.0).expect("a whole target");
    // Of this one pixel type: the crate compiles every filter for each type that may occur.
    resizer
        .resize_typed(&from, &mut to, options)
        .expect("nothing is cropped");
}

/// Copy the frame's RGB pixels between black columns.
fn pad(rgb: &[u8], letterbox: &Letterbox, padded: &mut Vec<u8>) {
    let (width, row) = (
        letterbox.width() as usize * 3,
        letterbox.square() as usize * 3,
    );
    let left = letterbox.left() as usize * 3;
    padded.clear();
    padded.resize(row * letterbox.height() as usize, 0);
    for (to, from) in padded.chunks_exact_mut(row).zip(rgb.chunks_exact(width)) {
        if let Some(to) = to.get_mut(left..left + width) {
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
        let values = |first: usize, step: usize| {
            let bytes = rgb.iter().skip(first * 3 + c).step_by(step * 3);
            bytes.map(move |v| f32::from(*v) * factor + offset)
        };
        if transpose {
            for (x, row) in plane.chunks_exact_mut(side).enumerate() {
                for (to, value) in row.iter_mut().zip(values(x, side)) {
                    *to = value;
                }
            }
        } else {
            for (to, value) in plane.iter_mut().zip(values(0, 1)) {
                *to = value;
            }
        }
    }
}
