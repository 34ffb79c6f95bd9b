//! Frames to a display, which may come and go.

use std::sync::Arc;
use std::time::Duration;

use bedside_core::{Clock, Frame, Timestamp};
use bedside_video::sink::{Sink, SinkError};
use bedside_vision::{Fit, Placement};

use crate::connector::Connector;
use crate::device;
use crate::screen::{BUFFERS, Pixels, Screen};

/// Time between two attempts at a display that is away.
pub const RETRY: Duration = Duration::from_millis(500);
/// Time between two looks at whether it is still plugged in.
const LOOK: Duration = Duration::from_secs(1);
/// Time that a display has for a refresh; the slowest mode takes 42 ms.
const REFRESH: Duration = Duration::from_millis(500);

type Open = dyn FnMut() -> Result<Box<dyn Screen>, SinkError> + Send;

/// A [`Sink`] that shows each frame as large as the display allows, in its own shape, black around it.
///
/// A write waits for the display's refresh, so it belongs on a thread of its own. Its errors are of the
/// kind [`Away`](bedside_video::sink::SinkErrorKind::Away): the next frame may be shown again.
pub struct DisplaySink {
    open: Box<Open>,
    clock: Arc<dyn Clock>,
    shown: Option<Shown>,
    /// Why there is none, and since when.
    away: Option<(Timestamp, SinkError)>,
    fit: Fit,
}

impl DisplaySink {
    /// On the display at this connector. Nothing is opened before the first frame.
    pub fn new(connector: Connector, clock: Arc<dyn Clock>) -> Self {
        Self::on(move || device::open(&connector), clock)
    }

    /// On what `open` opens, at the first frame and after each error.
    pub fn on(
        open: impl FnMut() -> Result<Box<dyn Screen>, SinkError> + Send + 'static,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            open: Box::new(open),
            clock,
            shown: None,
            away: None,
            fit: Fit::default(),
        }
    }

    fn show(&mut self, frame: &Frame, now: Timestamp) -> Result<(), SinkError> {
        // What fails is dropped here, and so given back to the system.
        let mut shown = match self.shown.take() {
            Some(shown) => shown,
            None => Shown::new((self.open)()?, now),
        };
        shown.show(frame, &mut self.fit, now)?;
        self.shown = Some(shown);
        Ok(())
    }
}

impl Sink for DisplaySink {
    fn write(&mut self, frame: &Frame) -> Result<(), SinkError> {
        let now = self.clock.now();
        if let Some((since, error)) = &self.away
            && now.since(*since) < RETRY
        {
            return Err(error.clone());
        }
        let shown = self.show(frame, now);
        self.away = shown.as_ref().err().map(|error| (now, error.clone()));
        shown
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.shown = None;
        Ok(())
    }
}

/// A display that is there.
struct Shown {
    screen: Box<dyn Screen>,
    /// The picture that is seen, and the one that takes its place.
    seen: usize,
    next: Option<usize>,
    /// Where each picture's frame lies; around it is black.
    drawn: [Option<Placement>; BUFFERS],
    looked: Timestamp,
}

impl Shown {
    fn new(screen: Box<dyn Screen>, now: Timestamp) -> Self {
        Self {
            screen,
            seen: 0,
            next: None,
            drawn: [None; BUFFERS],
            looked: now,
        }
    }

    fn show(&mut self, frame: &Frame, fit: &mut Fit, now: Timestamp) -> Result<(), SinkError> {
        if now.since(self.looked) >= LOOK {
            self.looked = now;
            self.screen.look()?;
        }
        let free = (0..BUFFERS).zip(&mut self.drawn);
        let mut free =
            free.filter(|(buffer, _)| *buffer != self.seen && Some(*buffer) != self.next);
        let Some((buffer, drawn)) = free.next() else {
            return Ok(());
        };
        let place = Placement::within((frame.width(), frame.height()), self.screen.size());
        let pixels = self.screen.pixels(buffer);
        if drawn.replace(place) != Some(place) {
            pixels.bytes.fill(0);
        }
        paint(fit.run(frame, place.width, place.height), place, pixels);
        if let Some(next) = self.next {
            self.screen.settle(REFRESH)?;
            self.seen = next;
        }
        self.screen.flip(buffer)?;
        self.next = Some(buffer);
        Ok(())
    }
}

/// Put tightly packed RGB pixels where they belong.
fn paint(rgb: &[u8], place: Placement, pixels: Pixels<'_>) {
    let rows = rgb.chunks_exact(place.width as usize * 3);
    let to = pixels.bytes.chunks_mut(pixels.stride.max(1));
    for (to, from) in to.skip(place.top as usize).zip(rows) {
        let to = to.as_chunks_mut::<4>().0.iter_mut();
        for (to, [red, green, blue]) in to.skip(place.left as usize).zip(from.as_chunks::<3>().0) {
            *to = [*blue, *green, *red, 0];
        }
    }
}
