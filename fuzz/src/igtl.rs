//! What comes over an OpenIGTLink connection.

use bedside_igtl::image::Picture;
use bedside_igtl::message::{Envelope, IMAGE, STRING, text};
use bedside_igtl::{ErrorKind, Inbox};

use crate::{bounded, one_line};

/// Most bytes that are allocated for an input of at most 64 KiB, whatever lengths it tells of: its
/// messages, twice that as room grows, and what is written of them.
const MOST: u64 = 1 << 20;

/// The bytes as a stream of messages. A picture that is read is written and read again, the same.
pub fn igtl(data: &[u8]) {
    bounded(MOST, || {
        let (mut inbox, mut stream) = (Inbox::default(), data);
        loop {
            let (header, content) = match inbox.receive(&mut stream) {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => {
                    one_line(&error);
                    if error.kind() == ErrorKind::Lost {
                        break;
                    }
                    continue;
                }
            };
            match header.kind {
                IMAGE => match Picture::parse(content) {
                    Ok(picture) => again(&picture),
                    Err(error) => one_line(&error),
                },
                STRING => {
                    let _ = text(content).map_err(|error| one_line(&error));
                }
                _ => assert!(content.is_empty(), "another message was kept"),
            }
        }
    });
}

fn again(picture: &Picture<'_>) {
    assert_eq!(
        picture.format.byte_len(picture.width, picture.height),
        picture.pixels.len()
    );
    for version in [1, 2] {
        let envelope = Envelope {
            version,
            device: "a name longer than there is room for",
            timestamp: 0,
            metadata: &[("key", "välue")],
        };
        let mut out = Vec::new();
        picture.write(&envelope, &mut out);
        let (mut inbox, mut stream) = (Inbox::default(), &out[..]);
        let received = inbox.receive(&mut stream).expect("a sound message");
        let (_, content) = received.expect("a whole message");
        assert_eq!(Picture::parse(content).as_ref(), Ok(picture));
    }
}
