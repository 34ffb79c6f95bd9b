//! One object's pixels.

use std::fmt;
use std::ops::Range;

use crate::finding::BoundingBox;

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
        normalise(&mut data);
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

    /// Clear all pixels and take another size, in the memory that the mask has.
    pub fn reset(&mut self, width: u32, height: u32) {
        (self.width, self.height) = (width, height);
        self.data.clear();
        self.data.resize(width as usize * height as usize, 0);
    }

    /// Write rows, one after the other: `fill` is given the number of each and its bytes as they
    /// are, of which any that it leaves non-zero is set. Rows beyond the mask are passed over.
    pub fn write_rows(&mut self, rows: Range<u32>, mut fill: impl FnMut(u32, &mut [u8])) {
        let width = (self.width as usize).max(1);
        let data = self.data.chunks_exact_mut(width).skip(rows.start as usize);
        for (y, row) in rows.zip(data) {
            fill(y, row);
            normalise(row);
        }
    }

    /// Number of set pixels.
    pub fn area(&self) -> u64 {
        area(&self.data)
    }

    /// Number of set pixels in some rows, and the box around them unless there are none.
    pub fn measure_rows(&self, rows: Range<u32>) -> (u64, Option<BoundingBox>) {
        let mut all = 0;
        let (mut left, mut right, mut top, mut bottom) = (usize::MAX, 0, u32::MAX, 0);
        let width = (self.width as usize).max(1);
        let data = self.data.chunks_exact(width).skip(rows.start as usize);
        for (y, row) in rows.zip(data) {
            let set = area(row);
            if set == 0 {
                continue;
            }
            all += set;
            (top, bottom) = (top.min(y), y);
            let before = row.get(..left.min(width)).unwrap_or_default();
            left = before.iter().position(|v| *v == 1).unwrap_or(left);
            let after = row.get(right..).unwrap_or_default();
            right += after.iter().rposition(|v| *v == 1).unwrap_or_default();
        }
        let bounding_box = (all > 0).then(|| BoundingBox {
            x: left as u32,
            y: top,
            width: (right + 1 - left) as u32,
            height: bottom + 1 - top,
        });
        (all, bounding_box)
    }

    /// Whether no pixel is set.
    pub fn is_empty(&self) -> bool {
        self.data.iter().all(|v| *v == 0)
    }
}

/// Number of ones.
fn area(data: &[u8]) -> u64 {
    // Few enough for their sum to fit a byte, so that many bytes are summed at once.
    let sums = data.chunks(128).map(|ones| ones.iter().sum::<u8>());
    sums.map(u64::from).sum()
}

/// Every byte to 0 or 1.
fn normalise(data: &mut [u8]) {
    for v in data {
        *v = u8::from(*v != 0);
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_become_zero_or_one_and_size_is_checked() {
        let mask = Mask::from_bytes(3, 2, vec![0, 255, 1, 0, 7, 0]).unwrap();
        assert_eq!(mask.data(), [0, 1, 1, 0, 1, 0]);
        assert_eq!(mask.area(), 3);
        assert_eq!(
            Mask::from_bytes(80, 40, vec![1; 3200]).unwrap().area(),
            3200
        );
        assert!(mask.get(1, 0) && !mask.get(0, 0) && !mask.get(3, 0) && !mask.get(1, 2));
        assert!(Mask::from_bytes(3, 2, vec![0; 5]).is_none());
        assert!(Mask::empty(4, 4).is_empty());
    }

    proptest! {
        #[test]
        fn area_and_bounding_box_are_those_of_the_set_pixels_also_when_written_again(
            width in 0_u32..20,
            height in 0_u32..20,
            set in proptest::collection::vec((0_u32..20, 0_u32..20), 0..6),
        ) {
            let inside = |(x, y): &(u32, u32)| *x < width && *y < height;
            let set: Vec<_> = set.into_iter().filter(inside).collect();
            let mut data = vec![0; (width * height) as usize];
            for (x, y) in &set {
                data[(y * width + x) as usize] = 1;
            }
            let mask = Mask::from_bytes(width, height, data).unwrap();
            let (xs, ys) = (set.iter().map(|p| p.0), set.iter().map(|p| p.1));
            let expected = xs.clone().min().zip(ys.clone().min()).map(|(x, y)| BoundingBox {
                x,
                y,
                width: xs.max().unwrap() + 1 - x,
                height: ys.max().unwrap() + 1 - y,
            });
            let distinct = set.iter().collect::<std::collections::HashSet<_>>().len() as u64;
            prop_assert_eq!(mask.measure_rows(0..height), (distinct, expected));
            let mut other = Mask::from_bytes(7, 5, vec![1; 35]).unwrap();
            other.reset(width, height);
            prop_assert!(other.is_empty());
            other.write_rows(0..height + 3, |y, row| {
                for (x, v) in (0..).zip(row) {
                    *v = 9 * u8::from(mask.get(x, y));
                }
            });
            prop_assert_eq!(other, mask);
        }
    }
}
