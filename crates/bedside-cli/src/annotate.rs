//! `bedside annotate`: pictures and chosen frames of clips, with masks that a person corrects.
//!
//! `bedside-annotate` has the choice of frames and the tools' formats.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bedside::{Frame, Modality, MonotonicClock, Prompt, PromptSet, Segmenter};
use bedside_annotate::{Chooser, Format, Object, Picture, Rle, TASK, Task, doubt};
use bedside_eval::Model;
use bedside_video::{OpenOptions, Pace, SourceErrorKind, still};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::image_file;
use crate::model::ModelArgs;
use crate::output::{Folder, NewFile, Stems, Writing};
use crate::segment::note_terms;
use crate::table::Table;
use crate::ui::Ui;

/// Arguments of `bedside annotate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedside annotate scans/ --prompt polyp --format cvat --out task
  bedside annotate patients/*/ --prompt 'breast tumor' --format labelstudio --out task
  bedside annotate clip.mp4 --prompt polyp --every 10 --max 40 --format coco --out task

Of a folder every picture is taken, of a clip the frames where the picture changes and, among those
alike, the one that the model doubts most. Pictures of one folder, and frames of one clip, are one
group: give each patient a folder. Then correct the masks in the tool, and `bedside collect` makes a
dataset of them. docs/annotate.md shows the way from end to end.")]
pub(crate) struct Args {
    /// Folders of pictures, single pictures and clips
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<PathBuf>,

    /// Object to outline, such as 'polyp' or 'tumor in breast ultrasound'; may be given repeatedly
    #[arg(short, long = "prompt", value_name = "TEXT", required = true)]
    prompts: Vec<String>,

    /// Kind of imaging, where a prompt alone may mean several objects
    #[arg(long)]
    modality: Option<Modality>,

    /// Part of the body, where a prompt alone may mean several objects
    #[arg(long)]
    site: Option<String>,

    /// Tool that the masks are for
    #[arg(long, value_name = "FORMAT", value_parser = formats())]
    format: Format,

    /// Folder to write, new or empty
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,

    /// Of a clip, look at every Nth frame
    #[arg(long, value_name = "N", default_value = "5")]
    every: NonZeroU64,

    /// Of a clip, choose at most so many frames
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u16).range(1..=200))]
    max: u16,
}

/// The values of `--format`.
pub(crate) fn formats() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(|format| {
        PossibleValue::new(format.name()).help(match format {
            Format::Coco => "COCO instances with run lengths",
            Format::Cvat => "CVAT for images 1.1",
            Format::LabelStudio => "Label Studio tasks with brush masks",
            Format::Png => "a gray picture a mask, 0 outside and 255 inside",
        })
    }))
    .try_map(|name| name.parse())
}

pub(crate) fn run(args: &Args, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    let folder = Folder::new(&args.out);
    folder.check_empty()?;
    let sources = sources(&args.sources)?;
    let asked = |text: &String| Prompt {
        text: text.clone(),
        modality: args.modality,
        site: args.site.clone(),
    };
    let prompts: Vec<Prompt> = args.prompts.iter().map(asked).collect();
    let bundle = model.bundle(None)?;
    let options = model.options_for(&bundle, &prompts, ui)?;
    let mut segmenter = Segmenter::new(bundle, options.backend()?, &options)?;
    let (modality, objects) = objects(&segmenter, &prompts, args.modality)?;
    note_terms(segmenter.manifest(), ui);

    let mut work = Work {
        prompts: segmenter.prompts(&prompts)?,
        segmenter,
        objects,
        stems: Stems::default(),
        writing: folder.begin(),
        pictures: Vec::new(),
    };
    let mut first = None;
    let bar = ui.progress(sources.len() as u64, "sources");
    for source in &sources {
        let done = match source {
            Source::Picture(path) => work.picture(path),
            Source::Clip(path) => work.clip(path, args, ui),
        };
        match done {
            Ok(()) => {}
            // What is written goes away again: a task is whole or not there.
            Err(failure) if failure.exit() != Exit::Input => return Err(failure),
            Err(failure) => {
                bar.suspend(|| ui.fail(&failure));
                first.get_or_insert(failure);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let Work {
        segmenter,
        objects,
        mut writing,
        pictures,
        ..
    } = work;
    if pictures.is_empty() {
        let nothing = "no pictures in these sources; hint: name others";
        return Err(match first {
            Some(failure) => failure.printed(),
            None => Failure::new(Exit::Input, nothing),
        });
    }
    let task = Task::new(Model::of(&segmenter), modality, objects, pictures);
    finish(&task, args.format, &mut writing)?;
    writing.keep();
    tell(&task, args, ui)?;
    first.map_or(Ok(()), |failure| Err(failure.printed()))
}

/// One source that was named.
enum Source {
    Picture(PathBuf),
    Clip(PathBuf),
}

/// Pictures, those in folders, and clips, in the order named.
fn sources(paths: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    let refuse = |path: &Path, why: String| {
        Err(Failure::new(
            Exit::Input,
            format!("{}: {why}", path.display()),
        ))
    };
    let mut sources = Vec::new();
    for path in paths {
        if path.is_dir() {
            match still::in_folder(path) {
                Ok(pictures) if pictures.is_empty() => {
                    let why =
                        "no pictures in it; hint: of folders below it, name each, as in DIR/*/";
                    return refuse(path, why.to_owned());
                }
                Ok(pictures) => sources.extend(pictures.into_iter().map(Source::Picture)),
                Err(error) => return refuse(path, format!("{error}; hint: check the folder")),
            }
        } else if path.is_file() {
            sources.push(match still::is_named(path) {
                true => Source::Picture(path.clone()),
                false => Source::Clip(path.clone()),
            });
        } else {
            let why = "is no file and no folder; hint: name pictures, folders of them, or clips";
            return refuse(path, why.to_owned());
        }
    }
    Ok(sources)
}

/// What the prompts name, and the one kind of imaging that they are for.
fn objects(
    segmenter: &Segmenter,
    prompts: &[Prompt],
    given: Option<Modality>,
) -> Result<(Modality, Vec<Object>), Failure> {
    let (manifest, table) = (segmenter.manifest(), segmenter.prompt_table());
    let mut modality = given;
    let mut names = Stems::default();
    let mut objects: Vec<Object> = Vec::new();
    for prompt in prompts {
        let resolved = bedside::resolve(manifest, table, prompt)?;
        let own = resolved.form.as_ref().map(|form| form.modality);
        if let (Some(own), Some(other)) = (own, modality)
            && own != other
        {
            return Err(Failure::new(
                Exit::Prompt,
                format!(
                    "'{prompt}' is for {own}, and another prompt for {other}; hint: write a task for \
                     each kind of imaging"
                ),
            ));
        }
        modality = modality.or(own);
        let name = resolved.form.map_or(resolved.label, |form| form.object);
        if objects.iter().any(|object| object.name == name) {
            return Err(Failure::new(
                Exit::Prompt,
                format!("'{name}' is asked for twice; hint: ask once, or write a task for each"),
            ));
        }
        objects.push(Object {
            file: names.unique(&name),
            name,
        });
    }
    let Some(modality) = modality else {
        return Err(Failure::new(
            Exit::Prompt,
            "these words name no kind of imaging; hint: --modality NAME",
        ));
    };
    Ok((modality, objects))
}

/// A frame that the model has looked at.
struct Seen {
    frame: Frame,
    /// Of a clip, its place.
    place: Option<u64>,
    doubt: f32,
    masks: BTreeMap<String, Rle>,
}

impl AsRef<Frame> for Seen {
    fn as_ref(&self) -> &Frame {
        &self.frame
    }
}

struct Work<'a> {
    segmenter: Segmenter,
    prompts: PromptSet,
    objects: Vec<Object>,
    stems: Stems,
    writing: Writing<'a>,
    pictures: Vec<Picture>,
}

impl Work<'_> {
    fn picture(&mut self, path: &Path) -> Result<(), Failure> {
        let frame = image_file::read(path)?;
        let seen = self
            .look(frame, None)
            .map_err(|failure| failure.at(path.display()))?;
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let folder = whole.parent().and_then(Path::file_name);
        let group = folder.unwrap_or_default().to_string_lossy().into_owned();
        let stem = self.stems.next(path);
        self.write(stem, &group, seen)
    }

    fn clip(&mut self, path: &Path, args: &Args, ui: Ui) -> Result<(), Failure> {
        let mut options = OpenOptions::new(Arc::new(MonotonicClock::new()));
        options.pace = Pace::Fast;
        // The person who named it reads what is wrong with it.
        options.name_source = true;
        let refuse = |e: bedside_video::SourceError| Failure::new(Exit::Input, e.to_string());
        let mut source = bedside_video::open(&path.to_string_lossy(), &options).map_err(refuse)?;
        let mut chooser = Chooser::new(usize::from(args.max));
        let mut failed = None;
        for place in 0.. {
            match source.next(Vec::new()) {
                Ok(Some(frame)) if place % args.every == 0 => {
                    let seen = self
                        .look(frame, Some(place))
                        .map_err(|failure| failure.at(path.display()))?;
                    let doubt = seen.doubt;
                    chooser.offer(seen, doubt);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) if error.kind() == SourceErrorKind::Broken => {
                    ui.note(format_args!("note: {error}"));
                }
                Err(error) => {
                    failed = Some(refuse(error));
                    break;
                }
            }
        }
        let stem = self.stems.next(path);
        for seen in chooser.chosen() {
            let place = seen.place.unwrap_or_default();
            let name = self.stems.unique(&format!("{stem}-{place:06}"));
            self.write(name, &stem, seen)?;
        }
        failed.map_or(Ok(()), Err)
    }

    fn look(&mut self, frame: Frame, place: Option<u64>) -> Result<Seen, Failure> {
        let answer = self.segmenter.segment(&frame, &self.prompts)?;
        let doubts = answer.findings.iter().zip(self.prompts.thresholds());
        let doubt = doubts.map(|(finding, threshold)| doubt(finding, threshold));
        let doubt = doubt.fold(0.0, f32::max);
        let found = self.objects.iter().zip(&answer.findings);
        let masks = found.filter_map(|(object, finding)| {
            Some((object.name.clone(), Rle::from(finding.mask.as_ref()?)))
        });
        Ok(Seen {
            doubt,
            masks: masks.collect(),
            place,
            frame,
        })
    }

    fn write(&mut self, stem: String, group: &str, seen: Seen) -> Result<(), Failure> {
        let name = format!("{stem}.png");
        self.writing.write(&[NewFile {
            name: format!("images/{name}"),
            bytes: image_file::frame_png(&seen.frame)?,
        }])?;
        self.pictures.push(Picture {
            name,
            width: seen.frame.width(),
            height: seen.frame.height(),
            // It goes into a table, and from there to terminals.
            group: group.replace(char::is_control, "_"),
            frame: seen.place,
            doubt: seen.doubt,
            masks: seen.masks,
        });
        Ok(())
    }
}

/// Write the tool's files, and last what tells that the task is whole.
fn finish(task: &Task, format: Format, writing: &mut Writing<'_>) -> Result<(), Failure> {
    for document in format.documents(task)? {
        writing.write(&[NewFile {
            name: document.name.to_owned(),
            bytes: document.bytes,
        }])?;
    }
    if format == Format::Png {
        for picture in &task.pictures {
            for object in &task.objects {
                let mask = picture.initial(&object.name)?;
                let empty = || bedside::Mask::empty(picture.width, picture.height);
                writing.write(&[NewFile {
                    name: format!("masks/{}", task.mask_file(picture, object)),
                    bytes: image_file::mask_png(&mask.unwrap_or_else(empty))?,
                }])?;
            }
        }
    }
    writing.write(&[NewFile {
        name: TASK.to_owned(),
        bytes: task.to_json()?,
    }])?;
    Ok(())
}

fn tell(task: &Task, args: &Args, ui: Ui) -> Result<(), Failure> {
    let found = |object: &Object| {
        let there = |picture: &&Picture| picture.masks.contains_key(&object.name);
        task.pictures.iter().filter(there).count()
    };
    if ui.json() {
        let objects = task.objects.iter();
        let objects = objects.map(|o| json!({ "object": o.name, "found": found(o) }));
        return ui.print_json(&json!({
            "path": args.out,
            "format": args.format.name(),
            "modality": task.modality,
            "pictures": task.pictures.len(),
            "objects": objects.collect::<Vec<_>>(),
        }));
    }
    let mut table = Table::new(["object", ">found in"]);
    for object in &task.objects {
        table.row([object.name.clone(), found(object).to_string()]);
    }
    ui.print(&format!(
        "wrote {} pictures to {} for {}\n{table}",
        task.pictures.len(),
        args.out.display(),
        args.format
    ))
}
