//! What goes wrong on a cart: how the daemon says it, and how it comes back.
//!
//! Cameras, outputs, clocks and what the picture shows meanwhile are the business of the command's drill.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use bedside_live::Record;

use crate::cart::{Cart, signal};

/// Frames of a log, which has to be whole.
fn frames(cart: &Cart) -> u64 {
    let frames = |record: &Record| matches!(record, Record::Frame(_));
    cart.records()
        .iter()
        .filter(|record| frames(record))
        .count() as u64
}

/// A small file system of memory, gone with this.
struct Disk(PathBuf);

impl Disk {
    /// None where this user may not mount one.
    #[allow(clippy::print_stderr, reason = "a test that is left out says so")]
    fn mount(place: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(place).unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(place);
        let mounted = mount.output().is_ok_and(|said| said.status.success());
        if !mounted {
            eprintln!("skipped: a file system can't be mounted here; hint: run it as root");
        }
        mounted.then(|| Self(place.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_model_that_crashes_or_hangs_is_started_anew_while_the_video_goes_on() {
    let mut cart = Cart::start("");
    let first = cart.until_answers(None);
    signal(first, "-ABRT");
    let second = cart.until_answers(Some(first));

    let before = frames(&cart);
    signal(second, "-STOP");
    cart.until_answers(Some(second));
    let stalled = |record: Record| match record {
        Record::Frame(frame) => &*frame.state == "stalled" && &*frame.reason == "inference",
        _ => false,
    };
    assert!(cart.records().into_iter().any(stalled), "a stall is told");
    assert!(frames(&cart) > before);
}

/// No machine has this connector.
#[test]
fn a_display_that_is_not_there_is_told_and_the_rest_goes_on() {
    let mut cart = Cart::start("[display]\nconnector = \"USB-4000000000\"\n");
    cart.until_answers(None);
    cart.until("a display that failed", |cart| {
        let session = &cart.ask("status")["session"];
        let display = &session["outputs"][0];
        display["output"] == "display" && display["condition"] == "failed"
    });
    let before = frames(&cart);
    cart.until("more frames", |cart| frames(cart) > before);
    assert!(cart.said().contains("note: display: "), "{}", cart.said());
}

#[test]
fn a_bundle_that_was_damaged_is_a_fault_until_it_is_mended_and_the_daemon_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("edge.bedside");
    let edge = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/edge/edge.bedside");
    fs::copy(edge, &bundle).unwrap();
    let mut cart = Cart::start("");
    let path = cart.path("bedsided.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(edge, bundle.to_str().unwrap())).unwrap();
    cart = cart.again();
    let model = cart.until_answers(None);

    // As a copy does it that is broken off: the file is there, and is another.
    let size = fs::metadata(&bundle).unwrap().len();
    fs::File::options()
        .write(true)
        .open(&bundle)
        .unwrap()
        .set_len(size / 2)
        .unwrap();
    signal(model, "-KILL");
    cart.until("a fault that is told", |cart| {
        cart.frame()["state"] == "fault"
    });
    let said = cart.ask("status")["session"]["model_message"].to_string();
    assert!(said.contains("hint: "), "{said}");

    fs::copy(edge, &bundle).unwrap();
    cart.again().until_answers(None);
}

#[test]
fn a_full_disk_ends_the_log_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&folder.path().join("disk"), "size=8k") else {
        return;
    };
    let mut cart = Cart::start("");
    let path = cart.path("bedsided.toml");
    let log = disk.0.join("log");
    let text = fs::read_to_string(&path).unwrap();
    let before = format!("log = {:?}", cart.path("log"));
    assert!(text.contains(&before));
    fs::write(&path, text.replace(&before, &format!("log = {log:?}"))).unwrap();
    cart = cart.again();
    cart.until("a log that fails, and is said to", |cart| {
        let outputs = cart.ask("status")["session"]["outputs"].clone();
        let failed = |output: &serde_json::Value| output["condition"] == "failed";
        outputs
            .as_array()
            .is_some_and(|outputs| outputs.iter().any(failed))
    });
    cart.until_answers(None);
    fs::remove_file(cart.path("log")).unwrap();
    symlink(&log, cart.path("log")).unwrap();
    let kept = frames(&cart);
    assert!(kept > 0);

    // With more space it goes on behind what it had.
    let mut mount = Command::new("mount");
    let grown = mount.args(["-o", "remount,size=16m"]).arg(&disk.0).status();
    assert!(grown.unwrap().success());
    let mut cart = cart.again();
    cart.until("more records", |cart| frames(cart) > kept);
}

#[test]
fn a_disk_that_takes_nothing_costs_the_snapshot_alone() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&folder.path().join("disk"), "ro") else {
        return;
    };
    let mut cart = Cart::start("");
    cart.until_answers(None);
    symlink(&disk.0, cart.path("snapshots")).unwrap();
    let reply = cart.reply("{\"command\":\"snapshot\"}\n");
    let error = reply["error"].as_str().unwrap();
    assert!(
        error.starts_with("snapshot: ") && error.contains("hint: "),
        "{error}"
    );

    fs::remove_file(cart.path("snapshots")).unwrap();
    let kept = cart.ask("snapshot");
    let picture = cart
        .path("snapshots")
        .join(kept["snapshot"].as_str().unwrap());
    assert_eq!(
        fs::metadata(picture).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn a_kill_loses_no_finished_record_and_the_next_daemon_goes_on_behind_it() {
    let mut cart = Cart::start("");
    cart.until("records", |cart| frames(cart) > 20);
    cart.signal("-KILL");
    cart.ended();
    let kept = frames(&cart);
    assert!(kept > 20);
    let mut cart = cart.again();
    cart.until("more records", |cart| frames(cart) > kept);
}
