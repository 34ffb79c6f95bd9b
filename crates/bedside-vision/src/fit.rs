//! A frame as large as something that shows it.

use bedside_core::FrameView;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use crate::colour::rgb_pixels;
use crate::preprocess::convolve;

/// Where a picture lies on a display, in the display's pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Columns left of it.
    pub left: u32,
    /// Rows above it.
    pub top: u32,
    /// Its width, 1 or more.
    pub width: u32,
    /// Its height, 1 or more.
    pub height: u32,
}

impl Placement {
    /// A picture of this width and height as large as a display allows, in its own shape and in the middle.
    pub fn within((width, height): (u32, u32), (wide, high): (u32, u32)) -> Self {
        let scaled = |side: u32, by: u32, of: u32, most: u32| {
            let of = u64::from(of.max(1));
            let side = (u64::from(side) * u64::from(by) + of / 2) / of;
            u32::try_from(side).unwrap_or(most).clamp(1, most.max(1))
        };
        let flat = u64::from(width) * u64::from(high) >= u64::from(height) * u64::from(wide);
        let (width, height) = if flat {
            (wide.max(1), scaled(height, wide, width, high))
        } else {
            (scaled(width, high, height, wide), high.max(1))
        };
        Self {
            left: wide.saturating_sub(width) / 2,
            top: high.saturating_sub(height) / 2,
            width,
            height,
        }
    }
}

/// Scales frames. Keeps its buffers from frame to frame.
#[derive(Debug)]
pub struct Fit {
    options: ResizeOptions,
    resizer: Resizer,
    rgb: Vec<u8>,
    fitted: Vec<u8>,
}

impl Default for Fit {
    fn default() -> Self {
        let filter = ResizeAlg::Convolution(FilterType::Bilinear);
        Self {
            options: ResizeOptions::new().resize_alg(filter),
            resizer: Resizer::new(),
            rgb: Vec::new(),
            fitted: Vec::new(),
        }
    }
}

impl Fit {
    /// The frame as tightly packed RGB of this width and height, which are 1 or more; smoothed where it
    /// shrinks.
    pub fn run<'a>(&mut self, frame: impl Into<FrameView<'a>>, width: u32, height: u32) -> &[u8] {
        let frame = frame.into();
        rgb_pixels(frame, &mut self.rgb);
        if (frame.width(), frame.height()) == (width, height) {
            return &self.rgb;
        }
        self.fitted.resize(width as usize * height as usize * 3, 0);
        convolve(
            &mut self.resizer,
            &self.options,
            (&self.rgb, frame.width(), frame.height()),
            (&mut self.fitted, width, height),
        );
        &self.fitted
    }
}
