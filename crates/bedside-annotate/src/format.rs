//! The formats of annotation tools.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::coco;
use crate::cvat;
use crate::error::Error;
use crate::export::{Collecting, Export};
use crate::label_studio;
use crate::shape::Shape;
use crate::task::{Task, bytes_of};

/// Most files in a folder of masks.
const MAX_FILES: usize = 1 << 20;

/// How masks go to a tool and come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// COCO's instances with run lengths; polygons are read as well.
    Coco,
    /// CVAT for images 1.1, with masks; polygons are read as well.
    Cvat,
    /// Label Studio's tasks with brush predictions; polygons are read as well.
    LabelStudio,
    /// A gray picture for each object of each picture.
    Png,
}

/// A file for a tool: its name in the task's folder, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Name, with `/` between parts.
    pub name: &'static str,
    /// Content.
    pub bytes: Vec<u8>,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Coco, Self::Cvat, Self::LabelStudio, Self::Png];

    /// Its word on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Coco => "coco",
            Self::Cvat => "cvat",
            Self::LabelStudio => "labelstudio",
            Self::Png => "png",
        }
    }

    /// The files by which the tool gets the task's masks. There are none for [`Format::Png`]: its masks
    /// are pictures, and [`Task::mask_file`] names them.
    ///
    /// # Errors
    /// When a mask of the task is damaged.
    pub fn documents(self, task: &Task) -> Result<Vec<Document>, Error> {
        match self {
            Self::Coco => coco::documents(task),
            Self::Cvat => cvat::documents(task),
            Self::LabelStudio => label_studio::documents(task),
            Self::Png => Ok(Vec::new()),
        }
    }

    /// Read a tool's export of a task: a file, or for [`Format::Png`] the folder of masks.
    ///
    /// # Errors
    /// With the cause and the remedy, when it can't be read, is of another format, holds none of the
    /// task's pictures, or something on them that is no mask.
    pub fn read(self, path: &Path, task: &Task) -> Result<Export, Error> {
        let export = match self {
            Self::Png => masks(path, task),
            _ => bytes_of(path).and_then(|bytes| self.parse(&bytes, task)),
        };
        export.map_err(|e| e.at(path.display()))
    }

    fn parse(self, bytes: &[u8], task: &Task) -> Result<Export, Error> {
        if bytes.starts_with(b"PK\x03\x04") {
            return Err(Error::input(
                "is an archive; hint: unpack it, and name the file in it",
            ));
        }
        let mut collecting = Collecting::new(task);
        match self {
            Self::Coco => coco::parse(bytes, &mut collecting)?,
            Self::Cvat => cvat::parse(bytes, &mut collecting)?,
            Self::LabelStudio => label_studio::parse(bytes, &mut collecting)?,
            Self::Png => {}
        }
        collecting.finish()
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let format = Self::ALL.into_iter().find(|f| f.name() == name);
        let names = Self::ALL.map(Self::name).join(", ");
        format.ok_or_else(|| Error::input(format!("no such format; hint: one of {names}")))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A folder of masks. A picture of which no mask is there was not looked at.
fn masks(folder: &Path, task: &Task) -> Result<Export, Error> {
    let cannot = |e: std::io::Error| {
        Error::input(format!(
            "could not be read: {e}; hint: name the folder of masks"
        ))
    };
    let mut names = Vec::new();
    for entry in folder.read_dir().map_err(cannot)? {
        let name = entry.map_err(cannot)?.file_name();
        if let Some(name) = name.to_str().filter(|name| name.ends_with(".png")) {
            names.push(name.to_owned());
        }
        if names.len() > MAX_FILES {
            return Err(Error::input(format!(
                "has more than {MAX_FILES} files; hint: name the folder of masks"
            )));
        }
    }
    let mut collecting = Collecting::new(task);
    let mut own = 0;
    names.sort();
    for picture in &task.pictures {
        let prefix = format!("{}.", picture.stem());
        let first = names.partition_point(|name| *name < prefix);
        let named = names.iter().skip(first);
        let named: Vec<_> = named.take_while(|name| name.starts_with(&prefix)).collect();
        let masks: Vec<_> = task
            .objects
            .iter()
            .filter(|object| named.contains(&&task.mask_file(picture, object)))
            .collect();
        if masks.is_empty() {
            continue;
        }
        own += masks.len();
        if let Some(place) = collecting.picture(&picture.name, None)? {
            for object in masks {
                let path = folder.join(task.mask_file(picture, object));
                collecting.draw(place, &object.name, Shape::File(path))?;
            }
        }
    }
    let mut export = collecting.finish()?;
    export.foreign = names.len() - own;
    Ok(export)
}
