//! The overlay draws on masks and below the frame, nowhere else.

use std::collections::BTreeSet;

use bedside_core::{Frame, Mask, PixelFormat};
use bedside_vision::overlay::{self, Item, Overlay};
use proptest::prelude::*;

const FOOTER: &str = "Research use only. Not for diagnosis.";

fn draw(width: u32, height: u32, rgb: &[u8], items: &[Item<'_>], footer: &str) -> Overlay {
    let frame = Frame::new(width, height, PixelFormat::Rgb8, rgb.to_vec()).unwrap();
    overlay::draw(&frame, items, footer)
}

fn rectangle(size: (u32, u32), x: u32, y: u32, width: u32, height: u32) -> Mask {
    let all = (0..size.1).flat_map(|row| (0..size.0).map(move |column| (column, row)));
    let inside = |(column, row): (u32, u32)| {
        u8::from((x..x + width).contains(&column) && (y..y + height).contains(&row))
    };
    Mask::from_bytes(size.0, size.1, all.map(inside).collect()).unwrap()
}

fn item<'a>(mask: &'a Mask, label: &str) -> Item<'a> {
    Item {
        mask,
        label: label.to_owned(),
        detail: "97 %  area 4.1 %".to_owned(),
    }
}

fn pixel(picture: &Overlay, x: u32, y: u32) -> [u8; 3] {
    let at = (y as usize * picture.width as usize + x as usize) * 3;
    picture.rgb[at..at + 3].try_into().unwrap()
}

/// The colours of the legend of a picture that was `height` rows high.
fn panel_colours(picture: &Overlay, height: u32) -> BTreeSet<[u8; 3]> {
    let panel = &picture.rgb[picture.width as usize * height as usize * 3..];
    panel.as_chunks::<3>().0.iter().copied().collect()
}

proptest! {
    #[test]
    fn pixels_outside_of_the_masks_are_untouched(
        (width, height) in prop_oneof![
            (1..40_u32, 1..40_u32),
            (470..490_u32, 1..20_u32),
            (790..810_u32, 1..20_u32),
            // Outlines grow thicker with the picture.
            (990..1010_u32, 1..20_u32),
            (1990..2010_u32, 1..12_u32),
        ],
        (x, y, w, h) in (0..40_u32, 0..40_u32, 1..30_u32, 1..30_u32),
        level: u8,
    ) {
        let count = (width * height * 3) as usize;
        let rgb: Vec<u8> = (0..count).map(|i| level.wrapping_add((i * 7) as u8)).collect();
        let mask = rectangle((width, height), x, y, w, h);
        let picture = draw(width, height, &rgb, &[item(&mask, "polyp")], FOOTER);
        prop_assert_eq!(picture.width, width);
        prop_assert!(picture.height > height, "the legend lies below");
        prop_assert_eq!(
            picture.rgb.len(),
            picture.width as usize * picture.height as usize * 3
        );
        for (i, (before, after)) in rgb.chunks(3).zip(picture.rgb.chunks(3)).enumerate() {
            if mask.data()[i] == 0 {
                prop_assert_eq!(before, after, "({}, {})", i as u32 % width, i as u32 / width);
            }
        }
    }
}

#[test]
fn without_findings_the_picture_is_the_frame_and_the_legend_says_so() {
    let (width, height) = (64, 48);
    let rgb: Vec<u8> = (0..width * height * 3).map(|i| (i % 251) as u8).collect();
    let empty = draw(width, height, &rgb, &[], FOOTER);
    assert_eq!(empty.rgb[..rgb.len()], rgb[..]);
    let mask = Mask::empty(width, height);
    let named = draw(width, height, &rgb, &[item(&mask, "polyp")], FOOTER);
    assert_eq!(named.rgb[..rgb.len()], rgb[..]);
    // What is said differs, and both say something.
    assert_ne!(empty.rgb[rgb.len()..], named.rgb[rgb.len()..]);
    assert!(panel_colours(&empty, height).len() > 1);
}

#[test]
fn the_mask_is_outlined_in_the_colour_that_the_legend_names_and_filled_faintly() {
    let (width, height) = (320, 240);
    let rgb = vec![100; width as usize * height as usize * 3];
    let mask = rectangle((width, height), 40, 30, 60, 50);
    let picture = draw(width, height, &rgb, &[item(&mask, "polyp")], FOOTER);
    let outline = pixel(&picture, 40, 30);
    assert!(
        panel_colours(&picture, height).contains(&outline),
        "a swatch of {outline:?}"
    );
    assert_eq!(outline, pixel(&picture, 99, 79), "one colour all around");
    let fill = pixel(&picture, 70, 55);
    for (fill, line) in fill.iter().zip(outline) {
        // Between tissue and colour, nearer to the tissue.
        let (to_tissue, to_line) = (fill.abs_diff(100), fill.abs_diff(line));
        assert!(to_tissue <= to_line, "{fill} hides 100 behind {line}");
    }
    assert_ne!(fill, [100; 3]);
}

#[test]
fn objects_have_colours_of_their_own() {
    let (width, height) = (320, 240);
    let rgb = vec![100; width as usize * height as usize * 3];
    let masks: Vec<Mask> = (0..7)
        .map(|i| rectangle((width, height), i * 40 + 4, 20, 30, 40))
        .collect();
    let items: Vec<Item<'_>> = masks.iter().map(|mask| item(mask, "vessel")).collect();
    let picture = draw(width, height, &rgb, &items, FOOTER);
    let outlines: BTreeSet<[u8; 3]> = (0..7).map(|i| pixel(&picture, i * 40 + 4, 20)).collect();
    assert_eq!(outlines.len(), 7);
    assert!(outlines.is_subset(&panel_colours(&picture, height)));
}

#[test]
fn tiny_pictures_and_odd_texts_are_drawn() {
    for (width, height) in [(1, 1), (8, 8), (1, 300), (300, 1), (25, 17)] {
        let mask = rectangle((width, height), 0, 0, width, height);
        let rgb = vec![50; (width * height * 3) as usize];
        for label in [
            "",
            " ",
            "polyp",
            "Tumour é — 腫瘍",
            "\n\t\0",
            &"long ".repeat(40),
        ] {
            let picture = draw(width, height, &rgb, &[item(&mask, label)], "");
            assert_eq!(
                picture.rgb.len(),
                (picture.width * picture.height * 3) as usize
            );
            assert!(picture.height > height);
        }
    }
}

/// They do not say where in this frame the object is.
#[test]
fn masks_of_another_size_are_named_but_not_drawn() {
    let (width, height) = (40, 30);
    let rgb = vec![50; (width * height * 3) as usize];
    let named = |mask: &Mask| draw(width, height, &rgb, &[item(mask, "polyp")], FOOTER);
    let reference = named(&Mask::empty(40, 30));
    for size in [(90, 400), (8, 8), (30, 40)] {
        assert_eq!(named(&rectangle(size, 0, 0, size.0, size.1)), reference);
    }
    assert_ne!(named(&rectangle((40, 30), 0, 0, 8, 8)), reference);
}

#[test]
fn long_labels_wrap_within_the_picture() {
    for width in [160, 352, 640, 1280] {
        let height = 20;
        let rgb = vec![50; (width * height * 3) as usize];
        let mask = Mask::empty(width, height);
        let short = draw(width, height, &rgb, &[item(&mask, "polyp")], FOOTER);
        let label = "inflammatory cells of the colon in a hematoxylin stain ".repeat(6);
        let long = draw(width, height, &rgb, &[item(&mask, &label)], FOOTER);
        assert!(long.height > short.height);
        // A column free of text at the right border: nothing ran out of the picture.
        let blank = pixel(&long, width - 1, long.height - 1);
        for y in height..long.height {
            assert_eq!(
                pixel(&long, width - 1, y),
                blank,
                "text at the border in row {y}"
            );
        }
        // The footer stands whole at the end of both.
        let row = width as usize * 3;
        let last = |picture: &Overlay| {
            let rows = if width < 352 { 8 } else { 12 };
            picture.rgb[picture.rgb.len() - rows * row..].to_vec()
        };
        assert_eq!(last(&long), last(&short));
    }
}

#[test]
fn thick_outlines_are_as_thick_on_every_side() {
    let (width, height) = (1500, 40);
    let rgb = vec![100; (width * height * 3) as usize];
    let mask = rectangle((width, height), 100, 5, 60, 30);
    let picture = draw(width, height, &rgb, &[item(&mask, "polyp")], FOOTER);
    let line = pixel(&picture, 100, 5);
    let run = |pixels: &mut dyn Iterator<Item = (u32, u32)>| {
        pixels
            .take_while(|(x, y)| pixel(&picture, *x, *y) == line)
            .count()
    };
    let thickness = [
        run(&mut (100..160).map(|x| (x, 20))),
        run(&mut (100..160).rev().map(|x| (x, 20))),
        run(&mut (5..35).map(|y| (130, y))),
        run(&mut (5..35).rev().map(|y| (130, y))),
    ];
    assert_eq!(thickness, [4; 4]);
}
