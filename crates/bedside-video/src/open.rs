//! From a name on the command line to a source.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use bedside_core::{Clock, Frame, Phi, YuvSpace};

use crate::avi::AviSource;
use crate::camera::{self, Coding};
use crate::feed::Feed;
use crate::folder::FolderSource;
use crate::mjpeg::MjpegSource;
use crate::mp4::H264Source;
use crate::pace::{Pace, paced};
use crate::phantom::PhantomSource;
use crate::raw::{RawFormat, RawSource, parse_rate, parse_size};
use crate::y4m::Y4mSource;
use crate::{Source, SourceError, SourceInfo};

/// What is requested of a camera; it runs in the nearest way that it can. Written as
/// `1280x720:mjpeg@30`, of which any part may be left out: `640x480`, `mjpeg@60`, `@25`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CaptureFormat {
    /// Width and height in pixels.
    pub size: Option<(u32, u32)>,
    /// How the camera sends its frames.
    pub coding: Option<Coding>,
    /// Frames a second.
    pub frames_per_second: Option<f64>,
    /// What the YUV values mean: BT.601 in limited range by default, as webcams have it;
    /// capture of HDMI is usually BT.709. JPEG says it itself.
    pub yuv_space: Option<YuvSpace>,
}

impl FromStr for CaptureFormat {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let refuse = |why: &str| {
            let names = Coding::ALL.map(Coding::name).join(", ");
            SourceError::fatal(format!(
                "capture format '{text}': {why}; hint: write it as 1280x720:mjpeg@30, or a part of \
                 that, with one of {names}"
            ))
        };
        let (format, rate) = match text.split_once('@') {
            Some((format, rate)) => (format, Some(rate)),
            None => (text, None),
        };
        let mut request = Self::default();
        for part in format.split(':').filter(|part| !part.is_empty()) {
            let coding = Coding::ALL.into_iter().find(|coding| coding.name() == part);
            match coding {
                Some(_) if request.coding.is_some() => return Err(refuse("two formats")),
                Some(_) => request.coding = coding,
                None if part.starts_with(|c: char| c.is_ascii_digit()) => {
                    request.size = Some(parse_size(part).map_err(|why| refuse(&why))?);
                }
                None => return Err(refuse(&format!("unknown format '{part}'"))),
            }
        }
        if let Some(rate) = rate {
            let rate = parse_rate(rate).ok_or_else(|| refuse("not a frame rate"))?;
            request.frames_per_second = Some(rate);
        }
        if request == Self::default() {
            return Err(refuse("nothing is asked for"));
        }
        Ok(request)
    }
}

impl fmt::Display for CaptureFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((width, height)) = self.size {
            write!(f, "{width}x{height}")?;
        }
        if let Some(coding) = self.coding {
            let colon = self.size.map_or("", |_| ":");
            write!(f, "{colon}{}", coding.name())?;
        }
        match self.frames_per_second {
            Some(rate) => write!(f, "@{}", (rate * 100.0).round() / 100.0),
            None => Ok(()),
        }
    }
}

/// How sources are opened.
#[derive(Clone)]
#[non_exhaustive]
pub struct OpenOptions {
    /// How fast files and phantoms run.
    pub pace: Pace,
    /// What the bytes of standard input or of a file mean, where no header says so.
    pub raw: Option<RawFormat>,
    /// Begin a file again when it ends.
    pub repeat: bool,
    /// What is requested of a camera.
    pub capture: Option<CaptureFormat>,
    /// Frames a second of what has no rate itself: folders (10 when not given) and
    /// MJPEG (25).
    pub frames_per_second: Option<f64>,
    /// Tell the path of files and folders, in [`SourceInfo::name`] and in errors; else their kind
    /// alone is told, as a path may name a patient.
    pub name_source: bool,
    /// Stamps frames.
    pub clock: Arc<dyn Clock>,
}

impl OpenOptions {
    /// Own pace, no repetition, nothing requested of a camera, no path told.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            pace: Pace::Own,
            raw: None,
            repeat: false,
            capture: None,
            frames_per_second: None,
            name_source: false,
            clock,
        }
    }

    /// What to call the file or folder at `path`.
    fn name(&self, path: &str, kind: &'static str) -> Phi<String> {
        if self.name_source {
            Phi::shown(path.to_owned())
        } else {
            Phi::redacted(path.to_owned(), kind)
        }
    }
}

impl fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenOptions")
            .field("pace", &self.pace)
            .field("raw", &self.raw)
            .field("repeat", &self.repeat)
            .field("capture", &self.capture)
            .field("frames_per_second", &self.frames_per_second)
            .field("name_source", &self.name_source)
            .finish_non_exhaustive()
    }
}

/// Frames a second of a folder of pictures.
const FOLDER_RATE: f64 = 10.0;
/// Frames a second of an MJPEG file.
const MJPEG_RATE: f64 = 25.0;

const FORMS: &str = "/dev/videoN, - for standard input, a pipe, a file that ends in .y4m, .avi, \
                     .mjpeg, .mjpg, .mp4, .m4v, .mov or .ts, a folder of pictures, a raw file with \
                     its format, phantom:polyp, phantom:breast-tumor or phantom:fetal-head";

/// Open the source that `spec` names: one of the forms in `docs/video.md`.
///
/// # Errors
/// [`Fatal`](crate::SourceErrorKind::Fatal) for what is not recognised, not there, or not a video.
pub fn open(spec: &str, options: &OpenOptions) -> Result<Box<dyn Source>, SourceError> {
    let source = open_once(spec, options)?;
    let source = if options.repeat && spec != "-" && !source.info().live {
        Box::new(Repeated {
            spec: Phi::redacted(spec.to_owned(), "source"),
            options: options.clone(),
            inner: source,
            fresh: true,
        })
    } else {
        source
    };
    Ok(match options.pace {
        Pace::Own => paced(source, options.clock.clone()),
        Pace::Fast => source,
    })
}

fn open_once(spec: &str, options: &OpenOptions) -> Result<Box<dyn Source>, SourceError> {
    let clock = options.clock.clone();
    if let Some(phantom) = spec.strip_prefix("phantom:") {
        return Ok(Box::new(PhantomSource::new(phantom, clock)?));
    }
    if spec == "-" {
        let name = Phi::shown("standard input".to_owned());
        let feed = Feed::stdin().map_err(|error| SourceError::io(&name, &error))?;
        return stream(name, feed, options);
    }
    if let Some((scheme, _)) = spec.split_once("://") {
        // The rest of a URL may hold a password.
        return Err(SourceError::fatal(format!(
            "{scheme}:// is not spoken here; hint: `ffmpeg -i URL -f yuv4mpegpipe - | bedside \
             live -`"
        )));
    }
    let request = options.capture.unwrap_or_default();
    if spec.starts_with("/dev/video") {
        return camera::open(Phi::shown(spec.to_owned()), request, clock);
    }
    let path = Path::new(spec);
    let named = |words| options.name(spec, words);
    let kind = path.metadata();
    let kind = kind.map_err(|error| SourceError::io(named("source"), &error))?;
    let kind = kind.file_type();
    if kind.is_char_device() {
        return camera::open(named("camera"), request, clock);
    }
    let rate = options.frames_per_second;
    if kind.is_dir() {
        let rate = rate.unwrap_or(FOLDER_RATE);
        let folder = FolderSource::new(named("folder of pictures"), rate, clock)?;
        return Ok(Box::new(folder));
    }
    let opened = |words| match Feed::open(path) {
        Ok(feed) => Ok((named(words), feed)),
        Err(error) => Err(SourceError::io(named(words), &error)),
    };
    if !kind.is_file() || options.raw.is_some() {
        let words = if kind.is_file() { "raw file" } else { "pipe" };
        let (name, feed) = opened(words)?;
        return stream(name, feed, options);
    }
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    Ok(match ending.to_ascii_lowercase().as_str() {
        "y4m" => {
            let (name, feed) = opened("Y4M file")?;
            return stream(name, feed, options);
        }
        "avi" => {
            let (name, feed) = opened("AVI file")?;
            Box::new(AviSource::new(name, feed, clock)?)
        }
        "mjpeg" | "mjpg" => {
            let (name, feed) = opened("MJPEG file")?;
            let rate = rate.unwrap_or(MJPEG_RATE);
            Box::new(MjpegSource::new(name, feed, rate, clock)?)
        }
        "mp4" | "m4v" | "mov" | "ts" => {
            let name = named("H.264 file");
            let file = File::open(path).map_err(|error| SourceError::io(&name, &error))?;
            Box::new(H264Source::new(name, file, clock)?)
        }
        _ => {
            return Err(SourceError::fatal(format!(
                "{}: not a known kind of video; hint: use {FORMS}",
                named("file")
            )));
        }
    })
}

/// Bytes in order: Y4M, or raw where the options say what they mean.
fn stream(
    name: Phi<String>,
    feed: Feed,
    options: &OpenOptions,
) -> Result<Box<dyn Source>, SourceError> {
    let clock = options.clock.clone();
    Ok(match options.raw {
        Some(format) => Box::new(RawSource::new(name, feed, format, clock)?),
        None => Box::new(Y4mSource::new(name, feed, clock)?),
    })
}

/// A file that begins again when it ends.
struct Repeated {
    spec: Phi<String>,
    options: OpenOptions,
    inner: Box<dyn Source>,
    /// Whether no frame came since it was opened: then it would never give one.
    fresh: bool,
}

impl Source for Repeated {
    fn info(&self) -> &SourceInfo {
        self.inner.info()
    }

    fn next(&mut self, buffer: Vec<u8>) -> Result<Option<Frame>, SourceError> {
        let mut answer = self.inner.next(buffer)?;
        if answer.is_none() && !self.fresh {
            let again = open_once(self.spec.reveal(), &self.options)?;
            if again.info() != self.inner.info() {
                return Err(SourceError::fatal(format!(
                    "{}: has changed meanwhile; hint: start again",
                    self.inner.info().name
                )));
            }
            self.inner = again;
            self.fresh = true;
            answer = self.inner.next(Vec::new())?;
        }
        self.fresh &= answer.is_none();
        Ok(answer)
    }
}
