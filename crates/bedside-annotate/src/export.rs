//! What comes back from a tool.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;

use crate::error::Error;
use crate::shape::Shape;
use crate::task::{Picture, Task, check_label};

/// Most shapes of one picture.
const MAX_SHAPES: usize = 10_000;

/// A tool's export, sorted by the pictures of a task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Export {
    /// For each picture of the task what is drawn on it, with its label; `None` where the export does
    /// not have the picture, or nobody has submitted it.
    pub pictures: Vec<Option<Vec<(String, Shape)>>>,
    /// Pictures that are in the export and were not submitted, or skipped.
    pub unsubmitted: usize,
    /// Pictures of the export that are none of the task's.
    pub foreign: usize,
}

/// An export in the making.
pub(crate) struct Collecting<'t> {
    task: &'t Task,
    places: HashMap<&'t str, usize>,
    export: Export,
}

impl<'t> Collecting<'t> {
    pub(crate) fn new(task: &'t Task) -> Self {
        let names = task.pictures.iter().enumerate();
        Self {
            task,
            places: names.map(|(place, p)| (p.name.as_str(), place)).collect(),
            export: Export {
                pictures: vec![None; task.pictures.len()],
                ..Export::default()
            },
        }
    }

    /// A picture of the export, by its path or URL there, and its size where that is told: its place in
    /// the task, `None` where it has none.
    pub(crate) fn picture(
        &mut self,
        path: &str,
        size: Option<(u32, u32)>,
    ) -> Result<Option<usize>, Error> {
        let Some(place) = self.place(path) else {
            self.export.foreign += 1;
            return Ok(None);
        };
        let (Some(picture), Some(shapes)) = (
            self.task.pictures.get(place),
            self.export.pictures.get_mut(place),
        ) else {
            return Ok(None);
        };
        if let Some(size) = size {
            check_size(picture, size)?;
        }
        if shapes.replace(Vec::new()).is_some() {
            return Err(Error::input(format!(
                "picture '{}' is there twice; hint: export one task of it",
                picture.name
            )));
        }
        Ok(Some(place))
    }

    /// A picture that nobody has submitted.
    pub(crate) fn unsubmitted(&mut self, path: &str) {
        match self.place(path) {
            Some(_) => self.export.unsubmitted += 1,
            None => self.export.foreign += 1,
        }
    }

    /// Something drawn on the picture at a place of the task.
    pub(crate) fn draw(&mut self, place: usize, label: &str, shape: Shape) -> Result<(), Error> {
        let name = self.task.pictures.get(place).map_or("", |p| &p.name);
        let named = |e: Error| e.at(format_args!("picture '{name}'"));
        check_label(label).map_err(named)?;
        let Some(Some(shapes)) = self.export.pictures.get_mut(place) else {
            return Ok(());
        };
        if shapes.len() == MAX_SHAPES {
            let why = format!("more than {MAX_SHAPES} shapes; hint: draw fewer, larger ones");
            return Err(named(Error::input(why)));
        }
        shapes.push((label.to_owned(), shape));
        Ok(())
    }

    /// Refuse shapes of a picture that had another size in the tool.
    pub(crate) fn check_size(&self, place: usize, size: (u32, u32)) -> Result<(), Error> {
        let picture = self.task.pictures.get(place);
        picture.map_or(Ok(()), |picture| check_size(picture, size))
    }

    /// Something drawn that is no mask.
    pub(crate) fn refuse(&self, place: usize, kind: &str) -> Error {
        let name = self.task.pictures.get(place).map_or("", |p| &p.name);
        Error::input(format!(
            "picture '{name}': a {kind} is no mask; hint: draw masks or polygons, and delete the rest"
        ))
    }

    /// What was collected.
    ///
    /// # Errors
    /// When no picture is one of the task's.
    pub(crate) fn finish(self) -> Result<Export, Error> {
        let export = self.export;
        if export.pictures.iter().all(Option::is_none) {
            return Err(Error::input(match export.unsubmitted {
                0 => "has no picture of this task; hint: name the folder that `bedside annotate` \
                      wrote for it"
                    .to_owned(),
                n => format!(
                    "{n} pictures, none of which anybody has submitted; hint: submit each one that \
                     was looked at, unchanged ones too"
                ),
            }));
        }
        Ok(export)
    }

    /// The place of the picture whose name ends a path or URL. Label Studio puts eight digits and a
    /// dash before the names of pictures that are uploaded.
    fn place(&self, path: &str) -> Option<usize> {
        let find = |path: &str| {
            let name = path.rsplit(['/', '\\', '=']).next().unwrap_or(path);
            let uploaded = || {
                let (digits, name) = name.split_once('-')?;
                let are_hex = digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                are_hex.then_some(name)
            };
            let place = self.places.get(name);
            place.or_else(|| self.places.get(uploaded()?)).copied()
        };
        find(path).or_else(|| find(&percent_decode_str(path).decode_utf8().ok()?))
    }
}

fn check_size(picture: &Picture, (width, height): (u32, u32)) -> Result<(), Error> {
    if (picture.width, picture.height) == (width, height) {
        return Ok(());
    }
    Err(Error::input(format!(
        "picture '{}' has {width}x{height} pixels, and had {}x{}; hint: give the tool the pictures as \
         they are",
        picture.name, picture.width, picture.height
    )))
}
