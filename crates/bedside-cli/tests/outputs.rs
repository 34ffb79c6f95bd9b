//! `bedside live` while its outputs fail, block or end: video and the other outputs go on, and it is
//! said.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::live_rig::{Live, command, pack, shown};
use crate::privacy::get;

/// Takes nothing, and does not end by itself.
const BLOCKED: &str = "| exec sleep 100000";
/// Takes all, and does not end by itself.
const ENDLESS: &str = "| cat >/dev/null; exec sleep 100000";
/// Far longer than it takes to end at once, and shorter than the time that a command behind `--out`
/// has to end by itself, 30 seconds.
const AT_ONCE: Duration = Duration::from_secs(20);

/// A video file that takes nothing, as on a full disk.
fn full(folder: &Path, name: &str) {
    symlink("/dev/full", folder.join(name)).unwrap();
}

/// Pictures in a file, once there are more.
fn more(live: &mut Live, file: &Path) {
    let before = shown(file).len();
    live.until("more pictures", true, |_| shown(file).len() > before + 25);
}

#[test]
fn p_10_a_blocked_output_holds_up_no_other_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good.y4m");
    let records = ["--records", "records.jsonl"];
    let mut live = Live::start(
        folder.path(),
        &[&["--out", BLOCKED, "--out", "good.y4m"], &records[..]].concat(),
    );
    live.until("blocked", true, |live| live.is("output 1", "blocked"));
    more(&mut live, &good);
    assert!(live.said().contains("note: output 1: takes nothing"));
    live.go_on(25);
    assert!(live.is("output 1", "blocked") && live.is("output 2", "well"));
    assert!(live.is("file of records", "well"));
    // Its program is ended, and what it did not take is no secret.
    assert_eq!(live.end().code(), Some(6));
    let said = live.said();
    assert!(said.contains("error: output 1: "), "{said}");
    assert_eq!(live.recorded("end").len(), 1);
}

#[test]
fn p_10_a_failed_output_leaves_the_others_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    full(folder.path(), "full.y4m");
    let good = folder.path().join("good.y4m");
    let mut live = Live::start(
        folder.path(),
        &[
            ["--out", "full.y4m", "--out", "good.y4m"],
            ["--log", "log", "--preview", "127.0.0.1:0"],
        ]
        .concat(),
    );
    live.until("failed", true, |live| live.is("output 1", "failed"));
    more(&mut live, &good);
    let said = live.said();
    assert!(
        said.contains("note: output 1: Y4M file: No space left"),
        "{said}"
    );
    let address = said.split("http://").nth(1).unwrap();
    let status = get(address.split('/').next().unwrap(), "/status");
    let (_, status) = status.split_once("\r\n\r\n").unwrap();
    let status: Value = serde_json::from_str(status).unwrap();
    let output = &status["outputs"][0];
    assert_eq!(output["output"], "output 1", "{status}");
    assert_eq!(output["condition"], "failed", "{status}");
    assert_eq!(output["written"], 0, "{status}");
    assert_eq!(live.end().code(), Some(6));
    assert!(live.said().contains("error: output 1: Y4M file: No space"));
    assert_eq!(live.logged("end").len(), 1);
}

/// No machine has this connector.
#[test]
fn a_display_that_is_not_there_is_told_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good.y4m");
    let options = ["--display=USB-4000000000", "--out", "good.y4m"];
    let mut live = Live::start(folder.path(), &options);
    live.until("failed", true, |live| live.is("display", "failed"));
    more(&mut live, &good);
    let said = live.said();
    assert!(said.contains("note: display: "), "{said}");
    assert_eq!(live.end().code(), Some(6));
    assert!(live.said().contains("error: display: "));
}

#[test]
fn p_10_records_that_fail_leave_the_video_and_are_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.y4m");
    let options = ["--out", "out.y4m", "--log", "log", "--records", "/dev/full"];
    let mut live = Live::start(folder.path(), &options);
    live.until("failed", true, |live| live.is("file of records", "failed"));
    more(&mut live, &out);
    assert!(live.is("result log", "well"));
    let said = live.said();
    assert!(
        said.contains("note: file of records: No space left"),
        "{said}"
    );
    assert!(live.figure("bedside_records_lost_total") > Some(0));
    assert_eq!(live.end().code(), Some(6));
    assert_eq!(live.logged("end").len(), 1);
}

#[test]
fn a_session_without_any_output_left_ends() {
    let folder = tempfile::tempdir().unwrap();
    full(folder.path(), "full.y4m");
    let mut live = Live::start(folder.path(), &["--out", "full.y4m"]);
    // Two frames fit into the pipe: nobody waits for them to be read.
    live.feed();
    live.feed();
    assert_eq!(live.ended(Duration::from_secs(300)).code(), Some(6));
}

#[test]
fn p_10_a_second_interrupt_and_a_request_to_terminate_end_at_once_with_the_end_recorded() {
    for signal in ["-INT", "-TERM", "-HUP"] {
        let folder = tempfile::tempdir().unwrap();
        let records = ["--records", "records.jsonl", "--log", "log"];
        let mut live = Live::start(
            folder.path(),
            &[&["--out", ENDLESS, "--out", BLOCKED], &records[..]].concat(),
        );
        live.until("blocked", true, |live| live.is("output 2", "blocked"));
        if signal == "-INT" {
            live.signal("-INT");
            live.until("the end's record", false, |live| {
                live.recorded("end").len() == 1
            });
            // The commands have their time.
            assert!(live.runs());
        }
        live.signal(signal);
        let status = live.ended(AT_ONCE);
        assert!(!status.success(), "{signal}: {status}");
        let ends = live.recorded("end");
        assert_eq!(live.logged("end"), ends, "{signal}");
        let [end] = ends.try_into().unwrap();
        let count = |name: &str| end[name].as_u64().unwrap();
        let gone = count("shown") + count("dropped") + count("failed");
        assert_eq!(count("captured"), gone, "{signal}");
        assert!(count("shown") > 0);
    }
}

#[test]
fn p_10_a_blocked_terminal_holds_up_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody reads what is said, and there is no room for more.
    let (_unread, said) = std::io::pipe().unwrap();
    let mut filler = said.try_clone().unwrap();
    let filler = thread::spawn(move || while filler.write_all(&[b'.'; 4096]).is_ok() {});
    let good = folder.path().join("good.y4m");
    let options = ["--out", BLOCKED, "--out", "good.y4m"];
    let mut live = Live::telling(Stdio::from(said), folder.path(), &options);
    // Which is said, by the video's own thread.
    live.until("blocked", true, |live| live.is("output 1", "blocked"));
    more(&mut live, &good);
    assert_eq!(live.end().code(), Some(6));
    drop((live, _unread));
    filler.join().unwrap();
}

/// Whether a picture says that something is being recorded.
fn says_rec(picture: &crate::live_rig::Shown) -> bool {
    // The mark's red, which no object has.
    let [_, blue, red] = &picture.band;
    let near = |value: u8, of: u8| value.abs_diff(of) <= 4;
    let mut pixels = blue.iter().zip(red);
    pixels.any(|(blue, red)| near(*blue, 101) && near(*red, 203))
}

#[test]
fn p_22_nothing_is_recorded_unless_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut live = Live::start(folder.path(), &["--out", "| cat > shown"]);
    live.go_on(25);
    assert!(live.end().success());
    let mut files: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    // The bundle, and what this test asked for.
    assert_eq!(files, ["metrics", "said", "shown", "tiny.bedside"]);
}

#[test]
fn p_22_recording_is_shown_on_screen_while_on() {
    for (options, recording) in [
        (&["--out", "-"][..], false),
        (&["--out", "-", "--log", "log"], true),
        (&["--out", "-", "--records", "records.jsonl"], true),
        (&["--out", "-", "--out", "kept.y4m"], true),
        (&["--out", "-", "--out", "| cat >/dev/null"], true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut live = Live::showing(folder.path(), options);
        live.go_on(25);
        assert!(live.end().success(), "{}", live.said());
        let shown = shown(&live.display());
        assert!(shown.len() > 5);
        let marked = shown.iter().filter(|picture| says_rec(picture)).count();
        let expected = if recording { shown.len() } else { 0 };
        assert_eq!(marked, expected, "{options:?}");
    }
}

#[test]
fn p_22_what_is_recorded_is_bounded_in_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.y4m");
    let mut live = Live::showing(
        folder.path(),
        &[
            ["--out", "-", "--out", "out.y4m"],
            ["--max-video", "1", "--max-records", "1"],
        ]
        .concat(),
    );
    live.until("full", true, |live| live.is("output 2", "failed"));
    assert!(live.is("output 1", "well"));
    live.go_on(25);
    assert_eq!(live.end().code(), Some(6));
    let said = live.said();
    assert!(
        said.contains("output 2: Y4M file: has reached the size"),
        "{said}"
    );
    let bytes = fs::metadata(&out).unwrap().len();
    assert!((900_000..=1 << 20).contains(&bytes), "{bytes}");
    // What is no longer recorded is no longer said to be.
    let shown = shown(&live.display());
    assert!(says_rec(&shown[0]) && !says_rec(shown.last().unwrap()));

    // Standard output is a recording where it is a file.
    let printed = folder.path().join("printed.y4m");
    let mut live = command();
    live.args(["live", "phantom:polyp,size=320x240", "--prompt", "polyp"])
        .args(["--out", "-", "--max-video", "1", "--seconds", "600"])
        .env("BEDSIDE_BUNDLE", pack(folder.path()))
        .stdout(File::create(&printed).unwrap());
    let ended = live.output().unwrap();
    assert_eq!(ended.status.code(), Some(6), "{ended:?}");
    let bytes = fs::metadata(&printed).unwrap().len();
    assert!((800_000..=1 << 20).contains(&bytes), "{bytes}");

    // Without a word about it there are limits, too.
    let help = command().args(["live", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for (option, default) in [("--max-video", "16384"), ("--max-records", "256")] {
        let (_, of) = help.split_once(option).unwrap();
        let default = format!("[default: {default}]");
        assert!(of.split("\n  -").next().unwrap().contains(&default));
    }
}

#[test]
fn p_22_a_recording_that_is_there_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for (option, name) in [("--records", "old.jsonl"), ("--out", "old.y4m")] {
        let old = folder.path().join(name);
        fs::write(&old, "kept").unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o644)).unwrap();
        let mut live = Live::start(folder.path(), &[option, name]);
        live.close();
        assert_eq!(live.ended(Duration::from_secs(300)).code(), Some(6));
        let said = live.said();
        assert!(said.contains("--overwrite"), "{said}");
        assert_eq!(fs::read_to_string(&old).unwrap(), "kept");

        let mut live = Live::start(folder.path(), &[option, name, "--overwrite"]);
        live.go_on(5);
        assert!(live.end().success());
        let new = fs::read(&old).unwrap();
        assert!(new.len() > 4 && !new.starts_with(b"kept"));
        let mode = fs::metadata(&old).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // Only whoever recorded may read.
    let live = ["--records", "new.jsonl", "--out", "new.y4m"];
    let mut live = Live::start(folder.path(), &live);
    live.go_on(5);
    assert!(live.end().success());
    for name in ["new.jsonl", "new.y4m"] {
        let mode = fs::metadata(folder.path().join(name)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    }
}
