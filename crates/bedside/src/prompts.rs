//! From a person's words to tokens for the decoder, once, outside the frame loop.

use bedside_bundle::manifest::{Manifest, Precision, Presence, Validity};
use bedside_bundle::{Bundle, PromptEntry, PromptTable, Resolution};
use bedside_core::{Form, Prompt};
use bedside_engine::Value;

use crate::error::{Error, ErrorKind};
use crate::text::TextEncoder;
use crate::validity::{Beta, Reference};

/// Prompts made ready for one bundle at one precision, in the order asked: tokens for the decoder.
///
/// Any segmenter of that bundle and precision takes them. Clones share the tokens.
#[derive(Debug, Clone)]
pub struct PromptSet {
    /// [`Bundle::digest`](bedside_bundle::Bundle::digest).
    bundle: String,
    /// References of validity are fitted to one.
    precision: Precision,
    pub(crate) prompts: Vec<Prepared>,
    /// f32 `[P, T, D]`.
    pub(crate) tokens: Value,
    /// f32 `[P, T]`, 1 for a token and 0 for padding.
    pub(crate) token_mask: Value,
    orientation: Orientation,
}

/// One prompt of a set.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// What findings show.
    pub label: String,
    /// `None` for a free prompt.
    pub form: Option<Form>,
    pub reference: Option<Reference>,
    pub presence: Presence,
}

/// How a frame is fed to the encoder; masks are upright always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Orientation {
    /// As it is.
    #[default]
    Upright,
    /// With rows and columns exchanged, as some models want the ultrasound of hearts.
    Transposed,
}

/// What a bundle makes of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolved {
    /// What findings show: the words, or the form's full text where the words alone don't say
    /// which of several forms is meant.
    pub label: String,
    /// The form that the words name; `None` for words that the bundle's text encoder reads.
    pub form: Option<Form>,
}

/// Find out what a bundle makes of a prompt, without loading a graph.
///
/// # Errors
/// [`ErrorKind::Prompt`] for a prompt that is unknown, ambiguous or of an object type that the
/// weights were not trained on.
pub fn resolve(
    manifest: &Manifest,
    table: &PromptTable,
    prompt: &Prompt,
) -> Result<Resolved, Error> {
    let readable = manifest.text.is_some() && !prompt.text.trim().is_empty();
    if readable && matches!(table.resolve(prompt), Resolution::Unknown(_)) {
        if let Err(unavailable) = TextEncoder::available() {
            // A misspelt prompt of the table is likelier than one outside it.
            let near = table.trained(prompt).err().map(|e| format!("{e}; "));
            let near = near.unwrap_or_default();
            return Err(Error::new(
                ErrorKind::Prompt,
                format!("{near}{unavailable}"),
            ));
        }
        return Ok(Resolved {
            label: prompt.text.clone(),
            form: None,
        });
    }
    let form = table.trained(prompt)?.form();
    Ok(Resolved {
        label: table.label(prompt, form),
        form: Some(form.clone()),
    })
}

/// The side of the encoder's input that suits prompts: the largest that one of their forms is best
/// at, where the bundle's manifest says that of forms.
pub fn side_for(manifest: &Manifest, table: &PromptTable, prompts: &[Prompt]) -> u32 {
    let default = manifest.input.side;
    let side = |prompt| {
        let form = table.trained(prompt).ok()?.form();
        manifest.particular(form)?.side
    };
    let sides = prompts.iter().map(|prompt| side(prompt).unwrap_or(default));
    sides.max().unwrap_or(default)
}

impl PromptSet {
    /// Number of prompts.
    pub fn len(&self) -> usize {
        self.prompts.len()
    }

    /// Whether there is no prompt.
    pub fn is_empty(&self) -> bool {
        self.prompts.is_empty()
    }

    /// What findings call the prompts, in order.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.prompts.iter().map(|p| p.label.as_str())
    }

    /// The presence from which the bundle reports each prompt, in order.
    pub fn thresholds(&self) -> impl Iterator<Item = f32> {
        self.prompts.iter().map(|p| p.presence.threshold)
    }

    /// How frames must be fed for these prompts.
    pub fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// Refuse to serve another bundle or precision.
    pub(crate) fn check(&self, bundle: &str, precision: Precision) -> Result<(), Error> {
        let wrong = |message: String| Err(Error::new(ErrorKind::Mismatch, message));
        let hint = "hint: make them with `prompts` of this segmenter";
        if self.bundle != bundle {
            let short = |digest: &str| digest.get(..12).unwrap_or(digest).to_owned();
            let (of, here) = (short(&self.bundle), short(bundle));
            return wrong(format!(
                "these prompts are of bundle {of}, not of {here}; {hint}"
            ));
        }
        if self.precision != precision {
            let of = self.precision;
            return wrong(format!(
                "these prompts are of {of}, not of {precision}; {hint}"
            ));
        }
        if self.is_empty() {
            let message = "no prompt; hint: ask for at least one";
            return Err(Error::new(ErrorKind::Prompt, message));
        }
        Ok(())
    }
}

/// Token rows of one prompt, row-major `[rows, token_dim]`.
pub(crate) struct Rows {
    prepared: Prepared,
    orientation: Orientation,
    tokens: Vec<f32>,
}

/// What [`PromptSet`]s are made from.
pub(crate) struct Preparer<'a> {
    pub bundle: &'a Bundle,
    pub table: &'a PromptTable,
    pub precision: Precision,
}

impl Preparer<'_> {
    /// The tokens of a form in the table.
    pub(crate) fn form(&self, form: &Form, label: String) -> Result<Rows, Error> {
        let entry = self.table.entry(form).ok_or_else(|| {
            let text = form.text();
            Error::new(
                ErrorKind::Prompt,
                format!("no '{text}' in the prompt table"),
            )
        })?;
        let manifest = self.bundle.manifest();
        let validity = manifest.validity(form, self.precision);
        Ok(Rows {
            prepared: Prepared {
                label,
                form: Some(form.clone()),
                reference: validity.and_then(reference),
                presence: manifest.presence(Some(form)),
            },
            orientation: match manifest.transposed(form.modality, &form.site) {
                true => Orientation::Transposed,
                false => Orientation::Upright,
            },
            tokens: entry.tokens_f32(),
        })
    }

    /// The tokens that the text encoder gave.
    pub(crate) fn free(&self, label: String, tokens: Vec<f32>) -> Rows {
        Rows {
            prepared: Prepared {
                label,
                form: None,
                reference: None,
                presence: self.bundle.manifest().presence(None),
            },
            orientation: Orientation::Upright,
            tokens,
        }
    }

    fn longest_in_table(&self) -> usize {
        self.table
            .entries()
            .iter()
            .map(PromptEntry::rows)
            .max()
            .unwrap_or(0)
    }

    /// One set of them, padded to one length. It is the table's longest wherever that is enough, so
    /// that a prompt gives the same bits in whatever company it is asked; and a multiple of 16,
    /// because engines sum rows that start unaligned in another order.
    pub(crate) fn stack(&self, rows: Vec<Rows>) -> Result<PromptSet, Error> {
        let orientation = rows.first().map(|r| r.orientation).unwrap_or_default();
        if rows.iter().any(|r| r.orientation != orientation) {
            return Err(Error::new(
                ErrorKind::Prompt,
                "these prompts want the frame in different orientations; hint: ask for them \
                 one after the other",
            ));
        }
        let dim = self.table.token_dim();
        let longest = rows.iter().map(|r| r.tokens.len() / dim).max().unwrap_or(0);
        let length = longest.max(self.longest_in_table()).next_multiple_of(16);
        let mut tokens = Vec::with_capacity(rows.len() * length * dim);
        let mut token_mask = Vec::with_capacity(rows.len() * length);
        for (i, row) in rows.iter().enumerate() {
            tokens.extend_from_slice(&row.tokens);
            tokens.resize((i + 1) * length * dim, 0.0);
            token_mask.resize(i * length + row.tokens.len() / dim, 1.0);
            token_mask.resize((i + 1) * length, 0.0);
        }
        Ok(PromptSet {
            bundle: self.bundle.digest().to_owned(),
            precision: self.precision,
            tokens: Value::f32(&[rows.len(), length, dim], &tokens)?,
            token_mask: Value::f32(&[rows.len(), length], &token_mask)?,
            prompts: rows.into_iter().map(|r| r.prepared).collect(),
            orientation,
        })
    }
}

/// The manifest's four Beta distributions; `None` if a parameter is invalid.
fn reference(validity: &Validity) -> Option<Reference> {
    let beta = |[a, b]: [f64; 2]| Beta::new(a, b);
    let rgb = [
        beta(validity.red)?,
        beta(validity.green)?,
        beta(validity.blue)?,
    ];
    Some(Reference {
        probability: beta(validity.prob)?,
        rgb,
    })
}
