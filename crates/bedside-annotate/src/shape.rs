//! What people draw, on the grid of a picture's pixels.

use std::path::{Path, PathBuf};

use bedside::Mask;
use bedside::vision::rle;
use bedside_video::still;

use crate::error::Error;
use crate::label_studio::brush;
use crate::task::Rle;

/// Most corners of an outline.
const MAX_CORNERS: usize = 1 << 16;

/// One thing that was drawn, as a tool tells it. It becomes pixels when its picture's turn comes.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// COCO's compressed run lengths of the whole picture.
    Compressed(Rle),
    /// COCO's run lengths as numbers: column by column, unset first.
    Columns {
        /// Height, width.
        size: [u32; 2],
        /// The run lengths.
        counts: Vec<u32>,
    },
    /// CVAT's run lengths: row by row inside a box, unset first.
    Box {
        /// Leftmost column of the box.
        left: u32,
        /// Topmost row.
        top: u32,
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// The run lengths.
        counts: Vec<u32>,
    },
    /// Label Studio's brush: packed run lengths of RGBA bytes.
    Brush(Vec<u8>),
    /// Corners in pixels, counted from the upper left corner of the first pixel.
    Outline(Vec<[f64; 2]>),
    /// A gray picture, 0 outside and 255 inside.
    File(PathBuf),
}

/// A mask in the making.
#[derive(Debug)]
pub(crate) struct Canvas {
    pub width: usize,
    pub height: usize,
    /// One byte a pixel, row by row, 0 or 1.
    pub pixels: Vec<u8>,
}

impl Canvas {
    pub(crate) fn new(width: u32, height: u32) -> Self {
        let (width, height) = (width as usize, height as usize);
        Self {
            width,
            height,
            pixels: vec![0; width * height],
        }
    }

    pub(crate) fn into_mask(self) -> Option<Mask> {
        Mask::from_bytes(self.width as u32, self.height as u32, self.pixels)
    }

    /// Set what a shape covers; what others covered stays.
    pub(crate) fn draw(&mut self, shape: &Shape) -> Result<(), Error> {
        match shape {
            Shape::Compressed(rle) => {
                self.check_size(rle.size)?;
                self.add(&rle.mask()?);
            }
            Shape::Columns { size, counts } => {
                self.check_size(*size)?;
                let [height, width] = *size;
                let mask = rle::decode(width, height, counts)
                    .map_err(|e| Error::input(format!("{e}; hint: export the masks again")))?;
                self.add(&mask);
            }
            Shape::Box {
                left,
                top,
                width,
                height,
                counts,
            } => self.draw_box([*left, *top, *width, *height], counts)?,
            Shape::Brush(packed) => brush::draw(packed, self)?,
            Shape::Outline(corners) => self.fill(corners)?,
            Shape::File(path) => self.add(&self.read(path)?),
        }
        Ok(())
    }

    /// Set pixels `from..to`, counted row by row.
    pub(crate) fn set(&mut self, from: usize, to: usize) {
        if let Some(run) = self.pixels.get_mut(from..to) {
            run.fill(1);
        }
    }

    fn add(&mut self, mask: &Mask) {
        for (pixel, more) in self.pixels.iter_mut().zip(mask.data()) {
            *pixel |= more;
        }
    }

    fn read(&self, path: &Path) -> Result<Mask, Error> {
        let picture = still::read(path).map_err(|e| Error::input(e.to_string()))?;
        let size = (self.width as u32, self.height as u32);
        bedside_eval::mask_of(&picture, size)
            .map_err(|e| Error::input(e.to_string()).at(path.display()))
    }

    fn check_size(&self, [height, width]: [u32; 2]) -> Result<(), Error> {
        if (width as usize, height as usize) == (self.width, self.height) {
            return Ok(());
        }
        Err(Error::input(format!(
            "a mask of {width}x{height} pixels on a picture of {}x{}; hint: export masks at the \
             pictures' size",
            self.width, self.height
        )))
    }

    fn draw_box(
        &mut self,
        [left, top, width, height]: [u32; 4],
        counts: &[u32],
    ) -> Result<(), Error> {
        let [left, top, columns, rows] = [left, top, width, height].map(|v| v as usize);
        if left + columns > self.width || top + rows > self.height {
            return Err(Error::input(format!(
                "a mask of {width}x{height} at {left},{top} reaches out of a picture of {}x{}; \
                 hint: export it again",
                self.width, self.height
            )));
        }
        let runs: u64 = counts.iter().map(|c| u64::from(*c)).sum();
        if runs != (columns * rows) as u64 {
            return Err(Error::input(format!(
                "run lengths add up to {runs} of {} pixels; hint: export the masks again",
                columns * rows
            )));
        }
        let mut at = 0;
        for (place, count) in counts.iter().enumerate() {
            let end = at + *count as usize;
            // A run goes on in the box's next row.
            while at < end {
                let (x, y) = (at % columns, at / columns);
                let next = end.min((y + 1) * columns);
                if place % 2 == 1 {
                    let from = (top + y) * self.width + left + x;
                    self.set(from, from + next - at);
                }
                at = next;
            }
        }
        Ok(())
    }

    /// Set the pixels whose centres lie inside an outline; where it crosses itself, those that an odd
    /// number of its turns surround.
    fn fill(&mut self, corners: &[[f64; 2]]) -> Result<(), Error> {
        if corners.len() < 3 || corners.len() > MAX_CORNERS {
            return Err(Error::input(format!(
                "an outline of {} corners; hint: it takes 3 to {MAX_CORNERS}",
                corners.len()
            )));
        }
        if corners.iter().flatten().any(|v| !v.is_finite()) {
            return Err(Error::input(
                "an outline with a corner that is no number; hint: draw it again",
            ));
        }
        // Each edge turns over all that lies right of it, row by row.
        let mut turns = vec![0_u8; self.pixels.len()];
        let ends = corners.iter().cycle().skip(1);
        for ([x0, y0], [x1, y1]) in corners.iter().zip(ends) {
            let row = |y: f64| (y - 0.5).ceil().clamp(0.0, self.height as f64) as usize;
            let (first, last) = (row(y0.min(*y1)), row(y0.max(*y1)));
            for y in first..last {
                let along = (y as f64 + 0.5 - y0) / (y1 - y0);
                let x = x0 + along * (x1 - x0);
                let column = (x - 0.5).ceil().clamp(0.0, self.width as f64) as usize;
                if column < self.width
                    && let Some(turn) = turns.get_mut(y * self.width + column)
                {
                    *turn ^= 1;
                }
            }
        }
        let rows = turns.chunks_exact(self.width);
        for (pixels, turns) in self.pixels.chunks_exact_mut(self.width).zip(rows) {
            let mut inside = 0;
            for (pixel, turn) in pixels.iter_mut().zip(turns) {
                inside ^= turn;
                *pixel |= inside;
            }
        }
        Ok(())
    }
}
