//! A peer's pictures as a source of frames.

use std::sync::{Arc, Mutex, PoisonError};

use bedside_core::{Frame, Phi, YuvSpace};
use bedside_video::{Source, SourceError, SourceErrorKind, SourceInfo};

use crate::error::{Error, ErrorKind};
use crate::link::Receiver;

/// The end of a [`link`](crate::link()) that reads.
#[derive(Clone)]
pub struct Pictures(Arc<Mutex<Receiver>>);

impl Pictures {
    pub(crate) fn new(receiver: Receiver) -> Self {
        Self(Arc::new(Mutex::new(receiver)))
    }

    /// A source of pictures as large as the next one, which is its first frame. When the peer sends
    /// others, such as another size, the source ends with
    /// [`Fatal`](bedside_video::SourceErrorKind::Fatal), and is to be opened anew: the connection
    /// stays. A connection that is lost is made anew by the source itself.
    ///
    /// # Errors
    /// As those of [`Source::next`]; after about a second without a picture,
    /// [`Silent`](bedside_video::SourceErrorKind::Silent), or
    /// [`Lost`](bedside_video::SourceErrorKind::Lost) where there is no peer.
    pub fn open(&self) -> Result<Box<dyn Source>, SourceError> {
        let mut receiver = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = receiver.frame(Vec::new()).map_err(source_error)?;
        let closed = || SourceError::new(SourceErrorKind::Fatal, "OpenIGTLink: it is closed");
        let frame = frame.ok_or_else(closed)?;
        let info = SourceInfo {
            name: Phi::shown("OpenIGTLink".to_owned()),
            width: frame.width(),
            height: frame.height(),
            format: frame.format(),
            yuv_space: YuvSpace::default(),
            frames_per_second: None,
            live: true,
        };
        receiver.pending = Some(frame);
        Ok(Box::new(Opened {
            receiver: self.0.clone(),
            info,
        }))
    }
}

struct Opened {
    receiver: Arc<Mutex<Receiver>>,
    info: SourceInfo,
}

impl Source for Opened {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, buffer: Vec<u8>) -> Result<Option<Frame>, SourceError> {
        let mut receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(frame) = receiver.frame(buffer).map_err(source_error)? else {
            return Ok(None);
        };
        let info = &self.info;
        let same = (frame.width(), frame.height(), frame.format())
            == (info.width, info.height, info.format);
        if same {
            return Ok(Some(frame));
        }
        receiver.pending = Some(frame);
        let message = "OpenIGTLink: pictures have another size or format now";
        Err(SourceError::new(SourceErrorKind::Fatal, message))
    }
}

fn source_error(error: Error) -> SourceError {
    let kind = match error.kind() {
        ErrorKind::Silent => SourceErrorKind::Silent,
        ErrorKind::Message => SourceErrorKind::Broken,
        ErrorKind::Lost | ErrorKind::Address => SourceErrorKind::Lost,
    };
    SourceError::new(kind, format!("OpenIGTLink: {error}"))
}
