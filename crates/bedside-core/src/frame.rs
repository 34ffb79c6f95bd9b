//! Pictures in the pixel formats that cameras give.

use std::fmt;

use crate::time::Timestamp;

/// Longest side of a frame in pixels. Bounds memory: an RGB frame is at most 768 MiB.
pub const MAX_SIDE: u32 = 16_384;

/// How the bytes of a [`Frame`] are laid out. Rows are tightly packed; chroma planes of odd
/// sizes are rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

impl PixelFormat {
    /// Bytes of a `width` x `height` frame.
    pub const fn byte_len(self, width: u32, height: u32) -> usize {
        let (w, h) = (width as usize, height as usize);
        let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
        match self {
            Self::Rgb8 => w * h * 3,
            Self::Gray8 => w * h,
            Self::Nv12 | Self::I420 => w * h + 2 * cw * ch,
            Self::Yuyv => cw * 4 * h,
        }
    }
}

/// What Y, U and V mean in a frame of a YUV format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
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

/// A picture with its size, pixel format and moment of capture.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    width: u32,
    height: u32,
    format: PixelFormat,
    yuv: YuvSpace,
    captured: Timestamp,
    data: Vec<u8>,
}

impl Frame {
    /// A frame from tightly packed bytes (see [`PixelFormat`]), captured at time zero.
    ///
    /// # Errors
    /// When a side is 0 or above [`MAX_SIDE`], or `data` has not the length that size and
    /// format ask for.
    pub fn new(
        width: u32,
        height: u32,
        format: PixelFormat,
        data: Vec<u8>,
    ) -> Result<Self, FrameError> {
        check_size(width, height)?;
        let expected = format.byte_len(width, height);
        if data.len() != expected {
            return Err(FrameError::Length {
                width,
                height,
                format,
                expected,
                actual: data.len(),
            });
        }
        Ok(Self {
            width,
            height,
            format,
            yuv: YuvSpace::default(),
            captured: Timestamp::default(),
            data,
        })
    }

    /// The same frame with the meaning of its YUV values told.
    #[must_use]
    pub fn with_yuv_space(mut self, yuv: YuvSpace) -> Self {
        self.yuv = yuv;
        self
    }

    /// The same frame with its moment of capture told.
    #[must_use]
    pub fn captured_at(mut self, at: Timestamp) -> Self {
        self.captured = at;
        self
    }

    /// Width in pixels, 1 to [`MAX_SIDE`].
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, 1 to [`MAX_SIDE`].
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Layout of [`data`](Self::data).
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Meaning of the YUV values; of no account in RGB and gray frames.
    pub fn yuv_space(&self) -> YuvSpace {
        self.yuv
    }

    /// Moment of capture.
    pub fn captured(&self) -> Timestamp {
        self.captured
    }

    /// The bytes, of length [`PixelFormat::byte_len`].
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The bytes, for reuse of the buffer.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Frame({}x{} {:?} at {:?})",
            self.width, self.height, self.format, self.captured
        )
    }
}

/// Check a frame size before anything of that size is allocated.
///
/// # Errors
/// When a side is 0 or above [`MAX_SIDE`].
pub fn check_size(width: u32, height: u32) -> Result<(), FrameError> {
    if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
        return Err(FrameError::Size { width, height });
    }
    Ok(())
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// A side is 0 or above [`MAX_SIDE`].
    Size {
        /// Width asked for.
        width: u32,
        /// Height asked for.
        height: u32,
    },
    /// The number of bytes does not fit size and format.
    Length {
        /// Width asked for.
        width: u32,
        /// Height asked for.
        height: u32,
        /// Pixel format asked for.
        format: PixelFormat,
        /// Bytes that a frame of that size and format has.
        expected: usize,
        /// Bytes that were given.
        actual: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { width, height } => {
                write!(
                    f,
                    "a frame of {width}x{height} pixels: sides must be 1 to {MAX_SIDE}"
                )
            }
            Self::Length {
                width,
                height,
                format,
                expected,
                actual,
            } => write!(
                f,
                "a {width}x{height} {format:?} frame has {expected} bytes, but {actual} were given"
            ),
        }
    }
}

impl std::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_lengths_round_chroma_up() {
        assert_eq!(PixelFormat::Rgb8.byte_len(3, 3), 27);
        assert_eq!(PixelFormat::Gray8.byte_len(3, 3), 9);
        assert_eq!(PixelFormat::Nv12.byte_len(3, 3), 9 + 8);
        assert_eq!(PixelFormat::I420.byte_len(4, 2), 8 + 4);
        assert_eq!(PixelFormat::Yuyv.byte_len(3, 2), 16);
    }

    #[test]
    fn wrong_sizes_are_refused_with_the_numbers() {
        let short = Frame::new(4, 4, PixelFormat::Rgb8, vec![0; 47]).unwrap_err();
        assert!(short.to_string().contains("48") && short.to_string().contains("47"));
        assert!(Frame::new(0, 4, PixelFormat::Gray8, vec![]).is_err());
        assert!(Frame::new(MAX_SIDE + 1, 1, PixelFormat::Gray8, vec![]).is_err());
    }
}
