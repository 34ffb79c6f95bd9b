//! A camera loop of the host's own: frames as a driver hands them over, one call a frame. Here a
//! phantom is the camera.
//!
//! `cargo run --release -p bedside-live --example camera_loop -- [BUNDLE [FRAMES]]`

use std::error::Error;
use std::io::{Write, stdout};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bedside::{Bundle, Clock, MonotonicClock, Options, Prompt};
use bedside_live::{BundleLoader, Control, LiveSession, Metrics, SessionConfig};
use bedside_phantom::{Phantom, PhantomConfig, PhantomKind};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let bundle = args.next().unwrap_or("models/edge/edge.bedside".to_owned());
    let frames = args.next().map_or(Ok(100), |n| n.parse())?;

    let camera = Phantom::new(PhantomConfig {
        kind: PhantomKind::Polyp,
        width: 320,
        height: 240,
        seed: 3,
        frame_rate: 25.0,
        target: true,
    })?;
    let clock = Arc::new(MonotonicClock::new());
    let options = Options::default();
    let backend = Arc::new(options.backend()?);
    let loader = Arc::new(BundleLoader::new(Bundle::open(bundle)?, backend, options)?);
    let control = Arc::new(Control::new(loader.clone(), &[Prompt::new("polyp")])?);
    let metrics = Arc::new(Metrics::new());
    let config = SessionConfig::default();
    let mut session = LiveSession::new(loader, control, metrics, clock.clone(), config);
    let mut out = stdout().lock();
    for number in 0..frames {
        let frame = camera.frame_at(number).frame.captured_at(clock.now());
        // Returns at once, whether or not the model has an answer.
        session.frame(frame, number)?;
        let record = session.record();
        write!(out, "frame {number}: {}", session.state())?;
        for mask in &record.masks {
            let age = mask.age_us / 1000;
            write!(
                out,
                ", {} of {} pixels, {age} ms old",
                &*mask.prompt, mask.area
            )?;
        }
        writeln!(out)?;
        // What to display: `session.annotated()`; the masks alone: `session.masks()`. Where the
        // camera falls silent, call `session.idle()`: it takes masks away and states why.
        thread::sleep(Duration::from_millis(40));
    }
    Ok(())
}
