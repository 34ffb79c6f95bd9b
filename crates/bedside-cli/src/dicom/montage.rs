//! Several frames as one picture, with what was found on each.

use bedside::vision::overlay;
use bedside::{Frame, Mask, PixelFormat};

use crate::failure::{Exit, Failure};
use crate::image_file;

/// Most frames of a montage, and of a row.
pub(super) const MOST: usize = 20;
const ACROSS: usize = 5;
/// The longest side of each, and of one by itself.
const SIDE: u32 = 320;
const ALONE: u32 = 1280;

/// A frame with a mask for each label, none where the object is not.
pub(super) struct Tile {
    pub frame: Frame,
    pub masks: Vec<Option<Mask>>,
}

/// Up to [`MOST`] of the numbers, evenly spread.
pub(super) fn spread(numbers: &[u32]) -> Vec<u32> {
    let most = numbers.len().min(MOST);
    let pick = |i: usize| numbers.get(i * (numbers.len() - 1) / (most - 1).max(1));
    (0..most).filter_map(pick).copied().collect()
}

/// The tiles row by row as PNG, all of one size, with a legend of the labels and a footer.
pub(super) fn png(tiles: &[Tile], labels: &[&str], footer: &str) -> Result<Vec<u8>, Failure> {
    let failed = |what: &str| Failure::new(Exit::Internal, format!("no montage: {what}"));
    let first = &tiles.first().ok_or_else(|| failed("no frame"))?.frame;
    let step = first
        .width()
        .max(first.height())
        .div_ceil(if tiles.len() == 1 { ALONE } else { SIDE });
    let (width, height) = (first.width().div_ceil(step), first.height().div_ceil(step));
    let across = tiles.len().min(ACROSS);
    let down = tiles.len().div_ceil(ACROSS);
    let (all_width, all_height) = (width * across as u32, height * down as u32);
    let pixels = all_width as usize * all_height as usize;
    let mut rgb = vec![0; 3 * pixels];
    let mut masks = vec![vec![0; pixels]; labels.len()];
    for (at, tile) in tiles.iter().enumerate() {
        let view = tile.frame.view();
        for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
            let column = (at % ACROSS) * width as usize + x as usize;
            let row = (at / ACROSS) * height as usize + y as usize;
            let place = row * all_width as usize + column;
            let from = view.pixel(x * step, y * step).unwrap_or_default();
            let from = match view.format() {
                PixelFormat::Gray8 => [from[0]; 3],
                _ => from,
            };
            if let Some(to) = rgb.get_mut(3 * place..3 * place + 3) {
                to.copy_from_slice(&from);
            }
            for (all, mask) in masks.iter_mut().zip(&tile.masks) {
                let set = mask.as_ref().is_some_and(|m| m.get(x * step, y * step));
                if let Some(to) = all.get_mut(place) {
                    *to = u8::from(set);
                }
            }
        }
    }
    let frame = Frame::new(all_width, all_height, PixelFormat::Rgb8, rgb);
    let frame = frame.map_err(|e| failed(&e.to_string()))?;
    let masks: Vec<Mask> = masks
        .into_iter()
        .filter_map(|mask| Mask::from_bytes(all_width, all_height, mask))
        .collect();
    let items = masks.iter().zip(labels);
    let items: Vec<_> = items
        .map(|(mask, label)| overlay::Item {
            mask,
            label: (*label).to_owned(),
            detail: String::new(),
        })
        .collect();
    let drawn = overlay::draw(&frame, &items, footer);
    image_file::png(drawn.width, drawn.height, PixelFormat::Rgb8, &drawn.rgb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_spread_over_all() {
        assert!(spread(&[]).is_empty());
        assert_eq!(spread(&[7]), [7]);
        let all: Vec<u32> = (1..=96).collect();
        let some = spread(&all);
        assert_eq!((some.len(), some[0], some[1], some[19]), (20, 1, 6, 96));
    }

    #[test]
    fn masks_are_painted_into_their_own_tile() {
        let tile = |gray: u8, set: u8| Tile {
            frame: Frame::new(40, 30, PixelFormat::Gray8, vec![gray; 1200]).unwrap(),
            masks: vec![Mask::from_bytes(40, 30, vec![set; 1200])],
        };
        let tiles: Vec<_> = (0..6).map(|i| tile(10 * i, u8::from(i == 5))).collect();
        let png = png(&tiles, &["lung"], "research use").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("montage.png");
        std::fs::write(&path, png).unwrap();
        let picture = image_file::read(&path).unwrap();
        assert_eq!(picture.width(), 200);
        let pixel = |x, y| picture.view().pixel(x, y).unwrap();
        assert_eq!((pixel(20, 15), pixel(180, 15)), ([0; 3], [40; 3]));
        // The sixth begins the second row, and is painted over.
        assert_ne!(pixel(20, 45), [50; 3]);
        assert_eq!(pixel(60, 45), [0; 3]);
    }
}
