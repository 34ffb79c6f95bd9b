//! A live session out of the element's properties.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bedside::{
    Bundle, Clock, Frame, FrameError, FrameView, MonotonicClock, Options, Precision, Prompt,
    Timestamp,
};
use bedside_live::record::Name;
use bedside_live::{
    AgePolicy, BundleLoader, CadenceConfig, Control, LiveSession, Loader, Metrics, ProcessLoader,
    SessionConfig, model_command,
};

use crate::properties::{Mode, Settings};

/// Time without a frame from which the session is looked after without one.
const SILENCE: Duration = Duration::from_millis(200);

/// A session, and the way to ask it for something else.
pub(crate) struct Session {
    pub(crate) live: LiveSession,
    pub(crate) control: Arc<Control>,
    pub(crate) mode: Mode,
    clock: Arc<MonotonicClock>,
    frames: u64,
    newest: Timestamp,
    /// A frame's memory, to be used again.
    spare: Vec<u8>,
    said: Said,
}

/// What is told whenever it changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) state: Name,
    pub(crate) reason: Name,
    /// The last error of the model.
    pub(crate) error: Option<String>,
    pub(crate) found: Vec<Name>,
    pub(crate) absent: Vec<Name>,
    pub(crate) uncertain: Vec<Name>,
    pub(crate) unanswered: Vec<Name>,
}

/// Prompts as the property has them: one after the other, with semicolons between.
pub(crate) fn prompts_of(text: &str) -> Vec<Prompt> {
    let words = text
        .split(';')
        .map(str::trim)
        .filter(|words| !words.is_empty());
    words.map(Prompt::new).collect()
}

impl Session {
    /// Begin. The model is loaded meanwhile on another thread.
    ///
    /// Errors are one line with a hint.
    pub(crate) fn begin(settings: &Settings) -> Result<Self, String> {
        let path = settings.bundle.as_ref();
        let path = path.ok_or("no bundle; hint: set the property `bundle`")?;
        let bundle = Bundle::open(path).map_err(|error| error.to_string())?;
        let mut options = Options::default();
        options.precision = settings
            .precision
            .as_deref()
            .map(precision_of)
            .transpose()?;
        options.threads = usize::try_from(settings.threads)
            .ok()
            .filter(|threads| *threads > 0);
        let backend = Arc::new(options.backend().map_err(|error| error.to_string())?);
        let loader = BundleLoader::new(bundle, backend, options);
        let loader = loader_of(
            loader.map_err(|error| error.to_string())?,
            &settings.command,
        )?;
        let control = Control::new(loader.clone(), &prompts_of(&settings.prompts));
        let control = Arc::new(control.map_err(|error| error.to_string())?);
        let clock = Arc::new(MonotonicClock::new());
        let still = match settings.still {
            0 => Duration::MAX,
            milliseconds => Duration::from_millis(milliseconds.into()),
        };
        let config = SessionConfig {
            age: AgePolicy {
                limit: Duration::from_millis(settings.max_age.into()),
            },
            cadence: CadenceConfig {
                target: Duration::from_millis(settings.target.into()),
                ..CadenceConfig::default()
            },
            frozen: still,
            ..SessionConfig::default()
        };
        let metrics = Arc::new(Metrics::new());
        let live = LiveSession::new(loader, control.clone(), metrics, clock.clone(), config);
        Ok(Self {
            // Before there is a picture, that is nothing new.
            said: Said {
                state: live.record().state.clone(),
                ..Said::default()
            },
            live,
            control,
            mode: settings.mode,
            newest: clock.now(),
            clock,
            frames: 0,
            spare: Vec::new(),
        })
    }

    /// Take a picture.
    ///
    /// # Errors
    /// As [`LiveSession::frame`].
    pub(crate) fn frame(&mut self, picture: &FrameView<'_>) -> Result<(), FrameError> {
        self.newest = self.clock.now();
        let mut bytes = std::mem::take(&mut self.spare);
        bytes.clear();
        picture.pack(&mut bytes);
        let frame = Frame::new(picture.width(), picture.height(), picture.format(), bytes)?
            .with_yuv_space(picture.yuv_space())
            .captured_at(self.newest);
        let before = self.live.frame(frame, self.frames)?;
        self.frames += 1;
        self.spare = before.map(Frame::into_data).unwrap_or_default();
        Ok(())
    }

    /// Look after state and model where no picture comes.
    pub(crate) fn look(&mut self) {
        if self.clock.now().since(self.newest) > SILENCE {
            self.live.idle();
        }
    }

    /// What is to be told, if it differs from what was told last.
    pub(crate) fn news(&mut self) -> Option<Said> {
        let (record, error) = (self.live.record(), self.live.message());
        let said = &self.said;
        let found = record.masks.iter().map(|mask| &mask.prompt);
        let known = record.state == said.state
            && record.reason == said.reason
            && error == said.error.as_deref()
            && found.clone().eq(&said.found)
            && record.absent == said.absent
            && record.uncertain == said.uncertain
            && record.unanswered == said.unanswered;
        if known {
            return None;
        }
        self.said = Said {
            state: record.state.clone(),
            reason: record.reason.clone(),
            error: error.map(str::to_owned),
            found: found.cloned().collect(),
            absent: record.absent.clone(),
            uncertain: record.uncertain.clone(),
            unanswered: record.unanswered.clone(),
        };
        Some(self.said.clone())
    }
}

/// Where the model runs.
fn loader_of(bundle: BundleLoader, command: &str) -> Result<Arc<dyn Loader>, String> {
    let bundle = Arc::new(bundle);
    if command.is_empty() {
        return Ok(bundle);
    }
    let program = found(command).ok_or_else(|| {
        format!(
            "no command '{command}'; hint: install bedside, set the property `command` to its path, or \
             to nothing to run the model in this process"
        )
    })?;
    let like = model_command(&bundle, None);
    Ok(Arc::new(ProcessLoader::new(bundle, move || {
        let mut command = Command::new(&program);
        command.args(like().get_args());
        command
    })))
}

/// The file that a command is, as a shell finds it.
fn found(command: &str) -> Option<PathBuf> {
    if command.contains('/') {
        return Some(PathBuf::from(command)).filter(|path| path.is_file());
    }
    let folders = env::var_os("PATH")?;
    let in_folder = |folder: PathBuf| Path::new(&folder).join(command);
    env::split_paths(&folders)
        .map(in_folder)
        .find(|path| path.is_file())
}

fn precision_of(name: &str) -> Result<Precision, String> {
    let all = [Precision::F32, Precision::F16, Precision::Int8];
    let found = all
        .into_iter()
        .find(|precision| precision.to_string() == name);
    found.ok_or_else(|| format!("no precision '{name}'; hint: f32, f16 or int8"))
}
