//! Frames: pixels with their size, format and time of capture, owned or borrowed.

use std::fmt;

use crate::pixels::{Component, PixelFormat, PlaneSize, YuvRowReader, YuvSpace};
use crate::time::Timestamp;

/// Longest side of a frame in pixels.
pub const MAX_SIDE: u32 = 16_384;

/// Most pixels of a frame, which bounds its memory: 192 MiB as RGB.
pub const MAX_PIXELS: u64 = 64 << 20;

/// A frame in memory of its own, rows and planes tightly packed.
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
    /// When [`check_size`] refuses the size, or `data` has not the length that size and
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

    /// The same frame with this meaning of its YUV values.
    #[must_use]
    pub fn with_yuv_space(mut self, yuv: YuvSpace) -> Self {
        self.yuv = yuv;
        self
    }

    /// The same frame with this time of capture.
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

    /// Layout of the pixels.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Meaning of the YUV values; ignored in RGB and gray frames.
    pub fn yuv_space(&self) -> YuvSpace {
        self.yuv
    }

    /// Time of capture.
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

    /// The frame as all that reads pixels takes it.
    pub fn view(&self) -> FrameView<'_> {
        self.into()
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

/// One plane of a [`FrameView`]: rows of bytes, one every `stride` bytes.
#[derive(Clone, Copy, Default)]
pub struct Plane<'a> {
    data: &'a [u8],
    stride: usize,
    size: PlaneSize,
}

impl<'a> Plane<'a> {
    /// Bytes of a row and number of rows.
    pub fn size(&self) -> PlaneSize {
        self.size
    }

    /// Bytes from the start of one row to that of the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Row `y` without padding; empty beyond the last.
    #[inline]
    pub fn row(&self, y: usize) -> &'a [u8] {
        let start = y.saturating_mul(self.stride);
        self.data
            .get(start..start.saturating_add(self.size.row))
            .filter(|_| y < self.size.rows)
            .unwrap_or_default()
    }

    /// The rows from top to bottom, without padding.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let row = self.size.row;
        // The last row's padding need not be there, so the last chunk may be shorter.
        let rows = self.data.chunks(self.stride.max(1)).take(self.size.rows);
        rows.map(move |padded| padded.get(..row).unwrap_or_default())
    }

    /// All rows at once, where there is no padding between them.
    pub fn packed(&self) -> Option<&'a [u8]> {
        let packed = self.stride == self.size.row;
        packed.then(|| self.data.get(..self.size.byte_len()))?
    }
}

impl fmt::Debug for Plane<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PlaneSize { row, rows, .. } = self.size;
        write!(f, "Plane({rows} rows of {row} every {} bytes)", self.stride)
    }
}

/// A frame in memory that somebody else owns, such as a driver's buffer, an OpenCV matrix or a
/// GStreamer map: planes where they lie, rows as far apart as they are. Nothing is copied.
///
/// ```
/// use bedside_core::{FrameView, PixelFormat};
///
/// // Two rows of three pixels, each row padded to four bytes.
/// let buffer = [1, 2, 3, 0, 4, 5, 6, 0];
/// let view = FrameView::new(3, 2, PixelFormat::Gray8, &[(&buffer, 4)])?;
/// assert_eq!(view.to_frame().data(), [1, 2, 3, 4, 5, 6]);
/// # Ok::<(), bedside_core::FrameError>(())
/// ```
#[derive(Clone, Copy)]
pub struct FrameView<'a> {
    width: u32,
    height: u32,
    format: PixelFormat,
    yuv: YuvSpace,
    captured: Timestamp,
    planes: [Plane<'a>; 3],
}

impl<'a> FrameView<'a> {
    /// A frame whose planes lie anywhere: for each its bytes, from the first pixel on, and its
    /// stride in bytes. The padding of a plane's last row may be missing. Captured at time zero.
    ///
    /// # Errors
    /// When [`check_size`] refuses the size, the format has another number of planes, a stride
    /// is shorter than a row, or a plane's bytes end before its last pixel.
    pub fn new(
        width: u32,
        height: u32,
        format: PixelFormat,
        planes: &[(&'a [u8], usize)],
    ) -> Result<Self, FrameError> {
        check_size(width, height)?;
        if planes.len() != format.plane_count() {
            return Err(FrameError::Planes {
                format,
                expected: format.plane_count(),
                actual: planes.len(),
            });
        }
        let mut view = Self {
            width,
            height,
            format,
            yuv: YuvSpace::default(),
            captured: Timestamp::default(),
            planes: [Plane::default(); 3],
        };
        let sizes = format.planes(width, height);
        for (index, ((plane, size), (data, stride))) in
            view.planes.iter_mut().zip(sizes).zip(planes).enumerate()
        {
            let (data, stride) = (*data, *stride);
            if stride < size.row {
                return Err(FrameError::Stride {
                    plane: index,
                    stride,
                    row: size.row,
                });
            }
            let expected = (size.rows - 1)
                .saturating_mul(stride)
                .saturating_add(size.row);
            let enough = data.get(..expected);
            let data = enough.ok_or(FrameError::PlaneLength {
                plane: index,
                expected,
                actual: data.len(),
            })?;
            *plane = Plane { data, stride, size };
        }
        Ok(view)
    }

    /// A frame whose planes follow one another in one buffer, all with the padding that `stride`
    /// bytes a row leave in the first. A chroma plane has the stride of its share of a row, as
    /// V4L2's single-planar formats have it. The padding of the last row may be missing.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_buffer(
        width: u32,
        height: u32,
        format: PixelFormat,
        buffer: &'a [u8],
        stride: usize,
    ) -> Result<Self, FrameError> {
        check_size(width, height)?;
        let mut rest = buffer;
        let mut planes = [(rest, 0); 3];
        let sizes = format.planes(width, height);
        for (index, (plane, size)) in planes.iter_mut().zip(sizes).enumerate() {
            let component = format.components().iter().find(|c| c.plane == index);
            let stride = match component {
                Some(c) if index > 0 => {
                    let samples = stride.div_ceil(1 << c.column_shift);
                    samples.saturating_mul(c.step)
                }
                _ => stride,
            };
            *plane = (rest, stride);
            let length = size.rows.saturating_mul(stride);
            rest = rest.get(length..).unwrap_or_default();
        }
        let planes = planes.get(..format.plane_count()).unwrap_or_default();
        Self::new(width, height, format, planes)
    }

    /// The same frame with this meaning of its YUV values.
    #[must_use]
    pub fn with_yuv_space(mut self, yuv: YuvSpace) -> Self {
        self.yuv = yuv;
        self
    }

    /// The same frame with this time of capture.
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

    /// Layout of the pixels.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Meaning of the YUV values; ignored in RGB and gray frames.
    pub fn yuv_space(&self) -> YuvSpace {
        self.yuv
    }

    /// Time of capture.
    pub fn captured(&self) -> Timestamp {
        self.captured
    }

    /// The planes that the format has, in its order.
    pub fn planes(&self) -> &[Plane<'a>] {
        self.planes
            .get(..self.format.plane_count())
            .unwrap_or_default()
    }

    /// The plane of a component; an empty one for a component of another format.
    #[inline]
    pub fn plane_of(&self, component: &Component) -> Plane<'a> {
        self.planes
            .get(component.plane)
            .copied()
            .unwrap_or_default()
    }

    /// The components of the pixel in column `x` and row `y`: `[y]`, `[r, g, b]` or `[y, u, v]`,
    /// the rest 0. `None` outside the frame.
    pub fn pixel(&self, x: u32, y: u32) -> Option<[u8; 3]> {
        if x >= self.width || y >= self.height {
            return None;
        }
        let mut pixel = [0; 3];
        for (value, component) in pixel.iter_mut().zip(self.format.components()) {
            let row = self
                .plane_of(component)
                .row(y as usize >> component.row_shift);
            let at = component.offset + (x as usize >> component.column_shift) * component.step;
            *value = row.get(at).copied()?;
        }
        Some(pixel)
    }

    /// Have row `y` of a YUV frame read two pixels at a time, whatever the layout: chroma is that
    /// of the pixels, not smoothed. Nothing is read of RGB and gray frames.
    pub fn yuv_row(&self, y: usize, reader: impl YuvRowReader) {
        let [first, second, third] = &self.planes;
        let chroma = y / 2;
        match self.format {
            PixelFormat::Rgb8 | PixelFormat::Gray8 => {}
            PixelFormat::Nv12 => {
                let samples = second.row(chroma).as_chunks::<2>().0;
                let pairs = luma_pairs(first.row(y)).zip(samples);
                reader.read(pairs.map(|([a, b], [u, v])| [a, b, *u, *v]));
            }
            PixelFormat::I420 => {
                let samples = second.row(chroma).iter().zip(third.row(chroma));
                let pairs = luma_pairs(first.row(y)).zip(samples);
                reader.read(pairs.map(|([a, b], (u, v))| [a, b, *u, *v]));
            }
            PixelFormat::Yuyv => {
                let quads = first.row(y).as_chunks::<4>().0.iter();
                reader.read(quads.map(|[a, u, b, v]| [*a, *b, *u, *v]));
            }
        }
    }

    /// Append the bytes to `out`, rows and planes tightly packed.
    pub fn pack(&self, out: &mut Vec<u8>) {
        for plane in self.planes() {
            match plane.packed() {
                Some(bytes) => out.extend_from_slice(bytes),
                None => plane.rows().for_each(|row| out.extend_from_slice(row)),
            }
        }
    }

    /// A copy in memory of its own.
    pub fn to_frame(&self) -> Frame {
        let mut data = Vec::with_capacity(self.format.byte_len(self.width, self.height));
        self.pack(&mut data);
        Frame {
            width: self.width,
            height: self.height,
            format: self.format,
            yuv: self.yuv,
            captured: self.captured,
            data,
        }
    }
}

/// Luma two by two; the last of an odd row is repeated.
#[inline]
fn luma_pairs(luma: &[u8]) -> impl Iterator<Item = [u8; 2]> {
    let (pairs, single) = luma.as_chunks::<2>();
    pairs.iter().copied().chain(single.iter().map(|y| [*y; 2]))
}

impl<'a> From<&'a Frame> for FrameView<'a> {
    fn from(frame: &'a Frame) -> Self {
        let mut rest = frame.data.as_slice();
        let planes = frame.format.planes(frame.width, frame.height);
        let planes = planes.map(|size| {
            let (data, behind) = rest.split_at_checked(size.byte_len()).unwrap_or_default();
            rest = behind;
            Plane {
                data,
                stride: size.row,
                size,
            }
        });
        Self {
            width: frame.width,
            height: frame.height,
            format: frame.format,
            yuv: frame.yuv,
            captured: frame.captured,
            planes,
        }
    }
}

impl fmt::Debug for FrameView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "FrameView({}x{} {:?} at {:?}, {:?})",
            self.width,
            self.height,
            self.format,
            self.captured,
            self.planes()
        )
    }
}

/// Check a frame size before anything of that size is allocated.
///
/// # Errors
/// When a side is 0 or above [`MAX_SIDE`], or there are more than [`MAX_PIXELS`].
pub fn check_size(width: u32, height: u32) -> Result<(), FrameError> {
    let sides = 1..=MAX_SIDE;
    let pixels = u64::from(width) * u64::from(height);
    if !sides.contains(&width) || !sides.contains(&height) || pixels > MAX_PIXELS {
        return Err(FrameError::Size { width, height });
    }
    Ok(())
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// A side is 0 or above [`MAX_SIDE`], or there are more than [`MAX_PIXELS`].
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
    /// The format has another number of planes.
    Planes {
        /// Pixel format asked for.
        format: PixelFormat,
        /// Planes of that format.
        expected: usize,
        /// Planes that were given.
        actual: usize,
    },
    /// Rows of a plane would overlap.
    Stride {
        /// Index of the plane.
        plane: usize,
        /// Bytes from row to row that were given.
        stride: usize,
        /// Bytes of a row.
        row: usize,
    },
    /// A plane ends before its last pixel.
    PlaneLength {
        /// Index of the plane.
        plane: usize,
        /// Bytes up to its last pixel.
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
                    "a frame of {width}x{height} pixels: sides must be 1 to {MAX_SIDE}, and at most {} \
                     megapixels (of 2^20) between them",
                    MAX_PIXELS >> 20
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
            Self::Planes {
                format,
                expected,
                actual,
            } => write!(
                f,
                "a {format:?} frame has {expected} planes, but {actual} were given"
            ),
            Self::Stride { plane, stride, row } => write!(
                f,
                "plane {plane} has rows of {row} bytes, but a stride of {stride} was given; hint: \
                 strides are in bytes"
            ),
            Self::PlaneLength {
                plane,
                expected,
                actual,
            } => write!(
                f,
                "plane {plane} has {expected} bytes up to its last pixel, but {actual} were given"
            ),
        }
    }
}

impl std::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_sizes_are_refused_with_the_numbers() {
        let short = Frame::new(4, 4, PixelFormat::Rgb8, vec![0; 47]).unwrap_err();
        assert!(short.to_string().contains("48") && short.to_string().contains("47"));
        assert!(Frame::new(0, 4, PixelFormat::Gray8, vec![]).is_err());
        assert!(Frame::new(MAX_SIDE + 1, 1, PixelFormat::Gray8, vec![]).is_err());
        assert_eq!(check_size(8192, 8192), Ok(()));
        let many = check_size(8192, 8193).unwrap_err().to_string();
        assert!(many.contains("64 megapixels"), "{many}");
    }
    #[test]
    fn padding_between_rows_is_passed_over() {
        let packed = |format, stride, bytes: &[u8]| {
            let view = FrameView::from_buffer(2, 2, format, bytes, stride);
            view.map(|view| view.to_frame().into_data())
        };
        let nv12 = [1, 2, 0, 3, 4, 0, 5, 6, 0];
        let expected = Ok(vec![1, 2, 3, 4, 5, 6]);
        assert_eq!(packed(PixelFormat::Nv12, 3, &nv12), expected);
        assert_eq!(packed(PixelFormat::Nv12, 3, &nv12[..8]), expected);
        let i420 = [1, 2, 0, 0, 3, 4, 0, 0, 5, 0, 6, 0];
        assert_eq!(packed(PixelFormat::I420, 4, &i420), expected);
        // A stride of -3 where one is unsigned, as of rows from the bottom up.
        for format in [
            PixelFormat::Rgb8,
            PixelFormat::Nv12,
            PixelFormat::I420,
            PixelFormat::Yuyv,
        ] {
            assert!(packed(format, usize::MAX - 2, &nv12).is_err(), "{format:?}");
        }
        let yuyv: Vec<u8> = (1..=8).collect();
        assert_eq!(packed(PixelFormat::Yuyv, 4, &yuyv), Ok(yuyv.clone()));
        let short = packed(PixelFormat::Nv12, 3, &nv12[..7]);
        assert!(matches!(
            short,
            Err(FrameError::PlaneLength { plane: 1, .. })
        ));
        let dense = packed(PixelFormat::Rgb8, 5, &yuyv);
        let text = dense.unwrap_err().to_string();
        assert!(text.contains("6 bytes") && text.contains("5 was"), "{text}");
    }

    #[test]
    fn planes_of_other_buffers_make_the_frame_of_their_pixels() {
        let (luma, chroma) = ([1, 2, 3, 9, 4, 5, 6], [7, 8, 7, 8, 9, 9]);
        let planes: [(&[u8], usize); 2] = [(&luma, 4), (&chroma, 6)];
        let view = FrameView::new(3, 2, PixelFormat::Nv12, &planes).unwrap();
        let frame = view.to_frame();
        assert_eq!(frame.data(), [1, 2, 3, 4, 5, 6, 7, 8, 7, 8]);
        for (x, y) in (0..3).flat_map(|x| (0..2).map(move |y| (x, y))) {
            let luma = (y * 3 + x + 1) as u8;
            assert_eq!(view.pixel(x, y), Some([luma, 7, 8]));
            assert_eq!(frame.view().pixel(x, y), view.pixel(x, y));
        }
        assert_eq!((view.pixel(3, 0), view.pixel(0, 2)), (None, None));
        let one = FrameView::new(3, 2, PixelFormat::Nv12, &planes[..1]);
        assert!(matches!(one, Err(FrameError::Planes { expected: 2, .. })));
    }
}
