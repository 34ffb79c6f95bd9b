//! An own frame loop: the newest frame is segmented, and a frozen one asked for something else.
//!
//! A phantom stands for the camera. `bedside-live` has what a display needs beside this: video that
//! never waits for the model, masks that are carried along and age, a watchdog.
//!
//! ```sh
//! cargo run --release -p bedside --example camera
//! ```

use std::error::Error;
use std::io::{self, Write};

use bedside::{Options, Prompt, Segmenter};
use bedside_phantom::{Phantom, PhantomConfig, PhantomKind};

fn main() -> Result<(), Box<dyn Error>> {
    let bundle = "models/edge/edge.bedside";
    run(bundle, &Options::default(), 20, &mut io::stdout())
}

/// One line a frame, and one about the last of them.
pub(crate) fn run(
    bundle: &str,
    options: &Options,
    frames: u64,
    out: &mut dyn Write,
) -> Result<(), Box<dyn Error>> {
    let mut segmenter = Segmenter::open(bundle, options)?;
    // Prompts are resolved and encoded here, never in the loop.
    let prompts = segmenter.prompts(&[Prompt::new("polyp")])?;
    let camera = Phantom::new(PhantomConfig {
        kind: PhantomKind::Polyp,
        width: 640,
        height: 480,
        seed: 7,
        frame_rate: 30.0,
        target: true,
    })?;

    let mut frozen = None;
    for number in 0..frames {
        let frame = camera.frame_at(number).frame;
        // The frame is encoded once, whatever will be asked of it.
        let features = segmenter.encode(&frame, prompts.orientation())?;
        let answer = segmenter.decode(&features, &prompts)?;
        for finding in &answer.findings {
            // An age is counted from the capture, so the frame's own time goes with its mask.
            let captured = frame.captured();
            writeln!(
                out,
                "{captured:?} {}: {} pixels",
                finding.prompt, finding.area
            )?;
        }
        // Here a person presses "freeze".
        frozen = Some(features);
    }

    // Another prompt on the frozen frame costs a pass of the small decoder alone.
    if let Some(features) = frozen {
        let other = segmenter.prompts(&[Prompt::new("fetal head")])?;
        for finding in segmenter.decode(&features, &other)?.findings {
            writeln!(out, "frozen, {}: {} pixels", finding.prompt, finding.area)?;
        }
    }
    Ok(())
}
