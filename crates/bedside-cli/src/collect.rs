//! `bedside collect`: what people corrected, as a dataset.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bedside_annotate::{Export, Format, Manifest, Picture, Shape, Tally, Task, outcomes, split_of};
use serde_json::json;

use crate::annotate::formats;
use crate::failure::{Exit, Failure};
use crate::image_file;
use crate::output::{Folder, NewFile, Stems, Writing};
use crate::table::Table;
use crate::ui::Ui;

/// Arguments of `bedside collect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedside collect annotations.xml --format cvat --task task --out dataset
  bedside collect project-1.json --format labelstudio --task task --out dataset
  bedside collect task/masks --format png --task task --out dataset

A picture that is in the export and has no mask of an object shows none ('normal'); one that is not in
the export, or that nobody submitted, is left out. The dataset is what `bedside eval` and
`python -m bedside_train.finetune` read. Groups are put into train, val and test by lot; the column
'split' of manifest.csv may be changed.")]
pub(crate) struct Args {
    /// File that the tool exported, or of --format png the folder of masks
    #[arg(value_name = "EXPORT")]
    export: PathBuf,

    /// Tool that it is from
    #[arg(long, value_name = "FORMAT", value_parser = formats())]
    format: Format,

    /// Folder that `bedside annotate` wrote
    #[arg(long, value_name = "DIR")]
    task: PathBuf,

    /// Dataset folder to write, new or empty
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
}

/// # Errors
/// When anything of the export can't be used: then nothing is written.
pub(crate) fn run(args: &Args, ui: Ui) -> Result<(), Failure> {
    let folder = Folder::new(&args.out);
    folder.check_empty()?;
    let task = Task::open(&args.task)?;
    let export = args.format.read(&args.export, &task)?;
    let mut dataset = Dataset {
        args,
        task: &task,
        writing: folder.begin(),
        manifest: Manifest::new()?,
        counts: Counts::default(),
    };
    let bar = ui.progress(task.pictures.len() as u64, "pictures");
    for (picture, shapes) in task.pictures.iter().zip(&export.pictures) {
        if let Some(shapes) = shapes {
            dataset.add(picture, shapes)?;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let counts = dataset.finish()?;
    counts.tell(args, &task, &export, ui)
}

struct Dataset<'a> {
    args: &'a Args,
    task: &'a Task,
    writing: Writing<'a>,
    manifest: Manifest,
    counts: Counts,
}

impl Dataset<'_> {
    fn add(&mut self, picture: &Picture, shapes: &[(String, Shape)]) -> Result<(), Failure> {
        // Before room is made for masks: the picture is of the size that the task tells.
        let path = self.args.task.join("images").join(&picture.name);
        let frame = image_file::read(&path)?;
        if (frame.width(), frame.height()) != (picture.width, picture.height) {
            return Err(Failure::new(
                Exit::Input,
                format!(
                    "{}: has {}x{} pixels, and had {}x{}; hint: put back what `bedside annotate` wrote",
                    path.display(),
                    frame.width(),
                    frame.height(),
                    picture.width,
                    picture.height
                ),
            ));
        }
        let mut files = vec![NewFile {
            name: format!("images/{}", picture.name),
            bytes: image_file::frame_png(&frame)?,
        }];
        let mut names = Stems::default();
        let outcomes = outcomes(self.task, picture, shapes);
        for outcome in outcomes.map_err(|e| e.at(self.args.export.display()))? {
            let object = names.unique(&outcome.object);
            let mut file = None;
            if let Some(mask) = &outcome.mask {
                let name = format!("masks/{}.{object}.png", picture.stem());
                files.push(NewFile {
                    name: name.clone(),
                    bytes: image_file::mask_png(mask)?,
                });
                file = Some(name);
            }
            self.manifest
                .row(self.task, picture, &outcome, file.as_deref())?;
            let tally = self.counts.objects.entry(outcome.object).or_default();
            tally.count(outcome.change);
        }
        self.writing.write(&files)?;
        self.counts.pictures += 1;
        *self
            .counts
            .splits
            .entry(split_of(&picture.group))
            .or_default() += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<Counts, Failure> {
        self.writing.write(&[NewFile {
            name: "manifest.csv".to_owned(),
            bytes: self.manifest.into_bytes()?,
        }])?;
        self.writing.keep();
        Ok(self.counts)
    }
}

/// What was collected.
struct Counts {
    pictures: usize,
    objects: BTreeMap<String, Tally>,
    splits: BTreeMap<&'static str, usize>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            pictures: 0,
            objects: BTreeMap::new(),
            splits: BTreeMap::from([("train", 0), ("val", 0), ("test", 0)]),
        }
    }
}

impl Counts {
    fn tell(&self, args: &Args, task: &Task, export: &Export, ui: Ui) -> Result<(), Failure> {
        let left_out = task.pictures.len() - self.pictures;
        if ui.json() {
            return ui.print_json(&json!({
                "path": args.out,
                "pictures": self.pictures,
                "left_out": left_out,
                "unsubmitted": export.unsubmitted,
                "foreign": export.foreign,
                "splits": self.splits,
                "objects": self.objects,
            }));
        }
        if left_out > 0 {
            ui.note(format_args!(
                "note: {left_out} pictures of the task are left out: {} not submitted, the others not \
                 in the export",
                export.unsubmitted
            ));
        }
        if export.foreign > 0 {
            ui.note(format_args!(
                "note: {} of the export belong to no picture of the task",
                export.foreign
            ));
        }
        for (split, _) in self.splits.iter().filter(|(_, pictures)| **pictures == 0) {
            ui.note(format_args!(
                "note: by lot no group is in '{split}'; hint: change the column 'split' of manifest.csv"
            ));
        }
        let titles = [
            "object",
            ">unchanged",
            ">corrected",
            ">added",
            ">deleted",
            ">absent",
            ">mean Dice",
            ">least",
        ];
        let mut table = Table::new(titles);
        for (object, tally) in &self.objects {
            let dice = |dice: Option<f64>| dice.map_or("-".to_owned(), |d| format!("{d:.3}"));
            table.row([
                object.clone(),
                tally.unchanged.to_string(),
                tally.corrected.to_string(),
                tally.added.to_string(),
                tally.deleted.to_string(),
                tally.absent.to_string(),
                dice(tally.mean_dice),
                dice(tally.least_dice),
            ]);
        }
        ui.print(&format!(
            "wrote {} pictures with masks and manifest.csv to {}\n{table}",
            self.pictures,
            args.out.display()
        ))
    }
}
