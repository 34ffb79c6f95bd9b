//! The video path beside models that are good, slow, stuck, broken or wrong.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use bedside::{
    Clock, Degradation, Fault, Finding, Frame, ManualClock, Mask, Modality, Pause, Phi,
    PixelFormat, Prompt, Stall, State, YuvSpace,
};
use bedside_live::record::Counts;
use bedside_live::{
    AgePolicy, CadenceConfig, Error, ErrorKind, LiveSession, Loader, Model, Output, Outputs,
    RunConfig, SessionConfig, Stop, Watcher,
};
use bedside_video::sink::{Sink, SinkError};
use bedside_video::{Source, SourceError, SourceErrorKind, SourceInfo};

use crate::rig::{
    BETWEEN, Bench, Gate, HEIGHT, Scripted, WIDTH, failure, panic_after, picture, quick, wait_for,
};

#[test]
fn p_01_masks_follow_the_picture_and_say_that_they_were_carried() {
    let config = SessionConfig {
        cadence: CadenceConfig {
            interval: 5 * BETWEEN,
            ..CadenceConfig::default()
        },
        ..SessionConfig::default()
    };
    let mut bench = Bench::new(&Scripted::sure(), config);
    bench.until_masked();
    let mut carried = [0; 6];
    for _ in 0..50 {
        let out = bench.step_next();
        let record = bench.session.record().clone();
        assert_eq!(record.masks.len(), 1, "frame {}", record.frame);
        let mask = &record.masks[0];
        assert!(mask.made_for < record.frame);
        let moved = record.frame - mask.made_for;
        assert_eq!(mask.age_us, moved * BETWEEN.as_micros() as u64);
        assert!(
            mask.confidence < 1.0,
            "a carried mask is less sure than a fresh one"
        );
        // The model says the square's left edge is at 40; the picture has moved on since.
        let left = mask.bounding_box.unwrap().x.abs_diff(WIDTH / 4);
        assert!(
            u64::from(left).abs_diff(moved) <= 2,
            "moved {moved}, the mask by {left}"
        );
        assert_ne!(out, picture(record.frame).data(), "a mask changes pixels");
        carried[moved as usize] += 1;
    }
    assert_eq!(carried, [0, 10, 10, 10, 10, 10], "a pass every five frames");
}

#[test]
fn p_02_beyond_the_age_limit_nothing_is_painted_and_the_state_says_why() {
    let (script, gate) = Scripted::held_from(1);
    // As it runs by default: the model is given up long after masks are too old.
    let config = SessionConfig::default();
    let limit = config.age.limit;
    assert!(limit < config.watchdog.stall);
    let mut bench = Bench::new(&script, config);
    bench.show_next();
    bench.settle();
    let answered = bench.clock.now();
    bench.show_next();
    wait_for("the second pass", || script.begun() == 2);
    let tick = Duration::from_nanos(1);
    let said = |bench: &Bench| {
        let record = bench.session.record();
        let ages: Vec<u64> = record.masks.iter().map(|mask| mask.age_us).collect();
        (ages, record.unanswered.len(), bench.session.state())
    };
    let no_answer = State::Degraded(Degradation::NoAnswer);
    for (age, expected) in [
        (limit - tick, (vec![499_999], 0, State::Active)),
        (limit, (vec![500_000], 0, State::Active)),
        (limit + tick, (vec![], 1, no_answer)),
        (config.watchdog.stall, (vec![], 1, no_answer)),
        (
            config.watchdog.stall + tick,
            (vec![], 1, State::Stalled(Stall::Inference)),
        ),
    ] {
        let passed = bench.clock.now().since(answered);
        bench.clock.advance(age - passed);
        let frame = picture(bench.next);
        let shown = bench.show(frame.clone());
        assert_eq!(said(&bench), expected, "{age:?}");
        let masked = !expected.0.is_empty();
        assert_eq!(shown != frame.data(), masked, "{age:?}: pixels of a mask");
    }
    gate.open();
}

#[test]
fn p_02_without_new_frames_a_mask_goes_when_it_is_too_old() {
    let mut bench = Bench::new(&Scripted::sure(), SessionConfig::default());
    bench.until_masked();
    let frame = picture(bench.next);
    bench.step(frame.clone());
    let limit = SessionConfig::default().age.limit;
    let age = bench.session.record().masks[0].age_us;
    let left = limit - Duration::from_micros(age) - BETWEEN;
    bench.clock.advance(left);
    assert!(!bench.session.idle(), "at the limit");
    assert_eq!(bench.session.record().masks.len(), 1);
    bench.clock.advance(Duration::from_nanos(1));
    assert!(bench.session.idle());
    let record = bench.session.record();
    assert!(record.repeated && record.frame == bench.next - 1);
    // The answer to that frame itself is younger.
    let fresh = record
        .masks
        .iter()
        .all(|mask| mask.made_for == record.frame);
    assert!(fresh, "{record:?}");
    bench.clock.advance(BETWEEN);
    assert!(bench.session.idle());
    assert_eq!(bench.session.record().unanswered.len(), 1);
    assert_eq!(bench.painted(), frame.data(), "no mask is left");
}

#[test]
fn what_is_too_uncertain_is_said_and_counted() {
    // Found with little presence: shown at the second answer.
    let mut bench = Bench::new(&Scripted::new(|_| Ok(0.6)), SessionConfig::default());
    bench.show_next();
    assert_eq!(bench.session.record().unanswered.len(), 1);
    bench.settle();
    bench.clock.advance(BETWEEN);
    bench.step_next();
    let record = bench.session.record();
    assert_eq!((record.uncertain.len(), record.masks.len()), (1, 0));
    assert!(record.unanswered.is_empty() && record.absent.is_empty());
    assert_eq!(bench.session.state(), State::Active, "it is an answer");
    let count = bench.count("bedside_masks_withheld_total{reason=\"uncertain\"}");
    assert_eq!(count, Some(1));
    bench.step_next();
    assert_eq!(bench.session.record().masks.len(), 1);
    assert!(bench.session.record().uncertain.is_empty());
}

#[test]
fn absence_too_has_its_age() {
    let gate = Gate::default();
    let held = gate.clone();
    let script = Scripted::new(move |pass| {
        if pass > 0 {
            held.wait();
        }
        Ok(0.1)
    });
    let mut bench = Bench::new(&script, SessionConfig::default());
    bench.step_next();
    assert_eq!(bench.count("bedside_answers_absent_total"), Some(1));
    bench.show_next();
    let record = bench.session.record();
    assert_eq!((record.absent.len(), record.unanswered.len()), (1, 0));
    bench.clock.advance(SessionConfig::default().age.limit);
    bench.show_next();
    let record = bench.session.record();
    assert_eq!((record.absent.len(), record.unanswered.len()), (0, 1));
    gate.open();
}

#[test]
fn p_03_video_goes_on_unchanged_beside_a_model_that_is_off_stuck_slow_or_broken() {
    let gate = Gate::default();
    let held = || {
        let gate = gate.clone();
        Scripted::new(move |_| {
            gate.wait();
            Ok(0.95)
        })
    };
    let mut patient = quick();
    patient.watchdog.hang = Duration::from_secs(60);
    let panics = Scripted::new(|_| panic!("the model panics, as this test wants"));
    let broken = Scripted::new(|_| Err(failure("the logits hold NaN")));
    for (script, config, on) in [
        (held(), quick(), true),
        (held(), patient, true),
        (panics, quick(), true),
        (broken, quick(), true),
        (Scripted::sure(), quick(), false),
    ] {
        let mut bench = Bench::new(&script, config);
        bench.control.switch(on);
        bench.show_next();
        wait_for("a pass", || script.begun() > 0 || !on);
        // `show` compares the picture, as no mask is painted in any of these. It returns although
        // the model does not.
        for _ in 0..60 {
            bench.clock.advance(BETWEEN);
            bench.show_next();
            assert!(bench.session.record().masks.is_empty());
            assert_eq!(bench.session.record().frame, bench.next - 1);
        }
        let state = bench.session.state();
        assert!(state.permit().is_none(), "{state}");
        assert_eq!(state == State::Paused(Pause::Off), !on, "{state}");
    }
    gate.open();
}

/// Lets one pass end at each call.
fn turnstile() -> (impl Fn(), Receiver<()>) {
    let (let_one, passes) = sync_channel(1);
    (move || let_one.send(()).unwrap(), passes)
}

#[test]
fn p_29_a_slow_model_shows_as_degraded_and_every_frame_is_shown() {
    /// Frames that come while the model makes one pass.
    const FRAMES: u32 = 38;
    let pass = FRAMES * BETWEEN;
    // Twice the time of a pass, as a person would set it for such a model; and the usual limit.
    for (limit, painted) in [(2 * pass, true), (AgePolicy::default().limit, false)] {
        let (let_one, passes) = turnstile();
        let passes = Mutex::new(passes);
        let script = Scripted::new(move |_| {
            // At the test's end there is none to let it go on.
            let _ = passes.lock().unwrap().recv();
            Ok(0.95)
        });
        let config = SessionConfig {
            age: AgePolicy { limit },
            ..SessionConfig::default()
        };
        let mut bench = Bench::new(&script, config);
        // To and fro, so that the square stays in the picture.
        bench.show(picture(0));
        for answers in 0..4 {
            wait_for("the next pass", || script.begun() == answers + 1);
            for _ in 0..FRAMES {
                bench.clock.advance(BETWEEN);
                bench.show(picture(bench.next % 2));
                let record = bench.session.record();
                assert_eq!(record.frame, bench.next - 1, "every frame");
                if answers == 0 {
                    assert_eq!(bench.session.state(), State::Starting);
                    continue;
                }
                assert_eq!(
                    bench.session.state(),
                    State::Degraded(Degradation::Slow),
                    "more than the target"
                );
                assert_eq!(record.masks.len(), usize::from(painted));
                for mask in &record.masks {
                    let age = Duration::from_micros(mask.age_us);
                    assert!(age >= pass && age <= limit, "{age:?}");
                    assert!(mask.confidence < 0.6, "{}", mask.confidence);
                }
            }
            let_one();
        }
    }
}

#[test]
fn p_04_a_frozen_or_silent_input_is_stated_and_its_overlay_cleared() {
    let mut bench = Bench::new(&Scripted::sure(), quick());
    bench.until_masked();
    let frozen = picture(bench.next);
    for _ in 0..11 {
        bench.step(frozen.clone());
        assert_eq!(bench.session.state(), State::Active, "not for long enough");
    }
    bench.step(frozen);
    assert_eq!(bench.session.state(), State::Stalled(Stall::Input));
    assert!(bench.session.record().masks.is_empty());
    bench.until_masked();
    assert_eq!(bench.session.state(), State::Active);
    bench.clock.advance(Duration::from_millis(401));
    assert!(bench.session.idle(), "painted again");
    assert_eq!(bench.session.state(), State::Stalled(Stall::Input));
    let record = bench.session.record();
    assert!(record.masks.is_empty() && record.repeated, "{record:?}");
    assert_eq!(&*record.state, "stalled");
    let last = picture(bench.next - 1);
    assert_eq!(bench.painted(), last.data(), "no mask is left");
    // Whoever looks later sees it too, without the video being flooded.
    let mut again = 0;
    for _ in 0..40 {
        bench.clock.advance(Duration::from_millis(100));
        again += u32::from(bench.session.idle());
    }
    assert_eq!(again, 4, "once a second");
    bench.until_masked();
    assert_eq!(bench.session.state(), State::Active);
    bench.show_next();
    assert!(!bench.session.record().repeated);
}

#[test]
fn p_04_a_resumed_machine_shows_nothing_of_before() {
    let mut bench = Bench::new(&Scripted::sure(), quick());
    bench.until_masked();
    // Suspended with a mask on the screen: the clock goes on.
    bench.clock.advance(Duration::from_secs(3600));
    assert!(bench.session.idle());
    assert_eq!(bench.session.state(), State::Stalled(Stall::Input));
    assert_eq!(bench.painted(), picture(bench.next - 1).data());
    let frame = picture(bench.next);
    assert_eq!(bench.show(frame.clone()), frame.data());
    assert_eq!(bench.session.record().unanswered.len(), 1);
    let cases = bench.session.case();
    assert_eq!(cases, 1, "after an hour it is another patient");
}

#[test]
fn another_patient_begins_with_nothing_known() {
    let mut bench = Bench::new(&Scripted::sure(), SessionConfig::default());
    bench.until_masked();
    assert_eq!(bench.session.case(), 0);
    bench.control.next_patient();
    let frame = picture(bench.next);
    assert_eq!(bench.show(frame.clone()), frame.data(), "no mask");
    assert_eq!(bench.session.case(), 1);
    let record = bench.session.record();
    assert_eq!((record.masks.len(), record.unanswered.len()), (0, 1));
    bench.until_masked();
    bench.step_next();
    assert_eq!(bench.session.case(), 1, "once");
}

#[test]
fn input_that_shows_no_patient_for_long_is_followed_by_another() {
    let config = SessionConfig {
        new_patient_after: Some(Duration::from_secs(2)),
        ..SessionConfig::default()
    };
    let black = || {
        let data = vec![3; (WIDTH * HEIGHT) as usize];
        Frame::new(WIDTH, HEIGHT, PixelFormat::Gray8, data).unwrap()
    };
    for (silent, seconds, cases, on) in [
        (true, 1, 0, true),
        (true, 3, 1, true),
        (false, 1, 0, true),
        (false, 3, 1, true),
        // Switched off, nobody is looked for, but the picture is.
        (false, 3, 1, false),
    ] {
        let mut bench = Bench::new(&Scripted::sure(), config);
        bench.until_masked();
        bench.control.switch(on);
        for tenth in 0..10 * seconds {
            bench.clock.advance(Duration::from_millis(100) - BETWEEN);
            match silent {
                true => {
                    bench.session.idle();
                    bench.clock.advance(BETWEEN);
                }
                // One pixel changes, so that it is no frozen picture.
                false => {
                    let mut data = black().into_data();
                    data[..4000].fill(3 + tenth as u8 % 2);
                    bench.step(Frame::new(WIDTH, HEIGHT, PixelFormat::Gray8, data).unwrap());
                }
            }
        }
        assert_eq!(bench.session.case(), 0, "not before it is back");
        bench.control.switch(true);
        bench.until_masked();
        assert_eq!(bench.session.case(), cases, "{silent} {seconds} {on}");
    }
}

#[test]
fn trouble_is_said_below_the_picture_and_repainted_when_it_changes() {
    let mut bench = Bench::new(&Scripted::sure(), SessionConfig::default());
    bench.step_next();
    let before = bench.band();
    let outputs = Outputs {
        recording: true,
        trouble: Some("records: no space left".into()),
    };
    bench.session.set_outputs(&outputs);
    assert!(bench.session.idle());
    let told = bench.band();
    assert_ne!(told, before);
    bench.session.set_outputs(&outputs);
    assert!(!bench.session.idle(), "nothing new");
    bench.session.set_outputs(&Outputs {
        recording: true,
        trouble: None,
    });
    assert!(bench.session.idle());
    let recording = bench.band();
    assert!(recording != told && recording != before);
}

#[test]
fn prompts_that_the_model_refuses_do_not_cost_its_restarts() {
    let script = Scripted::sure();
    let mut bench = Bench::new(&script, quick());
    bench.until_masked();
    bench
        .control
        .set_prompts(&[Prompt::new("refused")])
        .unwrap();
    bench.until("said", |s| {
        s.message().is_some_and(|m| m.contains("several"))
    });
    for _ in 0..100 {
        bench.step_next();
        assert_eq!(bench.session.state(), State::Stalled(Stall::Inference));
    }
    assert_eq!(script.loads(), 1);
    bench.control.set_prompts(&[Prompt::new("thing")]).unwrap();
    bench.until_masked();
    assert_eq!(bench.session.state(), State::Active);
}

#[test]
fn p_08_no_signal_and_test_bars_are_not_segmented() {
    let black = vec![3; (WIDTH * HEIGHT) as usize];
    let bars = (0..WIDTH * HEIGHT)
        .map(|i| (i % WIDTH / 20 * 30) as u8)
        .collect();
    for (data, pause) in [(black, Pause::NoSignal), (bars, Pause::TestPattern)] {
        let script = Scripted::sure();
        let mut bench = Bench::new(&script, SessionConfig::default());
        bench.until_masked();
        let asked = script.begun();
        let frame = Frame::new(WIDTH, HEIGHT, PixelFormat::Gray8, data).unwrap();
        for shown in 0..20 {
            bench.step(frame.clone());
            assert!(
                bench.session.record().masks.is_empty(),
                "after a cut no mask is left"
            );
            if shown >= 2 {
                assert_eq!(bench.session.state(), State::Paused(pause));
            }
        }
        assert_eq!(script.begun(), asked, "nothing is asked");
        bench.until_masked();
        assert_eq!(bench.session.state(), State::Active);
    }
}

#[test]
fn p_09_a_failed_pass_gives_no_mask_and_a_counted_fault() {
    let script = Scripted::new(|pass| match pass {
        5.. => Err(failure("the decoder's logits hold NaN")),
        _ => Ok(0.95),
    });
    let mut bench = Bench::new(&script, quick());
    let faults = |bench: &Bench| bench.count("bedside_faults_total");
    for _ in 0..5 {
        bench.step_next();
        assert_eq!(faults(&bench), Some(0));
    }
    bench.step_next();
    assert!(bench.session.message().unwrap().contains("NaN"));
    assert_eq!(faults(&bench), Some(1));
    assert_eq!(bench.session.state(), State::Stalled(Stall::Inference));
    assert!(bench.session.record().masks.is_empty());
    bench.show_next();
    assert!(bench.session.record().masks.is_empty());
}

#[test]
fn p_09_p_28_findings_that_no_model_can_mean_are_a_failed_pass() {
    type Wrong = fn(&mut Vec<Finding>);
    let wrong: [(&str, Wrong); 8] = [
        ("presence NaN", |found| found[0].presence = f32::NAN),
        ("presence over 1", |found| found[0].presence = 1.1),
        ("validity", |found| found[0].validity = Some(-0.1)),
        ("probability", |found| {
            found[0].mean_probability = Some(f32::INFINITY);
        }),
        ("no mask", |found| found[0].mask = None),
        ("another size", |found| {
            found[0].mask = Some(Mask::empty(HEIGHT, WIDTH));
        }),
        ("too few", Vec::clear),
        ("too many", |found| found.push(found[0].clone())),
    ];
    for (what, wrong) in wrong {
        let script = Scripted::sure().changed(move |pass, found| {
            if pass == 5 {
                wrong(found);
            }
        });
        let mut bench = Bench::new(&script, quick());
        for _ in 0..6 {
            bench.step_next();
        }
        assert_eq!(bench.count("bedside_faults_total"), Some(1), "{what}");
        assert!(bench.session.message().unwrap().contains("can't be"));
        assert!(bench.session.record().masks.is_empty(), "{what}");
        bench.until_masked();
        assert_eq!(bench.session.message(), None, "{what}");
    }
}

#[test]
fn p_12_a_long_load_is_no_hang() {
    let gate = Gate::default();
    let loading = gate.clone();
    let script = Scripted::sure().loading(move || loading.wait());
    let mut config = quick();
    config.watchdog.load = 100 * config.watchdog.hang;
    let mut bench = Bench::unready(Arc::new(script.clone()), config);
    bench.clock.advance(50 * config.watchdog.hang);
    bench.session.idle();
    gate.open();
    bench.settle();
    assert_eq!(script.loads(), 1, "the model is not loaded again");
    bench.until_masked();
    bench.clock.advance(50 * config.watchdog.hang);
    bench.until_masked();
    assert_eq!(script.loads(), 1, "idle time is no pass");
}

#[test]
fn p_12_a_stuck_model_is_restarted_within_a_budget_and_then_a_fault() {
    let gate = Gate::default();
    let stuck = gate.clone();
    let script = Scripted::new(move |pass| {
        if pass != 1 {
            stuck.wait();
        }
        Ok(0.95)
    });
    let config = quick();
    let hang = config.watchdog.hang;
    let mut bench = Bench::new(&script, config);
    // The first worker hangs in pass 0.
    bench.show_next();
    wait_for("pass 0", || script.begun() == 1);
    bench.clock.advance(hang);
    bench.show_next();
    assert_eq!(bench.session.state(), State::Stalled(Stall::Inference));
    assert_eq!(bench.session.message(), None, "not for long enough");
    // Without a frame, so that the next worker is asked nothing before it has settled.
    bench.clock.advance(Duration::from_millis(1));
    bench.session.idle();
    assert!(bench.session.message().unwrap().contains("no answer"));
    assert!(bench.session.record().masks.is_empty());
    // The second answers pass 1 and hangs in pass 2.
    bench.settle();
    bench.show_next();
    bench.settle();
    bench.show_next();
    assert_eq!(bench.session.record().masks.len(), 1);
    wait_for("pass 2", || script.begun() == 3);
    bench.clock.advance(hang + Duration::from_millis(1));
    bench.session.idle();
    // The third hangs in pass 3, and there is no fourth.
    bench.settle();
    bench.show_next();
    wait_for("pass 3", || script.begun() == 4);
    bench.clock.advance(hang + Duration::from_millis(1));
    bench.show_next();
    assert_eq!(bench.session.state(), State::Fault(Fault::RestartsSpent));
    assert_eq!(script.loads(), 3, "one start, two restarts");
    // What the stuck workers say at last is for nobody.
    gate.open();
    wait_for("the stuck passes", || script.ended() >= 4);
    for _ in 0..5 {
        bench.show_next();
        assert!(bench.session.record().masks.is_empty());
    }
}

#[test]
fn p_28_a_model_that_panics_once_is_loaded_again() {
    let script = Scripted::new(|pass| {
        assert!(pass != 3, "the model panics once, as this test wants");
        Ok(0.95)
    });
    let mut bench = Bench::new(&script, quick());
    bench.until("a restart", |_| script.loads() == 2);
    bench.until_masked();
    assert_eq!(bench.session.state(), State::Active);
}

#[test]
fn after_a_scene_cut_no_mask_is_left() {
    let mut bench = Bench::new(&Scripted::sure(), SessionConfig::default());
    bench.until_masked();
    let other = picture(bench.next).into_data();
    let other = other.iter().map(|v| 255 - v / 3).collect();
    bench.show(Frame::new(WIDTH, HEIGHT, PixelFormat::Gray8, other).unwrap());
    assert!(bench.session.record().masks.is_empty());
}

#[test]
fn prompts_change_while_running_and_unknown_ones_change_nothing() {
    let mut bench = Bench::new(&Scripted::sure(), SessionConfig::default());
    bench.until_masked();
    let refused = bench.control.set_prompts(&[Prompt::new("unknown")]);
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Prompt);
    assert!(refused.to_string().contains("unknown"));
    let none = bench.control.set_prompts(&[]).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Prompt);
    bench.control.set_prompts(&[Prompt::new("thing")]).unwrap();
    bench.step_next();
    assert_eq!(
        bench.session.record().masks.len(),
        1,
        "the same again changes nothing"
    );
    let prompts = [Prompt::new("one"), Prompt::new("two")];
    bench.control.set_prompts(&prompts).unwrap();
    bench.show_next();
    assert!(
        bench.session.record().masks.is_empty(),
        "masks of other prompts go at once"
    );
    bench.until("both", |s| s.record().masks.len() == 2);
    let masks = &bench.session.record().masks;
    let names: Vec<_> = masks.iter().map(|m| m.prompt.to_string()).collect();
    assert_eq!(names, ["one", "two"]);
    bench.control.switch(false);
    bench.show_next();
    assert_eq!(bench.session.state(), State::Paused(Pause::Off));
    assert!(bench.session.record().masks.is_empty());
    bench.control.switch(true);
    bench.until("on again", |s| s.record().masks.len() == 2);
}

#[test]
fn painted_masks_come_with_their_own_record() {
    let mut bench = Bench::new(&Scripted::sure(), SessionConfig::default());
    // The same words twice are two prompts.
    let twice = [Prompt::new("thing"), Prompt::new("thing")];
    bench.control.set_prompts(&twice).unwrap();
    bench.until("both", |s| s.record().masks.len() == 2);
    bench.show_next();
    let masks: Vec<_> = bench.session.masks().collect();
    assert_eq!(masks.len(), 2);
    for (record, mask) in &masks {
        assert_eq!(record.area, mask.area());
    }
    assert!(!std::ptr::eq(masks[0].1, masks[1].1), "each has its own");
    // Too old to be shown, they are no longer said to be there.
    let beyond = AgePolicy::default().limit + Duration::from_nanos(1);
    bench.clock.advance(beyond);
    assert!(bench.session.idle(), "painted again without them");
    assert!(bench.session.record().masks.is_empty());
    assert_eq!(bench.session.masks().count(), 0);
}

#[test]
fn one_miss_does_not_make_a_mask_flicker_and_two_end_it() {
    // Found, missed once, found, then missed for good.
    let script = Scripted::new(|pass| Ok(if pass == 10 || pass >= 20 { 0.4 } else { 0.95 }));
    let mut bench = Bench::new(&script, SessionConfig::default());
    bench.step_next();
    // Each frame shows what passes up to that of the frame before found.
    for shown in 1..=21 {
        bench.step_next();
        assert_eq!(bench.session.record().masks.len(), 1, "frame {shown}");
    }
    bench.step_next();
    assert!(bench.session.record().masks.is_empty());
    assert_eq!(bench.session.record().absent.len(), 1);
}

#[test]
fn p_03_a_panic_beside_a_frame_costs_what_was_found_not_the_frame() {
    let mut bench = Bench::new(&Scripted::sure(), quick());
    // The frame's arrival, its state, and the end of its painting.
    for readings in 1..3 {
        bench.until_masked();
        panic_after(readings, false);
        let frame = picture(bench.next);
        assert_eq!(bench.show(frame.clone()), frame.data(), "without masks");
        let record = bench.session.record();
        assert_eq!((record.masks.len(), record.unanswered.len()), (0, 1));
        assert_eq!(
            bench.session.state(),
            State::Degraded(Degradation::NoAnswer)
        );
        assert_eq!(bench.count("bedside_faults_total"), Some(readings));
        assert!(bench.session.message().unwrap().contains("followed"));
    }
    bench.until_masked();
    assert_eq!(
        (bench.session.message(), bench.session.state()),
        (None, State::Active)
    );
}

/// Gives frames until the test has what it wants, and some more.
struct Until {
    info: SourceInfo,
    given: u64,
    wanted: Arc<AtomicBool>,
    more: u64,
}

impl Source for Until {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, _: Vec<u8>) -> Result<Option<Frame>, SourceError> {
        self.given += 1;
        self.more -= u64::from(self.wanted.load(Ordering::SeqCst));
        // The model answers on its own thread.
        thread::sleep(Duration::from_millis(1));
        Ok((self.more > 0).then(|| picture(self.given)))
    }
}

/// Keeps the picture that a screen would show.
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Sink for Screen {
    fn write(&mut self, frame: &Frame) -> Result<(), SinkError> {
        *self.0.lock().unwrap() = frame.data().to_vec();
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Frames until a mask is there and five more, a screen, and what it shows.
fn on_screen(masked: &Arc<AtomicBool>) -> (Box<dyn Source>, Output, Arc<Mutex<Vec<u8>>>) {
    let source = Until {
        info: source_info(),
        given: 0,
        wanted: masked.clone(),
        more: 5,
    };
    let screen = Arc::new(Mutex::new(Vec::new()));
    let sink = Output {
        label: "screen".into(),
        sink: Box::new(Screen(screen.clone())),
        keeps: false,
    };
    (Box::new(source), sink, screen)
}

/// Has everything panic that works on frames, once a mask is on the screen.
struct Breaker(Arc<AtomicBool>);

impl Watcher for Breaker {
    fn shown(&mut self, session: &LiveSession, _: Option<&Frame>, _: Counts) {
        if !session.record().masks.is_empty() && !self.0.swap(true, Ordering::SeqCst) {
            panic_after(0, true);
        }
    }

    fn source(&mut self, _: Option<&str>) {}
}

#[test]
fn p_02_where_nothing_can_be_painted_no_mask_stays_on_the_screen() {
    let mut bench = Bench::new(&Scripted::sure(), quick());
    let masked = Arc::new(AtomicBool::new(false));
    let (source, sink, screen) = on_screen(&masked);
    let config = RunConfig {
        wait: true,
        keep_on: false,
    };
    let mut breaker = Breaker(masked);
    let counts = bedside_live::run(
        &mut bench.session,
        source.into(),
        vec![sink],
        &mut breaker,
        config,
        &Stop::default(),
    )
    .unwrap();
    assert!(counts.failed > 0 && counts.shown > 0, "{counts:?}");
    assert_eq!(counts.captured, counts.shown + counts.failed);
    let screen = screen.lock().unwrap();
    assert!(!screen.is_empty() && screen.iter().all(|byte| *byte == 128));
}

/// Tells when a mask is on the screen, and keeps what was said last.
struct Onlooker {
    masked: Arc<AtomicBool>,
    last: Option<(State, usize, bool)>,
}

impl Watcher for Onlooker {
    fn shown(&mut self, session: &LiveSession, frame: Option<&Frame>, _: Counts) {
        let record = session.record();
        self.masked
            .fetch_or(!record.masks.is_empty(), Ordering::SeqCst);
        if frame.is_some() {
            self.last = Some((session.state(), record.masks.len(), record.repeated));
        }
    }

    fn source(&mut self, _: Option<&str>) {}
}

#[test]
fn p_02_the_last_picture_of_a_source_that_ended_has_no_mask_and_says_so() {
    for frozen in [false, true] {
        let mut bench = Bench::new(&Scripted::sure(), quick());
        let masked = Arc::new(AtomicBool::new(false));
        let (source, sink, screen) = on_screen(&masked);
        let mut onlooker = Onlooker { masked, last: None };
        if frozen {
            bench.until_masked();
            bench.control.freeze(true);
            onlooker.masked.store(true, Ordering::SeqCst);
        }
        bedside_live::run(
            &mut bench.session,
            source.into(),
            vec![sink],
            &mut onlooker,
            RunConfig::default(),
            &Stop::default(),
        )
        .unwrap();
        let stalled = State::Stalled(Stall::Input);
        assert_eq!(onlooker.last, Some((stalled, 0, true)), "{frozen}");
        let screen = screen.lock().unwrap();
        let bare = |number: u64| screen.starts_with(picture(number).data());
        assert!((0..bench.next + 10_000).any(bare), "{frozen}");
    }
}

#[test]
fn p_11_the_video_path_allocates_nothing_once_it_runs() {
    let mut bench = Bench::new(&Scripted::sure(), SessionConfig::default());
    for _ in 0..150 {
        bench.step_next();
    }
    let mut allocations = Vec::new();
    for _ in 0..300 {
        let frame = picture(bench.next).captured_at(bench.clock.now());
        let number = bench.next;
        bench.next += 1;
        let counted = allocation_counter::measure(|| {
            let before = bench.session.frame(frame, number).unwrap();
            assert!(before.is_some());
            bench.settle();
        });
        assert_eq!(bench.session.record().masks.len(), 1, "frame {number}");
        if counted.count_total > 0 {
            allocations.push((number, counted.count_total, counted.bytes_total));
        }
        bench.clock.advance(BETWEEN);
    }
    assert_eq!(allocations, []);
}

/// Gives so many frames at once, every seventh of them unreadable, and opens a gate at the end.
pub(crate) struct Burst {
    pub(crate) info: SourceInfo,
    pub(crate) given: u64,
    pub(crate) frames: u64,
    pub(crate) end: Gate,
}

impl Source for Burst {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, _: Vec<u8>) -> Result<Option<Frame>, SourceError> {
        self.given += 1;
        match self.given {
            n if n > self.frames => {
                self.end.open();
                Ok(None)
            }
            n if n % 7 == 0 => Err(SourceError::new(SourceErrorKind::Broken, "broken")),
            n => Ok(Some(picture(n))),
        }
    }
}

/// Takes no frame before its gate is open.
struct HeldSink {
    gate: Gate,
    written: Arc<AtomicU32>,
}

impl Sink for HeldSink {
    fn write(&mut self, _: &Frame) -> Result<(), SinkError> {
        self.gate.wait();
        self.written.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

pub(crate) fn source_info() -> SourceInfo {
    SourceInfo {
        name: Phi::shown("test".to_owned()),
        width: WIDTH,
        height: HEIGHT,
        format: PixelFormat::Gray8,
        yuv_space: YuvSpace::default(),
        frames_per_second: None,
        live: false,
    }
}

/// Keeps what it is told of the source.
#[derive(Default)]
pub(crate) struct Listener(pub(crate) Vec<Option<String>>);

impl Watcher for Listener {
    fn shown(&mut self, _: &LiveSession, _: Option<&Frame>, counts: Counts) {
        assert!(counts.captured >= counts.shown + counts.dropped + counts.failed);
    }

    fn source(&mut self, error: Option<&str>) {
        self.0.push(error.map(str::to_owned));
    }
}

#[test]
fn p_10_frames_in_are_shown_dropped_or_failed_and_a_slow_sink_queues_nothing() {
    for wait in [false, true] {
        let mut bench = Bench::new(&Scripted::sure(), SessionConfig::default());
        let end = Gate::default();
        let source = Burst {
            info: source_info(),
            given: 0,
            frames: 70,
            end: end.clone(),
        };
        // Where frames are dropped, the sink takes none before the source has given all.
        let gate = if wait { Gate::default() } else { end };
        if wait {
            gate.open();
        }
        let written = Arc::new(AtomicU32::new(0));
        let sink = HeldSink {
            gate,
            written: written.clone(),
        };
        let sink = Output {
            label: "held".into(),
            sink: Box::new(sink),
            keeps: false,
        };
        let source: Box<dyn Source> = Box::new(source);
        let mut listener = Listener::default();
        let counts = bedside_live::run(
            &mut bench.session,
            source.into(),
            vec![sink],
            &mut listener,
            RunConfig {
                wait,
                keep_on: false,
            },
            &Stop::default(),
        )
        .unwrap();
        assert_eq!(counts.captured, 70);
        assert_eq!(counts.failed, 10);
        assert_eq!(
            counts.captured,
            counts.shown + counts.dropped + counts.failed
        );
        let [report] = bench.metrics.outputs().try_into().unwrap();
        let written = u64::from(written.load(Ordering::SeqCst));
        assert_eq!((report.written, report.failed), (written, 0));
        // At the end the last picture is shown again, where sinks need not have every frame once.
        let again = u64::from(!wait);
        assert_eq!(counts.shown + again, report.written + report.dropped);
        let heard = &listener.0;
        assert!(heard.contains(&Some("broken".to_owned())), "{heard:?}");
        if wait {
            assert!(heard.iter().step_by(2).all(Option::is_some), "{heard:?}");
            assert!(heard.iter().skip(1).step_by(2).all(Option::is_none));
            assert_eq!(
                heard.len(),
                19,
                "each error, and that it passed, until the end"
            );
            assert_eq!(bench.metrics.report().source_errors, 10);
            assert_eq!((counts.shown, written), (60, 60));
        } else {
            // One with the sink and one that waits for it; as its gate opens, two are on their way, and
            // the last one is shown again.
            assert!((1..=5).contains(&written), "{report:?}");
        }
    }
}

/// A model for two sizes of its input, too slow at the larger one and useless at the smaller one.
struct Sized {
    script: Scripted,
    /// Sides that were asked for, in order.
    asked: Arc<Mutex<Vec<Option<u32>>>>,
}

struct AtSide(Box<dyn Model>, Arc<Mutex<Vec<Option<u32>>>>);

impl Loader for Sized {
    fn load(&self) -> Result<Box<dyn Model>, Error> {
        Ok(Box::new(AtSide(self.script.load()?, self.asked.clone())))
    }

    fn check(&self, prompts: &[Prompt]) -> Result<Option<Modality>, Error> {
        self.script.check(prompts)
    }

    fn sides(&self, _: &[Prompt]) -> Vec<u32> {
        vec![256, 192]
    }
}

impl Model for AtSide {
    fn set_prompts(&mut self, prompts: &[Prompt], side: Option<u32>) -> Result<(), Error> {
        self.1.lock().unwrap().push(side);
        match side {
            Some(192) => Err(failure("no such input")),
            _ => self.0.set_prompts(prompts, side),
        }
    }

    fn segment(&mut self, frame: &Frame, places: Range<usize>) -> Result<Vec<Finding>, Error> {
        self.0.segment(frame, places)
    }
}

#[test]
fn a_smaller_input_that_does_not_come_up_costs_one_pass_and_no_restart() {
    let clock = Arc::new(OnceLock::<Arc<ManualClock>>::new());
    let slow = clock.clone();
    let script = Scripted::new(move |_| {
        if let Some(clock) = slow.get() {
            clock.advance(Duration::from_millis(120));
        }
        Ok(0.95)
    });
    let asked = Arc::default();
    let loader = Sized {
        script: script.clone(),
        asked: Arc::clone(&asked),
    };
    let mut bench = Bench::on(Arc::new(loader), SessionConfig::default());
    clock.set(bench.clock.clone()).unwrap();
    for _ in 0..100 {
        bench.step_next();
    }
    assert_eq!(*asked.lock().unwrap(), [Some(256), Some(192), Some(256)]);
    assert_eq!(script.loads(), 1);
    assert_eq!(bench.session.state(), State::Degraded(Degradation::Slow));
    assert_eq!(bench.session.message(), None);
}
