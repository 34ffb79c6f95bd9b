//! What the decoder said, read and checked.

use std::borrow::Cow;

use bedside_bundle::Manifest;
use bedside_core::{Finding, Mask, Withheld};
use bedside_engine::Value;
use bedside_vision::MaskStats;

use crate::error::{Error, ErrorKind};
use crate::look::Look;
use crate::prompts::Prepared;

/// The decoder's numbers are no larger, of either sign: f16, in which graphs may run, has none that
/// are, and a probability is 0 or 1 long before. Beyond it lies damage, such as an overflow.
const LARGEST: f32 = 65_504.0;

/// Positions of the decoder's outputs and the size of its logits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outputs {
    pub logits: usize,
    pub score: usize,
    pub meta: Option<usize>,
    pub height: usize,
    pub width: usize,
}

/// What the decoder said of one prompt.
pub(crate) struct Answer<'a> {
    pub prompt: &'a Prepared,
    pub logits: &'a [f32],
    pub presence: f32,
    pub meta_object: Option<String>,
    pub fit: Option<f32>,
    pub withheld: Option<Withheld>,
}

impl Answer<'_> {
    /// Whether it is probable enough for a mask, as asked, else as the bundle has it, and not
    /// withheld. Who asks for 0 gets every mask.
    pub(crate) fn is_present(&self, asked: Option<f32>) -> bool {
        let least = asked.unwrap_or(self.prompt.presence.threshold);
        self.presence >= least && (self.withheld.is_none() || asked == Some(0.0))
    }
}

/// The decoder's outputs on the host, all within [`LARGEST`].
pub(crate) struct Raw<'v> {
    logits: Cow<'v, [f32]>,
    score: Cow<'v, [f32]>,
    meta: Cow<'v, [f32]>,
}

impl<'v> Raw<'v> {
    pub(crate) fn new(values: &'v [Value], outputs: &Outputs) -> Result<Self, Error> {
        let read = |i: usize, name: &str| {
            let value = values.get(i).ok_or_else(|| {
                Error::new(ErrorKind::Engine, format!("the decoder gave no {name}"))
            })?;
            let data = value.to_f32()?;
            // NaN compares false with every threshold and would pass for "absent".
            if !data.iter().all(|v| v.abs() <= LARGEST) {
                return Err(Error::new(
                    ErrorKind::Engine,
                    format!(
                        "the decoder's {name} holds NaN, infinite or absurd values; hint: choose \
                         another precision or backend"
                    ),
                ));
            }
            Ok(data)
        };
        Ok(Self {
            logits: read(outputs.logits, "logits")?,
            score: read(outputs.score, "score")?,
            meta: match outputs.meta {
                Some(i) => read(i, "meta")?,
                None => Cow::default(),
            },
        })
    }

    /// One answer a prompt.
    pub(crate) fn answers<'a>(
        &'a self,
        prompts: &'a [Prepared],
        outputs: &Outputs,
        manifest: &Manifest,
        look: &Look,
    ) -> Result<Vec<Answer<'a>>, Error> {
        let size = outputs.height * outputs.width;
        let n = prompts.len();
        if self.logits.len() != n * size || self.score.len() != n {
            return Err(Error::new(
                ErrorKind::Engine,
                format!("the decoder answered for another number of prompts than {n}"),
            ));
        }
        let classes = self.meta.len() / n.max(1);
        Ok(prompts
            .iter()
            .zip(self.logits.chunks_exact(size))
            .zip(self.score.iter())
            .enumerate()
            .map(|(i, ((prompt, logits), score))| {
                let (fit, withheld) = look.judge(manifest, prompt.form.as_ref());
                Answer {
                    fit,
                    withheld,
                    prompt,
                    logits,
                    presence: prompt.presence.of(*score),
                    meta_object: self
                        .meta
                        .get(i * classes..(i + 1) * classes)
                        .and_then(best)
                        .and_then(|class| manifest.meta_objects.get(class).cloned()),
                }
            })
            .collect())
    }
}

impl Outputs {
    /// (rows, columns) of one prompt's logits.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.height, self.width)
    }
}

/// An answer as a finding; `inside` is `None` when presence is below the threshold.
pub(crate) fn finding(answer: &Answer<'_>, inside: Option<(Mask, MaskStats)>) -> Finding {
    let mut finding = Finding::absent(answer.prompt.label.as_str(), answer.presence);
    finding.object = answer.prompt.form.as_ref().map(|form| form.object.clone());
    finding.fit = answer.fit;
    finding.withheld = answer.withheld;
    finding.meta_object.clone_from(&answer.meta_object);
    if let Some((mask, stats)) = inside.filter(|(_, stats)| stats.area > 0) {
        let reference = answer.prompt.reference;
        finding.present = true;
        finding.area = stats.area;
        finding.bounding_box = stats.bounding_box;
        finding.mean_probability = Some(stats.mean_probability);
        finding.validity = reference.map(|r| r.validity(stats.mean_probability, stats.mean_rgb));
        finding.mask = Some(mask);
    }
    finding
}

/// Index of the highest value.
fn best(scores: &[f32]) -> Option<usize> {
    (0..scores.len()).max_by(|a, b| {
        let at = |i: &usize| scores.get(*i).copied().unwrap_or(f32::MIN);
        at(a).total_cmp(&at(b))
    })
}
