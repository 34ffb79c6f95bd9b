//! How the bytes of frames are laid out, in one place for all that read or write pixels.

use serde::{Deserialize, Serialize};

/// How the bytes of a frame are laid out. Chroma planes of odd sizes are rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PixelFormat {
    /// Interleaved red, green, blue: 3 bytes a pixel.
    Rgb8,
    /// One luminance byte a pixel, full range.
    Gray8,
    /// A plane of Y, then a half-size plane of interleaved U, V.
    Nv12,
    /// A plane of Y, then a half-size plane of U, then one of V.
    I420,
    /// Y0 U Y1 V for each two pixels of a row.
    Yuyv,
}

/// What the components of a [`PixelFormat`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColourModel {
    /// One: luminance in full range.
    Gray,
    /// Three: red, green, blue.
    Rgb,
    /// Three: Y, U, V, which a [`YuvSpace`] gives a meaning.
    Yuv,
}

/// Size of one plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PlaneSize {
    /// Bytes of a row, without padding.
    pub row: usize,
    /// Number of rows.
    pub rows: usize,
}

impl PlaneSize {
    /// Bytes of the plane without padding.
    pub const fn byte_len(self) -> usize {
        self.row * self.rows
    }
}

/// Where the samples of one component lie. Sample `(x, y)` of the component is byte
/// `offset + x * step` of row `y` of the plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Component {
    /// Index of the plane.
    pub plane: usize,
    /// Bytes in a row before the first sample.
    pub offset: usize,
    /// Bytes from one sample to the next.
    pub step: usize,
    /// Binary logarithm of the columns of pixels that share a sample: 0 or 1.
    pub column_shift: u32,
    /// Binary logarithm of the rows of pixels that share a sample: 0 or 1.
    pub row_shift: u32,
}

impl Component {
    const fn full(offset: usize, step: usize) -> Self {
        Self {
            plane: 0,
            offset,
            step,
            column_shift: 0,
            row_shift: 0,
        }
    }

    const fn chroma(plane: usize, offset: usize, step: usize, row_shift: u32) -> Self {
        Self {
            plane,
            offset,
            step,
            column_shift: 1,
            row_shift,
        }
    }
}

/// Reads a row of a YUV frame; see [`FrameView::yuv_row`](crate::FrameView::yuv_row).
pub trait YuvRowReader {
    /// `pairs` gives `[y0, y1, u, v]` for each two pixels from left to right. The last `y1` of a
    /// row of odd width is not a pixel.
    fn read(self, pairs: impl Iterator<Item = [u8; 4]>);
}

impl PixelFormat {
    /// What the components are.
    pub const fn colour_model(self) -> ColourModel {
        match self {
            Self::Gray8 => ColourModel::Gray,
            Self::Rgb8 => ColourModel::Rgb,
            Self::Nv12 | Self::I420 | Self::Yuyv => ColourModel::Yuv,
        }
    }

    /// The components in the order of the [`colour_model`](Self::colour_model).
    pub const fn components(self) -> &'static [Component] {
        const GRAY: [Component; 1] = [Component::full(0, 1)];
        const RGB: [Component; 3] = [
            Component::full(0, 3),
            Component::full(1, 3),
            Component::full(2, 3),
        ];
        const NV12: [Component; 3] = [
            Component::full(0, 1),
            Component::chroma(1, 0, 2, 1),
            Component::chroma(1, 1, 2, 1),
        ];
        const I420: [Component; 3] = [
            Component::full(0, 1),
            Component::chroma(1, 0, 1, 1),
            Component::chroma(2, 0, 1, 1),
        ];
        const YUYV: [Component; 3] = [
            Component::full(0, 2),
            Component::chroma(0, 1, 4, 0),
            Component::chroma(0, 3, 4, 0),
        ];
        match self {
            Self::Rgb8 => &RGB,
            Self::Gray8 => &GRAY,
            Self::Nv12 => &NV12,
            Self::I420 => &I420,
            Self::Yuyv => &YUYV,
        }
    }

    /// Number of planes, 1 to 3.
    pub const fn plane_count(self) -> usize {
        match self {
            Self::Rgb8 | Self::Gray8 | Self::Yuyv => 1,
            Self::Nv12 => 2,
            Self::I420 => 3,
        }
    }

    /// Sizes of the planes of a `width` x `height` frame; those that the format does not have are
    /// empty.
    pub const fn planes(self, width: u32, height: u32) -> [PlaneSize; 3] {
        const NONE: PlaneSize = plane(0, 0);
        const fn plane(row: usize, rows: usize) -> PlaneSize {
            PlaneSize { row, rows }
        }
        let (width, rows) = (width as usize, height as usize);
        let (half, half_rows) = (width.div_ceil(2), rows.div_ceil(2));
        match self {
            Self::Rgb8 => [plane(3 * width, rows), NONE, NONE],
            Self::Gray8 => [plane(width, rows), NONE, NONE],
            Self::Nv12 => [plane(width, rows), plane(2 * half, half_rows), NONE],
            Self::I420 => {
                let chroma = plane(half, half_rows);
                [plane(width, rows), chroma, chroma]
            }
            Self::Yuyv => [plane(4 * half, rows), NONE, NONE],
        }
    }

    /// Bytes of a `width` x `height` frame whose rows and planes are tightly packed.
    pub const fn byte_len(self, width: u32, height: u32) -> usize {
        let [first, second, third] = self.planes(width, height);
        first.byte_len() + second.byte_len() + third.byte_len()
    }
}

/// What Y, U and V mean in a frame of a YUV format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum YuvSpace {
    /// ITU-R BT.601, 16 to 235: webcams and standard-definition capture.
    #[default]
    Bt601Limited,
    /// ITU-R BT.601, 0 to 255: MJPEG cameras.
    Bt601Full,
    /// ITU-R BT.709, 16 to 235: HDMI and SDI capture of 720 lines and more.
    Bt709Limited,
    /// ITU-R BT.709, 0 to 255.
    Bt709Full,
}

impl YuvSpace {
    /// What red and blue count for in luma (ITU-R BT.601-7 and BT.709-6); green counts the rest
    /// of 1.
    pub const fn luma_weights(self) -> (f64, f64) {
        match self {
            Self::Bt601Limited | Self::Bt601Full => (0.299, 0.114),
            Self::Bt709Limited | Self::Bt709Full => (0.2126, 0.0722),
        }
    }

    /// Whether luma and chroma reach from 0 to 255.
    pub const fn is_full_range(self) -> bool {
        matches!(self, Self::Bt601Full | Self::Bt709Full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [PixelFormat; 5] = [
        PixelFormat::Rgb8,
        PixelFormat::Gray8,
        PixelFormat::Nv12,
        PixelFormat::I420,
        PixelFormat::Yuyv,
    ];

    #[test]
    fn byte_lengths_round_chroma_up() {
        assert_eq!(PixelFormat::Rgb8.byte_len(3, 3), 27);
        assert_eq!(PixelFormat::Gray8.byte_len(3, 3), 9);
        assert_eq!(PixelFormat::Nv12.byte_len(3, 3), 9 + 8);
        assert_eq!(PixelFormat::I420.byte_len(4, 2), 8 + 4);
        assert_eq!(PixelFormat::Yuyv.byte_len(3, 2), 16);
    }

    /// Every byte of every plane is the sample of one component, but for the luma beside the last
    /// pixel of an odd row of YUYV.
    #[test]
    fn components_fill_the_planes_and_do_not_overlap() {
        for format in ALL {
            for (width, height) in [(4_usize, 4_usize), (5, 3), (1, 1)] {
                let planes = format.planes(width as u32, height as u32);
                let mut used: Vec<Vec<u32>> =
                    planes.iter().map(|size| vec![0; size.byte_len()]).collect();
                for component in format.components() {
                    for y in 0..height.div_ceil(1 << component.row_shift) {
                        for x in 0..width.div_ceil(1 << component.column_shift) {
                            let row = y * planes[component.plane].row;
                            let at = row + component.offset + x * component.step;
                            used[component.plane][at] += 1;
                        }
                    }
                }
                let of = |times| used.iter().flatten().filter(|n| **n == times).count();
                let spare = if format == PixelFormat::Yuyv {
                    width % 2 * height
                } else {
                    0
                };
                assert_eq!(of(0), spare, "{format:?}");
                assert_eq!(of(1) + spare, format.byte_len(width as u32, height as u32));
            }
        }
    }
}
