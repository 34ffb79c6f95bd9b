//! What a running session does on signals.

use std::process;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{Error, ErrorKind};
use crate::run::Stop;

/// Time after which a session that was to end at once is ended with the process.
const LAST: Duration = Duration::from_millis(800);

/// Have the first interrupt end the session in order. A second one, a request to terminate and a
/// terminal that is gone end it at once: sinks and records have a part of a second, and if it has
/// not ended then, the process does, with 128 and the signal's number.
///
/// # Errors
/// [`ErrorKind::Config`] when the system lets this process watch for no signals.
pub fn end_on_signals(stop: Stop) -> Result<(), Error> {
    let cannot = |e| Error::caused(ErrorKind::Config, "signals", e, "end other programs");
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(cannot)?;
    let work = move || {
        for signal in signals.forever() {
            if signal == SIGINT && !stop.is_stopped() {
                stop.stop();
                continue;
            }
            stop.hurry();
            thread::sleep(LAST);
            process::exit(128 + signal);
        }
    };
    let thread = thread::Builder::new().name("bedside-signals".to_owned());
    thread.spawn(work).map(|_| ()).map_err(cannot)
}
