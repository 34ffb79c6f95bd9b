//! The colours of masks and words.

use crate::colour::RgbToYuv;

/// A colour as it is seen on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour {
    rgb: [u8; 3],
}

/// Words.
pub const TEXT: Colour = Colour::new(240, 240, 240);
/// Words of less account.
pub const FAINT: Colour = Colour::new(176, 176, 176);
/// Words that ask for attention.
pub const ALERT: Colour = Colour::new(230, 159, 0);
/// The mark of what is being recorded.
pub const RECORDING: Colour = Colour::new(220, 50, 47);
/// Behind words.
pub const BACKGROUND: Colour = Colour::new(24, 24, 24);

/// Okabe and Ito's colours (2008), which colour-blind eyes tell apart, without black and with
/// those that stand out from tissue first.
const OBJECTS: [Colour; 7] = [
    Colour::new(86, 180, 233),
    Colour::new(240, 228, 66),
    Colour::new(0, 158, 115),
    Colour::new(230, 159, 0),
    Colour::new(204, 121, 167),
    Colour::new(0, 114, 178),
    Colour::new(213, 94, 0),
];

/// The colour of the object in this place among all, counted from 0; they come again after seven.
pub fn object(place: usize) -> Colour {
    let colour = OBJECTS.get(place % OBJECTS.len());
    colour.copied().unwrap_or(TEXT)
}

impl Colour {
    /// From red, green and blue, 0 to 255.
    pub const fn new(red: u8, green: u8, blue: u8) -> Self {
        Self {
            rgb: [red, green, blue],
        }
    }

    /// Red, green and blue.
    pub const fn rgb(self) -> [u8; 3] {
        self.rgb
    }

    /// Y, U and V.
    pub(super) fn yuv(self, to_yuv: &RgbToYuv) -> [u8; 3] {
        let [u, v] = to_yuv.chroma(self.rgb);
        [to_yuv.luma(self.rgb), u, v]
    }
}
