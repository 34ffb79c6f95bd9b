//! Which entry of a prompt table a prompt names: the one rule, and one wording of each refusal.

use std::fmt;

use bedside_core::{Form, Prompt};

use crate::prompts::{PromptEntry, PromptTable};

/// Most names in a hint.
const MAX_NAMES: usize = 12;

/// What a prompt names in a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Resolution<'a> {
    /// One form, which the weights were trained on.
    Trained(&'a PromptEntry),
    /// One form, which they were not trained on: its mask would be a guess.
    Untrained(&'a PromptEntry),
    /// Several forms, those that were trained first. None is chosen, be it the only trained one.
    Ambiguous(Vec<&'a PromptEntry>),
    /// Forms of another modality or site than the prompt asks for.
    Elsewhere(Vec<&'a PromptEntry>),
    /// No form; names of objects that read like it, the nearest first.
    Unknown(Vec<&'a str>),
}

impl PromptTable {
    /// The form that a prompt names: by the object's unique name, by the form's full text or,
    /// where neither fits, by the word used in training. Letter case and spaces do not count.
    /// Nothing is chosen by likeness.
    pub fn resolve(&self, prompt: &Prompt) -> Resolution<'_> {
        let text = normalised(&prompt.text);
        if text.is_empty() {
            return Resolution::Unknown(Vec::new());
        }
        let called = |name: &str| normalised(name) == text;
        let entries = |is: &dyn Fn(&Form) -> bool| -> Vec<&PromptEntry> {
            self.entries().iter().filter(|e| is(e.form())).collect()
        };
        let mut named = entries(&|f| called(&f.object) || called(&f.text()));
        if named.is_empty() {
            named = entries(&|f| called(&f.target));
        }
        if named.is_empty() {
            return Resolution::Unknown(self.nearest(&text));
        }
        named.sort_by_key(|e| !e.trained());
        let site = prompt.site.as_deref().map(normalised);
        let asked = |form: &Form| {
            prompt.modality.is_none_or(|m| m == form.modality)
                && site.as_ref().is_none_or(|s| *s == normalised(&form.site))
        };
        let here: Vec<_> = named.iter().copied().filter(|e| asked(e.form())).collect();
        match here.as_slice() {
            [] => Resolution::Elsewhere(named),
            [entry] if entry.trained() => Resolution::Trained(entry),
            [entry] => Resolution::Untrained(entry),
            [..] => Resolution::Ambiguous(here),
        }
    }

    /// The entry of the one trained form that a prompt names.
    ///
    /// # Errors
    /// One of each [`PromptErrorKind`], with the candidates or the nearest names as a hint.
    pub fn trained(&self, prompt: &Prompt) -> Result<&PromptEntry, PromptError> {
        let text = &prompt.text;
        let (kind, message) = match self.resolve(prompt) {
            Resolution::Trained(entry) => return Ok(entry),
            Resolution::Untrained(entry) => (
                PromptErrorKind::Untrained,
                format!(
                    "'{}' is in the prompt table, but the weights were not trained on it; hint: {}",
                    entry.form().text(),
                    self.known()
                ),
            ),
            Resolution::Ambiguous(entries) => {
                let trained = entries.iter().filter(|e| e.trained());
                let trained: Vec<_> = trained.map(|e| e.form().text()).collect();
                let known = match trained.len() {
                    0 => "; the weights know none of them".to_owned(),
                    n if n == entries.len() => String::new(),
                    _ => format!("; the weights know {}", quoted(&trained)),
                };
                (
                    PromptErrorKind::Ambiguous,
                    format!(
                        "'{text}' may mean {}; hint: write one of these, or give modality and \
                         site{known}",
                        quoted(&texts(&entries))
                    ),
                )
            }
            Resolution::Elsewhere(entries) => {
                let modality = prompt.modality.map(|m| format!(" in {m}"));
                let site = prompt.site.as_ref().map(|s| format!(" at site '{s}'"));
                (
                    PromptErrorKind::Elsewhere,
                    format!(
                        "no '{text}'{}{}; hint: known as {}",
                        modality.unwrap_or_default(),
                        site.unwrap_or_default(),
                        quoted(&texts(&entries))
                    ),
                )
            }
            Resolution::Unknown(near) => {
                let hint = match near.as_slice() {
                    [] => self.known(),
                    near => format!("near names are {}", quoted(near)),
                };
                (
                    PromptErrorKind::Unknown,
                    format!("unknown prompt '{text}'; hint: {hint}"),
                )
            }
        };
        // Words and names come from anywhere, and errors go to terminals.
        let message = message.replace(char::is_control, "");
        Err(PromptError { kind, message })
    }

    /// What to show for a prompt that names `form`: its words where they alone name it, else the
    /// form's full text, so that nobody takes "tumor" for a tumor of another site.
    pub fn label(&self, prompt: &Prompt, form: &Form) -> String {
        match self.resolve(&Prompt::new(prompt.text.as_str())) {
            Resolution::Trained(_) | Resolution::Untrained(_) => prompt.text.clone(),
            _ => form.text(),
        }
    }

    fn known(&self) -> String {
        let mut objects: Vec<&str> = self.trained_forms().map(|f| f.object.as_str()).collect();
        objects.dedup();
        match objects.as_slice() {
            [] => "the weights know nothing in this table".to_owned(),
            objects => format!("the weights know {}", quoted(objects)),
        }
    }

    /// The three object names most like `text`, best first.
    fn nearest(&self, text: &str) -> Vec<&str> {
        let mut scored: Vec<(f64, &str)> = Vec::new();
        for form in self.forms() {
            let likeness = |name: &str| {
                let name = normalised(name);
                let inside = name.contains(text) || text.contains(&name);
                strsim::normalized_damerau_levenshtein(text, &name).max(if inside {
                    0.6
                } else {
                    0.0
                })
            };
            let score = likeness(&form.object).max(likeness(&form.target));
            match scored.iter_mut().find(|(_, name)| *name == form.object) {
                Some(entry) => entry.0 = entry.0.max(score),
                None => scored.push((score, &form.object)),
            }
        }
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        let near = scored.into_iter().filter(|s| s.0 >= 0.4).take(3);
        near.map(|s| s.1).collect()
    }
}

/// Lower case, single spaces.
fn normalised(text: &str) -> String {
    text.split_whitespace()
        .map(str::to_lowercase)
        .collect::<Vec<_>>()
        .join(" ")
}

fn texts(entries: &[&PromptEntry]) -> Vec<String> {
    entries.iter().map(|e| e.form().text()).collect()
}

/// `'a', 'b' and 3 more`
fn quoted(names: &[impl AsRef<str>]) -> String {
    let shown = names.iter().take(MAX_NAMES);
    let shown: Vec<String> = shown.map(|n| format!("'{}'", n.as_ref())).collect();
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Kinds of [`PromptError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PromptErrorKind {
    /// No form bears the name.
    Unknown,
    /// The name exists, but not with the modality or site asked for.
    Elsewhere,
    /// Several forms bear the name.
    Ambiguous,
    /// The weights were not trained on the form.
    Untrained,
}

/// Why a prompt is refused: the cause and `hint: ...`, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptError {
    kind: PromptErrorKind,
    message: String,
}

impl PromptError {
    /// What went wrong.
    pub fn kind(&self) -> PromptErrorKind {
        self.kind
    }
}

impl fmt::Display for PromptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PromptError {}

#[cfg(test)]
mod tests {
    use bedside_core::{Modality, Ontology};
    use proptest::prelude::*;

    use super::*;

    /// The whole ontology, trained where `trained` says so.
    fn table(trained: impl Fn(&Form) -> bool) -> PromptTable {
        let forms = Ontology::biomedparse_v1().forms().iter();
        let entries = forms.map(|f| PromptEntry::new(f.clone(), trained(f), &[vec![1.0]]).unwrap());
        PromptTable::new(1, entries.collect()).unwrap()
    }

    fn object(table: &PromptTable, prompt: Prompt) -> Result<String, PromptError> {
        table.trained(&prompt).map(|e| e.form().object.clone())
    }

    fn refused(table: &PromptTable, prompt: Prompt, kind: PromptErrorKind, words: &[&str]) {
        let error = table.trained(&prompt).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        for word in words.iter().chain(&["; hint: "]) {
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn names_targets_and_full_texts_resolve() {
        let table = table(|_| true);
        for text in ["polyp", "Colon  Polyp", "polyp in colon endoscope"] {
            let found = object(&table, Prompt::new(text)).unwrap();
            assert_eq!(found, "colon polyp", "{text}");
        }
        let found = object(&table, Prompt::new("breast tumor")).unwrap();
        assert_eq!(found, "breast tumor");
    }

    #[test]
    fn p_07_shared_words_are_refused_until_modality_or_site_settle_them() {
        use PromptErrorKind::Ambiguous;
        let candidates = ["'tumor' may mean 'tumor in breast ultrasound'", "liver ct"];
        let all = table(|_| true);
        refused(&all, Prompt::new("tumor"), Ambiguous, &candidates);
        // Nor does it help that the weights know one of them alone, or none.
        let breast = table(|f| f.object == "breast tumor");
        refused(&breast, Prompt::new("tumor"), Ambiguous, &candidates);
        let know = ["the weights know 'tumor in breast ultrasound'"];
        refused(&breast, Prompt::new("tumor"), Ambiguous, &know);
        let polyp = table(|f| f.object == "colon polyp");
        let know = ["the weights know none of them"];
        refused(&polyp, Prompt::new("tumor"), Ambiguous, &know);

        let settled = Prompt::new("tumor").with_modality(Modality::Ultrasound);
        let form = breast.trained(&settled).unwrap().form();
        assert_eq!(form.object, "breast tumor");
        assert_eq!(breast.label(&settled, form), "tumor in breast ultrasound");
        let edema = Prompt::new("edema").with_site("retinal");
        assert_eq!(object(&all, edema).unwrap(), "cystoid macular edema");
        // Words that name one form alone are shown as they were asked.
        let polyp = Prompt::new("Polyp").with_modality(Modality::Endoscopy);
        let form = all.trained(&polyp).unwrap().form();
        assert_eq!(all.label(&polyp, form), "Polyp");
    }

    #[test]
    fn an_untrained_form_is_refused_with_what_the_weights_know() {
        let table = table(|f| f.object == "breast tumor");
        let words = ["'tumor in liver ct'", "not trained", "know 'breast tumor'"];
        let liver = Prompt::new("liver tumor");
        assert!(matches!(table.resolve(&liver), Resolution::Untrained(_)));
        refused(&table, liver, PromptErrorKind::Untrained, &words);
    }

    #[test]
    fn another_modality_says_where_the_name_is_known() {
        let prompt = Prompt::new("polyp")
            .with_modality(Modality::Ct)
            .with_site("colon");
        let words = ["in ct at site 'colon'", "'polyp in colon endoscope'"];
        refused(&table(|_| true), prompt, PromptErrorKind::Elsewhere, &words);
    }

    #[test]
    fn a_misspelling_is_refused_with_near_names() {
        let all = table(|_| true);
        let words = ["near names are 'breast tumor'"];
        let misspelt = Prompt::new("breast tumour");
        refused(&all, misspelt, PromptErrorKind::Unknown, &words);
        let words = ["the weights know ", " more"];
        for strange in ["zzzzzzzzzzzzzzz", " \t "] {
            let strange = Prompt::new(strange);
            refused(&all, strange, PromptErrorKind::Unknown, &words);
        }
    }

    #[test]
    fn a_refusal_changes_no_terminal() {
        let prompt = Prompt::new("\u{1b}[31mpolyp\u{7}\n").with_site("\u{9b}2J");
        let error = table(|_| true).trained(&prompt).unwrap_err().to_string();
        assert!(error.starts_with("unknown prompt '[31mpolyp'"), "{error}");
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }

    #[test]
    fn every_form_is_named_by_its_full_text() {
        let table = table(|_| true);
        for form in table.forms() {
            let prompt = Prompt::new(form.text());
            assert_eq!(table.trained(&prompt).unwrap().form(), form);
            assert_eq!(table.label(&prompt, form), form.text());
        }
    }

    proptest! {
        #[test]
        fn any_text_resolves_exactly_or_is_refused(text in ".{0,40}") {
            static TABLE: std::sync::LazyLock<PromptTable> =
                std::sync::LazyLock::new(|| table(|_| true));
            if let Ok(entry) = TABLE.trained(&Prompt::new(text.clone())) {
                let (text, form) = (normalised(&text), entry.form());
                prop_assert!(text == form.object.to_lowercase() || text == form.text()
                    || text == form.target.to_lowercase());
            }
        }
    }
}
