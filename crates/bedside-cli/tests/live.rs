//! `bedside live` as a person sees it when its input does what it should not.

use serde_json::Value;

use crate::live_rig::{Live, PATIENCE, picture, shown};

fn masks(frame: &Value) -> usize {
    frame["masks"].as_array().unwrap().len()
}

#[test]
fn p_04_a_pipe_that_falls_silent_leaves_no_mask_on_the_display() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.y4m");
    let mut live = Live::start(
        folder.path(),
        &[
            ["--max-age", "60000", "--out", "out.y4m"],
            ["--records", "records.jsonl", "--log", "log"],
        ]
        .concat(),
    );
    live.until("a mask", true, |live| {
        live.recorded("frame").iter().any(|frame| masks(frame) > 0)
    });
    // Open, and silent: the last picture comes again and again, without a mask.
    let unmasked = picture(live.frames - 1);
    let stalled = |live: &Live| {
        let frames = live.recorded("frame").into_iter();
        let stalled: Vec<Value> = frames.filter(|f| f["state"] == "stalled").collect();
        stalled
    };
    live.until("the last picture, unmasked", false, |live| {
        let shown = shown(&out);
        let last = shown.iter().rev().take_while(|s| s.picture == unmasked);
        last.count() >= 4 && stalled(live).len() >= 4
    });
    for frame in stalled(&live) {
        assert_eq!(frame["reason"], "input");
        assert_eq!(frame["repeated"], true);
        assert_eq!(
            (masks(&frame), &frame["unanswered"][0]),
            (0, &"polyp".into())
        );
    }
    // And back again.
    live.until("a mask again", true, |live| {
        live.recorded("frame").last().is_some_and(|f| masks(f) > 0)
    });
    assert!(live.end().success());
    assert_eq!(live.logged("frame"), live.recorded("frame"));
}

#[test]
fn p_23_a_kill_of_the_command_costs_no_record_that_is_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = ["--log", "log"];
    let mut live = Live::start(folder.path(), &log);
    live.until("records in the log", true, |live| {
        live.logged("frame").len() >= 20
    });
    let before = live.logged("frame").len();
    live.signal("-KILL");
    assert_eq!(live.ended(PATIENCE).code(), None);
    let after = live.logged("frame");
    assert!(after.len() >= before, "{} of {before}", after.len());
    let numbers = after.iter().map(|frame| frame["frame"].as_u64().unwrap());
    assert!(numbers.is_sorted());
    // The next one goes on with it.
    let mut next = Live::start(folder.path(), &log);
    let more = after.len() + 5;
    next.until("more records", true, |live| {
        live.logged("frame").len() > more
    });
    next.close();
    assert!(next.ended(PATIENCE).success());
    assert_eq!(next.logged("session").len(), 2);
}
