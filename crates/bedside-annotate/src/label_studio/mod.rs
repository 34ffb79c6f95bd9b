//! Label Studio's tasks (labelstud.io/guide/task_format): brush masks as predictions, which a person
//! submits as annotations.

pub(crate) mod brush;

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use quick_xml::escape::escape;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::export::Collecting;
use crate::format::Document;
use crate::shape::Shape;
use crate::task::{Task, json};

/// Names in the labelling configuration: of the picture's tag, and of the brush.
const PICTURE: &str = "image";
const BRUSH: &str = "label";
/// What Label Studio itself leaves as it is in the paths of local files.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'.')
    .remove(b'_')
    .remove(b'-')
    .remove(b'~');

#[derive(Serialize)]
struct Written {
    data: BTreeMap<&'static str, String>,
    predictions: [Prediction; 1],
}

#[derive(Serialize)]
struct Prediction {
    model_version: String,
    score: f32,
    result: Vec<Region>,
}

#[derive(Serialize)]
struct Region {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    from_name: &'static str,
    to_name: &'static str,
    origin: &'static str,
    original_width: u32,
    original_height: u32,
    image_rotation: u32,
    value: Value,
}

#[derive(Serialize)]
struct Value {
    format: &'static str,
    rle: Vec<u8>,
    brushlabels: [String; 1],
}

pub(crate) fn documents(task: &Task) -> Result<Vec<Document>, Error> {
    let mut tasks = Vec::new();
    for picture in &task.pictures {
        let mut result = Vec::new();
        for (place, object) in task.objects.iter().enumerate() {
            let Some(mask) = picture.initial(&object.name)? else {
                continue;
            };
            result.push(Region {
                id: format!("initial-{place}"),
                kind: "brushlabels",
                from_name: BRUSH,
                to_name: PICTURE,
                origin: "prediction",
                original_width: picture.width,
                original_height: picture.height,
                image_rotation: 0,
                value: Value {
                    format: "rle",
                    rle: brush::encode(&mask),
                    brushlabels: [object.name.clone()],
                },
            });
        }
        let path = format!("images/{}", picture.name);
        let path = utf8_percent_encode(&path, PATH);
        tasks.push(Written {
            data: BTreeMap::from([(PICTURE, format!("/data/local-files/?d={path}"))]),
            predictions: [Prediction {
                model_version: format!("{} {}", task.model.name, task.model.version),
                score: 1.0 - picture.doubt,
                result,
            }],
        });
    }
    Ok(vec![
        Document {
            name: "tasks.json",
            bytes: json(&tasks)?,
        },
        Document {
            name: "config.xml",
            bytes: configuration(task).into_bytes(),
        },
    ])
}

/// The labelling configuration that the regions name.
fn configuration(task: &Task) -> String {
    let label = |name: &str| format!("    <Label value=\"{}\"/>\n", escape(name));
    let labels: String = task.objects.iter().map(|o| label(&o.name)).collect();
    format!(
        "<View>\n  <Image name=\"{PICTURE}\" value=\"${PICTURE}\" zoom=\"true\"/>\n  <BrushLabels \
         name=\"{BRUSH}\" toName=\"{PICTURE}\">\n{labels}  </BrushLabels>\n</View>\n"
    )
}

#[derive(Deserialize)]
struct Read {
    data: Data,
    #[serde(default)]
    annotations: Vec<ReadAnnotation>,
}

#[derive(Deserialize)]
struct Data {
    image: String,
}

#[derive(Deserialize)]
struct ReadAnnotation {
    #[serde(default)]
    was_cancelled: Option<bool>,
    /// ISO 8601 in UTC, so that the newest is the last by letters.
    #[serde(default)]
    updated_at: Option<String>,
    result: Vec<ReadRegion>,
}

#[derive(Deserialize)]
struct ReadRegion {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    original_width: u32,
    #[serde(default)]
    original_height: u32,
    #[serde(default)]
    image_rotation: f64,
    #[serde(default)]
    value: ReadValue,
}

/// What brushes and polygons have; other regions have other fields.
#[derive(Default, Deserialize)]
struct ReadValue {
    #[serde(default)]
    rle: Vec<u8>,
    #[serde(default)]
    brushlabels: Vec<String>,
    /// Percent of width and height.
    #[serde(default)]
    points: Vec<[f64; 2]>,
    #[serde(default)]
    polygonlabels: Vec<String>,
}

pub(crate) fn parse(bytes: &[u8], collecting: &mut Collecting<'_>) -> Result<(), Error> {
    let tasks: Vec<Read> = serde_json::from_slice(bytes).map_err(|e| {
        Error::input(format!(
            "is no list of tasks: {e}; hint: export it as JSON, not as JSON-MIN"
        ))
    })?;
    for task in tasks {
        let submitted = task.annotations.into_iter();
        let submitted = submitted.filter(|a| !a.was_cancelled.unwrap_or_default());
        let Some(newest) = submitted.max_by(|a, b| a.updated_at.cmp(&b.updated_at)) else {
            collecting.unsubmitted(&task.data.image);
            continue;
        };
        if let Some(place) = collecting.picture(&task.data.image, None)? {
            for region in newest.result {
                region.collect(place, collecting)?;
            }
        }
    }
    Ok(())
}

impl ReadRegion {
    fn collect(self, place: usize, collecting: &mut Collecting<'_>) -> Result<(), Error> {
        let value = self.value;
        let (labels, shape) = match self.kind.as_str() {
            "brushlabels" => (value.brushlabels, Shape::Brush(value.rle)),
            "polygonlabels" => {
                let width = f64::from(self.original_width);
                let height = f64::from(self.original_height);
                let corners = value.points.iter();
                let corners = corners.map(|[x, y]| [x * width / 100.0, y * height / 100.0]);
                (value.polygonlabels, Shape::Outline(corners.collect()))
            }
            "rectanglelabels" | "ellipselabels" | "keypointlabels" | "bitmasklabels"
            | "vectorlabels" | "brush" | "polygon" | "rectangle" | "ellipse" | "keypoint" => {
                return Err(collecting.refuse(place, &self.kind));
            }
            // Choices, texts and ratings are of the whole picture.
            _ => return Ok(()),
        };
        collecting.check_size(place, (self.original_width, self.original_height))?;
        if self.image_rotation != 0.0 {
            return Err(collecting.refuse(place, "shape on a turned picture"));
        }
        let [label] = labels.as_slice() else {
            return Err(collecting.refuse(place, "shape without one label"));
        };
        collecting.draw(place, label, shape)
    }
}
