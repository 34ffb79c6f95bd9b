//! `bedside eval` from folder to report, with the tiny bundle of `golden/make.py`: for it red is
//! a polyp and dark is a breast tumor, so that every number is known beforehand.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::Value;

/// Pixels `x` (from, to), `y` (from, to) of a frame.
type Block = [u32; 4];

const SIDE: u32 = 32;
const HEAD: &str = "file,mask,split,group,modality,object,label\n";

pub(crate) fn bedside(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bedside"))
        .env_remove("BEDSIDE_BUNDLE")
        .env("BEDSIDE_CACHE", env!("CARGO_TARGET_TMPDIR"))
        .args(arguments)
        .output()
        .unwrap()
}

fn holds([left, right, top, bottom]: Block, x: u32, y: u32) -> bool {
    (left..right).contains(&x) && (top..bottom).contains(&y)
}

/// A picture with a red block on a ground of one gray, and a mask of another block.
fn draw(folder: &Path, name: &str, ground: u8, red: Option<Block>, truth: Option<Block>) {
    let picture = RgbImage::from_fn(SIDE, SIDE, |x, y| match red {
        Some(block) if holds(block, x, y) => Rgb([250, 10, 10]),
        _ => Rgb([ground; 3]),
    });
    picture.save(folder.join(format!("{name}.png"))).unwrap();
    let mask = GrayImage::from_fn(SIDE, SIDE, |x, y| {
        Luma([if truth.is_some_and(|block| holds(block, x, y)) {
            255
        } else {
            0
        }])
    });
    mask.save(folder.join(format!("{name}.mask.png"))).unwrap();
}

/// The tiny bundle, packed.
pub(crate) fn tiny_bundle(folder: &Path) -> String {
    let bundle = folder.join("tiny.bedside");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bundle");
    let packed = bedside(&["pack", source.to_str().unwrap(), bundle.to_str().unwrap()]);
    assert!(
        packed.status.success(),
        "{}",
        String::from_utf8_lossy(&packed.stderr)
    );
    bundle.display().to_string()
}

/// The tiny bundle, and a dataset of which all answers are known.
fn prepare(folder: &Path) -> (String, String) {
    let bundle = tiny_bundle(folder);
    let set = folder.join("set");
    fs::create_dir(&set).unwrap();
    let block = Some([8, 24, 8, 24]);
    // Bright ground: nothing dark for the breast tumor to be found in.
    draw(&set, "hit", 230, block, block);
    draw(&set, "elsewhere", 230, Some([0, 8, 0, 8]), block);
    draw(&set, "missed", 230, None, block);
    draw(&set, "quiet", 230, None, None);
    draw(&set, "alarm", 230, block, None);
    // Dark ground: a breast tumor is seen in a picture of another modality.
    draw(&set, "dark", 20, block, block);
    draw(&set, "trained", 230, block, block);
    GrayImage::new(8, 8).save(set.join("small.png")).unwrap();
    let rows = [
        "hit.png,hit.mask.png,val,a,endoscopy,polyp,polyp",
        "elsewhere.png,elsewhere.mask.png,val,b,endoscopy,polyp,polyp",
        "missed.png,missed.mask.png,val,c,endoscopy,polyp,polyp",
        "quiet.png,,val,d,endoscopy,polyp,normal",
        "alarm.png,alarm.mask.png,val,e,endoscopy,polyp,normal",
        "dark.png,dark.mask.png,val,f,endoscopy,polyp,<b>&",
        "trained.png,trained.mask.png,train,g,endoscopy,polyp,polyp",
        "hit.png,small.png,val,h,endoscopy,polyp,polyp",
        "gone.png,hit.mask.png,val,h,endoscopy,polyp,polyp",
        "hit.png,hit.mask.png,val,h,endoscopy,spleen,spleen",
    ];
    fs::write(
        set.join("manifest.csv"),
        format!("\u{feff}{HEAD}{}\n", rows.join("\n")),
    )
    .unwrap();
    (bundle, set.display().to_string())
}

#[test]
fn a_folder_gives_the_numbers_known_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    let (bundle, set) = prepare(folder.path());
    let page = folder.path().join("report.html");
    let page = page.to_str().unwrap();
    let output = bedside(&["eval", &set, "--bundle", &bundle, "--json", "--html", page]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        output.status.code(),
        Some(3),
        "rows failed, the first for its mask: {stderr}"
    );
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();

    let records = json["records"].as_array().unwrap();
    let dice: Vec<(&str, Option<f64>)> = records
        .iter()
        .map(|r| (r["file"].as_str().unwrap(), r["overlap"]["dice"].as_f64()))
        .collect();
    let [hit, elsewhere, missed, quiet, alarm, dark] = dice.as_slice() else {
        panic!("{dice:?}")
    };
    // The drawn edge lies within a pixel of the block's, so Dice is at least 2*256/(256+18*18).
    assert!(hit.1 > Some(0.88) && dark.1 > Some(0.88), "{dice:?}");
    assert_eq!((elsewhere.1, missed.1), (Some(0.0), Some(0.0)));
    assert_eq!(
        (quiet.1, alarm.1),
        (None, None),
        "Dice is undefined without the object"
    );

    let summary = |prompt: &str| {
        let all = json["prompts"].as_array().unwrap();
        all.iter()
            .find(|s| s["prompt"] == prompt)
            .cloned()
            .unwrap_or_default()
    };
    let polyp = summary("polyp in colon endoscope");
    assert_eq!(polyp["shown"]["frames"], 4);
    assert_eq!(polyp["shown"]["missed"]["mean"], 0.5);
    let mean = (hit.1.unwrap() + dark.1.unwrap()) / 4.0;
    assert!((polyp["shown"]["dice"]["mean"].as_f64().unwrap() - mean).abs() < 1e-9);
    let alarms = &polyp["presence"]["false_alarms"];
    assert_eq!((&alarms["n"], &alarms["mean"]), (&2.into(), &0.5.into()));
    // All that show red are reported.
    assert_eq!(polyp["presence"]["sensitivity"]["mean"], 0.75);
    assert_eq!(polyp["presence"]["withheld"]["mean"], 0.0);
    // Of 4 * 2 pairs 'alarm' is level with three; 'quiet' is below three and level with 'missed'.
    assert_eq!(polyp["presence"]["auroc"]["area"], 5.0 / 8.0);
    let tumor = summary("tumor in breast ultrasound");
    assert!(tumor["shown"].is_null() && tumor["presence"]["false_alarms"].is_null());
    let far = &tumor["presence"]["false_alarms_other_modality"];
    assert_eq!(far["n"], 6);
    let seen = records.iter().filter(|r| r["others"][0]["present"] == true);
    let seen: Vec<&Value> = seen.map(|r| &r["file"]).collect();
    assert!(seen.contains(&&Value::from("dark.png")), "{seen:?}");
    assert!(!seen.contains(&&Value::from("quiet.png")), "{seen:?}");

    let failed: Vec<u64> = json["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["line"].as_u64().unwrap())
        .collect();
    assert_eq!(failed, [9, 10, 11]);
    assert_eq!(json["failed"][2]["error"]["exit_code"], 4);
    for (line, cause) in [(9, "8x8"), (10, "gone.png"), (11, "spleen")] {
        let line = stderr
            .lines()
            .find(|l| l.contains(&format!("line {line}: ")))
            .unwrap();
        assert!(line.contains(cause) && line.contains("hint: "), "{line}");
    }

    let page = fs::read_to_string(page).unwrap();
    // Missed twice, a false alarm, and two that fit; what was rightly absent is no bad case.
    assert_eq!(page.matches("<figure>").count(), 5);
    assert!(page.contains("&lt;b&gt;&amp;") && !page.contains("<b>&"));
    assert_eq!(page.matches("<figure class=\"plot\">").count(), 1);
    assert!(page.contains("Research use only") && page.contains("CC-BY-NC-4.0"));
}

#[test]
fn the_answer_is_the_one_that_segment_gives() {
    let folder = tempfile::tempdir().unwrap();
    let (bundle, set) = prepare(folder.path());
    let output = bedside(&[
        "eval", &set, "--bundle", &bundle, "--json", "--split", "all",
    ]);
    let evaluated: Value = serde_json::from_slice(&output.stdout).unwrap();
    let records = evaluated["records"].as_array().unwrap();
    assert_eq!(records.len(), 7);
    for record in records {
        let file = Path::new(&set).join(record["file"].as_str().unwrap());
        let file = file.to_str().unwrap();
        let output = bedside(&[
            "segment", file, "--prompt", "polyp", "--bundle", &bundle, "--json",
        ]);
        let segmented: Value = serde_json::from_slice(&output.stdout).unwrap();
        let finding = &segmented["images"][0]["findings"][0];
        assert_eq!(finding["present"], record["present"], "{file}");
        assert_eq!(finding["presence"], record["presence"], "{file}");
    }
}

#[test]
fn the_terminal_gets_tables_and_a_bare_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (bundle, set) = prepare(folder.path());
    let output = bedside(&["eval", &set, "--bundle", &bundle, "--split", "train"]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("1 frame\n") && text.contains("Presence: what is reported"),
        "{text}"
    );
    // The numbers are those of the JSON.
    let all = ["eval", &set, "--bundle", &bundle, "--split", "all"];
    let text = String::from_utf8(bedside(&all).stdout).unwrap();
    let json = bedside(&[&all[..], &["--json"]].concat()).stdout;
    let json: Value = serde_json::from_slice(&json).unwrap();
    let summary = &json["prompts"][0];
    let dice = summary["shown"]["dice"]["mean"].as_f64().unwrap();
    let alarms = &summary["presence"]["false_alarms"];
    let [n, mean] = ["n", "mean"].map(|key| alarms[key].as_f64().unwrap());
    let row = summary["prompt"].as_str().unwrap();
    let row = |part: &str| text.lines().any(|l| l.contains(row) && l.contains(part));
    assert!(row(&format!("{dice:.3}")), "{dice}: {text}");
    let fraction = format!("{}/{n} = {:.1} %", (mean * n).round(), 100.0 * mean);
    assert!(row(&fraction), "{fraction}: {text}");
    assert!(text.lines().all(|l| !l.ends_with(' ')), "{text}");

    let none = bedside(&["eval", &set, "--bundle", &bundle, "--split", "test"]);
    assert_eq!(none.status.code(), Some(3));
    assert!(
        String::from_utf8(none.stderr)
            .unwrap()
            .contains("hint: --split all")
    );
    let bare = folder.path().to_str().unwrap();
    let bare = bedside(&["eval", bare, "--bundle", &bundle]);
    assert_eq!(bare.status.code(), Some(3));
    assert!(
        String::from_utf8(bare.stderr)
            .unwrap()
            .contains("manifest.csv")
    );
    let unwritable = bedside(&[
        "eval",
        &set,
        "--bundle",
        &bundle,
        "--html",
        "/proc/none/r.html",
    ]);
    assert_eq!(unwritable.status.code(), Some(6));
}

/// Ten pictures with a polyp and five without, ten a second, and their masks.
#[test]
fn a_clip_is_shown_as_live_video_and_measured_against_its_masks() {
    let folder = tempfile::tempdir().unwrap();
    let (bundle, _) = prepare(folder.path());
    let [clip, masks] = ["clip", "masks"].map(|name| folder.path().join(name));
    fs::create_dir(&clip).unwrap();
    fs::create_dir(&masks).unwrap();
    for i in 0..15 {
        let block = (i < 10).then_some([8, 24, 8, 24]);
        draw(&clip, &format!("{i:02}"), 228 + i % 3, block, block);
        let name = format!("{i:02}.mask.png");
        fs::rename(clip.join(&name), masks.join(&name)).unwrap();
    }
    let measure = |more: &[&str]| -> Value {
        let paths = [&clip, &masks].map(|path| path.to_str().unwrap());
        let mut arguments = vec!["eval", "--video", paths[0], "--masks", paths[1], "--json"];
        arguments.extend(["--prompt", "polyp", "--bundle", &bundle]);
        arguments.extend(more);
        let output = bedside(&arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let count = |report: &Value, name: &str| report[name].as_u64().unwrap();

    let each = measure(&[]);
    assert_eq!(count(&each, "with_object"), 10);
    assert_eq!(count(&each, "without_object"), 5);
    assert_eq!(each["fresh"]["masks"], 10);
    let fresh = each["fresh"]["dice"].as_f64().unwrap();
    assert!(fresh > 0.88, "as in the folder's test: {fresh}");
    // The first frame has no answer yet, and a doubtful object shows at its second.
    let missed = count(&each, "missed");
    assert!((1..=2).contains(&missed), "{each}");
    assert!(count(&each, "lingering") <= 2, "{each}");
    assert_eq!(each["flicker_per_minute"], 0.0);
    assert_eq!(each["carried"]["masks"], 10 - missed);
    let carried = each["carried"]["dice"].as_f64().unwrap();
    assert!((carried - fresh).abs() < 1e-6, "the block does not move");
    let ages = |report: &Value| -> Vec<u64> {
        let ages = report["carried_by_age"].as_array().unwrap();
        ages.iter().map(|age| count(age, "age_ms")).collect()
    };
    assert_eq!(ages(&each), [100]);

    let seldom = measure(&["--rate", "5"]);
    assert_eq!(seldom["fresh"]["masks"], 5);
    assert_eq!(ages(&seldom), [100, 200]);
    assert_eq!(measure(&["--limit", "4"])["frames"], 4);

    let refused = |arguments: &[&str], exit: i32, hint: &str| {
        let output = bedside(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{stderr}");
        assert!(stderr.contains(hint), "{stderr}");
    };
    let clip = clip.to_str().unwrap();
    let polyp = ["--prompt", "polyp", "--bundle", &bundle];
    refused(
        &[&["eval", "--video", clip], &polyp[..]].concat(),
        2,
        "--masks DIR",
    );
    refused(&["eval", "--video", clip, "--masks", clip], 2, "--prompt");
    let short = [
        "eval",
        "--video",
        clip,
        "--masks",
        folder.path().to_str().unwrap(),
    ];
    refused(&[&short[..], &polyp[..]].concat(), 3, "hint");
}

#[test]
fn the_shipped_bundle_answers_on_phantoms() {
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/edge/edge.bedside");
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    let (bundle, set) = (bundle.to_str().unwrap(), set.to_str().unwrap());
    let made = bedside(&["phantom", "--out", set, "--count", "3"]);
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let output = bedside(&["eval", set, "--bundle", bundle, "--split", "all", "--json"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["records"].as_array().unwrap().len(), 9);
    assert_eq!(json["failed"], Value::Array(Vec::new()));
    let prompts = json["prompts"].as_array().unwrap();
    let shown: Vec<&Value> = prompts.iter().filter(|p| !p["shown"].is_null()).collect();
    assert_eq!(
        shown.len(),
        3,
        "each kind of phantom has an object that the weights know"
    );
    for prompt in shown {
        let of = |figure: &str| prompt["shown"][figure]["mean"].as_f64().unwrap();
        // All are drawn well. They are no frames that the weights learned from, so that one in three
        // may be withheld for that.
        assert!(of("ungated_dice") > 0.9, "{prompt}");
        assert!(of("dice") > 0.6 && of("iou") <= of("dice"), "{prompt}");
        assert!(prompt["milliseconds"].as_f64() > Some(0.0), "{prompt}");
    }
}

#[test]
fn a_row_goes_before_what_its_picture_surely_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let (bundle, set) = prepare(folder.path());
    // Bright ground: seen as a fetal head by the tiny bundle.
    let rows = [
        "hit.png,hit.mask.png,val,a,ultrasound,breast tumor,benign",
        "missed.png,quiet.mask.png,val,b,ultrasound,fetal head,normal",
        "missed.png,missed.mask.png,val,b,ultrasound,breast tumor,benign",
    ];
    let manifest = Path::new(&set).join("manifest.csv");
    fs::write(manifest, format!("{HEAD}{}\n", rows.join("\n"))).unwrap();
    let head = "fetal head in transperineal ultrasound";
    let evaluate = |limit: &str| {
        let limited = ["--bundle", &bundle, "--json", "--limit", limit];
        let output = bedside(&[&["eval", &set], &limited[..]].concat());
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let alarms = |prompt: &&Value| prompt["prompt"] == head;
        let head = json["prompts"].as_array().unwrap().iter().find(alarms);
        head.unwrap()["presence"].clone()
    };
    // The first picture lacks it by its site, the second by its own row, and counts once.
    let all = evaluate("9");
    assert_eq!(all["false_alarms"]["n"], 2, "{all}");
    assert_eq!(all["false_alarms_labelled"]["n"], 1, "{all}");
    assert_eq!(all["false_alarms"]["mean"], 1.0, "{all}");
    // What the limit leaves out, here the second row, was said all the same.
    let two = evaluate("2");
    assert_eq!(two["false_alarms"]["n"], 1, "{two}");
    assert!(two["false_alarms_labelled"].is_null(), "{two}");
}
