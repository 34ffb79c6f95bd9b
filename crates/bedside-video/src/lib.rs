//! Video in and out. No model, no network: what a camera, a pipe or a file gives becomes
//! [`Frame`]s, and frames become files or another program's input.
//!
//! * [`open`] makes a [`Source`] from what a person wrote on the command line; `docs/video.md`
//!   lists the forms
//! * [`sink::open_sink`] makes a [`sink::Sink`] likewise
//! * [`still::read`] reads one picture; folders of pictures are read the same way
//! * [`H264Source`] reads a clip that lies within something else
//! * [`paced`] lets a source of another crate keep its own pace
//!
//! ```
//! use std::sync::Arc;
//! use bedside_core::MonotonicClock;
//! use bedside_video::{OpenOptions, Pace, open};
//!
//! let mut options = OpenOptions::new(Arc::new(MonotonicClock::new()));
//! options.pace = Pace::Fast;
//! let mut source = open("phantom:polyp,size=64x48", &options)?;
//! let frame = source.next(Vec::new())?.expect("a phantom never ends");
//! let next = source.next(frame.into_data())?;
//! assert_eq!(next.map(|f| (f.width(), f.height())), Some((64, 48)));
//! # Ok::<(), bedside_video::SourceError>(())
//! ```

mod avi;
mod camera;
mod convert;
mod error;
mod feed;
mod folder;
mod jpeg;
mod mjpeg;
mod mp4;
mod open;
mod pace;
mod phantom;
mod raw;
pub mod sink;
mod size;
pub mod still;
mod y4m;

use bedside_core::{Frame, Phi, PixelFormat, Timestamp, YuvSpace};

pub use camera::{CameraInfo, Coding, cameras};
pub use error::{SourceError, SourceErrorKind};
pub use mp4::H264Source;
pub use open::{CaptureFormat, OpenOptions, open};
pub use pace::{Pace, paced};
pub use phantom::phantom_config;
pub use raw::RawFormat;
pub use size::MAX_VIDEO_PIXELS;

/// What is known of a source before its first frame.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceInfo {
    /// For people: where the frames come from, and what is converted on the way. Of files and
    /// folders the kind alone is told, unless [`OpenOptions::name_source`] is set.
    pub name: Phi<String>,
    /// Width of every frame in pixels.
    pub width: u32,
    /// Height of every frame in pixels.
    pub height: u32,
    /// Pixel format of every frame.
    pub format: PixelFormat,
    /// What the YUV values of every frame mean.
    pub yuv_space: YuvSpace,
    /// Frames a second, where the source says.
    pub frames_per_second: Option<f64>,
    /// Whether a real clock drives it: a camera or a pipe, which can't be made to wait.
    pub live: bool,
}

impl SourceInfo {
    /// A frame of this source from its bytes, and the time at which they were there.
    fn frame(&self, data: Vec<u8>, captured: Timestamp) -> Result<Frame, SourceError> {
        let frame = Frame::new(self.width, self.height, self.format, data);
        let frame = frame.map_err(|e| SourceError::broken(format!("{}: {e}", self.name)))?;
        Ok(frame.with_yuv_space(self.yuv_space).captured_at(captured))
    }
}

/// Where frames come from.
pub trait Source: Send {
    /// Name, size and rate; the same for the source's whole life.
    fn info(&self) -> &SourceInfo;

    /// The next frame, in `buffer`'s memory where the source can use it, so that frames handed
    /// back by [`Frame::into_data`] make the steady state free of allocations; `None` at the end.
    ///
    /// Blocks for about a second at most. Every frame has the size, format and meaning that
    /// [`info`](Self::info) says, and the time at which its bytes were there.
    ///
    /// # Errors
    /// See [`SourceErrorKind`]: all but [`Fatal`](SourceErrorKind::Fatal) allow another call.
    fn next(&mut self, buffer: Vec<u8>) -> Result<Option<Frame>, SourceError>;
}
