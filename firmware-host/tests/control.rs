//! The control socket.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::cart::{Cart, command};

#[test]
fn prompts_are_told_changed_and_refused() {
    let mut cart = Cart::start("");
    cart.until("an answer", |cart| cart.frame()["unanswered"] == json!([]));
    let text = |reply: &Value| reply["prompts"][0]["text"].clone();
    assert_eq!(text(&cart.ask("prompts")), "polyp");
    assert_eq!(text(&cart.ask("next")), "tumor");
    assert_eq!(text(&cart.ask("next")), "polyp");
    assert_eq!(text(&cart.ask("previous")), "tumor");
    let asked = "{\"command\":\"prompts\",\"set\":[\"polyp\"]}\n";
    assert_eq!(text(&cart.reply(asked)["ok"]), "polyp");
    let refused = cart.reply(&asked.replace("polyp", "polip"));
    assert!(
        refused["error"].as_str().unwrap().contains("hint: "),
        "{refused}"
    );
    assert_eq!(text(&cart.ask("prompts")), "polyp");
    assert_eq!(
        cart.ask("version")["session"]["source"],
        "phantom polyp of seed 0"
    );
}

#[test]
fn a_frozen_picture_keeps_its_masks_and_says_that_it_is_frozen() {
    let mut cart = Cart::start("");
    cart.until("a mask", |cart| cart.frame()["masks"] != json!([]));
    assert_eq!(cart.ask("freeze")["frozen"], true);
    cart.until("frozen", |cart| cart.frame()["reason"] == "frozen");
    let frozen = cart.frame();
    assert_eq!(frozen["state"], "paused");
    assert_eq!(frozen["repeated"], true);
    assert_ne!(frozen["masks"], json!([]));
    // Video that comes meanwhile is dropped, and what is shown stays.
    let dropped = |cart: &Cart| cart.ask("status")["session"]["counts"]["dropped"].clone();
    let before = dropped(&cart);
    cart.until("dropped frames", |cart| dropped(cart) != before);
    assert_eq!(cart.frame()["captured_ns"], frozen["captured_ns"]);
    let name = cart.ask("snapshot")["snapshot"]
        .as_str()
        .unwrap()
        .to_owned();
    let picture = cart.path("snapshots").join(&name);
    let bytes = fs::read(&picture).unwrap();
    assert!(bytes.starts_with(&[0xff, 0xd8]) && bytes.ends_with(&[0xff, 0xd9]));
    let findings = fs::read(picture.with_extension("json")).unwrap();
    let findings: Value = serde_json::from_slice(&findings).unwrap();
    assert_eq!(findings["frame"]["masks"][0]["prompt"], "polyp");
    assert_eq!(
        fs::metadata(&picture).unwrap().permissions().mode() & 0o777,
        0o600
    );

    assert_eq!(cart.ask("unfreeze")["frozen"], false);
    cart.until("live video", |cart| {
        cart.frame()["captured_ns"] != frozen["captured_ns"]
    });
    // Another patient is not shown the picture of the one before.
    cart.ask("freeze");
    cart.until("frozen", |cart| cart.frame()["reason"] == "frozen");
    assert_eq!(cart.ask("patient")["frozen"], false);
    cart.until("another patient", |cart| {
        cart.ask("status")["session"]["case"] == 1
    });
}

#[test]
fn requests_and_clients_are_bounded() {
    let mut cart = Cart::start("");
    let mode = fs::metadata(cart.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for line in ["\n", "{}\n", "{\"command\":\"reboot\"}\n", "\u{0}\n"] {
        assert!(cart.reply(line)["error"].is_string(), "{line:?}");
    }
    let long = cart.reply(&" ".repeat(20_000));
    assert!(long["error"].as_str().unwrap().contains("16384"), "{long}");

    let crowd = RefCell::new(Vec::new());
    // Those that asked above may still be there for a moment.
    cart.until("eight clients who are served", |cart| {
        let mut client = UnixStream::connect(cart.socket()).unwrap();
        let asked = client.write_all(b"{\"command\":\"prompts\"}\n");
        let mut answer = String::new();
        let _ = asked.and_then(|()| BufReader::new(&client).read_line(&mut answer));
        let mut crowd = crowd.borrow_mut();
        if answer.starts_with("{\"ok\"") {
            crowd.push(client);
        }
        crowd.len() == 8
    });
    let mut refused = String::new();
    let mut ninth = UnixStream::connect(cart.socket()).unwrap();
    ninth.read_to_string(&mut refused).unwrap();
    assert!(refused.contains("8 clients"), "{refused}");
    drop(crowd);
    cart.until("room", |cart| {
        cart.reply("{\"command\":\"prompts\"}\n")["ok"].is_object()
    });
}

#[test]
fn the_client_prints_answers_and_tells_errors() {
    let cart = Cart::start("");
    let ctl = |socket: &Path, args: &[&str]| {
        let asked = command()
            .args(["ctl", "--socket"])
            .arg(socket)
            .args(args)
            .output();
        let asked = asked.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (asked.status.code(), text(asked.stdout), text(asked.stderr))
    };
    let (code, answer, _) = ctl(
        &cart.socket(),
        &[
            "prompts",
            "tumor",
            "--modality",
            "ultrasound",
            "--site",
            "breast",
        ],
    );
    assert_eq!(code, Some(0));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["prompts"][0]["site"], "breast");
    let (code, _, error) = ctl(&cart.socket(), &["prompts", "nothing known"]);
    assert!(code == Some(1) && error.starts_with("error: "), "{error}");
    let (code, _, error) = ctl(&cart.path("none"), &["status"]);
    assert!(code == Some(1) && error.contains("hint: "), "{error}");
}

/// Kinds of sockets of a process and its children, each with the path that it has.
fn sockets(process: u32, found: &mut BTreeSet<String>) {
    let proc = Path::new("/proc").join(process.to_string());
    let links = fs::read_dir(proc.join("fd"))
        .into_iter()
        .flatten()
        .flatten();
    let links = links.filter_map(|entry| fs::read_link(entry.path()).ok());
    let inodes: Vec<String> = links
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let unix = fs::read_to_string(proc.join("net/unix")).unwrap_or_default();
    for inode in inodes {
        let line = unix.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let own = fields.get(6) == Some(&inode.as_str());
            own.then(|| {
                fields
                    .get(7)
                    .copied()
                    .unwrap_or("without a name")
                    .to_owned()
            })
        });
        found.insert(line.unwrap_or_else(|| "not a Unix socket".to_owned()));
    }
    let tasks = fs::read_dir(proc.join("task"))
        .into_iter()
        .flatten()
        .flatten();
    for task in tasks {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            sockets(child.parse().unwrap(), found);
        }
    }
}

#[test]
fn p_20_the_daemon_has_no_socket_but_its_own() {
    let mut cart = Cart::start("");
    cart.until("an answer", |cart| cart.frame()["unanswered"] == json!([]));
    let mut found = BTreeSet::new();
    sockets(cart.id(), &mut found);
    // Pairs without a name lead to the model's process and to who handles signals.
    found.remove("without a name");
    let own = cart.socket().display().to_string();
    assert_eq!(found, BTreeSet::from([own]));
}
