//! A dataset folder: `manifest.csv` and the pictures and masks that it names.
//!
//! Columns `file`, `mask`, `split`, `modality` and `object` must be there, `group`, `label` and
//! `frame` may; others are not read. A row without a mask needs the label "normal".

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use bedside::{Frame, Mask, Modality};
use bedside_video::still;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// Name of the table inside a dataset folder.
const MANIFEST: &str = "manifest.csv";
/// Most bytes of a manifest.
const MAX_MANIFEST: u64 = 64 << 20;
/// Label of a frame that shows nothing to find.
const NORMAL: &str = "normal";
/// Mask pixels above this are set.
const SET_ABOVE: u8 = 127;

/// Which rows of a manifest are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// What the model was trained on: flatters it.
    Train,
    /// Held out while training.
    Val,
    /// Never looked at before.
    Test,
    /// Every row.
    All,
}

impl Split {
    fn takes(self, name: &str) -> bool {
        self == Self::All || self.to_string() == name
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let all = [Self::Train, Self::Val, Self::Test, Self::All];
        let split = all.into_iter().find(|split| split.to_string() == name);
        split.ok_or_else(|| refuse("no such split; hint: train, val, test or all"))
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
            Self::All => "all",
        })
    }
}

/// A row's place, for people to find it again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The dataset folder as it was given.
    pub folder: String,
    /// Line in its `manifest.csv`, from 1.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, line {}",
            Path::new(&self.folder).join(MANIFEST).display(),
            self.line
        )
    }
}

/// One frame of a dataset with what is true of it; nothing is read from its files yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where the row stands.
    pub place: Place,
    /// Picture as the manifest names it; of a file of several, with the frame's number.
    pub file: String,
    /// Mask as the manifest names it; `None` for a frame that shows nothing to find.
    pub mask: Option<String>,
    /// Frames of one group (a patient, a clip) are not independent of each other.
    pub group: String,
    /// Kind of imaging.
    pub modality: Modality,
    /// The object that the mask outlines.
    pub object: String,
    /// Objects that other rows of the split name in the same picture.
    pub beside: Vec<String>,
    /// "normal" for a frame that shows nothing to find.
    pub label: String,
    folder: PathBuf,
    picture: String,
    frame: Option<u32>,
}

/// Reads files that are no stills, and have frames: none where a file is of another kind. Frames
/// count from 1; none is the only one.
pub type Frames = fn(&Path, Option<u32>) -> Option<Result<Frame, String>>;

/// A row that could not be evaluated, and why.
#[derive(Debug, Clone, Serialize)]
pub struct Failed<E = Error> {
    /// The row.
    #[serde(flatten)]
    pub place: Place,
    /// The cause.
    pub error: E,
}

impl<E> Failed<E> {
    /// The same row with the error in a host's own form.
    pub fn map<F>(self, form: impl FnOnce(E) -> F) -> Failed<F> {
        Failed {
            place: self.place,
            error: form(self.error),
        }
    }
}

/// The rows that were asked for, and those that could not be understood.
#[derive(Debug, Default)]
pub struct Rows {
    /// Those that can be evaluated.
    pub rows: Vec<Row>,
    /// Those that can't.
    pub failed: Vec<Failed>,
}

#[derive(Deserialize)]
struct Columns {
    file: String,
    mask: String,
    split: String,
    modality: String,
    object: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    label: String,
    #[serde(default)]
    frame: Option<u32>,
}

/// Read a folder's manifest: the rows of a split, at most `limit` of them, evenly spread.
///
/// # Errors
/// [`ErrorKind::Input`] when the manifest can't be read or lacks a column.
pub fn rows(folder: &Path, split: Split, limit: Option<usize>) -> Result<Rows, Error> {
    let path = folder.join(MANIFEST);
    let named = |failure: Error| failure.at(path.display());
    let bytes = bytes_of(&path).map_err(named)?;
    let mut found = parse(&bytes, folder, split).map_err(named)?;
    name_beside(&mut found.rows);
    if let Some(limit) = limit {
        spread(&mut found.rows, limit);
    }
    Ok(found)
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, Error> {
    let cannot = |e: std::io::Error| {
        refuse(format!(
            "could not be read: {e}; hint: a dataset folder holds a {MANIFEST}"
        ))
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(MAX_MANIFEST + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > MAX_MANIFEST {
        return Err(refuse(format!(
            "has more than {} MiB; hint: split the dataset into folders",
            MAX_MANIFEST >> 20
        )));
    }
    Ok(bytes)
}

fn parse(bytes: &[u8], folder: &Path, split: Split) -> Result<Rows, Error> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let headers = reader
        .headers()
        .map_err(|e| refuse(format!("is no CSV: {e}")))?
        .clone();
    for column in ["file", "mask", "split", "modality", "object"] {
        if !headers.iter().any(|h| h == column) {
            return Err(refuse(format!(
                "has no column '{column}'; hint: the first line names the columns file, mask, \
                 split, group, modality, object, label"
            )));
        }
    }
    let mut found = Rows::default();
    let mut record = csv::StringRecord::new();
    loop {
        let start = reader.position().line();
        let place = |line| Place {
            folder: folder.display().to_string(),
            line,
        };
        match reader.read_record(&mut record) {
            Ok(false) => return Ok(found),
            Ok(true) => {
                let place = place(record.position().map_or(start, csv::Position::line));
                match row(&record, &headers, folder, split, place.clone()) {
                    Ok(row) => found.rows.extend(row),
                    Err(error) => found.failed.push(Failed { place, error }),
                }
            }
            Err(error) => {
                let line = error.position().map_or(start, csv::Position::line);
                let error = refuse(malformed(&error));
                found.failed.push(Failed {
                    place: place(line),
                    error,
                });
            }
        }
    }
}

/// What is wrong with a record, without the crate's own count of places.
fn malformed(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!(
            "has {len} fields, the first line has {expected_len}; hint: put fields with commas \
             into double quotes"
        ),
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8; hint: save the table as UTF-8".to_owned(),
        other => format!("is no CSV: {other:?}"),
    }
}

/// The row in a record; `None` if it is of another split.
fn row(
    record: &csv::StringRecord,
    headers: &csv::StringRecord,
    folder: &Path,
    split: Split,
    place: Place,
) -> Result<Option<Row>, Error> {
    let fields: Columns = record
        .deserialize(Some(headers))
        .map_err(|e| refuse(format!("is no row: {e}")))?;
    if !split.takes(&fields.split) {
        return Ok(None);
    }
    let Columns {
        file,
        mask,
        modality,
        object,
        group,
        label,
        ..
    } = &fields;
    // They could steer the terminal that a report is printed on.
    if [file, mask, modality, object, group, label]
        .iter()
        .any(|f| f.contains(char::is_control))
    {
        return Err(refuse(
            "holds a control character; hint: write plain text on one line",
        ));
    }
    if fields.object.is_empty() {
        return Err(refuse(
            "names no object; hint: write what the mask outlines, as in 'polyp'",
        ));
    }
    let mask = match fields.mask {
        mask if !mask.is_empty() => Some(inside(mask, "mask")?),
        _ if fields.label == NORMAL => None,
        _ => {
            return Err(refuse(format!(
                "names no mask; hint: only frames of label '{NORMAL}' may go without"
            )));
        }
    };
    let picture = inside(fields.file, "file")?;
    Ok(Some(Row {
        file: match fields.frame {
            Some(frame) => format!("{picture}, frame {frame}"),
            None => picture.clone(),
        },
        picture,
        frame: fields.frame,
        mask,
        modality: fields
            .modality
            .parse()
            .map_err(|e| refuse(format!("{e}")))?,
        // A frame of no group stands for itself.
        group: if fields.group.is_empty() {
            format!("line {}", place.line)
        } else {
            fields.group
        },
        object: fields.object,
        beside: Vec::new(),
        label: fields.label,
        folder: folder.to_owned(),
        place,
    }))
}

/// The path if it stays inside the dataset's folder.
fn inside(path: String, column: &str) -> Result<String, Error> {
    let plain = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
    if path.is_empty() || !Path::new(&path).components().all(plain) {
        return Err(refuse(format!(
            "'{path}' in column '{column}' leads out of the folder; hint: paths are relative to \
             the manifest, without '..'"
        )));
    }
    Ok(path)
}

/// Tell each row what the others name in its picture.
fn name_beside(rows: &mut [Row]) {
    let mut named: HashMap<String, BTreeSet<String>> = HashMap::new();
    for row in rows.iter() {
        let objects = named.entry(row.file.clone()).or_default();
        objects.insert(row.object.clone());
    }
    for row in rows {
        let objects = named.get(&row.file).into_iter().flatten();
        row.beside = objects.filter(|o| **o != row.object).cloned().collect();
    }
}

/// Keep at most `limit` items, spread evenly: manifests are often sorted by kind.
fn spread<T>(items: &mut Vec<T>, limit: usize) {
    let count = items.len();
    let mut index = 0;
    items.retain(|_| {
        // Item i stays where the running share i * limit / count steps up.
        let keep = count <= limit || (index * limit) % count < limit;
        index += 1;
        keep
    });
}

impl Row {
    /// The picture, by way of `frames` where that reads files of its kind.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] when its file can't be read.
    pub(crate) fn frame(&self, frames: Option<Frames>) -> Result<Frame, Error> {
        let path = self.folder.join(&self.picture);
        let read = frames.and_then(|frames| frames(&path, self.frame));
        match (read, self.frame) {
            (Some(read), _) => read.map_err(|why| refuse(why).at(path.display())),
            (None, None | Some(1)) => Ok(still::read(&path)?),
            (None, Some(frame)) => Err(refuse(format!(
                "has no frame {frame}; hint: column 'frame' is for DICOM files of several"
            ))
            .at(path.display())),
        }
    }

    /// The true mask at the picture's size; without a pixel where the object is not there.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] when its file can't be read, has another size than the picture, is no
    /// mask of dark and bright pixels, or contradicts the label.
    pub(crate) fn truth(&self, frame: &Frame) -> Result<Mask, Error> {
        let (width, height) = (frame.width(), frame.height());
        let Some(name) = &self.mask else {
            return Ok(Mask::empty(width, height));
        };
        let path = self.folder.join(name);
        let picture = still::read(&path)?;
        let mask = mask_of(&picture, (width, height)).map_err(|f| f.at(path.display()))?;
        if self.label == NORMAL && !mask.is_empty() {
            return Err(refuse(format!(
                "{}: has {} pixels set, but the label is '{NORMAL}'; hint: correct one of them",
                path.display(),
                mask.area()
            )));
        }
        Ok(mask)
    }
}

/// The mask that a picture is, of a frame of this size: set where any channel is above 127.
///
/// # Errors
/// [`ErrorKind::Input`] when it has another size, or dark pixels only.
pub fn mask_of(picture: &Frame, (width, height): (u32, u32)) -> Result<Mask, Error> {
    if (picture.width(), picture.height()) != (width, height) {
        return Err(refuse(format!(
            "the mask has {}x{} pixels, its picture {width}x{height}; hint: masks are drawn at \
             the picture's size",
            picture.width(),
            picture.height()
        )));
    }
    let bytes = picture.data();
    let channels = (bytes.len() / (width as usize * height as usize)).max(1);
    let set = |pixel: &[u8]| u8::from(pixel.iter().any(|v| *v > SET_ABOVE));
    let data = bytes.chunks_exact(channels).map(set).collect();
    match Mask::from_bytes(width, height, data) {
        Some(mask) if mask.is_empty() && bytes.iter().any(|v| *v > 0) => Err(refuse(format!(
            "the mask has dark pixels only, none above {SET_ABOVE}; hint: masks hold 0 and 255"
        ))),
        Some(mask) => Ok(mask),
        None => Err(Error::new(
            ErrorKind::Internal,
            "a mask's bytes do not fit its size",
        )),
    }
}

fn refuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Input, message)
}

#[cfg(test)]
mod tests {
    use bedside::PixelFormat;
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "file,mask,split,group,modality,object,label\n";

    fn read(text: &str, split: Split) -> Rows {
        parse(text.as_bytes(), Path::new("set"), split).unwrap()
    }

    #[test]
    fn rows_of_the_split_are_found_whatever_the_columns_order() {
        let text = "\u{feff}label,object,modality,group,split,mask,file,extra\n\
                    benign, breast tumor ,ultrasound,g1,val,m/1.png,i/1.png,x\n\
                    polyp,polyp,endoscope,,train,m/2.png,i/2.png,\"a, b\"\n";
        let val = read(text, Split::Val);
        assert!(val.failed.is_empty());
        let [row] = val.rows.as_slice() else {
            panic!("{:?}", val.rows)
        };
        assert_eq!(
            (row.object.as_str(), row.file.as_str()),
            ("breast tumor", "i/1.png")
        );
        assert_eq!((row.place.line, row.group.as_str()), (2, "g1"));
        let all = read(text, Split::All);
        assert_eq!(all.rows.len(), 2);
        assert_eq!(all.rows[1].modality, Modality::Endoscopy);
        assert_eq!(all.rows[1].group, "line 3", "no group: stands for itself");
        assert!(read(text, Split::Test).rows.is_empty());
    }

    #[test]
    fn rows_know_what_others_name_in_their_picture_even_beyond_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let table = format!(
            "{HEAD}\
             a.png,a1.png,val,g,x-ray,lung,\n\
             a.png,a2.png,val,g,x-ray,heart,\n\
             b.png,b.png,val,g,x-ray,lung,\n\
             a.png,a3.png,val,g,x-ray,left lung,\n\
             b.png,b.png,train,g,x-ray,heart,\n"
        );
        std::fs::write(folder.path().join(MANIFEST), table).unwrap();
        let beside = |limit| -> Vec<Vec<String>> {
            let found = rows(folder.path(), Split::Val, limit).unwrap();
            found.rows.into_iter().map(|row| row.beside).collect()
        };
        let all = beside(None);
        assert_eq!(all[0], ["heart", "left lung"]);
        assert_eq!(all[1], ["left lung", "lung"]);
        assert!(all[2].is_empty(), "{all:?}");
        assert_eq!(beside(Some(1)), [["heart", "left lung"]]);
    }

    #[test]
    fn each_bad_row_is_reported_with_its_line_and_the_good_ones_stay() {
        let text = format!(
            "{HEAD}\
             a.png,a.png,val,g,ultrasound,breast tumor,benign\n\
             b.png,b.png,val,g,ultrasound\n\
             ../c.png,c.png,val,g,ultrasound,breast tumor,benign\n\
             d.png,/etc/passwd,val,g,ultrasound,breast tumor,benign\n\
             e.png,e.png,val,g,sonar,breast tumor,benign\n\
             f.png,,val,g,ultrasound,breast tumor,benign\n\
             g.png,,val,g,ultrasound,breast tumor,normal\n\
             h.png,h.png,val,g,ultrasound,,benign\n\
             ,i.png,val,g,ultrasound,breast tumor,benign\n\
             j.png,j/../../j.png,val,g,ultrasound,breast tumor,benign\n\
             k.png,k.png,val,g,ultrasound,breast\u{1b}[2J,benign\n"
        );
        let found = read(&text, Split::Val);
        let files: Vec<&str> = found.rows.iter().map(|r| r.file.as_str()).collect();
        assert_eq!(files, ["a.png", "g.png"]);
        assert_eq!(found.rows[1].mask, None);
        let errors: Vec<String> = found
            .failed
            .iter()
            .map(|f| f.error.clone().at(&f.place).to_string())
            .collect();
        let expected = [
            (3, "5 fields"),
            (4, "'../c.png'"),
            (5, "'/etc/passwd'"),
            (6, "sonar"),
            (7, "names no mask"),
            (9, "names no object"),
            (10, "column 'file'"),
            (11, "leads out"),
            (12, "control character"),
        ];
        assert_eq!(errors.len(), expected.len(), "{errors:#?}");
        for (text, (line, cause)) in errors.iter().zip(expected) {
            assert!(
                text.starts_with(&format!("set/manifest.csv, line {line}: ")),
                "{text}"
            );
            assert!(text.contains(cause) && text.contains("hint: "), "{text}");
        }
        assert!(
            found
                .failed
                .iter()
                .all(|f| f.error.kind() == ErrorKind::Input)
        );
    }

    #[test]
    fn bytes_that_are_no_text_fail_their_row_alone() {
        let mut bytes = format!("{HEAD}a\u{e9}.png,a.png,val,g,oct,x,y\n").into_bytes();
        bytes.extend(b"\xff.png,b.png,val,g,oct,x,y\nc.png,c.png,val,g,oct,x,y\n");
        let found = parse(&bytes, Path::new("set"), Split::Val).unwrap();
        assert_eq!(found.rows.len(), 2);
        let [failed] = found.failed.as_slice() else {
            panic!("{:?}", found.failed)
        };
        assert!(failed.place.line == 3, "{failed:?}");
        assert!(failed.error.to_string().contains("UTF-8"), "{failed:?}");
    }

    #[test]
    fn frames_of_one_file_are_pictures_of_their_own() {
        fn frames(path: &Path, frame: Option<u32>) -> Option<Result<Frame, String>> {
            let gray = |v| Frame::new(1, 1, PixelFormat::Gray8, vec![v]).unwrap();
            let read = || match frame.unwrap_or(1) {
                frame @ 1..=9 => Ok(gray(frame as u8)),
                _ => Err("has 9 frames".to_owned()),
            };
            path.ends_with("set/a.many").then(read)
        }
        let text = "frame,file,mask,split,group,modality,object,label\n\
                    1,a.many,1.png,val,g,ultrasound,polyp,\n\
                    7,a.many,7.png,val,g,ultrasound,polyp,\n\
                    ,a.many,1.png,val,g,ultrasound,polyp,\n\
                    10,a.many,1.png,val,g,ultrasound,polyp,\n\
                    2,gone.png,1.png,val,g,ultrasound,polyp,\n\
                    -1,a.many,1.png,val,g,ultrasound,polyp,\n";
        let mut found = read(text, Split::Val);
        name_beside(&mut found.rows);
        assert!(matches!(&*found.failed, [failed] if failed.place.line == 7));
        let files: Vec<_> = found.rows.iter().map(|row| row.file.as_str()).collect();
        assert_eq!(files[..3], ["a.many, frame 1", "a.many, frame 7", "a.many"]);
        let pictures: Vec<_> = found
            .rows
            .iter()
            .map(|row| row.frame(Some(frames)))
            .collect();
        let values = pictures[..3].iter().map(|p| p.as_ref().unwrap().data()[0]);
        assert_eq!(values.collect::<Vec<_>>(), [1, 7, 1]);
        for (picture, why) in pictures[3..].iter().zip(["has 9 frames", "no frame 2"]) {
            let error = picture.as_ref().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("set/"), "{error}");
        }
        assert!(found.rows[0].frame(None).is_err());
    }

    #[test]
    fn a_missing_column_or_manifest_is_named() {
        let error = parse(b"file,split\na,val\n", Path::new("set"), Split::Val).unwrap_err();
        assert!(error.to_string().contains("'mask'"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let error = rows(folder.path(), Split::Val, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains("manifest.csv"), "{error}");
    }

    #[test]
    fn masks_are_bright_pixels_of_the_pictures_size() {
        let gray = |w, h, data: &[u8]| Frame::new(w, h, PixelFormat::Gray8, data.to_vec()).unwrap();
        let mask = mask_of(&gray(4, 1, &[0, 127, 128, 255]), (4, 1)).unwrap();
        assert_eq!(mask.data(), [0, 0, 1, 1]);
        let rgb = Frame::new(2, 1, PixelFormat::Rgb8, vec![0, 0, 0, 0, 255, 0]).unwrap();
        assert_eq!(mask_of(&rgb, (2, 1)).unwrap().data(), [0, 1]);
        assert!(mask_of(&gray(2, 2, &[0; 4]), (2, 2)).unwrap().is_empty());
        let size = mask_of(&gray(2, 2, &[0; 4]), (4, 1))
            .unwrap_err()
            .to_string();
        assert!(size.contains("2x2") && size.contains("4x1"), "{size}");
        let dim = mask_of(&gray(2, 1, &[0, 1]), (2, 1))
            .unwrap_err()
            .to_string();
        assert!(
            dim.contains("0 and 255"),
            "a mask of ones must not pass for 'absent': {dim}"
        );
    }

    proptest! {
        #[test]
        fn a_limit_keeps_exactly_so_many_evenly_and_in_order(n in 0_usize..300, limit in 1_usize..40) {
            let mut items: Vec<usize> = (0..n).collect();
            spread(&mut items, limit);
            prop_assert_eq!(items.len(), n.min(limit));
            let steps: Vec<usize> = items.windows(2).map(|w| w[1] - w[0]).collect();
            if let (Some(least), Some(most)) = (steps.iter().min(), steps.iter().max()) {
                prop_assert!(*least >= 1 && most - least <= 1, "{:?}", items);
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut table = HEAD.as_bytes().to_vec();
            table.extend(bytes);
            let _ = parse(&table, Path::new("set"), Split::All);
        }
    }
}
