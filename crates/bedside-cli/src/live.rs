//! `bedside live`: video in, annotated video and records out.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bedside::{Clock, Frame, Modality, MonotonicClock, Prompt, State};
use bedside_display::{Connector, DisplaySink};
use bedside_live::record::{Counts, SessionRecord};
use bedside_live::{
    AgePolicy, BundleLoader, CadenceConfig, Control, Input, Journal, LiveSession, Loader, Log,
    Metrics, Monitor, Output, ProcessLoader, Recorder, RunConfig, SessionConfig, SourceNotes, Stop,
    Tally, Target, Watcher, detach_notes, end_on_signals, model_command,
};
use bedside_video::sink::{SinkOptions, create, stdout};
use bedside_video::{CaptureFormat, OpenOptions, Pace, RawFormat, Source, SourceError, SourceInfo};
use clap::Args as Arguments;

use crate::failure::{Exit, Failure};
use crate::igtl::{Answers, Peer};
use crate::model::ModelArgs;
use crate::preview::{Page, Serving, Shown};
use crate::ui::{SAFETY, Ui};

/// Arguments of `bedside live`.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Examples:
  bedside live /dev/video0 --prompt polyp --out - | ffplay -
  ffmpeg -i rtsp://tower/1 -f yuv4mpegpipe - | bedside live - --prompt polyp --out annotated.y4m
  bedside live phantom:polyp --prompt polyp --records frames.jsonl --log session.log
  bedside live /dev/video0 --prompt polyp --preview 127.0.0.1:8080
  bedside live /dev/video0 --prompt polyp --display
  bedside live --igtl-listen 18944 --prompt polyp

Video never waits for the model: a mask of an older frame is carried to the newest along the
picture's motion, drawn with dashes and its age, and not at all beyond --max-age.")]
pub(crate) struct Args {
    /// /dev/videoN, - (Y4M on standard input), a video file, a folder of pictures, or a phantom; in
    /// builds that read DICOM, a cine
    #[arg(required_unless_present_any = ["igtl", "igtl_listen"])]
    source: Option<String>,

    /// Take pictures and prompts from an OpenIGTLink server, such as PLUS, and send it label maps and
    /// the state; connected to anew whenever it is lost
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["source", "igtl_listen"])]
    igtl: Option<String>,

    /// The same with an OpenIGTLink client, such as 3D Slicer, that connects to this port of this
    /// machine, or to this address; port 0 takes a free one
    #[arg(long, value_name = "[ADDRESS:]PORT", conflicts_with = "source")]
    igtl_listen: Option<String>,

    /// Object to find; may be given repeatedly
    #[arg(short, long = "prompt", value_name = "TEXT", required = true)]
    prompts: Vec<String>,

    /// Kind of imaging, where a prompt alone may mean several objects
    #[arg(long)]
    modality: Option<Modality>,

    /// Part of the body, where a prompt alone may mean several objects
    #[arg(long)]
    site: Option<String>,

    /// Annotated video: FILE.y4m, FILE.mjpeg, - (Y4M on standard output), or '| COMMAND'; may be
    /// given repeatedly
    #[arg(short, long, value_name = "SINK")]
    out: Vec<String>,

    /// Show the annotated video full-screen on a display, without a desktop: on the first that is plugged
    /// in, or on that at a connector which `ls /sys/class/drm` names, such as --display=HDMI-A-1
    #[arg(long, value_name = "CONNECTOR", num_args = 0..=1, require_equals = true, default_missing_value = "any")]
    display: Option<Connector>,

    /// One JSON object a frame into this file; - for standard output
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,

    /// Append results to this log, which survives a crash; `bedside log` reads it
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,

    /// Replace files of --out and --records that hold something; else they are left as they are,
    /// and the command ends
    #[arg(long)]
    overwrite: bool,

    /// Size that a file of --out may reach, in MiB; it takes no more then, and the session goes on
    #[arg(long, value_name = "MIB", default_value_t = 16_384, value_parser = mebibytes())]
    max_video: u64,

    /// Size that the files of --records and --log may reach, in MiB: records end there, the log
    /// begins anew and keeps one older file
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = mebibytes())]
    max_records: u64,

    /// Keep figures for Prometheus in this file
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,

    /// Serve a page with the picture, figures and prompts at this address, such as
    /// 127.0.0.1:8080; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    preview: Option<SocketAddr>,

    /// Let --preview take an address that other machines reach: whoever does may look, without
    /// password or encryption, but change nothing
    #[arg(long, requires = "preview")]
    preview_anyone: bool,

    /// Oldest mask that is painted, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    max_age: u64,

    /// Video that comes back after showing nothing of a patient for so many seconds (no frame, no
    /// signal, a room) is taken for another patient's: what was known is forgotten, and records
    /// begin a new session; 0 for never
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    new_patient_after: u64,

    /// Passes of the model a second, at most [default: as many as it can]
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,

    /// Longest time that a pass should take, in milliseconds; where it takes longer, fewer prompts
    /// are asked at once
    #[arg(long, value_name = "MS", default_value_t = 105, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    target: u64,

    /// Read a file as fast as it can be shown, without dropping frames
    #[arg(long)]
    fast: bool,

    /// Begin a file again when it ends
    #[arg(long)]
    repeat: bool,

    /// End after this many seconds
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,

    /// Tell the source's path in records, log, preview and errors; else only what kind of source it
    /// is, as a path may name a patient
    #[arg(long)]
    name_source: bool,

    /// Run the model in this process: it saves a copy of each frame that the model sees, but a
    /// model that crashes ends the video, and one that hangs can't be ended
    #[arg(long)]
    in_process: bool,

    /// Most memory that the model's process may ask for, in MiB [default: 2048 and eight times the
    /// bundle's size; no limit for a backend on a GPU]
    #[arg(long, value_name = "MIB", conflicts_with = "in_process", value_parser = clap::value_parser!(u64).range(16..=1_048_576))]
    model_memory: Option<u64>,

    /// What raw bytes mean, such as 1280x720:nv12@30
    #[arg(long, value_name = "FORMAT")]
    raw: Option<RawFormat>,

    /// What a camera is asked for: size, format and rate, or some of them, such as 1280x720:mjpeg@30,
    /// 640x480 or @25
    ///
    /// Formats: nv12, yuyv, i420, mjpeg, gray8, rgb8. `bedside doctor` lists what each camera offers.
    #[arg(long, value_name = "FORMAT")]
    capture: Option<CaptureFormat>,
}

/// Time that records get to end, and what they get in a hurry.
const PATIENCE: Duration = Duration::from_secs(5);
const HURRIED: Duration = Duration::from_millis(200);
/// Time between two looks at the device and two status lines.
const EVERY: Duration = Duration::from_secs(1);
/// Time between two looks at whether to end.
const NAP: Duration = Duration::from_millis(100);

fn mebibytes() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=1 << 40)
}

/// Passes a second.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let rate: Option<f64> = text.parse().ok();
    rate.filter(|rate| (0.001..=10_000.0).contains(rate))
        .ok_or_else(|| "hint: a number from 0.001 to 10000".to_owned())
}

pub(crate) fn run(args: &Args, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    // Frames are a patient's.
    bedside_live::forbid_core_dumps().map_err(|e| {
        Failure::new(
            Exit::Internal,
            format!("core dumps can't be forbidden: {e}"),
        )
    })?;
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    let peer = args.peer(clock.clone(), ui)?;
    let (source, modality) = match &peer {
        Some(peer) => (peer.open(ui)?, None),
        None => open(args, clock.clone())?,
    };
    // Before the model is loaded, so that a port in use fails at once.
    let page = args
        .preview
        .map(|address| Page::bind(address, args.preview_anyone))
        .transpose()?;
    let bundle = model.bundle(None)?;
    let prompts = args.prompts.iter().map(|text| args.prompt(text, modality));
    let prompts: Vec<Prompt> = prompts.collect();
    let options = model.options(&bundle, ui)?;
    let backend = Arc::new(options.backend()?);
    let bundle_loader = Arc::new(BundleLoader::new(bundle, backend, options)?);
    let loader = args.loader(&bundle_loader);
    let control = Arc::new(Control::new(loader.clone(), &prompts)?);
    let sinks = sinks(args, source.info(), clock.clone())?;
    let recorder = recorder(args)?;
    let metrics = Arc::new(Metrics::new());
    let monitor = Arc::new(Monitor::default());
    let stop = Stop::default();
    end_on_signals(stop.clone())?;
    let cannot = |e| Failure::new(Exit::Internal, format!("can't start a thread: {e}"));
    detach_notes().map_err(cannot)?;

    ui.note(SAFETY);
    let opening = SessionRecord::of(&bundle_loader, &source.info().name);
    let page = page.map(|page| {
        ui.note(format_args!("preview: {}", page.url()));
        let shown = Shown {
            monitor: monitor.clone(),
            control: control.clone(),
            metrics: metrics.clone(),
            loader: &bundle_loader,
            opening: opening.clone(),
            max_age_ms: args.max_age,
        };
        page.serve(shown, stop.clone())
    });
    let page = page.transpose()?;
    let config = RunConfig {
        wait: args.fast,
        keep_on: page.is_some() || peer.is_some(),
    };
    let input = match &peer {
        Some(peer) => peer.input(source),
        None => Input::named(source, args.source(), args.open_options(clock.clone())),
    };
    let answers = peer.map(|peer| peer.answer(control.clone(), args.modality));
    let answers = answers.transpose()?;
    let mut session = LiveSession::new(loader, control, metrics.clone(), clock, args.config());
    let beside = beside(args, ui, metrics.clone(), monitor.clone(), stop.clone())?;
    let mut show = Show {
        journal: Journal::begin(recorder, monitor, opening),
        source: SourceNotes::default(),
        answers,
        ui,
    };
    let outcome = bedside_live::run(&mut session, input, sinks, &mut show, config, &stop);
    stop.stop();
    let patience = if stop.is_hurried() { HURRIED } else { PATIENCE };
    if let Some(answers) = show.answers {
        answers.finish();
    }
    let recorded = show.journal.finish(patience);
    // Both look at `stop` several times a second.
    let _ = beside.join();
    if let Some(Err(error)) = page.map(Serving::finish) {
        ui.note(format_args!("note: {error}"));
    }
    let ended = outcome.map(|_| ()).and(recorded).map_err(Failure::from);
    let Err(failure) = ended.and_then(|()| answered(&session)) else {
        return report(args, ui, &metrics);
    };
    ui.note(metrics.report());
    Err(failure)
}

/// Video goes on without its model; whoever started it learns of that at the end, too.
fn answered(session: &LiveSession) -> Result<(), Failure> {
    let Some(fault) = session.fault() else {
        return Ok(());
    };
    let why = session.message().unwrap_or("hint: see what it said above");
    let message = format!(
        "model: fault: {}, video went on without it: {why}",
        State::Fault(fault).reason()
    );
    Err(Failure::new(Exit::Engine, message))
}

impl Args {
    /// Where frames come from, unless that is a peer.
    fn source(&self) -> &str {
        self.source.as_deref().unwrap_or_default()
    }

    fn peer(&self, clock: Arc<dyn Clock>, ui: Ui) -> Result<Option<Peer>, Failure> {
        match (&self.igtl, &self.igtl_listen) {
            (Some(server), _) => Peer::server(server, clock).map(Some),
            (None, Some(address)) => Peer::clients(address, clock, ui).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// A prompt for what was given of the kind of imaging, else what the source tells.
    fn prompt(&self, text: &str, modality: Option<Modality>) -> Prompt {
        Prompt {
            text: text.to_owned(),
            modality: self.modality.or(modality),
            site: self.site.clone(),
        }
    }

    /// Where the model runs.
    fn loader(&self, bundle: &Arc<BundleLoader>) -> Arc<dyn Loader> {
        if self.in_process {
            return bundle.clone();
        }
        let memory = self.model_memory.map(|mebibytes| mebibytes << 20);
        let command = model_command(bundle, memory);
        Arc::new(ProcessLoader::new(bundle.clone(), command))
    }

    fn config(&self) -> SessionConfig {
        let interval = |rate| Duration::from_secs_f64(1.0 / rate);
        SessionConfig {
            age: AgePolicy {
                limit: Duration::from_millis(self.max_age),
            },
            cadence: CadenceConfig {
                target: Duration::from_millis(self.target),
                interval: self.rate.map_or(Duration::ZERO, interval),
                ..CadenceConfig::default()
            },
            new_patient_after: (self.new_patient_after > 0)
                .then(|| Duration::from_secs(self.new_patient_after)),
            ..SessionConfig::default()
        }
    }

    /// Whether standard output carries video or records, so that the report must not.
    fn fills_stdout(&self) -> bool {
        let stdout = PathBuf::from("-");
        self.out.iter().any(|sink| sink == "-") || self.records.as_ref() == Some(&stdout)
    }
}

impl Args {
    fn open_options(&self, clock: Arc<dyn Clock>) -> OpenOptions {
        let mut options = OpenOptions::new(clock);
        options.pace = if self.fast { Pace::Fast } else { Pace::Own };
        options.raw = self.raw;
        options.repeat = self.repeat;
        options.name_source = self.name_source;
        options.capture = self.capture;
        options
    }
}

/// The source, and the kind of imaging where it tells that.
fn open(
    args: &Args,
    clock: Arc<dyn Clock>,
) -> Result<(Box<dyn Source>, Option<Modality>), Failure> {
    let options = args.open_options(clock);
    let failed = |e: SourceError| Failure::new(Exit::Input, e.to_string());
    #[cfg(feature = "dicom")]
    if crate::dicom::is_dicom(args.source().as_ref()) {
        let cine = crate::dicom::Cine::open(args.source().as_ref(), &options);
        let cine = cine.map_err(failed)?;
        let modality = cine.modality();
        return Ok((cine.source(), modality));
    }
    let source = bedside_video::open(args.source(), &options);
    Ok((source.map_err(failed)?, None))
}

fn sinks(args: &Args, info: &SourceInfo, clock: Arc<dyn Clock>) -> Result<Vec<Output>, Failure> {
    let options = SinkOptions {
        frames_per_second: info.frames_per_second.unwrap_or(25.0),
        overwrite: args.overwrite,
        max_bytes: args.max_video << 20,
    };
    let open = |(place, spec): (usize, &String)| Ok(Output::open(place + 1, spec, &options)?);
    let mut sinks: Vec<_> = args
        .out
        .iter()
        .enumerate()
        .map(open)
        .collect::<Result<_, Failure>>()?;
    sinks.extend(args.display.map(|connector| Output {
        label: "display".into(),
        sink: Box::new(DisplaySink::new(connector, clock)),
        keeps: false,
    }));
    Ok(sinks)
}

fn recorder(args: &Args) -> Result<Recorder, Failure> {
    let max_bytes = args.max_records << 20;
    let mut targets = Vec::new();
    if let Some(path) = &args.records {
        let (name, to): (_, Box<dyn Write + Send>) = if path.as_os_str() == "-" {
            let name = "standard output";
            let out = stdout(max_bytes);
            let out = out.map_err(|e| Failure::new(Exit::Output, format!("{name}: {e}")))?;
            (name, Box::new(out))
        } else {
            // Not its path, which may name a patient.
            let name = "file of records";
            let options = SinkOptions {
                overwrite: args.overwrite,
                max_bytes,
                ..SinkOptions::default()
            };
            let file = create(path, &options).map_err(|e| {
                let hint = match e.kind() {
                    io::ErrorKind::AlreadyExists => "name another one, or say --overwrite",
                    _ => "name a file that can be written",
                };
                Failure::new(Exit::Output, format!("{name}: {e}; hint: {hint}"))
            })?;
            (name, Box::new(file))
        };
        targets.push(Target::JsonLines {
            name: name.to_owned(),
            to,
        });
    }
    if let Some(path) = &args.log {
        targets.push(Target::Log(Log::open(path, Some(max_bytes))?));
    }
    Ok(Recorder::start(targets)?)
}

/// What happens beside the video: the clock of `--seconds`, the device's temperature, the metrics'
/// file and the status line.
fn beside(
    args: &Args,
    ui: Ui,
    metrics: Arc<Metrics>,
    monitor: Arc<Monitor>,
    stop: Stop,
) -> Result<thread::JoinHandle<()>, Failure> {
    let start = Instant::now();
    let end = args
        .seconds
        .map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    let file = args.metrics.clone();
    let terminal = io::stderr().is_terminal();
    let work = move || {
        let mut next = Duration::ZERO;
        while !stop.is_stopped() {
            let elapsed = start.elapsed();
            let left = end.map_or(NAP, |end| end.saturating_sub(elapsed));
            if left.is_zero() {
                stop.stop();
            }
            if elapsed >= next {
                next = elapsed + EVERY;
                metrics.read_device();
                if let Some(file) = &file
                    && let Err(error) = metrics.write_textfile(file)
                {
                    ui.note(format_args!("note: {error}"));
                }
                if terminal {
                    ui.status(&monitor.status().to_string());
                }
            }
            thread::sleep(left.min(NAP));
        }
        if terminal {
            ui.status("");
        }
    };
    thread::Builder::new()
        .name("bedside-beside".to_owned())
        .spawn(work)
        .map_err(|e| Failure::new(Exit::Internal, format!("can't start a thread: {e}")))
}

/// Records every frame that was shown, has it answered where it came from a peer, and prints errors of
/// the source.
struct Show {
    journal: Journal,
    source: SourceNotes,
    answers: Option<Answers>,
    ui: Ui,
}

impl Watcher for Show {
    fn shown(&mut self, session: &LiveSession, frame: Option<&Frame>, counts: Counts) {
        self.journal.shown(session, frame, counts);
        if let Some(answers) = &mut self.answers {
            answers.shown(session, frame);
        }
    }

    fn source(&mut self, error: Option<&str>) {
        self.journal.source(error);
        if let Some(note) = self.source.note(error) {
            self.ui.note(note);
        }
    }

    fn outputs(&self) -> Vec<Arc<Tally>> {
        self.journal.outputs()
    }

    fn output(&mut self, news: &str) {
        self.ui.note(format_args!("note: {news}"));
    }

    fn ended(&mut self, counts: Counts) {
        self.journal.ended(counts);
    }
}

fn report(args: &Args, ui: Ui, metrics: &Metrics) -> Result<(), Failure> {
    let report = metrics.report();
    if args.fills_stdout() {
        ui.note(report);
        return Ok(());
    }
    if ui.json() {
        return ui.print_json(&report);
    }
    ui.print(&format!("{report}\n"))
}
