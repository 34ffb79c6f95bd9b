//! Which precision is fastest on this device: measured, kept, found again.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bedside_bundle::{Bundle, Precision};
use bedside_core::{Clock, Frame, Prompt};
use bedside_engine::Backend;
use bedside_kernels::Cpu;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::prompts::PromptSet;
use crate::segmenter::{Options, Segmenter};

/// Timed passes of a precision, where a pass is short.
const ROUNDS: usize = 9;
/// No round begins after this time, but the first.
const BUDGET: Duration = Duration::from_secs(5);
/// Far more than a tuning takes.
const MAX_FILE_BYTES: u64 = 1 << 16;

/// What a [`Tuning`] holds for. Of anything else it says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TuningKey {
    /// Version of bedside.
    pub bedside: String,
    /// [`Bundle::digest`].
    pub bundle: String,
    /// Name of the board or processor, empty where the system does not tell.
    pub machine: String,
    /// Instructions that the CPU's kernels use, such as `avx2`.
    pub kernels: String,
    /// Name of the backend.
    pub backend: String,
    /// Threads of the backend.
    pub threads: usize,
}

impl TuningKey {
    /// A bundle on a backend of this device, with the threads of `options`.
    ///
    /// # Errors
    /// [`ErrorKind::Engine`] when the environment variable `BEDSIDE_CPU` names instructions that
    /// the processor lacks.
    pub fn new(bundle: &Bundle, backend: &dyn Backend, options: &Options) -> Result<Self, Error> {
        let kernels = Cpu::detect().map_err(|e| Error::new(ErrorKind::Engine, e))?;
        Ok(Self {
            bedside: env!("CARGO_PKG_VERSION").to_owned(),
            bundle: bundle.digest().to_owned(),
            machine: machine_name().unwrap_or_default(),
            kernels: kernels.to_string(),
            backend: backend.name().to_owned(),
            threads: options.threads(),
        })
    }

    /// Name of the file that keeps the tuning. A new one for the same bundle, backend and threads
    /// replaces the old, so that the folder does not grow with each update of bedside.
    fn file(&self) -> String {
        let bundle = self.bundle.get(..16).unwrap_or(&self.bundle);
        format!("{bundle}-{}-{}.json", self.backend, self.threads)
    }
}

/// How a bundle's precisions did on this device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// What it holds for.
    pub key: TuningKey,
    /// When it was measured, in UTC, such as `2026-11-26T05:41:00Z`. For people only.
    pub measured: String,
    /// Every precision of the bundle, in the manifest's order.
    pub precisions: Vec<Tried>,
}

impl Tuning {
    /// The fastest precision whose self-tests passed, if any did.
    pub fn fastest(&self) -> Option<Precision> {
        let timed = self.precisions.iter();
        let timed = timed.filter_map(|t| Some((t.precision, t.outcome.milliseconds()?)));
        timed.min_by(|a, b| a.1.total_cmp(&b.1)).map(|best| best.0)
    }
}

/// How one precision did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// Which.
    pub precision: Precision,
    /// How.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Time of a pass, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Median time of a pass of one frame and one prompt.
    Milliseconds(f64),
    /// Why this precision must not run here: its self-test's result, or an error.
    Failed(String),
}

impl Outcome {
    /// The time, if the precision may run.
    pub fn milliseconds(&self) -> Option<f64> {
        match self {
            Self::Milliseconds(ms) => Some(*ms),
            Self::Failed(_) => None,
        }
    }
}

/// Run the self-tests of every precision of a bundle, and time those that pass, in turns: up to
/// nine passes each of the bundle's first self-test frame, fewer where they take long.
///
/// All precisions that pass are in memory at once. `options.precision` is not looked at. `clock`
/// times the passes, a [`MonotonicClock`](bedside_core::MonotonicClock) on a device.
///
/// # Errors
/// As [`TuningKey::new`]. A precision that fails, in whatever way, is no error but an
/// [`Outcome`].
pub fn tune(
    bundle: &Bundle,
    backend: &dyn Backend,
    options: &Options,
    clock: &dyn Clock,
) -> Result<Tuning, Error> {
    let key = TuningKey::new(bundle, backend, options)?;
    let mut candidates: Vec<(Precision, Result<Candidate, String>)> = Vec::new();
    for variant in &bundle.manifest().variants {
        let precision = variant.precision;
        let options = Options {
            precision: Some(precision),
            ..*options
        };
        candidates.push((precision, Candidate::new(bundle, backend, &options)));
    }
    let start = clock.now();
    for round in 0..ROUNDS {
        if round > 0 && clock.now().since(start) > BUDGET {
            break;
        }
        for (_, candidate) in &mut candidates {
            if let Ok(ready) = candidate
                && let Err(error) = ready.pass(clock)
            {
                *candidate = Err(error.to_string());
            }
        }
    }
    let tried = |(precision, candidate): (Precision, Result<Candidate, String>)| Tried {
        precision,
        outcome: candidate.map_or_else(Outcome::Failed, |ready| {
            Outcome::Milliseconds(median(ready.times).as_micros() as f64 / 1e3)
        }),
    };
    Ok(Tuning {
        key,
        measured: rfc3339(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        ),
        precisions: candidates.into_iter().map(tried).collect(),
    })
}

/// A precision that has passed its self-tests, which have warmed it up.
struct Candidate {
    segmenter: Segmenter,
    frame: Frame,
    prompts: PromptSet,
    times: Vec<Duration>,
}

impl Candidate {
    fn new(bundle: &Bundle, backend: &dyn Backend, options: &Options) -> Result<Self, String> {
        let load = || {
            let mut segmenter = Segmenter::new(bundle.clone(), backend, options)?;
            let cases = segmenter.self_test()?;
            Ok::<_, Error>((segmenter, cases))
        };
        let (mut segmenter, cases) = load().map_err(|e| e.to_string())?;
        if let Some(case) = cases.iter().find(|case| !case.passed()) {
            return Err(format!(
                "self-test '{}': IoU {:.4}, {:.4} needed",
                case.prompt, case.iou, case.min_iou
            ));
        }
        let Some(test) = bundle.manifest().self_tests.first() else {
            return Err("the bundle has no self-test".to_owned());
        };
        let mut prepare = || {
            let prompts = segmenter.prompts(&[Prompt::new(test.prompt.as_str())])?;
            Ok::<_, Error>((segmenter.self_test_frame(test)?, prompts))
        };
        let (frame, prompts) = prepare().map_err(|e| e.to_string())?;
        Ok(Self {
            segmenter,
            frame,
            prompts,
            times: Vec::with_capacity(ROUNDS),
        })
    }

    fn pass(&mut self, clock: &dyn Clock) -> Result<(), Error> {
        let start = clock.now();
        self.segmenter.segment(&self.frame, &self.prompts)?;
        self.times.push(clock.now().since(start));
        Ok(())
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Tunings in a folder, a file each.
///
/// ```no_run
/// use bedside::{Bundle, MonotonicClock, Options, Segmenter, TuningKey, Tunings};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bundle = Bundle::open("models/edge/edge.bedside")?;
/// let mut options = Options::default();
/// let backend = options.backend()?;
/// let key = TuningKey::new(&bundle, backend, &options)?;
/// let tunings = Tunings::at("/var/cache/bedside");
/// let tuning = match tunings.find(&key)? {
///     Some(tuning) => tuning,
///     None => bedside::tune(&bundle, backend, &options, &MonotonicClock::new())?,
/// };
/// tunings.store(&tuning)?;
/// options.precision = tuning.fastest();
/// let segmenter = Segmenter::new(bundle, backend, &options)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunings(PathBuf);

impl Tunings {
    /// Tunings in a folder, which is made with the first of them.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The user's: `bedside` below `XDG_CACHE_HOME` or, without that, below `.cache` of `HOME`.
    pub fn of_user() -> Option<Self> {
        let absolute = |name: &str| {
            let path = std::env::var_os(name).map(PathBuf::from);
            path.filter(|p| p.is_absolute())
        };
        let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        Some(Self(cache?.join("bedside")))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The tuning of exactly this key, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Cache`] when there is a file that can't be read. Run without it then.
    pub fn find(&self, key: &TuningKey) -> Result<Option<Tuning>, Error> {
        let path = self.0.join(key.file());
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|e| unread(&path, &e))?,
        };
        let mut json = Vec::new();
        file.take(MAX_FILE_BYTES)
            .read_to_end(&mut json)
            .map_err(|e| unread(&path, &e))?;
        let tuning: Tuning = serde_json::from_slice(&json).map_err(|e| unread(&path, &e))?;
        Ok(Some(tuning).filter(|t| t.key == *key))
    }

    /// Keep a tuning; the file appears whole or not at all. -> where it is.
    ///
    /// # Errors
    /// [`ErrorKind::Cache`] when it can't be written.
    pub fn store(&self, tuning: &Tuning) -> Result<PathBuf, Error> {
        let path = self.0.join(tuning.key.file());
        let write = || {
            let mut json = serde_json::to_vec_pretty(tuning)?;
            json.push(b'\n');
            fs::create_dir_all(&self.0)?;
            let mut builder = tempfile::Builder::new();
            builder.prefix(".bedside-").suffix(".part");
            let mut temp = builder.tempfile_in(&self.0)?;
            temp.write_all(&json)?;
            temp.as_file().sync_all()?;
            temp.persist(&path)?;
            Ok::<_, io::Error>(())
        };
        write().map_err(|e| {
            let hint = "name a folder that you may write to";
            let message = format!("{} was not written: {e}; hint: {hint}", path.display());
            Error::new(ErrorKind::Cache, message)
        })?;
        Ok(path)
    }
}

fn unread(path: &Path, error: &dyn std::error::Error) -> Error {
    let message = format!(
        "{} can't be used: {error}; hint: measure again, which writes it anew",
        path.display()
    );
    Error::new(ErrorKind::Cache, message)
}

/// Name of the board or, without one, of the processor, as the kernel tells it.
pub fn machine_name() -> Option<String> {
    let board = fs::read_to_string("/proc/device-tree/model").ok();
    let board = board.map(|s| s.trim_end_matches('\0').trim().to_owned());
    board.filter(|s| !s.is_empty()).or_else(|| {
        let processors = fs::read_to_string("/proc/cpuinfo").ok()?;
        processors.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == "model name").then(|| value.trim().to_owned())
        })
    })
}

/// A time since 1970 as RFC 3339 has it, to the second.
fn rfc3339(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    // Years from March on, in eras of 400 years that are all alike (H. Hinnant's algorithm).
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, year) = match month {
        0..=9 => (month + 3, era * 400 + year),
        _ => (month - 9, era * 400 + year + 1),
    };
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuning(outcomes: &[(Precision, Outcome)]) -> Tuning {
        Tuning {
            key: TuningKey {
                bedside: "0.1.0".into(),
                bundle: "0123456789abcdef0123".into(),
                machine: "Test Board".into(),
                kernels: "avx2".into(),
                backend: "tract-cpu".into(),
                threads: 2,
            },
            measured: "2026-11-26T05:41:00Z".into(),
            precisions: outcomes
                .iter()
                .cloned()
                .map(|(precision, outcome)| Tried { precision, outcome })
                .collect(),
        }
    }

    fn three() -> Tuning {
        tuning(&[
            (Precision::F32, Outcome::Milliseconds(14.5)),
            (Precision::F16, Outcome::Failed("NaN".into())),
            (Precision::Int8, Outcome::Milliseconds(8.5)),
        ])
    }

    #[test]
    fn the_fastest_that_passed_is_chosen() {
        assert_eq!(three().fastest(), Some(Precision::Int8));
        let failed = tuning(&[(Precision::F32, Outcome::Failed("no".into()))]);
        assert_eq!(failed.fastest(), None);
    }

    #[test]
    fn what_is_stored_is_found_again_and_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let tunings = Tunings::at(temp.path().join("new/cache"));
        let mut tuning = three();
        assert_eq!(tunings.find(&tuning.key).unwrap(), None);
        let path = tunings.store(&tuning).unwrap();
        assert_eq!(tunings.find(&tuning.key).unwrap().as_ref(), Some(&tuning));
        tuning.measured = "2026-11-27T00:00:00Z".into();
        assert_eq!(tunings.store(&tuning).unwrap(), path);
        assert_eq!(tunings.find(&tuning.key).unwrap().as_ref(), Some(&tuning));
        assert_eq!(fs::read_dir(tunings.folder()).unwrap().count(), 1);
    }

    /// Each part of the key counts, those that are not in the file's name too.
    #[test]
    fn a_tuning_of_anything_else_is_not_found() {
        let temp = tempfile::tempdir().unwrap();
        let tunings = Tunings::at(temp.path());
        let tuning = three();
        tunings.store(&tuning).unwrap();
        let changes: [fn(&mut TuningKey); 7] = [
            |k| k.bedside = "0.1.1".into(),
            |k| k.bundle.push('0'),
            |k| k.bundle.insert(0, '0'),
            |k| k.machine = "Other Board".into(),
            |k| k.kernels = "avx512+vnni".into(),
            |k| k.backend = "tract-stock".into(),
            |k| k.threads = 1,
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let mut key = tuning.key.clone();
            change(&mut key);
            assert_eq!(tunings.find(&key).unwrap(), None, "change {i}");
        }
    }

    #[test]
    fn a_damaged_file_is_reported_and_written_anew() {
        let temp = tempfile::tempdir().unwrap();
        let tunings = Tunings::at(temp.path());
        let tuning = three();
        let path = tunings.store(&tuning).unwrap();
        let whole = fs::read(&path).unwrap();
        let huge = vec![b' '; MAX_FILE_BYTES as usize + 1];
        for damaged in [b"".as_slice(), b"{}", &whole[..whole.len() / 2], &huge] {
            fs::write(&path, damaged).unwrap();
            let error = tunings.find(&tuning.key).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Cache);
            let text = error.to_string();
            assert!(
                text.contains(path.to_str().unwrap()) && text.contains("hint: "),
                "{text}"
            );
        }
        tunings.store(&tuning).unwrap();
        assert_eq!(tunings.find(&tuning.key).unwrap(), Some(tuning));
    }

    #[test]
    fn a_folder_that_can_not_be_made_is_reported() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("file"), "").unwrap();
        let error = Tunings::at(temp.path().join("file/below"))
            .store(&three())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cache);
        assert!(error.to_string().contains("hint: "), "{error}");
    }

    #[test]
    fn dates_are_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_secs(seconds)), date);
        }
    }
}
