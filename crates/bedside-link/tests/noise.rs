//! A line that changes, loses and repeats bytes and frames.

use bedside_link::{
    Action, Beat, Controls, Decoder, Device, Event, Frame, Host, Input, Packet, encode,
};

use crate::rig::{ACTIVE, FIRMWARE, HOST, Random};

/// Frames, and presses of pedals, that each test sends.
const MESSAGES: u64 = 100_000;

/// How bad a line is: of 10,000.
#[derive(Clone, Copy)]
struct Quality {
    changed_bytes: u64,
    lost_bytes: u64,
    lost_frames: u64,
    repeated_frames: u64,
}

/// What is asked for.
const BAD: Quality = Quality {
    changed_bytes: 100,
    lost_bytes: 10,
    lost_frames: 100,
    repeated_frames: 100,
};
/// Worse by far.
const AWFUL: Quality = Quality {
    changed_bytes: 500,
    lost_bytes: 50,
    lost_frames: 500,
    repeated_frames: 300,
};

struct Wire {
    quality: Quality,
    random: Random,
    /// A frame of before, to come again once.
    old: Frame,
}

impl Wire {
    fn new(quality: Quality, seed: u64) -> Self {
        Self {
            quality,
            random: Random::new(seed),
            old: Frame::new(),
        }
    }

    /// What comes of a frame.
    fn carry(&mut self, frame: &Frame) -> Vec<u8> {
        let (quality, random) = (self.quality, &mut self.random);
        let mut out = Vec::new();
        if !random.chance(quality.lost_frames) {
            for byte in frame {
                if random.chance(quality.changed_bytes) {
                    out.push(random.below(256) as u8);
                } else if !random.chance(quality.lost_bytes) {
                    out.push(*byte);
                }
            }
        }
        if random.chance(quality.repeated_frames) {
            out.extend_from_slice(&std::mem::take(&mut self.old));
        }
        if random.chance(500) {
            self.old = frame.clone();
        }
        out
    }
}

#[test]
fn what_comes_was_sent_and_the_second_frame_behind_any_damage_is_read() {
    for (quality, seed) in [(BAD, 1), (BAD, 2), (AWFUL, 3)] {
        // Repeats are the sessions' matter.
        let quality = Quality {
            repeated_frames: 0,
            ..quality
        };
        let mut wire = Wire::new(quality, seed);
        let mut decoder = Decoder::default();
        let mut sent = Vec::new();
        let (mut next, mut ended, mut read) = (0, true, 0);
        for at in 0..MESSAGES {
            let mut body = Controls {
                received: wire.random.below(1 << 16) as u16,
                ..Controls::default()
            };
            body.signal.brightness = wire.random.below(256) as u8;
            sent.push(Packet::Host(Beat {
                session: (at >> 16) as u16,
                number: at as u16,
                body,
            }));
            let frame = encode(&sent[at as usize]);
            let came = wire.carry(&frame);
            let mut last = None;
            for packet in came.iter().filter_map(|byte| decoder.push(*byte)) {
                let Packet::Host(beat) = &packet else {
                    panic!("{packet:?}");
                };
                let number = usize::from(beat.session) << 16 | usize::from(beat.number);
                assert_eq!(sent[number], packet);
                assert!(number >= next, "once and in order");
                next = number + 1;
                read += 1;
                last = Some(number as u64);
            }
            // A whole frame is read, unless what came before it had no end. It has one itself.
            if ended && came == frame[..] {
                assert_eq!(last, Some(at));
            }
            ended = came.last().map_or(ended, |byte| *byte == 0);
        }
        let least = if quality.changed_bytes == BAD.changed_bytes {
            75
        } else {
            30
        };
        assert!(read * 100 > MESSAGES * least, "{read} of {MESSAGES}");
    }
}

/// Press pedals on such a line; how many presses came, of how many while there was a session, and
/// how often it was lost.
fn press(quality: Quality, seed: u64) -> (usize, usize, usize) {
    let mut host = Host::new(HOST, 65_530);
    host.show(ACTIVE);
    let mut device = Device::new(FIRMWARE, 0);
    let (mut down, mut up) = (Wire::new(quality, seed), Wire::new(quality, seed + 1));
    let mut random = Random::new(seed + 2);
    // What was pressed and when, and the first of these that may come next.
    let mut pressed: Vec<(u64, Input, Action)> = Vec::new();
    let (mut next, mut came, mut lost) = (0, 0, 0);
    for now in (0..MESSAGES * 1000).step_by(5) {
        if pressed.len() as u64 == MESSAGES {
            break;
        }
        // Eight of them take longer than both ends need to notice silence: there is always room.
        if now % 130 == 0 && device.linked() {
            let input = [Input::Pedal, Input::SecondPedal, Input::Freeze][random.below(3) as usize];
            let action = [Action::Press, Action::LongPress, Action::Release];
            let action = action[random.below(3) as usize];
            device.push(input, action, now);
            pressed.push((now, input, action));
        }
        let mut events = Vec::new();
        if let Some(frame) = host.poll(now, |event| events.push(event)) {
            device.receive(&down.carry(&frame), now);
        }
        if let Some(frame) = device.poll(now) {
            host.receive(&up.carry(&frame), now, |event| events.push(event));
        }
        for event in events {
            match event {
                Event::Input {
                    input,
                    action,
                    age_ms,
                } => {
                    let (at, ..) = pressed[next];
                    assert_eq!(pressed[next], (at, input, action), "the next one, once");
                    // Later where its frame came late.
                    assert!(at <= now - u64::from(age_ms));
                    next += 1;
                    came += 1;
                }
                Event::Lost => lost += 1,
                // What was pressed before belongs to the session before.
                Event::Linked { .. } => next = pressed.len(),
                other => panic!("{other:?}"),
            }
        }
    }
    (came, pressed.len(), lost)
}

#[test]
fn presses_come_once_and_in_order_over_a_bad_line() {
    for seed in [10, 20, 30] {
        let (came, pressed, lost) = press(BAD, seed);
        // Over hours, ten heartbeats in a row may be damaged once.
        assert!(lost <= 1, "{lost}");
        // But for those that the end of a session or of the test cuts off.
        assert!(came + 8 * (1 + lost) >= pressed, "{came} of {pressed}");
    }
}

#[test]
fn presses_come_once_and_in_order_over_a_line_that_is_lost_again_and_again() {
    let (came, pressed, lost) = press(AWFUL, 40);
    assert!(lost > 10, "{lost}");
    assert!(came * 100 > pressed * 70, "{came} of {pressed}");
}
