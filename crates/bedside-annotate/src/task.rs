//! What a person was given to correct.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use bedside::vision::rle;
use bedside::{MAX_SIDE, Mask, Modality};
use bedside_eval::Model;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Name of the file in a task's folder that holds the [`Task`].
pub const TASK: &str = "annotate.json";
/// The file's format.
const FORMAT: u32 = 1;
const AS_WRITTEN: &str = "hint: take the folder as `bedside annotate` wrote it";
/// Most bytes of a task or an export.
const MAX_FILE: u64 = 512 << 20;

/// Pictures with the masks that a model drew. They lie in the folder's `images/`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    format: u32,
    /// The model that drew the masks.
    pub model: Model,
    /// Kind of imaging of all pictures.
    pub modality: Modality,
    /// What was asked for, in this order.
    pub objects: Vec<Object>,
    /// The pictures, by name.
    pub pictures: Vec<Picture>,
}

/// An object that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// What the tools call it: its name in the ontology, or the words of a free prompt.
    pub name: String,
    /// The same as a part of file names.
    pub file: String,
}

/// A picture with its initial masks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// Its file in `images/`: a stem and `.png`.
    pub name: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Pictures of one group (a clip, a folder) are not independent of each other.
    pub group: String,
    /// Of a clip, the frame, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<u64>,
    /// How far the model's answer deserves doubt, 0 to 1.
    pub doubt: f32,
    /// The masks of those objects that were found, by name.
    pub masks: BTreeMap<String, Rle>,
}

/// A mask in COCO's compressed run lengths, as pycocotools reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rle {
    /// Height, width.
    pub size: [u32; 2],
    /// The run lengths.
    pub counts: String,
}

impl From<&Mask> for Rle {
    fn from(mask: &Mask) -> Self {
        Self {
            size: [mask.height(), mask.width()],
            counts: rle::to_string(&rle::encode(mask)),
        }
    }
}

impl Rle {
    /// The mask.
    ///
    /// # Errors
    /// When the run lengths are not a mask of this size.
    pub fn mask(&self) -> Result<Mask, Error> {
        let [height, width] = self.size;
        let refuse = |e| Error::input(format!("{e}; hint: export the masks again"));
        let counts = rle::from_string(&self.counts).map_err(refuse)?;
        rle::decode(width, height, &counts).map_err(refuse)
    }
}

impl Task {
    /// A task of a model; the pictures are put in order.
    pub fn new(
        model: Model,
        modality: Modality,
        objects: Vec<Object>,
        mut pictures: Vec<Picture>,
    ) -> Self {
        pictures.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            format: FORMAT,
            model,
            modality,
            objects,
            pictures,
        }
    }

    /// The task of a folder that `bedside annotate` wrote.
    ///
    /// # Errors
    /// When [`TASK`] in it can't be read, is of another format, or has names or sizes that no task has.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(TASK);
        let task = bytes_of(&path).and_then(|bytes| Self::from_json(&bytes));
        task.map_err(|e| e.at(path.display()))
    }

    fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        let task: Self = serde_json::from_slice(bytes)
            .map_err(|e| Error::input(format!("is no task: {e}; {AS_WRITTEN}")))?;
        task.check()?;
        Ok(task)
    }

    /// [`TASK`]'s content.
    ///
    /// # Errors
    /// Never, as all of it can be said in JSON.
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        json(self)
    }

    /// The file of an object's mask of a picture, where masks are files.
    pub fn mask_file(&self, picture: &Picture, object: &Object) -> String {
        format!("{}.{}.png", picture.stem(), object.file)
    }

    fn check(&self) -> Result<(), Error> {
        let refuse = |why: String| Err(Error::input(format!("{why}; {AS_WRITTEN}")));
        if self.format != FORMAT {
            return refuse(format!("is of format {}, not {FORMAT}", self.format));
        }
        let (mut names, mut files) = (HashSet::new(), HashSet::new());
        for object in &self.objects {
            let Object { name, file } = object;
            if check_label(name).is_err() || !is_plain(file) {
                return refuse(format!("object '{name}' has no plain name"));
            }
            if !names.insert(name) || !files.insert(file) {
                return refuse(format!("object '{name}' is there twice"));
            }
        }
        let mut seen = HashSet::new();
        for picture in &self.pictures {
            let Picture {
                name,
                width,
                height,
                ..
            } = picture;
            if !name.ends_with(".png") || !is_plain(name) {
                return refuse(format!("picture '{name}' has no plain name"));
            }
            if !seen.insert(name) {
                return refuse(format!("picture '{name}' is there twice"));
            }
            if [width, height].iter().any(|s| !(1..=MAX_SIDE).contains(*s)) {
                return refuse(format!("no picture has {width}x{height} pixels"));
            }
            if let Some(other) = picture.masks.keys().find(|object| !names.contains(object)) {
                return refuse(format!("'{other}' in '{name}' was not asked for"));
            }
            if picture.masks.values().any(|m| m.size != [*height, *width]) {
                return refuse(format!("a mask of '{name}' has another size"));
            }
        }
        Ok(())
    }
}

impl Picture {
    /// The name without its ending.
    pub fn stem(&self) -> &str {
        self.name.strip_suffix(".png").unwrap_or(&self.name)
    }

    /// The mask that the model drew of an object; `None` where it found none.
    ///
    /// # Errors
    /// When its run lengths are damaged.
    pub fn initial(&self, object: &str) -> Result<Option<Mask>, Error> {
        let mask = self.masks.get(object).map(Rle::mask).transpose();
        mask.map_err(|e| e.at(format_args!("the initial mask of '{object}'")))
    }
}

/// Whether a name can lead nowhere else.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && !name.contains(|c: char| c.is_control() || "/\\:".contains(c))
}

/// An object's name as a table may hold it.
pub(crate) fn check_label(label: &str) -> Result<(), Error> {
    let problem = match label {
        "" => "has no label",
        _ if label.trim() != label => "has a label that begins or ends with a blank",
        _ if label.contains(char::is_control) => "has a label with control characters",
        _ if label.len() > 200 => "has a label of more than 200 bytes",
        _ => return Ok(()),
    };
    Err(Error::input(format!(
        "{problem}; hint: label it as an object is called, such as 'polyp', or delete it"
    )))
}

pub(crate) fn json(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut bytes =
        serde_json::to_vec(value).map_err(|e| Error::internal(format!("is no JSON: {e}")))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// A file's content, of which there is a most.
pub(crate) fn bytes_of(path: &Path) -> Result<Vec<u8>, Error> {
    let cannot = |e: std::io::Error| {
        Error::input(format!(
            "could not be read: {e}; hint: check the path and who may read it"
        ))
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::input(format!(
            "has more than {} MiB; hint: take fewer pictures at a time",
            MAX_FILE >> 20
        )));
    }
    Ok(bytes)
}
