//! Pictures as JPEG, encoded once for all viewers and only while there are some.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bedside_live::{Monitor, Stop};
use bedside_video::sink::encode_jpeg;
use futures_util::stream;
use tokio::sync::watch;

/// Most viewers at once; one more is refused, so that pages can't take the machine's time.
pub const MAX_VIEWERS: usize = 4;
/// Of JPEG.
const QUALITY: u8 = 80;
/// Shortest time between two pictures.
const INTERVAL: Duration = Duration::from_millis(30);
/// Time without a picture after which the encoder looks whether it should end.
const PATIENCE: Duration = Duration::from_millis(250);
/// Time in which a single picture must come, and the next one of a stream. A session repeats its last
/// picture more often, so that nothing ends but the stream of one without any; of a viewer who has gone
/// nothing may be noticed before something is sent.
const SOON: Duration = Duration::from_secs(2);

/// An encoded picture; cloning it copies no pixels.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    pub jpeg: Bytes,
    /// Capture on the session's clock, nanoseconds, as in the session's records.
    captured_ns: u64,
}

/// The newest picture, and how many look.
pub(super) struct Pictures {
    monitor: Arc<Monitor>,
    stop: Stop,
    newest: watch::Sender<Option<Picture>>,
    viewers: watch::Sender<usize>,
}

impl Pictures {
    pub(super) fn new(monitor: Arc<Monitor>, stop: Stop) -> Self {
        Self {
            monitor,
            stop,
            newest: watch::Sender::new(None),
            viewers: watch::Sender::new(0),
        }
    }

    /// Begin to look; `None` when as many do as may.
    pub(super) fn watch(self: &Arc<Self>) -> Option<Viewer> {
        let came = self.viewers.send_if_modified(|viewers| {
            let free = *viewers < MAX_VIEWERS;
            *viewers += usize::from(free);
            free
        });
        came.then(|| Viewer {
            newest: self.newest.subscribe(),
            pictures: self.clone(),
        })
    }

    /// Encode on a thread of its own whenever somebody looks, until the session stops.
    pub(super) async fn encode_while_watched(self: Arc<Self>) {
        let mut viewers = self.viewers.subscribe();
        while !self.stop.is_stopped() {
            let came = viewers.wait_for(|n| *n > 0);
            if tokio::time::timeout(PATIENCE, came).await.is_err() {
                continue;
            }
            let pictures = self.clone();
            if tokio::task::spawn_blocking(move || pictures.encode())
                .await
                .is_err()
            {
                // It panicked: never so fast again that it would take all the time.
                tokio::time::sleep(SOON).await;
            }
        }
    }

    fn encode(&self) {
        let watch = self.monitor.watch();
        // What was left there when the last viewer went is old.
        if let Some(old) = watch.frame(Duration::ZERO) {
            watch.done(old);
        }
        let mut size = 0;
        while *self.viewers.borrow() > 0 && !self.stop.is_stopped() {
            let began = Instant::now();
            let Some(frame) = watch.frame(PATIENCE) else {
                continue;
            };
            let mut jpeg = Vec::with_capacity(size + size / 4);
            let encoded = encode_jpeg(&mut jpeg, &frame, QUALITY);
            let captured_ns = frame.captured().as_nanos();
            watch.done(frame);
            if encoded.is_ok() {
                size = jpeg.len();
                let jpeg = jpeg.into();
                self.newest
                    .send_replace(Some(Picture { jpeg, captured_ns }));
            }
            thread::sleep(INTERVAL.saturating_sub(began.elapsed()));
        }
        self.newest.send_replace(None);
    }
}

/// Somebody looks.
pub(super) struct Viewer {
    newest: watch::Receiver<Option<Picture>>,
    pictures: Arc<Pictures>,
}

impl Viewer {
    /// The next picture; a viewer that is slow misses those between. `None` at the end.
    async fn next(&mut self) -> Option<Picture> {
        loop {
            self.newest.changed().await.ok()?;
            if let Some(picture) = self.newest.borrow_and_update().clone() {
                return Some(picture);
            }
        }
    }

    /// The next picture, if it comes soon.
    pub(super) async fn soon(&mut self) -> Option<Picture> {
        tokio::time::timeout(SOON, self.next()).await.ok().flatten()
    }

    /// One picture after the other, in the form that browsers and players take for video.
    pub(super) fn stream(self) -> Response {
        let parts = stream::unfold(self, async |mut viewer| {
            let picture = viewer.soon().await?;
            let head = format!(
                "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\
                 X-Captured-Ns: {}\r\n\r\n",
                picture.jpeg.len(),
                picture.captured_ns
            );
            let part = [head.as_bytes(), &picture.jpeg, b"\r\n"].concat();
            Some((Ok::<_, std::convert::Infallible>(part), viewer))
        });
        let kind = [(
            header::CONTENT_TYPE,
            "multipart/x-mixed-replace; boundary=frame",
        )];
        (kind, Body::from_stream(parts)).into_response()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.pictures.viewers.send_modify(|viewers| *viewers -= 1);
    }
}
