//! The command as a person or a script meets it: outputs, exit codes, and nothing left behind.
//!
//! Commands that need a model run on the tiny bundle of `golden/`, whose "objects" are colours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// A still picture of `bedside-video`'s tests.
fn still(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../bedside-video/tests/golden/stills")
        .join(name)
}

fn bedside() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedside"));
    command
        .env_remove("BEDSIDE_BUNDLE")
        .env("BEDSIDE_CACHE", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null());
    command
}

/// A folder of its own for one test, with the tiny bundle in it.
pub(crate) struct Bench {
    folder: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let packed = bedside()
            .arg("pack")
            .arg(golden("bundle"))
            .arg(bench.bundle())
            .output();
        let packed = packed.unwrap();
        assert!(packed.status.success(), "{}", stderr(&packed));
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bundle(&self) -> PathBuf {
        self.path("tiny.bedside")
    }

    pub(crate) fn run(&self, args: &[&str], images: &[PathBuf]) -> Output {
        let mut command = bedside();
        command
            .args(args)
            .args(images)
            .env("BEDSIDE_BUNDLE", self.bundle())
            .env("BEDSIDE_CACHE", self.path("cache"));
        command.current_dir(self.folder.path()).output().unwrap()
    }

    /// Everything in the folder but the bundle, and what is remembered of its self-tests.
    pub(crate) fn left(&self) -> Vec<String> {
        let mut names: Vec<String> = list(self.folder.path());
        names.retain(|name| name != "tiny.bedside" && !name.starts_with("cache/proof-"));
        names
    }
}

/// Files below a folder, and folders with nothing in them.
fn list(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let below = if path.is_dir() {
            list(&path)
        } else {
            Vec::new()
        };
        if below.is_empty() {
            names.push(name);
        } else {
            names.extend(below.into_iter().map(|below| format!("{name}/{below}")));
        }
    }
    names.sort();
    names
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", stdout(output)))
}

/// Exit code, and an error on stderr that names what failed and what to do.
#[track_caller]
pub(crate) fn assert_fails(output: &Output, code: i32, words: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    let error = text
        .lines()
        .find(|line| line.starts_with("error: "))
        .expect("no error line");
    let hint = error.split_once("hint: ").map(|(_, hint)| hint);
    assert!(
        hint.is_some_and(|hint| !hint.trim().is_empty()),
        "no hint: {error}"
    );
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

fn pixels(path: &Path) -> (u32, u32, Vec<u8>) {
    let picture = image::open(path).unwrap().into_luma8();
    (picture.width(), picture.height(), picture.into_raw())
}

// ---- segment and recognize

#[test]
fn segment_prints_a_table_and_writes_nothing_without_out() {
    let bench = Bench::new();
    let output = bench.run(&["segment", "--prompt", "polyp"], &[golden("red-box.png")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let row: Vec<&str> = text
        .lines()
        .find(|line| line.starts_with("colon polyp"))
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(row[2], "yes", "{text}");
    assert!(
        text.contains("128x64") && text.contains("encoder") && text.contains(" ms"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "no colour codes");
    let notices = stderr(&output);
    assert!(notices.contains("Not a medical device"), "{notices}");
    assert!(
        notices.contains("CC-BY-NC-4.0"),
        "the weights' licence is told: {notices}"
    );
    assert_eq!(bench.left(), [""; 0]);
}

#[test]
fn segment_writes_overlay_masks_and_json() {
    let bench = Bench::new();
    let output = bench.run(
        &[
            "segment",
            "--prompt",
            "polyp",
            "--prompt",
            "fetal head",
            "--out",
            "out",
        ],
        &[golden("red-box.png")],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    // The frame holds nothing bright, so there is no fetal head and no mask of one.
    assert_eq!(
        bench.left(),
        [
            "out/red-box.colon_polyp.mask.png",
            "out/red-box.json",
            "out/red-box.overlay.png"
        ]
    );
    let (width, height, mask) = pixels(&bench.path("out/red-box.colon_polyp.mask.png"));
    assert_eq!((width, height), (128, 64));
    assert!(mask.iter().all(|v| *v == 0 || *v == 255));
    let at = |x: usize, y: usize| mask[y * 128 + x] == 255;
    assert!(
        at(96, 32) && at(84, 28) && at(108, 36),
        "the red box is found"
    );
    assert!(!at(40, 32) && !at(96, 4) && !at(96, 60), "and nothing else");

    let (width, height, _) = pixels(&bench.path("out/red-box.overlay.png"));
    assert!(width >= 128 && height >= 64);

    let document: Value =
        serde_json::from_slice(&fs::read(bench.path("out/red-box.json")).unwrap()).unwrap();
    let image = &document["images"][0];
    let [polyp, head] = image["findings"].as_array().unwrap().as_slice() else {
        panic!("{image}")
    };
    let set = mask.iter().filter(|v| **v == 255).count();
    assert_eq!(polyp["area"].as_u64(), Some(set as u64));
    assert_eq!(polyp["present"], true);
    assert_eq!(polyp["object"], "colon polyp");
    assert_eq!(polyp["mask"]["size"], serde_json::json!([64, 128]));
    assert_eq!(
        (&head["present"], &head["mask"]),
        (&Value::Bool(false), &Value::Null)
    );
    assert_eq!(document["model"]["name"], "tiny");
}

#[test]
fn json_is_one_document_with_every_image() {
    let bench = Bench::new();
    let images = [
        golden("red-box.png"),
        still("gray16.png"),
        golden("red-box.png"),
    ];
    let output = bench.run(&["segment", "--json", "--prompt", "polyp"], &images);
    // All are tried; the exit code is that of the first failure.
    assert_fails(&output, 3, &["gray16.png", "16 bits"]);
    let document = json(&output);
    assert!(
        document["notice"]
            .as_str()
            .unwrap()
            .contains("Research use only")
    );
    let [first, failed, last] = document["images"].as_array().unwrap().as_slice() else {
        panic!("{document}")
    };
    assert_eq!(first["findings"], last["findings"]);
    assert_eq!(failed["error"]["exit_code"], 3);
    let total = first["milliseconds"]["total"].as_f64().unwrap();
    let stages = ["preprocess", "encoder", "decoder", "masks"];
    let sum: f64 = stages
        .iter()
        .map(|s| first["milliseconds"][s].as_f64().unwrap())
        .sum();
    assert!(
        (total - sum).abs() < 0.01,
        "stages sum to the total: {first}"
    );
}

#[test]
fn many_images_are_told_in_order_and_as_one_thread_tells_them() {
    let bench = Bench::new();
    // Of many sizes, so that they take unlike times.
    let names: Vec<String> = (0..24_u32).map(|n| format!("{n:02}.png")).collect();
    for (n, name) in (0..).zip(&names) {
        let side = 32 + 97 * (n * 7 % 24);
        let shade = |x, y| image::Rgb([(x % 251) as u8, (y % 241) as u8, n as u8]);
        image::RgbImage::from_fn(side, side, shade)
            .save(bench.path(name))
            .unwrap();
    }
    let images: Vec<PathBuf> = names.iter().map(|name| bench.path(name)).collect();
    let run = |threads: &str| {
        let args = [
            "segment",
            "--json",
            "--prompt",
            "polyp",
            "--threads",
            threads,
        ];
        let mut document = json(&bench.run(&args, &images));
        for image in document["images"].as_array_mut().unwrap() {
            image.as_object_mut().unwrap().remove("milliseconds");
        }
        document["images"].take()
    };
    let (one, four) = (run("1"), run("4"));
    assert_eq!(one, four);
    let told = |image: &Value| image["file"].as_str().unwrap().to_owned();
    let told: Vec<_> = four.as_array().unwrap().iter().map(told).collect();
    assert!(told.len() == 24 && told.is_sorted(), "{told:?}");
}

#[test]
fn inputs_of_one_name_do_not_overwrite_each_other() {
    let bench = Bench::new();
    fs::create_dir(bench.path("a")).unwrap();
    fs::copy(golden("red-box.png"), bench.path("a/red-box.png")).unwrap();
    let images = [golden("red-box.png"), bench.path("a/red-box.png")];
    let output = bench.run(&["segment", "--prompt", "polyp", "--out", "out"], &images);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let left = list(&bench.path("out"));
    assert!(left.contains(&"red-box.json".to_owned()), "{left:?}");
    assert!(left.contains(&"red-box-2.json".to_owned()), "{left:?}");
}

#[test]
fn recognize_reports_all_that_the_model_knows_there() {
    let bench = Bench::new();
    let output = bench.run(
        &["recognize", "--json", "--modality", "ultrasound"],
        &[golden("red-box.png")],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = json(&output);
    let findings = document["images"][0]["findings"].as_array().unwrap();
    let mut objects: Vec<&str> = findings
        .iter()
        .map(|f| f["object"].as_str().unwrap())
        .collect();
    objects.sort_unstable();
    assert_eq!(objects, ["breast tumor", "fetal head"]);
    let none = bench.run(
        &["recognize", "--modality", "oct"],
        &[golden("red-box.png")],
    );
    assert_fails(&none, 4, &["oct"]);
}

// ---- bad inputs

#[test]
fn a_bad_picture_is_exit_code_3_and_leaves_nothing() {
    let bench = Bench::new();
    let whole = fs::read(still("turned.jpg")).unwrap();
    fs::write(bench.path("empty.png"), "").unwrap();
    fs::write(bench.path("cut.jpg"), &whole[..whole.len() - 40]).unwrap();
    for (path, word) in [
        (bench.path("missing.png"), "could not be read"),
        (bench.path("empty.png"), "empty"),
        (bench.path("cut.jpg"), "cut short"),
        (still("huge.png"), "too large"),
        (still("vast.png"), "too large"),
        (still("one-pixel.png"), "1x1"),
        (still("gray16.png"), "16 bits"),
        (still("cmyk.jpg"), "CMYK"),
        (still("cmyk.tiff"), "CMYK"),
        (still("dicom.dcm"), "DICOM"),
        (golden("make.py"), "no picture"),
    ] {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let output = bench.run(&["segment", "--prompt", "polyp", "--out", "out"], &[path]);
        assert_fails(&output, 3, &[&name, word]);
        assert_eq!(bench.left(), ["cut.jpg", "empty.png"], "{name}");
    }
}

#[test]
fn a_prompt_that_the_model_does_not_know_is_exit_code_4() {
    let bench = Bench::new();
    for (prompt, word) in [
        ("polypp", "colon polyp"),
        ("zzzzzz", "bedside prompts"),
        ("liver", "not trained"),
        ("tumor in breast", "breast tumor"),
        ("", "prompt"),
    ] {
        let args = ["segment", "--prompt", prompt, "--out", "out"];
        let output = bench.run(&args, &[golden("red-box.png")]);
        assert_fails(&output, 4, &[word]);
        assert_eq!(stdout(&output), "", "nothing was found");
        assert_eq!(bench.left(), [""; 0]);
    }
    let args = ["segment", "--prompt", "polyp", "--modality", "ct"];
    let elsewhere = bench.run(&args, &[golden("red-box.png")]);
    assert_fails(&elsewhere, 4, &["polyp in colon endoscope"]);
    // Scripts that read JSON are told in JSON too.
    let output = bench.run(
        &["segment", "--json", "--prompt", "liver"],
        &[golden("red-box.png")],
    );
    assert_eq!(json(&output)["error"]["exit_code"], 4);
}

#[test]
fn a_bundle_that_is_missing_or_damaged_is_exit_code_5() {
    let bench = Bench::new();
    let whole = fs::read(bench.bundle()).unwrap();
    let cases = [
        ("missing", None),
        ("empty", Some(Vec::new())),
        ("cut", Some(whole[..whole.len() / 2].to_vec())),
        ("text", Some(b"not a bundle".to_vec())),
        ("flipped", {
            // In the last third lie the self-test's frame and the directory.
            let mut bytes = whole.clone();
            let at = bytes.len() * 3 / 4;
            bytes[at] ^= 0x10;
            Some(bytes)
        }),
    ];
    for (name, bytes) in cases {
        if let Some(bytes) = bytes {
            fs::write(bench.path(name), bytes).unwrap();
        }
        let output = bench.run(&["verify", name], &[]);
        assert_fails(&output, 5, &[name]);
    }
    let output = bench.run(
        &[
            "segment", "--bundle", "missing", "--prompt", "polyp", "--out", "out",
        ],
        &[golden("red-box.png")],
    );
    assert_fails(&output, 5, &["missing"]);
    assert!(!bench.path("out").exists());
}

#[test]
fn no_bundle_at_all_tells_where_it_was_looked_for() {
    let empty = tempfile::tempdir().unwrap();
    let output = bedside()
        .args(["segment", "--prompt", "polyp"])
        .arg(golden("red-box.png"))
        .current_dir(empty.path())
        .output()
        .unwrap();
    assert_fails(
        &output,
        5,
        &[
            "models/edge/edge.bedside",
            "share/bedside",
            "BEDSIDE_BUNDLE",
        ],
    );
    // The ontology needs none.
    let prompts = bedside()
        .arg("prompts")
        .current_dir(empty.path())
        .output()
        .unwrap();
    assert_eq!(prompts.status.code(), Some(0));
    assert!(stdout(&prompts).contains("polyp in colon endoscope"));
}

#[test]
fn usage_errors_are_exit_code_2() {
    for args in [
        &["segment"][..],
        &["segment", "a.png"],
        &["segment", "a.png", "--prompt", "x", "--threads", "0"],
        &["segment", "a.png", "--prompt", "x", "--precision", "f12"],
        &["segment", "a.png", "--prompt", "x", "--modality", "sonar"],
        &["recognize", "a.png", "--modality", "sonar"],
        &["bench", "--size", "1x1"],
        &["nonsense"],
        &[],
    ] {
        let output = bedside().args(args).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(2),
            "{args:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn every_command_has_a_manual_page_and_completions() {
    let folder = tempfile::tempdir().unwrap();
    let ran = |args: &[&str]| {
        let output = bedside()
            .args(args)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    ran(&["man", "pages"]);
    let script = ran(&["completions", "bash"]);
    let page = |name: &str| fs::read_to_string(folder.path().join("pages").join(name)).unwrap();
    assert!(
        page("bedside-live.1").contains("preview"),
        "options are told"
    );
    let help = ran(&["help"]);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<_> = commands
        .map_while(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.len() > 12, "{commands:?}");
    for command in commands {
        assert!(page(&format!("bedside-{command}.1")).contains(command));
        assert!(script.contains(&format!("bedside,{command})")), "{command}");
    }
}

// ---- outputs that can't be written

/// A folder that nobody may write to: for root, permissions do not count, so the kernel's own.
fn read_only(bench: &Bench) -> PathBuf {
    let folder = bench.path("locked");
    fs::create_dir(&folder).unwrap();
    let mut permissions = fs::metadata(&folder).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&folder, permissions).unwrap();
    match fs::write(folder.join("probe"), "") {
        Ok(()) => PathBuf::from("/proc/bedside-out"),
        Err(_) => folder,
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_is_read_only_is_exit_code_6() {
    let bench = Bench::new();
    let folder = read_only(&bench);
    let before = bench.left();
    let out = folder.to_str().unwrap();
    let images = [golden("red-box.png")];
    let segmented = bench.run(&["segment", "--prompt", "polyp", "--out", out], &images);
    assert_fails(&segmented, 6, &[out]);
    assert_fails(
        &bench.run(&["phantom", "--count", "1", "--out", out], &[]),
        6,
        &[out],
    );
    let file = folder.join("x.bedside");
    let packed = bedside()
        .arg("pack")
        .arg(golden("bundle"))
        .arg(&file)
        .output()
        .unwrap();
    assert_fails(&packed, 6, &[out]);
    assert_eq!(bench.left(), before);
}

/// A shell with a limit on the size of files stands in for a full disk: the same writes fail.
#[cfg(target_os = "linux")]
#[test]
fn a_write_that_fails_midway_is_exit_code_6_and_leaves_nothing() {
    let bench = Bench::new();
    let run = |args: &str| {
        Command::new("sh")
            .arg("-c")
            .arg(format!("trap '' XFSZ; ulimit -f 1; exec \"$0\" {args}"))
            .arg(env!("CARGO_BIN_EXE_bedside"))
            .env("BEDSIDE_BUNDLE", bench.bundle())
            .env("BEDSIDE_CACHE", bench.path("cache"))
            .current_dir(bench.folder.path())
            .output()
            .unwrap()
    };
    // Noise does not compress: the overlay needs more than the 512 or 1024 bytes allowed.
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(64 * 64)
    .collect();
    image::save_buffer(
        bench.path("noise.png"),
        &noise,
        64,
        64,
        image::ColorType::L8,
    )
    .unwrap();
    let segmented = run("segment noise.png --prompt polyp --out out");
    assert_fails(&segmented, 6, &["noise.overlay.png", "space"]);
    assert_eq!(bench.left(), ["noise.png"]);
    let phantoms = run("phantom --count 2 --out phantoms");
    assert_fails(&phantoms, 6, &["phantoms", "space"]);
    assert_eq!(bench.left(), ["noise.png"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_behind_stdout_is_exit_code_6_and_a_closed_pipe_is_none() {
    let run = |stdout: Stdio| {
        bedside()
            .arg("prompts")
            .stdout(stdout)
            .stderr(Stdio::piped())
            .output()
            .unwrap()
    };
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    assert_fails(&run(full.into()), 6, &["standard output"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let closed = run(writer.into());
    assert_eq!(closed.status.code(), Some(0), "{}", stderr(&closed));
}

// ---- bundles

#[test]
fn pack_inspect_and_verify_agree() {
    let bench = Bench::new();
    let inspected = json(&bench.run(&["inspect", "--json"], &[]));
    let verified = json(&bench.run(&["verify", "--json"], &[]));
    assert_eq!(inspected["digest"], verified["digest"]);
    assert_eq!(verified["passed"], true);
    assert_eq!(verified["self_tests"][0]["precision"], "f32");
    assert_eq!(inspected["trained_prompts"].as_array().unwrap().len(), 3);
    let text = bench.run(&["inspect"], &[]);
    assert!(stdout(&text).contains("CC-BY-NC-4.0") && stdout(&text).contains("encoder.onnx"));
    assert_eq!(
        bench
            .run(&["verify", "--precision", "int8"], &[])
            .status
            .code(),
        Some(5)
    );
}

/// The tiny bundle packed again, with one of its JSON files changed.
fn repacked(bench: &Bench, name: &str, file: &str, change: impl FnOnce(&mut Value)) {
    let source = bench.path("source");
    fs::create_dir_all(source.join("selftest")).unwrap();
    for part in [
        "bundle.json",
        "decoder.onnx",
        "encoder.onnx",
        "prompts.json",
        "selftest/0.rgb",
    ] {
        fs::copy(golden("bundle").join(part), source.join(part)).unwrap();
    }
    let mut value = serde_json::from_slice(&fs::read(source.join(file)).unwrap()).unwrap();
    change(&mut value);
    fs::write(source.join(file), value.to_string()).unwrap();
    let packed = bench.run(&["pack", "source", name], &[]);
    assert_eq!(packed.status.code(), Some(0), "{}", stderr(&packed));
}

/// A bundle `wrong.bedside` whose self-test expects another mask than the model gives.
fn wrong(bench: &Bench) {
    repacked(bench, "wrong.bedside", "bundle.json", |manifest| {
        // The expected mask is now the frame's upper left pixel.
        manifest["self_tests"][0]["mask"] = serde_json::json!([0, 1, 1023]);
    });
}

/// Each side is a way to run the bundle, and is proved and named.
#[test]
fn sides_are_chosen_proved_and_told() {
    let bench = Bench::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sides/source");
    let source = source.to_str().unwrap();
    let packed = bench.run(&["pack", source, "sides.bedside"], &[]);
    assert_eq!(packed.status.code(), Some(0), "{}", stderr(&packed));
    let run = |args: &[&str]| bench.run(&[args, &["--bundle", "sides.bedside"]].concat(), &[]);
    let told = stdout(&run(&["inspect"]));
    assert!(told.contains("32x32, 64x64 pixels (default 32)"), "{told}");
    let sides = |args: &[&str]| {
        let verified = json(&run(&[&["verify", "--json"], args].concat()));
        assert_eq!(verified["passed"], true, "{verified}");
        let tests = verified["self_tests"].as_array().unwrap().iter();
        tests
            .map(|t| t["side"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(sides(&[]), [32, 64, 32, 64]);
    assert_eq!(sides(&["--side", "64", "--precision", "f32"]), [64]);
    let output = run(&["verify", "--side", "48"]);
    assert_fails(&output, 2, &["no side 48", "hint: it has 32, 64"]);
    let warmed = json(&run(&["warm", "--json", "--precision", "f32"]));
    assert_eq!(warmed["warmed"][1]["side"], 64);
}

#[test]
fn a_self_test_that_fails_is_exit_code_7() {
    let bench = Bench::new();
    wrong(&bench);
    let output = bench.run(&["verify", "wrong.bedside"], &[]);
    assert_fails(&output, 7, &["1 of 1 self-tests"]);
    assert!(stdout(&output).contains("FAILED"));
}

#[test]
fn p_17_a_bundle_that_fails_its_self_test_gives_no_mask() {
    let bench = Bench::new();
    wrong(&bench);
    let before = bench.left();
    for command in [
        &["segment", "--prompt", "polyp"][..],
        &["recognize", "--modality", "endoscopy"],
    ] {
        let args = [command, &["--bundle", "wrong.bedside", "--out", "out"]].concat();
        let output = bench.run(&args, &[golden("red-box.png")]);
        assert_fails(&output, 7, &["self-test 'polyp'", "IoU", "hint: "]);
        assert_eq!(stdout(&output), "");
        assert_eq!(bench.left(), before);
    }
}

const AUTO: [&str; 5] = ["segment", "--prompt", "polyp", "--precision", "auto"];

#[test]
fn auto_runs_what_was_measured_and_measures_nothing_itself() {
    let bench = Bench::new();
    let image = golden("red-box.png");
    let before = bench.run(&AUTO, std::slice::from_ref(&image));
    assert_eq!(before.status.code(), Some(0), "{}", stderr(&before));
    assert!(stderr(&before).contains("f32, the bundle's default, runs: not measured"));
    assert!(stdout(&bench.run(&["inspect"], &[])).contains("auto       not measured"));
    assert_eq!(bench.left(), Vec::<String>::new());

    let tuned = json(&bench.run(&["tune", "--json"], &[]));
    assert_eq!(tuned["fastest"], "f32");
    assert_eq!(bench.left().len(), 1);
    let inspected = bench.run(&["inspect", "--json"], &[]);
    assert_eq!(json(&inspected)["tuning"], tuned["tuning"]);
    let text = stdout(&bench.run(&["inspect"], &[]));
    assert!(text.contains("auto       f32 on tract-cpu with "), "{text}");
    let after = bench.run(&AUTO, std::slice::from_ref(&image));
    assert_eq!(after.status.code(), Some(0));
    assert!(!stderr(&after).contains("note:"), "{}", stderr(&after));
    let other = bench.run(&[&AUTO[..], &["--threads", "7"]].concat(), &[image]);
    assert!(
        stderr(&other).contains("not measured"),
        "{}",
        stderr(&other)
    );
}

#[test]
fn a_damaged_measurement_stops_nothing_and_is_reported() {
    let bench = Bench::new();
    bench.run(&["tune"], &[]);
    let name = list(&bench.path("cache")).pop().unwrap();
    fs::write(bench.path("cache").join(&name), "{").unwrap();
    let image = golden("red-box.png");
    for args in [&AUTO[..], &["inspect", "--json"]] {
        let images = if args == AUTO {
            vec![image.clone()]
        } else {
            vec![]
        };
        let output = bench.run(args, &images);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stderr(&output).contains(&name), "{}", stderr(&output));
    }
    assert!(stdout(&bench.run(&["inspect"], &[])).contains(&name));
    bench.run(&["tune"], &[]);
    let healed = bench.run(&AUTO, &[image]);
    assert!(!stderr(&healed).contains("note:"), "{}", stderr(&healed));
}

#[test]
fn a_measurement_that_can_not_be_kept_is_printed_and_exit_code_6() {
    let bench = Bench::new();
    fs::write(bench.path("cache"), "a file, no folder").unwrap();
    let output = bench.run(&["tune"], &[]);
    assert_fails(&output, 6, &["was not written", "hint: "]);
    assert!(
        stdout(&output).contains("f32 on tract-cpu"),
        "{}",
        stdout(&output)
    );
    let auto = bench.run(&AUTO, &[golden("red-box.png")]);
    assert_eq!(auto.status.code(), Some(0), "{}", stderr(&auto));
    assert!(stderr(&auto).contains("note: f32, the bundle's default, runs"));
}

#[test]
fn auto_refuses_a_bundle_that_failed_at_every_precision() {
    let bench = Bench::new();
    wrong(&bench);
    let output = bench.run(&["tune", "wrong.bedside"], &[]);
    assert_fails(&output, 7, &["no precision"]);
    assert!(
        stdout(&output).contains("FAILED: self-test"),
        "{}",
        stdout(&output)
    );
    let args = [&AUTO[..], &["--bundle", "wrong.bedside"]].concat();
    let refused = bench.run(&args, &[golden("red-box.png")]);
    assert_fails(&refused, 7, &["no precision", "hint: "]);
    assert_fails(
        &bench.run(&["tune", "--precision", "f32"], &[]),
        2,
        &["hint: "],
    );
}

/// The command with a backend, and no library where its variable says.
fn with_backend(bench: &Bench, args: &[&str]) -> Output {
    let mut command = bedside();
    command
        .args(args)
        .arg(golden("red-box.png"))
        .env("BEDSIDE_BUNDLE", bench.bundle())
        .env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so");
    command.current_dir(bench.folder.path()).output().unwrap()
}

#[test]
fn a_backend_that_is_not_here_is_refused_with_its_remedy() {
    let bench = Bench::new();
    let segment = ["segment", "--prompt", "polyp", "--backend"];
    let named = |name| with_backend(&bench, &[&segment[..], &[name]].concat());
    let cases = [
        ("tract", false, "", "one of tract-cpu, tract-stock"),
        (
            "ort-cpu",
            cfg!(feature = "ort"),
            "/nowhere/libonnxruntime.so",
            "--features ort",
        ),
        (
            "tract-cuda",
            cfg!(any(feature = "cuda", feature = "cuda-13")),
            "CUDA driver library not found",
            "--features cuda",
        ),
    ];
    for (name, compiled, missing, feature) in cases {
        let output = named(name);
        if !compiled {
            // The parser's own form, with its usage line.
            assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
            assert!(stderr(&output).contains(feature), "{}", stderr(&output));
        } else if output.status.success() {
            let told = format!("skipped: {name} is usable here\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), told.as_bytes());
        } else {
            assert_fails(&output, 7, &[missing, "hint: "]);
            assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        }
    }
}

#[test]
fn a_required_device_is_not_the_cpu() {
    let bench = Bench::new();
    let output = with_backend(
        &bench,
        &["segment", "--prompt", "polyp", "--require-device"],
    );
    assert_fails(&output, 7, &["tract-cpu runs on the CPU", "hint: "]);
}

#[test]
fn warm_runs_every_precision_and_tells_the_times() {
    let bench = Bench::new();
    let text = bench.run(&["warm"], &[]);
    assert_eq!(text.status.code(), Some(0), "{}", stderr(&text));
    assert!(stdout(&text).contains("second run ms"), "{}", stdout(&text));
    let document = json(&bench.run(&["warm", "--json"], &[]));
    let warmed = document["warmed"].as_array().unwrap();
    assert!(!warmed.is_empty());
    for precision in warmed {
        assert!(precision["first_ms"].as_f64().unwrap() > 0.0, "{precision}");
        assert_eq!(precision["placement"], Value::Array(Vec::new()));
    }
}

#[test]
fn pack_refuses_a_folder_without_manifest_and_writes_nothing() {
    let bench = Bench::new();
    fs::create_dir(bench.path("source")).unwrap();
    let output = bench.run(&["pack", "source", "new.bedside"], &[]);
    assert_fails(&output, 5, &["bundle.json"]);
    assert_eq!(bench.left(), ["source"]);
}

#[test]
fn prompts_tell_what_the_bundle_knows() {
    let bench = Bench::new();
    let rows = json(&bench.run(&["prompts", "--json"], &[]));
    let of = |prompt: &str| {
        let rows = rows.as_array().unwrap().iter();
        rows.clone().find(|row| row["prompt"] == prompt).unwrap()["model"].clone()
    };
    assert_eq!(of("polyp in colon endoscope"), "trained");
    assert_eq!(of("liver in abdomen ct"), "untrained");
    assert_eq!(of("liver in abdomen mri"), "absent");
    let trained = json(&bench.run(&["prompts", "--json", "--trained"], &[]));
    assert_eq!(trained.as_array().unwrap().len(), 3);
}

/// What a clinic's own model finds is told from BiomedParse's 82 object types.
#[test]
fn object_types_of_the_bundles_own_are_marked() {
    let bench = Bench::new();
    repacked(&bench, "own.bedside", "prompts.json", |prompts| {
        let mut own = prompts["entries"][0].clone();
        own["object"] = "skin lesion".into();
        own["target"] = "skin lesion".into();
        own["modality"] = "dermoscopy".into();
        own["site"] = "skin".into();
        prompts["entries"].as_array_mut().unwrap().push(own);
    });
    let list = ["prompts", "--trained", "--bundle", "own.bedside"];
    let rows = json(&bench.run(&[&list[..], &["--json"]].concat(), &[]));
    let from = |prompt: &str| {
        let mut rows = rows.as_array().unwrap().iter();
        rows.find(|row| row["prompt"] == prompt).unwrap()["from"].clone()
    };
    assert_eq!(from("skin lesion in skin dermoscopy"), "bundle");
    assert_eq!(from("polyp in colon endoscope"), "biomedparse");
    let text = stdout(&bench.run(&list, &[]));
    let line = text.lines().find(|line| line.starts_with("skin lesion"));
    assert!(line.unwrap().trim_end().ends_with("bundle"), "{text}");
}

// ---- bench and phantom

#[test]
fn bench_reports_stages_and_operators_that_sum() {
    let bench = Bench::new();
    let args = ["bench", "--frames", "3", "--size", "64x48", "--profile"];
    let text = bench.run(&args, &[]);
    assert_eq!(text.status.code(), Some(0), "{}", stderr(&text));
    for word in [
        "frames/s",
        "median ms",
        "3 prompts",
        "64x48",
        "total",
        "to tract-stock",
        "operator",
    ] {
        assert!(stdout(&text).contains(word), "{word}: {}", stdout(&text));
    }
    let report = json(&bench.run(
        &["bench", "--frames", "3", "--size", "64x48", "--json"],
        &[],
    ));
    assert_eq!(report["stages"].as_array().unwrap().len(), 5);
    assert!(report["frames_per_second"].as_f64().unwrap() > 0.0);
    assert_eq!(report["against"]["backend"], "tract-stock");
    assert!(report["kernels"].is_string() && report["before"].is_null());
}

#[test]
fn bench_compares_with_an_earlier_run_of_the_same_work() {
    let bench = Bench::new();
    let args = [
        "bench",
        "--frames",
        "3",
        "--size",
        "64x48",
        "--against",
        "none",
    ];
    let run = |more: &[&str]| bench.run(&[&args[..], more].concat(), &[]);
    let mut before = json(&run(&["--json"]));
    assert!(before["against"].is_null());
    // As of a machine on which everything took a million times as long.
    for stage in before["stages"].as_array_mut().unwrap() {
        for time in ["mean", "median", "p95", "max"] {
            stage[time] = serde_json::json!(stage[time].as_f64().unwrap().max(0.001) * 1e6);
        }
    }
    before["machine"] = serde_json::json!("a slow machine");
    fs::write(bench.path("before.json"), before.to_string()).unwrap();
    let after = json(&run(&["--compare", "before.json", "--json"]));
    let ratios = after["before"]["ratios"].as_array().unwrap();
    assert_eq!(ratios.len(), 5);
    for ratio in ratios {
        assert!(ratio["ratio"].as_f64().unwrap() < 0.5, "{ratio}");
    }
    let text = run(&["--compare", "before.json"]);
    assert!(stdout(&text).contains("to before"), "{}", stdout(&text));
    assert!(
        stdout(&text).contains("on a slow machine"),
        "{}",
        stdout(&text)
    );
    // Other work is not compared, and what is no report is told.
    let other = run(&["--compare", "before.json", "--prompt", "polyp"]);
    assert_fails(
        &other,
        2,
        &["3 prompts", "1 prompts", "hint: the same options"],
    );
    fs::write(bench.path("other.json"), "{}").unwrap();
    let no_report = run(&["--compare", "other.json"]);
    assert_fails(&no_report, 3, &["other.json", "bench --json"]);
    assert_fails(&run(&["--compare", "missing.json"]), 3, &["missing.json"]);
}

#[test]
fn phantoms_make_a_dataset_that_repeats_itself() {
    let folder = tempfile::tempdir().unwrap();
    let run = |out: &str| {
        let args = [
            "phantom", "--kind", "polyp", "--count", "8", "--size", "64x48", "--out", out,
        ];
        bedside()
            .args(args)
            .current_dir(folder.path())
            .output()
            .unwrap()
    };
    let output = run("a");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_fails(&run("a"), 6, &["not empty"]);
    run("b");
    let manifest = fs::read_to_string(folder.path().join("a/manifest.csv")).unwrap();
    assert_eq!(manifest.lines().count(), 9);
    let mut normal = 0;
    for line in manifest.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let (width, height, mask) = pixels(&folder.path().join("a").join(fields[1]));
        assert_eq!((width, height), (64, 48));
        let share = mask.iter().filter(|v| **v == 255).count() as f64 / f64::from(64 * 48);
        assert!(
            (share - fields[9].parse::<f64>().unwrap()).abs() < 1e-5,
            "{line}"
        );
        assert_eq!(fields[6] == "normal", share == 0.0, "{line}");
        normal += usize::from(fields[6] == "normal");
        for file in &fields[..2] {
            let read = |out: &str| fs::read(folder.path().join(out).join(file)).unwrap();
            assert_eq!(read("a"), read("b"), "{file}");
        }
    }
    assert!(normal >= 1, "some show nothing");
}

#[test]
fn a_clip_is_numbered_and_moves() {
    let folder = tempfile::tempdir().unwrap();
    let args = [
        "phantom",
        "--kind",
        "fetal-head",
        "--clip",
        "3",
        "--size",
        "64x48",
        "--out",
        "c",
    ];
    let output = bedside()
        .args(args)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let frame = |i: u32| {
        fs::read(
            folder
                .path()
                .join(format!("c/images/fetal-head-{i:06}.png")),
        )
        .unwrap()
    };
    assert_ne!(frame(0), frame(2));
}

// ---- help

#[test]
fn help_shows_examples_and_exit_codes() {
    let text = |args: &[&str]| stdout(&bedside().args(args).output().unwrap());
    let help = text(&["--help"]);
    for word in [
        "Exit codes:",
        "Examples:",
        "Not a medical device",
        "segment",
        "phantom",
        "eval",
    ] {
        assert!(help.contains(word), "{word}: {help}");
    }
    for command in [
        "segment",
        "recognize",
        "prompts",
        "eval",
        "inspect",
        "verify",
        "pack",
        "bench",
        "phantom",
    ] {
        let help = text(&[command, "--help"]);
        assert!(help.contains("Example"), "{command}: {help}");
        assert!(help.contains("--json"), "{command}");
    }
}

#[cfg(not(feature = "igtl"))]
#[test]
fn openigtlink_that_is_not_in_this_build_is_refused() {
    for option in [["--igtl", "localhost:18944"], ["--igtl-listen", "0"]] {
        let output = bedside()
            .args(["live", "--prompt", "polyp"])
            .args(option)
            .output()
            .unwrap();
        assert_fails(&output, 2, &["OpenIGTLink", "--features igtl"]);
    }
}
