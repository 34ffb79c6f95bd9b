//! The left ventricle over a cine: beats, fractional area change and ejection fraction, as an
//! example of a measurement that a person checks.

use bedside_dicom::heart::{Beat, Turn, beats, discs};
use bedside_dicom::write::{self, Extreme, Segmentation, Source};
use serde::Serialize;

use super::answer::Answer;
use crate::table::Table;

/// The object that is measured.
const OBJECT: &str = "left heart ventricle";
/// Seconds from frame to frame, where the header does not tell.
const STEP: f64 = 1.0 / 30.0;
/// What a mask must be longer than wide for its axis to be relied on.
const LONG: f64 = 1.2;
/// What stands beside every figure.
const ASSUMES: &str = "a person must check view, outlines and frames: one view, from the apex; \
    outlines as the model drew them; round about the long axis of the outline, which is taken to \
    run from apex to base (single-plane method of discs)";

/// What the curve of areas says of the left ventricle.
#[derive(Debug, Serialize)]
pub(super) struct Ventricle {
    assumes: &'static str,
    /// `mm`, or `pixels` where the header does not tell their size: then they are taken as square.
    unit: &'static str,
    /// Means of the beats.
    fractional_area_change: Option<f64>,
    ejection_fraction: Option<f64>,
    beats: Vec<BeatJson>,
    /// Which of the masks' segments it is.
    #[serde(skip)]
    segment: u16,
}

#[derive(Debug, Serialize)]
struct BeatJson {
    diastole: TurnJson,
    systole: TurnJson,
    fractional_area_change: f64,
    ejection_fraction: Option<f64>,
}

/// The ventricle at the end of diastole or systole.
#[derive(Debug, Serialize)]
struct TurnJson {
    frame: u32,
    seconds: Option<f64>,
    /// The cine begins or ends here, so it may not be the end of diastole or systole.
    at_edge: bool,
    /// In `unit`, squared.
    area: f64,
    /// None where pixels have no size.
    volume_ml: Option<f64>,
    /// In `unit`.
    axis_length: f64,
    /// From the vertical, positive where its lower end lies to the right.
    axis_degrees: f64,
    elongation: f64,
    #[serde(skip)]
    volume: f64,
}

impl Ventricle {
    /// The ventricle in the answers on a cine and its masks; none where it was not asked for or is
    /// on too few frames.
    pub(super) fn of(answers: &[Answer], source: &Source, masks: &Segmentation) -> Option<Self> {
        let asked = answers
            .iter()
            .find(|a| a.object.as_deref() == Some(OBJECT))?;
        let own: Vec<&Answer> = answers
            .iter()
            .filter(|a| a.prompt == asked.prompt)
            .collect();
        let segment = masks
            .segments()
            .iter()
            .position(|s| s.label == asked.prompt)?;
        let segment = u16::try_from(segment + 1).ok()?;
        let in_mm = own
            .iter()
            .filter(|a| a.present)
            .all(|a| a.area_mm2.is_some());
        let area = |a: &&Answer| match in_mm {
            true => a.area_mm2,
            false => Some(a.area_pixels as f64),
        };
        let areas: Vec<Option<f64>> = own.iter().map(|a| area(a).filter(|_| a.present)).collect();
        if areas.iter().flatten().count() < 3 {
            return None;
        }
        let turn = |turn: Turn| {
            let answer = own.get(turn.at)?;
            let mask = masks.mask(segment, answer.frame).ok()??;
            let (_, extents) = mask.measure_rows(0..mask.height());
            let pixel = source.spacing(extents?).filter(|_| in_mm);
            let pixel = pixel.map_or((1.0, 1.0), |at| (at.x, at.y));
            let discs = discs(&mask, pixel.0, pixel.1)?;
            Some(TurnJson {
                frame: answer.frame,
                seconds: answer.seconds,
                at_edge: turn.at_edge,
                area: area(answer)?,
                volume_ml: in_mm.then_some(discs.volume / 1000.0),
                axis_length: discs.length,
                axis_degrees: discs.angle,
                elongation: discs.elongation,
                volume: discs.volume,
            })
        };
        let beat = |beat: Beat| {
            let (diastole, systole) = (turn(beat.diastole)?, turn(beat.systole)?);
            let long = diastole.elongation.min(systole.elongation) >= LONG;
            Some(BeatJson {
                fractional_area_change: 1.0 - systole.area / diastole.area,
                ejection_fraction: long.then_some(1.0 - systole.volume / diastole.volume),
                diastole,
                systole,
            })
        };
        let beats: Vec<BeatJson> = beats(&areas, step(&own))
            .into_iter()
            .filter_map(beat)
            .collect();
        let mean = |values: Vec<f64>| {
            let n = values.len() as f64;
            (n > 0.0).then(|| values.iter().sum::<f64>() / n)
        };
        Some(Self {
            assumes: ASSUMES,
            unit: if in_mm { "mm" } else { "pixels" },
            fractional_area_change: mean(beats.iter().map(|b| b.fractional_area_change).collect()),
            ejection_fraction: mean(beats.iter().filter_map(|b| b.ejection_fraction).collect()),
            beats,
            segment,
        })
    }

    /// What the report tells of it.
    pub(super) fn measured(&self) -> write::Ventricle {
        let extreme = |turn: &TurnJson| Extreme {
            frame: turn.frame,
            volume: turn.volume_ml,
        };
        let beat = |beat: &BeatJson| write::Beat {
            diastole: extreme(&beat.diastole),
            systole: extreme(&beat.systole),
            ejection_fraction: beat.ejection_fraction,
        };
        write::Ventricle {
            segment: self.segment,
            beats: self.beats.iter().map(beat).collect(),
            mean_ejection_fraction: self.ejection_fraction.filter(|_| self.beats.len() > 1),
        }
    }

    /// Frames at the ends of diastole and systole.
    pub(super) fn frames(&self) -> Vec<u32> {
        let ends = self
            .beats
            .iter()
            .flat_map(|b| [b.diastole.frame, b.systole.frame]);
        ends.collect()
    }

    /// The same as marks of a curve whose first frame is 1.
    pub(super) fn marks(&self) -> Vec<(usize, &'static str)> {
        let ends = |b: &BeatJson| [(b.diastole.frame, "ED"), (b.systole.frame, "ES")];
        let marks = self.beats.iter().flat_map(ends);
        marks
            .map(|(frame, mark)| (frame as usize - 1, mark))
            .collect()
    }

    /// Whether the answers are those of the ventricle.
    pub(super) fn is_of(answer: &Answer) -> bool {
        answer.object.as_deref() == Some(OBJECT)
    }

    /// A table of the beats for people.
    pub(super) fn text(&self) -> String {
        if self.beats.is_empty() {
            return "left ventricle: no beat in the curve of its area\n".to_owned();
        }
        let percent = |share: Option<f64>| {
            share.map_or("-".to_owned(), |share| format!("{:.0} %", 100.0 * share))
        };
        let square = if self.unit == "mm" { "mm2" } else { "px" };
        let end = |turn: &TurnJson| {
            let seconds = turn
                .seconds
                .map_or(String::new(), |s| format!(", {s:.2} s"));
            let edge = if turn.at_edge { ", cut" } else { "" };
            let volume = turn
                .volume_ml
                .map_or("-".to_owned(), |v| format!("{v:.0} ml"));
            let frame = format!("{}{seconds}{edge}", turn.frame);
            [frame, format!("{:.0} {square}", turn.area), volume]
        };
        let mut table = Table::new([
            "left ventricle, diastole at",
            ">area",
            ">volume",
            "systole at",
            ">area",
            ">volume",
            ">area change",
            ">ejection fraction",
        ]);
        for beat in &self.beats {
            let shares = [Some(beat.fractional_area_change), beat.ejection_fraction];
            let ends = end(&beat.diastole).into_iter().chain(end(&beat.systole));
            table.row(ends.chain(shares.map(percent)));
        }
        if self.beats.len() > 1 {
            let mut mean = vec![format!("mean of {} beats", self.beats.len())];
            mean.resize(6, String::new());
            let shares = [self.fractional_area_change, self.ejection_fraction];
            table.row(mean.into_iter().chain(shares.map(percent)));
        }
        format!("{table}{ASSUMES}\n")
    }
}

/// The usual time from frame to frame in seconds.
fn step(answers: &[&Answer]) -> f64 {
    let times = || answers.iter().filter_map(|a| a.seconds);
    let mut steps: Vec<f64> = times().zip(times().skip(1)).map(|(a, b)| b - a).collect();
    steps.sort_by(f64::total_cmp);
    let usual = steps.get(steps.len() / 2).copied();
    usual.filter(|step| *step > 0.0).unwrap_or(STEP)
}
