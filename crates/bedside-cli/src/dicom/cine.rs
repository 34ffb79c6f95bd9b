//! Frames of a DICOM file as live video.

use std::path::Path;

use bedside::{Frame, Modality, Phi, YuvSpace};
use bedside_dicom::view::View;
use bedside_dicom::{Dicom, Error};
use bedside_video::{OpenOptions, Pace, Source, SourceError, SourceErrorKind, SourceInfo, paced};

/// The picture of each frame, at the rate that the header tells. Of ultrasound it is the part that is
/// no text and no scales: names that are burned in around it are not shown.
pub(crate) struct Cine {
    dicom: Dicom,
    view: Option<View>,
    next: u32,
    info: SourceInfo,
    options: OpenOptions,
}

impl Cine {
    /// Open a file; its path is told where the options say so alone.
    pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Self, SourceError> {
        let shown = path.display().to_string();
        let name = match options.name_source {
            true => Phi::shown(shown),
            false => Phi::redacted(shown, "DICOM file"),
        };
        let fatal =
            |error: Error| SourceError::new(SourceErrorKind::Fatal, format!("{name}: {error}"));
        let mut dicom = Dicom::open(path).map_err(fatal)?;
        let view = View::of(&mut dicom).map_err(fatal)?;
        let first = dicom.frame(0).map_err(fatal)?;
        let first = picture(&first, view, Vec::new()).unwrap_or(first);
        let last = dicom.frame_times().last();
        let seconds = last.map_or(0.0, |time| time.as_nanos() as f64 / 1e9);
        let rate = f64::from(dicom.frames() - 1) / seconds;
        let info = SourceInfo {
            name,
            width: first.width(),
            height: first.height(),
            format: first.format(),
            yuv_space: YuvSpace::default(),
            frames_per_second: (0.001..=10_000.0).contains(&rate).then_some(rate),
            live: false,
        };
        Ok(Self {
            dicom,
            view,
            next: 0,
            info,
            options: options.clone(),
        })
    }

    /// The kind of imaging that the header tells.
    pub(crate) fn modality(&self) -> Option<Modality> {
        self.dicom.modality()
    }

    /// The source at the pace that its options ask for.
    pub(crate) fn source(self) -> Box<dyn Source> {
        let (pace, clock) = (self.options.pace, self.options.clock.clone());
        match pace {
            Pace::Own => paced(Box::new(self), clock),
            Pace::Fast => Box::new(self),
        }
    }
}

impl Source for Cine {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, buffer: Vec<u8>) -> Result<Option<Frame>, SourceError> {
        if self.next == self.dicom.frames() {
            if !self.options.repeat {
                return Ok(None);
            }
            self.next = 0;
        }
        let now = self.options.clock.now();
        let index = self.next;
        self.next += 1;
        let frame = self.dicom.frame(index).map_err(|error| {
            let place = format!("{}, frame {}", self.info.name, index + 1);
            SourceError::new(SourceErrorKind::Broken, format!("{place}: {error}"))
        })?;
        let frame = picture(&frame, self.view, buffer).unwrap_or(frame);
        Ok(Some(frame.captured_at(now)))
    }
}

/// What is looked at of a frame, in `buffer`'s memory; none for all of it.
fn picture(frame: &Frame, view: Option<View>, mut buffer: Vec<u8>) -> Option<Frame> {
    let cut = view?.cut(frame)?;
    buffer.clear();
    cut.pack(&mut buffer);
    Frame::new(cut.width(), cut.height(), cut.format(), buffer).ok()
}
