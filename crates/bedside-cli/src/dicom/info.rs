//! `bedside dicom info`: what a file holds.

use std::path::PathBuf;

use bedside::Modality;
use bedside_dicom::Dicom;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::table::Table;
use crate::ui::Ui;

use super::{files, open};

/// Arguments of `bedside dicom info`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedside dicom info cine.dcm
  bedside dicom info study/ --json

Names, numbers and dates of the patient are not told, unless --patient asks for name and number. Text that is
burned into the pixels may still name somebody.")]
pub(crate) struct Args {
    /// DICOM files, or folders of them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Tell the patient's name and number as well
    #[arg(long)]
    patient: bool,
}

pub(crate) fn run(args: &Args, ui: Ui) -> Result<(), Failure> {
    let (mut all, mut failure) = (Vec::new(), None);
    for file in files(&args.files)? {
        match open(&file) {
            Ok(dicom) => {
                let facts = facts(&dicom, args.patient);
                if !ui.json() {
                    ui.print(&format!("{}\n{}\n", file.display(), table(&facts)))?;
                }
                all.push(json!({ "file": file, "facts": facts }));
            }
            Err(error) => {
                ui.fail(&error);
                failure.get_or_insert(error.printed());
            }
        }
    }
    if ui.json() {
        ui.print_json(&all)?;
    }
    failure.map_or(Ok(()), Err)
}

fn facts(dicom: &Dicom, patient: bool) -> Value {
    let (width, height) = dicom.size();
    let seconds = dicom.frame_times().last();
    let mut facts = json!({
        "modality": dicom.modality().map(|m: Modality| m.to_string()),
        "site": dicom.site(),
        "size": format!("{width}x{height}"),
        "frames": dicom.frames(),
        "seconds": seconds.map(|t| t.as_nanos() as f64 / 1e9),
        "pixel_mm": dicom.spacing().map(|s| json!([s.x, s.y])),
        "ultrasound_regions": dicom.regions().len(),
        "regions_that_do_not_fit": dicom.regions_left_out(),
        "burned_in_text": dicom.burned_in(),
    });
    if patient && let Some(facts) = facts.as_object_mut() {
        let who = dicom.identity();
        facts.insert("patient_name".to_owned(), json!(who.name.reveal()));
        facts.insert("patient_id".to_owned(), json!(who.id.reveal()));
    }
    facts
}

fn table(facts: &Value) -> Table {
    let mut table = Table::new(["fact", "value"]);
    for (name, value) in facts.as_object().into_iter().flatten() {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null => "not told".to_owned(),
            other => other.to_string(),
        };
        table.row([name.replace('_', " "), text]);
    }
    table
}
