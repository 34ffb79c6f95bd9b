//! What was found: as a table, as JSON, and as pictures.

use std::path::Path;

use bedside::vision::overlay;
use bedside::{
    BoundingBox, Finding, Frame, LooksLike, Modality, PixelFormat, Segmentation, Timings, Withheld,
};
use bedside_annotate::Rle;
pub(crate) use bedside_eval::Model;
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::image_file;
use crate::output::{NewFile, Stems};
use crate::table::Table;
use crate::ui::SAFETY;

/// One JSON document: what `--json` prints and what lies beside the pictures.
#[derive(Debug, Serialize)]
pub(crate) struct Document<'a> {
    bedside: &'static str,
    notice: &'static str,
    model: &'a Model,
    images: &'a [Image],
}

impl<'a> Document<'a> {
    pub(crate) fn new(model: &'a Model, images: &'a [Image]) -> Self {
        Self {
            bedside: env!("CARGO_PKG_VERSION"),
            notice: SAFETY,
            model,
            images,
        }
    }
}

/// One image of a [`Document`].
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Image {
    Done {
        file: String,
        width: u32,
        height: u32,
        findings: Vec<FindingJson>,
        #[serde(skip_serializing_if = "Option::is_none")]
        looks_like: Option<LooksLikeJson>,
        milliseconds: Milliseconds,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        written: Vec<String>,
    },
    Failed {
        file: String,
        error: Failure,
    },
}

impl Image {
    pub(crate) fn done(file: &Path, frame: &Frame, answer: &Segmentation) -> Self {
        Self::Done {
            file: file.display().to_string(),
            width: frame.width(),
            height: frame.height(),
            findings: answer.findings.iter().map(FindingJson::from).collect(),
            looks_like: answer.looks_like.map(LooksLikeJson::from),
            milliseconds: answer.timings.into(),
            written: Vec::new(),
        }
    }

    /// Note a file that was written for this image.
    pub(crate) fn wrote(&mut self, path: &Path) {
        if let Self::Done { written, .. } = self {
            written.push(path.display().to_string());
        }
    }
}

/// The kind of imaging that a frame looks like; `null` for none that the model knows.
#[derive(Debug, Serialize)]
pub(crate) struct LooksLikeJson {
    modality: Option<Modality>,
    probability: f32,
}

impl From<LooksLike> for LooksLikeJson {
    fn from(like: LooksLike) -> Self {
        Self {
            modality: like.modality,
            probability: like.probability,
        }
    }
}

/// A [`Finding`] as it stands in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct FindingJson {
    prompt: String,
    object: Option<String>,
    present: bool,
    presence: f32,
    meta_object: Option<String>,
    area: u64,
    bounding_box: Option<BoundingBox>,
    mean_probability: Option<f32>,
    validity: Option<f32>,
    fit: Option<f32>,
    withheld: Option<Withheld>,
    mask: Option<Rle>,
}

impl From<&Finding> for FindingJson {
    fn from(finding: &Finding) -> Self {
        Self {
            prompt: finding.prompt.clone(),
            object: finding.object.clone(),
            present: finding.present,
            presence: finding.presence,
            meta_object: finding.meta_object.clone(),
            area: finding.area,
            bounding_box: finding.bounding_box,
            mean_probability: finding.mean_probability,
            validity: finding.validity,
            fit: finding.fit,
            withheld: finding.withheld,
            mask: finding.mask.as_ref().map(Rle::from),
        }
    }
}

/// Time of each stage.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Milliseconds {
    preprocess: f64,
    encoder: f64,
    decoder: f64,
    masks: f64,
    total: f64,
}

impl From<Timings> for Milliseconds {
    fn from(timings: Timings) -> Self {
        let ms = |d: std::time::Duration| (d.as_secs_f64() * 1e6).round() / 1e3;
        Self {
            preprocess: ms(timings.preprocess),
            encoder: ms(timings.encoder),
            decoder: ms(timings.decoder),
            masks: ms(timings.masks),
            total: ms(timings.total()),
        }
    }
}

/// Name of a finding's object for people.
fn label(finding: &Finding) -> &str {
    finding.object.as_deref().unwrap_or(&finding.prompt)
}

fn answer_of(finding: &Finding) -> &'static str {
    match (finding.present, finding.withheld) {
        (_, Some(Withheld::OtherModality)) => "no: other modality",
        (_, Some(_)) => "no: unfamiliar frame",
        (true, None) => "yes",
        (false, None) => "no",
    }
}

/// What the frame looks like, where that was asked of it and keeps answers back.
fn looks_like(answer: &Segmentation) -> String {
    let withheld = |f: &Finding| f.withheld == Some(Withheld::OtherModality);
    match answer.looks_like {
        Some(like) if answer.findings.iter().any(withheld) => {
            let what = like
                .modality
                .map_or("no kind of imaging that the model knows".to_owned(), |m| {
                    m.to_string()
                });
            format!(
                "this frame looks like {what} ({})\n",
                percent(f64::from(like.probability))
            )
        }
        _ => String::new(),
    }
}

/// Percent with a digit behind the point.
fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn share_of_frame(area: u64, frame: &Frame) -> f64 {
    area as f64 / (f64::from(frame.width()) * f64::from(frame.height()))
}

/// What a person reads of one image.
pub(crate) fn text(file: &Path, frame: &Frame, answer: &Segmentation) -> String {
    let titles = [
        "object",
        "present",
        ">presence",
        ">area",
        ">share",
        "box",
        ">probability",
        ">validity",
    ];
    let mut table = Table::new(titles);
    for finding in &answer.findings {
        let number = |v: Option<f32>| v.map_or("-".to_owned(), |v| format!("{v:.2}"));
        let place = finding.bounding_box.map_or("-".to_owned(), |b| {
            format!("{}x{} at {},{}", b.width, b.height, b.x, b.y)
        });
        let (area, share) = if finding.present {
            (
                format!("{} px", finding.area),
                percent(share_of_frame(finding.area, frame)),
            )
        } else {
            ("-".to_owned(), "-".to_owned())
        };
        table.row([
            label(finding).to_owned(),
            answer_of(finding).to_owned(),
            percent(f64::from(finding.presence)),
            area,
            share,
            place,
            number(finding.mean_probability),
            number(finding.validity),
        ]);
    }
    let ms = Milliseconds::from(answer.timings);
    format!(
        "{} ({}x{})\n{table}{}preprocess {:.1} ms + encoder {:.1} ms + decoder {:.1} ms + masks {:.1} ms \
         = {:.1} ms\n",
        file.display(),
        frame.width(),
        frame.height(),
        looks_like(answer),
        ms.preprocess,
        ms.encoder,
        ms.decoder,
        ms.masks,
        ms.total,
    )
}

/// The files of one image: overlay, a mask for each object that is present, and the numbers.
pub(crate) fn files(
    stem: &str,
    frame: &Frame,
    answer: &Segmentation,
    model: &Model,
    image: &Image,
) -> Result<Vec<NewFile>, Failure> {
    let mut files = vec![NewFile {
        name: format!("{stem}.overlay.png"),
        bytes: overlay_png(frame, answer)?,
    }];
    let mut names = Stems::default();
    for finding in &answer.findings {
        // A number tells apart prompts that mean the same object.
        let object = names.unique(label(finding));
        if let Some(mask) = &finding.mask {
            files.push(NewFile {
                name: format!("{stem}.{object}.mask.png"),
                bytes: image_file::mask_png(mask)?,
            });
        }
    }
    let document = Document::new(model, std::slice::from_ref(image));
    let mut json = serde_json::to_vec_pretty(&document)
        .map_err(|e| Failure::new(Exit::Internal, format!("result is no JSON: {e}")))?;
    json.push(b'\n');
    files.push(NewFile {
        name: format!("{stem}.json"),
        bytes: json,
    });
    Ok(files)
}

/// The frame with every present object drawn in, a legend and the safety line.
fn overlay_png(frame: &Frame, answer: &Segmentation) -> Result<Vec<u8>, Failure> {
    let items = answer.findings.iter().filter_map(|finding| {
        Some(overlay::Item {
            mask: finding.mask.as_ref()?,
            label: label(finding).to_owned(),
            detail: format!(
                "{:.0} %  area {}",
                finding.presence * 100.0,
                percent(share_of_frame(finding.area, frame))
            ),
        })
    });
    let overlay = overlay::draw(frame, &items.collect::<Vec<_>>(), SAFETY);
    image_file::png(
        overlay.width,
        overlay.height,
        PixelFormat::Rgb8,
        &overlay.rgb,
    )
}
