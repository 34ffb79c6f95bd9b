//! Shows video on a display until it ends, and tells of the display whatever there is to tell.
//!
//! `cargo run --release -p bedside-display --example show -- [CONNECTOR [SOURCE [FRAMES]]]`

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use bedside_core::{Clock, MonotonicClock};
use bedside_display::{Connector, DisplaySink};
use bedside_video::sink::Sink;
use bedside_video::{OpenOptions, open};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let connector: Connector = args.next().as_deref().unwrap_or("any").parse()?;
    let source = args
        .next()
        .unwrap_or("phantom:polyp,size=640x360,fps=10".to_owned());
    let frames: u32 = args.next().map_or(Ok(100), |n| n.parse())?;

    let clock = Arc::new(MonotonicClock::new());
    let mut source = open(&source, &OpenOptions::new(clock.clone()))?;
    let mut display = DisplaySink::new(connector, clock.clone());
    let (mut buffer, mut said, mut shown, mut took) = (Vec::new(), None, 0, Duration::ZERO);
    for _ in 0..frames {
        let Some(frame) = source.next(buffer)? else {
            break;
        };
        let began = clock.now();
        let error = display.write(&frame).err().map(|error| error.to_string());
        if error.is_none() {
            shown += 1;
            took += clock.now().since(began);
        }
        if error != said {
            let now = error.as_deref().unwrap_or("well");
            writeln!(io::stderr(), "display: {now}")?;
            said = error;
        }
        buffer = frame.into_data();
    }
    display.finish()?;
    // With the time that it waits for the display's refresh.
    let mean = took / shown.max(1);
    writeln!(io::stderr(), "{shown} frames were shown, each in {mean:?}")?;
    Ok(())
}
