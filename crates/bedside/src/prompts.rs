//! Prompts made ready for the decoder, once, outside the frame loop.

use bedside_bundle::manifest::{Manifest, Precision, Validity};
use bedside_bundle::{PromptEntry, PromptTable};
use bedside_core::{Form, Prompt, PromptErrorKind};
use bedside_engine::Value;

use crate::error::{Error, ErrorKind};
use crate::text::TextEncoder;
use crate::validity::{Beta, Reference};

/// Prompts resolved against one bundle: tokens ready for the decoder, in the order asked.
#[derive(Debug, Clone)]
pub struct PromptSet {
    pub(crate) prompts: Vec<Resolved>,
    /// f32 `[P, T, D]`.
    pub(crate) tokens: Value,
    /// f32 `[P, T]`, 1 for a token and 0 for padding.
    pub(crate) token_mask: Value,
    /// Whether these prompts want the frame fed with rows and columns swapped.
    pub(crate) transpose: bool,
}

/// One prompt of a set.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub text: String,
    /// `None` for a free prompt.
    pub object: Option<String>,
    pub reference: Option<Reference>,
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

    /// The prompts' texts, in order.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.prompts.iter().map(|p| p.text.as_str())
    }
}

/// Token rows of one prompt, row-major `[rows, token_dim]`.
struct Rows {
    resolved: Resolved,
    transpose: bool,
    tokens: Vec<f32>,
}

/// What [`PromptSet`]s are made from.
pub(crate) struct Resolver<'a> {
    pub manifest: &'a Manifest,
    pub table: &'a PromptTable,
    pub precision: Precision,
    pub text: Option<&'a mut TextEncoder>,
}

impl Resolver<'_> {
    /// Tokens of the forms given, which stand in the table and are trained.
    pub(crate) fn forms(&mut self, forms: &[&Form]) -> Result<PromptSet, Error> {
        let rows = forms
            .iter()
            .map(|f| self.trained(f, f.text()))
            .collect::<Result<_, _>>()?;
        self.stack(rows)
    }

    /// Tokens of prompts in a person's words.
    pub(crate) fn prompts(&mut self, prompts: &[Prompt]) -> Result<PromptSet, Error> {
        let rows = prompts
            .iter()
            .map(|p| self.one(p))
            .collect::<Result<_, _>>()?;
        self.stack(rows)
    }

    fn one(&mut self, prompt: &Prompt) -> Result<Rows, Error> {
        // What the weights know wins: "liver" is no riddle if one liver form was trained.
        if let Ok(form) = prompt.resolve(self.table.trained_forms()) {
            return self.trained(form, prompt.text.clone());
        }
        match prompt.resolve(self.table.forms()) {
            Ok(form) => Err(self.untrained(&form.object)),
            Err(error) if error.kind() == PromptErrorKind::Unknown => match self.text.as_mut() {
                Some(text) => Ok(Rows {
                    tokens: text.encode(&prompt.text)?,
                    resolved: Resolved {
                        text: prompt.text.clone(),
                        object: None,
                        reference: None,
                    },
                    transpose: false,
                }),
                None => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    fn untrained(&self, object: &str) -> Error {
        let mut known: Vec<&str> = self
            .table
            .trained_forms()
            .map(|f| f.object.as_str())
            .collect();
        known.dedup();
        let Manifest { name, version, .. } = self.manifest;
        Error::new(
            ErrorKind::Prompt,
            format!(
                "'{object}' is an object type of the ontology, but the weights of bundle {name} \
                 {version} were not trained on it; hint: this bundle knows {}",
                known.join(", ")
            ),
        )
    }

    fn trained(&self, form: &Form, text: String) -> Result<Rows, Error> {
        let entry = self.table.entry(form).filter(|e| e.trained());
        let tokens = entry
            .ok_or_else(|| self.untrained(&form.object))?
            .tokens_f32();
        let reference = self
            .manifest
            .validity(form, self.precision)
            .and_then(reference);
        let transpose = self.manifest.transposed(form.modality, &form.site);
        let resolved = Resolved {
            text,
            object: Some(form.object.clone()),
            reference,
        };
        Ok(Rows {
            resolved,
            transpose,
            tokens,
        })
    }

    fn longest_in_table(&self) -> usize {
        self.table
            .entries()
            .iter()
            .map(PromptEntry::rows)
            .max()
            .unwrap_or(0)
    }

    /// Pad to one length. It is the table's longest wherever that is enough, so that a prompt
    /// gives the same bits in whatever company it is asked; and a multiple of 16, because
    /// engines sum rows that start unaligned in another order.
    fn stack(&self, rows: Vec<Rows>) -> Result<PromptSet, Error> {
        let transpose = rows.first().is_some_and(|r| r.transpose);
        if rows.iter().any(|r| r.transpose != transpose) {
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
            tokens: Value::f32(&[rows.len(), length, dim], tokens)?,
            token_mask: Value::f32(&[rows.len(), length], token_mask)?,
            prompts: rows.into_iter().map(|r| r.resolved).collect(),
            transpose,
        })
    }
}

/// The manifest's four Beta distributions; `None` if one is none.
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
