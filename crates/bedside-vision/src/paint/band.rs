//! The band below the picture: words, and squares of the masks' colours.

use std::convert::Infallible;

use embedded_graphics::mono_font::iso_8859_1::{FONT_6X10, FONT_8X13, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::*;
use embedded_graphics::text::{Baseline, Text};

use super::canvas::Colour;

/// Background.
const DARK: Colour = Colour::new(24, 24, 24);
/// Lines of words, the last of which is the closing one.
const LINES: u32 = 3;

/// A strip of pixels that words are written into, left to right and top to bottom.
#[derive(Debug)]
pub struct Band {
    width: u32,
    font: &'static MonoFont<'static>,
    /// The colours in use; the background is the first.
    inks: Vec<Colour>,
    /// Places among the inks.
    pixels: Vec<u8>,
    /// The ink that words are written with.
    ink: u8,
    /// Where the next word begins, in pixels from the left, and in lines from the top.
    x: u32,
    line: u32,
}

impl Default for Band {
    fn default() -> Self {
        Self {
            width: 0,
            font: &FONT_6X10,
            inks: Vec::new(),
            pixels: Vec::new(),
            ink: 0,
            x: 0,
            line: 0,
        }
    }
}

impl Band {
    /// An empty band of this width.
    pub fn begin(&mut self, width: u32) {
        self.width = width;
        self.font = match width {
            0..480 => &FONT_6X10,
            480..1000 => &FONT_8X13,
            _ => &FONT_10X20,
        };
        self.inks.clear();
        let background = self.ink(DARK);
        self.pixels.clear();
        self.pixels
            .resize(width as usize * self.height() as usize, background);
        (self.x, self.line) = (self.margin(), 0);
    }

    /// Rows; even, so that chroma planes of half the height fit.
    pub fn height(&self) -> u32 {
        (LINES * self.pitch() + self.margin()).next_multiple_of(2)
    }

    /// The pixels, row by row, as places among the [`inks`](Self::inks).
    pub fn rows(&self) -> impl Iterator<Item = &[u8]> {
        self.pixels.chunks_exact(self.width.max(1) as usize)
    }

    /// The colours in use, at most 256.
    pub fn inks(&self) -> &[Colour] {
        &self.inks
    }

    /// The place of a colour among the inks; the background's when there are too many.
    fn ink(&mut self, colour: Colour) -> u8 {
        let known = self.inks.iter().position(|ink| *ink == colour);
        let place = u8::try_from(known.unwrap_or(self.inks.len())).unwrap_or_default();
        if known.is_none() && usize::from(place) == self.inks.len() {
            self.inks.push(colour);
        }
        place
    }

    /// Write words where the last ones ended, on a new line if they do not fit; what does not fit
    /// above the closing line is left out.
    pub fn word(&mut self, text: &str, colour: Colour) {
        if self.place(self.width_of(text.trim_end())) {
            self.write(text, colour);
            self.x += self.width_of(text);
        }
    }

    /// The same behind a square of the colour `mark`, on one line with it.
    pub fn marked_word(&mut self, mark: Colour, text: &str, colour: Colour) {
        let side = self.font.character_size.height * 3 / 4;
        if !self.place(side + self.width_of(text.trim_end())) {
            return;
        }
        let ink = self.ink(mark);
        let top = self.top() + (self.font.character_size.height - side) / 2;
        for y in top..top + side {
            let row = self.pixels.chunks_exact_mut(self.width.max(1) as usize);
            let row = row.skip(y as usize).flatten();
            for pixel in row.skip(self.x as usize).take(side as usize) {
                *pixel = ink;
            }
        }
        self.x += side;
        self.write(text, colour);
        self.x += self.width_of(text);
    }

    /// The closing line: the first of these that fits, else the last.
    pub fn finish(&mut self, texts: &[&str], colour: Colour) {
        (self.x, self.line) = (self.margin(), LINES - 1);
        let fits = |text: &&&str| self.x + self.width_of(text) <= self.width;
        if let Some(text) = texts.iter().find(fits).or(texts.last()) {
            self.write(text, colour);
        }
    }

    /// Go to a new line if what is so wide does not fit; whether there is room for it above the
    /// closing line.
    fn place(&mut self, width: u32) -> bool {
        if self.x + width > self.width && self.x > self.margin() {
            (self.x, self.line) = (self.margin(), self.line + 1);
        }
        self.line + 1 < LINES
    }

    fn width_of(&self, text: &str) -> u32 {
        self.font.character_size.width * text.chars().count() as u32
    }

    fn write(&mut self, text: &str, colour: Colour) {
        self.ink = self.ink(colour);
        let style = MonoTextStyle::new(self.font, BinaryColor::On);
        let at = Point::new(self.x as i32, self.top() as i32);
        // The target can't fail.
        let _ = Text::with_baseline(text, at, style, Baseline::Top).draw(self);
    }

    fn top(&self) -> u32 {
        self.margin() + self.line * self.pitch()
    }

    fn pitch(&self) -> u32 {
        let height = self.font.character_size.height;
        height + height / 4
    }

    fn margin(&self) -> u32 {
        self.font.character_size.height / 2
    }
}

impl OriginDimensions for Band {
    fn size(&self) -> Size {
        Size::new(self.width, self.height())
    }
}

impl DrawTarget for Band {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Infallible>
    where
        I: IntoIterator<Item = Pixel<BinaryColor>>,
    {
        for Pixel(Point { x, y }, _) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else {
                continue;
            };
            let inside = x < self.width;
            let at = y as usize * self.width as usize + x as usize;
            if let Some(pixel) = self.pixels.get_mut(at).filter(|_| inside) {
                *pixel = self.ink;
            }
        }
        Ok(())
    }
}
