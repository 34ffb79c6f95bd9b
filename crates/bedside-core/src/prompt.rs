//! What a person asks for, and finding the form that it names.

use std::fmt;
use std::str::FromStr;

use crate::ontology::{Form, Modality};

/// A request for one object: its words, and the modality and site where those are told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Prompt {
    /// The words, such as "polyp" or "tumor in breast ultrasound".
    pub text: String,
    /// Restricts the forms that the words may name.
    pub modality: Option<Modality>,
    /// Restricts the forms that the words may name.
    pub site: Option<String>,
}

impl Prompt {
    /// A prompt of words alone.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            modality: None,
            site: None,
        }
    }

    /// The same prompt, restricted to a modality.
    #[must_use]
    pub fn with_modality(mut self, modality: Modality) -> Self {
        self.modality = Some(modality);
        self
    }

    /// The same prompt, restricted to a site.
    #[must_use]
    pub fn with_site(mut self, site: impl Into<String>) -> Self {
        self.site = Some(site.into());
        self
    }

    /// The one form among `forms` that this prompt names: by the object's unique name, by the
    /// word used in training, or by the form's full text; letter case and spaces do not count.
    ///
    /// # Errors
    /// [`PromptErrorKind::Unknown`] when no form bears the name,
    /// [`PromptErrorKind::Elsewhere`] when only forms of another modality or site do,
    /// [`PromptErrorKind::Ambiguous`] when several objects or modalities do. Nothing is ever
    /// picked by likeness: near names are only told.
    pub fn resolve<'a>(
        &self,
        forms: impl IntoIterator<Item = &'a Form>,
    ) -> Result<&'a Form, PromptError> {
        let forms: Vec<&Form> = forms.into_iter().collect();
        let text = normalised(&self.text);
        let called = |name: &str| normalised(name) == text;
        // A unique name or a full text wins over a training word that others share.
        let mut named: Vec<&Form> = forms
            .iter()
            .copied()
            .filter(|f| called(&f.object) || called(&f.text()))
            .collect();
        if named.is_empty() {
            named = forms
                .iter()
                .copied()
                .filter(|f| called(&f.target))
                .collect();
        }
        if named.is_empty() {
            return Err(self.error(PromptErrorKind::Unknown, nearest(&text, &forms)));
        }
        let here: Vec<&Form> = named
            .iter()
            .copied()
            .filter(|f| self.modality.is_none_or(|m| m == f.modality))
            .filter(|f| {
                self.site
                    .as_ref()
                    .is_none_or(|s| normalised(s) == normalised(&f.site))
            })
            .collect();
        match here.as_slice() {
            [] => Err(self.error(PromptErrorKind::Elsewhere, texts(&named))),
            [form] => Ok(form),
            [..] => Err(self.error(PromptErrorKind::Ambiguous, texts(&here))),
        }
    }

    fn error(&self, kind: PromptErrorKind, candidates: Vec<String>) -> PromptError {
        PromptError {
            kind,
            prompt: self.clone(),
            candidates,
        }
    }
}

impl fmt::Display for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Prompt {
    type Err = std::convert::Infallible;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(s))
    }
}

/// Lower case, single spaces.
fn normalised(text: &str) -> String {
    text.split_whitespace()
        .map(str::to_lowercase)
        .collect::<Vec<_>>()
        .join(" ")
}

fn texts(forms: &[&Form]) -> Vec<String> {
    forms.iter().map(|f| f.text()).collect()
}

/// The three object names most like `text`, best first.
fn nearest(text: &str, forms: &[&Form]) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> = Vec::new();
    for form in forms {
        let likeness = |name: &str| {
            let name = normalised(name);
            let inside = name.contains(text) || text.contains(&name);
            strsim::normalized_damerau_levenshtein(text, &name).max(if inside { 0.6 } else { 0.0 })
        };
        let score = likeness(&form.object).max(likeness(&form.target));
        match scored.iter_mut().find(|(_, name)| *name == form.object) {
            Some(entry) => entry.0 = entry.0.max(score),
            None => scored.push((score, &form.object)),
        }
    }
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored
        .into_iter()
        .filter(|s| s.0 >= 0.4)
        .take(3)
        .map(|s| s.1.to_owned())
        .collect()
}

/// Kinds of [`PromptError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PromptErrorKind {
    /// No form bears the name.
    Unknown,
    /// The name exists, but not with the modality or site that was told.
    Elsewhere,
    /// Several forms bear the name.
    Ambiguous,
}

/// Why a prompt names no single form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptError {
    kind: PromptErrorKind,
    prompt: Prompt,
    candidates: Vec<String>,
}

impl PromptError {
    /// What went wrong.
    pub fn kind(&self) -> PromptErrorKind {
        self.kind
    }

    /// The prompt as it was asked.
    pub fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    /// Near names of an unknown prompt; else the texts of the forms that bear the name.
    pub fn candidates(&self) -> &[String] {
        &self.candidates
    }
}

impl fmt::Display for PromptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.prompt.text;
        let quoted: Vec<String> = self.candidates.iter().map(|c| format!("'{c}'")).collect();
        let list = quoted.join(", ");
        match self.kind {
            PromptErrorKind::Unknown if list.is_empty() => {
                write!(
                    f,
                    "unknown prompt '{text}'; hint: name an object type of the prompt table"
                )
            }
            PromptErrorKind::Unknown => {
                write!(f, "unknown prompt '{text}'; hint: near names are {list}")
            }
            PromptErrorKind::Elsewhere => {
                write!(f, "no '{text}'")?;
                if let Some(modality) = self.prompt.modality {
                    write!(f, " in {modality}")?;
                }
                if let Some(site) = &self.prompt.site {
                    write!(f, " at site '{site}'")?;
                }
                write!(f, "; hint: known as {list}")
            }
            PromptErrorKind::Ambiguous => write!(
                f,
                "'{text}' may mean {list}; hint: write one of these, or tell modality and site"
            ),
        }
    }
}

impl std::error::Error for PromptError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ontology::Ontology;

    fn resolve(prompt: &Prompt) -> Result<&'static Form, PromptError> {
        prompt.resolve(Ontology::biomedparse_v1().forms())
    }

    #[test]
    fn names_targets_and_full_texts_resolve() {
        for text in ["polyp", "Colon  Polyp", "polyp in colon endoscope"] {
            assert_eq!(
                resolve(&Prompt::new(text)).unwrap().object,
                "colon polyp",
                "{text}"
            );
        }
        assert_eq!(
            resolve(&Prompt::new("breast tumor")).unwrap().site,
            "breast"
        );
    }

    #[test]
    fn shared_words_are_ambiguous_until_told_where() {
        let error = resolve(&Prompt::new("tumor")).unwrap_err();
        assert_eq!(error.kind(), PromptErrorKind::Ambiguous);
        assert!(
            error
                .candidates()
                .contains(&"tumor in breast ultrasound".to_owned())
        );
        let told = Prompt::new("tumor").with_modality(Modality::Ultrasound);
        assert_eq!(resolve(&told).unwrap().object, "breast tumor");
        let edema = Prompt::new("edema").with_site("retinal");
        assert_eq!(resolve(&edema).unwrap().object, "cystoid macular edema");
    }

    #[test]
    fn wrong_modality_tells_where_it_is_known() {
        let error = resolve(&Prompt::new("polyp").with_modality(Modality::Ct)).unwrap_err();
        assert_eq!(error.kind(), PromptErrorKind::Elsewhere);
        assert!(
            error.to_string().contains("polyp in colon endoscope"),
            "{error}"
        );
    }

    #[test]
    fn misspelling_is_refused_with_near_names() {
        let error = resolve(&Prompt::new("breast tumour")).unwrap_err();
        assert_eq!(error.kind(), PromptErrorKind::Unknown);
        assert_eq!(
            error.candidates().first().map(String::as_str),
            Some("breast tumor")
        );
        let error = resolve(&Prompt::new("zzzzzzzzzzzzzzz")).unwrap_err();
        assert!(error.candidates().is_empty());
        assert!(error.to_string().contains("hint: name an object type"));
    }

    #[test]
    fn every_form_is_named_by_its_full_text() {
        for form in Ontology::biomedparse_v1().forms() {
            assert_eq!(resolve(&Prompt::new(form.text())).unwrap(), form);
        }
    }

    proptest! {
        #[test]
        fn any_text_resolves_exactly_or_is_refused(text in ".{0,40}") {
            if let Ok(form) = resolve(&Prompt::new(text.clone())) {
                let text = normalised(&text);
                prop_assert!(text == form.object.to_lowercase() || text == form.text()
                    || text == form.target.to_lowercase());
            }
        }
    }
}
