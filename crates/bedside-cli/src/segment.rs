//! `bedside segment` and `bedside recognize`: images in, findings out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use bedside::{Frame, Manifest, Modality, Prompt, Segmentation, Segmenter};
use clap::Args;

use crate::failure::{Exit, Failure};
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
    /// [default: what the frame looks like, where the bundle tells]
    #[arg(long)]
    modality: Option<Modality>,

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

    #[cfg(feature = "dicom")]
    #[command(flatten)]
    outputs: crate::dicom::Outputs,
}

pub(crate) fn segment(args: &SegmentArgs, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    #[cfg(feature = "dicom")]
    if args.images.are_dicom() {
        let ask = crate::dicom::Ask::These(&args.prompts);
        let question = args.images.question(ask, args.modality, args.site.as_ref());
        return crate::dicom::segment(&question, model, ui);
    }
    let prompts: Vec<Prompt> = args
        .prompts
        .iter()
        .map(|text| Prompt {
            text: text.clone(),
            modality: args.modality,
            site: args.site.clone(),
        })
        .collect();
    let (mut first, more) = args.images.open(model, &prompts, ui)?;
    let prompts = first.prompts(&prompts)?;
    answer_all(&args.images, first, more, ui, |segmenter, frame| {
        Ok(segmenter.segment(frame, &prompts)?)
    })
}

pub(crate) fn recognize(args: &RecognizeArgs, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    #[cfg(feature = "dicom")]
    if args.images.are_dicom() {
        let ask = crate::dicom::Ask::All;
        let question = args.images.question(ask, args.modality, args.site.as_ref());
        return crate::dicom::segment(&question, model, ui);
    }
    let (first, more) = args.images.open(model, &[], ui)?;
    answer_all(&args.images, first, more, ui, |segmenter, frame| {
        Ok(segmenter.recognize(frame, args.modality, args.site.as_deref())?)
    })
}

#[cfg(feature = "dicom")]
impl ImageArgs {
    fn are_dicom(&self) -> bool {
        self.outputs.are_wanted() || crate::dicom::are_dicom(&self.images)
    }

    fn question<'a>(
        &'a self,
        ask: crate::dicom::Ask<'a>,
        modality: Option<Modality>,
        site: Option<&'a String>,
    ) -> crate::dicom::Question<'a> {
        crate::dicom::Question {
            files: &self.images,
            out: self.out.as_ref(),
            outputs: &self.outputs,
            ask,
            modality,
            site,
        }
    }
}

impl ImageArgs {
    /// The model, and as many more that share its weights as are worth while: of several images each
    /// is one thread's work, which takes less time in all than several threads for each.
    fn open(
        &self,
        model: &ModelArgs,
        prompts: &[Prompt],
        ui: Ui,
    ) -> Result<(Segmenter, Vec<Segmenter>), Failure> {
        let bundle = model.bundle(None)?;
        let options = model.options_for(&bundle, prompts, ui)?;
        let workers = options.threads().min(self.images.len());
        if workers > 1 {
            let options = options.clone().with_threads(1);
            let first = Segmenter::new(bundle.clone(), options.backend()?, &options)?;
            let more = (1..workers).map(|_| Ok(first.share()?));
            let more: Option<Vec<_>> = more.collect::<Result<_, Failure>>()?;
            if let Some(more) = more {
                return Ok((first, more));
            }
        }
        let only = Segmenter::new(bundle, options.backend()?, &options)?;
        Ok((only, Vec::new()))
    }
}

/// Answer on every image, whatever happens to the others; the first failure is the command's.
fn answer_all(
    args: &ImageArgs,
    first: Segmenter,
    more: Vec<Segmenter>,
    ui: Ui,
    answer: impl Fn(&mut Segmenter, &Frame) -> Result<Segmentation, Failure> + Sync,
) -> Result<(), Failure> {
    note_terms(first.manifest(), ui);
    let model = Model::of(&first);
    let folder = args.out.as_ref().map(Folder::new);
    let mut stems = Stems::default();
    let files: Vec<_> = args.images.iter().map(|f| (f, stems.next(f))).collect();
    let next = AtomicUsize::new(0);
    let work = |mut segmenter: Segmenter, done: SyncSender<(usize, Done)>| {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some((file, stem)) = files.get(place) else {
                return;
            };
            let out = folder.as_ref().map(|folder| (folder, stem.as_str()));
            let image = one(file, out, &model, &mut segmenter, &answer);
            // Nobody listens any more once what was printed can't be.
            if done.send((place, image)).is_err() {
                return;
            }
        }
    };
    let (sender, done) = sync_channel(more.len() + 1);
    let (images, failure) = thread::scope(|scope| {
        for segmenter in std::iter::once(first).chain(more) {
            let (work, sender) = (&work, sender.clone());
            let thread = thread::Builder::new().name("bedside-images".to_owned());
            thread
                .spawn_scoped(scope, move || work(segmenter, sender))
                .map_err(|e| Failure::new(Exit::Internal, format!("can't start a thread: {e}")))?;
        }
        drop(sender);
        print_in_order(&files, done, ui)
    })?;
    if ui.json() {
        ui.print_json(&Document::new(&model, &images))?;
    }
    failure.map_or(Ok(()), |failure| Err(failure.printed()))
}

/// An image with its text, or why there is none.
type Done = Result<(Image, String), Failure>;

/// Print what comes in any order in the order of the files; the images, and the first failure.
fn print_in_order(
    files: &[(&PathBuf, String)],
    done: Receiver<(usize, Done)>,
    ui: Ui,
) -> Result<(Vec<Image>, Option<Failure>), Failure> {
    let (mut images, mut first) = (Vec::with_capacity(files.len()), None);
    let bar = ui.progress(files.len() as u64, "images");
    let mut early = BTreeMap::new();
    for (place, image) in done {
        early.insert(place, image);
        bar.inc(1);
        while let Some((file, _)) = files.get(images.len())
            && let Some(image) = early.remove(&images.len())
        {
            images.push(match image {
                Ok((image, text)) => {
                    if !ui.json() {
                        bar.suspend(|| ui.print(&text))?;
                    }
                    image
                }
                Err(failure) => {
                    bar.suspend(|| ui.fail(&failure));
                    first.get_or_insert_with(|| failure.clone());
                    Image::Failed {
                        file: file.display().to_string(),
                        error: failure,
                    }
                }
            });
        }
    }
    bar.finish_and_clear();
    Ok((images, first))
}

/// Answer on one image; its files are written when all of them are rendered.
fn one(
    file: &Path,
    out: Option<(&Folder, &str)>,
    model: &Model,
    segmenter: &mut Segmenter,
    answer: &impl Fn(&mut Segmenter, &Frame) -> Result<Segmentation, Failure>,
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

/// What whoever uses the answers should know.
pub(crate) fn note_terms(manifest: &Manifest, ui: Ui) {
    ui.note(SAFETY);
    if non_commercial(manifest) {
        let Manifest { name, licence, .. } = manifest;
        ui.note(format_args!(
            "The weights of '{name}' are not for commercial use: {licence}."
        ));
    }
}

/// Whether the weights' licence keeps out commercial use, as far as its name tells.
fn non_commercial(manifest: &Manifest) -> bool {
    let licence = manifest.licence.to_lowercase();
    ["-nc", "non-commercial", "noncommercial"]
        .iter()
        .any(|mark| licence.contains(mark))
}
