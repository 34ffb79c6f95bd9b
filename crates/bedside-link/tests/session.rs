//! Sessions: how they begin, whom they refuse, how they end, and what comes through meanwhile.

use bedside_link::{
    Action, Beat, Controls, Decoder, Device, Event, Faults, Hello, Host, Input, Packet, Refusal,
    Report, Role, SILENCE_MS, Signal, State, Version, encode,
};

use crate::rig::{ACTIVE, FIRMWARE, HOST, Line};

fn hello(role: Role, oldest: u8, newest: u8, session: u16) -> Vec<u8> {
    let hello = Hello {
        role,
        oldest,
        newest,
        session,
        software: FIRMWARE,
    };
    encode(&Packet::Hello(hello)).to_vec()
}

fn input(input: Input, action: Action, age_ms: u16) -> Event {
    Event::Input {
        input,
        action,
        age_ms,
    }
}

fn linked() -> Event {
    Event::Linked {
        protocol: 1,
        firmware: FIRMWARE,
    }
}

/// What a host says of these bytes.
fn said(host: &mut Host, bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    host.receive(bytes, 0, |event| events.push(event));
    events
}

fn packets(frames: &[(&'static str, bedside_link::Frame)], by: &str) -> Vec<Packet> {
    let mut decoder = Decoder::default();
    let frames = frames.iter().filter(|(who, _)| *who == by);
    frames
        .flat_map(|(_, frame)| frame.iter().copied())
        .filter_map(|byte| decoder.push(byte))
        .collect()
}

#[test]
fn a_session_begins_at_once_and_carries_what_is_to_be_shown() {
    let mut line = Line::new();
    assert_eq!(line.device.signal(), Signal::default());
    line.run(2);
    assert_eq!(line.told(), [linked()]);
    assert_eq!(line.device.signal(), ACTIVE);

    let paused = Signal {
        state: State::Paused,
        brightness: 3,
        sound: false,
    };
    line.host.show(paused);
    line.run(1);
    assert_eq!(line.device.signal(), paused);
}

#[test]
fn an_idle_line_carries_a_heartbeat_each_50_ms_in_both_directions() {
    let mut line = Line::linked();
    line.sent.clear();
    line.run(1000);
    for who in ["host", "device"] {
        assert_eq!(packets(&line.sent, who).len(), 20, "{who}");
    }
    assert_eq!(line.told(), []);
    let counts = line.host.counts();
    assert_eq!((counts.missed, counts.damaged), (0, 0));
    assert!(counts.received >= 20);
}

#[test]
fn the_time_of_the_next_poll_is_when_there_is_something_to_do() {
    let mut host = Host::new(HOST, 7);
    let mut now = 0;
    let mut events = Vec::new();
    assert!(host.poll(now, |event| events.push(event)).is_some());
    let answer = hello(Role::Device, 1, 1, 7);
    host.receive(&answer, now, |event| events.push(event));
    while now < SILENCE_MS {
        let next = host.next_poll();
        assert!(host.poll(next, |event| events.push(event)).is_some());
        assert_eq!(events.contains(&Event::Lost), next >= SILENCE_MS);
        assert!(host.next_poll() > next);
        now = next;
    }
    assert_eq!(now, SILENCE_MS);
}

#[test]
fn a_device_of_another_protocol_is_refused_with_the_reason() {
    let mut host = Host::new(HOST, 7);
    let newer = Refusal::Protocol {
        oldest: 2,
        newest: 3,
    };
    let answer = hello(Role::Device, 2, 3, 7);
    assert_eq!(said(&mut host, &answer), [Event::Refused(newer)]);
    assert_eq!(said(&mut host, &answer), [], "told once");
    assert!(!host.linked());
    let text = newer.to_string();
    assert!(text.contains("2 to 3") && text.contains("1 to 1"), "{text}");
    assert!(text.ends_with("hint: update this program"), "{text}");

    // A range upside down, and one of before the first.
    for (oldest, newest) in [(2, 1), (0, 0)] {
        let refusal = Refusal::Protocol { oldest, newest };
        let answer = hello(Role::Device, oldest, newest, 7);
        assert_eq!(said(&mut host, &answer), [Event::Refused(refusal)]);
    }

    // It goes on asking, and takes a device that was updated.
    let mut device = Device::new(FIRMWARE, 0);
    device.receive(&host.poll(100, |_| ()).unwrap(), 100);
    let answer = device.poll(100).unwrap();
    assert_eq!(said(&mut host, &answer), [linked()]);
}

#[test]
fn of_several_common_versions_the_newest_is_spoken() {
    let mut host = Host::new(HOST, 7);
    assert_eq!(
        said(&mut host, &hello(Role::Device, 0, 9, 7)),
        [Event::Linked {
            protocol: 1,
            firmware: FIRMWARE
        }]
    );
}

#[test]
fn a_device_answers_a_host_of_another_protocol_and_obeys_it_in_nothing() {
    let mut line = Line::linked();
    line.host = Host::new(HOST, 99);
    line.device.receive(&hello(Role::Host, 2, 2, 8), line.now);
    let answer = line.device.poll(line.now).unwrap();
    let mut decoder = Decoder::default();
    let answer = answer.iter().find_map(|byte| decoder.push(*byte));
    assert_eq!(
        answer,
        Some(Packet::Hello(Hello {
            role: Role::Device,
            oldest: 1,
            newest: 1,
            session: 8,
            software: FIRMWARE,
        }))
    );
    let beat = Beat {
        session: 8,
        number: 0,
        body: Controls::default(),
    };
    line.device.receive(&encode(&Packet::Host(beat)), line.now);
    assert!(!line.device.linked());
    assert_eq!(line.device.poll(line.now + SILENCE_MS), None);
    assert_eq!(line.device.signal().state, State::Fault);
}

#[test]
fn a_line_that_leads_back_and_a_second_host_are_refused() {
    for other in [7, 1234] {
        let mut host = Host::new(HOST, 7);
        let mut second = Host::new(HOST, other);
        let frame = second.poll(0, |_| ()).unwrap();
        assert_eq!(
            said(&mut host, &frame),
            [Event::Refused(Refusal::Role)],
            "{other}"
        );
    }
    assert!(Refusal::Role.to_string().contains("hint: "));

    // Nor does a device answer devices.
    let mut device = Device::new(FIRMWARE, 0);
    device.receive(&hello(Role::Device, 1, 1, 7), 0);
    assert_eq!(device.poll(0), None);
}

#[test]
fn answers_and_heartbeats_of_other_sessions_are_void() {
    let mut host = Host::new(HOST, 7);
    assert_eq!(said(&mut host, &hello(Role::Device, 1, 1, 6)), []);
    assert!(!host.linked());
    assert_eq!(said(&mut host, &hello(Role::Device, 1, 1, 7)), [linked()]);
    let mut report = Beat {
        session: 6,
        number: 0,
        body: Report {
            faults: Faults::LAMP,
            ..Report::default()
        },
    };
    assert_eq!(
        said(&mut host, &encode(&Packet::Device(report.clone()))),
        []
    );
    report.session = 7;
    assert_eq!(
        said(&mut host, &encode(&Packet::Device(report))),
        [Event::Faults(Faults::LAMP)]
    );
}

#[test]
fn silence_of_500_ms_ends_the_session_at_both_ends_and_shows_as_a_fault() {
    for (down, up) in [(false, false), (true, false), (false, true)] {
        let mut line = Line::linked();
        line.run(40);
        (line.down, line.up) = (down, up);
        let cut = line.now;
        // The last heartbeats were heard up to 50 ms before.
        line.run(SILENCE_MS - 51);
        assert_eq!(line.told(), [], "{down} {up}");
        assert_eq!(line.device.signal(), ACTIVE);
        line.run(52);
        if !up {
            let (at, event) = line.events.remove(0);
            assert_eq!(event, Event::Lost, "{down} {up}");
            assert!(at <= cut + SILENCE_MS);
        }
        if !down {
            assert_eq!(line.device.signal().state, State::Fault, "{down} {up}");
        }
        // One end has fallen silent, so the other follows.
        line.run(SILENCE_MS);
        assert!(!line.host.linked() && !line.device.linked());
        assert_eq!(line.device.signal().state, State::Fault, "{down} {up}");

        (line.down, line.up) = (true, true);
        line.told();
        line.run(102);
        assert_eq!(line.told(), [linked()], "{down} {up}");
        assert_eq!(line.device.signal(), ACTIVE);
    }
}

#[test]
fn a_device_that_hears_of_no_host_from_the_start_shows_a_fault_in_silence() {
    let mut device = Device::new(FIRMWARE, 1_000_000);
    assert_eq!(device.poll(1_000_499), None);
    assert_eq!(device.signal().state, State::Starting);
    assert_eq!(device.poll(1_000_500), None);
    assert_eq!(device.signal().state, State::Fault);
    assert!(!device.signal().sound);
}

#[test]
fn what_is_pressed_without_a_session_is_told_neither_then_nor_later() {
    let mut line = Line::linked();
    (line.down, line.up) = (false, false);
    line.device.push(Input::Pedal, Action::Press, line.now);
    line.run(SILENCE_MS + 60);
    line.device.push(Input::Pedal, Action::Release, line.now);
    (line.down, line.up) = (true, true);
    line.run(200);
    assert_eq!(line.told(), [Event::Lost, linked()]);
    line.device.push(Input::Freeze, Action::Press, line.now);
    line.run(2);
    assert_eq!(line.told(), [input(Input::Freeze, Action::Press, 1)]);
}

#[test]
fn a_press_is_repeated_with_its_age_until_it_has_come_and_told_once() {
    let mut line = Line::linked();
    line.up = false;
    line.device
        .push(Input::SecondPedal, Action::Press, line.now);
    line.run(120);
    line.device
        .push(Input::SecondPedal, Action::Release, line.now);
    line.run(60);
    assert_eq!(line.told(), []);
    // It comes, but the host's word that it came does not.
    (line.down, line.up) = (false, true);
    line.sent.clear();
    line.run(100);
    let events = line.told();
    let [
        Event::Input { age_ms: first, .. },
        Event::Input { age_ms: second, .. },
    ] = events[..]
    else {
        panic!("{events:?}");
    };
    assert!((180..=230).contains(&first), "{first}");
    assert_eq!(first - second, 120);
    let press = |age| input(Input::SecondPedal, Action::Press, age);
    let release = |age| input(Input::SecondPedal, Action::Release, age);
    assert_eq!(events, [press(first), release(second)]);
    let repeats = packets(&line.sent, "device")
        .into_iter()
        .filter(|packet| matches!(packet, Packet::Device(beat) if beat.body.changes.len() == 2));
    assert!(repeats.count() >= 2);

    line.down = true;
    line.run(60);
    line.sent.clear();
    line.run(60);
    assert_eq!(line.told(), []);
    for packet in packets(&line.sent, "device") {
        let Packet::Device(beat) = packet else {
            panic!("{packet:?}");
        };
        assert_eq!((beat.body.first, beat.body.changes.len()), (2, 0));
    }
}

#[test]
fn a_frame_that_comes_twice_or_late_says_nothing_again() {
    let mut line = Line::linked();
    line.sent.clear();
    line.up = false;
    line.device.push(Input::Pedal, Action::Press, line.now);
    line.run(2);
    line.device.push(Input::Pedal, Action::Release, line.now);
    line.run(2);
    let frames: Vec<_> = line.sent.iter().filter(|sent| sent.0 == "device").collect();
    let [(_, press), (_, release)] = frames[..] else {
        panic!("{frames:?}");
    };
    let once = [
        input(Input::Pedal, Action::Press, 3),
        input(Input::Pedal, Action::Release, 1),
    ];
    assert_eq!(said(&mut line.host, release), once);
    assert_eq!(said(&mut line.host, press), []);
    assert_eq!(said(&mut line.host, release), []);
}

#[test]
fn more_changes_than_there_is_room_for_are_a_fault() {
    let mut line = Line::linked();
    for _ in 0..9 {
        line.device.push(Input::Pedal, Action::Press, line.now);
    }
    line.run(1);
    let events = line.told();
    let (fault, presses) = events.split_last().unwrap();
    assert_eq!(fault, &Event::Faults(Faults::OVERFLOW));
    assert_eq!(presses, [input(Input::Pedal, Action::Press, 1); 8]);
    // There is room again, and in the next session nothing is wrong.
    line.run(60);
    line.device.push(Input::Pedal, Action::Release, line.now);
    line.run(1);
    assert_eq!(line.told(), [input(Input::Pedal, Action::Release, 1)]);
    line.host = Host::new(HOST, 4000);
    line.run(60);
    assert_eq!(line.told(), [linked()]);
}

#[test]
fn a_host_that_is_started_anew_takes_over_and_hears_nothing_of_before() {
    for session in [7, 8, 40_000] {
        let mut line = Line::linked();
        line.run(3000);
        line.up = false;
        line.device.push(Input::Pedal, Action::Press, line.now);
        line.run(1);
        line.up = true;
        let mut host = Host::new(HOST, session);
        host.show(ACTIVE);
        line.host = host;
        line.run(200);
        assert_eq!(line.told(), [linked()], "{session}");
        assert!(line.host.linked() && line.device.linked());
        line.device.push(Input::Pedal, Action::Release, line.now);
        line.run(2);
        assert_eq!(line.told(), [input(Input::Pedal, Action::Release, 1)]);
    }
}

#[test]
fn a_hello_that_comes_late_ends_the_session_and_nothing_is_told_twice() {
    for session in [6, 7] {
        let mut line = Line::linked();
        line.device.push(Input::Pedal, Action::Press, line.now);
        line.run(300);
        assert_eq!(line.told(), [input(Input::Pedal, Action::Press, 1)]);
        line.device
            .receive(&hello(Role::Host, 1, 1, session), line.now);
        line.run(SILENCE_MS + 60);
        assert_eq!(line.told(), [Event::Lost, linked()], "{session}");
        assert!(line.host.linked() && line.device.linked());
    }
}

#[test]
fn a_device_that_is_started_anew_is_lost_and_found() {
    let mut line = Line::linked();
    let newer = Version {
        major: 2,
        minor: 0,
        patch: 0,
    };
    line.device = Device::new(newer, line.now);
    line.run(SILENCE_MS + 60);
    let found = Event::Linked {
        protocol: 1,
        firmware: newer,
    };
    assert_eq!(line.told(), [Event::Lost, found]);
    assert_eq!(line.device.signal(), ACTIVE);
}

#[test]
fn faults_are_told_as_they_come_and_go() {
    let mut line = Line::linked();
    line.device.set_faults(Faults::INPUT | Faults::LAMP, true);
    line.run(1);
    line.device.set_faults(Faults::INPUT, false);
    line.run(1);
    line.device.set_faults(Faults::LAMP, false);
    line.run(60);
    assert_eq!(
        line.told(),
        [
            Faults::INPUT | Faults::LAMP,
            Faults::LAMP,
            Faults::default()
        ]
        .map(Event::Faults)
    );
}

#[test]
fn a_self_test_is_asked_for_and_told_of_once_even_where_the_line_is_lost() {
    let mut line = Line::linked();
    assert_eq!(line.device.self_test(), None);
    line.host.self_test();
    line.run(60);
    let number = line.device.self_test().unwrap();
    assert_eq!(line.told(), []);
    line.device.end_self_test(number, Faults::HELD);
    line.run(200);
    assert_eq!(line.told(), [Event::SelfTest(Faults::HELD)]);
    assert_eq!(line.device.self_test(), None);

    line.host.self_test();
    line.run(60);
    assert!(line.device.self_test().is_some());
    line.down = false;
    line.run(1100);
    assert_eq!(line.told(), [Event::Lost]);
    assert_eq!(line.device.self_test(), None, "nobody waits for it");
    line.down = true;
    line.run(110);
    let number = line.device.self_test().unwrap();
    line.device.end_self_test(number, Faults::default());
    line.run(60);
    assert_eq!(line.told(), [linked(), Event::SelfTest(Faults::default())]);

    // A host that asked for none gets none.
    line.host = Host::new(HOST, 500);
    line.run(200);
    assert_eq!(line.told(), [linked()]);
    assert_eq!(line.device.self_test(), None);
    // Zero is no number of a test.
    for _ in 0..300 {
        line.host.self_test();
        line.run(1);
        let number = line.device.self_test().unwrap();
        line.device.end_self_test(number, Faults::default());
        line.run(1);
        assert_eq!(line.told(), [Event::SelfTest(Faults::default())]);
    }
}
