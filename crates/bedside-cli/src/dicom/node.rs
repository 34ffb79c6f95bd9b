//! `bedside dicom node`: what carts send is segmented, and the masks go to the archive; `bedside
//! dicom queue`: what waits there.

use std::path::{Path, PathBuf};

use bedside::{Prompt, Segmenter};
use bedside_dicom::Dicom;
use bedside_dicom::write::{
    Origin, SEG_DESCRIPTION, SEG_SERIES, SR_DESCRIPTION, SR_SERIES, Series,
};
use bedside_dicom_node::{Config, Error, ErrorKind, Made, Rule, Status};
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::model::ModelArgs;
use crate::table::Table;
use crate::ui::{SAFETY, Ui};

use super::images::Images;
use super::segment::{Ask, Outputs, Question, answer, objects, origin};

/// Arguments of `bedside dicom node` and of `bedside dicom queue`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node's configuration (TOML); docs/dicom.md explains each key
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::Config => Exit::Input,
            ErrorKind::Folder | ErrorKind::Listen => Exit::Output,
            _ => Exit::Internal,
        };
        Self::new(exit, error.to_string())
    }
}

pub(crate) fn run(args: &Args, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    // Pictures are patients'.
    bedside_live::forbid_core_dumps().map_err(|e| {
        let message = format!("core dumps can't be forbidden: {e}");
        Failure::new(Exit::Internal, message)
    })?;
    let config = Config::read(&args.config)?;
    let bundle = model.bundle(None)?;
    let asked = config.rules.iter().flat_map(|rule| &rule.prompts);
    let asked: Vec<Prompt> = asked.map(Prompt::new).collect();
    let options = model.options_for(&bundle, &asked, ui)?;
    let mut segmenter = Segmenter::new(bundle, options.backend()?, &options)?;
    for rule in &config.rules {
        check(rule, &mut segmenter)?;
    }
    ui.note(SAFETY);
    let origin = origin(&segmenter);
    let log = |line: &str| ui.note(line);
    let mut work = |image: &Path| {
        let made = make(image, &config, &mut segmenter, &origin, ui);
        // Where the queue lies says nothing of what is wrong.
        made.map_err(|failure| {
            let why = failure.to_string();
            let path = format!("{}: ", image.display());
            why.strip_prefix(&path).unwrap_or(&why).to_owned()
        })
    };
    let never = bedside_dicom_node::run(&config, &log, &mut work)?;
    match never {}
}

/// That each prompt of a rule can name something on the objects that the rule is for: headers settle
/// what a word alone leaves open, but not what no form is called.
fn check(rule: &Rule, segmenter: &mut Segmenter) -> Result<(), Failure> {
    let table = segmenter
        .bundle()
        .prompt_table()
        .map_err(bedside::Error::from)?;
    for text in &rule.prompts {
        let prompt = Prompt::new(text);
        let Err(error) = segmenter.prompts(std::slice::from_ref(&prompt)) else {
            continue;
        };
        let forms = table.trained_forms();
        let forms = forms.filter(|form| rule.modality.is_none_or(|wanted| form.modality == wanted));
        let mut placed = forms.map(|form| {
            let prompt = prompt.clone().with_modality(form.modality);
            prompt.with_site(&*form.site)
        });
        if !placed.any(|prompt| table.trained(&prompt).is_ok()) {
            return Err(Failure::from(error).at("rules.prompts"));
        }
    }
    Ok(())
}

/// What the rules want of an object.
fn make(
    image: &Path,
    config: &Config,
    segmenter: &mut Segmenter,
    origin: &Origin,
    ui: Ui,
) -> Result<Made, Failure> {
    let refuse = |why: String| Failure::new(Exit::Input, why);
    let dicom = Dicom::open(image).map_err(|e| refuse(e.to_string()))?;
    let rule = config.rule(&dicom).ok_or_else(|| {
        refuse(
            "no rule fits it; hint: add one, without prompts for what is to be left out".to_owned(),
        )
    })?;
    if rule.prompts.is_empty() {
        return Ok(Made::Nothing);
    }
    let question = Question {
        files: &[],
        out: None,
        outputs: &Outputs::default(),
        ask: Ask::These(&rule.prompts),
        modality: None,
        site: None,
    };
    let answered = answer(&Images::File(image.to_owned()), &question, segmenter, ui)?;
    // The same image, model and prompts give objects of the same UIDs: sent again after a crash, they
    // are in the archive once. What is made of one series makes one series.
    let (source, digest) = (&answered.opened.source, segmenter.bundle().digest());
    let series =
        |number, description| Series::derived(number, description, source, digest, &rule.prompts);
    let series = [
        series(SEG_SERIES, SEG_DESCRIPTION),
        series(SR_SERIES, SR_DESCRIPTION),
    ];
    let mut made = Vec::new();
    let number = source.number().unwrap_or(1);
    objects(&answered, origin, &series, number, |_, bytes| {
        made.push(bytes);
        Ok(())
    })?;
    Ok(Made::Objects(made))
}

pub(crate) fn queue(args: &Args, ui: Ui) -> Result<(), Failure> {
    let config = Config::read(&args.config)?;
    let Status {
        received,
        outbox,
        dead,
    } = Status::of(&config.folder)?;
    if ui.json() {
        let dead = dead
            .iter()
            .map(|(name, why)| json!({ "name": name.to_string(), "reason": why }));
        let dead: Vec<_> = dead.collect();
        return ui.print_json(&json!({ "received": received, "outbox": outbox, "dead": dead }));
    }
    ui.print(&format!(
        "{received} to be worked on, {outbox} to be sent, {} put aside\n",
        dead.len()
    ))?;
    if dead.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(["put aside", "reason"]);
    for (name, reason) in dead {
        table.row([name.to_string(), reason]);
    }
    ui.print(&table.to_string())
}
