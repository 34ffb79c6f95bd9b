//! The line to the microcontroller.

use bedside_link::{Decoder, Device, Host, Packet, SILENCE_MS, State, Version, encode};

use crate::bounded;

const VERSION: Version = Version {
    major: 0,
    minor: 1,
    patch: 0,
};

/// CRC-32C, bit by bit.
fn sum(bytes: &[u8]) -> u32 {
    let step = |sum: u32| (sum >> 1) ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum))
    })
}

/// A sound frame of any content, up to one more byte than a frame has room for.
fn frame(content: &[u8]) -> Vec<u8> {
    let content = &content[..content.len().min(59)];
    let plain = [content, &sum(content).to_le_bytes()].concat();
    let runs = plain.split(|byte| *byte == 0);
    let mut frame: Vec<u8> = runs
        .flat_map(|run| [&[run.len() as u8 + 1], run].concat())
        .collect();
    frame.push(0);
    frame
}

/// Bytes as they come over the line, and then, line by line, as what is in sound frames: to a host
/// and a device that have a session, number 7, as long as these let them.
pub fn link(data: &[u8]) {
    let frames = data.split(|byte| *byte == b'\n').map(frame);
    let pieces: Vec<_> = [data.to_vec()].into_iter().chain(frames).collect();
    // Nothing is allocated, whatever comes.
    bounded(0, || {
        let (mut host, mut device) = (Host::new(VERSION, 7), Device::new(VERSION, 0));
        let mut decoder = Decoder::default();
        let mut now = 0;
        for piece in &pieces {
            now += 5;
            if let Some(frame) = host.poll(now, |_| ()) {
                device.receive(&frame, now);
            }
            if let Some(frame) = device.poll(now) {
                host.receive(&frame, now, |_| ());
            }
            device.receive(piece, now);
            host.receive(piece, now, |_| ());
            for packet in piece.iter().filter_map(|byte| decoder.push(*byte)) {
                let mut again = Decoder::default();
                let frame = encode(&packet);
                let read = frame.iter().find_map(|byte| again.push(*byte));
                assert_eq!(read, Some(packet), "another one when written and read");
            }
        }
        let mut beat = None;
        // The first may lack a delimiter before it.
        for _ in 0..2 {
            let frame = Host::new(VERSION, 7).poll(0, |_| ());
            let frame = frame.expect("a host without a session asks for one");
            beat = frame.iter().find_map(|byte| decoder.push(*byte));
        }
        assert!(matches!(beat, Some(Packet::Hello(_))), "{beat:?}");
        let later = now + SILENCE_MS;
        device.poll(later);
        host.poll(later, |_| ());
        assert_eq!(device.signal().state, State::Fault);
        assert!(!device.linked() && !host.linked());
    });
}
