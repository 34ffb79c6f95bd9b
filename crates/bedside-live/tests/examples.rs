//! The examples run. Cargo has built them beside this test.

use std::path::Path;
use std::process::Command;

const BUNDLE: &str = "models/edge/edge.bedside";

/// What an example prints on standard output.
fn output_of(name: &str, arguments: &[&str]) -> String {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let example = profile.join("examples").join(name);
    let output = Command::new(&example)
        .args(arguments)
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .output();
    let output = output.unwrap_or_else(|e| panic!("{}: {e}", example.display()));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_session_with_a_sink_of_its_own_shows_and_records_each_frame() {
    let lines = output_of("own_sink", &[BUNDLE, "phantom:polyp,size=320x240", "25"]);
    let frames = lines.lines().filter(|line| line.starts_with("{\"frame\""));
    let frames = frames.count();
    // Some more may be on their way when the sink has its number.
    assert!((25..=30).contains(&frames), "{frames}");
    let last = lines.lines().last().unwrap();
    assert!(last.starts_with("{\"end\""), "{last}");
}

#[test]
fn a_camera_loop_of_its_own_calls_once_a_frame() {
    let lines = output_of("camera_loop", &[BUNDLE, "25"]);
    assert_eq!(lines.lines().count(), 25);
    assert!(lines.starts_with("frame 0: starting"), "{lines}");
}

#[test]
fn streams_on_shared_weights_show_each_frame() {
    let lines = output_of("streams", &["2", "2"]);
    let streams: Vec<_> = lines.lines().filter(|l| l.starts_with("stream ")).collect();
    assert_eq!(streams.len(), 2, "{lines}");
    for stream in streams {
        assert!(stream.contains(": 60 captured"), "{stream}");
        assert!(stream.contains("masks on "), "{stream}");
    }
}
