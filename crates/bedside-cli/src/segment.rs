//! `bedside segment` and `bedside recognize`: images in, findings out.

use std::path::{Path, PathBuf};

use bedside::{Frame, Manifest, Modality, Prompt, Segmentation, Segmenter};
use clap::Args;

use crate::failure::Failure;
use crate::image_file;
use crate::model::ModelArgs;
use crate::output::{Folder, Stems};
use crate::report::{self, Document, Image, Model};
use crate::ui::{SAFETY, Ui};

/// Arguments of `bedside segment`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bedside segment colon.png --prompt polyp
  bedside segment breast.png --prompt tumor --modality ultrasound
  bedside segment scans/*.png --prompt 'fetal head' --out results

Each prompt gets its own row, and 'not present' is an answer. With --out, each image gives
STEM.overlay.png, STEM.OBJECT.mask.png (0 and 255) for each object that is present, and STEM.json.")]
pub(crate) struct SegmentArgs {
    #[command(flatten)]
    images: ImageArgs,

    /// Object to find, such as 'polyp' or 'tumor in breast ultrasound'; may be given repeatedly
    #[arg(short, long = "prompt", value_name = "TEXT", required = true)]
    prompts: Vec<String>,

    /// Kind of imaging, where a prompt alone may mean several objects
    #[arg(long)]
    modality: Option<Modality>,

    /// Part of the body, where a prompt alone may mean several objects
    #[arg(long)]
    site: Option<String>,
}

/// Arguments of `bedside recognize`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bedside recognize colon.png --modality endoscopy
  bedside recognize breast.png --modality ultrasound --site breast --out results

Where two objects claim a pixel, the more probable one gets it.")]
pub(crate) struct RecognizeArgs {
    #[command(flatten)]
    images: ImageArgs,

    /// Kind of imaging: ct, mri, x-ray, ultrasound, pathology, endoscopy, dermoscopy, fundus, oct
    #[arg(long)]
    modality: Modality,

    /// Part of the body; without it, every site that the model knows
    #[arg(long)]
    site: Option<String>,
}

/// Images in, files out.
#[derive(Debug, Args)]
struct ImageArgs {
    /// PNG, JPEG, BMP, TIFF or WebP files of 8 bits a channel
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,

    /// Folder for overlay, masks and JSON; without it nothing is written
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn segment(args: &SegmentArgs, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    let mut segmenter = model.open(ui)?;
    let prompts: Vec<Prompt> = args
        .prompts
        .iter()
        .map(|text| Prompt {
            text: text.clone(),
            modality: args.modality,
            site: args.site.clone(),
        })
        .collect();
    let prompts = segmenter.prompts(&prompts)?;
    answer_all(&args.images, segmenter, ui, |segmenter, frame| {
        Ok(segmenter.segment(frame, &prompts)?)
    })
}

pub(crate) fn recognize(args: &RecognizeArgs, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    let segmenter = model.open(ui)?;
    answer_all(&args.images, segmenter, ui, |segmenter, frame| {
        Ok(segmenter.recognize(frame, args.modality, args.site.as_deref())?)
    })
}

/// Answer on every image, whatever happens to the others; the first failure is the command's.
fn answer_all(
    args: &ImageArgs,
    mut segmenter: Segmenter,
    ui: Ui,
    mut answer: impl FnMut(&mut Segmenter, &Frame) -> Result<Segmentation, Failure>,
) -> Result<(), Failure> {
    ui.note(SAFETY);
    if non_commercial(segmenter.manifest()) {
        let Manifest { name, licence, .. } = segmenter.manifest();
        ui.note(format_args!(
            "The weights of '{name}' are not for commercial use: {licence}."
        ));
    }
    let model = Model::of(&segmenter);
    let folder = args.out.as_ref().map(Folder::new);
    let mut stems = Stems::default();
    let mut images = Vec::new();
    let mut first = None;
    // Tables grow as they come, so only what prints at the end needs a bar.
    let bar = ui
        .json()
        .then(|| ui.progress(args.images.len() as u64, "images"));
    for file in &args.images {
        let stem = stems.next(file);
        let out = folder.as_ref().map(|folder| (folder, stem.as_str()));
        match one(file, out, &model, &mut segmenter, &mut answer) {
            Ok((image, text)) if ui.json() => {
                drop(text);
                images.push(image);
            }
            Ok((_, text)) => ui.print(&text)?,
            Err(failure) => {
                ui.fail(&failure);
                images.push(Image::Failed {
                    file: file.display().to_string(),
                    error: failure.clone(),
                });
                first.get_or_insert(failure);
            }
        }
        if let Some(bar) = &bar {
            bar.inc(1);
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
        ui.print_json(&Document::new(&model, &images))?;
    }
    first.map_or(Ok(()), |failure| Err(failure.printed()))
}

/// Answer on one image; its files are written when all of them are rendered.
fn one(
    file: &Path,
    out: Option<(&Folder, &str)>,
    model: &Model,
    segmenter: &mut Segmenter,
    answer: &mut impl FnMut(&mut Segmenter, &Frame) -> Result<Segmentation, Failure>,
) -> Result<(Image, String), Failure> {
    let frame = image_file::read(file)?;
    let answer = answer(segmenter, &frame).map_err(|failure| failure.at(file.display()))?;
    let mut image = Image::done(file, &frame, &answer);
    let mut text = report::text(file, &frame, &answer);
    if let Some((folder, stem)) = out {
        let files = report::files(stem, &frame, &answer, model, &image)
            .map_err(|failure| failure.at(file.display()))?;
        for path in folder.write(&files)? {
            text.push_str(&format!("wrote {}\n", path.display()));
            image.wrote(&path);
        }
    }
    text.push('\n');
    Ok((image, text))
}

/// Whether the weights' licence keeps out commercial use, as far as its name tells.
fn non_commercial(manifest: &Manifest) -> bool {
    let licence = manifest.licence.to_lowercase();
    ["-nc", "non-commercial", "noncommercial"]
        .iter()
        .any(|mark| licence.contains(mark))
}
