//! Phantoms as an endless source.

use std::sync::Arc;

use bedside_core::{Clock, Frame, Phi, PixelFormat};
use bedside_phantom::{Phantom, PhantomConfig, PhantomKind};

use crate::convert::usual_space;
use crate::raw::{parse_rate, parse_size};
use crate::{Source, SourceError, SourceInfo};

/// The frames of a phantom from 0 on. Endoscopy is RGB, ultrasound gray.
pub(crate) struct PhantomSource {
    phantom: Phantom,
    index: u64,
    info: SourceInfo,
    clock: Arc<dyn Clock>,
}

impl PhantomSource {
    /// As [`phantom_config`].
    pub(crate) fn new(spec: &str, clock: Arc<dyn Clock>) -> Result<Self, SourceError> {
        let config = phantom_config(spec)?;
        let phantom = Phantom::new(config)
            .map_err(|error| SourceError::fatal(format!("phantom:{spec}: {error}")))?;
        let info = SourceInfo {
            name: Phi::shown(format!("phantom {} of seed {}", config.kind, config.seed)),
            width: config.width,
            height: config.height,
            format: match config.kind {
                PhantomKind::Polyp => PixelFormat::Rgb8,
                PhantomKind::BreastTumor | PhantomKind::FetalHead => PixelFormat::Gray8,
            },
            yuv_space: usual_space(config.height),
            frames_per_second: Some(config.frame_rate),
            live: false,
        };
        Ok(Self {
            phantom,
            index: 0,
            info,
            clock,
        })
    }
}

/// What `polyp,seed=3,size=1280x720,fps=30,target=no` means, all but the first optional.
///
/// # Errors
/// [`Fatal`](crate::SourceErrorKind::Fatal) for what can't be read.
pub fn phantom_config(spec: &str) -> Result<PhantomConfig, SourceError> {
    config(spec).map_err(|why| {
        SourceError::fatal(format!(
            "phantom:{spec}: {why}; hint: write it as \
             phantom:polyp,seed=3,size=1280x720,fps=30,target=no"
        ))
    })
}

fn config(spec: &str) -> Result<PhantomConfig, String> {
    let mut parts = spec.split(',');
    let kind = parts.next().unwrap_or_default();
    let mut config = PhantomConfig {
        kind: kind
            .parse()
            .map_err(|_| format!("'{kind}' is none of polyp, breast-tumor and fetal-head"))?,
        width: 512,
        height: 384,
        seed: 0,
        frame_rate: 30.0,
        target: true,
    };
    for part in parts {
        let bad = || format!("can't read '{part}'");
        match part.split_once('=').ok_or_else(bad)? {
            ("seed", seed) => config.seed = seed.parse().map_err(|_| bad())?,
            ("size", size) => (config.width, config.height) = parse_size(size)?,
            ("fps", rate) => config.frame_rate = parse_rate(rate).ok_or_else(bad)?,
            ("target", "yes") => config.target = true,
            ("target", "no") => config.target = false,
            _ => return Err(bad()),
        }
    }
    Ok(config)
}

impl Source for PhantomSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    /// Drawing makes its own memory: `buffer` is dropped.
    fn next(&mut self, _buffer: Vec<u8>) -> Result<Option<Frame>, SourceError> {
        // Drawing is the phantom's exposure: the picture is of the moment when it began.
        let now = self.clock.now();
        let shot = self.phantom.frame_at(self.index);
        self.index += 1;
        let frame = shot.frame.with_yuv_space(self.info.yuv_space);
        Ok(Some(frame.captured_at(now)))
    }
}
