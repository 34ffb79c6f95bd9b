//! DICOM in and out: `bedside segment` of DICOM files and studies, and `bedside dicom`.

mod answer;
mod cine;
mod images;
mod info;
mod montage;
mod node;
mod plot;
mod segment;
mod ventricle;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use bedside::Frame;
use bedside_dicom::Dicom;
use clap::Subcommand;

pub(crate) use cine::Cine;
pub(crate) use segment::{Ask, Outputs, Question, segment};

use crate::failure::{Exit, Failure};
use crate::model::ModelArgs;
use crate::ui::Ui;

/// Most files of a study, and folders within each other.
const MAX_FILES: usize = 100_000;
const MAX_DEPTH: u32 = 16;

/// Arguments of `bedside dicom`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Tell what a DICOM file holds, without saying whose it is
    Info(info::Args),
    /// Receive objects over the network, segment them, and send the masks to an archive
    Node(node::Args),
    /// Tell what waits in a node's queue, and what it put aside
    Queue(node::Args),
}

impl Args {
    /// Whether this runs on its own for long, with what patients' devices send.
    pub(crate) fn is_node(&self) -> bool {
        matches!(self.what, What::Node(_))
    }
}

pub(crate) fn run(args: &Args, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    match &args.what {
        What::Info(args) => info::run(args, ui),
        What::Node(args) => node::run(args, model, ui),
        What::Queue(args) => node::queue(args, ui),
    }
}

/// Whether all of these are DICOM files or folders.
pub(crate) fn are_dicom(paths: &[PathBuf]) -> bool {
    paths.iter().all(|path| path.is_dir() || is_dicom(path))
}

/// Whether a file begins as DICOM files do.
pub(crate) fn is_dicom(path: &Path) -> bool {
    let mut head = [0; 132];
    // Not a pipe or camera, which may never answer.
    if !path.is_file() {
        return false;
    }
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head.ends_with(b"DICM")
}

fn open(path: &Path) -> Result<Dicom, Failure> {
    Dicom::open(path).map_err(|error| {
        let message = format!("{}: {error}", path.display());
        Failure::new(Exit::Input, message)
    })
}

/// A frame of a DICOM file, counted from 1, or the only one; none for a file of another kind.
pub(crate) fn frame(path: &Path, number: Option<u32>) -> Option<Result<Frame, String>> {
    let read = || {
        let mut dicom = Dicom::open(path).map_err(|error| error.to_string())?;
        let index = match (number, dicom.frames()) {
            (None, 1) => 0,
            (Some(number), frames) if (1..=frames).contains(&number) => number - 1,
            (_, frames) => {
                return Err(format!(
                    "has {frames} frames; hint: name one in the column 'frame', from 1"
                ));
            }
        };
        dicom.frame(index).map_err(|error| error.to_string())
    };
    is_dicom(path).then(read)
}

/// The files, and the DICOM files in folders and theirs, in the order of their names.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        match path.is_dir() {
            true => walk(path, 0, &mut found)?,
            false => found.push(path.clone()),
        }
    }
    if found.is_empty() {
        let message = "no DICOM file in there; hint: name a folder that holds some";
        return Err(Failure::new(Exit::Input, message));
    }
    Ok(found)
}

fn walk(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let refuse = |why: String| Failure::new(Exit::Input, format!("{}: {why}", folder.display()));
    if depth == MAX_DEPTH {
        return Err(refuse(
            "folders lie too deep; hint: name one of them".to_owned(),
        ));
    }
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries = entries.map_err(|e| refuse(format!("{e}; hint: check who may read it")))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let kind = entry.file_type().map_err(|e| refuse(e.to_string()))?;
        if kind.is_dir() {
            walk(&path, depth + 1, found)?;
        } else if kind.is_file() && is_dicom(&path) {
            if found.len() == MAX_FILES {
                return Err(refuse(format!(
                    "over {MAX_FILES} files; hint: name a part of them"
                )));
            }
            found.push(path);
        }
    }
    Ok(())
}
