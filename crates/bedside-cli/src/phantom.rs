//! `bedside phantom`: pictures whose masks are known exactly.

use std::path::PathBuf;

use bedside::{Frame, Mask};
use bedside_phantom::{Phantom, PhantomConfig, PhantomKind};
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::image_file;
use crate::output::{Folder, NewFile};
use crate::ui::Ui;

/// Arguments of `bedside phantom`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedside phantom --out phantoms --count 20
  bedside phantom --kind polyp --clip 100 --size 640x480 --out clip

A dataset has images/, masks/ and manifest.csv, as `bedside eval` reads it; about one picture in
seven shows no target, and one in ten is marked 'val'. A clip has numbered frames and masks of one
moving scene. The same seed gives the same pictures everywhere.")]
pub(crate) struct Args {
    /// Folder to write, new or empty
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,

    /// What the pictures show: polyp, breast-tumor or fetal-head; may be given repeatedly [default:
    /// all]
    #[arg(short, long = "kind", value_name = "KIND")]
    kinds: Vec<PhantomKind>,

    /// Pictures of each kind, each of a scene of its own
    #[arg(
        short,
        long,
        default_value_t = 20,
        value_name = "N",
        conflicts_with = "clip"
    )]
    count: u32,

    /// Write a clip of N frames of one scene instead
    #[arg(long, value_name = "N")]
    clip: Option<u32>,

    /// Seed of the first scene
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,

    /// Size of the pictures [default: 512x384 for clips, varied with 352 as the longer side else]
    #[arg(long, value_name = "WxH", value_parser = size)]
    size: Option<(u32, u32)>,
}

/// Parse a size such as `640x480`.
pub(crate) fn size(text: &str) -> Result<(u32, u32), String> {
    let (width, height) = text
        .split_once(['x', 'X'])
        .ok_or("not of the form 640x480")?;
    let side = |text: &str| match text.trim().parse::<u32>() {
        Ok(side @ 16..=4096) => Ok(side),
        _ => Err("each side must be 16 to 4096".to_owned()),
    };
    Ok((side(width)?, side(height)?))
}

/// A kind of phantom as the ontology has it: object and modality.
const fn words(kind: PhantomKind) -> (&'static str, &'static str) {
    match kind {
        PhantomKind::Polyp => ("polyp", "endoscopy"),
        PhantomKind::BreastTumor => ("breast tumor", "ultrasound"),
        PhantomKind::FetalHead => ("fetal head", "ultrasound"),
    }
}

/// One frame of a scene that shows its target, for measurements.
pub(crate) fn still(width: u32, height: u32) -> Result<Frame, Failure> {
    Ok(scene(PhantomKind::Polyp, width, height, 1, true)?
        .frame_at(0)
        .frame)
}

fn scene(
    kind: PhantomKind,
    width: u32,
    height: u32,
    seed: u64,
    target: bool,
) -> Result<Phantom, Failure> {
    let config = PhantomConfig {
        kind,
        width,
        height,
        seed,
        frame_rate: 30.0,
        target,
    };
    Phantom::new(config).map_err(|e| Failure::new(Exit::Usage, e.to_string()))
}

pub(crate) fn run(args: &Args, ui: Ui) -> Result<(), Failure> {
    let folder = Folder::new(&args.out);
    folder.check_empty()?;
    let kinds: &[PhantomKind] = match args.kinds.as_slice() {
        [] => &PhantomKind::ALL,
        named => named,
    };
    let pictures = match args.clip {
        Some(frames) => clips(args, kinds, frames),
        None => dataset(args, kinds),
    };
    let bar = ui.progress(pictures.len() as u64, "pictures");
    let mut manifest = String::from(COLUMNS);
    let mut writing = folder.begin();
    for picture in &pictures {
        let shot = scene(
            picture.kind,
            picture.width,
            picture.height,
            picture.seed,
            picture.target,
        )?
        .frame_at(picture.index);
        let files = [
            NewFile {
                name: picture.file("images"),
                bytes: image_file::frame_png(&shot.frame)?,
            },
            NewFile {
                name: picture.file("masks"),
                bytes: image_file::mask_png(&shot.mask)?,
            },
        ];
        writing.write(&files)?;
        manifest.push_str(&picture.row(&shot.mask));
        bar.inc(1);
    }
    writing.write(&[NewFile {
        name: "manifest.csv".to_owned(),
        bytes: manifest.into_bytes(),
    }])?;
    writing.keep();
    bar.finish_and_clear();
    if ui.json() {
        return ui.print_json(&json!({
            "path": args.out, "pictures": pictures.len(), "manifest": args.out.join("manifest.csv"),
        }));
    }
    ui.print(&format!(
        "wrote {} pictures with masks and manifest.csv to {}\n",
        pictures.len(),
        args.out.display()
    ))
}

/// Head of `manifest.csv`.
const COLUMNS: &str =
    "file,mask,split,group,modality,object,label,width,height,mask_frac,source,licence\n";

/// One picture to be drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Picture {
    kind: PhantomKind,
    width: u32,
    height: u32,
    seed: u64,
    index: u64,
    target: bool,
    split: &'static str,
    stem: String,
}

impl Picture {
    fn file(&self, folder: &str) -> String {
        format!("{folder}/{}.png", self.stem)
    }

    /// The picture's line of `manifest.csv`. Nothing in it needs quotes.
    fn row(&self, mask: &Mask) -> String {
        let (object, modality) = words(self.kind);
        let name = self.kind;
        let label = if mask.is_empty() { "normal" } else { object };
        let share = mask.area() as f64 / (f64::from(self.width) * f64::from(self.height));
        format!(
            "{},{},{},{name}-{seed},{modality},{object},{label},{},{},{share:.5},bedside-phantom \
             {name} seed {seed} frame {},Apache-2.0\n",
            self.file("images"),
            self.file("masks"),
            self.split,
            self.width,
            self.height,
            self.index,
            seed = self.seed,
        )
    }
}

/// Scenes of their own: each with another seed and aspect.
fn dataset(args: &Args, kinds: &[PhantomKind]) -> Vec<Picture> {
    const SIDE: u32 = 352;
    const SHORTER: [u32; 5] = [352, 320, 288, 264, 240];
    let mut pictures = Vec::new();
    for &kind in kinds {
        for i in 0..u64::from(args.count) {
            let seed = args.seed.wrapping_add(i);
            let shorter = SHORTER.get((seed % 5) as usize).copied().unwrap_or(SIDE);
            let (width, height) = args.size.unwrap_or((SIDE, shorter));
            pictures.push(Picture {
                kind,
                width,
                height,
                seed,
                index: 0,
                target: seed % 7 != 6,
                split: if seed % 10 == 9 { "val" } else { "train" },
                stem: format!("{}-{seed:05}", kind),
            });
        }
    }
    pictures
}

/// One moving scene of each kind, frame by frame.
fn clips(args: &Args, kinds: &[PhantomKind], frames: u32) -> Vec<Picture> {
    let (width, height) = args.size.unwrap_or((512, 384));
    kinds
        .iter()
        .flat_map(|&kind| {
            (0..u64::from(frames)).map(move |index| Picture {
                kind,
                width,
                height,
                seed: args.seed,
                index,
                target: true,
                split: "val",
                stem: format!("{}-{index:06}", kind),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_within_bounds() {
        assert_eq!(size("640x480"), Ok((640, 480)));
        for bad in [
            "640",
            "x",
            "640x",
            "0x480",
            "640x-1",
            "99999x480",
            "640x480x3",
        ] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rows_have_the_columns_of_the_head() {
        let picture = Picture {
            kind: PhantomKind::BreastTumor,
            width: 20,
            height: 16,
            seed: 3,
            index: 0,
            target: true,
            split: "val",
            stem: "breast-tumor-00003".to_owned(),
        };
        let mut data = vec![0; 320];
        data[7] = 1;
        let row = picture.row(&Mask::from_bytes(20, 16, data).unwrap());
        assert_eq!(
            row,
            "images/breast-tumor-00003.png,masks/breast-tumor-00003.png,val,breast-tumor-3,\
             ultrasound,breast tumor,breast tumor,20,16,0.00313,bedside-phantom breast-tumor seed \
             3 frame 0,Apache-2.0\n"
        );
        assert_eq!(row.split(',').count(), COLUMNS.split(',').count());
        assert!(picture.row(&Mask::empty(20, 16)).contains(",normal,"));
    }
}
