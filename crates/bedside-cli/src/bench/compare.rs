//! What a run is compared with: another backend in the same run, and an earlier run.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bedside::{Bundle, Frame, Options, Prompt, PromptSet, Segmenter, Timings};
use serde::{Deserialize, Serialize};

use super::{Report, Stage, WARM_UP, stages};
use crate::failure::{Exit, Failure};
use crate::report::Model;

/// Turns that are taken with the other backend: enough for a median, and few where it is slow.
const TURNS: u32 = 11;

/// Most bytes of a report that are read; one with a profile of a large model has fewer.
const MOST_BYTES: u64 = 16 << 20;

/// How many times as long the stages take, by their names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Ratio {
    stage: String,
    ratio: f64,
}

fn ratios(these: &[Stage], others: &[Stage]) -> Vec<Ratio> {
    let of = |stage: &Stage| others.iter().find(|other| other.stage == stage.stage);
    let ratio = |stage: &Stage| {
        Some(Ratio {
            stage: stage.stage.clone(),
            ratio: stage.median / of(stage).filter(|other| other.median > 0.0)?.median,
        })
    };
    these.iter().filter_map(ratio).collect()
}

/// The ratio of a stage, for a table.
pub(super) fn cell(ratios: &[Ratio], stage: &str) -> String {
    let found = ratios.iter().find(|ratio| ratio.stage == stage);
    found.map_or(String::new(), |ratio| format!("{:.2}", ratio.ratio))
}

/// The same work on another backend, frames taking turns.
#[derive(Debug, Serialize)]
pub(super) struct Against {
    pub backend: String,
    turns: u32,
    /// This backend's medians over those of the other; below 1, this one is faster.
    pub ratios: Vec<Ratio>,
}

impl Against {
    pub(super) fn run(
        backend: &str,
        (bundle, options): (Bundle, &Options),
        frame: &Frame,
        (texts, segmenter, prompts): (&[Prompt], &mut Segmenter, &PromptSet),
    ) -> Result<Self, bedside::Error> {
        let mut options = options.clone();
        options.backend = Some(backend.to_owned());
        options.require_device = false;
        let mut other = Segmenter::new(bundle, options.backend()?, &options)?;
        let others = other.prompts(texts)?;
        let mut times: [Vec<Timings>; 2] = Default::default();
        for turn in 0..WARM_UP.min(2) + TURNS {
            let turns = [(&mut *segmenter, prompts), (&mut other, &others)];
            for ((segmenter, prompts), times) in turns.into_iter().zip(&mut times) {
                let took = segmenter.segment(frame, prompts)?.timings;
                if turn >= WARM_UP.min(2) {
                    times.push(took);
                }
            }
        }
        let [these, others] = times.map(|times| stages(&times));
        Ok(Self {
            backend: backend.to_owned(),
            turns: TURNS,
            ratios: ratios(&these, &others),
        })
    }
}

/// What is read of an earlier run's document.
#[derive(Debug, Deserialize)]
pub(super) struct Earlier {
    bedside: String,
    machine: Option<String>,
    kernels: Option<String>,
    model: Model,
    prompts: usize,
    width: u32,
    height: u32,
    stages: Vec<Stage>,
}

/// An earlier run, and how this one differs.
#[derive(Debug, Serialize)]
pub(super) struct Before {
    pub bedside: String,
    pub machine: Option<String>,
    pub kernels: Option<String>,
    /// This run's medians over that one's; below 1, this one is faster.
    pub ratios: Vec<Ratio>,
}

impl Earlier {
    /// Read what `bedside bench --json` has printed.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let failed = |why: String| {
            let hint = "hint: give what `bedside bench --json` printed";
            Failure::new(Exit::Input, format!("{}: {why}; {hint}", path.display()))
        };
        let mut text = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MOST_BYTES).read_to_end(&mut text))
            .map_err(|error| failed(error.to_string()))?;
        serde_json::from_slice(&text)
            .map_err(|error| failed(format!("no report of a run: {error}")))
    }

    /// Compare it with this run, which must have done the same work.
    pub(super) fn compare(self, report: &Report) -> Result<Before, Failure> {
        let work = |model: &Model, prompts: usize, (width, height): (u32, u32)| {
            format!(
                "{} {} with {} threads, {prompts} prompts, frames of {width}x{height}",
                model.name, model.precision, model.threads
            )
        };
        let then = work(&self.model, self.prompts, (self.width, self.height));
        let now = work(&report.model, report.prompts, (report.width, report.height));
        if then != now {
            let message = format!(
                "the earlier run was of other work: {then}; this one is of {now}; hint: the same \
                 options as then"
            );
            return Err(Failure::new(Exit::Usage, message));
        }
        Ok(Before {
            ratios: ratios(&report.stages, &self.stages),
            bedside: self.bedside,
            machine: self.machine,
            kernels: self.kernels,
        })
    }
}
