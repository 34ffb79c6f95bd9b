//! Load, prove, refuse: no mask before the bundle's own test frames have come out right here.

use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bedside_bundle::manifest::SelfTest;
use bedside_bundle::{Bundle, Precision};
use bedside_core::{Frame, Mask, PixelFormat, Prompt};
use bedside_engine::{Backend, Placement};
use serde::{Deserialize, Serialize};

use crate::cache::file_name;
use crate::error::{Error, ErrorKind};
use crate::machine::machine_name;
use crate::options::Options;
use crate::segmenter::Segmenter;

/// Outcome of one of the bundle's self-tests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SelfTestCase {
    /// What was asked.
    pub prompt: String,
    /// Intersection over union of the mask with the expected one.
    pub iou: f64,
    /// Least value that passes.
    pub min_iou: f64,
}

impl SelfTestCase {
    /// Whether the mask came out as expected.
    pub fn passed(&self) -> bool {
        self.iou >= self.min_iou
    }
}

/// "self-test 'polyp': IoU 0.9412, 0.9000 needed".
impl fmt::Display for SelfTestCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            prompt,
            iou,
            min_iou,
        } = self;
        write!(f, "self-test '{prompt}': IoU {iou:.4}, {min_iou:.4} needed")
    }
}

/// What a proof holds for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ProofKey {
    bedside: String,
    /// Size and time of this program's file: another build may compute otherwise.
    program: (u64, u64),
    bundle: String,
    machine: String,
    backend: String,
    fingerprint: String,
    precision: Precision,
    side: u32,
}

impl ProofKey {
    /// `None` where something that decides the numbers is not known.
    fn of(segmenter: &Segmenter) -> Option<Self> {
        let program = std::env::current_exe().ok()?.metadata().ok()?;
        let changed = program.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Self {
            bedside: env!("CARGO_PKG_VERSION").to_owned(),
            program: (program.len(), u64::try_from(changed.as_nanos()).ok()?),
            bundle: segmenter.bundle().digest().to_owned(),
            machine: machine_name()?,
            backend: segmenter.backend().to_owned(),
            fingerprint: segmenter.fingerprint()?,
            precision: segmenter.precision(),
            side: segmenter.side(),
        })
    }

    fn file(&self) -> String {
        let variant = format!("{}-{}", self.precision, self.side);
        file_name("proof", &self.bundle, &self.backend, &variant)
    }
}

/// Self-tests that have passed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Proof {
    key: ProofKey,
    cases: Vec<SelfTestCase>,
}

impl Proof {
    /// Whether it is of this key, and every test of the bundle has passed in it.
    fn holds(&self, key: &ProofKey, tests: &[&SelfTest]) -> bool {
        // As f32, which outlives the way through JSON to the bit.
        let same = |(case, test): (&SelfTestCase, &&SelfTest)| {
            case.passed() && case.prompt == test.prompt && case.min_iou as f32 >= test.min_iou
        };
        self.key == *key
            && self.cases.len() == tests.len()
            && self.cases.iter().zip(tests).all(same)
    }
}

/// A bundle, loaded on a backend, before its own test frames have come out right there. It gives no
/// masks: [`prove`](Self::prove) makes it a [`Segmenter`], [`self_test`](Self::self_test) says how
/// the frames did.
pub struct Unproven(Segmenter);

impl Unproven {
    /// Load a bundle on a backend, be it one of your own.
    ///
    /// # Errors
    /// As [`Segmenter::new`], without [`ErrorKind::SelfTest`].
    pub fn load(
        bundle: Bundle,
        backend: impl Backend + 'static,
        options: &Options,
    ) -> Result<Self, Error> {
        Segmenter::load(bundle, Arc::new(backend), options).map(Self)
    }

    /// Run the test frames, with the bundle's own threshold of presence.
    ///
    /// # Errors
    /// [`ErrorKind::Bundle`] or [`ErrorKind::Engine`] when a test can't be run; a mask that comes
    /// out wrong is no error but a failed case.
    pub fn self_test(&mut self) -> Result<Vec<SelfTestCase>, Error> {
        let Self(segmenter) = self;
        let asked = segmenter.presence;
        segmenter.presence = None;
        let tests = segmenter.manifest().self_tests_at(segmenter.side());
        let tests: Vec<_> = tests.cloned().collect();
        let case = |test| segmenter.self_test_case(test);
        let cases = tests.iter().map(case).collect();
        self.0.presence = asked;
        cases
    }

    /// Run the test frames, unless it is remembered in [`Options::cache`] that they came out right.
    ///
    /// # Errors
    /// [`ErrorKind::SelfTest`] when one got another mask, and as [`self_test`](Self::self_test).
    pub fn prove(mut self) -> Result<Segmenter, Error> {
        let cache = self.0.cache();
        let kept = ProofKey::of(&self.0).and_then(|key| Some((cache?, key)));
        // What can't be read proves nothing.
        if let Some((cache, key)) = &kept
            && let Ok(Some(proof)) = cache.read::<Proof>(&key.file())
            && proof.holds(
                key,
                &self
                    .0
                    .manifest()
                    .self_tests_at(key.side)
                    .collect::<Vec<_>>(),
            )
        {
            return Ok(self.0);
        }
        let cases = self.self_test()?;
        let segmenter = self.accept(&cases)?;
        if let Some((cache, key)) = kept {
            let name = key.file();
            // What is not kept only costs the next start some time.
            let _ = cache.write(&name, &Proof { key, cases });
        }
        Ok(segmenter)
    }

    /// The segmenter, if all cases passed.
    pub(crate) fn accept(self, cases: &[SelfTestCase]) -> Result<Segmenter, Error> {
        match cases.iter().find(|case| !case.passed()) {
            None => Ok(self.0),
            Some(case) => Err(Error::new(
                ErrorKind::SelfTest,
                format!(
                    "{case}, on {} at {}; hint: masks would come out wrong here: choose another \
                     precision or backend",
                    self.0.backend(),
                    self.0.precision()
                ),
            )),
        }
    }

    /// As [`Segmenter::placements`].
    pub fn placements(&self) -> [Option<&Placement>; 2] {
        self.0.placements()
    }
}

impl Segmenter {
    fn self_test_case(&mut self, test: &SelfTest) -> Result<SelfTestCase, Error> {
        // What is asked of the bundle's own frames is the bundle's fault.
        let blame = |error: Error| match error.kind() {
            ErrorKind::Prompt | ErrorKind::Frame => Error::new(
                ErrorKind::Bundle,
                format!("self-test {} can't be run: {error}", test.part),
            ),
            _ => error,
        };
        let frame = self.self_test_frame(test)?;
        let expected = bedside_vision::rle::decode(test.width, test.height, &test.mask)
            .map_err(|e| Error::new(ErrorKind::Bundle, format!("{}: {e}", test.part)))?;
        let prompts = self.prompts(&[Prompt::new(test.prompt.as_str())]);
        let found = self.segment(&frame, &prompts.map_err(blame)?);
        let found = found.map_err(blame)?.findings.pop();
        let mask = found
            .and_then(|f| f.mask)
            .unwrap_or_else(|| Mask::empty(test.width, test.height));
        Ok(SelfTestCase {
            prompt: test.prompt.clone(),
            iou: bedside_vision::iou(&mask, &expected),
            min_iou: f64::from(test.min_iou),
        })
    }

    /// The frame of a self-test.
    pub(crate) fn self_test_frame(&self, test: &SelfTest) -> Result<Frame, Error> {
        let rgb = self.bundle().part(&test.part)?;
        Frame::new(test.width, test.height, PixelFormat::Rgb8, rgb)
            .map_err(|e| Error::new(ErrorKind::Bundle, format!("{}: {e}", test.part)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ProofKey {
        ProofKey {
            bedside: "0.1.0".into(),
            program: (7, 9),
            bundle: "0123".into(),
            machine: "Test Board".into(),
            backend: "tract-cpu".into(),
            fingerprint: "avx2".into(),
            precision: Precision::F32,
            side: 256,
        }
    }

    fn test(prompt: &str, min_iou: f32) -> SelfTest {
        SelfTest {
            part: "selftest/0.rgb".into(),
            width: 1,
            height: 1,
            prompt: prompt.into(),
            mask: vec![1],
            min_iou,
            side: None,
        }
    }

    fn case(prompt: &str, iou: f64, min_iou: f64) -> SelfTestCase {
        SelfTestCase {
            prompt: prompt.into(),
            iou,
            min_iou,
        }
    }

    #[test]
    fn a_proof_holds_for_its_key_and_all_tests_alone() {
        let tests = [test("polyp", 0.5), test("tumor", 0.75)];
        let tests = tests.each_ref();
        let cases = vec![case("polyp", 0.9, 0.5), case("tumor", 0.75, 0.75)];
        let proof = Proof { key: key(), cases };
        assert!(proof.holds(&key(), &tests));
        let changes: [fn(&mut ProofKey); 8] = [
            |k| k.bedside = "0.1.1".into(),
            |k| k.program.1 = 10,
            |k| k.bundle.push('0'),
            |k| k.machine = "Other Board".into(),
            |k| k.backend = "tract-stock".into(),
            |k| k.fingerprint = "avx512".into(),
            |k| k.precision = Precision::Int8,
            |k| k.side = 192,
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let mut other = key();
            change(&mut other);
            assert!(!proof.holds(&other, &tests), "change {i}");
        }
        let forged = |cases: &[SelfTestCase]| Proof {
            key: key(),
            cases: cases.to_vec(),
        };
        for cases in [
            &[][..],
            &[case("polyp", 0.9, 0.5)],
            &[case("polyp", 0.4, 0.5), case("tumor", 0.9, 0.75)],
            &[case("polyp", 0.9, 0.5), case("other", 0.9, 0.75)],
            &[case("polyp", 0.4, 0.3), case("tumor", 0.9, 0.75)],
            &[case("polyp", f64::NAN, 0.5), case("tumor", 0.9, 0.75)],
        ] {
            assert!(!forged(cases).holds(&key(), &tests), "{cases:?}");
        }
    }
}
