//! Where the page listens, and how many may connect.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

use crate::error::{Error, ErrorKind};

/// Most connections at once; a browser opens up to six. Further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 32;

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

/// A listener with at most [`MAX_CONNECTIONS`].
pub(super) struct Limited {
    listener: tokio::net::TcpListener,
    free: Arc<Semaphore>,
}

impl Limited {
    pub(super) fn new(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: tokio::net::TcpListener::from_std(listener)?,
            free: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        })
    }
}

impl Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = self.free.clone().acquire_owned().await.ok();
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (Connection::new(stream, place), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A peer that takes nothing of what is sent for so long is gone.
const UNREAD: Duration = Duration::from_secs(5);

/// A connection over which nothing goes for so long is closed.
const IDLE: Duration = Duration::from_secs(60);

/// A connection, which frees its place when it ends; it ends when the peer does nothing.
pub(super) struct Connection {
    stream: TcpStream,
    unread: Option<Pin<Box<Sleep>>>,
    idle: Option<Pin<Box<Sleep>>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn new(stream: TcpStream, place: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            stream,
            unread: None,
            idle: None,
            _place: place,
        }
    }
}

/// Whether nothing has happened for that time since the timer was last taken away.
fn expired(timer: &mut Option<Pin<Box<Sleep>>>, after: Duration, cx: &mut Context<'_>) -> bool {
    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(after)));
    timer.as_mut().poll(cx).is_ready()
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() {
            self.idle = None;
        } else if expired(&mut self.idle, IDLE, cx) {
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
        if written.is_ready() {
            (self.unread, self.idle) = (None, None);
        } else if expired(&mut self.unread, UNREAD, cx) {
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
    /// Whoever sits at this machine may change the session; from elsewhere one may look.
    pub(super) fn may_change(self) -> bool {
        self.0.ip().to_canonical().is_loopback()
    }
}

impl Connected<IncomingStream<'_, Limited>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Limited>) -> Self {
        Self(*stream.remote_addr())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[test]
    fn a_peer_that_reads_nothing_loses_its_place() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut limited = Limited::new(listener).unwrap();
            let address = limited.local_addr().unwrap();
            let peer = TcpStream::connect(address).await.unwrap();
            let (mut connection, _) = limited.accept().await;
            assert_eq!(limited.free.available_permits(), MAX_CONNECTIONS - 1);
            let error = loop {
                let bytes = vec![0; 1 << 16];
                let write = poll_fn(|cx| Pin::new(&mut connection).poll_write(cx, &bytes));
                if let Err(error) = write.await {
                    break error;
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            drop(connection);
            assert_eq!(limited.free.available_permits(), MAX_CONNECTIONS);
            drop(peer);
        });
    }
}
