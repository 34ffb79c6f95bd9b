//! What the entry points do, in safe terms.

use std::sync::{Mutex, MutexGuard, OnceLock};

use runtime::vision::rle;
use runtime::{
    Bundle, Features, Finding, FrameView, LooksLike, Mask, Modality, Options, Prompt, PromptSet,
    Segmentation, Segmenter, Timings, Withheld,
};

use crate::failure::Failure;
use crate::registry::Registry;
use crate::types::*;

static SEGMENTERS: Registry<Mutex<Segmenter>> = Registry::new("segmenter");
static PROMPTS: Registry<PromptSet> = Registry::new("set of prompts");
static ENCODED: Registry<Features> = Registry::new("encoded frame");
static ANSWERS: Registry<Answer> = Registry::new("answer");

/// A segmentation of a frame of some size.
struct Answer {
    width: u32,
    height: u32,
    findings: Vec<Found>,
    looks_like: Option<LooksLike>,
    timings: Timings,
}

struct Found {
    finding: Finding,
    /// Run lengths of the mask, from when they are first asked for.
    runs: OnceLock<Vec<u32>>,
}

impl Answer {
    fn found(&self, index: usize) -> Result<&Found, Failure> {
        self.findings.get(index).ok_or_else(|| {
            let all = self.findings.len();
            Failure::argument(format!(
                "no finding {index}; hint: the answer has {all}, numbered from 0"
            ))
        })
    }
}

impl Found {
    /// None without a mask.
    fn runs(&self) -> &[u32] {
        let encode = || self.finding.mask.as_ref().map(rle::encode);
        self.runs.get_or_init(|| encode().unwrap_or_default())
    }
}

pub(crate) fn suited_side(bundle: &str, prompts: &[Prompt]) -> Result<u32, Failure> {
    let bundle = Bundle::open(bundle).map_err(runtime::Error::from)?;
    let table = bundle.prompt_table().map_err(runtime::Error::from)?;
    for prompt in prompts {
        runtime::resolve(bundle.manifest(), &table, prompt)?;
    }
    Ok(runtime::side_for(bundle.manifest(), &table, prompts))
}

pub(crate) fn open(bundle: &str, options: &Options) -> Result<bedside_segmenter, Failure> {
    Ok(added(Segmenter::open(bundle, options)?))
}

pub(crate) fn share(segmenter: bedside_segmenter) -> Result<bedside_segmenter, Failure> {
    let shared = with(segmenter, |segmenter| segmenter.share())?;
    shared.map(added).ok_or_else(|| {
        let message = "this backend can't share weights; hint: open the bundle again";
        Failure::new(bedside_status::Engine, message)
    })
}

pub(crate) fn prompts(
    segmenter: bedside_segmenter,
    prompts: &[Prompt],
) -> Result<bedside_prompts, Failure> {
    let prompts = with(segmenter, |segmenter| segmenter.prompts(prompts))?;
    let id = PROMPTS.add(prompts);
    Ok(bedside_prompts { id })
}

pub(crate) fn segment(
    segmenter: bedside_segmenter,
    prompts: bedside_prompts,
    frame: FrameView<'_>,
) -> Result<bedside_answer, Failure> {
    let prompts = PROMPTS.get(prompts.id)?;
    let segmentation = with(segmenter, |segmenter| segmenter.segment(frame, &prompts))?;
    Ok(answered(segmentation, frame.width(), frame.height()))
}

pub(crate) fn encode(
    segmenter: bedside_segmenter,
    prompts: bedside_prompts,
    frame: FrameView<'_>,
) -> Result<bedside_encoded, Failure> {
    let orientation = PROMPTS.get(prompts.id)?.orientation();
    let features = with(segmenter, |segmenter| segmenter.encode(frame, orientation))?;
    let id = ENCODED.add(features);
    Ok(bedside_encoded { id })
}

pub(crate) fn decode(
    segmenter: bedside_segmenter,
    encoded: bedside_encoded,
    prompts: bedside_prompts,
) -> Result<bedside_answer, Failure> {
    let (features, prompts) = (ENCODED.get(encoded.id)?, PROMPTS.get(prompts.id)?);
    let segmentation = with(segmenter, |segmenter| segmenter.decode(&features, &prompts))?;
    Ok(answered(segmentation, features.width(), features.height()))
}

pub(crate) fn recognize(
    segmenter: bedside_segmenter,
    frame: FrameView<'_>,
    modality: Option<Modality>,
    site: Option<&str>,
) -> Result<bedside_answer, Failure> {
    let recognize = |segmenter: &mut Segmenter| segmenter.recognize(frame, modality, site);
    let segmentation = with(segmenter, recognize)?;
    Ok(answered(segmentation, frame.width(), frame.height()))
}

pub(crate) fn free_segmenter(segmenter: bedside_segmenter) -> Result<(), Failure> {
    SEGMENTERS.remove(segmenter.id)
}

pub(crate) fn free_prompts(prompts: bedside_prompts) -> Result<(), Failure> {
    PROMPTS.remove(prompts.id)
}

pub(crate) fn free_encoded(encoded: bedside_encoded) -> Result<(), Failure> {
    ENCODED.remove(encoded.id)
}

pub(crate) fn free_answer(answer: bedside_answer) -> Result<(), Failure> {
    ANSWERS.remove(answer.id)
}

pub(crate) fn summary(answer: bedside_answer) -> Result<bedside_summary, Failure> {
    let answer = ANSWERS.get(answer.id)?;
    let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let (like, timings) = (answer.looks_like, answer.timings);
    Ok(bedside_summary {
        findings: answer.findings.len(),
        width: answer.width,
        height: answer.height,
        looks_like: like
            .and_then(|like| like.modality)
            .map_or(bedside_modality::Unknown, bedside_modality::from),
        looks_like_probability: like.map_or(f32::NAN, |like| like.probability),
        preprocess_ns: nanos(timings.preprocess),
        encoder_ns: nanos(timings.encoder),
        decoder_ns: nanos(timings.decoder),
        masks_ns: nanos(timings.masks),
    })
}

pub(crate) fn finding(answer: bedside_answer, index: usize) -> Result<bedside_finding, Failure> {
    let answer = ANSWERS.get(answer.id)?;
    let finding = &answer.found(index)?.finding;
    let bounding_box = finding.bounding_box.map(|b| bedside_box {
        x: b.x,
        y: b.y,
        width: b.width,
        height: b.height,
    });
    Ok(bedside_finding {
        present: finding.present,
        withheld: match finding.withheld {
            None => bedside_withheld::No,
            Some(Withheld::OtherModality) => bedside_withheld::OtherModality,
            // Whatever else may come to keep an answer back, the frame is not one to trust.
            Some(_) => bedside_withheld::Unfamiliar,
        },
        presence: finding.presence,
        area: finding.area,
        bounding_box: bounding_box.unwrap_or_default(),
        mean_probability: finding.mean_probability.unwrap_or(f32::NAN),
        validity: finding.validity.unwrap_or(f32::NAN),
        fit: finding.fit.unwrap_or(f32::NAN),
    })
}

/// Give a text of a finding to `read`.
pub(crate) fn text<R>(
    answer: bedside_answer,
    index: usize,
    text: bedside_text,
    read: impl FnOnce(&str) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let answer = ANSWERS.get(answer.id)?;
    let found = answer.found(index)?;
    let finding = &found.finding;
    match text {
        bedside_text::Prompt => read(&finding.prompt),
        bedside_text::Object => read(finding.object.as_deref().unwrap_or_default()),
        bedside_text::MetaObject => read(finding.meta_object.as_deref().unwrap_or_default()),
        bedside_text::Rle => read(&rle::to_string(found.runs())),
    }
}

/// Give the run lengths of a finding's mask to `read`.
pub(crate) fn runs<R>(
    answer: bedside_answer,
    index: usize,
    read: impl FnOnce(&[u32]) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let answer = ANSWERS.get(answer.id)?;
    read(answer.found(index)?.runs())
}

/// Give a finding's mask to `read`.
pub(crate) fn mask<R>(
    answer: bedside_answer,
    index: usize,
    read: impl FnOnce(&Mask) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let answer = ANSWERS.get(answer.id)?;
    let mask = answer.found(index)?.finding.mask.as_ref();
    read(mask.ok_or_else(|| {
        Failure::argument(format!(
            "finding {index} has no mask; hint: only what is present has one"
        ))
    })?)
}

fn added(segmenter: Segmenter) -> bedside_segmenter {
    let id = SEGMENTERS.add(Mutex::new(segmenter));
    bedside_segmenter { id }
}

fn answered(segmentation: Segmentation, width: u32, height: u32) -> bedside_answer {
    let found = |finding| Found {
        finding,
        runs: OnceLock::new(),
    };
    let id = ANSWERS.add(Answer {
        width,
        height,
        findings: segmentation.findings.into_iter().map(found).collect(),
        looks_like: segmentation.looks_like,
        timings: segmentation.timings,
    });
    bedside_answer { id }
}

/// Have a segmenter do something, once it is done with what other threads asked of it.
fn with<R>(
    segmenter: bedside_segmenter,
    work: impl FnOnce(&mut Segmenter) -> Result<R, runtime::Error>,
) -> Result<R, Failure> {
    let segmenter = SEGMENTERS.get(segmenter.id)?;
    // Poisoned by a panic, after which nobody knows what state it is in.
    let mut locked: MutexGuard<'_, Segmenter> = segmenter.lock().map_err(|_| {
        let message = "this segmenter failed before; hint: free it and open the bundle again";
        Failure::new(bedside_status::Internal, message)
    })?;
    Ok(work(&mut locked)?)
}

impl From<Modality> for bedside_modality {
    fn from(modality: Modality) -> Self {
        match modality {
            Modality::Ct => Self::Ct,
            Modality::Mri => Self::Mri,
            Modality::XRay => Self::XRay,
            Modality::Ultrasound => Self::Ultrasound,
            Modality::Pathology => Self::Pathology,
            Modality::Endoscopy => Self::Endoscopy,
            Modality::Dermoscopy => Self::Dermoscopy,
            Modality::Fundus => Self::Fundus,
            Modality::Oct => Self::Oct,
        }
    }
}
