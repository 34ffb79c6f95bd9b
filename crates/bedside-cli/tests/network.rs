//! The command as the system sees it: whether it reaches for a network.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const EDGE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../models/edge/edge.bedside"
);
const STILL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../models/edge/samples/polyp.png"
);
/// After which a session ends by itself.
const SECONDS: &str = "3";
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs its arguments with a network stack of their own, on which nothing can be reached, and then
/// prints what that stack has counted.
const ALONE: &str = "\"$0\" \"$@\" >/dev/null && cat /proc/net/snmp /proc/net/snmp6";

/// What a program asked of a network, counted by the system from its start to its end: nothing can
/// happen too fast to be seen. `None` where the system gives no network stack of one's own.
fn asked(args: &[&str]) -> Option<u64> {
    let unshare = |args: &[&str]| {
        Command::new("unshare")
            .arg("-rn")
            .args(args)
            .env("BEDSIDE_BUNDLE", EDGE)
            .env("BEDSIDE_CACHE", env!("CARGO_TARGET_TMPDIR"))
            .stdin(Stdio::null())
            .output()
            .ok()
            .filter(|ended| ended.status.success())
    };
    unshare(&["true"])?;
    let ended = unshare(&[&["sh", "-c", ALONE], args].concat());
    let ended = ended.unwrap_or_else(|| panic!("{args:?} failed"));
    let text = String::from_utf8(ended.stdout).unwrap();
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    // In one file names stand above values, in the other each beside its own.
    let pairs = lines
        .windows(2)
        .filter(|two| two[0][0] == two[1][0] && two[0].len() > 2);
    let above = pairs.flat_map(|two| two[0].iter().zip(&two[1]));
    let beside = lines.iter().filter(|line| line.len() == 2);
    let beside = beside.map(|line| (&line[0], &line[1]));
    let mut sum = 0;
    let mut seen = 0;
    for (name, value) in above.chain(beside) {
        let sought = ["OutRequests", "OutNoRoutes", "ActiveOpens", "OutDatagrams"];
        if sought.iter().any(|sought| name.ends_with(sought)) {
            seen += 1;
            // A stack of one's own says that it is there, to itself, by ICMPv6 and IGMP.
            sum += value.parse::<u64>().unwrap();
        }
    }
    assert!(seen >= 6, "{text}");
    Some(sum)
}

#[test]
fn p_20_nothing_is_asked_of_a_network_from_start_to_end() {
    // What does ask is counted.
    let Some(counted) = asked(&[
        "bash",
        "-c",
        ": >/dev/udp/192.0.2.1/53; : >/dev/tcp/192.0.2.1/80; true",
    ]) else {
        println!("skipped: no network stack of one's own to be had");
        return;
    };
    assert!(counted > 0, "attempts are counted");
    let bedside = env!("CARGO_BIN_EXE_bedside");
    let live = [
        bedside,
        "live",
        "phantom:polyp,size=320x240",
        "--prompt",
        "polyp",
    ];
    let idle = asked(&["true"]).unwrap();
    for args in [
        vec![bedside, "segment", "--prompt", "polyp", STILL],
        vec![bedside, "verify"],
        [&live[..], &["--seconds", SECONDS]].concat(),
    ] {
        assert_eq!(asked(&args), Some(idle), "{args:?}");
    }
}

/// Sockets of a process and its children that belong to a network, as `protocol local-address`.
fn sockets(process: u32) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
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
    // A pair without a name, such as the one to the model's process, is no network.
    for table in [
        "tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet", "netlink",
    ] {
        let text = fs::read_to_string(proc.join("net").join(table)).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if inodes
                .iter()
                .any(|inode| fields.iter().skip(7).any(|f| f == inode))
            {
                found.insert(format!("{table} {}", fields[1]));
            }
        }
    }
    for task in fs::read_dir(proc.join("task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            found.extend(sockets(child.parse().unwrap()));
        }
    }
    found
}

/// Sockets that a program has while it runs, as often as they can be looked at.
fn watched(args: &[&str]) -> BTreeSet<String> {
    let mut running: Child = Command::new(env!("CARGO_BIN_EXE_bedside"))
        .args(args)
        .env("BEDSIDE_BUNDLE", EDGE)
        .env("BEDSIDE_CACHE", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut found, began) = (BTreeSet::new(), Instant::now());
    let status = loop {
        found.extend(sockets(running.id()));
        if let Some(status) = running.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < PATIENCE, "{args:?} does not end");
        thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success(), "{args:?}: {status}");
    found
}

#[test]
fn p_20_no_socket_is_open_but_the_previews_on_this_machine() {
    let live = ["live", "phantom:polyp,size=320x240", "--prompt", "polyp"];
    let live = [&live[..], &["--seconds", SECONDS]].concat();
    assert_eq!(watched(&live), BTreeSet::new());
    assert_eq!(
        watched(&["segment", "--prompt", "polyp", STILL]),
        BTreeSet::new()
    );

    // Asked for, there is one, on 127.0.0.1.
    let page = watched(&[&live[..], &["--preview", "127.0.0.1:0"]].concat());
    if page.is_empty() {
        // A process that forbids core dumps hides its files from all but the administrator.
        println!("skipped: the files of other processes can't be seen");
        return;
    }
    assert_eq!(page.len(), 1, "{page:?}");
    assert!(
        page.iter().all(|one| one.starts_with("tcp 0100007F:")),
        "{page:?}"
    );
}
