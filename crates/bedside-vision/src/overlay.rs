//! Masks drawn into a picture, with a legend that a person can read.

use std::convert::Infallible;

use bedside_core::Mask;
use embedded_graphics::mono_font::iso_8859_1::{FONT_6X10, FONT_8X13, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};

use crate::contour::outline;

/// Okabe and Ito's colours (2008), which colour-blind eyes tell apart, without black and with
/// those that stand out from tissue first.
const PALETTE: [Rgb888; 7] = [
    Rgb888::new(86, 180, 233),
    Rgb888::new(240, 228, 66),
    Rgb888::new(0, 158, 115),
    Rgb888::new(230, 159, 0),
    Rgb888::new(204, 121, 167),
    Rgb888::new(0, 114, 178),
    Rgb888::new(213, 94, 0),
];
const PANEL: Rgb888 = Rgb888::new(24, 24, 24);
const TEXT: Rgb888 = Rgb888::new(240, 240, 240);
const FAINT: Rgb888 = Rgb888::new(176, 176, 176);
/// Share of the colour in the fill, of 256: the tissue below stays visible.
const FILL: u32 = 72;

/// One object to draw.
#[derive(Debug, Clone)]
pub struct Item<'a> {
    /// Its pixels, of the picture's size; other sizes are drawn as far as they reach.
    pub mask: &'a Mask,
    /// Its name.
    pub label: String,
    /// What else the legend tells.
    pub detail: String,
}

/// An RGB picture, tightly packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `3 * width * height` bytes.
    pub data: Vec<u8>,
}

/// Draw `items` into a `width` x `height` RGB picture: a translucent fill and an outline each.
/// Legend and footer go into a panel below, so that they cover nothing of the picture.
///
/// `rgb` holds `3 * width * height` bytes; a shorter one is filled up with black.
pub fn draw(width: u32, height: u32, rgb: &[u8], items: &[Item<'_>], footer: &str) -> Picture {
    let style = Style::for_width(width);
    let lines = legend(items, footer, style.columns(width));
    let panel = style.line * lines.len() as u32 + 2 * style.margin;
    let mut data = rgb.to_vec();
    data.resize(width as usize * (height + panel) as usize * 3, 0);
    let mut picture = Picture {
        width,
        height: height + panel,
        data,
    };
    for (item, colour) in items.iter().zip(PALETTE.iter().cycle()) {
        picture.paint(item.mask, *colour, style.stroke);
    }
    picture.fill(
        Rectangle::new(Point::new(0, height as i32), Size::new(width, panel)),
        PANEL,
    );
    for (i, line) in (0..).zip(&lines) {
        picture.line(line, height + style.margin + i * style.line, &style);
    }
    picture
}

/// A line of the panel.
struct Line {
    swatch: Option<Rgb888>,
    text: String,
    colour: Rgb888,
}

/// The panel's lines, none longer than `columns` characters but for single long words.
fn legend(items: &[Item<'_>], footer: &str, columns: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut add = |text: &str, swatch: Option<Rgb888>, colour| {
        let indent = if swatch.is_some() { 2 } else { 0 };
        for (i, text) in wrap(text, columns.saturating_sub(indent))
            .into_iter()
            .enumerate()
        {
            lines.push(Line {
                swatch: swatch.filter(|_| i == 0),
                text: format!("{}{text}", " ".repeat(indent)),
                colour,
            });
        }
    };
    for (item, colour) in items.iter().zip(PALETTE.iter().cycle()) {
        add(
            &format!("{}  {}", item.label, item.detail),
            Some(*colour),
            TEXT,
        );
    }
    if items.is_empty() {
        add("not present: nothing that was asked for", None, TEXT);
    }
    add(footer, None, FAINT);
    lines
}

/// Break at spaces.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Sizes that fit a picture's width.
struct Style {
    font: &'static MonoFont<'static>,
    /// Whole-number enlargement of the font.
    scale: u32,
    line: u32,
    margin: u32,
    stroke: u32,
}

impl Style {
    fn for_width(width: u32) -> Self {
        let (font, scale) = match width {
            0..480 => (&FONT_6X10, 1),
            480..800 => (&FONT_8X13, 1),
            _ => (&FONT_10X20, (width / 1000).max(1)),
        };
        let height = font.character_size.height * scale;
        Self {
            font,
            scale,
            line: height + height / 4,
            margin: height / 2,
            stroke: (width / 500).max(1),
        }
    }

    fn columns(&self, width: u32) -> usize {
        (width.saturating_sub(2 * self.margin) / (self.font.character_size.width * self.scale))
            as usize
    }
}

impl Picture {
    fn pixel(&mut self, x: u32, y: u32) -> Option<&mut [u8]> {
        let at = (y as usize * self.width as usize + x as usize) * 3;
        if x < self.width {
            self.data.get_mut(at..at + 3)
        } else {
            None
        }
    }

    fn set(&mut self, x: u32, y: u32, colour: Rgb888) {
        if let Some(pixel) = self.pixel(x, y) {
            pixel.copy_from_slice(&[colour.r(), colour.g(), colour.b()]);
        }
    }

    fn fill(&mut self, area: Rectangle, colour: Rgb888) {
        let drawn: Result<(), Infallible> = area
            .into_styled(PrimitiveStyle::with_fill(colour))
            .draw(&mut Scaled::of(self, 1));
        drawn.unwrap_or_default();
    }

    /// Fill and outline.
    fn paint(&mut self, mask: &Mask, colour: Rgb888, stroke: u32) {
        let rows = mask.data().chunks_exact((mask.width() as usize).max(1));
        for (y, row) in (0..).zip(rows) {
            for (x, _) in (0..).zip(row).filter(|(_, v)| **v == 1) {
                if let Some(pixel) = self.pixel(x, y) {
                    for (v, c) in pixel.iter_mut().zip([colour.r(), colour.g(), colour.b()]) {
                        *v = ((u32::from(*v) * (256 - FILL) + u32::from(c) * FILL) / 256) as u8;
                    }
                }
            }
        }
        for (x, y) in outline(mask) {
            let near = |at: u32| at.saturating_sub(stroke - 1)..at + stroke;
            for (x, y) in near(x).flat_map(|x| near(y).map(move |y| (x, y))) {
                // Thicker strokes grow to the inside: no pixel outside the mask is touched.
                if mask.get(x, y) {
                    self.set(x, y, colour);
                }
            }
        }
    }

    fn line(&mut self, line: &Line, y: u32, style: &Style) {
        let x = style.margin;
        let side = style.font.character_size.height * style.scale * 3 / 4;
        if let Some(swatch) = line.swatch {
            let corner = Point::new(x as i32, (y + side / 6) as i32);
            self.fill(Rectangle::new(corner, Size::new(side, side)), swatch);
        }
        let text = MonoTextStyle::new(style.font, line.colour);
        let at = Point::new((x / style.scale) as i32, (y / style.scale) as i32);
        let drawn: Result<Point, Infallible> =
            Text::with_baseline(&line.text, at, text, Baseline::Top)
                .draw(&mut Scaled::of(self, style.scale));
        drawn.map(|_| ()).unwrap_or_default();
    }
}

/// Draws each pixel as a square of `scale` x `scale`.
struct Scaled<'a> {
    picture: &'a mut Picture,
    scale: u32,
}

impl<'a> Scaled<'a> {
    fn of(picture: &'a mut Picture, scale: u32) -> Self {
        Self { picture, scale }
    }
}

impl OriginDimensions for Scaled<'_> {
    fn size(&self) -> Size {
        Size::new(
            self.picture.width / self.scale,
            self.picture.height / self.scale,
        )
    }
}

impl DrawTarget for Scaled<'_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Infallible> {
        for Pixel(point, colour) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(point.x), u32::try_from(point.y)) else {
                continue;
            };
            for (dx, dy) in (0..self.scale).flat_map(|dx| (0..self.scale).map(move |dy| (dx, dy))) {
                let (x, y) = (x * self.scale + dx, y * self.scale + dy);
                if y < self.picture.height {
                    self.picture.set(x, y, colour);
                }
            }
        }
        Ok(())
    }
}
