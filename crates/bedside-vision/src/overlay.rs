//! Masks drawn into a still frame, with a legend that a person can read.

use bedside_core::{FrameView, Mask};

use crate::colour::rgb_pixels;
use crate::paint::palette::{self, Colour, FAINT, TEXT};
use crate::paint::{Band, Canvas, Style};

/// One object to draw.
#[derive(Debug, Clone)]
pub struct Item<'a> {
    /// Its pixels; a mask of another size than the frame's is not drawn.
    pub mask: &'a Mask,
    /// Its name.
    pub label: String,
    /// What else the legend says of it.
    pub detail: String,
}

/// What was drawn: RGB, tightly packed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overlay {
    /// Width in pixels: the frame's.
    pub width: u32,
    /// Height in pixels: the frame's and the legend's.
    pub height: u32,
    /// `3 * width * height` bytes.
    pub rgb: Vec<u8>,
}

/// Draw `items` into a copy of the frame: a translucent fill and an outline each.
/// Legend and footer go into a band below, so that they cover nothing of the frame.
pub fn draw<'a>(frame: impl Into<FrameView<'a>>, items: &[Item<'_>], footer: &str) -> Overlay {
    let frame = frame.into();
    let lines = legend(items, footer, Band::columns(frame.width()));
    let mut band = Band::default();
    band.begin(frame.width(), lines.len() as u32);
    for (number, line) in (0..).zip(&lines) {
        band.line(number, line.mark, &line.text, line.colour);
    }
    let mut rgb = Vec::new();
    rgb_pixels(frame, &mut rgb);
    let mut canvas = Canvas::default();
    canvas.begin_rgb(frame.width(), frame.height(), rgb, band.height());
    for (place, item) in items.iter().enumerate() {
        if let (_, Some(extents)) = item.mask.measure_rows(0..item.mask.height()) {
            let style = Style::fresh(frame.width());
            canvas.mask(item.mask, extents, palette::object(place), style);
        }
    }
    canvas.band(&band);
    let (height, rgb) = canvas.into_bytes();
    Overlay {
        width: frame.width(),
        height,
        rgb,
    }
}

/// A line of the legend.
struct Line {
    mark: Option<Colour>,
    text: String,
    colour: Colour,
}

/// The legend's lines, none longer than `columns` characters but for single long words.
fn legend(items: &[Item<'_>], footer: &str, columns: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let text = format!("{}  {}", item.label, item.detail);
        for (number, text) in wrap(&text, columns.saturating_sub(2))
            .into_iter()
            .enumerate()
        {
            // The mark takes two characters, so further lines begin below the first one's words.
            let (mark, text) = match number {
                0 => (Some(palette::object(place)), text),
                _ => (None, format!("  {text}")),
            };
            lines.push(Line {
                mark,
                text,
                colour: TEXT,
            });
        }
    }
    let mut plain = |text: &str, colour| {
        lines.extend(wrap(text, columns).into_iter().map(|text| Line {
            mark: None,
            text,
            colour,
        }));
    };
    if items.is_empty() {
        plain("not present: nothing that was asked for", TEXT);
    }
    plain(footer, FAINT);
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
