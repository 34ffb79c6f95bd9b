//! Counts and latencies of a session: as Prometheus text while it runs, as a table at its end.

mod distribution;

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bedside::State;
use serde::Serialize;

use crate::device;
use crate::error::{Error, ErrorKind};
use crate::record::Counts;
use crate::tally::{Condition, OutputReport, Tally};
use distribution::Distribution;
pub use distribution::Latency;

/// Upper bounds of buckets, milliseconds: the video path's own delay...
const DELAY_MS: [f64; 12] = [
    0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0, 35.0, 100.0,
];
/// ...and everything that takes a pass of the model.
const PASS_MS: [f64; 14] = [
    5.0, 10.0, 20.0, 35.0, 50.0, 75.0, 105.0, 150.0, 250.0, 400.0, 650.0, 1000.0, 2000.0, 5000.0,
];

/// Why a frame was not given to the model: it shows what the one before showed, or a state's
/// reason; the last stands for any other.
const SKIPPED: [&str; 11] = [
    "unchanged",
    "off",
    "no-signal",
    "test-pattern",
    "out-of-body",
    "frozen",
    "input",
    "load",
    "restarts-spent",
    "self-test",
    "other",
];

/// Why a mask was not painted: the state did not permit it, it was too old or of another size, or
/// it was too uncertain, or the frame was unlike those that the model learned from.
const WITHHELD: [&str; 4] = ["state", "age", "uncertain", "unfamiliar"];

/// What a session counts. Any thread may count and read; counting allocates nothing, and waits at
/// most for another thread that copies the same durations, some ten microseconds.
#[derive(Debug)]
pub struct Metrics {
    captured: AtomicU64,
    shown: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
    absent: AtomicU64,
    withheld: [AtomicU64; WITHHELD.len()],
    late: AtomicU64,
    faults: AtomicU64,
    source_errors: AtomicU64,
    restarts: AtomicU64,
    records_lost: AtomicU64,
    skipped: [AtomicU64; SKIPPED.len()],
    /// Place in [`State::ALL`].
    state: AtomicUsize,
    device: Mutex<Device>,
    outputs: Mutex<Vec<Arc<Tally>>>,
    video_delay: Distribution,
    inference: Distribution,
    mask_age: Distribution,
    glass_to_mask: Distribution,
}

/// What the device last reported.
#[derive(Debug, Clone, Copy, Default)]
struct Device {
    resident_memory: Option<u64>,
    temperature: Option<f32>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing counted, and [`State::Starting`].
    pub fn new() -> Self {
        Self {
            captured: AtomicU64::new(0),
            shown: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            absent: AtomicU64::new(0),
            withheld: Default::default(),
            late: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            source_errors: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            records_lost: AtomicU64::new(0),
            skipped: Default::default(),
            state: AtomicUsize::new(0),
            device: Mutex::default(),
            outputs: Mutex::default(),
            video_delay: Distribution::new(&DELAY_MS),
            inference: Distribution::new(&PASS_MS),
            mask_age: Distribution::new(&PASS_MS),
            glass_to_mask: Distribution::new(&PASS_MS),
        }
    }

    /// Where the frames went so far.
    pub fn counts(&self, counts: Counts) {
        self.captured.store(counts.captured, Ordering::Relaxed);
        self.shown.store(counts.shown, Ordering::Relaxed);
        self.dropped.store(counts.dropped, Ordering::Relaxed);
        self.failed.store(counts.failed, Ordering::Relaxed);
    }

    /// A frame was annotated, so long after it was in memory.
    pub fn shown(&self, delay: Duration) {
        self.video_delay.record(delay);
    }

    /// A frame was not given to the model: `unchanged`, or the reason of a state.
    pub fn skipped(&self, reason: &str) {
        let known = SKIPPED.iter().position(|r| *r == reason);
        if let Some(count) = self.skipped.get(known.unwrap_or(SKIPPED.len() - 1)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A pass of the model answered, after so long.
    pub fn inference(&self, pass: Duration) {
        self.inference.record(pass);
    }

    /// A mask was painted, so long after the capture of the frame that it was made for.
    pub fn mask_age(&self, age: Duration) {
        self.mask_age.record(age);
    }

    /// An answer's masks were painted for the first time, so long after the capture of their frame:
    /// what a person waits from the change before the lens to its mask.
    pub fn glass_to_mask(&self, whole: Duration) {
        self.glass_to_mask.record(whole);
    }

    /// So many answers were that an object is not in the frame.
    pub fn absent(&self, answers: u64) {
        self.absent.fetch_add(answers, Ordering::Relaxed);
    }

    /// A mask was not painted on a frame that was shown: `state`, `age`, `uncertain` or
    /// `unfamiliar`.
    pub fn withheld(&self, reason: &str) {
        let known = WITHHELD.iter().position(|r| *r == reason);
        if let Some(count) = known.and_then(|at| self.withheld.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An answer was not used: it came too late, or to prompts that are no longer asked.
    pub fn late(&self) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    /// A pass failed or gave NaN, infinite or absurd values, or the session came to a fault.
    pub fn fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    /// The source gave an error and went on, such as a camera that was unplugged.
    pub fn source_error(&self) {
        self.source_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// The backend was started again.
    pub fn restarted(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// So many records were lost since the start.
    pub fn records_lost(&self, records: u64) {
        self.records_lost.store(records, Ordering::Relaxed);
    }

    /// The session's state from here on.
    pub fn state(&self, state: State) {
        if let Some(i) = State::ALL.iter().position(|s| *s == state) {
            self.state.store(i, Ordering::Relaxed);
        }
    }

    /// The outputs of the session, whose counts are told from here on.
    pub fn set_outputs(&self, outputs: Vec<Arc<Tally>>) {
        *self.outputs.lock().unwrap_or_else(PoisonError::into_inner) = outputs;
    }

    /// How each output does.
    pub fn outputs(&self) -> Vec<OutputReport> {
        let outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        outputs.iter().map(|tally| tally.report()).collect()
    }

    /// The same in the place of older ones, without waiting and without new memory.
    pub(crate) fn read_outputs(&self, reports: &mut Vec<OutputReport>) {
        if let Ok(outputs) = self.outputs.try_lock() {
            reports.clear();
            reports.extend(outputs.iter().map(|tally| tally.report()));
        }
    }

    /// Read this process's memory and the device's temperature, which may take milliseconds: call
    /// it every second or two, from any thread but that of the video.
    pub fn read_device(&self) {
        let device = Device {
            resident_memory: device::resident_memory(),
            temperature: device::temperature(),
        };
        *self.device.lock().unwrap_or_else(PoisonError::into_inner) = device;
    }

    /// Degrees Celsius of the hottest thermal zone as last read by
    /// [`read_device`](Self::read_device); `None` where there is none.
    pub fn temperature(&self) -> Option<f32> {
        self.device().temperature
    }

    fn device(&self) -> Device {
        *self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn frames(&self) -> Counts {
        Counts {
            captured: self.captured.load(Ordering::Relaxed),
            shown: self.shown.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// All latencies so far.
    pub fn report(&self) -> Report {
        Report {
            frames: self.frames(),
            source_errors: self.source_errors.load(Ordering::Relaxed),
            video_delay: self.video_delay.latency(),
            inference: self.inference.latency(),
            mask_age: self.mask_age.latency(),
            glass_to_mask: self.glass_to_mask.latency(),
            outputs: self.outputs(),
        }
    }

    /// Everything in Prometheus' text format, version 0.0.4, with memory and temperature as
    /// [`read_device`](Self::read_device) last found them, where it did.
    pub fn prometheus(&self) -> String {
        self.text(self.device())
    }

    /// Write [`prometheus`](Self::prometheus) where node_exporter's textfile collector looks for
    /// `*.prom` files: the file is always a whole one.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write_textfile(&self, path: &Path) -> Result<(), Error> {
        let written = write_aside(path, self.prometheus().as_bytes());
        written.map_err(|cause| {
            let hint = "see that its folder may be written and has space";
            // Its path, which may name a patient, stands in the cause.
            let cause = cause.kind().into();
            Error::caused(ErrorKind::Sink, "metrics file", cause, hint)
        })
    }

    fn text(&self, device: Device) -> String {
        let mut text = String::with_capacity(8192);
        let counts = self.frames();
        for (name, help, count) in [
            (
                "bedside_frames_captured_total",
                "Frames that the source gave or failed to give.",
                counts.captured,
            ),
            (
                "bedside_frames_shown_total",
                "Frames that were shown.",
                counts.shown,
            ),
            (
                "bedside_frames_dropped_total",
                "Frames that a newer one overtook.",
                counts.dropped,
            ),
            (
                "bedside_frames_failed_total",
                "Frames that could not be read or painted.",
                counts.failed,
            ),
            (
                "bedside_answers_absent_total",
                "Answers that an object is not in the frame; what the model drew is withheld.",
                self.absent.load(Ordering::Relaxed),
            ),
            (
                "bedside_answers_late_total",
                "Answers that came too late, or to prompts no longer asked.",
                self.late.load(Ordering::Relaxed),
            ),
            (
                "bedside_faults_total",
                "Passes that failed or gave NaN, infinite or absurd values, and faults of the session.",
                self.faults.load(Ordering::Relaxed),
            ),
            (
                "bedside_source_errors_total",
                "Errors of the source after which it went on, such as a camera that was unplugged.",
                self.source_errors.load(Ordering::Relaxed),
            ),
            (
                "bedside_restarts_total",
                "Restarts of the backend.",
                self.restarts.load(Ordering::Relaxed),
            ),
            (
                "bedside_records_lost_total",
                "Records that did not reach a target.",
                self.records_lost.load(Ordering::Relaxed),
            ),
        ] {
            head(&mut text, name, "counter", help);
            let _ = writeln!(text, "{name} {count}");
        }

        let name = "bedside_masks_withheld_total";
        let help = "Masks that were not painted on a frame that was shown.";
        head(&mut text, name, "counter", help);
        for (reason, count) in WITHHELD.iter().zip(&self.withheld) {
            let count = count.load(Ordering::Relaxed);
            let _ = writeln!(text, "{name}{{reason=\"{reason}\"}} {count}");
        }

        outputs_text(&mut text, &self.outputs());

        let name = "bedside_inference_skipped_total";
        head(
            &mut text,
            name,
            "counter",
            "Frames that the model was not asked about.",
        );
        for (reason, count) in SKIPPED.iter().zip(&self.skipped) {
            let count = count.load(Ordering::Relaxed);
            let _ = writeln!(text, "{name}{{reason=\"{reason}\"}} {count}");
        }

        head(
            &mut text,
            "bedside_state",
            "gauge",
            "1 for the state that the session is in.",
        );
        let current = self.state.load(Ordering::Relaxed);
        for (i, state) in State::ALL.iter().enumerate() {
            let _ = writeln!(
                text,
                "bedside_state{{state=\"{}\",reason=\"{}\"}} {}",
                state.name(),
                state.reason(),
                u8::from(i == current)
            );
        }

        for (name, help, distribution) in [
            (
                "bedside_video_delay_seconds",
                "From a frame in memory to the annotated frame in memory.",
                &self.video_delay,
            ),
            (
                "bedside_inference_seconds",
                "Passes of the model.",
                &self.inference,
            ),
            (
                "bedside_mask_age_seconds",
                "From the capture of a mask's frame to painting, for every painted mask.",
                &self.mask_age,
            ),
            (
                "bedside_glass_to_mask_seconds",
                "From the capture of a frame to its masks' first painting.",
                &self.glass_to_mask,
            ),
        ] {
            head(&mut text, name, "histogram", help);
            distribution.samples(name, &mut text);
        }

        if let Some(bytes) = device.resident_memory {
            let name = "process_resident_memory_bytes";
            head(
                &mut text,
                name,
                "gauge",
                "Memory of this process that is in RAM.",
            );
            let _ = writeln!(text, "{name} {bytes}");
        }
        if let Some(celsius) = device.temperature {
            let name = "bedside_temperature_celsius";
            head(
                &mut text,
                name,
                "gauge",
                "The device's hottest thermal zone.",
            );
            let _ = writeln!(text, "{name} {celsius}");
        }
        text
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn outputs_text(text: &mut String, outputs: &[OutputReport]) {
    if outputs.is_empty() {
        return;
    }
    let name = "bedside_output_total";
    let help = "What each sink and record target was given, by what became of it.";
    head(text, name, "counter", help);
    for report in outputs {
        let output = report.output.escape_default();
        for (result, count) in [
            ("written", report.written),
            ("dropped", report.dropped),
            ("failed", report.failed),
        ] {
            let _ = writeln!(
                text,
                "{name}{{output=\"{output}\",result=\"{result}\"}} {count}"
            );
        }
    }
    let name = "bedside_output_condition";
    head(text, name, "gauge", "1 for how each output does.");
    for report in outputs {
        let output = report.output.escape_default();
        for condition in Condition::ALL {
            let _ = writeln!(
                text,
                "{name}{{output=\"{output}\",condition=\"{}\"}} {}",
                condition.name(),
                u8::from(condition == report.condition)
            );
        }
    }
}

fn write_aside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // node_exporter runs as a user of its own.
        builder.permissions(std::fs::Permissions::from_mode(0o644));
    }
    let mut aside = builder.tempfile_in(folder.unwrap_or(Path::new(".")))?;
    aside.write_all(bytes)?;
    aside.persist(path)?;
    Ok(())
}

/// Latencies of a session; its text is a table in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Where the frames went.
    pub frames: Counts,
    /// Errors of the source after which it went on, such as a camera that was unplugged.
    pub source_errors: u64,
    /// From a frame in memory to the annotated frame in memory.
    pub video_delay: Option<Latency>,
    /// Passes of the model.
    pub inference: Option<Latency>,
    /// From the capture of a mask's frame to painting, for every painted mask.
    pub mask_age: Option<Latency>,
    /// From the capture of a frame to the first painting of its masks.
    pub glass_to_mask: Option<Latency>,
    /// What became of what each output was given.
    pub outputs: Vec<OutputReport>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<14}", "latency (ms)")?;
        for title in [
            "count", "min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max", "std dev",
        ] {
            write!(f, " {title:>9}")?;
        }
        writeln!(f)?;
        for (name, latency) in [
            ("video delay", &self.video_delay),
            ("inference", &self.inference),
            ("mask age", &self.mask_age),
            ("glass to mask", &self.glass_to_mask),
        ] {
            write!(f, "{name:<14}")?;
            let Some(l) = latency else {
                writeln!(f, " {:>9}", 0)?;
                continue;
            };
            write!(f, " {:>9}", l.count)?;
            for ms in [
                l.min_ms,
                l.mean_ms,
                l.p50_ms,
                l.p90_ms,
                l.p95_ms,
                l.p99_ms,
                l.p99_9_ms,
                l.max_ms,
                l.std_dev_ms,
            ] {
                write!(f, " {ms:>9.2}")?;
            }
            writeln!(f)?;
        }
        let Counts {
            captured,
            shown,
            dropped,
            failed,
        } = self.frames;
        write!(
            f,
            "frames: {captured} captured, {shown} shown, {dropped} dropped, {failed} failed"
        )?;
        if self.source_errors > 0 {
            write!(f, "\nsource: {} errors that passed", self.source_errors)?;
        }
        for output in &self.outputs {
            let OutputReport {
                output,
                written,
                dropped,
                failed,
                ..
            } = output;
            write!(
                f,
                "\n{}: {written} written, {dropped} dropped, {failed} failed",
                &**output
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
