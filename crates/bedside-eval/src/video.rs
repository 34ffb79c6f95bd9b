//! Masks as a live session shows them, against the true ones.
//!
//! The session runs on a clock that goes from frame to frame, and each frame waits until the model
//! has answered the one before: the figures are the same on every machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bedside::vision::dice;
use bedside::{
    Bundle, Clock, Finding, Frame, ManualClock, Mask, Modality, Options, Prompt, Timestamp,
};
use bedside_live::Model as LiveModel;
use bedside_live::{
    BundleLoader, CadenceConfig, Control, Error as LiveError, LiveSession, Loader, Metrics,
    SessionConfig,
};
use bedside_phantom::Phantom;
use bedside_video::{OpenOptions, Pace, Source, still};
use serde::Serialize;

use crate::dataset::mask_of;
use crate::error::{Error, ErrorKind};
use crate::model::Model;

/// Frames of a phantom, which has no end, when nothing else is said.
const PHANTOM_FRAMES: u64 = 600;
/// Frames a second of a clip that does not tell.
const USUAL_RATE: f64 = 25.0;
/// Longest time that the model may take to load or to answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at whether it has.
const NAP: Duration = Duration::from_micros(200);

/// Frames with their true masks, on a clock of their own.
pub struct Clip {
    name: String,
    clock: Arc<ManualClock>,
    frames: Frames,
}

enum Frames {
    Phantom(Box<Phantom>),
    Pictures {
        source: Box<dyn Source>,
        masks: Vec<PathBuf>,
    },
}

impl Clip {
    /// Open a phantom such as `phantom:polyp,seed=3`, which brings its masks, or any clip with a
    /// folder of masks: pictures, one a frame, in the order of their names.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] when it can't be opened, [`ErrorKind::Masks`] for a phantom with masks
    /// or a clip without.
    pub fn open(spec: &str, masks: Option<&Path>) -> Result<Self, Error> {
        let clock = Arc::new(ManualClock::default());
        let refuse = |why: String| Error::new(ErrorKind::Input, why);
        if let Some(phantom) = spec.strip_prefix("phantom:") {
            if masks.is_some() {
                let message = "phantoms bring their masks; hint: give none";
                return Err(Error::new(ErrorKind::Masks, message));
            }
            let config = bedside_video::phantom_config(phantom)?;
            let phantom = Phantom::new(config).map_err(|e| refuse(format!("{spec}: {e}")))?;
            return Ok(Self {
                name: spec.to_owned(),
                clock,
                frames: Frames::Phantom(Box::new(phantom)),
            });
        }
        let Some(folder) = masks else {
            let message = format!("{spec}: its true masks are missing; hint: name their folder");
            return Err(Error::new(ErrorKind::Masks, message));
        };
        let mut options = OpenOptions::new(clock.clone());
        options.pace = Pace::Fast;
        // The person who named it reads the result.
        options.name_source = true;
        let source = bedside_video::open(spec, &options)?;
        let unreadable = |e| refuse(format!("{}: {e}", folder.display()));
        let entries = folder.read_dir().map_err(unreadable)?;
        let paths: Result<Vec<PathBuf>, _> = entries.map(|e| e.map(|e| e.path())).collect();
        let mut masks = paths.map_err(unreadable)?;
        masks.sort();
        Ok(Self {
            name: source.info().name.to_string(),
            clock,
            frames: Frames::Pictures { source, masks },
        })
    }

    fn frames_per_second(&self) -> f64 {
        match &self.frames {
            Frames::Phantom(phantom) => phantom.config().frame_rate,
            Frames::Pictures { source, .. } => {
                source.info().frames_per_second.unwrap_or(USUAL_RATE)
            }
        }
    }

    /// How many frames [`measure`] will take, which are no more than `limit`.
    pub fn length(&self, limit: Option<u64>) -> u64 {
        let own = match &self.frames {
            Frames::Phantom(_) => limit.unwrap_or(PHANTOM_FRAMES),
            Frames::Pictures { masks, .. } => masks.len() as u64,
        };
        own.min(limit.unwrap_or(own))
    }

    /// Frame `number`, asked for in order, with the target's mask.
    fn next(&mut self, number: u64) -> Result<(Frame, Mask), Error> {
        let refuse = |why: String| Error::new(ErrorKind::Input, why);
        match &mut self.frames {
            Frames::Phantom(phantom) => {
                let shot = phantom.frame_at(number);
                Ok((shot.frame, shot.mask))
            }
            Frames::Pictures { source, masks } => {
                let frame = source.next(Vec::new())?;
                let (Some(frame), Some(path)) = (frame, masks.get(number as usize)) else {
                    return Err(refuse(format!(
                        "{} masks, but the clip ends after {number} frames; hint: one mask a frame",
                        masks.len()
                    )));
                };
                let size = (frame.width(), frame.height());
                let mask = mask_of(&still::read(path)?, size);
                let mask = mask.map_err(|failure| failure.at(path.display()))?;
                Ok((frame, mask))
            }
        }
    }

    /// See that there is no frame without a mask.
    fn finish(&mut self) -> Result<(), Error> {
        let Frames::Pictures { source, masks, .. } = &mut self.frames else {
            return Ok(());
        };
        match source.next(Vec::new()) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(Error::new(
                ErrorKind::Input,
                format!(
                    "{} masks, but the clip goes on; hint: one mask a frame, or a limit of {0}",
                    masks.len()
                ),
            )),
            Err(error) => Err(error.into()),
        }
    }
}

/// Keeps what the model says of each frame, beside handing it to the session.
#[derive(Clone)]
struct Tap {
    inner: Arc<BundleLoader>,
    said: Arc<Mutex<Vec<(Timestamp, Finding)>>>,
}

impl Tap {
    fn take(&self) -> Vec<(Timestamp, Finding)> {
        std::mem::take(&mut *self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Loader for Tap {
    fn load(&self) -> Result<Box<dyn LiveModel>, LiveError> {
        Ok(Box::new(Tapped {
            inner: self.inner.load()?,
            said: self.said.clone(),
        }))
    }

    fn check(&self, prompts: &[Prompt]) -> Result<Option<Modality>, LiveError> {
        self.inner.check(prompts)
    }

    fn label(&self, prompt: &Prompt) -> String {
        self.inner.label(prompt)
    }
}

struct Tapped {
    inner: Box<dyn LiveModel>,
    said: Arc<Mutex<Vec<(Timestamp, Finding)>>>,
}

impl LiveModel for Tapped {
    fn set_prompts(&mut self, prompts: &[Prompt], side: Option<u32>) -> Result<(), LiveError> {
        self.inner.set_prompts(prompts, side)
    }

    fn segment(
        &mut self,
        frame: &Frame,
        places: std::ops::Range<usize>,
    ) -> Result<Vec<Finding>, LiveError> {
        let findings = self.inner.segment(frame, places)?;
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend(findings.iter().map(|f| (frame.captured(), f.clone())));
        Ok(findings)
    }
}

/// Masks and their mean Dice.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Score {
    /// How many.
    pub masks: u64,
    /// Mean over the masks; none when there were none.
    pub dice: Option<f64>,
}

impl Score {
    fn add(&mut self, dice: f64) {
        self.masks += 1;
        let mean = self.dice.unwrap_or(0.0);
        self.dice = Some(mean + (dice - mean) / self.masks as f64);
    }
}

/// Carried masks of one age.
#[derive(Debug, Clone, Serialize)]
pub struct Age {
    /// Time from the capture of their frames to that of the frame they were shown on.
    pub age_ms: u64,
    /// How they fit.
    #[serde(flatten)]
    pub score: Score,
}

/// What a clip gave. Dice is over frames in which the object truly is.
#[derive(Debug, Clone, Serialize)]
pub struct VideoReport {
    bedside: &'static str,
    /// The model that answered.
    pub model: Model,
    /// Name of the clip.
    pub video: String,
    /// What was asked.
    pub prompt: String,
    /// Frames that were shown.
    pub frames: u64,
    /// Frames a second of the clip.
    pub frames_per_second: f64,
    /// Passes of the model a second of video, at most.
    pub passes_per_second: Option<f64>,
    /// The model's masks on the frames that it saw.
    pub fresh: Score,
    /// Masks that were shown on later frames.
    pub carried: Score,
    /// The same by their age.
    pub carried_by_age: Vec<Age>,
    /// Frames with the object.
    pub with_object: u64,
    /// Those of them on which no mask was shown.
    pub missed: u64,
    /// Frames without the object.
    pub without_object: u64,
    /// Those of them on which a mask was shown.
    pub lingering: u64,
    /// Times a minute that a mask went though the object stayed, or came though it stayed away.
    pub flicker_per_minute: f64,
}

/// What is asked of a clip.
#[derive(Debug, Clone, Copy)]
pub struct VideoSetting<'a> {
    /// What to find.
    pub prompt: &'a str,
    /// At most so many frames, the first ones.
    pub limit: Option<u64>,
    /// Passes of the model a second of video, at most; one a frame unless given.
    pub passes_per_second: Option<f64>,
}

/// Show a clip as a live session does, and measure what is shown. `progress` is called after each
/// frame.
///
/// # Errors
/// When the bundle or the clip can't be used, the prompt is refused, or the engine fails.
pub fn measure(
    mut clip: Clip,
    setting: VideoSetting<'_>,
    bundle: Bundle,
    options: &Options,
    progress: impl FnMut(),
) -> Result<VideoReport, Error> {
    // Video and model take turns here, so that no core is left to the video.
    let options = options.clone().with_threads(options.threads());
    let backend = options.backend()?;
    let model = Model::planned(bundle.manifest(), &options, backend.name());
    let inner = Arc::new(BundleLoader::new(bundle, Arc::new(backend), options)?);
    let tap = Arc::new(Tap {
        inner,
        said: Arc::default(),
    });
    let control = Arc::new(Control::new(tap.clone(), &[Prompt::new(setting.prompt)])?);
    // Half a frame before its time a pass is due already: a clip's frames do not come in between.
    let half = Duration::from_secs_f64(0.5 / clip.frames_per_second());
    let interval = setting.passes_per_second.map_or(Duration::ZERO, |rate| {
        Duration::from_secs_f64(1.0 / rate).saturating_sub(half)
    });
    let config = SessionConfig {
        cadence: CadenceConfig {
            interval,
            ..CadenceConfig::default()
        },
        ..SessionConfig::default()
    };
    let metrics = Arc::new(Metrics::new());
    let session = LiveSession::new(tap.clone(), control, metrics, clip.clock.clone(), config);
    let mut report = VideoReport {
        bedside: env!("CARGO_PKG_VERSION"),
        model,
        video: clip.name.clone(),
        prompt: setting.prompt.to_owned(),
        frames: clip.length(setting.limit),
        frames_per_second: clip.frames_per_second(),
        passes_per_second: setting.passes_per_second,
        fresh: Score::default(),
        carried: Score::default(),
        carried_by_age: Vec::new(),
        with_object: 0,
        missed: 0,
        without_object: 0,
        lingering: 0,
        flicker_per_minute: 0.0,
    };
    show(&mut clip, session, &tap, &mut report, progress)?;
    if setting.limit.is_none() {
        clip.finish()?;
    }
    Ok(report)
}

fn show(
    clip: &mut Clip,
    mut session: LiveSession,
    tap: &Tap,
    report: &mut VideoReport,
    mut progress: impl FnMut(),
) -> Result<(), Error> {
    let clock = clip.clock.clone();
    wait(&mut session, |session| session.is_loaded())?;
    let between = 1.0 / report.frames_per_second;
    let start = clock.now();
    let mut ages: BTreeMap<u64, Score> = BTreeMap::new();
    // Whether the object was there, and whether a mask was shown, in the frame before.
    let mut before = None;
    let mut flickers = 0_u64;
    for number in 0..report.frames {
        // From the start each time, so that what is rounded does not add up.
        let elapsed = Duration::from_secs_f64((number + 1) as f64 * between);
        clock.advance(elapsed.saturating_sub(clock.now().since(start)));
        let (frame, truth) = clip.next(number)?;
        let frame = frame.captured_at(clock.now());
        let seen_at = frame.captured();
        let painted = session.frame(frame, number);
        painted.map_err(|e| Error::new(ErrorKind::Input, e.to_string()))?;
        let there = !truth.is_empty();
        let shown = session.masks().next();
        if let Some((record, mask)) = shown.filter(|_| there) {
            let score = dice(mask, &truth);
            report.carried.add(score);
            let frames = number.saturating_sub(record.made_for);
            ages.entry(frames).or_default().add(score);
        }
        let shown = shown.is_some();
        match there {
            true => {
                (report.with_object, report.missed) =
                    (report.with_object + 1, report.missed + u64::from(!shown))
            }
            false => {
                (report.without_object, report.lingering) = (
                    report.without_object + 1,
                    report.lingering + u64::from(shown),
                )
            }
        }
        if let Some((there_before, shown_before)) = before.replace((there, shown)) {
            let wrong = shown != shown_before && shown != there;
            flickers += u64::from(wrong && there == there_before);
        }
        wait(&mut session, |session| session.asked().is_none())?;
        for (captured, finding) in tap.take() {
            if let Some(mask) = finding.mask.filter(|_| captured == seen_at && there) {
                report.fresh.add(dice(&mask, &truth));
            }
        }
        progress();
    }
    let minutes = report.frames as f64 / report.frames_per_second / 60.0;
    report.flicker_per_minute = flickers as f64 / minutes.max(f64::MIN_POSITIVE);
    let milliseconds = |frames: u64| (frames as f64 * between * 1e3).round() as u64;
    report.carried_by_age = ages
        .into_iter()
        .map(|(frames, score)| Age {
            age_ms: milliseconds(frames),
            score,
        })
        .collect();
    Ok(())
}

/// Look after the session until something is true of it.
fn wait(session: &mut LiveSession, done: impl Fn(&LiveSession) -> bool) -> Result<(), Error> {
    let start = Instant::now();
    loop {
        if let Some(message) = session.message() {
            let message = format!("the model failed: {message}");
            return Err(Error::new(ErrorKind::Engine, message));
        }
        if done(session) {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            return Err(Error::new(
                ErrorKind::Engine,
                format!(
                    "no answer of the model for {} s; hint: another backend or precision",
                    PATIENCE.as_secs()
                ),
            ));
        }
        thread::sleep(NAP);
        session.idle();
    }
}
