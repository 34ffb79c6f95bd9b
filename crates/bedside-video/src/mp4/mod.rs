//! H.264 in MP4 and QuickTime files.

mod boxes;
mod sps;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bedside_core::frame::check_size;
use bedside_core::{Clock, Frame, Phi, PixelFormat};
use rusty_h264_decoder::Decoder;

use crate::convert::with_matrix;
use crate::mp4::boxes::{Movie, Sample};
use crate::mp4::sps::Sps;
use crate::{Source, SourceError, SourceInfo};

/// Pictures that a decoder may hold back to bring them into order (ITU-T H.264, A.3.1).
const MAX_REORDER: usize = 16;

/// Pictures of an MP4 file.
pub(crate) struct Mp4Source {
    file: File,
    movie: Movie,
    /// Place of each sample in the order of showing.
    ranks: Vec<usize>,
    /// The next sample to decode.
    sample: usize,
    decoder: Decoder,
    /// Whether the decoder must be given the parameter sets, and a picture that needs no other.
    fresh: bool,
    /// Decoded pictures that are not yet shown, by rank; `None` for one that could not be.
    ready: BTreeMap<usize, Option<Vec<u8>>>,
    /// Memory for more of them.
    spare: Vec<Vec<u8>>,
    /// Ranks that were shown.
    shown: usize,
    packet: Vec<u8>,
    annex_b: Vec<u8>,
    info: SourceInfo,
    clock: Arc<dyn Clock>,
}

impl Mp4Source {
    pub(crate) fn new(
        name: Phi<String>,
        mut file: File,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SourceError> {
        let refuse = |why: &str| {
            SourceError::fatal(format!(
                "{name}: {why}; hint: `ffmpeg -i FILE -c:v libx264 -pix_fmt yuv420p out.mp4` \
                 converts it"
            ))
        };
        let movie = Movie::read(&mut file)
            .map_err(|error| SourceError::io(&name, &error))?
            .map_err(|why| refuse(&why))?;
        let sps = movie.parameter_sets.first().and_then(|nal| Sps::parse(nal));
        let sps = sps.ok_or_else(|| refuse("has no readable H.264 sequence header"))?;
        if !sps.is_420_of_8_bits {
            return Err(refuse("is not 4:2:0 of 8 bits"));
        }
        if !sps.is_progressive {
            return Err(refuse("is interlaced"));
        }
        check_size(sps.width, sps.height).map_err(|error| refuse(&error.to_string()))?;

        let mut order: Vec<usize> = (0..movie.samples.len()).collect();
        order.sort_by_key(|at| movie.samples.get(*at).map(|sample| sample.shown_at));
        let mut ranks = vec![0; order.len()];
        for (rank, at) in order.into_iter().enumerate() {
            if let Some(place) = ranks.get_mut(at) {
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

    /// Decode the next sample into `ready`.
    fn advance(&mut self, sample: Sample) -> io::Result<()> {
        let rank = self.ranks.get(self.sample).copied().unwrap_or_default();
        self.sample += 1;
        self.file.seek(SeekFrom::Start(sample.offset))?;
        self.packet.resize(sample.size, 0);
        match self.file.read_exact(&mut self.packet) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                // The file was cut: nothing behind it is there.
                self.sample = self.movie.samples.len();
                self.ready.insert(rank, None);
                return Ok(());
            }
            other => other?,
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
        let decoded = catch_unwind(AssertUnwindSafe(|| decoder.decode(annex_b)));
        let size = (self.info.width as usize, self.info.height as usize);
        let picture = match decoded {
            Ok(Ok(Some(picture))) if sound && (picture.width, picture.height) == size => {
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

impl Source for Mp4Source {
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
