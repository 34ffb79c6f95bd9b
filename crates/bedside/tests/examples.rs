//! The examples do what they say.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use bedside::Options;

macro_rules! example {
    ($name:ident, $file:literal) => {
        #[allow(dead_code, reason = "an example's `main` is not called here")]
        #[path = $file]
        mod $name;
    };
}

example!(backend, "../examples/backend.rs");
example!(camera, "../examples/camera.rs");
example!(folder, "../examples/folder.rs");
example!(picture, "../examples/picture.rs");

const BUNDLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../models/edge/edge.bedside"
);
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/edge/samples");

fn options() -> Options {
    Options::default().with_cache(env!("CARGO_TARGET_TMPDIR"))
}

fn lines(run: impl FnOnce(&mut Vec<u8>)) -> Vec<String> {
    let mut out = Vec::new();
    run(&mut out);
    let text = String::from_utf8(out).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The number before "pixels".
fn pixels(line: &str) -> u64 {
    let (before, _) = line.split_once(" pixels").unwrap();
    before.split(' ').next_back().unwrap().parse().unwrap()
}

#[test]
fn picture() {
    let ask = |words| {
        let file = format!("{SAMPLES}/polyp.png");
        lines(|out| picture::run(BUNDLE, &options(), &file, words, out).unwrap())
    };
    let found = ask("polyp");
    assert!(found.len() == 1 && pixels(&found[0]) > 1_000, "{found:?}");
    assert_eq!(ask("fetal head"), ["fetal head: not present"]);
    let mut out = Vec::new();
    assert!(picture::run(BUNDLE, &options(), "none.png", "polyp", &mut out).is_err());
    assert!(out.is_empty());
}

#[test]
fn folder() {
    let temp = tempfile::tempdir().unwrap();
    for name in ["breast-tumor.png", "fetal-head.png", "polyp.png"] {
        std::fs::copy(format!("{SAMPLES}/{name}"), temp.path().join(name)).unwrap();
    }
    std::fs::write(temp.path().join("broken.png"), "no picture").unwrap();
    let folder = temp.path().to_str().unwrap();
    let found = lines(|out| folder::run(BUNDLE, &options(), folder, "polyp", out).unwrap());
    let names = [
        "breast-tumor.png",
        "broken.png",
        "fetal-head.png",
        "polyp.png",
    ];
    assert_eq!(found.len(), names.len(), "{found:?}");
    for (line, name) in found.iter().zip(names) {
        assert!(line.contains(name), "{line}");
        assert_eq!(line.contains(" pixels"), name != "broken.png", "{line}");
    }
    assert!(pixels(&found[3]) > 1_000, "{found:?}");
}

#[test]
fn camera() {
    let found = lines(|out| camera::run(BUNDLE, &options(), 3, out).unwrap());
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found[..3].iter().all(|line| pixels(line) > 0), "{found:?}");
    assert!(found[3].starts_with("frozen, fetal head: "), "{found:?}");
}

#[test]
fn backend() {
    let found = lines(|out| backend::run(BUNDLE, &options(), out).unwrap());
    assert_eq!(found, ["counted conforms", "2 runs for a frame"]);
}
