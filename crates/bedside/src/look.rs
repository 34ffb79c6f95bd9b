//! What the encoder says of the whole frame: which kind of imaging it looks like, and how far it is
//! from the frames that the weights learned from.
//!
//! A network answers on any picture. A frame of another kind of imaging, or one that is like nothing
//! it was trained on, gets an answer that means nothing, however sure; so it gets none.

use bedside_bundle::Manifest;
use bedside_bundle::manifest::{DISTANCE, Domain, Graph, MODALITY};
use bedside_core::{Form, Modality, Withheld};
use bedside_engine::Value;
use statrs::distribution::{ContinuousCDF, Normal};

use crate::error::{Error, ErrorKind};

/// From this probability on, what a frame looks like goes before what it is asked for.
const SURE: f32 = 0.9;

/// The kind of imaging that a frame looks like.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct LooksLike {
    /// `None` for none that the model knows.
    pub modality: Option<Modality>,
    /// The model's probability of that, 0 to 1.
    pub probability: f32,
}

/// Where the encoder's outputs of the whole frame stand; `None` for those that it lacks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads {
    modality: Option<usize>,
    distance: Option<usize>,
}

impl Heads {
    pub(crate) fn of(manifest: &Manifest, encoder: &Graph) -> Self {
        let find = |name| encoder.outputs.iter().position(|t| t.name == name);
        Self {
            modality: find(MODALITY).filter(|_| !manifest.modalities.is_empty()),
            distance: find(DISTANCE).filter(|_| manifest.familiarity.is_some()),
        }
    }

    /// What the encoder's outputs say.
    pub(crate) fn look(self, values: &[Value], manifest: &Manifest) -> Result<Look, Error> {
        let read = |at: Option<usize>| {
            let Some(value) = at.and_then(|at| values.get(at)) else {
                return Ok(Vec::new());
            };
            let data = value.to_f32()?.into_owned();
            // NaN would pass for a frame of any kind.
            match data.iter().all(|v| v.is_finite()) {
                true => Ok(data),
                false => Err(Error::new(
                    ErrorKind::Engine,
                    "the encoder's answer to what the frame is holds NaN or infinite values; hint: \
                     choose another precision or backend",
                )),
            }
        };
        Ok(Look {
            like: likely(&read(self.modality)?, &manifest.modalities),
            distances: read(self.distance)?,
        })
    }
}

/// What is known of a whole frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Look {
    pub(crate) like: Option<LooksLike>,
    distances: Vec<f32>,
}

impl Look {
    /// Of the frames of the form's domain that the model was tried on, the share that is farther
    /// from those it learned from than this one; and why the form is not answered, if so.
    pub(crate) fn judge(
        &self,
        manifest: &Manifest,
        form: Option<&Form>,
    ) -> (Option<f32>, Option<Withheld>) {
        let Some(form) = form else {
            return (None, None);
        };
        let other = |like: &LooksLike| {
            like.probability >= SURE && like.modality.is_none_or(|m| m != form.modality)
        };
        let fit = manifest.familiarity.as_ref().and_then(|familiarity| {
            let mut domains = familiarity.domains.iter();
            let domain = domains.find(|d| d.modality == form.modality && d.site == form.site)?;
            Some((fit(&self.distances, domain)?, familiarity.least))
        });
        let withheld = match (self.like.as_ref(), fit) {
            (Some(like), _) if other(like) => Some(Withheld::OtherModality),
            (_, Some((fit, least))) if fit < least => Some(Withheld::Unfamiliar),
            _ => None,
        };
        (fit.map(|(fit, _)| fit), withheld)
    }
}

/// The likeliest class and its probability; classes beyond the names are none of them.
fn likely(logits: &[f32], modalities: &[Modality]) -> Option<LooksLike> {
    let (best, highest) = logits
        .iter()
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(b.1))?;
    let sum: f32 = logits.iter().map(|logit| (logit - highest).exp()).sum();
    Some(LooksLike {
        modality: modalities.get(best).copied(),
        probability: 1.0 / sum,
    })
}

/// Distances from a domain's prototypes as a share of its frames; logarithms of these are normal.
fn fit(distances: &[f32], domain: &Domain) -> Option<f32> {
    let own = distances.get(domain.first..domain.first.checked_add(domain.count)?)?;
    let nearest = own.iter().copied().fold(f32::INFINITY, f32::min).max(1e-6);
    let usual = Normal::new(domain.mean.into(), domain.std.into()).ok()?;
    Some(usual.sf(f64::from(nearest).ln()) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(first: usize, count: usize) -> Domain {
        Domain {
            modality: Modality::Endoscopy,
            site: "colon".into(),
            first,
            count,
            mean: 1.0,
            std: 0.5,
        }
    }

    #[test]
    fn fit_is_the_share_of_known_frames_that_are_farther() {
        let at = |nearest: f32| fit(&[0.1, nearest, 99.0], &domain(1, 2)).unwrap();
        assert!((at(1.0_f32.exp()) - 0.5).abs() < 1e-6);
        // One standard deviation either way.
        assert!((at(1.5_f32.exp()) - 0.158_655).abs() < 1e-5);
        assert!((at(0.5_f32.exp()) - 0.841_345).abs() < 1e-5);
        assert!(at(1e9) < 1e-6 && at(0.0) > 0.999_999);
        assert_eq!(fit(&[1.0], &domain(1, 2)), None);
        assert_eq!(fit(&[1.0], &domain(usize::MAX, 2)), None);
    }

    #[test]
    fn classes_beyond_the_names_are_none_of_them() {
        let names = [Modality::Ct, Modality::Mri];
        let like = likely(&[0.0, 3.0, 1.0], &names).unwrap();
        assert_eq!(like.modality, Some(Modality::Mri));
        let expected = 3_f32.exp() / (1.0 + 3_f32.exp() + 1_f32.exp());
        assert!((like.probability - expected).abs() < 1e-6);
        assert_eq!(likely(&[0.0, 3.0, 9.0], &names).unwrap().modality, None);
        assert_eq!(likely(&[], &names), None);
    }
}
