//! COCO's object instances (cocodataset.org/#format-data).
//!
//! Masks are written as compressed run lengths, which are exact; pycocotools, CVAT and FiftyOne read
//! them. Run lengths of both kinds and polygons are read: tools export what they like best.

use std::collections::HashMap;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::Error;
use crate::export::Collecting;
use crate::format::Document;
use crate::shape::Shape;
use crate::task::{Rle, Task, json};

/// Where the file lies in a data set as CVAT and Datumaro have it.
const FILE: &str = "annotations/instances_default.json";

#[derive(Serialize)]
struct Written<'t> {
    info: Info,
    licenses: [(); 0],
    images: Vec<Image<'t>>,
    categories: Vec<Category<'t>>,
    annotations: Vec<Annotation<'t>>,
}

#[derive(Serialize)]
struct Info {
    description: String,
    version: &'static str,
}

#[derive(Serialize)]
struct Image<'t> {
    id: usize,
    file_name: &'t str,
    width: u32,
    height: u32,
}

#[derive(Serialize)]
struct Category<'t> {
    id: usize,
    name: &'t str,
    supercategory: &'static str,
}

#[derive(Serialize)]
struct Annotation<'t> {
    id: usize,
    image_id: usize,
    category_id: usize,
    segmentation: &'t Rle,
    area: u64,
    bbox: [u32; 4],
    iscrowd: u8,
}

pub(crate) fn documents(task: &Task) -> Result<Vec<Document>, Error> {
    let mut annotations = Vec::new();
    for (image, picture) in task.pictures.iter().enumerate() {
        for (category, object) in task.objects.iter().enumerate() {
            let (Some(rle), Some(mask)) = (
                picture.masks.get(&object.name),
                picture.initial(&object.name)?,
            ) else {
                continue;
            };
            let (area, extents) = mask.measure_rows(0..mask.height());
            annotations.push(Annotation {
                id: annotations.len() + 1,
                image_id: image + 1,
                category_id: category + 1,
                segmentation: rle,
                area,
                bbox: extents.map_or([0; 4], |b| [b.x, b.y, b.width, b.height]),
                iscrowd: 0,
            });
        }
    }
    let images = task.pictures.iter().enumerate();
    let categories = task.objects.iter().enumerate();
    let written = Written {
        info: Info {
            description: format!(
                "initial masks of {} {}",
                task.model.name, task.model.version
            ),
            version: "1.0",
        },
        licenses: [],
        images: images
            .map(|(place, picture)| Image {
                id: place + 1,
                file_name: &picture.name,
                width: picture.width,
                height: picture.height,
            })
            .collect(),
        categories: categories
            .map(|(place, object)| Category {
                id: place + 1,
                name: &object.name,
                supercategory: "",
            })
            .collect(),
        annotations,
    };
    Ok(vec![Document {
        name: FILE,
        bytes: json(&written)?,
    }])
}

#[derive(Deserialize)]
struct Read {
    images: Vec<ReadImage>,
    categories: Vec<ReadCategory>,
    #[serde(default)]
    annotations: Vec<ReadAnnotation>,
}

#[derive(Deserialize)]
struct ReadImage {
    id: u64,
    file_name: String,
    width: u32,
    height: u32,
}

#[derive(Deserialize)]
struct ReadCategory {
    id: u64,
    name: String,
}

#[derive(Deserialize)]
struct ReadAnnotation {
    image_id: u64,
    category_id: u64,
    #[serde(default)]
    segmentation: Segmentation,
}

/// A mask as COCO has it: run lengths, or outlines of which each is filled.
#[derive(Default)]
struct Segmentation(Vec<Shape>);

impl<'de> Deserialize<'de> for Segmentation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Segmentation;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("run lengths or polygons")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Segmentation, A::Error> {
                let mut shapes = Vec::new();
                while let Some(numbers) = seq.next_element::<Vec<f64>>()? {
                    let corners = numbers.chunks_exact(2);
                    if !corners.remainder().is_empty() {
                        return Err(serde::de::Error::custom("a polygon with half a corner"));
                    }
                    let corners = corners.filter_map(|pair| <[f64; 2]>::try_from(pair).ok());
                    shapes.push(Shape::Outline(corners.collect()));
                }
                Ok(Segmentation(shapes))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Segmentation, A::Error> {
                #[derive(Deserialize)]
                struct Runs {
                    size: [u32; 2],
                    counts: Counts,
                }
                let access = serde::de::value::MapAccessDeserializer::new(map);
                let Runs { size, counts } = Runs::deserialize(access)?;
                Ok(Segmentation(vec![match counts {
                    Counts::Text(counts) => Shape::Compressed(Rle { size, counts }),
                    Counts::Numbers(counts) => Shape::Columns { size, counts },
                }]))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

enum Counts {
    Text(String),
    Numbers(Vec<u32>),
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Counts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("compressed run lengths or a list of them")
            }

            fn visit_str<E>(self, text: &str) -> Result<Counts, E> {
                Ok(Counts::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Counts, A::Error> {
                let mut counts = Vec::new();
                while let Some(count) = seq.next_element()? {
                    counts.push(count);
                }
                Ok(Counts::Numbers(counts))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

pub(crate) fn parse(bytes: &[u8], collecting: &mut Collecting<'_>) -> Result<(), Error> {
    let read: Read = serde_json::from_slice(bytes).map_err(|e| {
        Error::input(format!(
            "is no COCO: {e}; hint: export it as COCO with instances"
        ))
    })?;
    let unknown = |what: &str, id| {
        Error::input(format!(
            "{what} {id} is not in the file; hint: export it again"
        ))
    };
    let mut places = HashMap::new();
    for image in &read.images {
        let size = Some((image.width, image.height));
        let place = collecting.picture(&image.file_name, size)?;
        if places.insert(image.id, place).is_some() {
            return Err(Error::input(format!(
                "image {} is there twice; hint: export it again",
                image.id
            )));
        }
    }
    let categories = read.categories.iter().map(|c| (c.id, c.name.as_str()));
    let categories: HashMap<_, _> = categories.collect();
    for annotation in read.annotations {
        let (image, category) = (annotation.image_id, annotation.category_id);
        let place = places.get(&image).ok_or_else(|| unknown("image", image))?;
        let label = categories
            .get(&category)
            .ok_or_else(|| unknown("category", category))?;
        let Some(place) = *place else { continue };
        let Segmentation(shapes) = annotation.segmentation;
        if shapes.is_empty() {
            return Err(collecting.refuse(place, "box"));
        }
        for shape in shapes {
            collecting.draw(place, label, shape)?;
        }
    }
    Ok(())
}
