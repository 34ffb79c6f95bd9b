//! Where a frame lies in the square that the encoder sees.

/// A frame padded with black to a square, equally on both sides, and the square scaled to the
/// model's side; with rows and columns swapped first where the model wants that.
///
/// Where the padding is odd the larger half lies at the bottom or right, as BiomedParse's
/// loaders have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letterbox {
    width: u32,
    height: u32,
    transposed: bool,
}

impl Letterbox {
    /// The letterbox of a `width` x `height` frame.
    pub fn new(width: u32, height: u32, transposed: bool) -> Self {
        Self {
            width,
            height,
            transposed,
        }
    }

    /// Frame width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Frame height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Whether rows and columns are swapped.
    pub fn transposed(&self) -> bool {
        self.transposed
    }

    /// Side of the square in frame pixels: the longer side of the frame.
    pub fn square(&self) -> u32 {
        self.width.max(self.height)
    }

    /// Columns of padding left of the upright frame.
    pub fn left(&self) -> u32 {
        (self.square() - self.width) / 2
    }

    /// Rows of padding above the upright frame.
    pub fn top(&self) -> u32 {
        (self.square() - self.height) / 2
    }
}
