//! The band below the frame: words, and squares of the masks' colours.

use std::convert::Infallible;

use embedded_graphics::mono_font::iso_8859_1::{FONT_6X10, FONT_8X13, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::*;
use embedded_graphics::text::{Baseline, Text};

use super::palette::{BACKGROUND, Colour};

/// A strip of pixels that words are written into, left to right and top to bottom.
#[derive(Debug)]
pub struct Band {
    width: u32,
    /// Number of lines, the last of which is the closing one.
    lines: u32,
    font: &'static MonoFont<'static>,
    /// Whole-number enlargement of the font.
    scale: u32,
    /// The colours in use; the background is the first.
    inks: Vec<Colour>,
    /// Places among the inks.
    pixels: Vec<u8>,
    /// The ink that words are written with.
    ink: u8,
    /// Where the next word begins, in pixels from the left, and in lines from the top.
    x: u32,
    line: u32,
    /// Left and top of the words that are being written.
    origin: (u32, u32),
}

impl Default for Band {
    fn default() -> Self {
        Self {
            width: 0,
            lines: 0,
            font: &FONT_6X10,
            scale: 1,
            inks: Vec::new(),
            pixels: Vec::new(),
            ink: 0,
            x: 0,
            line: 0,
            origin: (0, 0),
        }
    }
}

impl Band {
    /// An empty band below a frame of this width, with room for so many lines.
    pub fn begin(&mut self, width: u32, lines: u32) {
        (self.width, self.lines) = (width, lines);
        (self.font, self.scale) = font(width);
        self.inks.clear();
        let background = self.ink(BACKGROUND);
        self.pixels.clear();
        self.pixels
            .resize(width as usize * self.height() as usize, background);
        (self.x, self.line) = (self.margin(), 0);
    }

    /// Characters that fit a line of a band of this width.
    pub fn columns(width: u32) -> usize {
        let (font, scale) = font(width);
        let Size { width: w, height } = font.character_size;
        // As much room on the right as the margin on the left.
        let margins = height * scale / 2 * 2;
        (width.saturating_sub(margins) / (w * scale)) as usize
    }

    /// Rows; even, so that chroma planes of half the height fit.
    pub fn height(&self) -> u32 {
        (self.lines * self.pitch() + self.margin()).next_multiple_of(2)
    }

    /// The pixels, row by row, as places among the [`inks`](Self::inks).
    pub(super) fn rows(&self) -> impl Iterator<Item = &[u8]> {
        self.pixels.chunks_exact(self.width.max(1) as usize)
    }

    /// The colours in use, at most 256.
    pub(super) fn inks(&self) -> &[Colour] {
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

    /// Write words where the last ones ended, on a new line if they do not fit. What does not fit
    /// above the closing line is left out, like all that comes after it; `false` says so.
    pub fn word(&mut self, text: &str, colour: Colour) -> bool {
        let there_is_room = self.place(self.width_of(text.trim_end()));
        if there_is_room {
            self.write(text, colour);
            self.x += self.width_of(text);
        }
        there_is_room
    }

    /// The same behind a square of the colour `mark`, on one line with it.
    pub fn marked_word(&mut self, mark: Colour, text: &str, colour: Colour) -> bool {
        let there_is_room = self.place(self.side() + self.width_of(text.trim_end()));
        if there_is_room {
            self.square(mark);
            self.x += self.side();
            self.write(text, colour);
            self.x += self.width_of(text);
        }
        there_is_room
    }

    /// Characters that fit on the line that the last words ended on, or on a new one if these are
    /// fewer than `least` and there is one.
    pub fn room(&mut self, least: u32) -> usize {
        let character = self.character().width;
        if self.line + 2 < self.lines {
            self.place(least * character);
        }
        (self.width.saturating_sub(self.x) / character) as usize
    }

    /// A line of its own, counted from 0, with a square of the colour `mark` if any, for which the
    /// words leave room of two characters.
    pub fn line(&mut self, line: u32, mark: Option<Colour>, text: &str, colour: Colour) {
        (self.x, self.line) = (self.margin(), line);
        if let Some(mark) = mark {
            self.square(mark);
            self.x += self.width_of("  ");
        }
        self.write(text, colour);
    }

    /// The closing line: `before` and the first of these that fits behind it, else the last.
    pub fn finish(&mut self, before: (&str, Colour), texts: &[&str], colour: Colour) {
        let last = self.lines.saturating_sub(1);
        let (words, of) = before;
        self.line(last, None, words, of);
        self.x += self.width_of(words);
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
        self.line + 1 < self.lines
    }

    /// A square where the next word would begin.
    fn square(&mut self, colour: Colour) {
        let ink = self.ink(colour);
        let side = self.side();
        let top = self.top() + (self.character().height - side) / 2;
        let rows = self.pixels.chunks_exact_mut(self.width.max(1) as usize);
        for row in rows.skip(top as usize).take(side as usize) {
            for pixel in row.iter_mut().skip(self.x as usize).take(side as usize) {
                *pixel = ink;
            }
        }
    }

    fn side(&self) -> u32 {
        self.character().height * 3 / 4
    }

    fn character(&self) -> Size {
        self.font.character_size * self.scale
    }

    fn width_of(&self, text: &str) -> u32 {
        self.character().width * text.chars().count() as u32
    }

    fn write(&mut self, text: &str, colour: Colour) {
        self.ink = self.ink(colour);
        let style = MonoTextStyle::new(self.font, BinaryColor::On);
        // Drawing to the target is relative to the origin and enlarged.
        self.origin = (self.x, self.top());
        let at = Point::zero();
        // The target can't fail.
        let _ = Text::with_baseline(text, at, style, Baseline::Top).draw(self);
    }

    fn top(&self) -> u32 {
        self.margin() + self.line * self.pitch()
    }

    fn pitch(&self) -> u32 {
        let height = self.character().height;
        height + height / 4
    }

    fn margin(&self) -> u32 {
        self.character().height / 2
    }
}

/// The font for frames of this width, and its enlargement.
fn font(width: u32) -> (&'static MonoFont<'static>, u32) {
    match width {
        0..480 => (&FONT_6X10, 1),
        480..800 => (&FONT_8X13, 1),
        _ => (&FONT_10X20, (width / 1000).max(1)),
    }
}

/// Draws from the `origin` on, each pixel as a square of the scale.
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
        let (width, scale) = (self.width as usize, self.scale as usize);
        let (left, top) = (self.origin.0 as usize, self.origin.1 as usize);
        for Pixel(Point { x, y }, _) in pixels {
            let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else {
                continue;
            };
            let columns = left + x * scale..(left + (x + 1) * scale).min(width);
            for y in top + y * scale..top + (y + 1) * scale {
                let row = self.pixels.get_mut(y * width..(y + 1) * width);
                let square = row.and_then(|row| row.get_mut(columns.clone()));
                square.unwrap_or_default().fill(self.ink);
            }
        }
        Ok(())
    }
}
