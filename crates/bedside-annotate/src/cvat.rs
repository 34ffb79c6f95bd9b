//! CVAT for images 1.1 (docs.cvat.ai, XML annotation format).
//!
//! A mask's `rle` has the run lengths inside its box, row by row, unset first.

use std::io;
use std::str::FromStr;

use bedside::{BoundingBox, Mask};
use quick_xml::events::{BytesDecl, BytesStart, BytesText, Event};
use quick_xml::{Reader, Writer, XmlVersion};
use serde::Serialize;

use crate::error::Error;
use crate::export::Collecting;
use crate::format::Document;
use crate::shape::Shape;
use crate::task::{Task, json};

/// Attributes of an element that are looked at.
const MAX_ATTRIBUTES: usize = 64;
/// Shapes that are no masks.
const OTHER_SHAPES: [&str; 7] = [
    "box", "ellipse", "polyline", "points", "cuboid", "skeleton", "track",
];

/// A label as CVAT's constructor of labels takes it, in its tab "Raw".
#[derive(Serialize)]
struct Label<'t> {
    name: &'t str,
    #[serde(rename = "type")]
    kind: &'static str,
    attributes: [(); 0],
}

pub(crate) fn documents(task: &Task) -> Result<Vec<Document>, Error> {
    let labels = task.objects.iter().map(|object| Label {
        name: &object.name,
        kind: "mask",
        attributes: [],
    });
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    let masks = masks(task)?;
    write(task, &masks, &mut writer).map_err(|e| Error::internal(format!("is no XML: {e}")))?;
    let mut bytes = writer.into_inner();
    bytes.push(b'\n');
    Ok(vec![
        Document {
            name: "annotations.xml",
            bytes,
        },
        Document {
            name: "labels.json",
            bytes: json(&labels.collect::<Vec<_>>())?,
        },
    ])
}

/// A mask inside its box.
struct Boxed<'t> {
    label: &'t str,
    extents: BoundingBox,
    rle: String,
}

/// The masks of each picture; of an empty one there is nothing to write.
fn masks(task: &Task) -> Result<Vec<Vec<Boxed<'_>>>, Error> {
    let mut all = Vec::with_capacity(task.pictures.len());
    for picture in &task.pictures {
        let mut masks = Vec::new();
        for object in &task.objects {
            if let Some(mask) = picture.initial(&object.name)?
                && let (_, Some(extents)) = mask.measure_rows(0..mask.height())
            {
                masks.push(Boxed {
                    label: &object.name,
                    extents,
                    rle: rle(&mask, extents),
                });
            }
        }
        all.push(masks);
    }
    Ok(all)
}

fn rle(mask: &Mask, extents: BoundingBox) -> String {
    let [left, top, width, height] =
        [extents.x, extents.y, extents.width, extents.height].map(|v| v as usize);
    let rows = mask.data().chunks_exact(mask.width() as usize);
    let rows = rows.skip(top).take(height);
    let pixels = rows.flat_map(|row| row.iter().skip(left).take(width));
    let (mut counts, mut value) = (vec![0_u32], 0);
    for pixel in pixels {
        if *pixel != value {
            counts.push(0);
            value = *pixel;
        }
        if let Some(run) = counts.last_mut() {
            *run += 1;
        }
    }
    let counts: Vec<String> = counts.iter().map(u32::to_string).collect();
    counts.join(", ")
}

fn write(task: &Task, masks: &[Vec<Boxed<'_>>], writer: &mut Writer<Vec<u8>>) -> io::Result<()> {
    let text = |writer: &mut Writer<Vec<u8>>, name: &str, text: &str| {
        let element = writer.create_element(name);
        element.write_text_content(BytesText::new(text)).map(|_| ())
    };
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("utf-8"), None)))?;
    writer
        .create_element("annotations")
        .write_inner_content(|writer| {
            text(writer, "version", "1.1")?;
            writer
                .create_element("meta")
                .write_inner_content(|writer| {
                    writer
                        .create_element("task")
                        .write_inner_content(|writer| {
                            text(writer, "size", &task.pictures.len().to_string())?;
                            text(writer, "mode", "annotation")?;
                            writer
                                .create_element("labels")
                                .write_inner_content(|writer| {
                                    for object in &task.objects {
                                        writer.create_element("label").write_inner_content(
                                            |writer| {
                                                text(writer, "name", &object.name)?;
                                                text(writer, "type", "mask")?;
                                                text(writer, "attributes", "")
                                            },
                                        )?;
                                    }
                                    Ok(())
                                })?;
                            Ok(())
                        })?;
                    Ok(())
                })?;
            for (id, (picture, masks)) in task.pictures.iter().zip(masks).enumerate() {
                let [id, width, height] = [id, picture.width as usize, picture.height as usize]
                    .map(|number| number.to_string());
                let image = writer.create_element("image").with_attributes([
                    ("id", id.as_str()),
                    ("name", picture.name.as_str()),
                    ("width", &width),
                    ("height", &height),
                ]);
                image.write_inner_content(|writer| {
                    for mask in masks {
                        let BoundingBox {
                            x,
                            y,
                            width,
                            height,
                        } = mask.extents;
                        let [left, top, width, height] =
                            [x, y, width, height].map(|v| v.to_string());
                        let element = writer.create_element("mask").with_attributes([
                            ("label", mask.label),
                            ("source", "auto"),
                            ("occluded", "0"),
                            ("rle", mask.rle.as_str()),
                            ("left", &left),
                            ("top", &top),
                            ("width", &width),
                            ("height", &height),
                            ("z_order", "0"),
                        ]);
                        element.write_empty()?;
                    }
                    Ok(())
                })?;
            }
            Ok(())
        })?;
    Ok(())
}

pub(crate) fn parse(bytes: &[u8], collecting: &mut Collecting<'_>) -> Result<(), Error> {
    let hint = "hint: export it as 'CVAT for images 1.1'";
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Error::input(format!("is no XML in UTF-8; {hint}")))?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    reader.config_mut().expand_empty_elements = true;
    let mut root = false;
    // Inside an image: its place in the task, where it has one.
    let mut image: Option<Option<usize>> = None;
    loop {
        let event = reader
            .read_event()
            .map_err(|e| Error::input(format!("is no XML: {e}; {hint}")))?;
        match event {
            Event::Eof if !root => {
                return Err(Error::input(format!("has no annotations; {hint}")));
            }
            Event::Eof => return Ok(()),
            Event::DocType(_) => {
                return Err(Error::input(format!("declares a document type; {hint}")));
            }
            Event::End(end) if end.name().as_ref() == "image" => image = None,
            Event::Start(start) => {
                let name = start.name().as_ref().to_owned();
                match (name.as_str(), image) {
                    ("annotations", _) => root = true,
                    ("track", None) => {
                        return Err(Error::input(format!("has tracks of a video; {hint}")));
                    }
                    ("image", None) if root => {
                        let element = Element::new(&start)?;
                        let size = (element.number("width")?, element.number("height")?);
                        image = Some(collecting.picture(element.text("name")?, Some(size))?);
                    }
                    ("mask", Some(Some(place))) => {
                        let element = Element::new(&start)?;
                        let shape = Shape::Box {
                            left: element.number("left")?,
                            top: element.number("top")?,
                            width: element.number("width")?,
                            height: element.number("height")?,
                            counts: element.list("rle", ',', |n| n.parse().ok())?,
                        };
                        collecting.draw(place, element.text("label")?, shape)?;
                    }
                    ("polygon", Some(Some(place))) => {
                        let element = Element::new(&start)?;
                        let corners = element.list("points", ';', corner)?;
                        collecting.draw(place, element.text("label")?, Shape::Outline(corners))?;
                    }
                    (other, Some(Some(place))) if OTHER_SHAPES.contains(&other) => {
                        return Err(collecting.refuse(place, other));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

fn corner(text: &str) -> Option<[f64; 2]> {
    let (x, y) = text.split_once(',')?;
    Some([x.trim().parse().ok()?, y.trim().parse().ok()?])
}

/// An element's attributes.
struct Element {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Element {
    fn new(start: &BytesStart<'_>) -> Result<Self, Error> {
        let name = start.name().as_ref().to_owned();
        let broken = |why: String| Error::input(format!("<{name}>: {why}; hint: export it again"));
        let mut attributes = Vec::new();
        // A name that is there twice is looked for among all before it.
        for attribute in start.attributes().with_checks(false).take(MAX_ATTRIBUTES) {
            let attribute = attribute.map_err(|e| broken(e.to_string()))?;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            let value = value.map_err(|e| broken(e.to_string()))?;
            let key = attribute.key.as_ref().to_owned();
            attributes.push((key, value.into_owned()));
        }
        Ok(Self { name, attributes })
    }

    fn text(&self, key: &str) -> Result<&str, Error> {
        let found = self.attributes.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str()).ok_or_else(|| {
            let name = &self.name;
            Error::input(format!("<{name}> without '{key}'; hint: export it again"))
        })
    }

    fn number<N: FromStr>(&self, key: &str) -> Result<N, Error> {
        self.text(key)?.trim().parse().map_err(|_| self.broken(key))
    }

    fn list<T>(
        &self,
        key: &str,
        separator: char,
        item: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let items = self
            .text(key)?
            .split(separator)
            .map(|text| item(text.trim()));
        items.collect::<Option<_>>().ok_or_else(|| self.broken(key))
    }

    fn broken(&self, key: &str) -> Error {
        let name = &self.name;
        Error::input(format!(
            "<{name}> with a broken '{key}'; hint: export it again"
        ))
    }
}
