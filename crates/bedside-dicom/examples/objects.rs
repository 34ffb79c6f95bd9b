//! Writes segmentations and reports of phantoms, and of the images given, for the independent
//! readers that `tests/check.py` asks: `objects OUT [IMAGE.dcm ...]`.

#![allow(clippy::unwrap_used, reason = "made for tests alone")]

#[path = "../tests/phantom.rs"]
mod phantom;

use std::path::Path;

use bedside_dicom::write::{
    Deidentifier, Kind, Segment, Segmentation, Series, Source, report, report_volumes,
};
use dicom_object::DefaultDicomObject;
use phantom::{context, file, image, levels, mask, origin, slice, slices, ventricle};

#[rustfmt::skip]
const OBJECTS: [&str; 25] = [
    "colon polyp", "breast tumor", "benign breast tumor", "malignant breast tumor",
    "COVID-19 infection", "skin lesion", "left heart ventricle", "right heart ventricle",
    "left heart atrium", "myocardium", "heart", "fetal head", "brachial plexus nerve", "lung",
    "left lung", "right lung", "liver", "optic disc", "optic cup", "retinal vessel",
    "colon glandular structure", "inflammatory cells", "epithelial cells",
    "connective tissue cells", "neoplastic cells",
];

/// `NAME.dcm`, its segmentation and its report, and image and segmentation without patient.
fn write(out: &Path, name: &str, image: DefaultDicomObject, kind: Kind, segments: u16, draw: bool) {
    image
        .write_to_file(out.join(format!("{name}.dcm")))
        .unwrap();
    let source = Source::of(&image).unwrap();
    let objects = OBJECTS.iter().cycle().take(usize::from(segments));
    let described = objects.map(|object| Segment::new(object, Some(object)).unwrap());
    let mut drawn = Segmentation::new(&source, kind, described.collect()).unwrap();
    let (width, height) = (source.width(), source.height());
    for segment in (1..=segments).filter(|_| draw) {
        for frame in 1..=source.frames() {
            match kind {
                Kind::Binary => {
                    drawn
                        .add(segment, frame, &mask(width, height, segment, frame))
                        .unwrap();
                }
                Kind::Probability => {
                    let levels = levels(width, height, segment, frame);
                    let levels: Vec<_> = levels.iter().map(|v| f32::from(*v) / 255.0).collect();
                    drawn.add_probabilities(segment, frame, &levels).unwrap();
                }
            }
        }
    }
    let origin = origin();
    let series = Series::new(101, "Segmentation by bedside").unwrap();
    let object = drawn.to_dicom(&context(&source, &origin, &series)).unwrap();
    object
        .write_to_file(out.join(format!("{name}.seg.dcm")))
        .unwrap();
    let one = Deidentifier::new().unwrap();
    // Phantoms have no pixels, and so are no images that it takes.
    for (object, kind) in [(&image, "image"), (&object, "seg")] {
        if let Ok((clean, _)) = one.deidentify(object) {
            let path = out.join(format!("{name}.clean-{kind}.dcm"));
            clean.write_to_file(path).unwrap();
        }
    }
    let series = Series::new(102, "Measurements by bedside").unwrap();
    let heart = ventricle(&source);
    let context = context(&source, &origin, &series);
    let measured = report(&drawn, &object, heart.as_ref(), &context).unwrap();
    measured
        .write_to_file(out.join(format!("{name}.sr.dcm")))
        .unwrap();
}

/// `stack.N.dcm`, their segmentation `stack.vol.dcm` and its report `stack.vol-sr.dcm`: two segments,
/// of which the second is on no slice.
fn write_stack(out: &Path) {
    let images = slices(30, 20, 7);
    for (n, image) in images.iter().enumerate() {
        image
            .write_to_file(out.join(format!("stack.{n}.dcm")))
            .unwrap();
    }
    let sources = images.iter().map(|image| Source::of(image).unwrap());
    let source = Source::stack(sources, Some(2.5)).unwrap();
    let objects = [Some("liver"), Some("right lung")];
    let described = objects.map(|object| Segment::new(object.unwrap(), object).unwrap());
    let mut drawn = Segmentation::new(&source, Kind::Binary, described.to_vec()).unwrap();
    for frame in 1..=7 {
        drawn.add(1, frame, &mask(30, 20, 1, frame)).unwrap();
    }
    let origin = origin();
    let series = Series::new(101, "Segmentation by bedside").unwrap();
    let object = drawn.to_dicom(&context(&source, &origin, &series)).unwrap();
    object.write_to_file(out.join("stack.vol.dcm")).unwrap();
    let series = Series::new(102, "Measurements by bedside").unwrap();
    let context = context(&source, &origin, &series);
    let measured = report_volumes(&drawn, &object, &[12.25, 0.0], &context).unwrap();
    measured
        .write_to_file(out.join("stack.vol-sr.dcm"))
        .unwrap();
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let out = arguments.next().unwrap();
    let out = Path::new(&out);
    let phantom = |width, height, frames| file(image(width, height, frames));
    for n in 1..=33_u16 {
        let (width, height, frames) = (n, n * 7 % 33 + 1, u32::from(n % 4) + 1);
        let name = format!("binary-{width}x{height}x{frames}");
        write(
            out,
            &name,
            phantom(width, height, frames),
            Kind::Binary,
            n % 16 + 1,
            true,
        );
    }
    for n in 1..=9_u16 {
        let name = format!("square-{n}x{n}");
        write(out, &name, phantom(n, n, 5), Kind::Binary, 2, true);
        let name = format!("fractional-{n}x{}", n + 1);
        write(out, &name, phantom(n, n + 1, 3), Kind::Probability, n, true);
    }
    write(out, "cine", phantom(640, 480, 30), Kind::Binary, 3, true);
    write(
        out,
        "still-16",
        phantom(640, 480, 1),
        Kind::Binary,
        16,
        true,
    );
    write(
        out,
        "all-objects",
        phantom(33, 33, 2),
        Kind::Binary,
        OBJECTS.len() as u16,
        true,
    );
    write(out, "cine-16", phantom(33, 33, 30), Kind::Binary, 16, true);
    write(
        out,
        "cine-fractional",
        phantom(640, 480, 4),
        Kind::Probability,
        2,
        true,
    );
    write(out, "slice", file(slice(30, 20)), Kind::Binary, 3, true);
    write(out, "nothing", phantom(7, 5, 3), Kind::Binary, 2, false);
    write(
        out,
        "nothing-fractional",
        phantom(7, 5, 1),
        Kind::Probability,
        1,
        false,
    );
    write_stack(out);
    for (n, path) in arguments.enumerate() {
        let image = dicom_object::open_file(&path).unwrap();
        write(out, &format!("given-{n}"), image, Kind::Binary, 4, true);
    }
}
