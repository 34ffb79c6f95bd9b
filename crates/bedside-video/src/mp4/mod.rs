//! H.264 in MP4 and QuickTime files, and in MPEG transport streams.

mod boxes;
mod sps;
mod transport;

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bedside_core::{Clock, Frame, Phi, PixelFormat};
use rusty_h264_decoder::{Decoder, Sps as DecoderSps};

use crate::convert::with_matrix;
use crate::mjpeg::read_whole;
use crate::mp4::boxes::{Movie, Sample, is_sequence_header};
use crate::mp4::sps::{Sps, without_emulation};
use crate::{MAX_VIDEO_PIXELS, Source, SourceError, SourceInfo, size};

/// Pictures that a decoder may hold back to bring them into order (ITU-T H.264, A.3.1).
const MAX_REORDER: usize = 16;

/// Most macroblocks, squares of 16 pixels, that the pictures kept for reference have together
/// (level 5.2 in A.3.1): five pictures of 4096x2304, or sixteen of 1920x1088.
const MAX_REFERENCE_BLOCKS: usize = 184_320;

/// Bytes of a file, wherever they are.
trait Bytes: Read + Seek + Send {}
impl<T: Read + Seek + Send> Bytes for T {}

/// H.264 pictures of an MP4 or an MPEG transport stream, wherever its bytes are.
pub struct H264Source {
    file: Box<dyn Bytes>,
    movie: Movie,
    /// Place of each sample in the order of showing.
    ranks: Vec<u32>,
    /// The next sample to decode.
    sample: usize,
    decoder: Decoder,
    /// Whether the decoder must be given the parameter sets, and a picture that needs no other.
    fresh: bool,
    /// Decoded pictures that are not yet shown, by rank; `None` for one that could not be.
    ready: BTreeMap<u32, Option<Vec<u8>>>,
    /// Memory for more of them.
    spare: Vec<Vec<u8>>,
    /// Ranks that were shown.
    shown: u32,
    packet: Vec<u8>,
    annex_b: Vec<u8>,
    info: SourceInfo,
    clock: Arc<dyn Clock>,
}

impl H264Source {
    /// The first video track; no picture is decoded yet. `name` is what errors call it.
    ///
    /// # Errors
    /// [`Fatal`](crate::SourceErrorKind::Fatal) for what is neither MP4 nor transport stream, or not
    /// of the kinds of H.264 that `docs/video.md` lists.
    pub fn new(
        name: Phi<String>,
        file: impl Read + Seek + Send + 'static,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SourceError> {
        let mut file: Box<dyn Bytes> = Box::new(file);
        let refuse = |why: &str| {
            SourceError::fatal(format!(
                "{name}: {why}; hint: `ffmpeg -i FILE -c:v libx264 -pix_fmt yuv420p out.mp4` \
                 converts it"
            ))
        };
        let io = |error| SourceError::io(&name, &error);
        let movie = if transport::is_stream(&mut file).map_err(io)? {
            let read = transport::read(&mut file).map_err(io)?;
            let (movie, units) = read.map_err(|why| refuse(&why))?;
            file = Box::new(Cursor::new(units));
            movie
        } else {
            let read = Movie::read(&mut file).map_err(io)?;
            read.map_err(|why| refuse(&why))?
        };
        let sps = movie.parameter_sets.first().and_then(|nal| Sps::parse(nal));
        let sps = sps.ok_or_else(|| refuse("has no readable H.264 sequence header"))?;
        if !sps.is_420_of_8_bits {
            return Err(refuse("is not 4:2:0 of 8 bits"));
        }
        if !sps.is_progressive {
            return Err(refuse("is interlaced"));
        }
        size::check(sps.width, sps.height).map_err(|why| refuse(&format!("has {why}")))?;
        for nal in movie
            .parameter_sets
            .iter()
            .filter(|nal| is_sequence_header(nal))
        {
            bounded(nal).map_err(|why| refuse(&why))?;
        }

        let mut order: Vec<u32> = (0..).take(movie.samples.len()).collect();
        order.sort_by_key(|at| {
            movie
                .samples
                .get(*at as usize)
                .map(|sample| sample.shown_at)
        });
        let mut ranks = vec![0; order.len()];
        for (rank, at) in (0..).zip(order) {
            if let Some(place) = ranks.get_mut(at as usize) {
                *place = rank;
            }
        }
        let info = SourceInfo {
            name,
            width: sps.width,
            height: sps.height,
            format: PixelFormat::I420,
            yuv_space: with_matrix(sps.matrix, sps.height, sps.full_range),
            frames_per_second: movie.frames_per_second,
            live: false,
        };
        Ok(Self {
            file,
            movie,
            ranks,
            sample: 0,
            decoder: Decoder::new(),
            fresh: true,
            ready: BTreeMap::new(),
            spare: Vec::new(),
            shown: 0,
            packet: Vec::new(),
            annex_b: Vec::new(),
            info,
            clock,
        })
    }

    /// Number of its pictures.
    pub fn pictures(&self) -> usize {
        self.movie.samples.len()
    }

    /// Begin again: the next picture is the first.
    pub fn rewind(&mut self) {
        self.sample = 0;
        self.decoder = Decoder::new();
        self.fresh = true;
        self.ready.clear();
        self.shown = 0;
    }

    /// Decode the next sample into `ready`.
    fn advance(&mut self, sample: Sample) -> io::Result<()> {
        let rank = self.ranks.get(self.sample).copied().unwrap_or_default();
        self.sample += 1;
        self.file.seek(SeekFrom::Start(sample.offset))?;
        if !read_whole(&mut self.file, sample.size as usize, &mut self.packet)? {
            // The file was cut: nothing behind it is there.
            self.sample = self.movie.samples.len();
            self.ready.insert(rank, None);
            return Ok(());
        }
        if self.fresh && !sample.is_sync {
            self.ready.insert(rank, None);
            return Ok(());
        }
        self.annex_b.clear();
        let sound = self
            .movie
            .annex_b(&self.packet, self.fresh, &mut self.annex_b);
        let decoder = &mut self.decoder;
        let annex_b = &self.annex_b;
        // Hostile bytes are the decoder's daily bread, and still it is large and young.
        let decode = AssertUnwindSafe(|| decoder.decode(annex_b));
        let decoded = sound.then(|| catch_unwind(decode));
        let size = (self.info.width as usize, self.info.height as usize);
        let picture = match decoded {
            Some(Ok(Ok(Some(picture)))) if (picture.width, picture.height) == size => {
                let mut data = self.spare.pop().unwrap_or_default();
                data.clear();
                for plane in [&picture.y, &picture.u, &picture.v] {
                    data.extend_from_slice(plane);
                }
                Some(data)
            }
            _ => None,
        };
        self.fresh = picture.is_none();
        if self.fresh {
            self.decoder = Decoder::new();
        }
        self.ready.insert(rank, picture);
        Ok(())
    }
}

/// Refuse a sequence header that asks the decoder for more memory than a video may take. It is the
/// decoder's own reading that counts here.
fn bounded(nal: &[u8]) -> Result<(), String> {
    let payload = without_emulation(nal.get(1..).unwrap_or_default());
    let sps = DecoderSps::parse(&payload).map_err(|error| format!("can't be decoded: {error}"))?;
    let (columns, rows) = (sps.pic_width_in_mbs, sps.pic_height_in_mbs);
    let blocks = columns
        .checked_mul(rows)
        .filter(|blocks| *blocks <= MAX_VIDEO_PIXELS as usize / 256)
        .ok_or_else(|| format!("is coded in {columns}x{rows} blocks of 16 pixels, too many"))?;
    let kept = sps.max_num_ref_frames as usize;
    if kept > MAX_REORDER || blocks * kept > MAX_REFERENCE_BLOCKS {
        return Err(format!(
            "keeps {kept} pictures for reference, more than level 5.2 allows"
        ));
    }
    Ok(())
}

impl Source for H264Source {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, buffer: Vec<u8>) -> Result<Option<Frame>, SourceError> {
        let now = self.clock.now();
        self.spare.truncate(MAX_REORDER);
        self.spare.push(buffer);
        loop {
            let next = self.ready.first_key_value().map(|(rank, _)| *rank);
            let sample = self.movie.samples.get(self.sample).copied();
            match (next, sample) {
                (Some(rank), sample)
                    if rank == self.shown || sample.is_none() || self.ready.len() > MAX_REORDER =>
                {
                    self.shown = rank + 1;
                    break;
                }
                (_, Some(sample)) => {
                    let advanced = self.advance(sample);
                    advanced.map_err(|error| SourceError::io(&self.info.name, &error))?;
                }
                (_, None) => return Ok(None),
            }
        }
        let data = self.ready.pop_first().and_then(|(_, data)| data);
        let broken = || {
            SourceError::broken(format!(
                "{}: a picture that can't be decoded",
                self.info.name
            ))
        };
        self.info.frame(data.ok_or_else(broken)?, now).map(Some)
    }
}
