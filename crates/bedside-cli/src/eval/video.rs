//! `bedside eval --video`: masks as a live session shows them, against the true ones.
//!
//! The session runs on a clock that goes from frame to frame, and each frame waits until the model
//! has answered the one before: the figures are the same on every machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bedside::vision::dice;
use bedside::{Clock, Finding, Frame, ManualClock, Mask, Modality, Prompt, Timestamp};
use bedside_live::Model as LiveModel;
use bedside_live::{
    BundleLoader, CadenceConfig, Control, Error as LiveError, LiveSession, Loader, Metrics,
    SessionConfig,
};
use bedside_phantom::Phantom;
use bedside_video::{OpenOptions, Pace, Source};
use serde::Serialize;

use super::dataset::mask_of;
use crate::failure::{Exit, Failure};
use crate::image_file;
use crate::live::rate;
use crate::model::ModelArgs;
use crate::report::Model;
use crate::table::Table;
use crate::ui::{SAFETY, Ui};

/// Frames of a phantom, which has no end, when nothing else is said.
const PHANTOM_FRAMES: u64 = 600;
/// Frames a second of a clip that does not tell.
const USUAL_RATE: f64 = 25.0;
/// Longest time that the model may take to load or to answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at whether it has.
const NAP: Duration = Duration::from_micros(200);

/// The arguments of `bedside eval` that belong to video.
#[derive(Debug, clap::Args)]
pub(crate) struct VideoArgs {
    /// Show this clip as `bedside live` would, and measure what is shown: a video file, a folder of
    /// pictures, or a phantom such as phantom:polyp,seed=3
    #[arg(long, value_name = "SOURCE", requires = "prompt", conflicts_with_all = ["dirs", "split", "html"])]
    pub(super) video: Option<String>,

    /// The clip's true masks: a folder of pictures, one a frame, in the order of their names.
    /// Phantoms bring their own
    #[arg(long, value_name = "DIR", requires = "video")]
    masks: Option<PathBuf>,

    /// Passes of the model a second of video, at most [default: one a frame]
    #[arg(long, value_name = "N", requires = "video", value_parser = rate)]
    rate: Option<f64>,
}

/// Pictures with their true masks.
enum Clip {
    Phantom(Box<Phantom>),
    Pictures {
        source: Box<dyn Source>,
        masks: Vec<PathBuf>,
    },
}

impl Clip {
    fn open(spec: &str, masks: Option<&Path>, clock: Arc<dyn Clock>) -> Result<Self, Failure> {
        let refuse = |why: String| Failure::new(Exit::Input, why);
        if let Some(phantom) = spec.strip_prefix("phantom:") {
            if masks.is_some() {
                return Err(Failure::new(
                    Exit::Usage,
                    "phantoms bring their masks; hint: leave --masks out",
                ));
            }
            let config =
                bedside_video::phantom_config(phantom).map_err(|e| refuse(e.to_string()))?;
            let phantom = Phantom::new(config).map_err(|e| refuse(format!("{spec}: {e}")))?;
            return Ok(Self::Phantom(Box::new(phantom)));
        }
        let Some(folder) = masks else {
            return Err(Failure::new(
                Exit::Usage,
                format!("{spec}: the true masks are not told; hint: --masks DIR"),
            ));
        };
        let mut options = OpenOptions::new(clock);
        options.pace = Pace::Fast;
        let source = bedside_video::open(spec, &options).map_err(|e| refuse(e.to_string()))?;
        let unreadable = |e| refuse(format!("{}: {e}", folder.display()));
        let entries = folder.read_dir().map_err(unreadable)?;
        let paths: Result<Vec<PathBuf>, _> = entries.map(|e| e.map(|e| e.path())).collect();
        let mut masks = paths.map_err(unreadable)?;
        masks.sort();
        Ok(Self::Pictures { source, masks })
    }

    fn name(&self, spec: &str) -> String {
        match self {
            Self::Phantom(_) => spec.to_owned(),
            Self::Pictures { source, .. } => source.info().name.clone(),
        }
    }

    fn frames_per_second(&self) -> f64 {
        match self {
            Self::Phantom(phantom) => phantom.config().frame_rate,
            Self::Pictures { source, .. } => source.info().frames_per_second.unwrap_or(USUAL_RATE),
        }
    }

    /// How many frames to take: no more than this, where one is told.
    fn length(&self, limit: Option<u64>) -> u64 {
        let own = match self {
            Self::Phantom(_) => limit.unwrap_or(PHANTOM_FRAMES),
            Self::Pictures { masks, .. } => masks.len() as u64,
        };
        own.min(limit.unwrap_or(own))
    }

    /// Frame `number`, asked for in order, with the target's mask.
    fn next(&mut self, number: u64) -> Result<(Frame, Mask), Failure> {
        let refuse = |why: String| Failure::new(Exit::Input, why);
        match self {
            Self::Phantom(phantom) => {
                let shot = phantom.frame_at(number);
                Ok((shot.frame, shot.mask))
            }
            Self::Pictures { source, masks } => {
                let frame = source.next(Vec::new()).map_err(|e| refuse(e.to_string()))?;
                let (Some(frame), Some(path)) = (frame, masks.get(number as usize)) else {
                    return Err(refuse(format!(
                        "{} masks, but the clip ends after {number} frames; hint: one mask a frame",
                        masks.len()
                    )));
                };
                let size = (frame.width(), frame.height());
                let mask = mask_of(&image_file::read(path)?, size);
                let mask = mask.map_err(|failure| failure.at(path.display()))?;
                Ok((frame, mask))
            }
        }
    }
}

impl Clip {
    /// See that there is no frame without a mask.
    fn finish(&mut self) -> Result<(), Failure> {
        let Self::Pictures { source, masks } = self else {
            return Ok(());
        };
        match source.next(Vec::new()) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(Failure::new(
                Exit::Input,
                format!(
                    "{} masks, but the clip goes on; hint: one mask a frame, or --limit {0}",
                    masks.len()
                ),
            )),
            Err(error) => Err(Failure::new(Exit::Input, error.to_string())),
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
    fn set_prompts(&mut self, prompts: &[Prompt]) -> Result<(), LiveError> {
        self.inner.set_prompts(prompts)
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
struct Score {
    masks: u64,
    /// Mean over the masks; none when there were none.
    dice: Option<f64>,
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
struct Age {
    age_ms: u64,
    #[serde(flatten)]
    score: Score,
}

/// What a clip gave. Dice is over frames in which the object truly is.
#[derive(Debug, Clone, Serialize)]
struct VideoReport {
    bedside: &'static str,
    model: Model,
    video: String,
    prompt: String,
    frames: u64,
    frames_per_second: f64,
    passes_per_second: Option<f64>,
    /// The model's masks on the frames that it saw.
    fresh: Score,
    /// Masks that were shown on later frames.
    carried: Score,
    carried_by_age: Vec<Age>,
    /// Frames with the object, and those of them on which no mask was shown.
    with_object: u64,
    missed: u64,
    /// Frames without the object, and those of them on which a mask was shown.
    without_object: u64,
    lingering: u64,
    /// Times a minute that a mask went though the object stayed, or came though it stayed away.
    flicker_per_minute: f64,
}

pub(super) fn run(
    args: &VideoArgs,
    spec: &str,
    prompt: &str,
    limit: Option<u64>,
    model: &ModelArgs,
    ui: Ui,
) -> Result<(), Failure> {
    ui.note(SAFETY);
    let clock = Arc::new(ManualClock::default());
    let mut clip = Clip::open(spec, args.masks.as_deref(), clock.clone())?;
    let bundle = model.bundle(None)?;
    // Video and model take turns here, so that no core is left to the video.
    let mut options = model.options(&bundle, ui)?;
    options.threads = Some(options.threads());
    let backend = options.backend()?;
    let facts = Model::planned(bundle.manifest(), &options, backend.name());
    let inner = Arc::new(BundleLoader::new(bundle, Arc::new(backend), options)?);
    let tap = Arc::new(Tap {
        inner,
        said: Arc::default(),
    });
    let control = Arc::new(Control::new(tap.clone(), &[Prompt::new(prompt)])?);
    // Half a frame before its time a pass is due already: a clip's frames do not come in between.
    let half = Duration::from_secs_f64(0.5 / clip.frames_per_second());
    let interval = args.rate.map_or(Duration::ZERO, |rate| {
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
    let session = LiveSession::new(tap.clone(), control, metrics, clock.clone(), config);
    let mut report = VideoReport {
        bedside: env!("CARGO_PKG_VERSION"),
        model: facts,
        video: clip.name(spec),
        prompt: prompt.to_owned(),
        frames: clip.length(limit),
        frames_per_second: clip.frames_per_second(),
        passes_per_second: args.rate,
        fresh: Score::default(),
        carried: Score::default(),
        carried_by_age: Vec::new(),
        with_object: 0,
        missed: 0,
        without_object: 0,
        lingering: 0,
        flicker_per_minute: 0.0,
    };
    measure(&mut clip, session, &tap, &clock, limit, &mut report, ui)?;
    if ui.json() {
        return ui.print_json(&report);
    }
    ui.print(&text(&report))
}

fn measure(
    clip: &mut Clip,
    mut session: LiveSession,
    tap: &Tap,
    clock: &ManualClock,
    limit: Option<u64>,
    report: &mut VideoReport,
    ui: Ui,
) -> Result<(), Failure> {
    wait(&mut session, |session| session.is_loaded())?;
    let between = 1.0 / report.frames_per_second;
    let start = clock.now();
    let mut ages: BTreeMap<u64, Score> = BTreeMap::new();
    // Whether the object was there, and whether a mask was shown, in the frame before.
    let mut before = None;
    let mut flickers = 0_u64;
    let bar = ui.progress(report.frames, "frames");
    for number in 0..report.frames {
        // From the start each time, so that what is rounded does not add up.
        let elapsed = Duration::from_secs_f64((number + 1) as f64 * between);
        clock.advance(elapsed.saturating_sub(clock.now().since(start)));
        let (frame, truth) = clip.next(number)?;
        let frame = frame.captured_at(clock.now());
        let painted = session.frame(&frame, number);
        painted.map_err(|e| Failure::new(Exit::Input, e.to_string()))?;
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
            if let Some(mask) = finding
                .mask
                .filter(|_| captured == frame.captured() && there)
            {
                report.fresh.add(dice(&mask, &truth));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if limit.is_none() {
        clip.finish()?;
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
fn wait(session: &mut LiveSession, done: impl Fn(&LiveSession) -> bool) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
        if let Some(message) = session.message() {
            let message = format!("the model failed: {message}");
            return Err(Failure::new(Exit::Engine, message));
        }
        if done(session) {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            return Err(Failure::new(
                Exit::Engine,
                format!(
                    "no answer of the model for {} s; hint: `bedside verify`",
                    PATIENCE.as_secs()
                ),
            ));
        }
        thread::sleep(NAP);
        session.idle();
    }
}

fn text(report: &VideoReport) -> String {
    let mut table = Table::new(["", ">masks", ">Dice"]);
    let mut row = |name: String, score: Score| {
        let dice = score
            .dice
            .map_or("-".to_owned(), |dice| format!("{dice:.3}"));
        table.row([name, score.masks.to_string(), dice]);
    };
    row("fresh".to_owned(), report.fresh);
    row("carried".to_owned(), report.carried);
    for age in &report.carried_by_age {
        row(format!("  {} ms", age.age_ms), age.score);
    }
    let passes = match report.passes_per_second {
        Some(rate) => format!("at most {rate} passes a second"),
        None => "a pass a frame".to_owned(),
    };
    format!(
        "{}: {} frames, {} a second, '{}', {passes}\n\n{table}\n\
         missed {} of {} frames with the object, lingering on {} of {} without, flicker {:.1} a minute\n",
        report.video,
        report.frames,
        report.frames_per_second,
        report.prompt,
        report.missed,
        report.with_object,
        report.lingering,
        report.without_object,
        report.flicker_per_minute
    )
}
