//! DICOM files as frames, with what their headers say of them.

use std::fmt;
use std::fs;
use std::io::{BufReader, Cursor};
use std::ops::Range;
use std::path::Path;

use bedside_core::{Frame, Modality, Phi, PixelFormat, Timestamp};
use dicom_dictionary_std::tags;
use dicom_object::DefaultDicomObject;

mod codec;
mod colour;
mod error;
pub(crate) mod file;
mod gray;
pub(crate) mod header;
mod jpeg_ls;
pub(crate) mod space;
mod stored;
mod subject;
mod video;

use codec::{Codec, Decoded};
use colour::Palette;
use file::{File, PixelData, Source};
use gray::Gray;
use stored::{Photometric, Stored};
use video::{Pieces, Video};

pub use error::{Error, ErrorKind};
pub use space::{Region, RegionFormat, Scale, Spacing, SpacingAt, Unit};
pub use video::H264_SYNTAXES;

/// An opened DICOM file: its header is in memory, its frames are read and decoded one by one.
///
/// Still pictures and multi-frame ones of any image class are read: uncompressed (also big-endian
/// and deflated), RLE, JPEG baseline, progressive and lossless, JPEG-LS, JPEG 2000 and H.264; gray of
/// 1 to 16 bits, RGB and YBR of 8 bits, and palettes. Frames of H.264 are best read in their order:
/// an earlier one takes as long as all before it.
///
/// `Debug` tells nothing of the patient.
pub struct Dicom {
    file: File,
    stored: Stored,
    pixels: Pixels,
    meaning: Meaning,
    modality: Option<Modality>,
    site: Option<&'static str>,
    regions: Vec<Region>,
    times: Vec<Timestamp>,
}

/// How frames are had.
enum Pixels {
    /// Each by itself, of those pieces of the pixel data where it is encoded.
    Frames(Codec, Vec<Range<usize>>),
    Video(Box<Video>),
}

/// What samples are.
enum Meaning {
    Gray(Gray),
    Palette(Palette),
    Colour,
}

/// Who the patient is, as far as the header tells. Neither `Display` nor `Debug` of a field shows
/// it; see [`Phi::reveal`].
#[derive(Debug, Clone)]
pub struct Identity {
    /// Name, with `^` between its parts.
    pub name: Phi<Option<String>>,
    /// Identifier given by the hospital.
    pub id: Phi<Option<String>>,
    /// Date of birth, `YYYYMMDD`.
    pub birth_date: Phi<Option<String>>,
}

impl Dicom {
    /// Open a file; no frame is decoded yet.
    ///
    /// # Errors
    /// Says what is wrong and what to do, without the file's name, which may tell of the patient.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = fs::File::open(path)?;
        if file.metadata()?.is_dir() {
            let message = "is a folder; hint: name the files in it, as in FOLDER/*.dcm";
            return Err(Error::new(ErrorKind::NotDicom, message));
        }
        Self::new(Box::new(BufReader::new(file)))
    }

    /// The same from memory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Error> {
        Self::new(Box::new(Cursor::new(bytes)))
    }

    fn new(source: Box<dyn Source>) -> Result<Self, Error> {
        let mut file = File::open(source)?;
        let header = &file.header;
        let stored = Stored::of(header)?;
        let syntax = header.meta().transfer_syntax().to_owned();
        let is_encapsulated = matches!(file.data, PixelData::Encapsulated { .. });
        let is_video = is_encapsulated && video::is_video(&syntax);
        if stored.photometric == Photometric::YbrPartial420 && !is_video {
            return Err(Error::unsupported(
                "colours of a video, and none that is read",
                "export it as H.264, or as RGB (for example by `dcmconv` or `dcmdjpeg`)",
            ));
        }
        let modality = subject::modality(header);
        let site = modality.and_then(|modality| subject::site(header, modality));
        let meaning = match stored.photometric {
            Photometric::Monochrome1 | Photometric::Monochrome2 => {
                Meaning::Gray(Gray::of(header, &stored, modality, site))
            }
            Photometric::Palette => Meaning::Palette(Palette::of(header, &stored)?),
            _ => Meaning::Colour,
        };
        let regions = space::regions(header, stored.width, stored.height);
        let times = times(header, stored.frames);
        let pixels = match &file.data {
            PixelData::Encapsulated { fragments, .. } if is_video => {
                // Nothing else reads the file from here on.
                let source = std::mem::replace(&mut file.source, Box::new(Cursor::new([])));
                Pixels::Video(Box::new(Video::open(
                    Pieces::new(source, fragments),
                    &stored,
                )?))
            }
            data => {
                let mut codec = Codec::of(&syntax)?;
                if let PixelData::Native(native) = data {
                    stored.check_room(native.len)?;
                    // Some writers leave frames as they are in a syntax that encodes them.
                    codec = Codec::Native;
                }
                Pixels::Frames(codec, file.frames(stored.frames)?)
            }
        };
        Ok(Self {
            file,
            stored,
            pixels,
            meaning,
            modality,
            site,
            regions,
            times,
        })
    }

    /// Kind of imaging, in the word that prompts use.
    pub fn modality(&self) -> Option<Modality> {
        self.modality
    }

    /// Part of the body, where it is one that models are trained at with this modality: such as
    /// "colon".
    pub fn site(&self) -> Option<&'static str> {
        self.site
    }

    /// Width and height of every frame in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.stored.width, self.stored.height)
    }

    /// Number of frames, at least one.
    pub fn frames(&self) -> u32 {
        self.stored.frames
    }

    /// When each frame was taken, counted from the first; empty where the header does not tell.
    pub fn frame_times(&self) -> &[Timestamp] {
        &self.times
    }

    /// Parts of an ultrasound picture with scales of their own.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Number of regions that the header tells of and that are not among [`regions`](Self::regions):
    /// they reach beyond the frame, as where a picture was scaled or cut and its header left alone.
    pub fn regions_left_out(&self) -> usize {
        let all = header::items(&self.file.header, tags::SEQUENCE_OF_ULTRASOUND_REGIONS);
        all.len().saturating_sub(self.regions.len())
    }

    /// Size of a pixel, where the header tells one for the whole picture.
    pub fn spacing(&self) -> Option<Spacing> {
        space::spacing(&self.file.header, &self.regions)
    }

    /// Whether text that may name the patient is burned into the pixels, where the header tells.
    pub fn burned_in(&self) -> Option<bool> {
        match header::text(&self.file.header, tags::BURNED_IN_ANNOTATION)?.as_str() {
            "YES" => Some(true),
            "NO" => Some(false),
            _ => None,
        }
    }

    /// Who the patient is.
    pub fn identity(&self) -> Identity {
        let field = |tag| Phi::redacted(header::text(&self.file.header, tag), "patient");
        Identity {
            name: field(tags::PATIENT_NAME),
            id: field(tags::PATIENT_ID),
            birth_date: field(tags::PATIENT_BIRTH_DATE),
        }
    }

    /// The header without the pixel data, for what writes objects that belong to the same patient
    /// and study. Its own `Debug` shows who the patient is.
    pub fn header(&self) -> &DefaultDicomObject {
        &self.file.header
    }

    /// Frame `index`, from zero on, as 8-bit gray or RGB, captured at its
    /// [time](Self::frame_times).
    ///
    /// Gray goes through the modality LUT, then the first window, else the VOI LUT. Without either,
    /// CT is clipped to the window of its site (abdomen where that is not known) and all else but
    /// plain 8-bit pictures to the 0.5th to 99.5th percentile of values above zero, then stretched to 0 to 255:
    /// so BiomedParse's training data were made. `MONOCHROME1` is inverted last.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchFrame`] beyond the last; else what is wrong with the frame's bytes.
    pub fn frame(&mut self, index: u32) -> Result<Frame, Error> {
        self.check(index)?;
        let frame = match &mut self.pixels {
            Pixels::Video(video) => video.frame(index)?,
            Pixels::Frames(..) => self.still(index)?,
        };
        let at = self.times.get(index as usize).copied();
        Ok(frame.captured_at(at.unwrap_or_default()))
    }

    /// A frame that is no picture of a video.
    fn still(&mut self, index: u32) -> Result<Frame, Error> {
        let Decoded { mut data, ybr } = self.decoded(index)?;
        let (format, data) = match &self.meaning {
            Meaning::Gray(gray) => (PixelFormat::Gray8, gray.render(self.samples(&data))),
            Meaning::Palette(palette) => (PixelFormat::Rgb8, palette.render(self.samples(&data))),
            Meaning::Colour => {
                let by_header = matches!(
                    self.stored.photometric,
                    Photometric::YbrFull | Photometric::YbrFull422
                );
                if ybr.unwrap_or(by_header) {
                    colour::ybr_to_rgb(&mut data);
                }
                (PixelFormat::Rgb8, data)
            }
        };
        let frame = Frame::new(self.stored.width, self.stored.height, format, data);
        frame.map_err(|_| Error::damaged("a frame has another size than the header says"))
    }

    /// Frame `index` of a gray file in the modality's own units, such as Hounsfield units of CT,
    /// row by row; none of a file in colours.
    ///
    /// # Errors
    /// As [`frame`](Self::frame).
    pub fn values(&mut self, index: u32) -> Result<Option<Vec<f32>>, Error> {
        self.check(index)?;
        if !matches!(self.meaning, Meaning::Gray(_)) {
            return Ok(None);
        }
        let Decoded { data, .. } = self.decoded(index)?;
        match &self.meaning {
            Meaning::Gray(gray) => Ok(Some(gray.values(self.samples(&data)))),
            _ => Ok(None),
        }
    }

    /// That there is such a frame.
    fn check(&self, index: u32) -> Result<(), Error> {
        if index >= self.stored.frames {
            let message = format!(
                "has no frame {index}; hint: frames are 0 to {}",
                self.stored.frames - 1
            );
            return Err(Error::new(ErrorKind::NoSuchFrame, message));
        }
        Ok(())
    }

    /// A frame as it is stored.
    fn decoded(&mut self, index: u32) -> Result<Decoded, Error> {
        let Pixels::Frames(codec, frames) = &self.pixels else {
            return Err(Error::damaged("its gray is a video"));
        };
        let bytes = match &self.file.data {
            PixelData::Native(native) => {
                let (native, len) = (*native, self.stored.native_len() as u64);
                self.file
                    .native(native, index, len, self.stored.bytes > 1)?
            }
            PixelData::Encapsulated { fragments, .. } => {
                let pieces = frames.get(index as usize).cloned();
                let pieces = pieces.and_then(|range| fragments.get(range));
                let pieces = pieces.unwrap_or_default().to_vec();
                self.file.joined(&pieces)?
            }
        };
        codec.decode(bytes, &self.stored)
    }

    /// Stored values of a frame of one sample a pixel: the bits that count.
    fn samples<'a>(&self, data: &'a [u8]) -> impl Iterator<Item = u16> + Clone + use<'a> {
        let (size, shift) = (self.stored.bytes, self.stored.shift);
        let mask = (1_u32 << self.stored.bits) - 1;
        data.chunks(size).map(move |sample| {
            let word = match sample {
                [low, high] => u16::from_le_bytes([*low, *high]),
                [byte, ..] => u16::from(*byte),
                [] => 0,
            };
            ((u32::from(word) >> shift) & mask) as u16
        })
    }
}

impl fmt::Debug for Dicom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dicom")
            .field("size", &self.size())
            .field("frames", &self.frames())
            .field("modality", &self.modality)
            .field("site", &self.site)
            .finish_non_exhaustive()
    }
}

/// Times of frames: a step before each, or one for all.
fn times(header: &DefaultDicomObject, frames: u32) -> Vec<Timestamp> {
    // No clock of a scanner runs for longer than these.
    const MAX_MILLIS: f64 = 1e12;
    let time = |millis: f64| Timestamp::from_nanos((millis.min(MAX_MILLIS) * 1e6) as u64);
    let steps = header::numbers(header, tags::FRAME_TIME_VECTOR);
    if steps.len() == frames as usize && steps.iter().all(|step| *step >= 0.0) {
        let mut millis = 0.0;
        return steps
            .into_iter()
            .enumerate()
            .map(|(index, step)| {
                // The first stands for nothing.
                millis += if index == 0 { 0.0 } else { step };
                time(millis)
            })
            .collect();
    }
    let per_second = || {
        let rate = header::number(header, tags::CINE_RATE);
        let rate = rate.or_else(|| header::number(header, tags::RECOMMENDED_DISPLAY_FRAME_RATE));
        rate.filter(|rate| *rate > 0.0).map(|rate| 1000.0 / rate)
    };
    let step = header::number(header, tags::FRAME_TIME).filter(|step| *step > 0.0);
    let Some(step) = step.or_else(per_second) else {
        return Vec::new();
    };
    (0..frames)
        .map(|index| time(f64::from(index) * step))
        .collect()
}
