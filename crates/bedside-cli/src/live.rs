//! `bedside live`: video in, annotated video and records out.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bedside::{Clock, Frame, Modality, MonotonicClock, Prompt, PromptTable};
use bedside_live::record::{Counts, SessionRecord};
use bedside_live::{
    AgePolicy, BundleLoader, CadenceConfig, Control, Log, Metrics, Record, Recorder, Session,
    SessionConfig, Stop, Target, View, Watcher,
};
use bedside_preview::{self as preview, Facts, Offer, Preview};
use bedside_video::sink::{Sink, open_sink};
use bedside_video::{CaptureFormat, OpenOptions, Pace, RawFormat, Source, SourceInfo};
use clap::Args as Arguments;

use crate::failure::{Exit, Failure};
use crate::model::ModelArgs;
use crate::ui::{SAFETY, Ui};

/// Arguments of `bedside live`.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Examples:
  bedside live /dev/video0 --prompt polyp --out - | ffplay -
  ffmpeg -i rtsp://tower/1 -f yuv4mpegpipe - | bedside live - --prompt polyp --out annotated.y4m
  bedside live phantom:polyp --prompt polyp --records frames.jsonl --log session.log
  bedside live /dev/video0 --prompt polyp --preview 127.0.0.1:8080

Video never waits for the model: a mask of an older frame is carried to the newest along the
picture's motion, drawn with dashes and its age, and not at all beyond --max-age.")]
pub(crate) struct Args {
    /// /dev/videoN, - (Y4M on standard input), a video file, a folder of pictures, or a phantom
    source: String,

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

    /// One JSON object a frame into this file; - for standard output
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,

    /// Append results to this log, which survives a crash; `bedside log` reads it
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,

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

    /// What raw bytes mean, such as 1280x720:nv12@30
    #[arg(long, value_name = "FORMAT")]
    raw: Option<RawFormat>,

    /// What a camera is asked for: size, format and rate, such as 1280x720:nv12@30
    #[arg(long, value_name = "FORMAT")]
    capture: Option<RawFormat>,
}

/// Time that records and the preview get to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two looks at the device and two status lines.
const EVERY: Duration = Duration::from_secs(1);

/// Passes a second.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let rate: Option<f64> = text.parse().ok();
    rate.filter(|rate| (0.001..=10_000.0).contains(rate))
        .ok_or_else(|| "hint: a number from 0.001 to 10000".to_owned())
}

pub(crate) fn run(args: &Args, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    let source = open(args, clock.clone())?;
    let listener = listener(args)?;
    let bundle = model.bundle(None)?;
    let mut options = model.options(&bundle, ui)?;
    if options.threads.is_none() {
        // One core is the video's.
        options.threads = Some(options.threads().saturating_sub(1).max(1));
    }
    let backend = options.backend()?;
    let manifest = bundle.manifest();
    let opening = SessionRecord {
        bedside: env!("CARGO_PKG_VERSION").to_owned(),
        model: format!("{} {}", manifest.name, manifest.version),
        precision: options
            .precision
            .unwrap_or(manifest.default_precision)
            .to_string(),
        backend: backend.name().to_owned(),
        source: source.info().name.clone(),
        started_unix_ms: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX)),
    };
    let facts = Facts {
        session: opening.clone(),
        licence: manifest.licence.clone(),
        max_age_ms: args.max_age,
    };
    let offers = if listener.is_some() {
        offers(&bundle.prompt_table().map_err(bedside::Error::from)?)
    } else {
        Vec::new()
    };
    let loader = Arc::new(BundleLoader::new(bundle, Arc::new(backend), options)?);
    let prompts: Vec<Prompt> = args.prompts.iter().map(|text| args.prompt(text)).collect();
    let control = Control::new(loader.clone(), &prompts);
    let control = Arc::new(control.map_err(|e| Failure::new(Exit::Prompt, e))?);
    let mut sinks = sinks(args, source.info())?;
    let mut recorder = recorder(args)?;
    recorder.record(&Record::Session(opening));
    let metrics = Arc::new(Metrics::new());
    let view = Arc::new(View::default());
    let stop = Stop::default();

    ui.note(SAFETY);
    let config = SessionConfig {
        age: AgePolicy {
            limit: Duration::from_millis(args.max_age),
        },
        cadence: CadenceConfig {
            target: Duration::from_millis(args.target),
            interval: args
                .rate
                .map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate)),
            ..CadenceConfig::default()
        },
        ..SessionConfig::default()
    };
    let page = listener.map(|listener| {
        let preview = Preview {
            view: view.clone(),
            control: control.clone(),
            metrics: metrics.clone(),
            facts,
            offers,
        };
        (listener, preview)
    });
    let mut session = Session::new(loader, control, metrics.clone(), clock, config);
    let beside = beside(args, ui, metrics.clone(), view.clone(), page, stop.clone())?;
    let mut show = Show {
        recorder,
        view: &view,
        metrics: &metrics,
        prompts: 0,
        ui,
    };
    let outcome = bedside_live::run(
        &mut session,
        source,
        &mut sinks,
        &mut show,
        &metrics,
        args.fast,
        &stop,
    );
    stop.stop();
    if let Ok(counts) = &outcome {
        show.recorder.record(&Record::End(*counts));
    }
    let recorded = show.recorder.finish(PATIENCE);
    // It looks at `stop` every second.
    let _ = beside.join();
    outcome.map_err(failure)?;
    recorded.map_err(failure)?;
    report(args, ui, &metrics)
}

impl Args {
    fn prompt(&self, text: &str) -> Prompt {
        Prompt {
            text: text.to_owned(),
            modality: self.modality,
            site: self.site.clone(),
        }
    }

    /// Whether standard output carries video or records, so that the report must not.
    fn fills_stdout(&self) -> bool {
        let stdout = PathBuf::from("-");
        self.out.iter().any(|sink| sink == "-") || self.records.as_ref() == Some(&stdout)
    }
}

fn failure(error: bedside_live::Error) -> Failure {
    let exit = match error.kind() {
        bedside_live::ErrorKind::Source => Exit::Input,
        bedside_live::ErrorKind::Sink | bedside_live::ErrorKind::Log => Exit::Output,
        bedside_live::ErrorKind::Model => Exit::Engine,
        bedside_live::ErrorKind::Config => Exit::Usage,
        _ => Exit::Internal,
    };
    Failure::new(exit, error.to_string())
}

fn open(args: &Args, clock: Arc<dyn Clock>) -> Result<Box<dyn Source>, Failure> {
    let mut options = OpenOptions::new(clock);
    options.pace = if args.fast { Pace::Fast } else { Pace::Own };
    options.raw = args.raw;
    options.repeat = args.repeat;
    options.capture = args.capture.map(|wish| CaptureFormat {
        size: Some((wish.width, wish.height)),
        format: Some(wish.format),
        frames_per_second: wish.frames_per_second,
        ..CaptureFormat::default()
    });
    bedside_video::open(&args.source, &options)
        .map_err(|e| Failure::new(Exit::Input, e.to_string()))
}

/// Taken before the model is loaded, so that a port in use is told at once.
fn listener(args: &Args) -> Result<Option<TcpListener>, Failure> {
    let bind = |address| {
        preview::bind(address, args.preview_anyone)
            .map_err(|e| Failure::new(Exit::Usage, e.to_string()))
    };
    args.preview.map(bind).transpose()
}

/// What the model was trained on, for the page.
fn offers(table: &PromptTable) -> Vec<Offer> {
    let mut offers: Vec<Offer> = table
        .trained_forms()
        .map(|form| Offer {
            modality: form.modality.to_string(),
            text: form.text(),
        })
        .collect();
    offers.sort();
    offers.dedup();
    offers
}

fn sinks(args: &Args, info: &SourceInfo) -> Result<Vec<Box<dyn Sink>>, Failure> {
    let rate = info.frames_per_second.unwrap_or(25.0);
    let open = |spec: &String| {
        open_sink(spec, rate).map_err(|e| Failure::new(Exit::Output, e.to_string()))
    };
    args.out.iter().map(open).collect()
}

fn recorder(args: &Args) -> Result<Recorder, Failure> {
    let mut targets = Vec::new();
    if let Some(path) = &args.records {
        let (name, to): (_, Box<dyn Write + Send>) = if path.as_os_str() == "-" {
            ("stdout".to_owned(), Box::new(io::stdout()))
        } else {
            let name = path.display().to_string();
            let file = File::create(path).map_err(|e| {
                Failure::new(
                    Exit::Output,
                    format!("{name}: {e}; hint: name a file that can be written"),
                )
            })?;
            (name, Box::new(file))
        };
        targets.push(Target::JsonLines { name, to });
    }
    if let Some(path) = &args.log {
        targets.push(Target::Log(Log::open(path, None).map_err(failure)?));
    }
    Recorder::start(targets).map_err(failure)
}

/// What happens beside the video: signals, the clock of `--seconds`, the device's temperature, the
/// metrics' file, the status line and the preview page.
fn beside(
    args: &Args,
    ui: Ui,
    metrics: Arc<Metrics>,
    view: Arc<View>,
    page: Option<(TcpListener, Preview)>,
    stop: Stop,
) -> Result<thread::JoinHandle<()>, Failure> {
    let internal = |e: io::Error| Failure::new(Exit::Internal, format!("can't start: {e}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(internal)?;
    let seconds = args
        .seconds
        .map(|s| Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX));
    let file = args.metrics.clone();
    if let Some((listener, _)) = &page {
        let address = listener.local_addr().map_err(internal)?;
        ui.note(format_args!("preview: http://{address}/"));
    }
    let terminal = io::stderr().is_terminal();
    let work = async move {
        let mut ticks = tokio::time::interval(EVERY);
        let end = async {
            match seconds {
                Some(seconds) => tokio::time::sleep(seconds).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(end);
        let halt = stop.clone();
        // Ends with the runtime.
        let _serving = page.map(|(listener, preview)| {
            tokio::spawn(async move {
                if let Err(error) = preview::serve(listener, preview, halt).await {
                    ui.note(format_args!("note: {error}"));
                }
            })
        });
        while !stop.is_stopped() {
            tokio::select! {
                _ = ticks.tick() => {
                    metrics.read_device();
                    if let Some(file) = &file
                        && let Err(error) = metrics.write_textfile(file)
                    {
                        ui.note(format_args!("note: {error}"));
                    }
                    if terminal {
                        ui.status(&status(&view));
                    }
                }
                _ = tokio::signal::ctrl_c() => stop.stop(),
                () = &mut end => stop.stop(),
            }
        }
        if terminal {
            ui.status("");
        }
    };
    thread::Builder::new()
        .name("bedside-beside".to_owned())
        .spawn(move || runtime.block_on(work))
        .map_err(internal)
}

/// One line for a person at the terminal.
fn status(view: &View) -> String {
    let status = view.status();
    let mut line = format!(
        "{} {}  {:.0} fps, {:.0} masks/s, {} dropped, {} failed",
        &*status.frame.state,
        &*status.frame.reason,
        status.frames_per_second,
        status.masks_per_second,
        status.counts.dropped,
        status.counts.failed
    );
    for mask in &status.frame.masks {
        line.push_str(&format!(
            "  {} {} ms old",
            &*mask.prompt,
            mask.age_us / 1000
        ));
    }
    if let Some(message) = status.source_message.or(status.model_message) {
        line.push_str(&format!("  ({message})"));
    }
    line
}

/// Looks at every frame that was shown.
struct Show<'a> {
    recorder: Recorder,
    view: &'a View,
    metrics: &'a Metrics,
    /// Prompts that were last recorded.
    prompts: usize,
    ui: Ui,
}

impl Watcher for Show<'_> {
    fn shown(&mut self, session: &Session, frame: Option<&Frame>, counts: Counts) {
        // A session keeps one list of prompts until they are changed.
        let prompts = session.prompts().as_ptr() as usize;
        if prompts != self.prompts && !session.prompts().is_empty() {
            self.prompts = prompts;
            self.recorder
                .record(&Record::Prompts(session.prompts().to_vec()));
        }
        if frame.is_some() {
            self.recorder.frame(session.record());
            self.metrics.records_lost(self.recorder.lost());
        }
        self.view.publish(session, frame, counts);
    }

    fn source(&mut self, complaint: Option<&str>) {
        self.view.source(complaint);
        if let Some(complaint) = complaint {
            self.ui.note(format_args!("note: {complaint}"));
        }
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
