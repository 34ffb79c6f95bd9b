//! One picture after the other, and displays that come and go. That nothing is painted while it is seen
//! or about to be, and that one turn follows the other, the display itself asserts.

use std::time::Duration;

use bedside_display::RETRY;
use bedside_video::sink::{Sink, SinkErrorKind};
use proptest::prelude::*;

use crate::fake::{Fake, Trouble, plain};

/// More than the time between two looks at the cable.
const LONG: Duration = Duration::from_secs(2);

#[test]
fn every_frame_is_seen_once_and_in_order() {
    let fake = Fake::new(4, 4);
    let mut sink = fake.sink();
    for shade in 0..20 {
        sink.write(&plain(4, 4, [shade; 3])).unwrap();
    }
    let world = fake.world();
    let shades: Vec<u8> = world.seen.iter().map(|picture| picture[0]).collect();
    // The last is about to be seen.
    assert_eq!(shades, (0..19).collect::<Vec<u8>>());
    assert_eq!(world.opened, 1);
}

#[test]
fn a_display_that_is_not_there_is_said_and_tried_again_after_a_while() {
    let fake = Fake::new(4, 4);
    let mut sink = fake.sink();
    fake.world().trouble.absent = true;
    let frame = plain(4, 4, [1; 3]);
    for _ in 0..50 {
        let error = sink.write(&frame).unwrap_err();
        assert_eq!(error.kind(), SinkErrorKind::Away);
        assert!(error.to_string().contains("nothing is plugged in"));
    }
    assert_eq!(fake.world().tried, 1, "not with every frame");
    fake.clock.advance(RETRY);
    assert!(sink.write(&frame).is_err());
    assert_eq!(fake.world().tried, 2);
    fake.world().trouble.absent = false;
    fake.clock.advance(RETRY);
    sink.write(&frame).unwrap();
}

#[test]
fn whatever_goes_wrong_is_said_and_the_display_is_opened_anew() {
    for (trouble, said) in [
        (
            Trouble {
                unplugged: true,
                ..Trouble::default()
            },
            "was unplugged",
        ),
        (
            Trouble {
                taken: true,
                ..Trouble::default()
            },
            "another program has it",
        ),
        (
            Trouble {
                stuck: true,
                ..Trouble::default()
            },
            "does not refresh",
        ),
    ] {
        let fake = Fake::new(4, 4);
        let mut sink = fake.sink();
        let frame = plain(4, 4, [1; 3]);
        sink.write(&frame).unwrap();
        fake.world().trouble = trouble;
        fake.clock.advance(LONG);
        let error = sink.write(&frame).unwrap_err();
        assert_eq!(error.kind(), SinkErrorKind::Away);
        assert!(error.to_string().contains(said), "{error}");
        assert!(!fake.world().open, "it is given back at once: {said}");
        fake.world().trouble = Trouble::default();
        assert_eq!(sink.write(&frame), Err(error), "for now");
        fake.clock.advance(RETRY);
        sink.write(&frame).unwrap();
        sink.write(&frame).unwrap();
        assert_eq!(fake.world().opened, 2);
    }
}

#[test]
fn the_display_is_given_back_at_the_end() {
    let fake = Fake::new(4, 4);
    let mut sink = fake.sink();
    sink.write(&plain(4, 4, [1; 3])).unwrap();
    assert!(fake.world().open);
    sink.finish().unwrap();
    assert!(!fake.world().open);
}

proptest! {
    /// Whatever happens in between, a display that is well for long enough shows the newest frame.
    #[test]
    fn a_display_that_is_well_again_shows_what_is_new(
        steps in prop::collection::vec((0_u8..6, 0_u64..1500, 1_u32..9, 1_u32..9), 0..40),
        size in (1_u32..12, 1_u32..12),
    ) {
        let fake = Fake::new(size.0, size.1);
        let mut sink = fake.sink();
        for (trouble, wait, width, height) in steps {
            fake.world().trouble = Trouble {
                absent: trouble == 1,
                unplugged: trouble == 2,
                taken: trouble == 3,
                stuck: trouble == 4,
            };
            fake.clock.advance(Duration::from_millis(wait));
            let written = sink.write(&plain(width, height, [7; 3]));
            prop_assert!(written.is_ok() || written.is_err_and(|e| e.kind() == SinkErrorKind::Away));
        }
        fake.world().trouble = Trouble::default();
        fake.clock.advance(RETRY);
        sink.write(&plain(5, 5, [1, 2, 3])).unwrap();
        sink.write(&plain(5, 5, [1, 2, 3])).unwrap();
        prop_assert_eq!(fake.pixel((size.0 - 1) / 2, (size.1 - 1) / 2), [1, 2, 3]);
        prop_assert_eq!(fake.world().open, true);
    }
}
