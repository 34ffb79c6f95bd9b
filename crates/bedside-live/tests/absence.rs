//! A model that says "not present", and what a session makes of it.

use std::ops::Range;
use std::sync::Arc;

use bedside::{Finding, Frame, Modality, Prompt, State, Withheld};
use bedside_live::{Error, Loader, Model, SessionConfig};

use crate::rig::{Bench, finding};

/// Finds the object in every pass, and then does to what it found what this says of the pass.
struct Drawing(fn(u32, &mut Finding));

struct Drawn(u32, fn(u32, &mut Finding));

impl Loader for Drawing {
    fn load(&self) -> Result<Box<dyn Model>, Error> {
        Ok(Box::new(Drawn(0, self.0)))
    }

    fn check(&self, _: &[Prompt]) -> Result<Option<Modality>, Error> {
        Ok(None)
    }
}

impl Model for Drawn {
    fn set_prompts(&mut self, _: &[Prompt], _: Option<u32>) -> Result<(), Error> {
        Ok(())
    }

    fn segment(&mut self, _: &Frame, _: Range<usize>) -> Result<Vec<Finding>, Error> {
        let mut drawn = finding("thing", 0.95);
        (self.1)(self.0, &mut drawn);
        self.0 += 1;
        Ok(vec![drawn])
    }
}

/// Answers so far that an object is not in the frame.
fn absent(bench: &Bench) -> u32 {
    let text = bench.metrics.prometheus();
    let mut lines = text.lines();
    let count = lines.find_map(|line| line.strip_prefix("bedside_answers_absent_total "));
    count.unwrap().parse().unwrap()
}

/// `show` compares the picture: nothing may be painted on a frame without masks.
#[test]
fn p_06_what_is_not_present_is_withheld_counted_and_said() {
    let drawing = Drawing(|pass, drawn| drawn.present = pass >= 10);
    let mut bench = Bench::on(Arc::new(drawing), SessionConfig::default());
    bench.step_next();
    for answers in 1..=10 {
        assert_eq!(absent(&bench), answers);
        bench.step_next();
        assert_eq!(bench.session.state(), State::Active, "that is an answer");
        let record = bench.session.record();
        assert!(record.masks.is_empty(), "{record:?}");
        assert!(record.absent.iter().map(|name| &**name).eq(["thing"]));
    }
    bench.until_masked();
    assert!(bench.session.record().absent.is_empty());
    assert_eq!(absent(&bench), 10);
}

/// One strange frame in a video that the model knows costs no mask; a second says so.
#[test]
fn p_06_frames_that_the_model_does_not_know_get_no_answer_and_say_why() {
    let drawing = Drawing(|pass, drawn| {
        if matches!(pass, 3 | 6..) {
            (drawn.present, drawn.presence) = (false, 0.01);
            drawn.withheld = Some(Withheld::Unfamiliar);
        }
    });
    let mut bench = Bench::on(Arc::new(drawing), SessionConfig::default());
    bench.until_masked();
    let mut masked = Vec::new();
    for _ in 0..8 {
        bench.step_next();
        let record = bench.session.record();
        assert!(record.absent.is_empty(), "{record:?}");
        masked.push(!record.masks.is_empty());
        assert_eq!(record.masks.is_empty(), !record.uncertain.is_empty());
    }
    let lost = masked.iter().position(|m| !m).unwrap();
    assert!(lost >= 5, "{masked:?}");
    assert!(masked[lost..].iter().all(|m| !m), "{masked:?}");
    assert_eq!(absent(&bench), 0, "nobody looked");
    let metrics = bench.metrics.prometheus();
    let withheld = "bedside_masks_withheld_total{reason=\"unfamiliar\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(withheld));
    let lost = masked.iter().filter(|m| !**m).count();
    assert_eq!(line, Some(lost.to_string().as_str()));
}
