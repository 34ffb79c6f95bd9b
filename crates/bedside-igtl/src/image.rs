//! IMAGE messages: pictures in, label maps out.

use bedside_core::PixelFormat;
use bedside_core::frame::MAX_SIDE;
use bedside_video::MAX_VIDEO_PIXELS;

use crate::error::Error;
use crate::message::{Envelope, Fields, IMAGE, write};

/// Bytes before the pixels.
pub(crate) const HEADER_LEN: usize = 72;
/// The scalar type of bytes.
const UINT8: u8 = 3;

/// Where a picture lies: a label map of it lies there too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Columns, rows and slices.
    pub size: [u16; 3],
    /// 1 for a world in RAS, 2 for one in LPS.
    pub world: u8,
    /// The 12 big-endian floats that place it in the world: its three axes, each as long as a pixel
    /// is in millimetres, and its centre. They are handed on as they came: whoever does not know the
    /// spacing sends zeros or ones.
    pub matrix: [u8; 48],
}

impl Geometry {
    /// A picture of square pixels of unknown size.
    pub fn flat(width: u16, height: u16) -> Self {
        let mut matrix = [0; 48];
        let ones = [0, 4, 8];
        for (at, number) in matrix.chunks_exact_mut(4).enumerate() {
            let value = if ones.contains(&at) { 1.0_f32 } else { 0.0 };
            number.copy_from_slice(&value.to_be_bytes());
        }
        Self {
            size: [width, height, 1],
            world: 2,
            matrix,
        }
    }

    /// Width and height: one of the three sizes is 1, whichever. `None` for a volume.
    pub fn sides(&self) -> Option<(u32, u32)> {
        match self.size.map(u32::from) {
            [width, height, 1] | [1, width, height] | [width, 1, height] => Some((width, height)),
            _ => None,
        }
    }
}

/// A picture as a message has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture<'a> {
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// [`PixelFormat::Gray8`] or [`PixelFormat::Rgb8`].
    pub format: PixelFormat,
    /// Where it lies.
    pub geometry: Geometry,
    /// Rows, tightly packed.
    pub pixels: &'a [u8],
}

impl<'a> Picture<'a> {
    /// Most bytes of an image's content.
    pub const MOST: usize = HEADER_LEN + 3 * MAX_VIDEO_PIXELS as usize;

    /// The picture in a message's content. Nothing is copied.
    ///
    /// # Errors
    /// [`ErrorKind::Message`](crate::ErrorKind::Message) for what is no picture here: a volume, other
    /// numbers than bytes, other components than one (gray) and three (RGB), a part of a picture, one
    /// larger than [`MAX_VIDEO_PIXELS`], or a content whose length is another one.
    pub fn parse(content: &'a [u8]) -> Result<Self, Error> {
        let short = || Error::message("an IMAGE is shorter than its header");
        let mut fields = Fields(content);
        let Some(([_, _, components, scalar, endian, world], sizes, matrix, from, part)) = (|| {
            let first = fields.array()?;
            let sizes = [fields.u16()?, fields.u16()?, fields.u16()?];
            let matrix = fields.array()?;
            let from = [fields.u16()?, fields.u16()?, fields.u16()?];
            let part = [fields.u16()?, fields.u16()?, fields.u16()?];
            Some((first, sizes, matrix, from, part))
        })(
        ) else {
            return Err(short());
        };
        let pixels = fields.0;
        let geometry = Geometry {
            size: sizes,
            world,
            matrix,
        };
        let refuse = |why: String| Err(Error::message(format!("an IMAGE can't be used: {why}")));
        let format = match (scalar, components) {
            (UINT8, 1) => PixelFormat::Gray8,
            (UINT8, 3) => PixelFormat::Rgb8,
            _ => {
                return refuse(format!(
                    "{components} components of scalar type {scalar}; hint: send one or three of \
                     uint8 (3)"
                ));
            }
        };
        // Bytes have no order; what is neither is not from a writer of this message.
        if !matches!(endian, 1 | 2) || !matches!(world, 1 | 2) {
            return refuse(format!(
                "byte order {endian} and coordinate system {world}; hint: each is 1 or 2"
            ));
        }
        if from != [0; 3] || part != sizes {
            return refuse("it is a part of one; hint: send whole pictures".to_owned());
        }
        let [i, j, k] = sizes;
        let Some((width, height)) = geometry.sides() else {
            return refuse(format!("{i}x{j}x{k} voxels; hint: send one slice"));
        };
        let area = width.checked_mul(height).filter(|area| *area > 0);
        if area.is_none_or(|area| area > MAX_VIDEO_PIXELS) || width.max(height) > MAX_SIDE {
            return refuse(format!(
                "{width}x{height} pixels; hint: sides are 1 to {MAX_SIDE}, with at most \
                 {MAX_VIDEO_PIXELS} pixels between them"
            ));
        }
        let expected = format.byte_len(width, height);
        if pixels.len() != expected {
            return refuse(format!(
                "{} bytes of pixels where {width}x{height} has {expected}",
                pixels.len()
            ));
        }
        Ok(Self {
            width,
            height,
            format,
            geometry,
            pixels,
        })
    }

    /// Append the picture as a message to `out`.
    pub fn write(&self, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
        write(out, IMAGE, envelope, |body| {
            let components = if self.format == PixelFormat::Rgb8 {
                3
            } else {
                1
            };
            // Version 1 of the image's header; bytes are said to be little-endian, as others do.
            body.extend_from_slice(&[0, 1, components, UINT8, 2, self.geometry.world]);
            let sizes = self.geometry.size.map(u16::to_be_bytes);
            body.extend(sizes.iter().flatten());
            body.extend_from_slice(&self.geometry.matrix);
            body.extend_from_slice(&[0; 6]);
            body.extend(sizes.iter().flatten());
            body.extend_from_slice(self.pixels);
        });
    }
}
