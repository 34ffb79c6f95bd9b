//! H.264 within pixel data: an MP4 or a transport stream, whole, in one piece or several (PS3.5, 8.2.7
//! to 8.2.9).

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use bedside_core::{Frame, MonotonicClock, Phi, PixelFormat};
use bedside_video::{H264Source, Source as _, SourceError, SourceErrorKind};
use bedside_vision::colour::rgb_pixels;
use dicom_dictionary_std::uids;

use super::file::Source;
use super::stored::Stored;
use super::{Error, ErrorKind};

/// Transfer syntaxes of H.264, of which frames are read, each in one piece and in several: High Profile at levels 4.1 and 4.2, as
/// for Blu-ray, in 3D (two views in one picture), and of two views, of which the first is read.
pub const H264_SYNTAXES: [&str; 10] = [
    uids::MPEG4HP41,
    uids::MPEG4HP41F,
    uids::MPEG4HP41BD,
    uids::MPEG4HP41BDF,
    uids::MPEG4HP422D,
    uids::MPEG4HP422DF,
    uids::MPEG4HP423D,
    uids::MPEG4HP423DF,
    uids::MPEG4HP42STEREO,
    uids::MPEG4HP42STEREOF,
];

/// The pictures of a video, one after the other: earlier ones mean to begin again.
pub(crate) struct Video {
    source: H264Source,
    /// Number of the next picture.
    next: u32,
}

/// Whether pixel data of that transfer syntax is a video that is read.
pub(crate) fn is_video(syntax: &str) -> bool {
    H264_SYNTAXES.contains(&syntax)
}

impl Video {
    pub(crate) fn open(pieces: Pieces, stored: &Stored) -> Result<Self, Error> {
        let name = Phi::shown("its video".to_owned());
        let clock = Arc::new(MonotonicClock::new());
        let source = H264Source::new(name, pieces, clock).map_err(told)?;
        let size = (source.info().width, source.info().height);
        if size != (stored.width, stored.height) {
            return Err(Error::damaged(
                "its video has another size than the header says",
            ));
        }
        if source.pictures() < stored.frames as usize {
            return Err(Error::damaged(format_args!(
                "its header tells of {} frames, but there are {}",
                stored.frames,
                source.pictures()
            )));
        }
        Ok(Self { source, next: 0 })
    }

    /// Picture `index` as RGB.
    pub(crate) fn frame(&mut self, index: u32) -> Result<Frame, Error> {
        if index < self.next {
            self.source.rewind();
            self.next = 0;
        }
        let mut buffer = Vec::new();
        loop {
            let picture = self.source.next(buffer);
            self.next += 1;
            let wanted = self.next > index;
            buffer = match picture {
                Ok(Some(frame)) if wanted => return rgb(&frame),
                Ok(Some(frame)) => frame.into_data(),
                Err(error) if wanted || error.kind() == SourceErrorKind::Fatal => {
                    return Err(told(error));
                }
                Err(_) => Vec::new(),
                Ok(None) => return Err(Error::damaged("its video ends early")),
            };
        }
    }
}

fn rgb(frame: &Frame) -> Result<Frame, Error> {
    let mut data = Vec::new();
    rgb_pixels(frame, &mut data);
    let frame = Frame::new(frame.width(), frame.height(), PixelFormat::Rgb8, data);
    frame.map_err(|_| Error::damaged("a frame has another size than the header says"))
}

/// The same in words that fit a file that no other program takes for a video.
fn told(error: SourceError) -> Error {
    let text = error.to_string();
    let why = text.split("; hint:").next().unwrap_or_default();
    let (kind, hint) = match error.kind() {
        SourceErrorKind::Broken => (ErrorKind::Damaged, "copy or export the file again"),
        _ => (
            ErrorKind::Unsupported,
            "export it as progressive H.264 in 4:2:0 in an MP4 or a transport stream",
        ),
    };
    Error::new(kind, format!("{why}; hint: {hint}"))
}

/// Pieces of a file, one behind the other.
pub(crate) struct Pieces {
    source: Box<dyn Source>,
    /// Where each begins here and in the file, and its length.
    pieces: Vec<(u64, u64, u32)>,
    len: u64,
    at: u64,
}

impl Pieces {
    pub(crate) fn new(source: Box<dyn Source>, fragments: &[(u64, u32)]) -> Self {
        let mut len = 0;
        let mut place = |(at, size): &(u64, u32)| {
            let start = len;
            len += u64::from(*size);
            (start, *at, *size)
        };
        let pieces = fragments.iter().map(&mut place).collect();
        Self {
            source,
            pieces,
            len,
            at: 0,
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let behind = self.pieces.partition_point(|(start, ..)| *start <= self.at);
        let piece = behind.checked_sub(1).and_then(|last| self.pieces.get(last));
        let Some((start, at, size)) = piece.filter(|_| self.at < self.len) else {
            return Ok(0);
        };
        let within = self.at - start;
        let left = u64::from(*size).saturating_sub(within);
        self.source.seek(SeekFrom::Start(at + within))?;
        let read = Read::take(&mut self.source, left).read(to)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Pieces {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn pieces_are_one_stream() {
        let bytes: Vec<u8> = (0..100).collect();
        let fragments = [(10, 5), (40, 0), (20, 10), (90, 3)];
        let mut pieces = Pieces::new(Box::new(Cursor::new(bytes)), &fragments);
        let mut all = Vec::new();
        pieces.read_to_end(&mut all).unwrap();
        let expected: Vec<u8> = (10..15).chain(20..30).chain(90..93).collect();
        assert_eq!(all, expected);
        for at in 0..=expected.len() {
            pieces.seek(SeekFrom::Start(at as u64)).unwrap();
            all.clear();
            pieces.read_to_end(&mut all).unwrap();
            assert_eq!(all, expected[at..], "{at}");
        }
        assert_eq!(pieces.seek(SeekFrom::End(-1)).unwrap(), 17);
        assert!(pieces.seek(SeekFrom::Current(-18)).is_err());
    }
}
