//! The 82 object types of BiomedParse v1, with 15 meta objects, 3 categories and 9 modalities.
//!
//! The facts stand in `ontology.csv` beside this crate's manifest, one row per form; its head
//! says where they come from.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// Kind of imaging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Modality {
    Ct,
    Mri,
    XRay,
    Ultrasound,
    Pathology,
    Endoscopy,
    Dermoscopy,
    Fundus,
    Oct,
}

impl Modality {
    /// All nine, in the ontology's order.
    pub const ALL: [Self; 9] = [
        Self::Ct,
        Self::Mri,
        Self::XRay,
        Self::Ultrasound,
        Self::Pathology,
        Self::Endoscopy,
        Self::Dermoscopy,
        Self::Fundus,
        Self::Oct,
    ];

    /// Name used on the command line and in files, lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ct => "ct",
            Self::Mri => "mri",
            Self::XRay => "x-ray",
            Self::Ultrasound => "ultrasound",
            Self::Pathology => "pathology",
            Self::Endoscopy => "endoscopy",
            Self::Dermoscopy => "dermoscopy",
            Self::Fundus => "fundus",
            Self::Oct => "oct",
        }
    }

    /// BiomedParse's word for it inside prompts.
    const fn prompt_word(self) -> &'static str {
        match self {
            Self::Endoscopy => "endoscope",
            other => other.name(),
        }
    }
}

impl fmt::Display for Modality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Modality {
    type Err = UnknownModality;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let s = s.trim().to_lowercase();
        Self::ALL
            .into_iter()
            .find(|m| m.name() == s || m.prompt_word() == s)
            .ok_or(UnknownModality(s))
    }
}

/// A word that names no modality.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownModality(String);

impl fmt::Display for UnknownModality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' is not a modality; hint: one of", self.0)?;
        for (i, m) in Modality::ALL.iter().enumerate() {
            write!(f, "{} {m}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownModality {}

/// Broadest kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Category {
    Organ,
    Abnormality,
    Histology,
}

/// One of the 82 things that the model family was trained to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectType {
    /// 0 to 81, in the order of BiomedParse's hierarchy file.
    pub id: u8,
    /// Unique name, such as "breast tumor".
    pub name: &'static str,
    /// The word that training used, such as "tumor"; not unique.
    pub target: &'static str,
    /// Broadest kind.
    pub category: Category,
    /// One of the 15 groups, such as "lesion".
    pub meta_object: &'static str,
}

/// An object type as it is seen with one modality at one site: the key of the prompt table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Form {
    /// Name of the [`ObjectType`].
    pub object: String,
    /// The word that training used for the object.
    pub target: String,
    /// Kind of imaging.
    pub modality: Modality,
    /// Part of the body, such as "colon".
    pub site: String,
    /// Acquisition within the modality, such as "T1-Gd"; mostly empty.
    pub acquisition: String,
}

impl Form {
    /// The prompt as training spelled it, lower case: "polyp in colon endoscope".
    pub fn text(&self) -> String {
        let dash = if self.acquisition.is_empty() { "" } else { "-" };
        let word = self.modality.prompt_word();
        format!(
            "{} in {} {word}{dash}{}",
            self.target, self.site, self.acquisition
        )
        .to_lowercase()
    }
}

/// The object types and the forms that they were trained in.
#[derive(Debug)]
pub struct Ontology {
    objects: Vec<ObjectType>,
    meta_objects: Vec<&'static str>,
    forms: Vec<Form>,
}

impl Ontology {
    /// The ontology of BiomedParse v1.
    pub fn biomedparse_v1() -> &'static Self {
        static ONTOLOGY: LazyLock<Ontology> =
            LazyLock::new(|| Ontology::parse(include_str!("../ontology.csv")));
        &ONTOLOGY
    }

    /// The 82 object types by id.
    pub fn objects(&self) -> &[ObjectType] {
        &self.objects
    }

    /// The 15 meta objects in the order in which models number them.
    pub fn meta_objects(&self) -> &[&'static str] {
        &self.meta_objects
    }

    /// All forms, object by object.
    pub fn forms(&self) -> &[Form] {
        &self.forms
    }

    /// The object type of that unique name.
    pub fn object(&self, name: &str) -> Option<&ObjectType> {
        self.objects.iter().find(|o| o.name == name)
    }

    /// Rows that are not well formed are left out; the tests below see to it that none is.
    fn parse(csv: &'static str) -> Self {
        let mut ontology = Self {
            objects: Vec::new(),
            meta_objects: Vec::new(),
            forms: Vec::new(),
        };
        for line in csv.lines().filter(|l| !l.starts_with('#')).skip(1) {
            let fields: Vec<&'static str> = line.split(',').collect();
            let &[
                id,
                name,
                target,
                category,
                meta_object,
                modality,
                site,
                acquisition,
            ] = fields.as_slice()
            else {
                continue;
            };
            let category = match category {
                "organ" => Category::Organ,
                "abnormality" => Category::Abnormality,
                "histology" => Category::Histology,
                _ => continue,
            };
            let (Ok(id), Ok(modality)) = (id.parse(), modality.parse()) else {
                continue;
            };
            if !ontology.meta_objects.contains(&meta_object) {
                ontology.meta_objects.push(meta_object);
            }
            if ontology.objects.last().is_none_or(|o| o.id != id) {
                ontology.objects.push(ObjectType {
                    id,
                    name,
                    target,
                    category,
                    meta_object,
                });
            }
            ontology.forms.push(Form {
                object: name.to_owned(),
                target: target.to_owned(),
                modality,
                site: site.to_owned(),
                acquisition: acquisition.to_owned(),
            });
        }
        ontology
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn counts_are_those_of_biomedparse_v1() {
        let ontology = Ontology::biomedparse_v1();
        let rows = include_str!("../ontology.csv")
            .lines()
            .filter(|l| !l.starts_with('#'))
            .count();
        assert_eq!(ontology.forms().len(), rows - 1, "a row was not understood");
        assert_eq!(ontology.objects().len(), 82);
        assert_eq!(ontology.meta_objects().len(), 15);
        let names: HashSet<_> = ontology.objects().iter().map(|o| o.name).collect();
        assert_eq!(names.len(), 82, "names are unique");
        for (i, o) in ontology.objects().iter().enumerate() {
            assert_eq!(usize::from(o.id), i);
            assert!(
                ontology.forms().iter().any(|f| f.object == o.name),
                "{} has no form",
                o.name
            );
        }
        let modalities: HashSet<_> = ontology.forms().iter().map(|f| f.modality).collect();
        assert_eq!(modalities.len(), 9);
    }

    #[test]
    fn forms_are_unique_and_spelled_as_trained() {
        let ontology = Ontology::biomedparse_v1();
        let unique: HashSet<_> = ontology.forms().iter().collect();
        assert_eq!(unique.len(), ontology.forms().len());
        let text = |name: &str| {
            ontology
                .forms()
                .iter()
                .find(|f| f.object == name)
                .map(Form::text)
                .unwrap()
        };
        assert_eq!(text("colon polyp"), "polyp in colon endoscope");
        assert_eq!(text("breast tumor"), "tumor in breast ultrasound");
        assert_eq!(
            text("enhancing tumor"),
            "enhancing tumor in brain mri-t1-gd"
        );
    }

    #[test]
    fn modalities_parse_from_either_word() {
        assert_eq!("Endoscope".parse(), Ok(Modality::Endoscopy));
        assert_eq!("endoscopy".parse(), Ok(Modality::Endoscopy));
        let error = "sonar".parse::<Modality>().unwrap_err().to_string();
        assert!(
            error.contains("sonar") && error.contains("ultrasound"),
            "{error}"
        );
    }
}
