//! Frames that no model should be asked about.

use std::sync::Arc;

use bedside::{Clock, Frame, Modality, Pause, PixelFormat, Prompt, State};
use bedside_live::{Error, Loader, Model, SessionConfig};

use crate::rig::{BETWEEN, Bench, HEIGHT, Scripted, WIDTH};

/// Black, with strokes in its middle as of a few words.
fn words() -> Frame {
    let stroke = |x: u32, y: u32| (50..66).contains(&y) && (40..120).contains(&x) && x % 5 < 2;
    let pixels = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| 235 * u8::from(stroke(x, y))));
    Frame::new(WIDTH, HEIGHT, PixelFormat::Gray8, pixels.collect()).unwrap()
}

#[test]
fn p_08_words_on_an_empty_screen_are_not_segmented() {
    let script = Scripted::sure();
    let mut bench = Bench::new(&script, SessionConfig::default());
    bench.until_masked();
    let asked = script.begun();
    for shown in 0..20 {
        bench.step(words());
        let masks = &bench.session.record().masks;
        assert!(masks.is_empty(), "after a cut no mask is left: {masks:?}");
        if shown >= 3 {
            assert_eq!(bench.session.state(), State::Paused(Pause::NoSignal));
            assert_eq!(&*bench.session.record().reason, "no-signal");
        }
    }
    assert_eq!(script.begun(), asked, "nothing is asked");
    bench.until_masked();
    assert_eq!(bench.session.state(), State::Active);
}

/// Answers as a script does, of endoscopy.
struct Endoscopy(Scripted);

impl Loader for Endoscopy {
    fn load(&self) -> Result<Box<dyn Model>, Error> {
        self.0.load()
    }

    fn check(&self, prompts: &[Prompt]) -> Result<Option<Modality>, Error> {
        let known = self.0.check(prompts)?;
        Ok(known.map(|_| Modality::Endoscopy))
    }
}

/// Light and shade of one colour, moved by so many pixels.
fn shades(colour: [u8; 3], moved: u64) -> Frame {
    let wave = |x: u32, y: u32| {
        let (x, y) = (f64::from(x) - moved as f64, f64::from(y));
        0.75 + 0.08 * ((x / 7.0).sin() + (y / 5.0).cos() + (x * y / 300.0).sin())
    };
    let places = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y)));
    let pixels = places.flat_map(|(x, y)| colour.map(|c| (f64::from(c) * wave(x, y)) as u8));
    Frame::new(WIDTH, HEIGHT, PixelFormat::Rgb8, pixels.collect()).unwrap()
}

#[test]
fn p_08_what_lies_outside_the_body_is_not_segmented() {
    const MUCOSA: [u8; 3] = [190, 90, 80];
    const ROOM: [u8; 3] = [150, 160, 170];
    let script = Scripted::sure();
    for endoscopy in [true, false] {
        let mut bench = match endoscopy {
            true => Bench::on(
                Arc::new(Endoscopy(script.clone())),
                SessionConfig::default(),
            ),
            false => Bench::new(&script, SessionConfig::default()),
        };
        let mut step = |colour| {
            let frame = shades(colour, bench.next).captured_at(bench.clock.now());
            bench.session.frame(frame, bench.next).unwrap();
            bench.next += 1;
            bench.settle();
            bench.clock.advance(BETWEEN);
            (bench.session.state(), bench.session.record().masks.len())
        };
        for shown in 0..10 {
            let (state, masks) = step(MUCOSA);
            assert!(shown < 2 || (state, masks) == (State::Active, 1), "{state}");
        }
        let asked = script.begun();
        for shown in 0..10 {
            let (state, masks) = step(ROOM);
            let outside = state == State::Paused(Pause::OutOfBody);
            assert!(shown < 2 || outside == endoscopy, "{state}");
            assert!(!outside || masks == 0);
        }
        assert_eq!(script.begun() == asked, endoscopy, "nothing is asked there");
    }
}
