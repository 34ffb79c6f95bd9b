//! What a kill of the command costs at most, beside records that nobody takes.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::process::Command;

use crate::live::{Live, Setup};
use crate::report::unlogged;
use crate::turn;

/// Records that may wait for one target, as docs/result-log.md says.
const WAITING: u64 = 256;
/// What a pipe holds on Linux, unless it was told otherwise.
const PIPE: usize = 1 << 16;

/// Records that did not reach a target, as the metrics last had it.
fn lost(live: &Live) -> u64 {
    let text = fs::read_to_string(live.setup.path("metrics")).unwrap_or_default();
    let mut lines = text.lines();
    let lost = lines.find_map(|line| line.strip_prefix("bedside_records_lost_total "));
    lost.map_or(0, |count| count.parse().unwrap())
}

#[test]
fn p_23_a_kill_beside_a_pipe_that_takes_nothing_costs_the_records_that_wait_for_it() {
    let _turn = turn();
    let mut setup = Setup::new();
    let pipe = setup.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    // Both ways, so that opening it waits for nobody.
    let mut full = OpenOptions::new();
    let mut full = full.read(true).write(true).open(&pipe).unwrap();
    full.write_all(&vec![b'\n'; PIPE]).unwrap();
    setup.records = pipe.display().to_string();
    setup
        .more
        .extend(["--metrics", "metrics"].map(str::to_owned));
    let mut live = Live::start(setup);
    assert!(live.until(|live| lost(live) > 0), "nothing is lost");
    live.feeder().pause();
    // The log has every record, so that those which the pipe neither took nor lost wait. Metrics are
    // written once a second.
    let (mut logged, mut waiting) = (0, u64::MAX);
    let few = live.until(|live| {
        logged = live.recorded().len() as u64;
        waiting = logged.saturating_sub(lost(live));
        waiting <= WAITING
    });
    assert!(few, "{waiting} records wait");
    live.signal("KILL");
    let (setup, outcome) = live.finish();
    assert_eq!(outcome.exit(), "signal 9");
    let mut left = Vec::new();
    let mut reader = File::open(&pipe).unwrap();
    drop(full);
    reader.read_to_end(&mut left).unwrap();
    assert_eq!(left.len(), PIPE, "the pipe took some of them");
    let bytes = fs::metadata(&setup.log).unwrap().len() / outcome.log.len() as u64;
    eprintln!("a kill cost {waiting} records of about {bytes} bytes");
    assert!(waiting > WAITING / 2);
    // Nor did it cost the log any.
    assert!(outcome.log.len() as u64 >= logged);
    assert_eq!(unlogged(&outcome), 0);
}
