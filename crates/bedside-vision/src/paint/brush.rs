//! How strongly a mask is painted: its fill, and its outline.

use std::ops::Range;

use bedside_core::Mask;

/// Opacity of what is painted over wholly.
pub(super) const FULL: u16 = 256;
/// Opacity of the fill of a fresh mask.
const FILL: u16 = 72;

/// What a mask is painted with: a fill that lets the tissue below be seen, and an outline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// Opacity of the fill, of [`FULL`].
    fill: u16,
    /// Pixels that the outline is wide; it lies inside of the mask.
    stroke: usize,
    /// Pixels of a dash, and between two; 0 for a full outline.
    dash: usize,
}

impl Style {
    /// For a mask of the frame itself, of this width: a full outline.
    pub fn fresh(width: u32) -> Self {
        Self {
            fill: FILL,
            stroke: (width / 320).max(2) as usize,
            dash: 0,
        }
    }

    /// For a mask that was carried from an older frame: a dashed outline, half the fill.
    pub fn carried(width: u32) -> Self {
        Self {
            fill: FILL / 2,
            dash: longest_dash(width as usize),
            ..Self::fresh(width)
        }
    }
}

/// The longest dash in frames of this width.
fn longest_dash(width: usize) -> usize {
    (width / 80).max(6)
}

/// Opacities of two rows of pixels, which share their chroma, at a time.
#[derive(Debug, Default)]
pub(super) struct Brush {
    rows: [Vec<u16>; 2],
    halved: Vec<u16>,
    /// 1 where the pixels a stroke to the left and to the right are set.
    between: Vec<u8>,
    /// 1 where the outline is drawn: each row of a frame reads it from some place on.
    dashes: Vec<u8>,
    width: usize,
    style: Style,
}

impl Brush {
    /// Have all memory that masks of this width may need.
    pub(super) fn fit(&mut self, width: usize) {
        if width == self.width {
            return;
        }
        (self.width, self.style) = (width, Style::default());
        self.between.resize(width, 0);
        for row in &mut self.rows {
            row.clear();
            row.reserve(width);
        }
        self.halved.clear();
        self.halved.reserve(width.div_ceil(2));
        self.dashes.clear();
        self.dashes.reserve(width + 2 * longest_dash(width));
    }

    /// Paint with this from here on.
    pub(super) fn begin(&mut self, style: Style) {
        if style == self.style {
            return;
        }
        self.style = style;
        let width = self.width;
        let drawn = |x: usize| style.dash == 0 || (x / style.dash).is_multiple_of(2);
        self.dashes.clear();
        self.dashes
            .extend((0..width + 2 * style.dash).map(|x| u8::from(drawn(x))));
    }

    /// Take the mask's rows `y` and `y + 1`, of which only these columns are painted.
    pub(super) fn take(&mut self, mask: &Mask, y: usize, columns: &Range<usize>) {
        let mut rows = std::mem::take(&mut self.rows);
        for (y, out) in (y..).zip(&mut rows) {
            out.resize(columns.len(), 0);
            self.row(mask, y.min(mask.height() as usize - 1), columns, out);
        }
        let [first, second] = &rows;
        let sum = |pair: &[u16]| match *pair {
            [a, b] => a + b,
            [a] => 2 * a,
            _ => 0,
        };
        let squares = first.chunks(2).zip(second.chunks(2));
        self.halved.clear();
        self.halved
            .extend(squares.map(|(above, below)| (sum(above) + sum(below)) / 4));
        self.rows = rows;
    }

    fn row(&mut self, mask: &Mask, y: usize, columns: &Range<usize>, out: &mut [u16]) {
        let Style { fill, stroke, dash } = self.style;
        let width = self.width;
        let row = |y: usize| mask.data().get(y * width..(y + 1) * width);
        let here = row(y).unwrap_or_default();
        // Beyond the frame's edge the object goes on.
        let above = y.checked_sub(stroke).and_then(row).unwrap_or(here);
        let below = row(y + stroke).unwrap_or(here);
        self.between.fill(1);
        for (both, left) in self.between.iter_mut().skip(stroke).zip(here) {
            *both &= left;
        }
        for (both, right) in self.between.iter_mut().zip(here.iter().skip(stroke)) {
            *both &= right;
        }
        let start = y.checked_rem(2 * dash).unwrap_or_default();
        let dashes = self.dashes.get(start..).unwrap_or_default();
        let [here, between, above, below, dashes] = [here, &self.between, above, below, dashes]
            .map(|row| {
                let row = row.get(columns.clone());
                row.unwrap_or_default()
            });
        let around = between.iter().zip(above.iter().zip(below));
        let pixels = here.iter().zip(around).zip(dashes).zip(out);
        for (((set, (between, (above, below))), drawn), opacity) in pixels {
            let outline = set & !(between & above & below) & drawn;
            *opacity = if outline == 1 {
                FULL
            } else {
                u16::from(*set) * fill
            };
        }
    }

    /// Opacities of both rows' pixels in the columns.
    pub(super) fn rows(&self) -> &[Vec<u16>; 2] {
        &self.rows
    }

    /// Mean opacities of squares of two by two pixels.
    pub(super) fn halved(&self) -> &[u16] {
        &self.halved
    }
}
