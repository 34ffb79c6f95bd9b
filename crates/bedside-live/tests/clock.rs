//! Clocks that leap, and frames that were stamped by another clock.

use std::time::Duration;

use bedside::{Clock, Stall, State, Timestamp};

use crate::rig::{Bench, Scripted, picture, quick, wait_for};

/// A host's clock that was set back an hour after it stamped a frame.
#[test]
fn p_14_a_stamp_from_the_future_keeps_no_mask_young() {
    let (script, gate) = Scripted::held_from(1);
    let mut config = quick();
    config.watchdog.hang = Duration::from_secs(60);
    config.watchdog.stall = Duration::from_secs(5);
    config.frozen = Duration::from_secs(5);
    let limit = config.age.limit;
    let mut bench = Bench::new(&script, config);
    let show = |bench: &mut Bench| {
        let ahead = bench.clock.now().as_nanos() + 3_600_000_000_000;
        let frame = picture(bench.next).captured_at(Timestamp::from_nanos(ahead));
        bench.session.frame(frame, bench.next).unwrap();
        bench.next += 1;
        bench.session.record().masks.len()
    };
    assert_eq!(show(&mut bench), 0);
    bench.settle();
    assert_eq!(show(&mut bench), 1);
    wait_for("the second pass", || script.begun() == 2);
    bench.clock.advance(limit);
    assert_eq!(show(&mut bench), 1, "at the limit");
    bench.clock.advance(Duration::from_nanos(1));
    assert_eq!(show(&mut bench), 0, "just beyond it");
    gate.open();
}

/// As when a device that was suspended goes on: the picture is a day old, the model has done nothing
/// wrong.
#[test]
fn p_14_a_leap_of_time_clears_the_picture_and_costs_no_restart() {
    let script = Scripted::sure();
    let mut bench = Bench::new(&script, quick());
    bench.until_masked();
    bench.clock.advance(Duration::from_secs(86_400));
    bench.session.idle();
    assert_eq!(bench.session.state(), State::Stalled(Stall::Input));
    assert!(bench.session.record().masks.is_empty());
    bench.until_masked();
    assert_eq!(bench.session.state(), State::Active);
    assert_eq!(script.loads(), 1);
}
