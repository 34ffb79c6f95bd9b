//! Where a frame lies in the square that the encoder sees.

/// A frame padded with black to a square, equally on both sides, and the square scaled to the
/// model's side; with rows and columns swapped first where the model wants that.
///
/// Where the padding is odd the larger half lies at the bottom or right, as BiomedParse's
/// loaders have it. Points are in pixels, with pixel centres at halves.
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

    /// A point of the frame (x, y), as a point of a grid of `side` x `side` over the square.
    pub fn to_model(&self, point: (f64, f64), side: u32) -> (f64, f64) {
        let scale = f64::from(side) / f64::from(self.square());
        let x = (point.0 + f64::from(self.left())) * scale;
        let y = (point.1 + f64::from(self.top())) * scale;
        if self.transposed { (y, x) } else { (x, y) }
    }

    /// The inverse of [`to_model`](Self::to_model).
    pub fn to_frame(&self, point: (f64, f64), side: u32) -> (f64, f64) {
        let (x, y) = if self.transposed {
            (point.1, point.0)
        } else {
            point
        };
        let scale = f64::from(self.square()) / f64::from(side);
        (
            x * scale - f64::from(self.left()),
            y * scale - f64::from(self.top()),
        )
    }
}
