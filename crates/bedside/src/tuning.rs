//! Which precision is fastest on this device: measured, kept, found again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bedside_bundle::{Bundle, Precision};
use bedside_core::{Clock, Frame, Prompt};
use bedside_engine::Backend;
use serde::{Deserialize, Serialize};

use crate::cache::{Cache, file_name};
use crate::error::Error;
use crate::machine::machine_name;
use crate::options::Options;
use crate::prompts::PromptSet;
use crate::proof::Unproven;
use crate::segmenter::Segmenter;

/// Timed passes of a precision, where a pass is short.
const ROUNDS: usize = 9;
/// No round begins after this time, but the first.
const BUDGET: Duration = Duration::from_secs(5);

/// What a [`Tuning`] holds for. Of anything else it says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TuningKey {
    /// Version of bedside.
    pub bedside: String,
    /// [`Bundle::digest`].
    pub bundle: String,
    /// Name of the board or processor, empty where the system does not say.
    pub machine: String,
    /// Name of the backend.
    pub backend: String,
    /// [`Backend::fingerprint`], empty where the backend gives none.
    pub fingerprint: String,
    /// Threads of the backend.
    pub threads: usize,
    /// Side of the encoder's input in pixels.
    pub side: u32,
}

impl TuningKey {
    /// A bundle on a backend of this device, with the threads and side of `options`.
    pub fn new(bundle: &Bundle, backend: &dyn Backend, options: &Options) -> Self {
        Self {
            bedside: env!("CARGO_PKG_VERSION").to_owned(),
            bundle: bundle.digest().to_owned(),
            machine: machine_name().unwrap_or_default(),
            backend: backend.name().to_owned(),
            fingerprint: backend.fingerprint().unwrap_or_default(),
            threads: options.threads(),
            side: options.side.unwrap_or(bundle.manifest().input.side),
        }
    }

    fn file(&self) -> String {
        let variant = format!("{}-{}", self.threads, self.side);
        file_name("tuning", &self.bundle, &self.backend, &variant)
    }
}

/// How a bundle's precisions did on this device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tuning {
    /// What it holds for.
    pub key: TuningKey,
    /// When it was measured, in seconds since 1970 (UTC). For people only.
    pub measured_unix_s: u64,
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
#[non_exhaustive]
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
/// nine passes each of the bundle's first self-test frame, fewer where they take long. A precision
/// that fails, in whatever way, is no error but an [`Outcome`].
///
/// All precisions that pass are in memory at once. `options.precision` is not looked at. `clock`
/// times the passes, a [`MonotonicClock`](bedside_core::MonotonicClock) on a device.
///
/// ```no_run
/// use bedside::{Bundle, Cache, MonotonicClock, Options, Segmenter, TuningKey};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bundle = Bundle::open("models/edge/edge.bedside")?;
/// let mut options = Options::default();
/// let backend = options.backend()?;
/// let key = TuningKey::new(&bundle, backend, &options);
/// let cache = Cache::at("/var/cache/bedside");
/// let tuning = match cache.tuning(&key)? {
///     Some(tuning) => tuning,
///     None => bedside::tune(&bundle, backend, &options, &MonotonicClock::new()),
/// };
/// cache.store(&tuning)?;
/// options.precision = tuning.fastest();
/// let segmenter = Segmenter::new(bundle, backend, &options)?;
/// # Ok(())
/// # }
/// ```
pub fn tune(
    bundle: &Bundle,
    backend: impl Backend + 'static,
    options: &Options,
    clock: &dyn Clock,
) -> Tuning {
    let backend: Arc<dyn Backend> = Arc::new(backend);
    let key = TuningKey::new(bundle, &backend, options);
    let mut candidates: Vec<(Precision, Result<Candidate, String>)> = Vec::new();
    for variant in &bundle.manifest().variants {
        let options = options.clone().with_precision(variant.precision);
        let candidate = Candidate::new(bundle, backend.clone(), &options);
        candidates.push((variant.precision, candidate));
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
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Tuning {
        key,
        measured_unix_s: now.unwrap_or_default().as_secs(),
        precisions: candidates.into_iter().map(tried).collect(),
    }
}

/// A precision that has passed its self-tests, which have warmed it up.
struct Candidate {
    segmenter: Segmenter,
    frame: Frame,
    prompts: PromptSet,
    times: Vec<Duration>,
}

impl Candidate {
    fn new(bundle: &Bundle, backend: Arc<dyn Backend>, options: &Options) -> Result<Self, String> {
        // Run in any case, remembered or not: they warm it up.
        let load = || {
            let mut unproven = Unproven::load(bundle.clone(), backend, options)?;
            let cases = unproven.self_test()?;
            unproven.accept(&cases)
        };
        let mut segmenter = load().map_err(|e| e.to_string())?;
        let Some(test) = bundle.manifest().self_tests_at(segmenter.side()).next() else {
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

impl Cache {
    /// The tuning of exactly this key, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Cache`](crate::ErrorKind::Cache) when there is a file that can't be read. Run without it then.
    pub fn tuning(&self, key: &TuningKey) -> Result<Option<Tuning>, Error> {
        let tuning: Option<Tuning> = self.read(&key.file())?;
        Ok(tuning.filter(|t| t.key == *key))
    }

    /// Keep a tuning, for [`tuning`](Self::tuning) to find. -> the file.
    ///
    /// # Errors
    /// [`ErrorKind::Cache`](crate::ErrorKind::Cache) when it can't be written.
    pub fn store(&self, tuning: &Tuning) -> Result<PathBuf, Error> {
        self.write(&tuning.key.file(), tuning)
    }
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
                backend: "tract-cpu".into(),
                fingerprint: "avx2".into(),
                threads: 2,
                side: 256,
            },
            measured_unix_s: 1_795_671_660,
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

    /// Each part of the key counts, those that are not in the file's name too.
    #[test]
    fn a_tuning_of_anything_else_is_not_found() {
        let temp = tempfile::tempdir().unwrap();
        let cache = Cache::at(temp.path());
        let tuning = three();
        cache.store(&tuning).unwrap();
        assert_eq!(cache.tuning(&tuning.key).unwrap().as_ref(), Some(&tuning));
        let changes: [fn(&mut TuningKey); 7] = [
            |k| k.bedside = "0.1.1".into(),
            |k| k.bundle.push('0'),
            |k| k.bundle.insert(0, '0'),
            |k| k.machine = "Other Board".into(),
            |k| k.fingerprint = "avx512+vnni".into(),
            |k| k.backend = "tract-stock".into(),
            |k| k.threads = 1,
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let mut key = tuning.key.clone();
            change(&mut key);
            assert_eq!(cache.tuning(&key).unwrap(), None, "change {i}");
        }
    }
}
