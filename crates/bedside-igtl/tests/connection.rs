//! Connections with peers that come, go, stay silent and take nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bedside_core::{Frame, MonotonicClock, PixelFormat};
use bedside_igtl::{Endpoint, Pictures, Sender, link};
use bedside_video::{Source, SourceErrorKind};
use socket2::SockRef;

use crate::codec::golden;

/// A guard against waiting for ever; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

fn listening() -> (Pictures, Sender, SocketAddr) {
    let endpoint = Endpoint::clients("0").unwrap();
    let address = endpoint.local_address().unwrap();
    assert!(address.ip().is_loopback());
    let (pictures, sender) = link(endpoint, Arc::new(MonotonicClock::new()));
    (pictures, sender, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn send(mut stream: &TcpStream, names: &[&str]) {
    let bytes: Vec<u8> = names.iter().flat_map(|name| golden(name)).collect();
    stream.write_all(&bytes).unwrap();
}

/// The next frame, whatever is said before it.
fn frame(source: &mut dyn Source) -> Frame {
    let began = Instant::now();
    loop {
        match source.next(Vec::new()) {
            Ok(frame) => return frame.expect("no end"),
            Err(error) => assert!(began.elapsed() < PATIENCE, "no frame: {error}"),
        }
    }
}

#[test]
fn a_client_is_a_source_and_another_size_opens_it_anew() {
    let (pictures, sender, address) = listening();
    let peer = connect(address);
    send(&peer, &["transform-v1", "image-rgb-v1", "image-gray-v2"]);
    let mut source = pictures.open().unwrap();
    let info = source.info().clone();
    assert_eq!(
        (info.width, info.height, info.format),
        (5, 3, PixelFormat::Rgb8)
    );
    let first = source.next(vec![0; 1000]).unwrap().unwrap();
    assert_eq!(first.data().len(), 45);
    let sent = sender.sent(first.captured()).unwrap();
    assert_eq!(
        (sent.geometry.size, sent.timestamp >> 32),
        ([5, 3, 1], 1_700_000_000)
    );

    let error = source.next(Vec::new()).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Fatal, "{error}");
    let mut source = pictures.open().unwrap();
    assert_eq!(source.info().format, PixelFormat::Gray8);
    assert_eq!(frame(&mut *source).data()[1], 7);
    assert_eq!(sender.version(), 2);
}

#[test]
fn messages_that_can_not_be_used_are_told_and_label_maps_of_ours_are_no_pictures() {
    let (pictures, sender, address) = listening();
    let peer = connect(address);
    send(
        &peer,
        &[
            "labels-v1",
            "image-gray-v1",
            "image-int16",
            "string-v1",
            "image-gray-v1",
        ],
    );
    let mut source = pictures.open().unwrap();
    assert_eq!(frame(&mut *source).data()[14], 98, "not the labels");
    let error = source.next(Vec::new()).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Broken, "{error}");
    assert!(
        error
            .to_string()
            .starts_with("OpenIGTLink: an IMAGE can't be used"),
        "{error}"
    );
    source.next(Vec::new()).unwrap().unwrap();
    assert_eq!(sender.text(), Some(Ok("polyp\nfetal head".to_owned())));
    assert_eq!(sender.text(), None);
}

#[test]
fn a_peer_that_is_gone_or_silent_gives_its_place_to_the_next() {
    let (pictures, sender, address) = listening();
    let error = pictures.open().map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Lost, "{error}");
    let gone = connect(address);
    send(&gone, &["image-gray-v1"]);
    let mut source = pictures.open().unwrap();
    frame(&mut *source);
    drop(gone);

    // Half a message, and then nothing.
    let mut silent = connect(address);
    silent.write_all(&golden("image-gray-v1")[..100]).unwrap();
    let began = Instant::now();
    let mut told = Vec::new();
    while !told.contains(&SourceErrorKind::Silent) {
        told.push(source.next(Vec::new()).unwrap_err().kind());
        assert!(began.elapsed() < PATIENCE, "{told:?}");
    }
    assert!(told.contains(&SourceErrorKind::Lost), "{told:?}");
    let other = connect(address);
    send(&other, &["image-gray-v1"]);
    frame(&mut *source);
    assert!(sender.is_connected());
    assert_eq!(silent.read(&mut [0; 1]).unwrap_or(0), 0, "it was closed");
}

#[test]
fn a_server_that_comes_later_and_goes_is_connected_to_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let endpoint = Endpoint::server(&address.to_string()).unwrap();
    let (pictures, sender) = link(endpoint, Arc::new(MonotonicClock::new()));
    let error = pictures.open().map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Lost, "{error}");
    assert!(
        error.to_string().contains("hint: start the server"),
        "{error}"
    );

    let listener = TcpListener::bind(address).unwrap();
    let server = thread::spawn(move || {
        for _ in 0..2 {
            let (stream, _) = listener.accept().unwrap();
            send(&stream, &["image-gray-v1"]);
        }
        listener
    });
    let mut source = loop {
        if let Ok(source) = pictures.open() {
            break source;
        }
    };
    frame(&mut *source);
    frame(&mut *source);
    server.join().unwrap();
    sender.close();
    let ended = loop {
        if let Ok(ended) = source.next(Vec::new()) {
            break ended;
        }
    };
    assert_eq!(ended, None);
}

#[test]
fn a_peer_that_takes_nothing_is_cut_off_and_reading_goes_on_meanwhile() {
    let (pictures, sender, address) = listening();
    let peer = connect(address);
    SockRef::from(&peer)
        .set_recv_buffer_size(256 << 10)
        .unwrap();
    send(&peer, &["image-gray-v1"]);
    let mut source = pictures.open().unwrap();
    frame(&mut *source);
    let sends = sender.clone();
    let blocked = thread::spawn(move || {
        let message = vec![0; 300 << 10];
        let mut sent = 0;
        loop {
            if let Err(error) = sends.send(&message) {
                return (sent, error.to_string());
            }
            sent += 1;
        }
    });
    // As much as the system's buffers take was sent long before this ends.
    while !blocked.is_finished() {
        send(&peer, &["image-gray-v1"]);
        let began = Instant::now();
        let read = source.next(Vec::new());
        assert!(began.elapsed() < Duration::from_secs(5));
        match read {
            Ok(frame) => assert!(frame.is_some()),
            Err(error) => assert_eq!(error.kind(), SourceErrorKind::Lost, "{error}"),
        }
        thread::sleep(Duration::from_millis(20));
        if !sender.is_connected() {
            break;
        }
    }
    let (sent, said) = blocked.join().unwrap();
    // Ten without a bound here; with it, what the peer's own buffer takes before it is read from.
    assert!(
        sent <= 2,
        "{sent} label maps wait for a peer that reads none"
    );
    assert!(said.contains("the peer takes nothing"), "{said}");
}

#[test]
fn addresses_are_checked() {
    for wrong in [
        "",
        "localhost",
        "localhost:",
        ":18944",
        "localhost:0",
        "localhost:99999",
    ] {
        let error = Endpoint::server(wrong).unwrap_err().to_string();
        assert!(error.contains("hint: write it as HOST:PORT"), "{error}");
    }
    for right in ["localhost:18944", "[::1]:18944", "10.0.0.2:1"] {
        Endpoint::server(right).unwrap();
    }
    for wrong in ["", "localhost:1", "70000", "127.0.0.1"] {
        let error = Endpoint::clients(wrong).unwrap_err().to_string();
        assert!(error.contains("hint: write it as PORT"), "{error}");
    }
    let taken = Endpoint::clients("[::1]:0").or_else(|_| Endpoint::clients("127.0.0.1:0"));
    let address = taken.as_ref().unwrap().local_address().unwrap();
    let error = Endpoint::clients(&address.to_string()).unwrap_err();
    assert!(
        error.to_string().contains("hint: take another port"),
        "{error}"
    );
}
