//! Masks carried from a keyframe to the newest frame.

use bedside_core::Mask;

use super::luma::{Grid, Luma};
use super::search::Shift;
use super::{Flow, pixel_at, shift_at};

/// The way of all pixels from a keyframe to the newest frame.
#[derive(Debug, Clone, Default)]
pub struct Track {
    grid: Grid,
    /// For each pixel of the newest frame the shift to where it was in the keyframe.
    field: Vec<Shift>,
    /// For each pixel 1 where each step so far was sound, else 0.
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

    fn begin(&mut self, grid: Grid, sound: u8) {
        self.grid = grid;
        for field in [&mut self.field, &mut self.next_field] {
            field.clear();
            field.resize(grid.pixels(), [0.0; 2]);
        }
        for all in [&mut self.sound, &mut self.next_sound] {
            all.clear();
            all.resize(grid.pixels(), sound);
        }
    }

    /// Go on by the movement from the newest frame so far to the next. After a frame of another
    /// size the track is lost: masks are carried without confidence.
    pub fn step(&mut self, flow: &Flow) {
        if self.grid != flow.grid {
            self.begin(flow.grid, 0);
            return;
        }
        let Grid { width, height, .. } = self.grid;
        if self.grid.pixels() == 0 {
            return;
        }
        let steps = flow
            .field()
            .chunks_exact(width)
            .zip(flow.sound.chunks_exact(width));
        let fields = self.next_field.chunks_exact_mut(width);
        let rows = fields.zip(self.next_sound.chunks_exact_mut(width));
        for (y, ((field, sound), (steps, passed))) in rows.zip(steps).enumerate() {
            let pixels = field.iter_mut().zip(sound).zip(steps.iter().zip(passed));
            for (x, ((field, sound), ([dx, dy], passed))) in pixels.enumerate() {
                let (there_x, there_y) = (x as f32 + dx, y as f32 + dy);
                let [ex, ey] = shift_at(&self.field, there_x, there_y, width, height);
                *field = [dx + ex, dy + ey];
                let before = pixel_at(there_x, there_y, width, height);
                let before = before.and_then(|(x, y)| self.sound.get(y * width + x));
                *sound = passed & before.copied().unwrap_or_default();
            }
        }
        std::mem::swap(&mut self.field, &mut self.next_field);
        std::mem::swap(&mut self.sound, &mut self.next_sound);
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
    grid: Grid,
    /// For each reduced pixel what the mask is in it and the eight around it.
    cells: Vec<Cell>,
    /// What the carried mask is in a row of reduced pixels.
    row: Vec<Cell>,
}

impl Default for Carrier {
    fn default() -> Self {
        Self {
            mask: Mask::empty(0, 0),
            grid: Grid::default(),
            cells: Vec::new(),
            row: Vec::new(),
        }
    }
}

impl Carrier {
    /// Take a keyframe's mask. Allocates only when masks before were smaller.
    pub fn take(&mut self, mask: &Mask) {
        refill(&mut self.mask, mask.width(), mask.height(), |data| {
            data.copy_from_slice(mask.data());
        });
        let grid = Grid::of(mask.width(), mask.height());
        self.grid = grid;
        self.row.clear();
        self.row.resize(grid.width, Cell::Clear);
        self.cells.clear();
        if grid.pixels() == 0 {
            return;
        }
        let frame_width = mask.width() as usize;
        for band in mask.data().chunks(frame_width * grid.scale) {
            let of = |pixels: &[u8]| match pixels.iter().map(|v| usize::from(*v)).sum() {
                0 => Cell::Clear,
                set if set == pixels.len() => Cell::Set,
                _ => Cell::Mixed,
            };
            let mut rows = band.chunks_exact(frame_width);
            let first = rows.next().unwrap_or_default();
            let start = self.cells.len();
            self.cells.extend(first.chunks(grid.scale).map(of));
            for row in rows {
                let cells = self.cells.iter_mut().skip(start);
                for (cell, pixels) in cells.zip(row.chunks(grid.scale)) {
                    *cell = cell.and(of(pixels));
                }
            }
        }
        widen(&mut self.cells, &mut self.row);
    }

    /// Write what the mask is in the newest frame of its keyframe's track to `out`, at the frame's
    /// size; give the share of it, 0 to 1, whose way was sound at each step.
    ///
    /// The share is 0 when nothing of the mask is left in the picture, or when the mask has not the
    /// size of the track's frames (then nothing is carried), and 1 for a mask that was empty.
    pub fn carry(&mut self, track: &Track, out: &mut Mask) -> f32 {
        let (width, height) = track.grid.frame;
        let mut confidence = 0.0;
        refill(out, width, height, |data| {
            if self.grid == track.grid && self.grid.pixels() > 0 {
                confidence = self.fill(track, data);
            } else {
                data.fill(0);
            }
        });
        confidence
    }

    #[cfg(test)]
    pub(super) fn buffers(&self) -> Vec<(usize, usize)> {
        let mask = self.mask.data();
        let cells = [&self.cells, &self.row].map(super::tests::buffer);
        let mask = (mask.as_ptr().addr(), mask.len());
        cells.into_iter().chain([mask]).collect()
    }

    fn fill(&mut self, track: &Track, data: &mut [u8]) -> f32 {
        let Grid { width, scale, .. } = self.grid;
        let frame_width = self.grid.frame.0 as usize;
        let (mut all, mut sound) = (0_u32, 0_u32);
        let steps = track.field.chunks_exact(width);
        let bands = data.chunks_mut(frame_width * scale);
        let rows = bands.zip(steps.zip(track.sound.chunks_exact(width)));
        for (y, (band, (shifts, passed))) in rows.enumerate() {
            let mut carried = std::mem::take(&mut self.row);
            let cells = carried.iter_mut().zip(shifts.iter().zip(passed));
            for (x, (cell, (shift, passed))) in cells.enumerate() {
                *cell = self.cell(x as f32, y as f32, *shift);
                let middle = |at: usize| (at * scale + scale / 2) as f32;
                if *cell != Cell::Clear && self.pixel(middle(x), middle(y), *shift) == 1 {
                    all += 1;
                    sound += u32::from(*passed);
                }
            }
            for (line, row) in band.chunks_exact_mut(frame_width).enumerate() {
                self.fill_row(&carried, y * scale + line, row, track);
            }
            self.row = carried;
        }
        match all {
            0 => f32::from(u8::from(self.mask.is_empty())),
            _ => sound as f32 / all as f32,
        }
    }

    /// One row of the frame: runs of equal cells at once, pixels only where cells are mixed.
    fn fill_row(&self, cells: &[Cell], y: usize, mut row: &mut [u8], track: &Track) {
        let Grid {
            width,
            height,
            scale,
            ..
        } = self.grid;
        let share = 1.0 / scale as f32;
        let reduced = |at: usize| (at as f32 + 0.5) * share - 0.5;
        let mut x = 0;
        for run in cells.chunk_by(|a, b| a == b) {
            let (pixels, rest) = row.split_at_mut((run.len() * scale).min(row.len()));
            match run.first() {
                Some(Cell::Mixed) => {
                    for (i, pixel) in pixels.iter_mut().enumerate() {
                        let at = x + i;
                        let shift = shift_at(&track.field, reduced(at), reduced(y), width, height);
                        *pixel = self.pixel(at as f32, y as f32, shift);
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

/// The pixel nearest to a position on an axis, pixel centres at whole numbers: beyond the rim it is
/// the one at the rim.
#[inline]
fn nearest(at: f32, side: usize) -> usize {
    ((at + 0.5).max(0.0) as usize).min(side.saturating_sub(1))
}

/// Give `mask` another size and content, in the memory that it has.
fn refill(mask: &mut Mask, width: u32, height: u32, fill: impl FnOnce(&mut [u8])) {
    let mut data = std::mem::replace(mask, Mask::empty(0, 0)).into_data();
    data.resize(width as usize * height as usize, 0);
    fill(&mut data);
    if let Some(filled) = Mask::from_bytes(width, height, data) {
        *mask = filled;
    }
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
