//! Connected parts of a mask.

use bedside_core::{BoundingBox, Mask};

/// A set of set pixels that touch each other, corners included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Number of pixels.
    pub area: u64,
    /// Extents.
    pub bounding_box: BoundingBox,
    /// Horizontal runs (row, first column, past the last column) from top to bottom.
    runs: Vec<(u32, u32, u32)>,
}

/// The mask's 8-connected components, largest first.
pub fn components(mask: &Mask) -> Vec<Component> {
    let runs = runs(mask);
    let mut parent: Vec<usize> = (0..runs.len()).collect();
    let mut above = 0;
    for (i, run) in runs.iter().enumerate() {
        // Runs are sorted: skip those that end before this one can touch them.
        while let Some(a) = runs.get(above)
            && (a.0 + 1 < run.0 || (a.0 + 1 == run.0 && a.2 < run.1))
        {
            above += 1;
        }
        for (j, a) in runs.iter().enumerate().skip(above) {
            if a.0 + 1 != run.0 || a.1 > run.2 {
                break;
            }
            let (a, b) = (root(&mut parent, i), root(&mut parent, j));
            if let Some(p) = parent.get_mut(a.max(b)) {
                *p = a.min(b);
            }
        }
    }
    let mut components: Vec<Component> = Vec::new();
    // For each root its place in `components`: a search would make speckle quadratic.
    let mut places: Vec<Option<usize>> = vec![None; runs.len()];
    for (i, run) in runs.iter().enumerate() {
        let Some(place) = places.get_mut(root(&mut parent, i)) else {
            continue;
        };
        let place = *place.get_or_insert(components.len());
        match components.get_mut(place) {
            Some(component) => component.add(*run),
            None => components.push(Component::new(*run)),
        }
    }
    components.sort_by_key(|c| std::cmp::Reverse(c.area));
    components
}

impl Component {
    fn new(run: (u32, u32, u32)) -> Self {
        let bounding_box = BoundingBox {
            x: run.1,
            y: run.0,
            width: run.2 - run.1,
            height: 1,
        };
        Self {
            area: u64::from(run.2 - run.1),
            bounding_box,
            runs: vec![run],
        }
    }

    fn add(&mut self, (y, start, end): (u32, u32, u32)) {
        let b = &mut self.bounding_box;
        let right = (b.x + b.width).max(end);
        b.x = b.x.min(start);
        b.width = right - b.x;
        b.height = y - b.y + 1;
        self.area += u64::from(end - start);
        self.runs.push((y, start, end));
    }

    /// Its first pixel in reading order, as (column, row).
    pub(crate) fn first(&self) -> Option<(u32, u32)> {
        self.runs.first().map(|(y, start, _)| (*start, *y))
    }

    /// The component alone, as a mask of the size told.
    pub fn mask(&self, width: u32, height: u32) -> Mask {
        let mut data = vec![0; width as usize * height as usize];
        for (y, start, end) in &self.runs {
            let row = *y as usize * width as usize;
            if let Some(run) = data.get_mut(row + *start as usize..row + *end as usize) {
                run.fill(1);
            }
        }
        Mask::from_bytes(width, height, data).unwrap_or_else(|| Mask::empty(width, height))
    }
}

/// Horizontal runs of set pixels, in reading order.
fn runs(mask: &Mask) -> Vec<(u32, u32, u32)> {
    let mut runs = Vec::new();
    for (y, row) in (0..).zip(mask.data().chunks_exact((mask.width() as usize).max(1))) {
        let mut start = None;
        for (x, v) in (0..).zip(row.iter().chain(std::iter::once(&0))) {
            match (start, *v) {
                (None, 1) => start = Some(x),
                (Some(first), 0) => {
                    runs.push((y, first, x));
                    start = None;
                }
                _ => {}
            }
        }
    }
    runs
}

/// The root of a run, with the way to it halved so that long chains stay quick.
fn root(parent: &mut [usize], mut i: usize) -> usize {
    while let Some(p) = parent.get(i).copied().filter(|p| *p != i) {
        let above = parent.get(p).copied().unwrap_or(p);
        if let Some(slot) = parent.get_mut(i) {
            *slot = above;
        }
        i = above;
    }
    i
}
