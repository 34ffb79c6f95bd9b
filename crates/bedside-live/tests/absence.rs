//! A model that says "not present", and what a session makes of it.

use std::ops::Range;
use std::sync::Arc;

use bedside::{Finding, Frame, Modality, Prompt, State};
use bedside_live::{Error, Loader, Model, SessionConfig};

use crate::rig::{Bench, finding};

/// Draws a mask in each of its passes, and says of the first ten that the object is not there.
struct Drawing;

struct Drawn(u32);

impl Loader for Drawing {
    fn load(&self) -> Result<Box<dyn Model>, Error> {
        Ok(Box::new(Drawn(0)))
    }

    fn check(&self, _: &[Prompt]) -> Result<Option<Modality>, Error> {
        Ok(None)
    }
}

impl Model for Drawn {
    fn set_prompts(&mut self, _: &[Prompt]) -> Result<(), Error> {
        Ok(())
    }

    fn segment(&mut self, _: &Frame, _: Range<usize>) -> Result<Vec<Finding>, Error> {
        let mut drawn = finding("thing", 0.95);
        drawn.present = self.0 >= 10;
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
    let mut bench = Bench::on(Arc::new(Drawing), SessionConfig::default());
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
