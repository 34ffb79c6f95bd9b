//! The part of a frame that a model is to look at.
//!
//! Carts save the whole screen: text, scales and an ECG around the picture. Models learned from the
//! picture alone, and answer on it.

use bedside_core::{BoundingBox, Frame, FrameView, Mask, Modality, PixelFormat};

use crate::read::{Dicom, Error, Region, RegionFormat};

/// A picture within its frames: what is cut out of each, and put back there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Where it lies in each frame.
    pub part: BoundingBox,
    /// Who says so.
    pub from: ViewFrom,
}

/// Where a [`View`] is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewFrom {
    /// The header's ultrasound regions: the largest two-dimensional one of tissue or flow.
    Region,
    /// The pixels of an ultrasound picture whose header has no such region: the box around the large
    /// patches of gray.
    Content,
}

/// Shorter sides than these are nothing to look at.
const LEAST: u32 = 32;

/// Frames that are looked at for the gray of a clip.
const LOOKS: u32 = 16;

impl View {
    /// The picture within the frames of an opened file; none where it is the whole frame, as in all
    /// but ultrasound.
    ///
    /// # Errors
    /// Where the header names no region, some frames are decoded, and may be damaged.
    pub fn of(dicom: &mut Dicom) -> Result<Option<Self>, Error> {
        let whole = dicom.size();
        let part = |part: BoundingBox, from| {
            let large = part.width >= LEAST && part.height >= LEAST;
            (large && (part.width, part.height) != whole).then_some(Self { part, from })
        };
        if let Some(region) = largest(dicom.regions()) {
            return Ok(part(region, ViewFrom::Region));
        }
        if dicom.modality() != Some(Modality::Ultrasound) {
            return Ok(None);
        }
        let mut gray = Gray::new(whole);
        let looks = dicom.frames().min(LOOKS);
        for look in 0..looks {
            let index = u64::from(look) * u64::from(dicom.frames()) / u64::from(looks);
            gray.add(&dicom.frame(index as u32)?);
        }
        Ok(gray.extents().and_then(|at| part(at, ViewFrom::Content)))
    }

    /// The picture out of one of the frames, without a copy; none where the frame is too small for
    /// it or not RGB or gray.
    pub fn cut<'f>(&self, frame: &'f Frame) -> Option<FrameView<'f>> {
        let bytes = match frame.format() {
            PixelFormat::Gray8 => 1,
            PixelFormat::Rgb8 => 3,
            _ => return None,
        };
        let BoundingBox {
            x,
            y,
            width,
            height,
        } = self.part;
        let inside =
            x.checked_add(width)? <= frame.width() && y.checked_add(height)? <= frame.height();
        let stride = frame.width() as usize * bytes;
        let first = y as usize * stride + x as usize * bytes;
        let data = frame.data().get(first..).filter(|_| inside)?;
        let view = FrameView::new(width, height, frame.format(), &[(data, stride)]).ok()?;
        Some(view.captured_at(frame.captured()))
    }

    /// A mask of the picture as one of a frame of that size, nothing being set around it.
    pub fn put_back(&self, mask: &Mask, width: u32, height: u32) -> Mask {
        let mut whole = Mask::empty(width, height);
        let part = self.part;
        let mut rows = mask.data().chunks((mask.width() as usize).max(1));
        whole.write_rows(part.y..part.y.saturating_add(part.height), |_, row| {
            let row = row.get_mut(part.x as usize..).unwrap_or_default();
            for (to, from) in row.iter_mut().zip(rows.next().unwrap_or_default()) {
                *to = *from;
            }
        });
        whole
    }
}

/// The largest two-dimensional region of tissue or flow.
fn largest(regions: &[Region]) -> Option<BoundingBox> {
    let pictures = regions
        .iter()
        .filter(|r| r.tissue && r.format == RegionFormat::TwoD);
    let boxes = pictures.map(|r| BoundingBox {
        x: r.left,
        y: r.top,
        width: r.right - r.left + 1,
        height: r.bottom - r.top + 1,
    });
    boxes.max_by_key(|b| u64::from(b.width) * u64::from(b.height))
}

/// Cells along the longer side of what is looked at for gray.
const CELLS: u32 = 80;
/// Black is what is no lighter: above what JPEG makes of it.
const BLACK: u8 = 10;
/// The most by which the colours of gray differ.
const TINT: u8 = 16;
/// A patch of at least one in so many cells of the largest is a part of the picture, as beyond a
/// shadow; a scale of grays, or letters in bold, is less.
const PART: u32 = 20;

/// Where frames are gray and not black: tissue, in ultrasound. Text is white, but thin; banners and
/// flow are in colours. The cavities of tissue that moves are gray on one frame or another.
struct Gray {
    width: u32,
    height: u32,
    /// The most of each pixel over all frames.
    most: Vec<u8>,
}

/// Cells that touch each other, and the first and last columns and rows of them.
#[derive(Clone, Copy)]
struct Patch {
    cells: u32,
    from: (u32, u32),
    to: (u32, u32),
}

impl Gray {
    fn new((width, height): (u32, u32)) -> Self {
        Self {
            width,
            height,
            most: vec![0; width as usize * height as usize],
        }
    }

    fn add(&mut self, frame: &Frame) {
        match frame.format() {
            PixelFormat::Rgb8 => {
                let pixels = frame.data().as_chunks::<3>().0;
                for (most, [r, g, b]) in self.most.iter_mut().zip(pixels) {
                    let (light, dark) = (*r.max(g).max(b), *r.min(g).min(b));
                    if light - dark <= TINT {
                        *most = dark.max(*most);
                    }
                }
            }
            _ => {
                for (most, gray) in self.most.iter_mut().zip(frame.data()) {
                    *most = *gray.max(most);
                }
            }
        }
    }

    /// The box around the large patches of gray.
    fn extents(&self) -> Option<BoundingBox> {
        let side = (self.width.max(self.height) / CELLS).max(1);
        let patches = self.patches(side);
        let most = patches.iter().map(|patch| patch.cells).max()?;
        let large = patches.iter().filter(|patch| patch.cells * PART >= most);
        let all = large.copied().reduce(|a, b| Patch {
            cells: a.cells + b.cells,
            from: (a.from.0.min(b.from.0), a.from.1.min(b.from.1)),
            to: (a.to.0.max(b.to.0), a.to.1.max(b.to.1)),
        })?;
        Some(BoundingBox {
            x: all.from.0 * side,
            y: all.from.1 * side,
            width: (all.to.0 - all.from.0 + 1) * side,
            height: (all.to.1 - all.from.1 + 1) * side,
        })
    }

    /// The cells that are for the most part gray, those that touch each other together.
    fn patches(&self, side: u32) -> Vec<Patch> {
        let (across, down) = (self.width / side, self.height / side);
        let places = || (0..down).flat_map(move |y| (0..across).map(move |x| (x, y)));
        let gray = places().map(|(x, y)| self.is_gray(x * side, y * side, side));
        let mut left: Vec<bool> = gray.collect();
        let mut take = |(x, y): (u32, u32)| {
            let cell = left.get_mut((y * across + x) as usize);
            cell.is_some_and(std::mem::take)
        };
        let mut patches = Vec::new();
        for first in places() {
            let mut patch = Patch {
                cells: 0,
                from: first,
                to: first,
            };
            let mut next = vec![first];
            while let Some((x, y)) = next.pop() {
                if !take((x, y)) {
                    continue;
                }
                patch.cells += 1;
                patch.from = (patch.from.0.min(x), patch.from.1.min(y));
                patch.to = (patch.to.0.max(x), patch.to.1.max(y));
                let (xs, ys) = (x.saturating_sub(1)..=x + 1, y.saturating_sub(1)..=y + 1);
                let around = ys.flat_map(|y| xs.clone().map(move |x| (x, y)));
                next.extend(around.filter(|(x, y)| *x < across && *y < down));
            }
            if patch.cells > 0 {
                patches.push(patch);
            }
        }
        patches
    }

    /// Whether at least half of a cell's pixels are lighter than black.
    fn is_gray(&self, x: u32, y: u32, side: u32) -> bool {
        let rows = self.most.chunks((self.width as usize).max(1));
        let rows = rows.skip(y as usize).take(side as usize);
        let cells = rows.filter_map(|row| row.get(x as usize..(x + side) as usize));
        let lit = cells.flatten().filter(|v| **v > BLACK).count();
        lit * 2 >= (side * side) as usize
    }
}
