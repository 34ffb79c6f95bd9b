//! Rows in, records out: the model asked for a row's own object and, in the same pass, for all
//! others that it knows and the frame surely lacks (but for those that want it fed in another
//! orientation), at the row's side of the input: as in a live session that asks for them together.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bedside::{
    Form, Frame, Mask, Modality, Prompt, PromptEntry, PromptSet, PromptTable, Resolution,
    Segmenter, side_for,
};

use crate::absence::surely_absent;
use crate::dataset::{Failed, Frames, Row};
use crate::error::{Error, ErrorKind};
use crate::record::{Answer, Other, Record};

/// A model that withholds no mask, with the threshold under which it would.
pub struct Evaluator<'a> {
    segmenter: Segmenter,
    /// Whether each row is looked at with the side of the input that suits its prompt, and the
    /// segmenters of other sides that this has taken so far.
    suits: bool,
    other_sides: HashMap<u32, Segmenter>,
    presence_threshold: f32,
    /// Asked in place of the rows' objects.
    prompt: Option<&'a str>,
    /// Reads pictures that are no stills.
    frames: Option<Frames>,
    /// Prompts by what rows say of a frame: resolved once, outside the frame loop.
    asked: HashMap<Said, Result<Asked, Error>>,
}

/// A row's object, those that other rows name in its picture, and its modality.
type Said = (String, Vec<String>, Modality);

/// Prompts that go through the decoder together; the first is the row's own.
#[derive(Debug, Clone)]
struct Asked {
    own: String,
    /// Of the input.
    side: u32,
    /// Text of each other prompt, and whether it is of the row's modality.
    others: Vec<(String, bool)>,
    prompts: PromptSet,
}

/// One frame with all that can be said and shown of it.
pub(crate) struct Evaluated {
    pub frame: Frame,
    pub truth: Mask,
    /// The mask that the model drew for the row's object, whether it would be shown or withheld.
    pub drawn: Option<Mask>,
    pub record: Record,
}

impl<'a> Evaluator<'a> {
    /// `segmenter` must have been opened with a presence threshold of 0. The bundle's own
    /// thresholds are applied here, and so is what it withholds: one pass tells the answer with
    /// them and without.
    pub fn new(segmenter: Segmenter, prompt: Option<&'a str>) -> Self {
        let presence_threshold = segmenter.manifest().thresholds.presence;
        Self {
            segmenter,
            suits: false,
            other_sides: HashMap::new(),
            presence_threshold,
            prompt,
            frames: None,
            asked: HashMap::new(),
        }
    }

    /// Read pictures of one more kind than stills.
    pub fn with_frames(mut self, frames: Frames) -> Self {
        self.frames = Some(frames);
        self
    }

    /// Look at each row with the side of the input that suits its prompt, as a person would who asks
    /// for it alone, instead of the segmenter's own.
    pub fn with_suiting_sides(mut self) -> Self {
        self.suits = true;
        self
    }

    /// Probability of presence from which an object is reported: the bundle's, where a form has none
    /// of its own.
    pub fn presence_threshold(&self) -> f32 {
        self.presence_threshold
    }

    /// A record of every row that can be evaluated; the others go to `failed`. `progress` is called
    /// after each row.
    pub fn records(
        &mut self,
        rows: &[Row],
        failed: &mut Vec<Failed>,
        mut progress: impl FnMut(),
    ) -> Vec<Record> {
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            match self.evaluate(row) {
                Ok(evaluated) => records.push(evaluated.record),
                Err(error) => failed.push(Failed {
                    place: row.place.clone(),
                    error,
                }),
            }
            progress();
        }
        records
    }

    /// Evaluate one row.
    ///
    /// # Errors
    /// When its files can't be used, its prompt is refused, or the engine fails.
    pub(crate) fn evaluate(&mut self, row: &Row) -> Result<Evaluated, Error> {
        let Asked {
            own,
            side,
            others,
            prompts,
        } = self.asked(row)?;
        let frame = row.frame(self.frames)?;
        let truth = row.truth(&frame)?;
        let segmentation = self.at_side(side)?.segment(&frame, &prompts)?;
        let mut findings = segmentation.findings.into_iter().zip(prompts.thresholds());
        let Some((finding, threshold)) = findings.next() else {
            return Err(Error::new(
                ErrorKind::Internal,
                "the model gave no answer to a prompt",
            ));
        };
        let others = others
            .into_iter()
            .zip(findings)
            .map(|((prompt, same_modality), (finding, threshold))| Other {
                answer: Answer::new(prompt, &finding, threshold),
                same_modality,
            })
            .collect();
        let record = Record::new(
            row,
            &truth,
            Answer::new(own, &finding, threshold),
            finding.mask.as_ref(),
            others,
            segmentation.timings.total().as_secs_f64() * 1e3,
        );
        Ok(Evaluated {
            frame,
            truth,
            drawn: finding.mask,
            record,
        })
    }

    fn at_side(&mut self, side: u32) -> Result<&mut Segmenter, Error> {
        if side == self.segmenter.side() {
            return Ok(&mut self.segmenter);
        }
        Ok(match self.other_sides.entry(side) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => place.insert(self.segmenter.at_side(side)?),
        })
    }

    fn asked(&mut self, row: &Row) -> Result<Asked, Error> {
        let key = (row.object.clone(), row.beside.clone(), row.modality);
        if let Some(asked) = self.asked.get(&key) {
            return asked.clone();
        }
        let asked = self.ask(row);
        self.asked.insert(key, asked.clone());
        asked
    }

    fn ask(&mut self, row: &Row) -> Result<Asked, Error> {
        let here = |text: &str| Prompt::new(text).with_modality(row.modality);
        let (manifest, table) = (self.segmenter.manifest(), self.segmenter.prompt_table());
        let own = match self.prompt {
            Some(text) => here(text),
            None => settled(table, here(&row.object)),
        };
        let form = table.trained(&own).ok().map(PromptEntry::form);
        let objects = std::iter::once(&row.object).chain(&row.beside);
        let named = objects.flat_map(|object| named(table, &here(object)));
        let there: Vec<&Form> = form.into_iter().chain(named).collect();
        let transposed = |f: &Form| manifest.transposed(f.modality, &f.site);
        let fed_alike = |other: &&Form| form.is_some_and(transposed) == transposed(other);
        let absent = |other: &&Form| surely_absent(other, row.modality, &there);
        let others = table.trained_forms().filter(fed_alike).filter(absent);
        let others: Vec<_> = others
            .map(|other| (other.text(), other.modality == row.modality))
            .collect();
        let text = form.map_or_else(|| own.text.clone(), Form::text);
        let side = match self.suits {
            true => side_for(manifest, table, std::slice::from_ref(&own)),
            false => self.segmenter.side(),
        };
        let mut prompts = vec![own];
        prompts.extend(others.iter().map(|(text, _)| Prompt::new(text)));
        Ok(Asked {
            own: text,
            side,
            prompts: self.segmenter.prompts(&prompts)?,
            others,
        })
    }
}

/// The prompt for a row's object. A manifest names no site: of forms with that name in its modality,
/// the one that the weights know is asked for, if there is just one.
fn settled(table: &PromptTable, object: Prompt) -> Prompt {
    let forms = named(table, &object);
    let mut known = table
        .trained_forms()
        .filter(|form| forms.contains(form))
        .map(Form::text);
    match (known.next(), known.next()) {
        (Some(text), None) if forms.len() > 1 => Prompt::new(text),
        _ => object,
    }
}

/// The forms that a row's object may name: any of them may be there, in whatever words it is asked
/// for.
fn named<'t>(table: &'t PromptTable, object: &Prompt) -> Vec<&'t Form> {
    let entries = match table.resolve(object) {
        Resolution::Trained(entry) | Resolution::Untrained(entry) => vec![entry],
        Resolution::Ambiguous(entries) => entries,
        _ => Vec::new(),
    };
    entries.into_iter().map(PromptEntry::form).collect()
}

#[cfg(test)]
mod tests {
    use bedside::Ontology;

    use super::*;

    #[test]
    fn of_what_a_row_may_name_the_form_that_the_weights_know_is_asked() {
        let table = |known: &[&str]| {
            let forms = Ontology::biomedparse_v1().forms().iter();
            let entry = |f: &Form| {
                let trained = known.contains(&f.text().as_str());
                PromptEntry::new(f.clone(), trained, &[vec![1.0]]).unwrap()
            };
            PromptTable::new(1, forms.map(entry).collect()).unwrap()
        };
        let cells = || Prompt::new("epithelial cells").with_modality(Modality::Pathology);
        let colon = "epithelial cells in colon pathology";
        let asked = |known: &[&str]| settled(&table(known), cells()).text;
        assert_eq!(asked(&[colon]), colon);
        assert_eq!(asked(&[]), "epithelial cells");
        let both = [colon, "epithelial cells in liver pathology"];
        assert_eq!(asked(&both), "epithelial cells", "it may be either");
    }

    #[test]
    fn all_that_a_shared_word_may_name_may_be_there() {
        let forms = Ontology::biomedparse_v1().forms().iter();
        let entries = forms.map(|f| PromptEntry::new(f.clone(), true, &[vec![1.0]]).unwrap());
        let table = PromptTable::new(1, entries.collect()).unwrap();
        let texts = |prompt: &Prompt| -> Vec<String> {
            named(&table, prompt).into_iter().map(Form::text).collect()
        };
        let tumors = texts(&Prompt::new("tumor").with_modality(Modality::Ct));
        assert!(
            tumors.len() > 1 && tumors.iter().all(|t| t.contains("ct")),
            "{tumors:?}"
        );
        assert_eq!(
            texts(&Prompt::new("colon polyp")),
            ["polyp in colon endoscope"]
        );
        assert!(texts(&Prompt::new("no such thing")).is_empty());
    }
}
