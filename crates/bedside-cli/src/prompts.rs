//! `bedside prompts`: what can be asked for.

use bedside::{Bundle, Form, Modality, Ontology, PromptTable};
use serde::Serialize;

use crate::failure::Failure;
use crate::model::ModelArgs;
use crate::table::Table;
use crate::ui::Ui;

/// Arguments of `bedside prompts`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedside prompts --trained
  bedside prompts --modality ultrasound

The column 'model' says what the bundle's weights know: 'yes' was trained, 'no' stands in the
bundle's table without training and is refused, '-' is not in the bundle. The column 'from' says
whose object type it is: 'BiomedParse' for one of its 82, 'bundle' for one of the bundle's own.")]
pub(crate) struct Args {
    /// Only this kind of imaging
    #[arg(long)]
    modality: Option<Modality>,

    /// Only this part of the body
    #[arg(long)]
    site: Option<String>,

    /// Only what the bundle's weights know
    #[arg(long)]
    trained: bool,
}

/// What the bundle can do with a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Known {
    Trained,
    Untrained,
    Absent,
}

/// Whose object type a form is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Origin {
    Biomedparse,
    Bundle,
}

#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    form: Form,
    prompt: String,
    model: Known,
    from: Origin,
}

pub(crate) fn run(args: &Args, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    let table = bundle_table(args, model, ui)?;
    let mut rows = rows(table.as_ref());
    rows.retain(|row| {
        args.modality.is_none_or(|m| m == row.form.modality)
            && args
                .site
                .as_ref()
                .is_none_or(|s| s.eq_ignore_ascii_case(&row.form.site))
            && (!args.trained || row.model == Known::Trained)
    });
    if ui.json() {
        return ui.print_json(&rows);
    }
    let mut text = Table::new(["object", "modality", "site", "prompt", "model", "from"]);
    for row in &rows {
        text.row([
            row.form.object.clone(),
            row.form.modality.to_string(),
            row.form.site.clone(),
            row.prompt.clone(),
            match row.model {
                Known::Trained => "yes",
                Known::Untrained => "no",
                Known::Absent => "-",
            }
            .to_owned(),
            match row.from {
                Origin::Biomedparse => "BiomedParse",
                Origin::Bundle => "bundle",
            }
            .to_owned(),
        ]);
    }
    let trained = rows
        .iter()
        .filter(|row| row.model == Known::Trained)
        .count();
    ui.print(&format!(
        "{text}\n{} prompts, {trained} of them known to the model\n",
        rows.len()
    ))
}

/// The bundle's prompts. The ontology can be read without any bundle, unless one was named or
/// the question is what it knows.
fn bundle_table(args: &Args, model: &ModelArgs, ui: Ui) -> Result<Option<PromptTable>, Failure> {
    let path = match model.path() {
        Ok(path) => path,
        Err(failure) if args.trained => return Err(failure),
        Err(failure) => {
            ui.note(format_args!("note: the ontology alone, for {failure}"));
            return Ok(None);
        }
    };
    let table = Bundle::open(path).and_then(|bundle| bundle.prompt_table());
    Ok(Some(table.map_err(bedside::Error::from)?))
}

/// The ontology's forms and, after them, what only the bundle has.
fn rows(table: Option<&PromptTable>) -> Vec<Row> {
    let ontology = Ontology::biomedparse_v1().forms();
    let others = table.into_iter().flat_map(PromptTable::forms);
    let others = others.filter(|form| !ontology.contains(form));
    let own = others.map(|form| (form, Origin::Bundle));
    ontology
        .iter()
        .map(|form| (form, Origin::Biomedparse))
        .chain(own)
        .map(|(form, from)| Row {
            from,
            form: form.clone(),
            prompt: form.text(),
            model: match table.and_then(|table| table.entry(form)) {
                Some(entry) if entry.trained() => Known::Trained,
                Some(_) => Known::Untrained,
                None => Known::Absent,
            },
        })
        .collect()
}
