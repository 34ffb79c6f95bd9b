//! What is asked of a display.

use std::time::Duration;

use bedside_video::sink::SinkError;

/// Pictures that a [`Screen`] has room for: one that is seen, one that is about to be, and one to paint.
pub const BUFFERS: usize = 3;

/// The memory of one picture.
#[derive(Debug)]
pub struct Pixels<'a> {
    /// Rows of pixels of four bytes each: blue, green, red, and one that means nothing. Written alone:
    /// reading may be slow.
    pub bytes: &'a mut [u8],
    /// Bytes from row to row.
    pub stride: usize,
}

/// A display that shows one of [`BUFFERS`] pictures, numbered from 0. At first it shows number 0, which
/// is black.
///
/// After an error it is of no more use, and opened anew.
pub trait Screen: Send {
    /// Width and height in pixels.
    fn size(&self) -> (u32, u32);

    /// See whether somebody could look at it.
    ///
    /// # Errors
    /// When it was unplugged.
    fn look(&mut self) -> Result<(), SinkError>;

    /// The memory of a picture that is neither seen nor about to be.
    fn pixels(&mut self, buffer: usize) -> Pixels<'_>;

    /// Turn to this picture with the next refresh. The one before must have [settled](Self::settle).
    ///
    /// # Errors
    /// When the display is gone, or another program has it.
    fn flip(&mut self, buffer: usize) -> Result<(), SinkError>;

    /// Wait until the picture of the last [`flip`](Self::flip) is seen.
    ///
    /// # Errors
    /// When it is not within that time, or the display is gone.
    fn settle(&mut self, patience: Duration) -> Result<(), SinkError>;
}
