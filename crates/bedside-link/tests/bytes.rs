//! Any bytes at all.

use bedside_link::{
    Action, Beat, Change, Controls, Decoder, Device, Faults, Hello, Host, Input, MAX_FRAME, Packet,
    Report, Role, Signal, State, Version, encode,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::rig::{FIRMWARE, HOST, Line};

fn version() -> impl Strategy<Value = Version> {
    any::<(u16, u16, u16)>().prop_map(|(major, minor, patch)| Version {
        major,
        minor,
        patch,
    })
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![
        Just(State::Starting),
        Just(State::Active),
        Just(State::Degraded),
        Just(State::Paused),
        Just(State::Stalled),
        Just(State::Fault),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let input = prop_oneof![
        Just(Input::Pedal),
        Just(Input::SecondPedal),
        Just(Input::Freeze)
    ];
    let action = prop_oneof![
        Just(Action::Press),
        Just(Action::LongPress),
        Just(Action::Release)
    ];
    (input, action, any::<u16>()).prop_map(|(input, action, age_ms)| Change {
        input,
        action,
        age_ms,
    })
}

fn packet() -> impl Strategy<Value = Packet> {
    let role = prop_oneof![Just(Role::Host), Just(Role::Device)];
    let hello = (role, any::<(u8, u8, u16)>(), version()).prop_map(
        |(role, (oldest, newest, session), software)| {
            Packet::Hello(Hello {
                role,
                oldest,
                newest,
                session,
                software,
            })
        },
    );
    let host = (any::<(u16, u16, u16, u8, u8, bool)>(), state()).prop_map(
        |((session, number, received, self_test, brightness, sound), state)| {
            let signal = Signal {
                state,
                brightness,
                sound,
            };
            Packet::Host(Beat {
                session,
                number,
                body: Controls {
                    signal,
                    self_test,
                    received,
                },
            })
        },
    );
    let device = (any::<(u16, u16, u16, u8, u8, u8)>(), vec(change(), 0..=8)).prop_map(
        |((session, number, first, faults, self_test, found), changes)| {
            Packet::Device(Beat {
                session,
                number,
                body: Report {
                    faults: Faults(faults),
                    self_test,
                    found: Faults(found),
                    first,
                    changes: changes.into_iter().collect(),
                },
            })
        },
    );
    prop_oneof![hello, host, device]
}

fn decoded(decoder: &mut Decoder, bytes: &[u8]) -> Vec<Packet> {
    bytes
        .iter()
        .filter_map(|byte| decoder.push(*byte))
        .collect()
}

/// Bytes that look like frames more often than random ones do.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let frame = || packet().prop_map(|packet| encode(&packet).to_vec());
    let cut = (frame(), any::<proptest::sample::Index>()).prop_map(|(mut frame, at)| {
        frame.truncate(at.index(frame.len()));
        frame
    });
    let noise = prop_oneof![vec(any::<u8>(), 0..200), vec(0..3u8, 0..20)];
    vec(prop_oneof![frame(), cut, noise], 0..6).prop_map(|pieces| pieces.concat())
}

/// A frame of any content, sound or not.
fn framed(content: &[u8]) -> Vec<u8> {
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(content);
    let plain = [content, &sum.to_le_bytes()].concat();
    let mut frame = vec![0; plain.len() + 2];
    cobs::encode(&plain, &mut frame);
    frame
}

#[test]
fn a_sound_frame_of_no_packet_is_refused_and_counted() {
    let nothing_new = [2, 7, 0, 0, 0, 0, 0, 0];
    let mut decoder = Decoder::default();
    assert_eq!(decoded(&mut decoder, &framed(&nothing_new)).len(), 1);
    let refused: [&[u8]; 8] = [
        b"",
        // No such packet, state, role, bool.
        &[3],
        &[1, 7, 0, 6, 255, 0, 0, 0],
        &[0, 2, 1, 1, 7, 0, 1, 0],
        &[1, 7, 0, 1, 255, 2, 0, 0],
        // More changes than there is room for, fewer than are told, and bytes behind them.
        &[&nothing_new[..7], &[9], &[0; 27]].concat(),
        &[2, 7, 0, 0, 0, 0, 0, 1, 0],
        &[&nothing_new[..], &[0]].concat(),
    ];
    for (at, content) in refused.iter().enumerate() {
        assert_eq!(decoded(&mut decoder, &framed(content)), [], "{at}");
        assert_eq!(decoder.damaged(), at as u32 + 1);
    }
    // Too long; and delimiters alone, which are no frames.
    assert_eq!(decoded(&mut decoder, &[&[1; 64][..], &[0]].concat()), []);
    assert_eq!(decoder.damaged(), 9);
    assert_eq!(decoded(&mut decoder, &[0; 9]), []);
    assert_eq!(decoder.damaged(), 9);
    assert_eq!(decoded(&mut decoder, &framed(&nothing_new)).len(), 1);
}

proptest! {
    #[test]
    fn every_packet_fits_its_frame_and_comes_back(packet in packet()) {
        let frame = encode(&packet);
        prop_assert!(frame.len() >= 8 && frame.len() <= MAX_FRAME);
        prop_assert_eq!(frame.iter().position(|byte| *byte == 0), Some(frame.len() - 1));
        prop_assert_eq!(decoded(&mut Decoder::default(), &frame), [packet]);
    }

    #[test]
    fn behind_any_bytes_the_second_frame_is_read(noise in bytes(), packet in packet()) {
        let mut decoder = Decoder::default();
        decoded(&mut decoder, &noise);
        let frame = encode(&packet);
        let first = decoded(&mut decoder, &frame);
        // The noise may have had no end: then it takes the first frame with it.
        prop_assert!(first.is_empty() || first == [packet.clone()]);
        prop_assert_eq!(decoded(&mut decoder, &frame), [packet]);
    }

    #[test]
    fn a_changed_byte_costs_its_frame(packet in packet(), at: proptest::sample::Index, flip in 1..=255u8) {
        let mut frame = encode(&packet);
        let at = at.index(frame.len());
        frame[at] ^= flip;
        let mut decoder = Decoder::default();
        prop_assert_eq!(decoded(&mut decoder, &frame), []);
        prop_assert_eq!(decoded(&mut decoder, &[0]), []);
        prop_assert!(decoder.damaged() >= 1);
    }

    #[test]
    fn both_ends_take_any_bytes_in_any_pieces(bytes in bytes(), piece in 1..40usize) {
        let mut whole = Host::new(HOST, 7);
        let mut pieces = Host::new(HOST, 7);
        let mut device = Device::new(FIRMWARE, 0);
        let (mut once, mut piecewise) = (Vec::new(), Vec::new());
        whole.receive(&bytes, 9, |event| once.push(event));
        for piece in bytes.chunks(piece) {
            pieces.receive(piece, 9, |event| piecewise.push(event));
            device.receive(piece, 9);
            device.poll(9);
        }
        prop_assert_eq!(once, piecewise);
        prop_assert_eq!(whole.counts(), pieces.counts());
    }

    #[test]
    fn a_session_outlives_any_bytes_that_are_no_frames(noise in vec(any::<u8>(), 0..300)) {
        let mut line = Line::linked();
        let now = line.now;
        line.device.receive(&noise, now);
        line.host.receive(&noise, now, |event| panic!("{event:?}"));
        line.run(120);
        prop_assert!(line.host.linked() && line.device.linked());
        prop_assert_eq!(line.told(), []);
    }
}
