//! Where the peer is.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{Error, ErrorKind};

/// Longest wait for one address to answer, or for somebody to connect.
const PATIENCE: Duration = Duration::from_secs(1);

/// An address to connect to, or one to listen on.
#[derive(Debug)]
pub enum Endpoint {
    /// A server, as `HOST:PORT`.
    Server(String),
    /// Clients, of which one at a time is served.
    Clients(TcpListener),
}

impl Endpoint {
    /// The server at `HOST:PORT`, which need not run yet: a name, an IPv4 address, or an IPv6 address
    /// in brackets. PLUS and 3D Slicer have port 18944.
    ///
    /// # Errors
    /// [`ErrorKind::Address`] for a text of another form.
    pub fn server(address: &str) -> Result<Self, Error> {
        let parts = address.rsplit_once(':');
        let sound = parts.is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if !sound {
            return Err(Error::new(
                ErrorKind::Address,
                "the server's address is none; hint: write it as HOST:PORT, such as localhost:18944",
            ));
        }
        Ok(Self::Server(address.to_owned()))
    }

    /// Clients that connect to `ADDRESS:PORT`, or to `PORT` of this machine alone. Port 0 takes a free
    /// one, see [`local_address`](Self::local_address). Nothing is encrypted, and nobody is asked for a
    /// name or password.
    ///
    /// # Errors
    /// [`ErrorKind::Address`] for a text of another form, and an address that can't be listened on.
    pub fn clients(address: &str) -> Result<Self, Error> {
        let port = address
            .parse()
            .map(|port: u16| ([127, 0, 0, 1], port).into());
        let parsed: Result<SocketAddr, _> = port.or_else(|_| address.parse());
        let parsed = parsed.map_err(|_| {
            Error::new(
                ErrorKind::Address,
                "the address to listen on is none; hint: write it as PORT or ADDRESS:PORT, such as \
                 18944",
            )
        })?;
        let listener = TcpListener::bind(parsed).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = listener.map_err(|e| {
            let message = format!("{parsed} can't be listened on: {e}; hint: take another port");
            Error::new(ErrorKind::Address, message)
        })?;
        Ok(Self::Clients(listener))
    }

    /// Where clients connect to; `None` for a server.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Server(_) => None,
            Self::Clients(listener) => listener.local_addr().ok(),
        }
    }

    /// A connection, within about a second.
    pub(crate) fn connect(&self) -> Result<TcpStream, Error> {
        match self {
            Self::Server(address) => connect(address).map_err(|e| {
                let hint = "start the server; it is tried again";
                Error::lost(format!("{address} does not answer: {e}; hint: {hint}"))
            }),
            Self::Clients(listener) => {
                let timeout = Timespec {
                    tv_sec: PATIENCE.as_secs() as i64,
                    tv_nsec: 0,
                };
                let mut ready = [PollFd::new(listener, PollFlags::IN)];
                // A signal ends the wait too: the caller may have been asked to stop.
                let _ = poll(&mut ready, Some(&timeout));
                self.newcomer()
                    .ok_or_else(|| Error::lost("nobody is connected; hint: start the client"))
            }
        }
    }

    /// A client that waits to be served.
    pub(crate) fn newcomer(&self) -> Option<TcpStream> {
        match self {
            Self::Server(_) => None,
            Self::Clients(listener) => listener.accept().ok().map(|(stream, _)| stream),
        }
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
