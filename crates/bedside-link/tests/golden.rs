//! The bytes of `docs/spec/link.md`.

use std::collections::BTreeMap;

use bedside_link::{
    Action, Beat, Change, Controls, Decoder, Faults, Hello, Input, MAX_FRAME, Packet, Report, Role,
    Signal, State, Version, encode,
};

const SPEC: &str = include_str!("../../../docs/spec/link.md");

fn hello(role: Role) -> Packet {
    Packet::Hello(Hello {
        role,
        oldest: 1,
        newest: 1,
        session: 300,
        software: Version {
            major: 0,
            minor: 12,
            patch: 345,
        },
    })
}

fn host(number: u16, state: State, brightness: u8, self_test: u8, received: u16) -> Packet {
    Packet::Host(Beat {
        session: 300,
        number,
        body: Controls {
            signal: Signal {
                state,
                brightness,
                sound: self_test != 0,
            },
            self_test,
            received,
        },
    })
}

fn device(number: u16, faults: Faults, changes: &[(Input, Action, u16)]) -> Packet {
    let change = |(input, action, age_ms): &(Input, Action, u16)| Change {
        input: *input,
        action: *action,
        age_ms: *age_ms,
    };
    Packet::Device(Beat {
        session: 300,
        number,
        body: Report {
            faults,
            self_test: 2,
            found: Faults::HELD,
            first: 4,
            changes: changes.iter().map(change).collect(),
        },
    })
}

/// One of each packet, and each number of an enum.
fn packets() -> Vec<(&'static str, Packet)> {
    use Action::{LongPress, Press, Release};
    use Input::{Freeze, Pedal, SecondPedal};
    let all = Faults::INPUT | Faults::LAMP | Faults::BUZZER | Faults::OVERFLOW | Faults::WATCHDOG;
    vec![
        ("hello of a host", hello(Role::Host)),
        ("hello of a device", hello(Role::Device)),
        ("starting", host(0, State::Starting, 255, 0, 0)),
        ("active", host(1, State::Active, 128, 0, 4)),
        ("degraded", host(127, State::Degraded, 0, 0, 5)),
        ("paused", host(128, State::Paused, 1, 1, 6)),
        ("stalled", host(16_383, State::Stalled, 200, 2, 16_384)),
        ("fault", host(65_535, State::Fault, 255, 255, 65_535)),
        ("nothing new", device(0, Faults::default(), &[])),
        ("pressed", device(1, Faults::LAMP, &[(Pedal, Press, 20)])),
        (
            "pressed, held, released",
            device(
                2,
                all,
                &[
                    (SecondPedal, Press, 65_535),
                    (Freeze, LongPress, 128),
                    (Pedal, Release, 0),
                ],
            ),
        ),
    ]
}

fn hex(bytes: &[u8]) -> String {
    let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(" ")
}

/// Rows of two cells, of which the second is in backticks.
fn rows() -> BTreeMap<&'static str, &'static str> {
    let rows = SPEC.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("| ")?.split_once(" | `")?;
        Some((name, rest.strip_suffix("` |")?))
    });
    rows.collect()
}

#[test]
fn the_bytes_of_the_specification_are_these() {
    let rows = rows();
    let packets = packets();
    assert_eq!(rows.len(), packets.len(), "{:?}", rows.keys());
    for (name, packet) in packets {
        let expected = rows.get(name).copied().unwrap_or_default();
        let frame = encode(&packet);
        assert_eq!(hex(&frame), expected, "{name}");
        // What goes in one direction is said by one end alone, so each end is tested by reading.
        let mut decoder = Decoder::default();
        let bytes = expected.split(' ');
        let read: Vec<_> = bytes
            .filter_map(|byte| decoder.push(u8::from_str_radix(byte, 16).unwrap()))
            .collect();
        assert_eq!(read, [packet], "{name}");
    }
}

#[test]
fn the_longest_packets_fit() {
    let longest = Change {
        input: Input::Freeze,
        action: Action::Release,
        age_ms: u16::MAX,
    };
    let report = Packet::Device(Beat {
        session: u16::MAX,
        number: u16::MAX,
        body: Report {
            faults: Faults(255),
            self_test: 255,
            found: Faults(255),
            first: u16::MAX,
            changes: [longest; 8].into_iter().collect(),
        },
    });
    assert_eq!(encode(&report).len(), 60);
    const { assert!(MAX_FRAME >= 60) };
    let hello = Packet::Hello(Hello {
        role: Role::Device,
        oldest: 255,
        newest: 255,
        session: u16::MAX,
        software: Version {
            major: u16::MAX,
            minor: u16::MAX,
            patch: u16::MAX,
        },
    });
    assert_eq!(encode(&hello).len(), 22);
}
