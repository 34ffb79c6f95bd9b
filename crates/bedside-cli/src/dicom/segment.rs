//! Every frame of DICOM files, segmented; masks and measurements as DICOM objects.

use std::path::PathBuf;

use bedside::{ErrorKind, Finding, Frame, FrameView, Modality, Prompt, PromptSet, Segmenter};
use bedside_dicom::Dicom;
use bedside_dicom::view::View;
use bedside_dicom::write::{
    Context, Kind, ObjectError, Origin, SEG_DESCRIPTION, SEG_SERIES, SR_DESCRIPTION, SR_SERIES,
    Segment, Segmentation, Series, Source, centre, measure, report, report_volumes,
};
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::model::ModelArgs;
use crate::output::{Folder, NewFile, Stems, Writing, write_file};
use crate::report::Model;
use crate::ui::{SAFETY, Ui};

use super::answer::{self, About, Answer, Region, Series as SeriesJson};
use super::images::{Images, Opened, sorted};
use super::montage::{self, Tile};
use super::plot::{self, Curve};
use super::ventricle::Ventricle;
use super::{files, open};

/// Endings of the names of their files.
const SEG: &str = "seg.dcm";
const SR: &str = "sr.dcm";

/// What is written of a DICOM file besides what `--out` gives.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "DICOM options")]
pub(crate) struct Outputs {
    /// Write the masks of one DICOM file or series as a Segmentation object
    #[arg(long, value_name = "FILE")]
    seg: Option<PathBuf>,

    /// Write the measurements of one DICOM file or series as a Structured Report
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

/// What is looked for.
#[derive(Clone, Copy)]
pub(crate) enum Ask<'a> {
    These(&'a [String]),
    /// All that is known of the kind of imaging and site.
    All,
}

/// What is asked of every file.
pub(crate) struct Question<'a> {
    pub files: &'a [PathBuf],
    pub out: Option<&'a PathBuf>,
    pub outputs: &'a Outputs,
    pub ask: Ask<'a>,
    pub modality: Option<Modality>,
    pub site: Option<&'a String>,
}

/// What is known of a file or a series, and what it is known from.
pub(super) struct Answered {
    about: About,
    answers: Vec<Answer>,
    pub(super) opened: Opened,
    masks: Segmentation,
}

pub(crate) fn segment(question: &Question<'_>, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    let images = sorted(files(question.files)?, ui);
    if question.outputs.seg.is_some() && images.len() > 1 {
        let message = "--seg is of one file or series; hint: --out DIR writes one for each";
        return Err(Failure::new(Exit::Usage, message));
    }
    // Told of before the model is loaded.
    if let [Images::File(file)] = &*images {
        open(file)?;
    }
    let bundle = model.bundle(None)?;
    let asked: Vec<Prompt> = question.texts().iter().map(Prompt::new).collect();
    let options = model.options_for(&bundle, &asked, ui)?;
    let mut segmenter = Segmenter::new(bundle, options.backend()?, &options)?;
    ui.note(SAFETY);
    let described = Model::of(&segmenter);
    let origin = origin(&segmenter);
    let folder = question.out.map(Folder::new);
    let mut stems = Stems::default();
    let (mut all, mut answers, mut failure) = (Vec::new(), Vec::new(), None);
    for images in &images {
        let stem = stems.next(images.name());
        let one = answer(images, question, &mut segmenter, ui).and_then(|mut answered| {
            write(
                &mut answered,
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
                    ui.print(&answer::text(&about, &more))?;
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
        write_file(path, answer::csv(&answers)?)?;
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

impl Question<'_> {
    fn texts(&self) -> &[String] {
        match self.ask {
            Ask::These(texts) => texts,
            Ask::All => &[],
        }
    }
}

/// A question as it is asked of one file: what its header says of modality and site settles what a
/// word alone leaves open.
enum Asked {
    These(PromptSet),
    All(Modality, Option<String>),
}

impl Asked {
    fn of(
        question: &Question<'_>,
        dicom: &Dicom,
        segmenter: &mut Segmenter,
    ) -> Result<Self, Failure> {
        let modality = question.modality.or(dicom.modality());
        let site = |told: Option<&str>| question.site.cloned().or(told.map(str::to_owned));
        let texts = match question.ask {
            Ask::These(texts) => texts,
            Ask::All => {
                let modality = modality.ok_or_else(|| {
                    let why = "the header does not tell the kind of imaging; hint: --modality does";
                    Failure::new(Exit::Prompt, why)
                })?;
                // A header may name a site at which nothing is known where something beside it is.
                let known = dicom.site().filter(|site| {
                    let mut forms = segmenter.prompt_table().trained_forms();
                    forms.any(|form| form.modality == modality && &*form.site == *site)
                });
                return Ok(Self::All(modality, site(known)));
            }
        };
        let prompts = |told: Option<&str>| {
            let prompt = |text: &String| Prompt {
                text: text.clone(),
                modality,
                site: site(told),
            };
            texts.iter().map(prompt).collect::<Vec<_>>()
        };
        let set = match segmenter.prompts(&prompts(dicom.site())) {
            // Likewise.
            Err(error) if error.kind() == ErrorKind::Prompt && dicom.site().is_some() => {
                segmenter.prompts(&prompts(None)).map_err(|_| error)
            }
            other => other,
        };
        Ok(Self::These(set?))
    }

    fn answered(
        &self,
        segmenter: &mut Segmenter,
        picture: FrameView<'_>,
    ) -> Result<Vec<Finding>, Failure> {
        let answer = match self {
            Self::These(prompts) => segmenter.segment(picture, prompts)?,
            Self::All(modality, site) => {
                segmenter.recognize(picture, Some(*modality), site.as_deref())?
            }
        };
        Ok(answer.findings)
    }
}

pub(super) fn answer(
    images: &Images,
    question: &Question<'_>,
    segmenter: &mut Segmenter,
    ui: Ui,
) -> Result<Answered, Failure> {
    let name = images.name().display();
    let bad = |error: ObjectError| Failure::new(Exit::Input, format!("{name}: {error}"));
    let mut opened = images.open(question.outputs.whole_frame)?;
    let asked = Asked::of(question, &opened.dicom, segmenter).map_err(|e| e.at(&name))?;
    let bar = ui.progress(u64::from(opened.frames()), "frames");
    let mut masks = None;
    let mut answers = Vec::new();
    for frame in 1..=opened.frames() {
        let picture = opened.frame(frame)?;
        let findings = look(&picture, opened.view, segmenter, &asked)?;
        let masks = match &mut masks {
            Some(masks) => masks,
            None => masks.insert(empty(&opened.source, &findings).map_err(bad)?),
        };
        for (segment, finding) in (1_u16..).zip(&findings) {
            let mask = finding.mask.as_ref().filter(|_| finding.present);
            if let Some(mask) = mask {
                masks.add(segment, frame, mask).map_err(bad)?;
            }
            let within = finding.bounding_box.and_then(|b| opened.source.spacing(b));
            let measured = mask
                .zip(within)
                .and_then(|(mask, at)| measure(mask, at.x, at.y));
            let middle = mask.and_then(centre);
            answers.push(Answer {
                file: opened.file(frame).display().to_string(),
                frame,
                seconds: opened.seconds(frame),
                depth_mm: opened.depth(frame),
                prompt: finding.prompt.clone(),
                object: finding.object.clone(),
                present: finding.present,
                presence: finding.presence,
                withheld: finding.withheld,
                area_pixels: finding.area,
                centre_x: middle.map(|(x, _)| x),
                centre_y: middle.map(|(_, y)| y),
                area_mm2: measured.map(|m| m.area),
                long_diameter_mm: measured.map(|m| m.long),
                short_diameter_mm: measured.map(|m| m.short),
            });
        }
        segmenter.reuse(findings);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let masks = masks.ok_or_else(|| bad(ObjectError::Attribute("Number of Frames")))?;
    let stack = opened.slices.as_ref().map(|(_, stack)| stack);
    let ventricle = match (stack, opened.frames()) {
        (None, 3..) => Ventricle::of(&answers, &opened.source, &masks),
        _ => None,
    };
    Ok(Answered {
        about: About {
            file: name.to_string(),
            region: opened.view.map(Region::of),
            regions_left_out: opened.dicom.regions_left_out(),
            series: stack.map(|stack| SeriesJson::of(stack, &answers)),
            ventricle,
        },
        answers,
        opened,
        masks,
    })
}

/// What is found in the picture within a frame, in places of the whole frame.
fn look(
    frame: &Frame,
    view: Option<View>,
    segmenter: &mut Segmenter,
    asked: &Asked,
) -> Result<Vec<Finding>, Failure> {
    let Some((view, picture)) = view.and_then(|view| Some((view, view.cut(frame)?))) else {
        return asked.answered(segmenter, frame.into());
    };
    let mut findings = asked.answered(segmenter, picture)?;
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
    let segment = |f: &Finding| Segment::of(source, &f.prompt, f.object.as_deref());
    Segmentation::new(source, Kind::Binary, findings.iter().map(segment).collect())
}

pub(super) fn origin(segmenter: &Segmenter) -> Origin {
    let (bundle, manifest) = (segmenter.bundle(), segmenter.manifest());
    Origin::bedside(&manifest.name, &manifest.version, bundle.digest())
}

/// Write what is wanted of one file or series: all of it or nothing.
fn write(
    answered: &mut Answered,
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
    let mut written = Written {
        writing: out.map(|(folder, stem)| (folder.begin(), stem)),
        paths: Vec::new(),
    };
    objects(answered, origin, &series, 1, |ending, bytes| {
        let path = match ending {
            SEG => question.outputs.seg.as_ref(),
            _ => question.outputs.sr.as_ref(),
        };
        written.put(ending, path, bytes)
    })?;
    if written.writing.is_some() {
        written.put("csv", None, answer::csv(&answered.answers)?)?;
        written.put("montage.png", None, montage(answered)?)?;
        if let Some(plot) = plot(answered) {
            written.put("areas.svg", None, plot.into_bytes())?;
        }
    }
    for path in written.keep() {
        ui.note(format_args!("wrote {}", path.display()));
    }
    Ok(())
}

/// The files of the Segmentation and of the report of it, each for its series, with their number
/// there: `take` gets the ending of each file's name with its bytes.
pub(super) fn objects(
    answered: &Answered,
    origin: &Origin,
    series: &[Series; 2],
    number: u32,
    mut take: impl FnMut(&str, Vec<u8>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |error: ObjectError| Failure::new(Exit::Input, error.to_string());
    let source = &answered.opened.source;
    let [of_masks, of_reports] = series;
    let context = Context {
        source,
        origin,
        series: of_masks,
        number,
        now: source.now(),
    };
    // A clip may have thousands of frames: no more than one object of it is in memory at a time.
    let (bytes, masks) = answered.masks.to_file(&context).map_err(failed)?;
    take(SEG, bytes)?;
    let context = Context {
        series: of_reports,
        ..context
    };
    let volumes = answered.about.series.as_ref().map(SeriesJson::millilitres);
    let ventricle = answered.about.ventricle.as_ref().map(Ventricle::measured);
    let measured = match volumes {
        Some(volumes) => report_volumes(&answered.masks, &masks, &volumes, &context),
        None => report(&answered.masks, &masks, ventricle.as_ref(), &context),
    };
    let mut bytes = Vec::new();
    let encoded = measured.map_err(failed)?.write_all(&mut bytes);
    encoded.map_err(|e| Failure::new(Exit::Internal, e.to_string()))?;
    take(SR, bytes)
}

/// What is written of one file or series: in a folder, and at paths of the user's choice.
struct Written<'a> {
    writing: Option<(Writing<'a>, &'a str)>,
    paths: Vec<PathBuf>,
}

impl Written<'_> {
    fn put(&mut self, ending: &str, path: Option<&PathBuf>, bytes: Vec<u8>) -> Result<(), Failure> {
        let mut file = NewFile {
            name: String::new(),
            bytes,
        };
        if let Some((writing, stem)) = &mut self.writing {
            file.name = format!("{stem}.{ending}");
            self.paths
                .extend(writing.write(std::slice::from_ref(&file))?);
        }
        if let Some(path) = path {
            write_file(path, file.bytes)?;
            self.paths.push(path.clone());
        }
        Ok(())
    }

    /// The set is whole: what was written stays.
    fn keep(self) -> Vec<PathBuf> {
        if let Some((writing, _)) = self.writing {
            writing.keep();
        }
        self.paths
    }
}

/// The ends of diastole and systole, where there are beats; else slices and frames on which something
/// is, where that is on any; else some of all.
fn montage(answered: &mut Answered) -> Result<Vec<u8>, Failure> {
    let frames = answered.opened.frames();
    let ventricle = answered.about.ventricle.as_ref();
    let mut shown = ventricle.map_or_else(Vec::new, Ventricle::frames);
    let what = match (answered.opened.slices.is_some(), shown.is_empty()) {
        (true, _) => "slices",
        (false, true) => "frames",
        (false, false) => "ends of diastole and systole: frames",
    };
    if shown.is_empty() {
        let found = answered.answers.iter().filter(|answer| answer.present);
        shown = found.map(|answer| answer.frame).collect();
        shown.dedup();
    }
    if shown.is_empty() {
        shown = (1..=frames).collect();
    }
    let shown = montage::spread(&shown);
    let segments = answered.masks.segments();
    let tile = |frame: &u32| {
        let masks = (1_u16..).zip(segments);
        let masks = masks.map(|(segment, _)| answered.masks.mask(segment, *frame));
        let masks = masks.collect::<Result<Vec<_>, _>>();
        Ok(Tile {
            frame: answered.opened.frame(*frame)?,
            masks: masks.map_err(|e| Failure::new(Exit::Internal, e.to_string()))?,
        })
    };
    let tiles = shown
        .iter()
        .map(tile)
        .collect::<Result<Vec<_>, Failure>>()?;
    let labels: Vec<&str> = segments.iter().map(|s| s.label.as_str()).collect();
    let numbers: Vec<String> = shown.iter().map(u32::to_string).collect();
    let footer = format!("{what} {}. {SAFETY}", numbers.join(", "));
    montage::png(&tiles, &labels, &footer)
}

/// Areas over time, of what has several frames and is no series.
fn plot(answered: &Answered) -> Option<String> {
    let opened = &answered.opened;
    if opened.frames() == 1 || opened.slices.is_some() {
        return None;
    }
    let answers = &answered.answers;
    let in_mm = answers
        .iter()
        .filter(|a| a.present)
        .all(|a| a.area_mm2.is_some());
    let area = |answer: &Answer| match in_mm {
        true => answer.area_mm2,
        false => Some(answer.area_pixels as f64),
    };
    let curve = |name| {
        let own = answers.iter().filter(move |answer| answer.prompt == name);
        let ventricle = answered.about.ventricle.as_ref();
        let ventricle = ventricle.filter(|_| own.clone().any(Ventricle::is_of));
        Curve {
            name,
            values: own.map(|a| area(a).filter(|_| a.present)).collect(),
            marks: ventricle.map_or_else(Vec::new, Ventricle::marks),
        }
    };
    let curves: Vec<_> = answer::prompts(answers).into_iter().map(curve).collect();
    let frames = || 1..=opened.frames();
    let seconds: Option<Vec<f64>> = frames().map(|frame| opened.seconds(frame)).collect();
    let (axis, x) = match seconds {
        Some(seconds) => (seconds, "seconds"),
        None => (frames().map(f64::from).collect(), "frame"),
    };
    let y = if in_mm {
        "area in mm2"
    } else {
        "area in pixels"
    };
    Some(plot::svg(&axis, &curves, x, y))
}
