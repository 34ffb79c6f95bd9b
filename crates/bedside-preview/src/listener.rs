//! Where the page listens, how many may connect, and how long each may take.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};

use crate::error::{Error, ErrorKind};

/// How many may connect, and for how long what they do may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections at once; a browser opens up to six. One more takes the place of another.
    pub connections: usize,
    /// From the moment at which a request could begin to the end of its head.
    pub head: Duration,
    /// From there to the beginning of its answer, its body included.
    pub answer: Duration,
    /// A peer that takes nothing of what is sent for so long is gone.
    pub unread: Duration,
    /// A connection over which nothing goes for so long is closed, be it within an answer.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 32,
            head: Duration::from_secs(10),
            answer: Duration::from_secs(10),
            unread: Duration::from_secs(5),
            idle: Duration::from_secs(60),
        }
    }
}

/// Take an address for the page. Port 0 takes any free one.
///
/// An address that other machines reach is refused unless `anyone` may look: neither names nor
/// passwords are asked, and nothing is encrypted.
///
/// # Errors
/// [`ErrorKind::Exposed`] for such an address, [`ErrorKind::Address`] when it can't be had.
pub fn bind(address: SocketAddr, anyone: bool) -> Result<TcpListener, Error> {
    if !address.ip().to_canonical().is_loopback() && !anyone {
        let message = format!(
            "preview on {address}: other machines could see the video; hint: 127.0.0.1:{}, or \
             allow it on a network where everyone may look",
            address.port()
        );
        return Err(Error::new(ErrorKind::Exposed, message));
    }
    TcpListener::bind(address).map_err(|cause| {
        let hint = match cause.kind() {
            io::ErrorKind::AddrInUse => "another port, or 0 for any free one",
            io::ErrorKind::PermissionDenied => "a port above 1023",
            _ => "an address of this machine, such as 127.0.0.1:8080",
        };
        let what = format!("preview on {address}");
        Error::caused(ErrorKind::Address, what, cause, hint)
    })
}

/// Time until the next attempt when the system can't give a connection, say for want of
/// descriptors.
const RETRY: Duration = Duration::from_millis(500);

/// Answer whoever connects, without end.
pub(super) async fn answer(listener: TcpListener, pages: Router, limits: Limits) -> io::Error {
    let listener = listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(listener));
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => return error,
    };
    let places = Arc::new(Places::new(limits.connections));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head);
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            sleep(RETRY).await;
            continue;
        };
        let place = Places::take(&places);
        let given_away = place.place.clone();
        let connection = Connection::new(stream, place, limits);
        let pages = TowerToHyperService::new(pages.clone().layer(Extension(Peer(peer))));
        let served = http.serve_connection(TokioIo::new(connection), pages);
        tokio::spawn(async move {
            tokio::select! {
                // Errors are the peer's: it went away, was too slow, or speaks no HTTP.
                _ = served => {}
                () = given_away.lost.notified() => {}
            }
        });
    }
}

/// Marks a place over which something was sent.
const ANSWERED: u64 = 1 << 63;

/// A place for one connection.
#[derive(Debug, Default)]
struct Place {
    /// When it was taken or, with [`ANSWERED`], when something was last sent over it; counted over all.
    used: AtomicU64,
    /// Told when another connection got the place.
    lost: Notify,
}

/// The places of all connections. Whoever comes gets one; when all are taken, it is that of the
/// connection that waits longest for its first answer or, where there is none, over which nothing was
/// sent for longest. What a peer sends does not count: so one that opens many connections, or sends
/// heads without end, only loses its own.
#[derive(Debug)]
struct Places {
    most: usize,
    taken: Mutex<Vec<Arc<Place>>>,
    uses: AtomicU64,
}

impl Places {
    fn new(most: usize) -> Self {
        Self {
            most,
            taken: Mutex::default(),
            uses: AtomicU64::new(0),
        }
    }

    fn take(places: &Arc<Self>) -> Taken {
        let taken = Taken {
            place: Arc::default(),
            places: places.clone(),
        };
        taken.used(0);
        let mut all = places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= places.most {
            let used = |(_, place): &(usize, &Arc<Place>)| place.used.load(Ordering::Relaxed);
            let oldest = all.iter().enumerate().min_by_key(used);
            if let Some(at) = oldest.map(|(at, _)| at) {
                all.swap_remove(at).lost.notify_one();
            }
        }
        all.push(taken.place.clone());
        taken
    }
}

/// A place that is free again once this is gone.
#[derive(Debug)]
struct Taken {
    place: Arc<Place>,
    places: Arc<Places>,
}

impl Taken {
    fn used(&self, answered: u64) {
        let now = self.places.uses.fetch_add(1, Ordering::Relaxed);
        self.place.used.store(answered | now, Ordering::Relaxed);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut all = self
            .places
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.retain(|place| !Arc::ptr_eq(place, &self.place));
    }
}

/// A connection, which ends when the peer does nothing.
struct Connection {
    stream: TcpStream,
    limits: Limits,
    unread: Option<Pin<Box<Sleep>>>,
    idle: Option<Pin<Box<Sleep>>>,
    place: Taken,
}

impl Connection {
    fn new(stream: TcpStream, place: Taken, limits: Limits) -> Self {
        Self {
            stream,
            limits,
            unread: None,
            idle: None,
            place,
        }
    }
}

/// Whether nothing has happened for that time since the timer was last taken away.
fn expired(timer: &mut Option<Pin<Box<Sleep>>>, after: Duration, cx: &mut Context<'_>) -> bool {
    let timer = timer.get_or_insert_with(|| Box::pin(sleep(after)));
    timer.as_mut().poll(cx).is_ready()
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let limit = self.limits.idle;
        if read.is_ready() {
            self.idle = None;
        } else if expired(&mut self.idle, limit, cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        let limit = self.limits.unread;
        if written.is_ready() {
            (self.unread, self.idle) = (None, None);
            self.place.used(ANSWERED);
        } else if expired(&mut self.unread, limit, cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(SocketAddr);

impl Peer {
    /// Whether it is on this machine, as far as the connection tells: a proxy here stands for
    /// whoever asks it.
    pub(super) fn is_here(self) -> bool {
        self.0.ip().to_canonical().is_loopback()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::net::TcpStream as Peer;
    use std::thread;
    use std::time::Instant;

    use axum::routing::get;

    use super::*;

    /// Longer than any machine should take; nothing is measured by it.
    const PATIENCE: Duration = Duration::from_secs(120);

    fn runtime() -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    }

    /// A page that answers until the tests end.
    fn served(limits: Limits) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pages = Router::new().route("/", get(|| async { "here" }));
        thread::spawn(move || runtime().block_on(answer(listener, pages, limits)));
        address
    }

    fn connect(address: SocketAddr) -> Peer {
        let peer = Peer::connect(address).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer
    }

    fn ask(peer: &mut Peer) {
        peer.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nhere") {
            let mut byte = [0];
            peer.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }

    #[test]
    fn idle_connections_lock_nobody_out_and_one_that_is_used_stays() {
        // No timer ends any of them.
        let limits = Limits {
            head: PATIENCE,
            idle: PATIENCE,
            ..Limits::default()
        };
        let address = served(limits);
        let mut used = connect(address);
        ask(&mut used);
        let mut idle = Vec::new();
        for _ in 0..3 * limits.connections {
            let mut other = connect(address);
            other.write_all(b"GET / HT").unwrap();
            idle.push(other);
            ask(&mut used);
        }
        // However many come between two answers.
        for _ in 0..3 * limits.connections {
            idle.push(connect(address));
        }
        ask(&mut connect(address));
        ask(&mut used);
        // It ends, and not because this waited for too long.
        let ended = idle.swap_remove(0).read(&mut [0]);
        let ended = ended.map_err(|error| error.kind());
        assert!(
            matches!(ended, Ok(0) | Err(io::ErrorKind::ConnectionReset)),
            "the oldest keeps its place: {ended:?}"
        );
    }

    #[test]
    fn a_head_that_comes_bit_by_bit_is_cut_in_the_time_for_all_of_it() {
        let limits = Limits {
            head: Duration::from_millis(300),
            ..Limits::default()
        };
        let mut peer = connect(served(limits));
        let began = Instant::now();
        // Bytes come well before any time between two of them could end it.
        while peer.write_all(b"G").is_ok() {
            assert!(began.elapsed() < PATIENCE, "never cut");
            thread::sleep(Duration::from_millis(10));
        }
        let mut answer = Vec::new();
        let _ = peer.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }

    #[test]
    fn a_peer_that_reads_nothing_loses_its_place() {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let peer = connect(listener.local_addr().unwrap());
            let (stream, _) = listener.accept().unwrap();
            stream.set_nonblocking(true).unwrap();
            let stream = TcpStream::from_std(stream).unwrap();
            let places = Arc::new(Places::new(1));
            let limits = Limits {
                unread: Duration::from_millis(100),
                ..Limits::default()
            };
            let mut connection = Connection::new(stream, Places::take(&places), limits);
            assert_eq!(places.taken.lock().unwrap().len(), 1);
            let error = loop {
                let bytes = vec![0; 1 << 16];
                let write = poll_fn(|cx| Pin::new(&mut connection).poll_write(cx, &bytes));
                if let Err(error) = write.await {
                    break error;
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            drop(connection);
            assert_eq!(places.taken.lock().unwrap().len(), 0);
            drop(peer);
        });
    }
}
