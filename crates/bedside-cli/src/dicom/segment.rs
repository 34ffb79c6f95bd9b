//! Every frame of DICOM files, segmented; masks and measurements as DICOM objects.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bedside::{ErrorKind, Finding, Modality, Prompt, Segmenter, Withheld};
use bedside_dicom::Dicom;
use bedside_dicom::write::{
    Context, Kind, ObjectError, Origin, Segment, Segmentation, Series, Source, derived_uid,
    measure, report,
};
use serde::Serialize;
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::model::ModelArgs;
use crate::output::{Folder, NewFile, Stems, write_file};
use crate::report::Model;
use crate::table::Table;
use crate::ui::{SAFETY, Ui};

use super::{files, open};

/// Numbers of the series that objects go into: above those that devices give.
pub(super) const SEG_SERIES: u32 = 9101;
pub(super) const SR_SERIES: u32 = 9102;
pub(super) const SEG_DESCRIPTION: &str = "Segmentation by bedside";
pub(super) const SR_DESCRIPTION: &str = "Measurements by bedside";

/// What is written of a DICOM file besides what `--out` gives.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "DICOM options")]
pub(crate) struct Outputs {
    /// Write the masks of one DICOM file as a Segmentation object
    #[arg(long, value_name = "FILE")]
    seg: Option<PathBuf>,

    /// Write the measurements of one DICOM file as a Structured Report
    #[arg(long, value_name = "FILE", requires = "seg")]
    sr: Option<PathBuf>,

    /// Write the areas of all frames as a table (CSV)
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

impl Outputs {
    pub(crate) fn are_wanted(&self) -> bool {
        self.seg.is_some() || self.csv.is_some()
    }
}

/// What is asked of every file.
pub(crate) struct Question<'a> {
    pub files: &'a [PathBuf],
    pub out: Option<&'a PathBuf>,
    pub outputs: &'a Outputs,
    pub prompts: &'a [String],
    pub modality: Option<Modality>,
    pub site: Option<&'a String>,
}

/// One answer on one frame.
#[derive(Debug, Serialize)]
struct Answer {
    file: String,
    /// From 1, as DICOM counts.
    frame: u32,
    seconds: Option<f64>,
    prompt: String,
    present: bool,
    presence: f32,
    /// Why what was found is not shown.
    withheld: Option<Withheld>,
    area_pixels: u64,
    area_mm2: Option<f64>,
    long_diameter_mm: Option<f64>,
    short_diameter_mm: Option<f64>,
}

/// A file's answers, and its masks as they are written.
pub(super) struct Answered {
    answers: Vec<Answer>,
    pub(super) source: Source,
    masks: Segmentation,
}

pub(crate) fn segment(question: &Question<'_>, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    let files = files(question.files)?;
    if question.outputs.seg.is_some() && files.len() > 1 {
        let message = "--seg is of one file; hint: --out DIR writes one for each";
        return Err(Failure::new(Exit::Usage, message));
    }
    let bundle = model.bundle(None)?;
    let asked: Vec<Prompt> = question.prompts.iter().map(Prompt::new).collect();
    let options = model.options_for(&bundle, &asked, ui)?;
    let mut segmenter = Segmenter::new(bundle, options.backend()?, &options)?;
    ui.note(SAFETY);
    let described = Model::of(&segmenter);
    let origin = origin(&segmenter);
    let folder = question.out.map(Folder::new);
    let mut stems = Stems::default();
    let (mut answers, mut failure) = (Vec::new(), None);
    for file in &files {
        let stem = stems.next(file);
        let one = answer(file, question, &mut segmenter, ui).and_then(|answered| {
            write(
                &answered,
                question,
                folder.as_ref().map(|f| (f, &*stem)),
                &origin,
                ui,
            )?;
            Ok(answered.answers)
        });
        match one {
            Ok(mut more) => {
                if !ui.json() {
                    ui.print(&table(file, &more))?;
                }
                answers.append(&mut more);
            }
            // The others are answered all the same.
            Err(error) => {
                ui.fail(&error);
                failure.get_or_insert(error.printed());
            }
        }
    }
    if let Some(path) = &question.outputs.csv {
        write_file(path, csv(&answers)?)?;
    }
    if ui.json() {
        ui.print_json(&json!({
            "bedside": env!("CARGO_PKG_VERSION"),
            "notice": SAFETY,
            "model": described,
            "answers": answers,
        }))?;
    }
    failure.map_or(Ok(()), Err)
}

/// The words as they are asked of this file: what its header says of modality and site settles
/// what a word alone leaves open.
fn prompts(question: &Question<'_>, dicom: &Dicom, site: Option<&str>) -> Vec<Prompt> {
    let prompt = |text: &String| Prompt {
        text: text.clone(),
        modality: question.modality.or(dicom.modality()),
        site: question.site.cloned().or(site.map(str::to_owned)),
    };
    question.prompts.iter().map(prompt).collect()
}

pub(super) fn answer(
    file: &Path,
    question: &Question<'_>,
    segmenter: &mut Segmenter,
    ui: Ui,
) -> Result<Answered, Failure> {
    let bad = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Input, format!("{}: {error}", file.display()))
    };
    let mut dicom = open(file)?;
    let set = match segmenter.prompts(&prompts(question, &dicom, dicom.site())) {
        // A header may name a site that has no such object where one beside it has.
        Err(error) if error.kind() == ErrorKind::Prompt && dicom.site().is_some() => segmenter
            .prompts(&prompts(question, &dicom, None))
            .map_err(|_| error),
        other => other,
    };
    let set = set?;
    let source = Source::of(dicom.header()).map_err(|e| bad(&e))?;
    let bar = ui.progress(u64::from(dicom.frames()), "frames");
    let mut masks = None;
    let mut answers = Vec::new();
    for frame in 1..=dicom.frames() {
        let picture = dicom.frame(frame - 1).map_err(|e| bad(&e))?;
        let findings = segmenter.segment(&picture, &set)?.findings;
        let masks = match &mut masks {
            Some(masks) => masks,
            None => masks.insert(empty(&source, &findings).map_err(|e| bad(&e))?),
        };
        let time = dicom.frame_times().get(frame as usize - 1);
        let seconds = time.map(|time| time.as_nanos() as f64 / 1e9);
        for (segment, finding) in (1_u16..).zip(&findings) {
            let mask = finding.mask.as_ref().filter(|_| finding.present);
            if let Some(mask) = mask {
                masks.add(segment, frame, mask).map_err(|e| bad(&e))?;
            }
            let within = finding.bounding_box.and_then(|b| source.spacing(b));
            let measured = mask
                .zip(within)
                .and_then(|(mask, at)| measure(mask, at.x, at.y));
            answers.push(Answer {
                file: file.display().to_string(),
                frame,
                seconds,
                prompt: finding.prompt.clone(),
                present: finding.present,
                presence: finding.presence,
                withheld: finding.withheld,
                area_pixels: finding.area,
                area_mm2: measured.map(|m| m.area),
                long_diameter_mm: measured.map(|m| m.long),
                short_diameter_mm: measured.map(|m| m.short),
            });
        }
        segmenter.reuse(findings);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let masks = masks.ok_or_else(|| bad(&"no frame in it"))?;
    Ok(Answered {
        answers,
        source,
        masks,
    })
}

fn empty(source: &Source, findings: &[Finding]) -> Result<Segmentation, ObjectError> {
    // The same object by the same prompt is tracked as the same, whenever it was looked for.
    let segment = |f: &Finding| {
        let tracking_uid = derived_uid(&[source.instance(), &f.prompt]);
        let segment = Segment::new(&f.prompt, f.object.as_deref())?;
        Ok(Segment {
            tracking_uid,
            ..segment
        })
    };
    let segments = findings.iter().map(segment).collect::<Result<_, _>>()?;
    Segmentation::new(source, Kind::Binary, segments)
}

pub(super) fn origin(segmenter: &Segmenter) -> Origin {
    let manifest = segmenter.manifest();
    Origin {
        manufacturer: "bedside".to_owned(),
        model_name: "bedside".to_owned(),
        serial_number: String::new(),
        software_version: env!("CARGO_PKG_VERSION").to_owned(),
        bundle: manifest.name.clone(),
        bundle_version: manifest.version.clone(),
        bundle_hash: format!("sha256:{}", segmenter.bundle().digest()),
    }
}

/// Write what is wanted of one file: all of it or nothing.
fn write(
    answered: &Answered,
    question: &Question<'_>,
    out: Option<(&Folder, &str)>,
    origin: &Origin,
    ui: Ui,
) -> Result<(), Failure> {
    if out.is_none() && question.outputs.seg.is_none() {
        return Ok(());
    }
    let series = |number, description| {
        Series::new(number, description).map_err(|e| Failure::new(Exit::Internal, e.to_string()))
    };
    let series = [
        series(SEG_SERIES, SEG_DESCRIPTION)?,
        series(SR_SERIES, SR_DESCRIPTION)?,
    ];
    let [masks, measured] = objects(answered, origin, &series, 1)?;
    if let Some((folder, stem)) = out {
        let file = |ending: &str, bytes| NewFile {
            name: format!("{stem}.{ending}"),
            bytes,
        };
        let written = folder.write(&[
            file("seg.dcm", masks.clone()),
            file("sr.dcm", measured.clone()),
            file("csv", csv(&answered.answers)?),
        ])?;
        for path in written {
            ui.note(format_args!("wrote {}", path.display()));
        }
    }
    let wanted = [
        (&question.outputs.seg, masks),
        (&question.outputs.sr, measured),
    ];
    for (path, bytes) in wanted {
        if let Some(path) = path {
            write_file(path, bytes)?;
            ui.note(format_args!("wrote {}", path.display()));
        }
    }
    Ok(())
}

/// The files of the Segmentation and of the report of it, each for its series, with their number
/// there.
pub(super) fn objects(
    answered: &Answered,
    origin: &Origin,
    series: &[Series; 2],
    number: u32,
) -> Result<[Vec<u8>; 2], Failure> {
    let failed = |error: ObjectError| Failure::new(Exit::Input, error.to_string());
    let [of_masks, of_reports] = series;
    let context = Context {
        source: &answered.source,
        origin,
        series: of_masks,
        number,
        now: answered.source.now(),
    };
    let masks = answered.masks.to_dicom(&context).map_err(failed)?;
    let context = Context {
        series: of_reports,
        ..context
    };
    let measured = report(&answered.masks, &masks, &context).map_err(failed)?;
    let bytes = |object: &bedside_dicom::Object| {
        let mut bytes = Vec::new();
        let written = object.write_all(&mut bytes);
        written.map_err(|e| Failure::new(Exit::Internal, e.to_string()))?;
        Ok::<_, Failure>(bytes)
    };
    Ok([bytes(&masks)?, bytes(&measured)?])
}

fn csv(answers: &[Answer]) -> Result<Vec<u8>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Internal, error.to_string());
    let mut writer = csv::Writer::from_writer(Vec::new());
    for answer in answers {
        writer.serialize(answer).map_err(|e| failed(&e))?;
    }
    writer.into_inner().map_err(|e| failed(&e))
}

/// For each prompt: on how many frames it is, and where it is largest.
fn table(file: &Path, answers: &[Answer]) -> String {
    let mut table = Table::new([
        "prompt",
        ">frames",
        ">with it",
        ">withheld",
        ">largest",
        "at frame",
    ]);
    let mut seen = HashSet::new();
    for prompt in answers.iter().map(|answer| &answer.prompt) {
        if !seen.insert(prompt) {
            continue;
        }
        let of = || answers.iter().filter(|answer| answer.prompt == *prompt);
        let largest = of().filter(|a| a.present).max_by_key(|a| a.area_pixels);
        let (area, at) = largest.map_or(("-".to_owned(), String::new()), |a| {
            let area = match a.area_mm2 {
                Some(area) => format!("{area:.1} mm2"),
                None => format!("{} pixels", a.area_pixels),
            };
            (area, a.frame.to_string())
        });
        let count = |which: &dyn Fn(&Answer) -> bool| of().filter(|a| which(a)).count().to_string();
        let (present, withheld) = (count(&|a| a.present), count(&|a| a.withheld.is_some()));
        let frames = of().count().to_string();
        table.row([prompt.clone(), frames, present, withheld, area, at]);
    }
    let unknown = answers.iter().any(|answer| answer.withheld.is_some());
    let note = match unknown {
        true => {
            "withheld: these frames look unlike those that the model learned from, or like other imaging\n"
        }
        false => "",
    };
    format!("{}\n{table}{note}\n", file.display())
}
