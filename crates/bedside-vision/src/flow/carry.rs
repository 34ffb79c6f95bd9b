//! Masks carried from a keyframe to the newest frame.

use std::ops::Range;

use bedside_core::{BoundingBox, Mask};

use super::luma::{Grid, Luma};
use super::search::Shift;
use super::{Flow, mix, pixel_at, shift_at};

/// The way of all pixels from a keyframe to the newest frame.
///
/// It is kept for squares of two by two reduced pixels: flow is a blend over patches of 8 x 8, so
/// little finer is lost, and there are several tracks to be followed in every frame.
#[derive(Debug, Clone, Default)]
pub struct Track {
    grid: Grid,
    /// For each square of the newest frame the shift to where it was in the keyframe, in reduced
    /// pixels.
    field: Vec<Shift>,
    /// For each square 1 where each step so far was sound, else 0.
    sound: Vec<u8>,
    /// The two above while the next step is made.
    next_field: Vec<Shift>,
    next_sound: Vec<u8>,
}

impl Track {
    /// Begin at a keyframe.
    pub fn start(&mut self, keyframe: &Luma) {
        self.begin(*keyframe.grid(), 1);
    }

    #[cfg(test)]
    pub(super) fn buffers(&self) -> Vec<(usize, usize)> {
        let fields = [&self.field, &self.next_field].map(super::tests::buffer);
        let sounds = [&self.sound, &self.next_sound].map(super::tests::buffer);
        fields.into_iter().chain(sounds).collect()
    }

    /// Squares in a row, and rows of them.
    fn squares(&self) -> (usize, usize) {
        (self.grid.width.div_ceil(2), self.grid.height.div_ceil(2))
    }

    fn begin(&mut self, grid: Grid, sound: u8) {
        self.grid = grid;
        let (columns, rows) = self.squares();
        for field in [&mut self.field, &mut self.next_field] {
            field.clear();
            field.resize(columns * rows, [0.0; 2]);
        }
        for all in [&mut self.sound, &mut self.next_sound] {
            all.clear();
            all.resize(columns * rows, sound);
        }
    }

    /// Go on by the movement from the newest frame so far to the next. After a frame of another
    /// size the track is lost: masks are carried without confidence.
    pub fn step(&mut self, flow: &Flow) {
        if self.grid != flow.grid {
            self.begin(flow.grid, 0);
            return;
        }
        let (columns, rows) = self.squares();
        let width = self.grid.width;
        if columns * rows == 0 {
            return;
        }
        let steps = flow.field().chunks(2 * width);
        let steps = steps.zip(flow.sound.chunks(2 * width));
        let lines = self.next_field.chunks_exact_mut(columns);
        let lines = lines.zip(self.next_sound.chunks_exact_mut(columns));
        for (y, ((field, sound), (steps, passed))) in lines.zip(steps).enumerate() {
            let (above, below) = halves(steps, width);
            let steps = above.chunks(2).zip(below.chunks(2));
            let (above, below) = halves(passed, width);
            let passed = above.chunks(2).zip(below.chunks(2));
            let squares = field.iter_mut().zip(sound).zip(steps.zip(passed));
            for (x, ((field, sound), (steps, passed))) in squares.enumerate() {
                let [dx, dy] = middle(steps.0, steps.1);
                let (there_x, there_y) = (x as f32 + dx * 0.5, y as f32 + dy * 0.5);
                let [ex, ey] = shift_at(&self.field, there_x, there_y, columns, rows);
                *field = [dx + ex, dy + ey];
                let before = pixel_at(there_x, there_y, columns, rows);
                let before = before.and_then(|(x, y)| self.sound.get(y * columns + x));
                let all = passed.0.iter().chain(passed.1);
                *sound = all.fold(before.copied().unwrap_or_default(), |all, one| all & one);
            }
        }
        std::mem::swap(&mut self.field, &mut self.next_field);
        std::mem::swap(&mut self.sound, &mut self.next_sound);
    }

    /// Write the shifts of a row of squares at a height between two of them to `row`.
    fn row_at(&self, y: f32, row: &mut [Shift]) {
        let (columns, rows) = self.squares();
        let y = y.max(0.0).min(rows.saturating_sub(1) as f32);
        let (top, down) = (y as usize, y.fract());
        let line = |y: usize| {
            let y = y.min(rows.saturating_sub(1));
            let line = self.field.get(y * columns..(y + 1) * columns);
            line.unwrap_or_default()
        };
        for ((to, above), below) in row.iter_mut().zip(line(top)).zip(line(top + 1)) {
            *to = mix(*above, *below, down);
        }
    }
}

/// Two rows of this length, or one twice.
fn halves<T>(rows: &[T], length: usize) -> (&[T], &[T]) {
    match rows.split_at_checked(length) {
        Some((above, below)) if !below.is_empty() => (above, below),
        _ => (rows, rows),
    }
}

/// The mean of a square of shifts, which is cut at odd rims.
#[inline]
fn middle(above: &[Shift], below: &[Shift]) -> Shift {
    match (above, below) {
        ([a, b], [c, d]) => mix(mix(*a, *b, 0.5), mix(*c, *d, 0.5), 0.5),
        ([a, ..], [c, ..]) => mix(*a, *c, 0.5),
        _ => Shift::default(),
    }
}

/// Whether the frame's pixels in and around a reduced pixel are all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Cell {
    #[default]
    Clear,
    Set,
    Mixed,
}

impl Cell {
    fn and(self, other: Self) -> Self {
        if self == other { self } else { Self::Mixed }
    }
}

/// A keyframe's mask, to be carried along its track.
#[derive(Debug, Clone)]
pub struct Carrier {
    mask: Mask,
    /// What it is in the newest frame, and the rows of that which may be set.
    carried: Mask,
    written: Range<u32>,
    grid: Grid,
    /// For each reduced pixel what the mask is in it and the eight around it.
    cells: Vec<Cell>,
    /// Columns and rows of the cells that are not clear.
    used: (Range<usize>, Range<usize>),
    /// What the carried mask is in a row of reduced pixels.
    row: Vec<Cell>,
    /// Set pixels in the columns of a row of reduced pixels.
    sums: Vec<u16>,
    /// The track's shifts along a row.
    shifts: Vec<Shift>,
}

impl Default for Carrier {
    fn default() -> Self {
        Self {
            mask: Mask::empty(0, 0),
            carried: Mask::empty(0, 0),
            written: 0..0,
            grid: Grid::default(),
            cells: Vec::new(),
            used: (0..0, 0..0),
            row: Vec::new(),
            sums: Vec::new(),
            shifts: Vec::new(),
        }
    }
}

impl Carrier {
    /// Take a keyframe's mask. Allocates only when masks before were smaller.
    pub fn take(&mut self, mask: &Mask) {
        let (width, height) = (mask.width(), mask.height());
        let grid = Grid::of(width, height);
        if self.grid != grid {
            self.grid = grid;
            self.mask.reset(width, height);
            self.row.resize(grid.width, Cell::Clear);
            self.sums.resize(width as usize, 0);
            self.shifts.resize(grid.width.div_ceil(2), [0.0; 2]);
        }
        self.cells.clear();
        self.used = (0..0, 0..0);
        if grid.pixels() == 0 {
            return;
        }
        let mut rows = mask.data().chunks_exact(width as usize);
        let (sums, cells) = (&mut self.sums, &mut self.cells);
        let mut summed = 0;
        self.mask.write_rows(0..height, |y, row| {
            row.copy_from_slice(rows.next().unwrap_or_default());
            if summed == 0 {
                sums.fill(0);
            }
            for (sum, v) in sums.iter_mut().zip(row) {
                *sum += u16::from(*v);
            }
            summed += 1;
            if summed == grid.scale || y + 1 == height {
                let of = |sums: &[u16]| match sums.iter().map(|sum| usize::from(*sum)).sum() {
                    0 => Cell::Clear,
                    set if set == summed * sums.len() => Cell::Set,
                    _ => Cell::Mixed,
                };
                cells.extend(sums.chunks(grid.scale).map(of));
                summed = 0;
            }
        });
        widen(&mut self.cells, &mut self.row);
        self.used = used(&self.cells, grid.width);
    }

    /// Find what the mask is in the newest frame of its keyframe's track, at the frame's size; give
    /// the share of it, 0 to 1, whose way was sound at each step.
    ///
    /// The share is 0 when nothing of the mask is left in the frame, or when the mask has not the
    /// size of the track's frames (then nothing is carried), and 1 for a mask that was empty.
    pub fn carry(&mut self, track: &Track) -> f32 {
        let (width, height) = track.grid.frame;
        if (self.carried.width(), self.carried.height()) == (width, height) {
            let written = self.written.clone();
            self.carried.write_rows(written, |_, row| row.fill(0));
        } else {
            self.carried.reset(width, height);
        }
        self.written = 0..0;
        if self.grid != track.grid || self.grid.pixels() == 0 {
            return 0.0;
        }
        let mut carried = std::mem::replace(&mut self.carried, Mask::empty(0, 0));
        let confidence = self.fill(track, &mut carried);
        self.carried = carried;
        confidence
    }

    /// What [`carry`](Self::carry) found.
    pub fn carried(&self) -> &Mask {
        &self.carried
    }

    /// Number of the carried mask's pixels, and the box around them unless there are none.
    pub fn measure(&self) -> (u64, Option<BoundingBox>) {
        self.carried.measure_rows(self.written.clone())
    }

    #[cfg(test)]
    pub(super) fn buffers(&self) -> Vec<(usize, usize)> {
        let mask = self.mask.data();
        let carried = self.carried.data();
        let carried = (carried.as_ptr().addr(), carried.len());
        let cells = [&self.cells, &self.row].map(super::tests::buffer);
        let mask = (mask.as_ptr().addr(), mask.len());
        let (sums, shifts) = (
            super::tests::buffer(&self.sums),
            super::tests::buffer(&self.shifts),
        );
        cells
            .into_iter()
            .chain([mask, carried, sums, shifts])
            .collect()
    }

    fn fill(&mut self, track: &Track, out: &mut Mask) -> f32 {
        let scale = self.grid.scale;
        let (columns, _) = track.squares();
        let (along, down) = self.window(track);
        // Of the cells whose middle is set, and of all that the mask may touch.
        let (mut all, mut sound) = ([0_u32; 2], [0_u32; 2]);
        let (mut cells, mut shifts) = (
            std::mem::take(&mut self.row),
            std::mem::take(&mut self.shifts),
        );
        cells.fill(Cell::Clear);
        for y in down {
            track.row_at(square_at(y, 1), &mut shifts);
            let passed = track.sound.get(y / 2 * columns..).unwrap_or_default();
            let passed = passed.iter().flat_map(|passed| [passed; 2]);
            let here = cells.iter_mut().enumerate().zip(passed);
            for ((x, cell), passed) in here.take(along.end).skip(along.start) {
                let shift = shift_along(&shifts, square_at(x, 1));
                *cell = self.cell(x as f32, y as f32, shift);
                let middle = |at: usize| (at * scale + scale / 2) as f32;
                if *cell == Cell::Clear {
                    continue;
                }
                let set = self.pixel(middle(x), middle(y), shift);
                for ((all, sound), one) in all.iter_mut().zip(&mut sound).zip([set, 1]) {
                    *all += u32::from(one);
                    *sound += u32::from(one & passed);
                }
            }
            let mixed = cells.contains(&Cell::Mixed);
            if !mixed && !cells.contains(&Cell::Set) {
                continue;
            }
            let first = (y * scale) as u32;
            let rows = first..(first + scale as u32).min(out.height());
            if self.written.is_empty() {
                self.written.start = first;
            }
            self.written.end = rows.end;
            out.write_rows(rows, |y, row| {
                let y = y as usize;
                if mixed {
                    track.row_at(square_at(y, scale), &mut shifts);
                }
                self.fill_row(&cells, &shifts, y, row);
            });
        }
        (self.row, self.shifts) = (cells, shifts);
        let [set, touched] = all;
        let [set_sound, touched_sound] = sound;
        if set > 0 {
            set_sound as f32 / set as f32
        } else if out.area() > 0 {
            // A mask so small that it covers no middle.
            touched_sound as f32 / touched.max(1) as f32
        } else {
            f32::from(u8::from(self.mask.is_empty()))
        }
    }

    /// Columns and rows of reduced pixels outside which nothing of the mask can have come: its own,
    /// and the longest way around them.
    fn window(&self, track: &Track) -> (Range<usize>, Range<usize>) {
        let mut reach = [0.0_f32; 2];
        for shift in &track.field {
            for (reach, way) in reach.iter_mut().zip(shift) {
                *reach = reach.max(way.abs());
            }
        }
        let Grid { width, height, .. } = self.grid;
        let [along, down] = reach.map(|way| way as usize + 2);
        let (columns, rows) = &self.used;
        let widened = |used: &Range<usize>, by: usize, end: usize| {
            used.start.saturating_sub(by)..used.end.saturating_add(by).min(end)
        };
        match columns.is_empty() {
            true => (0..0, 0..0),
            false => (widened(columns, along, width), widened(rows, down, height)),
        }
    }

    /// One row of the frame: runs of equal cells at once, pixels only where cells are mixed.
    fn fill_row(&self, cells: &[Cell], shifts: &[Shift], y: usize, mut row: &mut [u8]) {
        let scale = self.grid.scale;
        let mut x = 0;
        for run in cells.chunk_by(|a, b| a == b) {
            let (pixels, rest) = row.split_at_mut((run.len() * scale).min(row.len()));
            match run.first() {
                Some(Cell::Mixed) => {
                    for (x, pixel) in (x..).zip(pixels.iter_mut()) {
                        let shift = shift_along(shifts, square_at(x, scale));
                        *pixel = self.pixel(x as f32, y as f32, shift);
                    }
                }
                Some(Cell::Set) => pixels.fill(1),
                _ => pixels.fill(0),
            }
            x += pixels.len();
            row = rest;
        }
    }

    /// What the mask is around where a reduced pixel was.
    #[inline]
    fn cell(&self, x: f32, y: f32, [dx, dy]: Shift) -> Cell {
        let Grid { width, height, .. } = self.grid;
        let pixel = nearest(y + dy, height) * width + nearest(x + dx, width);
        self.cells.get(pixel).copied().unwrap_or_default()
    }

    /// What the mask is where a pixel of the frame was; the shift is in reduced pixels.
    #[inline]
    fn pixel(&self, x: f32, y: f32, [dx, dy]: Shift) -> u8 {
        let Grid { frame, scale, .. } = self.grid;
        let (width, height, scale) = (frame.0 as usize, frame.1 as usize, scale as f32);
        let pixel = nearest(y + dy * scale, height) * width + nearest(x + dx * scale, width);
        self.mask.data().get(pixel).copied().unwrap_or_default()
    }
}

/// Where the middle of a pixel of the frame, of which a reduced pixel has `scale`, lies among the
/// middles of a track's squares, on an axis.
#[inline]
fn square_at(pixel: usize, scale: usize) -> f32 {
    (pixel as f32 + 0.5) / (2 * scale) as f32 - 0.5
}

/// The shift at a position between squares of a row, at the rim when it is outside.
#[inline]
fn shift_along(row: &[Shift], x: f32) -> Shift {
    let x = x.max(0.0);
    let pair = row.get(x as usize..).unwrap_or_default();
    match *pair {
        [a, b, ..] => mix(a, b, x.fract()),
        [a] => a,
        [] => row.last().copied().unwrap_or_default(),
    }
}

/// The pixel nearest to a position on an axis, pixel centres at whole numbers: beyond the rim it is
/// the one at the rim.
#[inline]
fn nearest(at: f32, side: usize) -> usize {
    ((at + 0.5).max(0.0) as usize).min(side.saturating_sub(1))
}

/// Columns and rows of the cells that are not clear; empty when all are.
fn used(cells: &[Cell], width: usize) -> (Range<usize>, Range<usize>) {
    let (mut left, mut right, mut top, mut bottom) = (usize::MAX, 0, usize::MAX, 0);
    let is_used = |cell: &Cell| *cell != Cell::Clear;
    for (y, row) in cells.chunks_exact(width).enumerate() {
        if let (Some(first), Some(last)) =
            (row.iter().position(is_used), row.iter().rposition(is_used))
        {
            (left, right) = (left.min(first), right.max(last + 1));
            (top, bottom) = (top.min(y), y + 1);
        }
    }
    (left..right, top..bottom)
}

/// Make each cell tell of the eight around it too, `row` being room for one row.
fn widen(cells: &mut [Cell], row: &mut [Cell]) {
    let width = row.len();
    for line in cells.chunks_exact_mut(width) {
        let mut left = line.first().copied().unwrap_or_default();
        for i in 0..width {
            let right = line.get(i + 1).or(line.get(i)).copied().unwrap_or_default();
            if let Some(cell) = line.get_mut(i) {
                let own = *cell;
                *cell = left.and(own).and(right);
                left = own;
            }
        }
    }
    if let Some(first) = cells.get(..width) {
        row.copy_from_slice(first);
    }
    for start in (0..cells.len()).step_by(width) {
        let Some((line, below)) = cells
            .get_mut(start..)
            .and_then(|c| c.split_at_mut_checked(width))
        else {
            return;
        };
        for (i, (cell, above)) in line.iter_mut().zip(row.iter_mut()).enumerate() {
            let own = *cell;
            *cell = above.and(own).and(below.get(i).copied().unwrap_or(own));
            *above = own;
        }
    }
}
