//! A connection that is made anew whenever it is lost, and its two ends.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bedside_core::{Clock, Frame, Timestamp};
use socket2::SockRef;

use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::image::{Geometry, Picture};
use crate::inbox::Inbox;
use crate::message::{Device, Header, IMAGE, STRING, text};
use crate::pictures::Pictures;

/// Longest wait for a peer within one call.
const PATIENCE: Duration = Duration::from_secs(1);
/// Longest wait within one read, so that a call ends soon after that.
const READ_PATIENCE: Duration = Duration::from_millis(250);
/// A peer that takes nothing of what is sent for so long is gone.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// A peer that does not end a message for so long is gone.
const MESSAGE_PATIENCE: Duration = Duration::from_secs(10);
/// A server from which nothing came for so long is connected to anew: it may have vanished.
const SERVER_PATIENCE: Duration = Duration::from_secs(15);
/// Time between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes that the system keeps of what is sent and did not yet reach the peer; it takes twice as many
/// for them with what it needs itself. What waits there grows old, and no newer answer overtakes it: left
/// to itself, the system keeps some megabytes. Fewer bytes than these would make each message wait for
/// acknowledgements.
const UNSENT: usize = 64 << 10;
/// Pictures whose place in the world is known to the sender.
const REMEMBERED: usize = 64;
/// Texts that may wait to be taken; more are lost.
const WAITING_TEXTS: usize = 8;

/// Device of the texts that are prompts, in capitals or not.
pub const PROMPT: &str = "prompt";
/// Device of the label maps that are sent: one that comes back is no picture.
pub const LABELS: &str = "bedside-labels";

/// Both ends of a connection to a peer. Nothing is connected yet: [`Pictures`] does so when it is
/// read, on the thread that reads.
pub fn link(endpoint: Endpoint, clock: Arc<dyn Clock>) -> (Pictures, Sender) {
    let shared = Arc::new(Shared::default());
    let receiver = Receiver {
        endpoint,
        clock,
        shared: shared.clone(),
        inbox: Inbox::default(),
        connection: None,
        parted: None,
        pending: None,
    };
    (Pictures::new(receiver), Sender { shared })
}

/// What a picture was sent with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// When it had come, on the session's clock.
    pub captured: Timestamp,
    /// The time that its sender gave it, seconds since 1970 (UTC) in units of 2^-32 s.
    pub timestamp: u64,
    /// Where it lies.
    pub geometry: Geometry,
}

/// What both ends know.
#[derive(Debug, Default)]
struct Shared {
    stream: Mutex<Option<Arc<TcpStream>>>,
    closed: AtomicBool,
    /// Version of the header that the peer writes; 0 before it wrote any.
    version: AtomicU16,
    sent: Mutex<VecDeque<Sent>>,
    texts: Mutex<VecDeque<Result<String, Error>>>,
}

impl Shared {
    fn stream(&self) -> Option<Arc<TcpStream>> {
        let stream = self.stream.lock();
        stream.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_stream(&self, stream: Option<Arc<TcpStream>>) {
        self.version.store(0, Ordering::Release);
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = stream;
    }

    fn remember(&self, sent: Sent) {
        let mut all = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == REMEMBERED {
            all.pop_front();
        }
        all.push_back(sent);
    }

    fn text(&self, text: Result<String, Error>) {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if texts.len() < WAITING_TEXTS {
            texts.push_back(text);
        }
    }
}

/// The end that sends, and has the peer's texts.
#[derive(Debug, Clone)]
pub struct Sender {
    shared: Arc<Shared>,
}

impl Sender {
    /// Whether there is a peer.
    pub fn is_connected(&self) -> bool {
        self.shared.stream().is_some()
    }

    /// Version of the header to write: the one that the peer writes, 1 before it wrote any.
    pub fn version(&self) -> u16 {
        self.shared.version.load(Ordering::Acquire).max(1)
    }

    /// What the picture with this time of capture was sent with, if it is one of the last 64.
    pub fn sent(&self, captured: Timestamp) -> Option<Sent> {
        let all = &self.shared.sent;
        let all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().rev().find(|s| s.captured == captured).copied()
    }

    /// The text of the oldest STRING message of a device `prompt` that nobody took, or why it can't be
    /// read. Of more than eight that wait, the newest are lost.
    pub fn text(&self) -> Option<Result<String, Error>> {
        let texts = self.shared.texts.lock();
        texts.unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Send whole messages; without a peer they are dropped. Waits until all but some hundred kilobytes
    /// have reached the peer's system, so it is for a thread of its own.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`] when the peer takes nothing for five seconds or is gone. The connection is
    /// closed then, as a message may have been cut, and is made anew.
    pub fn send(&self, messages: &[u8]) -> Result<(), Error> {
        let Some(stream) = self.shared.stream() else {
            return Ok(());
        };
        (&*stream).write_all(messages).map_err(|e| {
            let _ = stream.shutdown(Shutdown::Both);
            Error::lost(format!("the peer takes nothing: {e}"))
        })
    }

    /// Close the connection for good, which ends a [`send`](Self::send) on another thread, and the
    /// source.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        if let Some(stream) = self.shared.stream() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// The end that reads.
pub(crate) struct Receiver {
    endpoint: Endpoint,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    inbox: Inbox,
    connection: Option<Connection>,
    /// When the last connection ended.
    parted: Option<Instant>,
    /// A frame that was read and not yet taken.
    pub(crate) pending: Option<Frame>,
}

struct Connection {
    stream: Arc<TcpStream>,
    /// When bytes came last, and when the message began that has not ended.
    heard: Instant,
    began: Option<Instant>,
    /// The device whose pictures are taken: the first that sent one.
    device: Option<Device>,
}

impl Connection {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_send_buffer_size(UNSENT)?;
        stream.set_read_timeout(Some(READ_PATIENCE))?;
        stream.set_write_timeout(Some(WRITE_PATIENCE))?;
        Ok(Self {
            stream: Arc::new(stream),
            heard: Instant::now(),
            began: None,
            device: None,
        })
    }
}

/// Reads until a moment, and notes when something came.
struct Timed<'a> {
    connection: &'a mut Connection,
    until: Instant,
}

impl Read for Timed<'_> {
    fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
        if Instant::now() > self.until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let read = (&*self.connection.stream).read(place)?;
        self.connection.heard = Instant::now();
        Ok(read)
    }
}

impl Receiver {
    /// The next picture as a frame in `buffer`'s memory, within about a second; `None` once the link
    /// is closed.
    pub(crate) fn frame(&mut self, buffer: Vec<u8>) -> Result<Option<Frame>, Error> {
        if let Some(frame) = self.pending.take() {
            return Ok(Some(frame));
        }
        let until = Instant::now() + PATIENCE;
        let mut buffer = Some(buffer);
        loop {
            if self.shared.closed.load(Ordering::Acquire) {
                return Ok(None);
            }
            let connection = match &mut self.connection {
                Some(connection) => connection,
                none => {
                    if let Some(parted) = self.parted {
                        thread::sleep(PAUSE.saturating_sub(parted.elapsed()));
                    }
                    self.parted = Some(Instant::now());
                    let connection = Connection::new(self.endpoint.connect()?)?;
                    self.inbox = Inbox::default();
                    self.shared.set_stream(Some(connection.stream.clone()));
                    none.insert(connection)
                }
            };
            let received = self.inbox.receive(&mut Timed { connection, until });
            let outcome = match received {
                Ok(Some((header, content))) => {
                    connection.began = None;
                    self.shared.version.store(header.version, Ordering::Release);
                    let taken = take(header, content, connection, &self.shared, || {
                        buffer.take().unwrap_or_default()
                    });
                    match taken {
                        Ok(Some((frame, geometry))) => {
                            let captured = self.clock.now();
                            self.shared.remember(Sent {
                                captured,
                                timestamp: header.timestamp,
                                geometry,
                            });
                            return Ok(Some(frame.captured_at(captured)));
                        }
                        Ok(None) if Instant::now() > until => Err(silent()),
                        Ok(None) => continue,
                        Err(error) => Err(error),
                    }
                }
                Ok(None) => Err(Error::lost("the peer has closed the connection")),
                Err(error) if error.kind() == ErrorKind::Silent => {
                    if !self.inbox.is_within() {
                        connection.began = None;
                    } else if connection.began.is_none() {
                        connection.began = Some(connection.heard);
                    }
                    let began = connection.began;
                    if began.is_some_and(|began| began.elapsed() > MESSAGE_PATIENCE) {
                        Err(Error::lost("the peer does not end a message"))
                    } else if connection.heard.elapsed() > SERVER_PATIENCE
                        && matches!(self.endpoint, Endpoint::Server(_))
                    {
                        Err(Error::lost("nothing comes from the server"))
                    } else if let Some(newcomer) = self.newcomer() {
                        // The peer is silent: whoever comes takes its place.
                        self.part();
                        let connection = Connection::new(newcomer)?;
                        self.shared.set_stream(Some(connection.stream.clone()));
                        self.connection = Some(connection);
                        continue;
                    } else if Instant::now() > until {
                        Err(silent())
                    } else {
                        continue;
                    }
                }
                Err(error) => Err(error),
            };
            if let Err(error) = &outcome
                && error.kind() == ErrorKind::Lost
            {
                self.part();
            }
            return outcome;
        }
    }

    /// A client that waits while the present one has been silent for as long as a call waits.
    fn newcomer(&self) -> Option<TcpStream> {
        let silent = self.connection.as_ref()?.heard.elapsed() > PATIENCE;
        silent.then(|| self.endpoint.newcomer())?
    }

    /// The connection ends; what was half read is forgotten.
    fn part(&mut self) {
        self.shared.set_stream(None);
        if let Some(connection) = self.connection.take() {
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
        self.inbox = Inbox::default();
        self.parted = Some(Instant::now());
    }
}

fn silent() -> Error {
    Error::new(
        ErrorKind::Silent,
        "no picture for a second; hint: see whether the peer still sends",
    )
}

/// What a message means here: a frame with the place of its picture, a text to hand on, or nothing.
fn take(
    header: Header,
    content: &[u8],
    connection: &mut Connection,
    shared: &Shared,
    buffer: impl FnOnce() -> Vec<u8>,
) -> Result<Option<(Frame, Geometry)>, Error> {
    match header.kind {
        IMAGE if !header.device.is(LABELS) => {
            if connection
                .device
                .is_some_and(|first| first != header.device)
            {
                return Ok(None);
            }
            let picture = Picture::parse(content)?;
            connection.device = Some(header.device);
            let mut data = buffer();
            data.clear();
            data.extend_from_slice(picture.pixels);
            let frame = Frame::new(picture.width, picture.height, picture.format, data);
            let frame = frame.map_err(|e| Error::message(e.to_string()))?;
            Ok(Some((frame, picture.geometry)))
        }
        STRING if header.device.is(PROMPT) => {
            shared.text(text(content).map(str::to_owned));
            Ok(None)
        }
        _ => Ok(None),
    }
}
