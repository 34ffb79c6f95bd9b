//! The result log: what is appended is there again, whatever happens to the file or the process.

use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bedside::BoundingBox;
use bedside_live::record::{Counts, FrameRecord, MaskRecord, Name, SessionRecord};
use bedside_live::{Contents, ErrorKind, Log, Reader, Record};
use proptest::prelude::*;

const HEADER: usize = 16;

fn text() -> impl Strategy<Value = Name> {
    "[a-z ]{0,12}".prop_map(|text| text.as_str().into())
}

fn mask() -> impl Strategy<Value = MaskRecord> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
    let shares = (0.0_f32..=1.0, 0.0_f32..=1.0);
    let place = proptest::option::of(any::<[u32; 4]>());
    (text(), numbers, shares, place).prop_map(
        |(prompt, (made_for, age_us, area), shares, place)| MaskRecord {
            prompt,
            made_for,
            age_us,
            confidence: shares.0,
            presence: shares.1,
            area,
            validity: place.map(|[x, ..]| f32::from(x as u16)),
            bounding_box: place.map(|[x, y, width, height]| BoundingBox {
                x,
                y,
                width,
                height,
            }),
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    let masks = prop::collection::vec(mask(), 0..4);
    let names = || prop::collection::vec(text(), 0..3);
    let unshown = (names(), names(), names(), any::<bool>());
    prop_oneof![
        1 => (text(), any::<u64>()).prop_map(|(text, started_unix_ms)| {
            Record::Session(SessionRecord {
                bedside: "0.1.0".to_owned(),
                model: text.to_string(),
                precision: "int8".to_owned(),
                backend: "tract-cpu".to_owned(),
                source: text.to_string(),
                started_unix_ms,
            })
        }),
        1 => prop::collection::vec(text(), 0..4).prop_map(Record::Prompts),
        6 => (any::<[u64; 3]>(), masks, unshown).prop_map(|(numbers, masks, unshown)| {
            let (absent, uncertain, unanswered, repeated) = unshown;
            Record::Frame(FrameRecord {
                frame: numbers[0],
                captured_ns: numbers[1],
                delay_us: numbers[2],
                state: "degraded".into(),
                reason: "slow".into(),
                masks,
                absent,
                uncertain,
                unanswered,
                repeated,
            })
        }),
        1 => any::<[u64; 4]>().prop_map(|[captured, shown, dropped, failed]| {
            Record::End(Counts { captured, shown, dropped, failed })
        }),
    ]
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    prop::collection::vec(record(), 0..12)
}

/// A log's bytes, and where each record ends.
fn written(path: &Path, records: &[Record]) -> (Vec<u8>, Vec<usize>) {
    let mut log = Log::open(path, None).unwrap();
    let mut ends = Vec::new();
    for record in records {
        log.append(record).unwrap();
        ends.push(fs::metadata(path).unwrap().len() as usize);
    }
    (fs::read(path).unwrap(), ends)
}

/// Whole records, errors on the way, torn bytes at the end.
fn read(path: &Path) -> (Vec<Record>, Vec<String>, u64) {
    let mut reader = Reader::open(path).unwrap();
    let (mut records, mut errors) = (Vec::new(), Vec::new());
    for item in &mut reader {
        match item {
            Ok(record) => records.push(record),
            Err(error) => errors.push(error.to_string()),
        }
    }
    (records, errors, reader.torn())
}

fn frame(number: u64) -> Record {
    Record::Frame(FrameRecord {
        frame: number,
        state: "active".into(),
        ..FrameRecord::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn p_23_a_torn_tail_is_cut(records in records(), at in any::<prop::sample::Index>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (bytes, ends) = written(&path, &records);
        let cut = at.index(bytes.len() + 1);
        fs::write(&path, &bytes[..cut]).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let sound = ends[..whole].last().copied().unwrap_or(if cut < HEADER { 0 } else { HEADER });

        let torn = if cut < HEADER { 0 } else { (cut - sound) as u64 };
        prop_assert_eq!(read(&path), (records[..whole].to_vec(), vec![], torn));

        let mut log = Log::open(&path, None).unwrap();
        let contents = Contents { records: whole as u64, cut: (cut - sound) as u64, ..Contents::default() };
        prop_assert_eq!(log.contents(), contents);
        log.append(&frame(7)).unwrap();
        let mut expected = records[..whole].to_vec();
        expected.push(frame(7));
        prop_assert_eq!(read(&path), (expected, vec![], 0));
    }

    #[test]
    fn p_23_damage_is_reported_and_hides_nothing_else(
        records in records(),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (mut bytes, ends) = written(&path, &records);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        fs::write(&path, &bytes).unwrap();
        if at < HEADER {
            prop_assert_eq!(Reader::open(&path).unwrap_err().kind(), ErrorKind::Log);
            prop_assert_eq!(Log::open(&path, None).unwrap_err().kind(), ErrorKind::Log);
            prop_assert_eq!(fs::read(&path).unwrap(), bytes, "left as it is");
            return Ok(());
        }
        let hit = ends.iter().filter(|end| **end <= at).count();
        let begin = if hit == 0 { HEADER } else { ends[hit - 1] };
        let size = (ends[hit] - begin) as u64;
        let mut expected = records.clone();
        expected.remove(hit);

        let (found, errors, torn) = read(&path);
        prop_assert_eq!(&found, &expected);
        let opened = Log::open(&path, None).unwrap().contents();
        prop_assert_eq!(opened.records, expected.len() as u64);
        if hit + 1 == records.len() {
            prop_assert_eq!((errors.len(), torn), (0, size));
            prop_assert_eq!((opened.cut, opened.damaged), (size, 0));
        } else {
            prop_assert_eq!(torn, 0);
            prop_assert_eq!(errors.len(), 1);
            let place = format!("{size} bytes from byte {begin} on");
            prop_assert!(errors[0].contains(&place), "{} lacks {place}", &errors[0]);
            prop_assert_eq!((opened.cut, opened.damaged), (0, size));
            prop_assert_eq!(opened.first_damage, Some(begin as u64));
            prop_assert_eq!(fs::read(&path).unwrap(), bytes, "what is damaged stays");
        }
    }

    #[test]
    fn random_bytes_are_no_records(
        noise in prop::collection::vec(prop_oneof![Just(0xFF_u8), any::<u8>()], 0..4000),
        headed in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut bytes = noise.clone();
        if headed {
            let (header, _) = written(&folder.path().join("other"), &[]);
            bytes.splice(0..0, header);
        }
        fs::write(&path, &bytes).unwrap();
        match Log::open(&path, None) {
            Ok(log) if headed => {
                let cut = noise.len() as u64;
                prop_assert_eq!(log.contents(), Contents { cut, ..Contents::default() });
            }
            Ok(_) => prop_assert!(noise.is_empty()),
            Err(error) => {
                prop_assert!(!headed);
                prop_assert_eq!(error.kind(), ErrorKind::Log);
                prop_assert_eq!(fs::read(&path).unwrap(), bytes, "left as it is");
            }
        }
    }
}

#[test]
fn files_that_are_no_log_or_a_newer_one_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    for (bytes, cause) in [
        (&b"PNG and more than sixteen bytes"[..], "no result log"),
        (b"bedside-lot", "no result log"),
        (b"bedside-log\n\x03\0\0\0", "a format later than 2"),
    ] {
        fs::write(&path, bytes).unwrap();
        for error in [
            Log::open(&path, None).unwrap_err(),
            Reader::open(&path).unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(text.contains(cause) && text.contains("hint: "), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    let missing = Reader::open(folder.path().join("none")).unwrap_err();
    assert_eq!(missing.io_kind(), Some(std::io::ErrorKind::NotFound));
    assert!(Log::open(folder.path(), None).is_err(), "a folder");
}

#[test]
fn one_process_at_a_time_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut log = Log::open(&path, None).unwrap();
    let error = Log::open(&path, None).unwrap_err().to_string();
    assert!(error.contains("another process writes"), "{error}");
    log.append(&frame(1)).unwrap();
    assert_eq!(read(&path).0, [frame(1)], "reading goes on beside it");
    drop(log);
    assert_eq!(Log::open(&path, None).unwrap().contents().records, 1);
}

#[test]
fn a_record_too_long_is_refused_and_the_log_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut log = Log::open(&path, None).unwrap();
    let long = Record::Prompts(vec!["x".repeat(300_000).as_str().into()]);
    assert!(
        log.append(&long)
            .unwrap_err()
            .to_string()
            .contains("longer than")
    );
    log.append(&frame(1)).unwrap();
    assert_eq!(read(&path), (vec![frame(1)], vec![], 0));
}

#[test]
fn a_full_file_makes_room_and_the_next_opens_with_the_session() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    assert_eq!(
        Log::open(&path, Some(1000)).unwrap_err().kind(),
        ErrorKind::Config
    );
    let session = Record::Session(SessionRecord {
        bedside: "0.1.0".to_owned(),
        model: "edge 1".to_owned(),
        precision: "int8".to_owned(),
        backend: "tract-cpu".to_owned(),
        source: "phantom".to_owned(),
        started_unix_ms: 1,
    });
    let old = Record::Prompts(vec!["kidney".into()]);
    let prompts = Record::Prompts(vec!["polyp".into()]);
    // What was there before may be for everybody to read.
    File::create(&path)
        .unwrap()
        .set_permissions(Permissions::from_mode(0o644))
        .unwrap();
    let mut log = Log::open(&path, Some(Log::MIN_BYTES)).unwrap();
    for record in [&session, &old, &prompts] {
        log.append(record).unwrap();
    }
    let frames = 100_000;
    for number in 0..frames {
        log.append(&frame(number)).unwrap();
    }
    log.sync().unwrap();
    let older = folder.path().join("log.1");
    for path in [&path, &older] {
        let there = fs::metadata(path).unwrap();
        assert!(there.len() <= Log::MIN_BYTES);
        assert_eq!(there.mode() & 0o777, 0o600, "for its owner alone");
    }
    assert_eq!(folder.path().read_dir().unwrap().count(), 2);

    let mut kept = Vec::new();
    for path in [&older, &path] {
        let (records, errors, torn) = read(path);
        assert_eq!((errors.len(), torn), (0, 0));
        assert_eq!(records[..2], [session.clone(), prompts.clone()]);
        kept.extend_from_slice(&records[2..]);
    }
    let first = frames - kept.len() as u64;
    assert!(first > 0, "older frames are gone");
    assert_eq!(kept, (first..frames).map(frame).collect::<Vec<_>>());
    drop(log);
    assert!(Log::open(&path, Some(Log::MIN_BYTES)).is_ok());
}

const CHILD: &str = "BEDSIDE_LOG_OF_CHILD";

/// Not a test of its own: what the next one starts and kills.
#[test]
fn child_that_appends_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let mut log = Log::open(path, None).unwrap();
    let mut out = std::io::stdout().lock();
    for number in 0.. {
        log.append(&frame(number)).unwrap();
        writeln!(out, "appended {number}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn p_23_a_kill_at_any_moment_costs_at_most_the_last_record() {
    let folder = tempfile::tempdir().unwrap();
    let mut total = 0;
    for run in 0..100_u64 {
        let path = folder.path().join(format!("log{run}"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "log::child_that_appends_until_it_is_killed",
                "--nocapture",
            ])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pipe = BufReader::new(child.stdout.take().unwrap());
        let completed = AtomicU64::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for line in pipe.lines().map_while(Result::ok) {
                    if let Some(number) = line.strip_prefix("appended ") {
                        completed.store(number.parse::<u64>().unwrap() + 1, Ordering::Release);
                    }
                }
            });
            // Each tenth run may die before its first record.
            while run % 10 != 0 && completed.load(Ordering::Acquire) == 0 {
                thread::yield_now();
            }
            // Moments without a pattern, over the first 5 ms.
            thread::sleep(Duration::from_micros(run * 7919 % 5000));
            child.kill().unwrap();
            child.wait().unwrap();
        });
        let completed = completed.into_inner();

        let mut log = Log::open(&path, None).unwrap();
        let contents = log.contents();
        assert!(
            (completed..=completed + 1).contains(&contents.records),
            "run {run}: {completed} appends were done, {contents:?}"
        );
        assert_eq!(contents.damaged, 0, "run {run}");
        log.append(&frame(contents.records)).unwrap();
        let expected: Vec<_> = (0..=contents.records).map(frame).collect();
        assert!(
            read(&path) == (expected, vec![], 0),
            "run {run}: other records"
        );
        total += completed;
    }
    assert!(
        total > 1000,
        "{total} records in all runs: they died too early"
    );
}

/// What format 1 wrote, record by record.
const FORMAT_1: [&str; 9] = [
    "626564736964652d6c6f670a01000000",
    "ffb51dfe2b000000939599b0",
    "0005302e312e300665646765203104696e74380974726163742d637075077068616e746f6d80d095ffbc31",
    "ffb51dfe0f000000861f5f52",
    "010205706f6c7970066b69646e6579",
    "ffb51dfe390000004ba35c82",
    "0207d5c4a16fdc0b08646567726164656404736c6f770105706f6c797005eb88040000403f0000003fac02010102ac020401066b69646e6579",
    "ffb51dfe050000001a24de32",
    "0308070100",
];

/// What format 2 writes in the frame's place.
const FRAME_2: [&str; 2] = [
    "ffb51dfe5400000042b14265",
    "0407d5c4a16fdc0b08646567726164656404736c6f770105706f6c797005eb88040000403f0000003fac02010102ac0204010000803e01066b69646e657901056e6572766502056c697665720673706c65656e01",
];

fn bytes(hex: &[&str]) -> Vec<u8> {
    let hex = hex.concat();
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// Stored logs stay readable: these bytes were written by format 2.
#[test]
fn format_2_is_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (written, _) = written(&path, &samples());
    let mut expected = FORMAT_1.to_vec();
    expected[0] = "626564736964652d6c6f670a02000000";
    expected[5..7].copy_from_slice(&FRAME_2);
    assert_eq!(written, bytes(&expected));
    assert_eq!(read(&path), (samples(), vec![], 0));
}

#[test]
fn logs_of_format_1_are_read_and_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, bytes(&FORMAT_1)).unwrap();
    let mut old = samples();
    if let Record::Frame(frame) = &mut old[2] {
        frame.masks[0].validity = None;
        (frame.uncertain, frame.unanswered) = (vec![], vec![]);
        frame.repeated = false;
    }
    assert_eq!(read(&path), (old.clone(), vec![], 0));
    let mut log = Log::open(&path, None).unwrap();
    assert_eq!(log.contents().records, 4);
    for record in samples() {
        log.append(&record).unwrap();
    }
    drop(log);
    let both = [old, samples()].concat();
    assert_eq!(read(&path), (both, vec![], 0));
    assert_eq!(fs::read(&path).unwrap()[12], 2, "not for old readers");
}

fn samples() -> Vec<Record> {
    vec![
        Record::Session(SessionRecord {
            bedside: "0.1.0".to_owned(),
            model: "edge 1".to_owned(),
            precision: "int8".to_owned(),
            backend: "tract-cpu".to_owned(),
            source: "phantom".to_owned(),
            started_unix_ms: 1_700_000_000_000,
        }),
        Record::Prompts(vec!["polyp".into(), "kidney".into()]),
        Record::Frame(FrameRecord {
            frame: 7,
            captured_ns: 233_333_333,
            delay_us: 1500,
            state: "degraded".into(),
            reason: "slow".into(),
            masks: vec![MaskRecord {
                prompt: "polyp".into(),
                made_for: 5,
                age_us: 66_667,
                confidence: 0.75,
                presence: 0.5,
                area: 300,
                bounding_box: Some(BoundingBox {
                    x: 1,
                    y: 2,
                    width: 300,
                    height: 4,
                }),
                validity: Some(0.25),
            }],
            absent: vec!["kidney".into()],
            uncertain: vec!["nerve".into()],
            unanswered: vec!["liver".into(), "spleen".into()],
            repeated: true,
        }),
        Record::End(Counts {
            captured: 8,
            shown: 7,
            dropped: 1,
            failed: 0,
        }),
    ]
}
