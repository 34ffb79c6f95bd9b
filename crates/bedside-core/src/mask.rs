//! One object's pixels.

use std::fmt;

/// A binary mask at the size of the frame it belongs to, row-major, one byte a pixel (0 or 1).
#[derive(Clone, PartialEq, Eq)]
pub struct Mask {
    width: u32,
    height: u32,
    data: Vec<u8>,
}

impl Mask {
    /// A mask with no pixel set.
    pub fn empty(width: u32, height: u32) -> Self {
        Self {
            width,
            height,
            data: vec![0; width as usize * height as usize],
        }
    }

    /// A mask from row-major bytes; any non-zero byte is set.
    ///
    /// `None` unless `data` holds exactly `width * height` bytes.
    pub fn from_bytes(width: u32, height: u32, mut data: Vec<u8>) -> Option<Self> {
        if data.len() != width as usize * height as usize {
            return None;
        }
        for v in &mut data {
            *v = u8::from(*v != 0);
        }
        Some(Self {
            width,
            height,
            data,
        })
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Row-major pixels, each 0 or 1.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The pixels, for reuse of the buffer.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// Whether the pixel in column `x` and row `y` is set; false outside the mask.
    pub fn get(&self, x: u32, y: u32) -> bool {
        x < self.width
            && self
                .data
                .get(y as usize * self.width as usize + x as usize)
                .is_some_and(|v| *v == 1)
    }

    /// Number of set pixels.
    pub fn area(&self) -> u64 {
        self.data.iter().map(|v| u64::from(*v)).sum()
    }

    /// Whether no pixel is set.
    pub fn is_empty(&self) -> bool {
        self.data.iter().all(|v| *v == 0)
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Mask({}x{}, {} set)",
            self.width,
            self.height,
            self.area()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_zero_or_one_and_size_is_checked() {
        let mask = Mask::from_bytes(3, 2, vec![0, 255, 1, 0, 7, 0]).unwrap();
        assert_eq!(mask.data(), [0, 1, 1, 0, 1, 0]);
        assert_eq!(mask.area(), 3);
        assert!(mask.get(1, 0) && !mask.get(0, 0) && !mask.get(3, 0) && !mask.get(1, 2));
        assert!(Mask::from_bytes(3, 2, vec![0; 5]).is_none());
        assert!(Mask::empty(4, 4).is_empty());
    }
}
