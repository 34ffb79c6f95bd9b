//! Bundles from those whom the device knows, and back to the one before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn bedside(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bedside"))
        .args(args)
        .current_dir(folder)
        .env_remove("BEDSIDE_BUNDLE")
        .env("BEDSIDE_CACHE", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap()
}

fn done(folder: &Path, args: &[&str]) -> Value {
    let output = bedside(folder, &[args, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(folder: &Path, args: &[&str], why: &str) {
    let output = bedside(folder, args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{args:?}: {said}");
    assert!(said.contains(why) && said.contains("hint: "), "{said}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn p_15_with_keys_every_command_refuses_what_they_did_not_sign() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path();
    let golden = root().join("crates/bedside-update/tests/golden");
    fs::create_dir(folder.join("keys")).unwrap();
    fs::copy(golden.join("release.pub"), folder.join("keys/release.pub")).unwrap();
    let bundle = root().join("crates/bedside-bundle/tests/golden/golden.bedside");
    fs::copy(bundle, folder.join("a.bedside")).unwrap();
    let inspect = ["inspect", "a.bedside", "--keys", "keys"];
    refused(folder, &inspect, "no signature beside it");
    fs::copy(
        golden.join("golden.bedside.minisig"),
        folder.join("a.bedside.minisig"),
    )
    .unwrap();
    assert_eq!(done(folder, &inspect)["manifest"]["name"], "tiny");
    fs::copy(golden.join("other.pub"), folder.join("keys/release.pub")).unwrap();
    for args in [
        &["inspect", "a.bedside"][..],
        &["verify", "a.bedside"],
        &["segment", "x.png", "--prompt", "x", "--bundle", "a.bedside"],
        &[
            "live",
            "phantom:polyp",
            "--prompt",
            "x",
            "--bundle",
            "a.bedside",
        ],
        &["update", "install", "a.bedside", "--into", "slots"],
    ] {
        let args = [args, &["--keys", "keys"]].concat();
        refused(folder, &args, "signed by nobody in the key ring");
    }
}

#[test]
fn p_18_an_update_is_proved_here_before_it_is_active_and_can_be_taken_back() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path();
    let edge = root().join("models/edge/edge.bedside");
    let edge = edge.to_str().unwrap();
    let status = || done(folder, &["update", "status", "slots"]);
    assert!(status()["active"].is_null());
    let install = ["update", "install", edge, "--into", "slots"];
    assert_eq!(done(folder, &install)["on_trial"], false);
    let first = status();
    assert_eq!(done(folder, &install)["on_trial"], true);
    assert_ne!(status()["active"], first["active"]);
    assert_eq!(done(folder, &["update", "rollback", "slots"]), first);
    done(folder, &install);
    assert_eq!(
        done(folder, &["update", "confirm", "slots"])["on_trial"],
        false
    );

    let before = status();
    let wrong = folder.join("wrong.bedside");
    fs::write(&wrong, "no bundle").unwrap();
    refused(
        folder,
        &[
            "update",
            "install",
            "wrong.bedside",
            "--into",
            "slots",
            "--older",
        ],
        "wrong.bedside",
    );
    assert_eq!(status(), before);
}
