//! What is asked for.

use bedside::Modality;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::error::PromptError;

/// An object to find: its words, and modality and site where the words alone may mean several.
///
/// A bare str serves wherever the words say it all: "polyp", or "tumor in breast ultrasound".
/// Modalities are ct, mri, x-ray, ultrasound, pathology, endoscopy, dermoscopy, fundus and oct.
#[pyclass(frozen, eq, hash, from_py_object, module = "bedside")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Prompt(bedside::Prompt);

#[pymethods]
impl Prompt {
    #[new]
    #[pyo3(signature = (text, modality = None, site = None))]
    fn new(text: String, modality: Option<&str>, site: Option<String>) -> PyResult<Self> {
        let modality = modality.map(self::modality).transpose()?;
        Ok(Self(bedside::Prompt {
            text,
            modality,
            site,
        }))
    }

    /// The words.
    #[getter]
    fn text(&self) -> &str {
        &self.0.text
    }

    /// The kind of imaging, where one is given.
    #[getter]
    fn modality(&self) -> Option<&'static str> {
        self.0.modality.map(Modality::name)
    }

    /// The part of the body, where one is given.
    #[getter]
    fn site(&self) -> Option<&str> {
        self.0.site.as_deref()
    }

    fn __repr__(&self) -> String {
        let mut text = format!("Prompt({:?}", self.0.text);
        if let Some(modality) = self.0.modality {
            text.push_str(&format!(", modality={:?}", modality.name()));
        }
        if let Some(site) = &self.0.site {
            text.push_str(&format!(", site={site:?}"));
        }
        text + ")"
    }
}

/// A kind of imaging by name.
pub(crate) fn modality(name: &str) -> PyResult<Modality> {
    name.parse().map_err(|_| {
        let names = Modality::ALL.map(Modality::name).join(", ");
        PromptError::new_err(format!("no modality '{name}'; hint: one of {names}"))
    })
}

/// One prompt, or several.
pub(crate) fn prompts(asked: &Bound<'_, PyAny>) -> PyResult<Vec<bedside::Prompt>> {
    if asked.is_instance_of::<PyString>() || asked.is_instance_of::<Prompt>() {
        return Ok(vec![prompt(asked)?]);
    }
    let several = asked.try_iter().map_err(|_| wrong(asked))?;
    several.map(|asked| prompt(&asked?)).collect()
}

fn prompt(asked: &Bound<'_, PyAny>) -> PyResult<bedside::Prompt> {
    if let Ok(text) = asked.extract::<String>() {
        return Ok(bedside::Prompt::new(text));
    }
    let prompt: Prompt = asked.extract().map_err(|_| wrong(asked))?;
    Ok(prompt.0)
}

fn wrong(asked: &Bound<'_, PyAny>) -> PyErr {
    let kind = asked.get_type();
    PromptError::new_err(format!(
        "{kind} is no prompt; hint: ask with a str, a `bedside.Prompt`, or a list of these"
    ))
}
