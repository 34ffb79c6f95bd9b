//! What is answered as one: the frames of a file, or the slices of a series.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bedside::Frame;
use bedside_dicom::stack::{Place, Stack, stacks};
use bedside_dicom::view::View;
use bedside_dicom::write::{ObjectError, Source};
use bedside_dicom::{Dicom, Error};

use super::open;
use crate::failure::{Exit, Failure};
use crate::ui::Ui;

/// A file, or the slices of a series.
pub(super) enum Images {
    File(PathBuf),
    Slices { files: Vec<PathBuf>, stack: Stack },
}

/// The same with its header read: frames are decoded one by one.
pub(super) struct Opened {
    /// The file, or the first slice.
    pub dicom: Dicom,
    pub source: Source,
    /// The part of each frame that the model is shown; none for whole frames.
    pub view: Option<View>,
    /// Of a series.
    pub slices: Option<(Vec<PathBuf>, Stack)>,
    file: PathBuf,
}

/// The slices among the files as stacks, each in the place of the first of its slices. Files that
/// can't be read stay where they are: whoever opens them says why.
pub(super) fn sorted(files: Vec<PathBuf>, ui: Ui) -> Vec<Images> {
    if files.len() == 1 {
        return files.into_iter().map(Images::File).collect();
    }
    let (mut places, mut slices, mut images) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for (at, file) in files.into_iter().enumerate() {
        let place = Dicom::open(&file).ok();
        match place.and_then(|dicom| Place::of(dicom.header())) {
            Some(place) if !seen.insert(place.instance.clone()) => {
                ui.note(format_args!(
                    "{}: another file is the same slice, and stands for it",
                    file.display()
                ));
            }
            Some(place) => {
                places.push(place);
                slices.push((at, file));
            }
            None => images.push((at, Images::File(file))),
        }
    }
    let found = stacks(&places);
    let series: HashSet<_> = places.iter().map(|place| &place.series).collect();
    if found.len() > series.len() {
        ui.note(format_args!(
            "{} series have {} stacks of slices: where slices are not parallel or of one size, or lie \
             at the same place, each stack is answered by itself",
            series.len(),
            found.len()
        ));
    }
    for stack in found {
        let own = stack.slices.iter().filter_map(|slice| slices.get(*slice));
        let first = own.clone().map(|(at, _)| *at).min().unwrap_or_default();
        let mut files: Vec<PathBuf> = own.map(|(_, file)| file.clone()).collect();
        let images_of = match files.len() {
            1 => Images::File(files.swap_remove(0)),
            _ => Images::Slices { files, stack },
        };
        images.push((first, images_of));
    }
    images.sort_by_key(|(at, _)| *at);
    images.into_iter().map(|(_, images)| images).collect()
}

impl Images {
    /// What it is called: the file, or the folder of the first slice.
    pub(super) fn name(&self) -> &Path {
        match self {
            Self::File(file) => file,
            Self::Slices { files, .. } => {
                let folder = files.first().and_then(|file| file.parent());
                let named = folder.filter(|folder| !folder.as_os_str().is_empty());
                named.unwrap_or(Path::new("."))
            }
        }
    }

    pub(super) fn open(&self, whole_frame: bool) -> Result<Opened, Failure> {
        let source = |file: &Path, dicom: &Dicom| {
            Source::of(dicom.header()).map_err(|error| bad_object(file, &error))
        };
        match self {
            Self::File(file) => {
                let mut dicom = open(file)?;
                let view = match whole_frame {
                    true => None,
                    false => View::of(&mut dicom).map_err(|error| bad(file, &error))?,
                };
                Ok(Opened {
                    source: source(file, &dicom)?,
                    dicom,
                    view,
                    slices: None,
                    file: file.clone(),
                })
            }
            Self::Slices { files, stack } => {
                let sources = files.iter().map(|file| source(file, &open(file)?));
                let sources = sources.collect::<Result<Vec<_>, Failure>>()?;
                let spacing = stack.spacing().filter(|_| stack.is_even());
                let file = files.first().cloned().unwrap_or_default();
                let source = Source::stack(sources, spacing);
                Ok(Opened {
                    dicom: open(&file)?,
                    source: source.map_err(|error| bad_object(self.name(), &error))?,
                    view: None,
                    slices: Some((files.clone(), stack.clone())),
                    file,
                })
            }
        }
    }
}

impl Opened {
    pub(super) fn frames(&self) -> u32 {
        self.source.frames()
    }

    /// The file that a frame, counted from 1, is in.
    pub(super) fn file(&self, frame: u32) -> &Path {
        let slices = self.slices.as_ref().map(|(files, _)| files);
        let slice = slices.and_then(|files| files.get(frame as usize - 1));
        slice.unwrap_or(&self.file)
    }

    /// A frame, counted from 1.
    pub(super) fn frame(&mut self, frame: u32) -> Result<Frame, Failure> {
        let picture = match &self.slices {
            None => self.dicom.frame(frame - 1),
            Some(_) => open(self.file(frame))?.frame(0),
        };
        picture.map_err(|error| bad(self.file(frame), &error))
    }

    pub(super) fn seconds(&self, frame: u32) -> Option<f64> {
        let time = self.dicom.frame_times().get(frame as usize - 1);
        let time = time.filter(|_| self.slices.is_none());
        time.map(|time| time.as_nanos() as f64 / 1e9)
    }

    /// How far a slice lies along the direction across slices, in mm.
    pub(super) fn depth(&self, frame: u32) -> Option<f64> {
        let (_, stack) = self.slices.as_ref()?;
        stack.depths.get(frame as usize - 1).copied()
    }
}

fn bad(file: &Path, error: &Error) -> Failure {
    Failure::new(Exit::Input, format!("{}: {error}", file.display()))
}

fn bad_object(file: &Path, error: &ObjectError) -> Failure {
    Failure::new(Exit::Input, format!("{}: {error}", file.display()))
}
