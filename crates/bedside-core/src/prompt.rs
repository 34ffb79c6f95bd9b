//! What a person asks for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ontology::Modality;

/// A request for one object: its words, and the modality and site where those are given.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
