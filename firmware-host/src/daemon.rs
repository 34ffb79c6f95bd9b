//! The daemon: a live session with all that stands around it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bedside::{Bundle, Clock, Frame, MonotonicClock, Options, Prompt};
use bedside_display::DisplaySink;
use bedside_live::record::{Counts, SessionRecord};
use bedside_live::{
    AgePolicy, BundleLoader, CadenceConfig, Control, Input, Journal, LiveSession, Loader, Log,
    Metrics, Monitor, Output, ProcessLoader, Recorder, RunConfig, SessionConfig, SourceNotes, Stop,
    Tally, Target, Watcher, detach_notes, end_on_signals, forbid_core_dumps, harmless,
    model_command, tell,
};
use bedside_video::OpenOptions;
use bedside_video::sink::SinkOptions;
use rustix::fs::Mode;
use sd_notify::NotifyState;

use crate::config::Config;
use crate::control::Socket;
use crate::desk::Desk;
use crate::failure::Failure;
use crate::link;
use crate::snapshot::Snapshots;
use crate::update::{self, Trial};

/// Printed at each start.
const SAFETY: &str = "Research use only. Not a medical device. Not for clinical decisions.";
/// Time that records get to end, and what they get in a hurry.
const PATIENCE: Duration = Duration::from_secs(5);
const HURRIED: Duration = Duration::from_millis(200);
/// Time between two looks at the device, and two words to systemd.
const EVERY: Duration = Duration::from_secs(1);
/// Time between two looks at whether to end.
const NAP: Duration = Duration::from_millis(100);
/// Bytes of the status line that systemd is told.
const STATUS: usize = 400;

fn note(text: &str) {
    tell(&format!("{}\n", harmless(text)));
}

/// The bundle that a configuration names, and its lists of prompts, each of which it understands.
pub(crate) fn model(config: &Config) -> Result<(Arc<BundleLoader>, Vec<Vec<Prompt>>), Failure> {
    let bundle = update::bundle(&config.model)?;
    let bundle = Bundle::open(bundle).map_err(bedside::Error::from)?;
    let mut options = Options::default().with_cache(&config.model.cache);
    options.precision = config.model.precision;
    options.threads = config.model.threads.map(usize::from);
    options.backend.clone_from(&config.model.backend);
    let backend = Arc::new(options.backend()?);
    let loader = Arc::new(BundleLoader::new(bundle, backend, options)?);
    let lists: Vec<_> = config.prompts.iter().map(|ask| ask.prompts()).collect();
    for (place, list) in lists.iter().enumerate() {
        let refused = |e| Failure::config(format!("[[prompts]] number {}: {e}", place + 1));
        loader.check(list).map_err(refused)?;
    }
    Ok((loader, lists))
}

/// Run until a signal ends it, or the source does.
pub(crate) fn run(config: &Config) -> Result<(), Failure> {
    let cannot = |what: &str, e: io::Error| Failure::new(format!("{what}: {e}"));
    // Frames are a patient's, and so is what is written.
    forbid_core_dumps().map_err(|e| cannot("core dumps can't be forbidden", e))?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    let options = open_options(config, clock.clone())?;
    let trial = config
        .model
        .updates
        .as_deref()
        .map(Trial::begin)
        .transpose()?;
    let (loader, lists) = model(config)?;
    let mode = config.mode().map_err(Failure::config)?;
    let socket = Socket::bind(&config.control.socket, mode)?;
    let source = bedside_video::open(&config.video.source, &options)
        .map_err(|e| Failure::new(format!("video.source: {e}")))?;
    let rate = source.info().frames_per_second;
    let outputs = outputs(config, rate, clock.clone())?;
    let recorder = recorder(config)?;

    let memory = config.model.memory_mib.map(|mib| u64::from(mib) << 20);
    let command = model_command(&loader, memory);
    let process: Arc<dyn Loader> = Arc::new(ProcessLoader::new(loader.clone(), command));
    let first = lists.first().map(Vec::as_slice).unwrap_or_default();
    let control = Arc::new(Control::new(process.clone(), first)?);
    let (metrics, monitor) = (Arc::new(Metrics::new()), Arc::new(Monitor::default()));
    let opening = SessionRecord::of(&loader, &source.info().name);
    let most = usize::try_from(config.snapshots.most).unwrap_or(usize::MAX);
    let snapshots = Snapshots::new(config.snapshots.folder.clone(), most, opening.clone());
    let desk = Desk::new(
        control.clone(),
        monitor.clone(),
        snapshots,
        opening.clone(),
        lists,
    );
    let desk = Arc::new(desk);

    let stop = Stop::default();
    let given_up = Arc::new(AtomicBool::new(false));
    end_on_signals(stop.clone())?;
    detach_notes().map_err(|e| cannot("thread for notes", e))?;
    note(SAFETY);
    let mut beside = vec![
        socket
            .serve(desk.clone(), stop.clone())
            .map_err(|e| cannot("thread for control", e))?,
        service(
            desk.clone(),
            metrics.clone(),
            trial.flatten(),
            &given_up,
            stop.clone(),
        )
        .map_err(|e| cannot("thread for systemd", e))?,
    ];
    if let Some(wiring) = config.wiring() {
        let link = link::start(&config.link, wiring, desk.clone(), stop.clone());
        beside.push(link.map_err(|e| cannot("thread for the link", e))?);
    }
    let input = Input::named(source, &config.video.source, options);
    let mut session = LiveSession::new(process, control, metrics, clock, session(config));
    let mut show = Show {
        journal: Journal::begin(recorder, monitor, opening),
        source: SourceNotes::default(),
        desk,
    };
    // The lamp shows the session where nothing else does.
    let running = RunConfig {
        keep_on: true,
        ..RunConfig::default()
    };
    let ended = bedside_live::run(&mut session, input, outputs, &mut show, running, &stop);
    stop.stop();
    let patience = if stop.is_hurried() { HURRIED } else { PATIENCE };
    let recorded = show.journal.finish(patience);
    for thread in beside {
        // All of them look at `stop` several times a second.
        let _ = thread.join();
    }
    ended.map(|_| ()).and(recorded)?;
    match given_up.load(Ordering::Acquire) {
        // No orderly end: whoever started the daemon is to start it again.
        true => Err(Failure::new(
            "the update came to a fault; hint: start again",
        )),
        false => Ok(()),
    }
}

fn open_options(config: &Config, clock: Arc<dyn Clock>) -> Result<OpenOptions, Failure> {
    let mut options = OpenOptions::new(clock);
    options.raw = config.raw().map_err(Failure::config)?;
    options.capture = config.capture().map_err(Failure::config)?;
    options.repeat = config.video.repeat;
    Ok(options)
}

fn session(config: &Config) -> SessionConfig {
    let video = &config.video;
    let pause = u64::from(video.new_patient_after_s);
    SessionConfig {
        age: AgePolicy {
            limit: Duration::from_millis(video.max_age_ms.into()),
        },
        cadence: CadenceConfig {
            target: Duration::from_millis(video.target_ms.into()),
            ..CadenceConfig::default()
        },
        new_patient_after: (pause > 0).then(|| Duration::from_secs(pause)),
        ..SessionConfig::default()
    }
}

fn outputs(
    config: &Config,
    rate: Option<f64>,
    clock: Arc<dyn Clock>,
) -> Result<Vec<Output>, Failure> {
    let options = SinkOptions {
        frames_per_second: rate.unwrap_or(25.0),
        max_bytes: u64::from(config.video.max_file_mib) << 20,
        ..SinkOptions::default()
    };
    let specs = config.video.outputs.iter().enumerate();
    let opened = specs.map(|(place, spec)| Ok(Output::open(place + 1, spec, &options)?));
    let mut outputs: Vec<_> = opened.collect::<Result<_, Failure>>()?;
    let display = config.display().map_err(Failure::config)?;
    outputs.extend(display.map(|connector| Output {
        label: "display".into(),
        sink: Box::new(DisplaySink::new(connector, clock)),
        keeps: false,
    }));
    Ok(outputs)
}

fn recorder(config: &Config) -> Result<Recorder, Failure> {
    let recording = &config.recording;
    let log = |path: &Path| Log::open(path, Some(u64::from(recording.max_mib) << 20));
    let targets = match recording.on {
        true => vec![Target::Log(log(&recording.log)?)],
        false => Vec::new(),
    };
    Ok(Recorder::start(targets)?)
}

/// Tells systemd that the daemon is ready, how it is, and that it goes on: the last only while the
/// video path does, so that one that hangs is started anew.
fn service(
    desk: Arc<Desk>,
    metrics: Arc<Metrics>,
    mut trial: Option<Trial>,
    given_up: &Arc<AtomicBool>,
    stop: Stop,
) -> io::Result<JoinHandle<()>> {
    let given_up = given_up.clone();
    let every = sd_notify::watchdog_enabled().map_or(EVERY, |watchdog| EVERY.min(watchdog / 3));
    let work = move || {
        let (mut ready, mut left) = (false, Duration::ZERO);
        while !stop.is_stopped() {
            if left.is_zero() {
                left = every;
                metrics.read_device();
                let status = desk.status();
                judge(&mut trial, &status.frame.state, &given_up, &stop);
                let mut status = status.to_string();
                let line = desk.line();
                if !matches!(line.state, "none" | "linked") {
                    status = format!("{status}  link {}", line.state);
                }
                let status: String = harmless(&status).chars().take(STATUS).collect();
                let mut said = vec![NotifyState::Status(&status)];
                if desk.pulse.state().is_some() {
                    said.push(NotifyState::Watchdog);
                    said.extend((!ready).then_some(NotifyState::Ready));
                    ready = true;
                }
                // Without systemd there is nobody to tell.
                let _ = sd_notify::notify(&said);
            }
            let nap = left.min(NAP);
            thread::sleep(nap);
            left -= nap;
        }
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
    };
    thread::Builder::new()
        .name("bedside-service".to_owned())
        .spawn(work)
}

/// Whether an update's trial is over. Where it failed, the daemon ends, to be started with the bundle
/// before.
fn judge(trial: &mut Option<Trial>, state: &str, given_up: &AtomicBool, stop: &Stop) {
    let over = trial
        .as_mut()
        .map(|trial| trial.look(state, Instant::now()));
    match over {
        Some(Ok(Some((news, failed)))) => {
            note(news);
            *trial = None;
            if failed {
                given_up.store(true, Ordering::Release);
                stop.stop();
            }
        }
        // Tried again after a while.
        Some(Err(error)) => note(&format!("note: {error}")),
        Some(Ok(None)) | None => {}
    }
}

/// Records every frame that was shown, and tells the desk of it.
struct Show {
    journal: Journal,
    source: SourceNotes,
    desk: Arc<Desk>,
}

impl Watcher for Show {
    fn shown(&mut self, session: &LiveSession, frame: Option<&Frame>, counts: Counts) {
        self.journal.shown(session, frame, counts);
        self.desk.pulse.beat(session.state());
        self.desk.snapshots.offer(session);
    }

    fn source(&mut self, error: Option<&str>) {
        self.journal.source(error);
        if let Some(news) = self.source.note(error) {
            note(&news);
        }
    }

    fn outputs(&self) -> Vec<Arc<Tally>> {
        self.journal.outputs()
    }

    fn output(&mut self, news: &str) {
        note(&format!("note: {news}"));
    }

    fn ended(&mut self, counts: Counts) {
        self.journal.ended(counts);
    }
}
