//! Files that no tool would write, and some that a person might give by mistake.

use std::fs;

use bedside::Mask;
use bedside_annotate::{Change, Error, Format, Outcome, Task, outcomes};

use crate::task;

/// A task of one picture, 4x3, with a polyp of one pixel.
fn small() -> Task {
    let dot = Mask::from_bytes(4, 3, vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    task(&["polyp"], &[("a.png", (4, 3), vec![("polyp", &dot)])])
}

/// An export of [`small`], read and drawn.
fn drawn(format: Format, export: &[u8]) -> Result<Vec<Outcome>, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("export");
    fs::write(&path, export).unwrap();
    let task = small();
    let export = format.read(&path, &task)?;
    outcomes(
        &task,
        &task.pictures[0],
        export.pictures[0].as_ref().unwrap(),
    )
}

/// Why an export of [`small`] is refused.
fn refusal(format: Format, export: &[u8]) -> String {
    let error = drawn(format, export).unwrap_err().to_string();
    assert!(error.contains("hint: "), "{error}");
    assert!(!error.contains(char::is_control), "{error:?}");
    error
}

fn coco(images: &str, segmentation: &str) -> String {
    format!(
        r#"{{"images":[{images}],"categories":[{{"id":1,"name":"polyp"}}],
        "annotations":[{{"id":1,"image_id":1,"category_id":1,"segmentation":{segmentation}}}]}}"#
    )
}

const IMAGE: &str = r#"{"id":1,"file_name":"a.png","width":4,"height":3}"#;

#[test]
fn coco_files_are_refused_with_the_cause() {
    for (segmentation, why) in [
        (r#"{"size":[3,4],"counts":[1,2]}"#, "add up to 3 of 12"),
        (
            r#"{"size":[3,4],"counts":[4294967295,4294967295]}"#,
            "add up to",
        ),
        (r#"{"size":[3,4],"counts":"~~~"}"#, "broken at byte 0"),
        (r#"{"size":[4,3],"counts":[12]}"#, "a mask of 3x4 pixels"),
        (
            r#"{"size":[4294967295,4294967295],"counts":[12]}"#,
            "a mask of 4294967295x",
        ),
        (r#"{"size":[3,4],"counts":[-1]}"#, "is no COCO"),
        (r#"{"counts":[12]}"#, "missing field `size`"),
        ("[[1,1,2,2]]", "an outline of 2 corners"),
        ("[[1,1,2,2,3]]", "half a corner"),
        ("[[1,1,2,2,3,1e999]]", "is no COCO"),
        ("[]", "a box is no mask"),
        ("null", "is no COCO"),
    ] {
        let error = refusal(Format::Coco, coco(IMAGE, segmentation).as_bytes());
        assert!(error.contains(why), "{segmentation}: {error}");
    }
    let twice = format!("{IMAGE},{IMAGE}");
    let other = r#"{"id":1,"file_name":"b.png","width":4,"height":3}"#;
    let turned = r#"{"id":1,"file_name":"a.png","width":3,"height":4}"#;
    let unknown = r#"{"id":2,"file_name":"a.png","width":4,"height":3}"#;
    for (images, why) in [
        (twice.as_str(), "is there twice"),
        (other, "no picture of this task"),
        (turned, "has 3x4 pixels, and had 4x3"),
        (unknown, "image 1 is not in the file"),
    ] {
        let error = refusal(Format::Coco, coco(images, "[]").as_bytes());
        assert!(error.contains(why), "{images}: {error}");
    }
    let label = coco(IMAGE, "[[0,0,1,0,1,1]]").replace("polyp", "a\\u001b[2Jb");
    assert!(refusal(Format::Coco, label.as_bytes()).contains("control characters"));
    let error = refusal(Format::Coco, b"PK\x03\x04 and so on");
    assert!(error.contains("is an archive"), "{error}");
}

fn cvat(inside: &str) -> String {
    format!(
        r#"<?xml version="1.0"?><annotations><image id="0" name="a.png" width="4" height="3">{inside}</image></annotations>"#
    )
}

#[test]
fn cvat_files_are_refused_with_the_cause() {
    let mask = |attributes: &str| format!(r#"<mask label="polyp" {attributes}/>"#);
    for (inside, why) in [
        (
            mask(r#"rle="1" left="4" top="0" width="1" height="1""#),
            "reaches out",
        ),
        (
            mask(r#"rle="1" left="4294967295" top="0" width="4294967295" height="1""#),
            "reaches out",
        ),
        (
            mask(r#"rle="1, 2" left="0" top="0" width="2" height="1""#),
            "add up to 3 of 2",
        ),
        (
            mask(r#"rle="-1" left="0" top="0" width="2" height="1""#),
            "broken 'rle'",
        ),
        (
            mask(r#"rle="" left="0" top="0" width="1" height="1""#),
            "broken 'rle'",
        ),
        (
            mask(r#"left="0" top="0" width="2" height="1""#),
            "without 'rle'",
        ),
        (
            mask(r#"rle="&bomb;" left="0" top="0" width="2" height="1""#),
            "hint",
        ),
        (
            r#"<polygon label="polyp" points="1,1;2,2"/>"#.to_owned(),
            "2 corners",
        ),
        (
            r#"<polygon label="polyp" points="1,1;2,2;nan,1"/>"#.to_owned(),
            "no number",
        ),
        (
            r#"<polygon points="1,1;2,2;3,1"/>"#.to_owned(),
            "without 'label'",
        ),
        (
            r#"<polygon label="" points="1,1;2,2;3,1"/>"#.to_owned(),
            "has no label",
        ),
        (
            r#"<box label="polyp" xtl="0" ytl="0" xbr="1" ybr="1"/>"#.to_owned(),
            "a box is no mask",
        ),
        ("</annotations>".to_owned(), "is no XML"),
    ] {
        let error = refusal(Format::Cvat, cvat(&inside).as_bytes());
        assert!(error.contains(why), "{inside}: {error}");
    }
    let empty = mask(r#"rle="0" left="0" top="0" width="0" height="0""#);
    let found = drawn(Format::Cvat, cvat(&empty).as_bytes()).unwrap();
    assert_eq!(found[0].change, Change::Deleted, "an empty mask is none");
    for (export, why) in [
        ("", "has no annotations"),
        ("{}", "has no annotations"),
        (
            "<!DOCTYPE x [<!ENTITY a \"b\">]><annotations/>",
            "declares a document type",
        ),
        (
            "<annotations><track id=\"0\" label=\"polyp\"/></annotations>",
            "tracks of a video",
        ),
        ("<annotations></annotations>", "no picture of this task"),
    ] {
        let error = refusal(Format::Cvat, export.as_bytes());
        assert!(error.contains(why), "{export}: {error}");
    }
    assert!(refusal(Format::Cvat, b"\xff\xfe<").contains("UTF-8"));
}

fn label_studio(region: &str) -> String {
    format!(r#"[{{"data":{{"image":"a.png"}},"annotations":[{{"result":[{region}]}}]}}]"#)
}

#[test]
fn label_studio_files_are_refused_with_the_cause() {
    let region = |kind: &str, value: &str, turned: u32| {
        format!(
            r#"{{"type":"{kind}","original_width":4,"original_height":3,"image_rotation":{turned},
            "value":{value}}}"#
        )
    };
    let brush = |rle: &str| {
        let value = format!(r#"{{"format":"rle","rle":{rle},"brushlabels":["polyp"]}}"#);
        region("brushlabels", &value, 0)
    };
    for (region, why) in [
        (brush("[]"), "is cut short"),
        (brush("[0,0,0,47]"), "another size"),
        (brush("[0,0,0,48,56,0,0,0]"), "is cut short"),
        (brush("[0,0,0,48,0,0,0,0,0]"), "does not hold bytes"),
        // A run of 2^16 on a picture of 48 bytes.
        (
            brush("[0,0,0,48,57,27,189,255,255,254,0,0]"),
            "behind its end",
        ),
        (brush("[256]"), "is no list of tasks"),
        (
            region("rectanglelabels", "{}", 0),
            "a rectanglelabels is no mask",
        ),
        (region("brushlabels", "{}", 0), "without one label"),
        (
            region(
                "polygonlabels",
                r#"{"points":[[1,1]],"polygonlabels":["polyp"]}"#,
                0,
            ),
            "1 corners",
        ),
        (
            region(
                "polygonlabels",
                r#"{"points":[[1,1]],"polygonlabels":["polyp"]}"#,
                90,
            ),
            "turned picture",
        ),
        (
            r#"{"type":"brushlabels","original_width":9,"original_height":3,"value":{}}"#
                .to_owned(),
            "has 9x3 pixels",
        ),
    ] {
        let error = refusal(Format::LabelStudio, label_studio(&region).as_bytes());
        assert!(error.contains(why), "{region}: {error}");
    }
    let unsubmitted = r#"[{"data":{"image":"a.png"},"annotations":[]}]"#;
    let error = refusal(Format::LabelStudio, unsubmitted.as_bytes());
    assert!(
        error.contains("none of which anybody has submitted"),
        "{error}"
    );
    let minimal = r#"[{"image":"a.png","label":[]}]"#;
    assert!(refusal(Format::LabelStudio, minimal.as_bytes()).contains("not as JSON-MIN"));
}

#[test]
fn tasks_that_lead_out_of_their_folder_or_ask_for_too_much_are_refused() {
    let sound = String::from_utf8(small().to_json().unwrap()).unwrap();
    let open = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("annotate.json"), text).unwrap();
        Task::open(folder.path()).map_err(|e| e.to_string())
    };
    open(&sound).unwrap();
    for (from, to) in [
        ("a.png", "../a.png"),
        ("a.png", "/etc/a.png"),
        ("a.png", ".png"),
        ("a.png", "a.jpg"),
        ("\"file\":\"o0\"", "\"file\":\"../o0\""),
        ("\"width\":4", "\"width\":0"),
        ("\"width\":4", "\"width\":4294967295"),
        ("[3,4]", "[3,5]"),
        ("\"format\":1", "\"format\":2"),
        ("{\"polyp\":", "{\"other\":"),
        ("\"name\":\"polyp\"", "\"name\":\" polyp\""),
    ] {
        let text = sound.replace(from, to);
        assert_ne!(text, sound, "{from}");
        let error = open(&text).unwrap_err();
        assert!(error.contains("hint: "), "{to}: {error}");
    }
}
