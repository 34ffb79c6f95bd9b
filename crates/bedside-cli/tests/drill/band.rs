//! The words below a picture, read from its pixels.

use std::collections::HashMap;
use std::sync::OnceLock;

use bedside::{Frame, PixelFormat};
use bedside_vision::paint::palette::TEXT;
use bedside_vision::paint::{Band, Canvas};

use crate::feeder::{HEIGHT, WIDTH};

/// A character at this width of the picture, pixels.
const COLUMNS: usize = 6;
const ROWS: usize = 10;
/// From one line to the next.
const PITCH: usize = 12;
const MARGIN: usize = 5;
const LINES: usize = 3;
/// Side of the square before some words.
const SQUARE: usize = 7;
/// Luma that only words and squares have.
const INK: u8 = 60;
/// Between two words.
const GAP: &str = "   ";
/// What outputs are called.
pub(crate) const OUTPUTS: [&str; 3] = ["output ", "file of records", "result log"];

/// For each row, a bit for each column.
type Glyph = [u8; ROWS];

fn glyph(band: &[u8], line: usize, left: usize) -> Glyph {
    std::array::from_fn(|row| {
        let first = (MARGIN + line * PITCH + row) * WIDTH + left;
        let pixels = band[first..first + COLUMNS].iter();
        pixels.fold(0, |bits, luma| bits << 1 | u8::from(*luma > INK))
    })
}

/// What each character looks like.
fn font() -> &'static HashMap<Glyph, char> {
    static FONT: OnceLock<HashMap<Glyph, char>> = OnceLock::new();
    FONT.get_or_init(|| {
        let characters: Vec<char> = (' '..='~').collect();
        let lines = || characters.chunks(characters.len().div_ceil(2)).enumerate();
        let (width, height) = (WIDTH as u32, HEIGHT as u32);
        let mut band = Band::default();
        band.begin(width, LINES as u32);
        for (line, text) in lines() {
            band.line(line as u32, None, &String::from_iter(text), TEXT);
        }
        let dark = vec![0; WIDTH * HEIGHT * 3 / 2];
        let dark = Frame::new(width, height, PixelFormat::I420, dark).unwrap();
        let mut canvas = Canvas::default();
        canvas.begin(&dark, band.height());
        canvas.band(&band);
        let pixels = &canvas.finish().unwrap().data()[WIDTH * HEIGHT..];
        let looks = |(line, text): (usize, &[char])| {
            let places = text.iter().enumerate();
            let glyph = |place| glyph(pixels, line, MARGIN + place * COLUMNS);
            places
                .map(|(place, c)| (glyph(place), *c))
                .collect::<Vec<_>>()
        };
        lines().flat_map(looks).collect()
    })
}

/// The state, and behind it what is wrong with outputs, from the luma of a band.
pub(crate) fn read(band: &[u8]) -> String {
    let square: Glyph = std::array::from_fn(|row| match row {
        1..=SQUARE => (1 << COLUMNS) - 1,
        _ => 0,
    });
    let mut words: Vec<String> = Vec::new();
    for line in 0..LINES {
        let (mut text, mut left) = (String::new(), MARGIN);
        while left + COLUMNS <= WIDTH {
            let seen = glyph(band, line, left);
            if seen == square {
                left += SQUARE;
                continue;
            }
            text.push(font().get(&seen).copied().unwrap_or('?'));
            left += COLUMNS;
        }
        words.extend(text.split(GAP).map(|word| word.trim().to_owned()));
    }
    let mut words = words.into_iter();
    let state = words.next().unwrap_or_default().to_lowercase();
    let trouble = words.filter(|word| OUTPUTS.iter().any(|output| word.starts_with(output)));
    [state]
        .into_iter()
        .chain(trouble)
        .collect::<Vec<_>>()
        .join(", ")
}
