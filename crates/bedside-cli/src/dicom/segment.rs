//! Every frame of DICOM files, segmented; masks and measurements as DICOM objects.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bedside::{ErrorKind, Finding, Frame, Modality, Prompt, PromptSet, Segmenter, Withheld};
use bedside_dicom::Dicom;
use bedside_dicom::view::{View, ViewFrom};
use bedside_dicom::write::{
    Context, Kind, ObjectError, Origin, Segment, Segmentation, Series, Source, measure, report,
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
const SEG_SERIES: u32 = 9101;
const SR_SERIES: u32 = 9102;

/// What is written of a DICOM file besides what `--out` gives.
#[derive(Debug, clap::Args)]
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

    /// Show the model whole frames of ultrasound, with the text and scales around the picture
    #[arg(long)]
    whole_frame: bool,
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

/// What is told of a file as a whole.
#[derive(Debug, Serialize)]
struct About {
    file: String,
    region: Option<Region>,
    /// Ultrasound regions of the header that do not lie in the frame.
    regions_left_out: usize,
}

/// The part of each frame that the model was shown.
#[derive(Debug, Serialize)]
struct Region {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
    from: &'static str,
}

impl Region {
    fn of(view: View) -> Self {
        let part = view.part;
        Self {
            x: part.x,
            y: part.y,
            width: part.width,
            height: part.height,
            from: match view.from {
                ViewFrom::Region => "header",
                ViewFrom::Content => "content",
            },
        }
    }
}

/// A file's answers, and its masks as they are written.
struct Answered {
    about: About,
    answers: Vec<Answer>,
    source: Source,
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
    let (mut all, mut answers, mut failure) = (Vec::new(), Vec::new(), None);
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
            Ok((answered.about, answered.answers))
        });
        match one {
            Ok((about, mut more)) => {
                if !ui.json() {
                    ui.print(&table(&about, &more))?;
                }
                all.push(about);
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
            "files": all,
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

fn answer(
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
    let view = match question.outputs.whole_frame {
        true => None,
        false => View::of(&mut dicom).map_err(|e| bad(&e))?,
    };
    let bar = ui.progress(u64::from(dicom.frames()), "frames");
    let mut masks = None;
    let mut answers = Vec::new();
    for frame in 1..=dicom.frames() {
        let picture = dicom.frame(frame - 1).map_err(|e| bad(&e))?;
        let findings = look(&picture, view, segmenter, &set)?;
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
        about: About {
            file: file.display().to_string(),
            region: view.map(Region::of),
            regions_left_out: dicom.regions_left_out(),
        },
        answers,
        source,
        masks,
    })
}

/// What is found in the picture within a frame, in places of the whole frame.
fn look(
    frame: &Frame,
    view: Option<View>,
    segmenter: &mut Segmenter,
    prompts: &PromptSet,
) -> Result<Vec<Finding>, Failure> {
    let Some((view, picture)) = view.and_then(|view| Some((view, view.cut(frame)?))) else {
        return Ok(segmenter.segment(frame, prompts)?.findings);
    };
    let mut findings = segmenter.segment(picture, prompts)?.findings;
    for finding in &mut findings {
        let whole = |mask| view.put_back(mask, frame.width(), frame.height());
        finding.mask = finding.mask.as_ref().map(whole);
        if let Some(place) = &mut finding.bounding_box {
            (place.x, place.y) = (place.x + view.part.x, place.y + view.part.y);
        }
    }
    Ok(findings)
}

fn empty(source: &Source, findings: &[Finding]) -> Result<Segmentation, ObjectError> {
    let segment = |f: &Finding| Segment::new(&f.prompt, f.object.as_deref());
    let segments = findings.iter().map(segment).collect::<Result<_, _>>()?;
    Segmentation::new(source, Kind::Binary, segments)
}

fn origin(segmenter: &Segmenter) -> Origin {
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
    let failed = |error: ObjectError| Failure::new(Exit::Input, error.to_string());
    let source = &answered.source;
    let series = Series::new(SEG_SERIES, "Segmentation by bedside").map_err(failed)?;
    let context = Context {
        source,
        origin,
        series: &series,
        number: 1,
        now: source.now(),
    };
    let masks = answered.masks.to_dicom(&context).map_err(failed)?;
    let series = Series::new(SR_SERIES, "Measurements by bedside").map_err(failed)?;
    let context = Context {
        series: &series,
        ..context
    };
    let measured = report(&answered.masks, &masks, &context).map_err(failed)?;
    let bytes = |object: &bedside_dicom::Object| {
        let mut bytes = Vec::new();
        let written = object.write_all(&mut bytes);
        written.map_err(|e| Failure::new(Exit::Internal, e.to_string()))?;
        Ok::<_, Failure>(bytes)
    };
    if let Some((folder, stem)) = out {
        let file = |ending: &str, bytes| NewFile {
            name: format!("{stem}.{ending}"),
            bytes,
        };
        let written = folder.write(&[
            file("seg.dcm", bytes(&masks)?),
            file("sr.dcm", bytes(&measured)?),
            file("csv", csv(&answered.answers)?),
        ])?;
        for path in written {
            ui.note(format_args!("wrote {}", path.display()));
        }
    }
    let wanted = [
        (&question.outputs.seg, &masks),
        (&question.outputs.sr, &measured),
    ];
    for (path, object) in wanted {
        if let Some(path) = path {
            write_file(path, bytes(object)?)?;
            ui.note(format_args!("wrote {}", path.display()));
        }
    }
    Ok(())
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
fn table(about: &About, answers: &[Answer]) -> String {
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
    let region = about.region.as_ref().map_or(String::new(), |at| {
        let Region {
            x,
            y,
            width,
            height,
            from,
        } = at;
        let from = match *from {
            "header" => "as the header says",
            _ => "where the picture seems to be; --whole-frame shows all",
        };
        format!("looked at {width}x{height} at {x},{y}, {from}\n")
    });
    let left_out = match about.regions_left_out {
        0 => "",
        _ => {
            "the header's ultrasound regions do not fit the frames: no lengths are taken from them\n"
        }
    };
    let unknown = answers.iter().any(|answer| answer.withheld.is_some());
    let note = match unknown {
        true => {
            "withheld: these frames look unlike those that the model learned from, or like other imaging\n"
        }
        false => "",
    };
    format!("{}\n{table}{region}{left_out}{note}\n", about.file)
}
