//! What is told of files and their frames: as JSON, as a table for people, and as CSV.

use std::collections::HashSet;

use bedside::Withheld;
use bedside_dicom::stack::Stack;
use bedside_dicom::view::{View, ViewFrom};
use serde::Serialize;

use super::ventricle::Ventricle;
use crate::failure::{Exit, Failure};
use crate::table::Table;

/// One answer on one frame.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Answer {
    pub file: String,
    /// From 1, as DICOM counts; of a series, the slice.
    pub frame: u32,
    pub seconds: Option<f64>,
    /// Of a series: how far the slice lies along the direction across the slices.
    pub depth_mm: Option<f64>,
    pub prompt: String,
    pub object: Option<String>,
    pub present: bool,
    pub presence: f32,
    /// Why what was found is not shown.
    pub withheld: Option<Withheld>,
    pub area_pixels: u64,
    /// Column and row of its middle; that of the first pixel is at 0.5, 0.5.
    pub centre_x: Option<f64>,
    pub centre_y: Option<f64>,
    pub area_mm2: Option<f64>,
    pub long_diameter_mm: Option<f64>,
    pub short_diameter_mm: Option<f64>,
}

/// What is told of a file, or of a series, as a whole.
#[derive(Debug, Serialize)]
pub(super) struct About {
    /// The file; of a series, the folder of its first slice.
    pub file: String,
    pub region: Option<Region>,
    /// Ultrasound regions of the header that do not lie in the frame.
    pub regions_left_out: usize,
    pub series: Option<Series>,
    /// Of a cine of the left ventricle.
    pub ventricle: Option<Ventricle>,
}

/// The part of each frame that the model was shown.
#[derive(Debug, Serialize)]
pub(super) struct Region {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
    from: &'static str,
}

/// A stack of slices.
#[derive(Debug, Serialize)]
pub(super) struct Series {
    pub slices: usize,
    pub spacing_mm: Option<f64>,
    pub even: bool,
    /// Slices behind which some seem to be missing, with the distance to the next.
    pub gaps: Vec<Gap>,
    pub volumes: Vec<Volume>,
}

#[derive(Debug, Serialize)]
pub(super) struct Gap {
    pub after_slice: usize,
    pub distance_mm: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Volume {
    pub prompt: String,
    pub millilitres: f64,
    /// Slices on which the object was not answered, and which are not in the volume.
    pub slices_withheld: usize,
}

impl Region {
    pub(super) fn of(view: View) -> Self {
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

pub(super) fn csv(answers: &[Answer]) -> Result<Vec<u8>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Internal, error.to_string());
    let mut writer = csv::Writer::from_writer(Vec::new());
    for answer in answers {
        writer.serialize(answer).map_err(|e| failed(&e))?;
    }
    writer.into_inner().map_err(|e| failed(&e))
}

/// The prompts of answers, each once.
pub(super) fn prompts(answers: &[Answer]) -> Vec<&str> {
    let mut seen = HashSet::new();
    let prompts = answers.iter().map(|answer| answer.prompt.as_str());
    prompts.filter(|prompt| seen.insert(*prompt)).collect()
}

/// For people: on how many frames each prompt is and where it is largest, and what is told of all.
pub(super) fn text(about: &About, answers: &[Answer]) -> String {
    let mut text = format!("{}\n{}", about.file, table(answers));
    if let Some(at) = &about.region {
        let from = match at.from {
            "header" => "as the header says",
            _ => "where the picture seems to be; --whole-frame shows the model all",
        };
        text.push_str(&format!(
            "looked at {}x{} at {},{}, {from}\n",
            at.width, at.height, at.x, at.y
        ));
    }
    if about.regions_left_out > 0 {
        text.push_str(
            "the header's ultrasound regions do not fit the frames: no lengths are taken from them\n",
        );
    }
    if let Some(series) = &about.series {
        text.push_str(&series.text());
    }
    if let Some(ventricle) = &about.ventricle {
        text.push_str(&ventricle.text());
    }
    if answers.iter().any(|answer| answer.withheld.is_some()) {
        text.push_str(
            "withheld: these frames look unlike those that the model learned from, or like other \
             imaging\n",
        );
    }
    text.push('\n');
    text
}

fn table(answers: &[Answer]) -> Table {
    let mut table = Table::new([
        "prompt",
        ">frames",
        ">with it",
        ">withheld",
        ">largest",
        "at frame",
    ]);
    for prompt in prompts(answers) {
        let of = || answers.iter().filter(|answer| answer.prompt == prompt);
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
        table.row([prompt.to_owned(), frames, present, withheld, area, at]);
    }
    table
}

impl Series {
    pub(super) fn of(stack: &Stack, answers: &[Answer]) -> Self {
        let volume = |prompt: &str| {
            let own = || answers.iter().filter(|answer| answer.prompt == prompt);
            let areas: Vec<f64> = own().map(|a| a.area_mm2.unwrap_or_default()).collect();
            Volume {
                prompt: prompt.to_owned(),
                millilitres: stack.volume(&areas).unwrap_or_default() / 1000.0,
                slices_withheld: own().filter(|answer| answer.withheld.is_some()).count(),
            }
        };
        let gaps = stack.gaps().into_iter().map(|(slice, distance_mm)| Gap {
            after_slice: slice + 1,
            distance_mm,
        });
        Self {
            slices: stack.slices.len(),
            spacing_mm: stack.spacing(),
            even: stack.is_even(),
            gaps: gaps.collect(),
            volumes: prompts(answers).into_iter().map(volume).collect(),
        }
    }

    /// The volumes of all prompts.
    pub(super) fn millilitres(&self) -> Vec<f64> {
        self.volumes
            .iter()
            .map(|volume| volume.millilitres)
            .collect()
    }

    fn text(&self) -> String {
        let mut text = match self.spacing_mm {
            Some(spacing) => format!("{} slices, {spacing:.2} mm apart", self.slices),
            None => "one slice".to_owned(),
        };
        if !self.even {
            text.push_str(", unevenly");
        }
        text.push('\n');
        for gap in &self.gaps {
            text.push_str(&format!(
                "gap behind slice {}: {:.2} mm to the next; objects are taken to go on across it\n",
                gap.after_slice, gap.distance_mm
            ));
        }
        for volume in &self.volumes {
            let without = match volume.slices_withheld {
                0 => String::new(),
                slices => format!(", without {slices} slices that are withheld"),
            };
            text.push_str(&format!(
                "{}: {:.2} ml{without}\n",
                volume.prompt, volume.millilitres
            ));
        }
        text
    }
}
