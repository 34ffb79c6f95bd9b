//! DICOM through the command: what is written of cines, screens and series, and files that are not
//! what they say.
//!
//! Files are put together byte by byte here, so that they can say what no library would write.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use bedside_dicom::write::segmentation_from_bytes;
use serde_json::Value;

use crate::cli::{Bench, assert_fails, json, stderr, stdout};

const US: &str = "1.2.840.10008.5.1.4.1.1.3.1";
const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";
/// What must be in no output.
const NAME: &str = "ZZNAME^ZZFIRST";

/// Elements of a file, by tag.
#[derive(Clone, Default)]
pub(crate) struct File(std::collections::BTreeMap<u32, (&'static str, Vec<u8>)>);

impl File {
    pub(crate) fn put(mut self, tag: u32, vr: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.0.insert(tag, (vr, value.into()));
        self
    }

    pub(crate) fn text(self, tag: u32, vr: &'static str, text: impl ToString) -> Self {
        self.put(tag, vr, text.to_string())
    }

    pub(crate) fn word(self, tag: u32, word: u16) -> Self {
        self.put(tag, "US", word.to_le_bytes())
    }

    /// The value's bytes with the length that `len` makes of its own.
    fn elements(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (tag, (vr, value)) in &self.0 {
            let mut value = value.clone();
            if value.len() % 2 == 1 {
                value.push(if *vr == "UI" { 0 } else { b' ' });
            }
            bytes.extend(((tag >> 16) as u16).to_le_bytes());
            bytes.extend((*tag as u16).to_le_bytes());
            bytes.extend(vr.as_bytes());
            match *vr {
                "OB" | "OW" | "SQ" | "UN" => {
                    bytes.extend([0; 2]);
                    bytes.extend((value.len() as u32).to_le_bytes());
                }
                _ => bytes.extend((value.len() as u16).to_le_bytes()),
            }
            bytes.extend(value);
        }
        bytes
    }

    pub(crate) fn bytes(&self, class: &str) -> Vec<u8> {
        let meta = Self::default()
            .put(0x0002_0001, "OB", [0, 1])
            .text(0x0002_0002, "UI", class)
            .text(0x0002_0003, "UI", "1.2.3")
            .text(0x0002_0010, "UI", EXPLICIT)
            .text(0x0002_0012, "UI", "1.2.3.4")
            .elements();
        let length = (meta.len() as u32).to_le_bytes();
        let length = Self::default().put(0x0002_0000, "UL", length).elements();
        let mut bytes = vec![0; 128];
        bytes.extend(b"DICM");
        bytes.extend(length);
        bytes.extend(meta);
        bytes.extend(self.elements());
        bytes
    }
}

/// An image of 8-bit gray frames, each the brightness of its pixels by column and row.
fn image(class: &str, size: (u16, u16), frames: &[&dyn Fn(u32, u32) -> u8]) -> File {
    let (width, height) = (u32::from(size.0), u32::from(size.1));
    let places = || (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let pixels = frames
        .iter()
        .flat_map(|frame| places().map(|(x, y)| frame(x, y)));
    let file = File::default()
        .text(0x0008_0016, "UI", class)
        .text(0x0008_0018, "UI", "1.2.3")
        .text(0x0008_0060, "CS", if class == CT { "CT" } else { "US" })
        .text(0x0010_0010, "PN", NAME)
        .text(0x0010_0020, "LO", "ZZNUMBER")
        .text(0x0020_000d, "UI", "1.2.4")
        .text(0x0020_000e, "UI", "1.2.5")
        .word(0x0028_0002, 1)
        .text(0x0028_0004, "CS", "MONOCHROME2")
        .word(0x0028_0010, size.1)
        .word(0x0028_0011, size.0)
        .word(0x0028_0100, 8)
        .word(0x0028_0101, 8)
        .word(0x0028_0102, 7)
        .word(0x0028_0103, 0)
        .put(0x7fe0_0010, "OB", pixels.collect::<Vec<u8>>());
    match frames.len() {
        1 => file,
        n => file.text(0x0028_0008, "IS", n).text(0x0018_1063, "DS", 50),
    }
}

/// An item of a sequence.
fn item(elements: &File) -> Vec<u8> {
    let elements = elements.elements();
    let mut bytes = vec![0xfe, 0xff, 0x00, 0xe0];
    bytes.extend((elements.len() as u32).to_le_bytes());
    bytes.extend(elements);
    bytes
}

/// A square of that half side in the middle of 64x64.
fn square(half: u32) -> impl Fn(u32, u32) -> u8 {
    move |x, y| match x.abs_diff(32) <= half && y.abs_diff(32) <= half {
        true => 250,
        false => 6,
    }
}

impl Bench {
    fn save(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }
}

/// Segment bright things.
fn bright(bench: &Bench, more: &[&str], files: &[PathBuf]) -> Output {
    let args = [
        "segment",
        "--prompt",
        "fetal head",
        "--modality",
        "ultrasound",
    ];
    let output = bench.run(&[&args, more].concat(), files);
    for text in [stdout(&output), stderr(&output)] {
        assert!(!text.contains("ZZ"), "{text}");
    }
    output
}

fn done(output: Output) -> Output {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    output
}

#[test]
fn a_cine_gives_masks_measurements_plot_and_table() {
    let bench = Bench::new();
    let (large, small, none) = (square(20), square(10), square(0));
    let cine = image(US, (64, 64), &[&large, &small, &none, &large]);
    let cine = bench.save("cine.dcm", &cine.bytes(US));
    let args = ["--out", "out", "--json", "--csv", "all.csv"];
    let output = done(bright(&bench, &args, &[cine]));
    let names = ["areas.svg", "csv", "montage.png", "seg.dcm", "sr.dcm"];
    let mut left = names.map(|name| format!("out/cine.{name}")).to_vec();
    left.insert(0, "all.csv".to_owned());
    left.push("cine.dcm".to_owned());
    left.sort();
    let mut found = bench.left();
    found.sort();
    assert_eq!(found, left);

    let document = json(&output);
    let answers = document["answers"].as_array().unwrap();
    let present: Vec<_> = answers.iter().map(|a| a["present"] == true).collect();
    assert_eq!(present, [true, true, false, true]);
    let areas: Vec<_> = answers
        .iter()
        .map(|a| a["area_pixels"].as_u64().unwrap())
        .collect();
    assert!(
        areas[0] == areas[3] && areas[0] > 2 * areas[1] && areas[2] == 0,
        "{areas:?}"
    );
    assert_eq!(answers[3]["seconds"], 0.15);
    assert_eq!(document["files"][0]["series"], Value::Null);

    // The masks and the table say the same.
    let seg = fs::read(bench.path("out/cine.seg.dcm")).unwrap();
    let seg = segmentation_from_bytes(seg).unwrap();
    let masks: Vec<_> = seg
        .frames()
        .map(|(s, f)| (f, seg.mask(s, f).unwrap().unwrap().area()))
        .collect();
    assert_eq!(masks, [(1, areas[0]), (2, areas[1]), (4, areas[3])]);
    let table = fs::read_to_string(bench.path("out/cine.csv")).unwrap();
    assert_eq!(table, fs::read_to_string(bench.path("all.csv")).unwrap());
    assert_eq!(table.lines().count(), 5);
    let plot = fs::read_to_string(bench.path("out/cine.areas.svg")).unwrap();
    assert!(
        plot.contains("area in pixels") && plot.contains("seconds"),
        "{plot}"
    );
    // The line breaks where the object is not, and the last frame is a dot.
    assert_eq!(plot.matches("h0M").count(), 1, "{plot}");
}

/// A screen with a bright banner, and a bright square in the region that the header names.
fn screen(region: [u32; 4]) -> File {
    let region = File::default()
        .word(0x0018_6012, 1)
        .word(0x0018_6014, 1)
        .put(0x0018_6018, "UL", region[0].to_le_bytes())
        .put(0x0018_601a, "UL", region[1].to_le_bytes())
        .put(0x0018_601c, "UL", region[2].to_le_bytes())
        .put(0x0018_601e, "UL", region[3].to_le_bytes())
        .word(0x0018_6024, 3)
        .word(0x0018_6026, 3)
        .put(0x0018_602c, "FD", 0.02_f64.to_le_bytes())
        .put(0x0018_602e, "FD", 0.02_f64.to_le_bytes());
    let pixel = |x: u32, y: u32| match (x, y) {
        (_, 0..24) => 250,
        (48..80, 60..92) => 250,
        _ => 6,
    };
    image(US, (128, 128), &[&pixel]).put(0x0018_6011, "SQ", item(&region))
}

#[test]
fn the_picture_is_looked_at_and_the_mask_lies_where_it_is_in_the_frame() {
    let bench = Bench::new();
    let file = bench.save("cart.dcm", &screen([32, 44, 95, 107]).bytes(US));
    let mask = |more: &[&str]| {
        let args = [&["--json", "--seg", "seg.dcm"], more].concat();
        let output = done(bright(&bench, &args, std::slice::from_ref(&file)));
        let seg = segmentation_from_bytes(fs::read(bench.path("seg.dcm")).unwrap()).unwrap();
        (json(&output), seg.mask(1, 1).unwrap().unwrap())
    };
    let (document, inside) = mask(&[]);
    let region =
        serde_json::json!({ "x": 32, "y": 44, "width": 64, "height": 64, "from": "header" });
    assert_eq!(document["files"][0]["region"], region);
    assert_eq!((inside.width(), inside.height()), (128, 128));
    assert!(inside.get(64, 76) && !inside.get(64, 10) && !inside.get(40, 50));
    // A pixel is 0.2 mm x 0.2 mm.
    let answer = &document["answers"][0];
    let (pixels, area) = (answer["area_pixels"].as_f64(), answer["area_mm2"].as_f64());
    assert!(
        (area.unwrap() / pixels.unwrap() - 0.04).abs() < 1e-9,
        "{answer}"
    );
    let (document, whole) = mask(&["--whole-frame"]);
    assert_eq!(document["files"][0]["region"], Value::Null);
    assert!(whole.get(64, 10) && whole.get(64, 76));

    // A region that does not lie in the frame is of another picture.
    bench.save("cart.dcm", &screen([32, 44, 300, 400]).bytes(US));
    let (document, _) = mask(&["--whole-frame"]);
    assert_eq!(document["files"][0]["regions_left_out"], 1);
    assert_eq!(document["answers"][0]["area_mm2"], Value::Null);
}

/// A slice at that depth through a ball of 24 mm in the middle, 1 mm a pixel.
fn slice(number: usize, depth: f64) -> File {
    let ball = move |x: u32, y: u32| {
        let (x, y) = (f64::from(x) - 31.5, f64::from(y) - 31.5);
        match x * x + y * y + depth * depth < 24.0 * 24.0 {
            // As far from what the tiny model takes for bright on both sides.
            true => 255,
            false => 85,
        }
    };
    image(CT, (64, 64), &[&ball])
        .text(0x0008_0018, "UI", format!("1.2.3.{number}"))
        .text(0x0020_0013, "IS", number)
        .text(0x0020_0032, "DS", format!("0\\0\\{depth}"))
        .text(0x0020_0037, "DS", "1\\0\\0\\0\\1\\0")
        .text(0x0020_0052, "UI", "1.2.6")
        .text(0x0028_0030, "DS", "1\\1")
        .text(0x0018_0050, "DS", 2)
        // A window that leaves the values as they are.
        .text(0x0028_1050, "DS", "128")
        .text(0x0028_1051, "DS", "256")
}

#[test]
fn a_series_is_one_segmentation_with_its_volume() {
    let bench = Bench::new();
    let depths: Vec<f64> = (-15..=15).map(|i| f64::from(i) * 2.0).collect();
    for (number, depth) in depths.iter().enumerate() {
        // Names in another order than places.
        let name = format!("study/{:03}.dcm", number * 7 % 31);
        bench.save(&name, &slice(number, *depth).bytes(CT));
    }
    let again = slice(3, depths[3]).bytes(CT);
    bench.save("study/again.dcm", &again);
    let study = [bench.path("study")];
    let output = done(bright(&bench, &["--out", "out", "--json"], &study));
    assert!(
        stderr(&output).contains("the same slice"),
        "{}",
        stderr(&output)
    );
    let names = ["csv", "montage.png", "seg.dcm", "sr.dcm"];
    let mut found = bench.left();
    found.retain(|name| !name.starts_with("study/"));
    assert_eq!(found, names.map(|name| format!("out/study.{name}")));
    let document = json(&output);
    let series = &document["files"][0]["series"];
    assert_eq!(
        (&series["slices"], &series["even"]),
        (&31.into(), &true.into())
    );
    assert_eq!(series["spacing_mm"], 2.0);
    assert_eq!(series["gaps"], serde_json::json!([]));
    // The tiny model sees cells of 8 mm, smoothed: a ball of 57.9 ml to a tenth.
    let volume = series["volumes"][0]["millilitres"].as_f64().unwrap();
    let known = 4.0 / 3.0 * std::f64::consts::PI * 24.0_f64.powi(3) / 1000.0;
    assert!((volume / known - 1.0).abs() < 0.1, "{volume} of {known}");
    let depth = |answer: &Value| answer["depth_mm"].as_f64().unwrap();
    let found: Vec<f64> = document["answers"]
        .as_array()
        .unwrap()
        .iter()
        .map(depth)
        .collect();
    assert_eq!(found, depths);

    // Without a slice there is a gap, and the volume goes on across it.
    fs::remove_file(bench.path(&format!("study/{:03}.dcm", 15 * 7 % 31))).unwrap();
    let output = done(bright(&bench, &["--json"], &study));
    let series = &json(&output)["files"][0]["series"];
    assert_eq!(
        series["gaps"],
        serde_json::json!([{ "after_slice": 15, "distance_mm": 4.0 }])
    );
    assert_eq!(series["even"], false);
    let over = series["volumes"][0]["millilitres"].as_f64().unwrap();
    assert!((over / volume - 1.0).abs() < 0.02, "{over}, {volume}");
    let output = done(bright(&bench, &[], &study));
    assert!(
        stdout(&output).contains("gap behind slice 15: 4.00 mm"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn what_is_not_parallel_is_answered_by_itself() {
    let bench = Bench::new();
    for number in 0..3 {
        let axial = slice(number, number as f64 * 2.0);
        bench.save(&format!("study/a{number}.dcm"), &axial.bytes(CT));
        let coronal = slice(number + 10, number as f64 * 2.0)
            .text(0x0020_0037, "DS", "1\\0\\0\\0\\0\\-1")
            .text(0x0020_0032, "DS", format!("0\\{number}\\0"));
        bench.save(&format!("study/c{number}.dcm"), &coronal.bytes(CT));
    }
    let output = done(bright(&bench, &["--json"], &[bench.path("study")]));
    assert!(stderr(&output).contains("2 stacks"), "{}", stderr(&output));
    let document = json(&output);
    let files = document["files"].as_array().unwrap();
    let slices: Vec<_> = files.iter().map(|file| &file["series"]["slices"]).collect();
    assert_eq!(slices, [3, 3]);
    // One object for each needs a folder.
    let output = bright(&bench, &["--seg", "seg.dcm"], &[bench.path("study")]);
    assert_fails(&output, 2, &["--seg"]);
}

/// A gray picture as PNG, so that what is said of a DICOM frame can be held against it.
fn png(bench: &Bench, name: &str, size: (u32, u32), pixel: &dyn Fn(u32, u32) -> u8) -> PathBuf {
    let picture = image::GrayImage::from_fn(size.0, size.1, |x, y| image::Luma([pixel(x, y)]));
    let path = bench.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture.save(&path).unwrap();
    path
}

#[test]
fn all_that_is_known_is_recognized_as_in_pictures() {
    let bench = Bench::new();
    let (large, small) = (square(20), square(10));
    let cine = image(US, (64, 64), &[&large, &small]);
    let cine = bench.save("cine.dcm", &cine.bytes(US));
    let args = ["recognize", "--json", "--whole-frame", "--seg", "seg.dcm"];
    let output = done(bench.run(&args, std::slice::from_ref(&cine)));
    assert!(!stdout(&output).contains("ZZ") && !stderr(&output).contains("ZZ"));
    let answers = json(&output)["answers"].as_array().unwrap().clone();
    let pictures = [
        png(&bench, "1.png", (64, 64), &large),
        png(&bench, "2.png", (64, 64), &small),
    ];
    let args = ["recognize", "--json", "--modality", "ultrasound"];
    let output = done(bench.run(&args, &pictures));
    let mut expected = Vec::new();
    for (frame, picture) in (1..).zip(json(&output)["images"].as_array().unwrap()) {
        for finding in picture["findings"].as_array().unwrap() {
            let told = [&finding["prompt"], &finding["present"], &finding["area"]];
            expected.push((frame, told.map(Value::clone)));
        }
    }
    let told = |a: &Value| {
        let told = [&a["prompt"], &a["present"], &a["area_pixels"]];
        (a["frame"].as_u64().unwrap(), told.map(Value::clone))
    };
    let answers: Vec<_> = answers.iter().map(told).collect();
    assert_eq!(answers, expected);
    assert!(answers.iter().any(|(_, told)| told[1] == true));
    let seg = segmentation_from_bytes(fs::read(bench.path("seg.dcm")).unwrap()).unwrap();
    assert_eq!(2 * seg.segments().len(), answers.len());

    // Who asks for all must know of what: the header, or the person.
    let other = image(US, (64, 64), &[&large]).text(0x0008_0060, "CS", "OT");
    let other = other.text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.7");
    let other = [bench.save("other.dcm", &other.bytes("1.2.840.10008.5.1.4.1.1.7"))];
    assert_fails(
        &bench.run(&["recognize"], &other),
        4,
        &["other.dcm", "--modality"],
    );
    done(bench.run(&["recognize", "--modality", "ultrasound"], &other));
}

#[test]
fn frames_of_dicom_files_are_evaluated_as_pictures() {
    let bench = Bench::new();
    let (large, small) = (square(20), square(10));
    let cine = image(US, (64, 64), &[&large, &small]);
    bench.save("set/cine.dcm", &cine.bytes(US));
    bench.save("set/one.dcm", &image(US, (64, 64), &[&large]).bytes(US));
    png(&bench, "set/large.png", (64, 64), &large);
    png(&bench, "set/small.png", (64, 64), &small);
    let table = "file,frame,mask,split,group,modality,object,label\n\
                 large.png,,large.png,val,a,ultrasound,fetal head,\n\
                 small.png,,small.png,val,b,ultrasound,fetal head,\n\
                 cine.dcm,1,large.png,val,c,ultrasound,fetal head,\n\
                 cine.dcm,2,small.png,val,c,ultrasound,fetal head,\n\
                 one.dcm,,large.png,val,d,ultrasound,fetal head,\n\
                 cine.dcm,,large.png,val,e,ultrasound,fetal head,\n\
                 cine.dcm,3,large.png,val,e,ultrasound,fetal head,\n";
    bench.save("set/manifest.csv", table.as_bytes());
    let output = bench.run(&["eval", "set", "--json"], &[]);
    assert_fails(&output, 3, &["line 7", "has 2 frames"]);
    let report = json(&output);
    let records = report["records"].as_array().unwrap();
    let dice: Vec<_> = records
        .iter()
        .map(|r| r["overlap"]["dice"].as_f64().unwrap())
        .collect();
    assert_eq!(dice[..2], dice[2..4]);
    assert_eq!(dice[0], dice[4]);
    assert!(
        dice.len() == 5 && dice.iter().all(|dice| *dice > 0.6),
        "{dice:?}"
    );
    assert_eq!(records[3]["file"], "cine.dcm, frame 2");
    let lines: Vec<_> = report["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| &f["line"])
        .collect();
    assert_eq!(lines, [7, 8]);
    assert!(!stdout(&output).contains("ZZ") && !stderr(&output).contains("ZZ"));
}

#[test]
fn a_cine_is_live_video_of_its_picture() {
    let bench = Bench::new();
    // The region of a screen; its first frame is bright there, its second dark.
    let region = screen([32, 44, 95, 107]);
    let bright = |x: u32, y: u32| {
        if (48..80).contains(&x) && (60..92).contains(&y) {
            250
        } else {
            6
        }
    };
    let cine = image(US, (128, 128), &[&bright, &|_, _| 6, &bright, &bright]);
    let cine = File(
        cine.0
            .into_iter()
            .chain([(0x0018_6011, region.0[&0x0018_6011].clone())])
            .collect(),
    );
    let cine = bench.save("ZZNAMEZZ/cine.dcm", &cine.bytes(US));
    // The header tells of what kind the tumor is.
    let args = [
        "live",
        "--fast",
        "--in-process",
        "--prompt",
        "tumor",
        "--records",
        "out.jsonl",
    ];
    let args = [&args[..], &["--out", "out.y4m", "--log", "log"]].concat();
    let output = done(bench.run(&args, std::slice::from_ref(&cine)));
    // Below the picture there is room for words.
    let video = fs::read(bench.path("out.y4m")).unwrap();
    assert!(
        video.starts_with(b"YUV4MPEG2 W64 H106 F20:1 "),
        "{:?}",
        &video[..40]
    );
    let records = fs::read_to_string(bench.path("out.jsonl")).unwrap();
    let records: Vec<Value> = records
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let frames = records.iter().filter(|r| r["frame"].is_object());
    assert_eq!(frames.count(), 4, "{records:?}");
    assert!(
        records[0].to_string().contains("DICOM file"),
        "{}",
        records[0]
    );
    let log = fs::read(bench.path("log")).unwrap();
    let everything = [&output.stdout[..], &output.stderr, &video, &log].concat();
    let everything = String::from_utf8_lossy(&everything).into_owned() + &format!("{records:?}");
    assert!(!everything.contains("ZZ"));

    // Cut, it is refused without its name.
    let whole = fs::read(&cine).unwrap();
    fs::write(&cine, &whole[..whole.len() - 99]).unwrap();
    let output = bench.run(&args, &[cine]);
    assert_fails(&output, 3, &["DICOM file", "damaged"]);
    assert!(!stderr(&output).contains("ZZ"));
}

#[test]
fn files_that_are_cut_or_lie_are_refused_and_the_others_answered() {
    let bench = Bench::new();
    let large = square(20);
    let good = image(US, (64, 64), &[&large, &large]);
    let whole = good.bytes(US);
    let lie = |tag: u32, vr, value: Vec<u8>| good.clone().put(tag, vr, value).bytes(US);
    let mut length = whole.clone();
    let at = length
        .windows(4)
        .position(|w| w == [0xe0, 0x7f, 0x10, 0x00])
        .unwrap()
        + 8;
    length[at..at + 4].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
    let side = u16::MAX.to_le_bytes().to_vec();
    let huge = good.clone().put(0x0028_0010, "US", side.clone());
    let hostile = [
        ("cut", whole[..whole.len() - 100].to_vec()),
        ("head", whole[..300].to_vec()),
        ("frames", lie(0x0028_0008, "IS", b"2000000000".to_vec())),
        ("wide", lie(0x0028_0011, "US", side.clone())),
        ("huge", huge.put(0x0028_0011, "US", side).bytes(US)),
        ("none", lie(0x0028_0011, "US", vec![0, 0])),
        ("length", length),
        ("empty", b"".to_vec()),
    ];
    for (name, bytes) in &hostile {
        let file = bench.save(&format!("{name}.dcm"), bytes);
        let output = bright(&bench, &["--seg", "seg.dcm"], &[file]);
        // What does not begin as DICOM is told of as a picture is.
        assert_fails(&output, 3, &[name]);
        assert!(!bench.path("seg.dcm").exists(), "{name}");
    }
    // In a folder the others are answered all the same; the exit code is the failure's.
    for (name, bytes) in &hostile[..7] {
        bench.save(&format!("study/{name}.dcm"), bytes);
    }
    bench.save("study/good.dcm", &whole);
    let output = bright(&bench, &["--json"], &[bench.path("study")]);
    assert_fails(&output, 3, &["hint:"]);
    let document = json(&output);
    let answers = document["answers"].as_array().unwrap();
    assert_eq!(answers.len(), 2);
    assert!(answers[0]["file"].as_str().unwrap().ends_with("good.dcm"));

    fs::create_dir(bench.path("nothing")).unwrap();
    let output = bright(&bench, &[], &[bench.path("nothing")]);
    assert_fails(&output, 3, &["no DICOM file"]);
}

#[test]
fn outputs_that_cannot_be_written_are_refused() {
    let bench = Bench::new();
    let large = square(20);
    let file = bench.save("a.dcm", &image(US, (64, 64), &[&large]).bytes(US));
    bench.save("taken", b"");
    let files = std::slice::from_ref(&file);
    for args in [
        ["--out", "taken/x"],
        ["--seg", "taken/x.dcm"],
        ["--csv", "taken/x.csv"],
    ] {
        assert_fails(&bright(&bench, &args, files), 6, &["taken"]);
    }
    // A report is of a segmentation.
    let output = bright(&bench, &["--sr", "sr.dcm"], files);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let output = bright(&bench, &["--seg", "s.dcm"], &[file.clone(), file.clone()]);
    assert_fails(&output, 2, &["--seg"]);
    let output = bench.run(&["segment", "--prompt", "liver"], files);
    assert_fails(&output, 4, &["liver"]);
}

#[test]
fn info_tells_what_a_file_holds_and_not_whose_it_is() {
    let bench = Bench::new();
    let file = bench.save("cart.dcm", &screen([32, 44, 95, 107]).bytes(US));
    let files = std::slice::from_ref(&file);
    let output = done(bench.run(&["dicom", "info", "--json"], files));
    assert!(!stdout(&output).contains("ZZ"));
    let facts = &json(&output)[0]["facts"];
    assert_eq!(
        (&facts["size"], &facts["modality"]),
        (&"128x128".into(), &"ultrasound".into())
    );
    assert_eq!(
        (&facts["ultrasound_regions"], &facts["frames"]),
        (&1.into(), &1.into())
    );
    let output = done(bench.run(&["dicom", "info", "--patient"], files));
    assert!(stdout(&output).contains(NAME) && stdout(&output).contains("ZZNUMBER"));
    let output = bench.run(
        &["dicom", "info"],
        &[bench.save("cut.dcm", &fs::read(&file).unwrap()[..400])],
    );
    assert_fails(&output, 3, &["cut.dcm"]);
}
