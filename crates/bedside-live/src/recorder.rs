//! Writes records off the video path: a disk or a pipe that stalls costs records, never frames.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};
use crate::log::{Log, decode, encode, encode_frame};
use crate::record::{FrameRecord, Record};
use crate::tally::Tally;

/// Records that may wait for one target, about four seconds at 60 frames a second, and their bytes.
const WAITING: usize = 256;
const WAITING_BYTES: usize = 1 << 20;
/// Room that each has from the start; one with dozens of masks makes its place grow once.
const ROOM: usize = 1024;
/// Room that a place keeps at most.
const MOST_ROOM: usize = 16 << 10;
/// Time between two tries to hand over what is owed at the end.
const NAP: Duration = Duration::from_millis(5);
/// Longest time that the log is not synced while records come.
const SYNC: Duration = Duration::from_secs(1);

/// Where records go.
pub enum Target {
    /// One JSON object a line.
    JsonLines {
        /// What it is called in errors: a file or `stdout`.
        name: String,
        /// Takes each line in one write, and is flushed when no other waits.
        to: Box<dyn Write + Send>,
    },
    /// A result log, synced about once a second.
    Log(Log),
}

/// Hands records to its targets, each of which has a thread and bounded places for records that
/// wait. So a pipe that nobody reads holds up neither the video nor the log.
#[derive(Debug)]
pub struct Recorder {
    lanes: Vec<Lane>,
}

/// The queue to one target. Buffers go round: filled, written, free.
#[derive(Debug)]
struct Lane {
    tally: Arc<Tally>,
    filled: SyncSender<Vec<u8>>,
    free: Receiver<Vec<u8>>,
    /// A place that was not used for want of room for its bytes.
    unused: Option<Vec<u8>>,
    /// Bytes that wait.
    waiting: Arc<AtomicUsize>,
    /// Records for which there was no room, and without which the frames behind them would be
    /// misunderstood: those of one session, and what ended the one before.
    owed: VecDeque<Record>,
    /// Says once how the target ended.
    ended: Receiver<Result<(), Error>>,
}

impl Recorder {
    /// Start the targets' threads.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(targets: Vec<Target>) -> Result<Self, Error> {
        let lanes = targets.into_iter().map(Lane::start);
        Ok(Self {
            lanes: lanes.collect::<Result<_, _>>()?,
        })
    }

    /// Hand a record to every target, without waiting. Where a target is behind, a frame's record is
    /// lost to it; any other is kept until there is room, and no frame is recorded before it: else
    /// frames would be taken for those of another patient, or of other prompts.
    pub fn record(&mut self, record: &Record) {
        if let Record::Frame(frame) = record {
            return self.frame(frame);
        }
        for lane in &mut self.lanes {
            if !(lane.catch_up() && lane.hand_over(|buffer| encode(record, buffer))) {
                lane.owe(record.clone());
            }
        }
    }

    /// [`record`](Self::record) for a frame. It allocates nothing once the buffers have the size that
    /// records need.
    pub fn frame(&mut self, frame: &FrameRecord) {
        for lane in &mut self.lanes {
            if !(lane.catch_up() && lane.hand_over(|buffer| encode_frame(frame, buffer))) {
                lane.tally.drop_one();
            }
        }
    }

    /// Records that did not reach a target, summed over the targets.
    pub fn lost(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.tally.missing()).sum()
    }

    /// The targets' counts and conditions.
    pub fn outputs(&self) -> Vec<Arc<Tally>> {
        self.lanes.iter().map(|lane| lane.tally.clone()).collect()
    }

    /// Write what waits, and end.
    ///
    /// # Errors
    /// The first failure of a target, be it that records were lost to it, or that it is still stalled
    /// after `patience`; what waits for it is given up then.
    pub fn finish(self, patience: Duration) -> Result<(), Error> {
        let until = Instant::now() + patience;
        let mut endings = Vec::new();
        let mut owing = self.lanes;
        // Each ends as soon as it owes nothing, whatever the others do.
        while !owing.is_empty() {
            let late = Instant::now() >= until;
            let mut rest = Vec::new();
            for mut lane in owing {
                if lane.catch_up() || lane.tally.is_closed() || late {
                    endings.push(lane.close());
                } else {
                    rest.push(lane);
                }
            }
            owing = rest;
            if !owing.is_empty() {
                thread::sleep(NAP);
            }
        }
        let mut first = Ok(());
        for (tally, ended) in endings {
            let left = until.saturating_duration_since(Instant::now());
            let failed = |what: &str| {
                let message = format!("{}: {what}", &**tally.label());
                Err(Error::new(ErrorKind::Sink, message))
            };
            let result = match ended.recv_timeout(left) {
                Ok(Ok(())) if tally.missing() > 0 => failed(&format!(
                    "{} records were lost, as it was too slow; hint: see to its disk or reader",
                    tally.missing()
                )),
                Ok(result) => result,
                Err(RecvTimeoutError::Disconnected) => failed("its thread is gone"),
                Err(RecvTimeoutError::Timeout) => {
                    failed("takes no more records; hint: see that what reads it goes on reading")
                }
            };
            first = first.and(result);
        }
        first
    }
}

impl Lane {
    fn start(target: Target) -> Result<Self, Error> {
        let (filled, to_write) = sync_channel::<Vec<u8>>(WAITING);
        let (written, free) = sync_channel(WAITING);
        let (end, ended) = sync_channel(1);
        for _ in 0..WAITING {
            // The channel has as many places.
            let _ = written.try_send(Vec::with_capacity(ROOM));
        }
        let tally = Tally::of_records(match &target {
            Target::JsonLines { name, .. } => name,
            Target::Log(_) => "result log",
        });
        let waiting = Arc::new(AtomicUsize::new(0));
        let mut writer = Writer {
            target,
            tally: tally.clone(),
            waiting: waiting.clone(),
            line: Vec::new(),
            synced: Instant::now(),
            dirty: false,
        };
        let run = move || {
            let result = writer.run(&to_write, &written);
            let tally = writer.tally;
            tally.end();
            if let Err(error) = &result {
                // The one that failed, and all that wait or come.
                tally.fail(&error.to_string());
                tally.close();
            }
            // The channel has a place for the one result.
            let _ = end.try_send(result);
            for buffer in to_write {
                tally.drop_one();
                writer.waiting.fetch_sub(buffer.len(), Ordering::AcqRel);
                let _ = written.try_send(buffer);
            }
        };
        let thread = thread::Builder::new().name("recorder".to_owned());
        thread.spawn(run).map_err(|cause| {
            let hint = "end other programs";
            Error::caused(ErrorKind::Sink, "thread for records", cause, hint)
        })?;
        Ok(Self {
            tally,
            filled,
            free,
            unused: None,
            waiting,
            owed: VecDeque::new(),
            ended,
        })
    }

    fn hand_over(&mut self, encode: impl Fn(&mut Vec<u8>) -> postcard::Result<()>) -> bool {
        let Some(mut buffer) = self.unused.take().or_else(|| self.free.try_recv().ok()) else {
            return false;
        };
        buffer.clear();
        let waiting = self.waiting.load(Ordering::Acquire);
        let full = |length| waiting > 0 && waiting + length > WAITING_BYTES;
        if encode(&mut buffer).is_err() || full(buffer.len()) {
            self.unused = Some(buffer);
            return false;
        }
        self.waiting.fetch_add(buffer.len(), Ordering::AcqRel);
        self.filled.try_send(buffer).is_ok()
    }

    /// Hand over what is owed; whether nothing is any more.
    fn catch_up(&mut self) -> bool {
        while let Some(record) = self.owed.pop_front() {
            if !self.hand_over(|buffer| encode(&record, buffer)) {
                self.owed.push_front(record);
                return false;
            }
        }
        true
    }

    /// Keep a record until there is room. What it makes meaningless goes: prompts that others follow,
    /// and a session that ended without a frame.
    fn owe(&mut self, record: Record) {
        let before = self.owed.len();
        match record {
            Record::Session(_) => {
                let ends = |owed: &Record| matches!(owed, Record::End(_));
                let first = self.owed.iter().position(ends);
                self.owed.truncate(first.map_or(0, |first| first + 1));
            }
            Record::Prompts(_) => {
                if let Some(Record::Prompts(_)) = self.owed.back() {
                    self.owed.pop_back();
                }
            }
            _ => {}
        }
        for _ in self.owed.len()..before {
            self.tally.drop_one();
        }
        self.owed.push_back(record);
    }

    /// Let the thread end once it has written what waits.
    fn close(self) -> (Arc<Tally>, Receiver<Result<(), Error>>) {
        for _ in &self.owed {
            self.tally.drop_one();
        }
        (self.tally, self.ended)
    }
}

/// A target with what writing to it needs.
struct Writer {
    target: Target,
    tally: Arc<Tally>,
    /// Bytes that wait.
    waiting: Arc<AtomicUsize>,
    line: Vec<u8>,
    synced: Instant,
    dirty: bool,
}

impl Writer {
    /// Write records until no more can come.
    fn run(
        &mut self,
        to_write: &Receiver<Vec<u8>>,
        written: &SyncSender<Vec<u8>>,
    ) -> Result<(), Error> {
        loop {
            let buffer = match to_write.try_recv() {
                Ok(buffer) => buffer,
                Err(TryRecvError::Disconnected) => return self.settle(true),
                Err(TryRecvError::Empty) => {
                    self.settle(false)?;
                    match to_write.recv_timeout(SYNC) {
                        Ok(buffer) => buffer,
                        Err(_) => continue,
                    }
                }
            };
            self.tally.begin();
            self.write(&buffer)?;
            self.tally.end();
            self.tally.wrote();
            self.dirty = true;
            self.waiting.fetch_sub(buffer.len(), Ordering::AcqRel);
            let buffer = match buffer.capacity() {
                ..=MOST_ROOM => buffer,
                _ => Vec::with_capacity(ROOM),
            };
            // The channel has a place for every buffer there is.
            let _ = written.try_send(buffer);
            if self.synced.elapsed() >= SYNC {
                self.settle(true)?;
            }
        }
    }

    fn write(&mut self, payload: &[u8]) -> Result<(), Error> {
        match &mut self.target {
            Target::Log(log) => log.append_payload(payload),
            Target::JsonLines { name, to } => {
                self.line.clear();
                let encoded = decode(payload)
                    .ok_or_else(|| io::Error::other("a record that can't be read back"))
                    .and_then(|record| Ok(serde_json::to_writer(&mut self.line, &record)?));
                self.line.push(b'\n');
                encoded
                    .and_then(|()| to.write_all(&self.line))
                    .map_err(|cause| failed(name, cause))
            }
        }
    }

    /// Lines go out at once when no other waits; the log is synced when it is time, or `now`.
    fn settle(&mut self, now: bool) -> Result<(), Error> {
        let due = now || self.synced.elapsed() >= SYNC;
        self.tally.begin();
        match &mut self.target {
            Target::Log(log) if self.dirty && due => log.sync()?,
            Target::Log(_) => {
                self.tally.end();
                return Ok(());
            }
            Target::JsonLines { name, to } => to.flush().map_err(|cause| failed(name, cause))?,
        }
        self.tally.end();
        (self.synced, self.dirty) = (Instant::now(), false);
        Ok(())
    }
}

fn failed(name: &str, cause: io::Error) -> Error {
    let hint = "see that its reader runs, or that its folder has space";
    Error::caused(ErrorKind::Sink, name, cause, hint)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bedside::BoundingBox;

    use super::*;
    use crate::log::Reader;
    use crate::record::{Counts, MaskRecord};
    use crate::tally::Condition;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// What was written, line by line.
    #[derive(Debug, Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Page {
        fn lines(&self) -> Vec<serde_json::Value> {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            let lines = text.lines().map(serde_json::from_str);
            lines.collect::<Result<_, _>>().unwrap()
        }
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Takes nothing until its gate is gone.
    struct Stalled(Receiver<()>);

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Is full after so many lines.
    struct Full(u32);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(name: &str, to: impl Write + Send + 'static) -> Target {
        Target::JsonLines {
            name: name.to_owned(),
            to: Box::new(to),
        }
    }

    fn frame(number: u64) -> FrameRecord {
        FrameRecord {
            frame: number,
            state: "degraded".into(),
            reason: "slow".into(),
            masks: vec![MaskRecord {
                prompt: "polyp".into(),
                made_for: number,
                age_us: 33_000,
                confidence: 0.5,
                presence: 0.75,
                area: 12,
                bounding_box: Some(BoundingBox {
                    x: 1,
                    y: 2,
                    width: 3,
                    height: 4,
                }),
                validity: None,
            }],
            ..FrameRecord::default()
        }
    }

    /// Records until this many are lost or waiting no more.
    fn wait_for(mut done: impl FnMut() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < until, "waited in vain");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn every_target_gets_every_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let page = Page::default();
        let log = Log::open(&path, None).unwrap();
        let targets = vec![lines("page", page.clone()), Target::Log(log)];
        let mut recorder = Recorder::start(targets).unwrap();
        for number in 0..200 {
            recorder.frame(&frame(number));
        }
        recorder.record(&Record::End(Counts::default()));
        assert_eq!(recorder.lost(), 0);
        recorder.finish(PATIENCE).unwrap();

        let read: Vec<_> = Reader::open(&path).unwrap().map(Result::unwrap).collect();
        let frames = (0..200).map(|number| Record::Frame(frame(number)));
        let end = Record::End(Counts::default());
        assert_eq!(read, frames.chain([end]).collect::<Vec<_>>());
        let written = page.lines();
        assert_eq!(written.len(), 201);
        assert_eq!(
            written[7],
            serde_json::json!({"frame": {
                "frame": 7, "captured_ns": 0, "delay_us": 0,
                "state": "degraded", "reason": "slow",
                "masks": [{
                    "prompt": "polyp", "made_for": 7, "age_us": 33000, "confidence": 0.5,
                    "presence": 0.75, "area": 12,
                    "bounding_box": {"x": 1, "y": 2, "width": 3, "height": 4},
                    "validity": null,
                }],
                "absent": [], "uncertain": [], "unanswered": [], "repeated": false,
            }})
        );
    }

    #[test]
    fn a_stalled_target_costs_its_own_records_alone() {
        let (gate, stalled) = sync_channel(1);
        let page = Page::default();
        let targets = vec![lines("pipe", Stalled(stalled)), lines("page", page.clone())];
        let mut recorder = Recorder::start(targets).unwrap();
        let most = WAITING as u64 + 100;
        for number in 0..most {
            recorder.frame(&frame(number));
            wait_for(|| page.lines().len() as u64 > number);
        }
        assert_eq!(recorder.lost(), 100);
        drop(gate);
        let error = recorder.finish(PATIENCE).unwrap_err().to_string();
        assert!(error.starts_with("pipe: 100 records were lost"), "{error}");
        assert_eq!(page.lines().len() as u64, most);
    }

    #[test]
    fn finish_gives_up_a_target_that_stays_stalled() {
        let (_gate, stalled) = sync_channel(1);
        let page = Page::default();
        let targets = vec![lines("pipe", Stalled(stalled)), lines("page", page.clone())];
        let mut recorder = Recorder::start(targets).unwrap();
        recorder.frame(&frame(0));
        wait_for(|| page.lines().len() == 1);
        let error = recorder.finish(Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Sink);
        assert!(
            error.to_string().starts_with("pipe: takes no more"),
            "{error}"
        );
    }

    #[test]
    fn a_failure_is_told_at_once_and_stops_no_other() {
        let page = Page::default();
        let targets = vec![lines("disk", Full(3)), lines("page", page.clone())];
        let mut recorder = Recorder::start(targets).unwrap();
        let [disk, other] = recorder.outputs().try_into().unwrap();
        assert_eq!(disk.condition(), Condition::Well);
        for number in 0..10 {
            recorder.frame(&frame(number));
        }
        // Three went through; what waited behind the failure is lost as well.
        wait_for(|| recorder.lost() == 7);
        assert_eq!(disk.condition(), Condition::Failed);
        assert_eq!((disk.report().written, disk.report().failed), (3, 7));
        let text = disk.error().unwrap();
        assert!(
            text.starts_with("disk: ") && text.contains("hint: "),
            "{text}"
        );
        recorder.frame(&frame(10));
        assert_eq!(other.condition(), Condition::Well);
        let error = recorder.finish(PATIENCE).unwrap_err();
        assert_eq!(error.io_kind(), Some(io::ErrorKind::StorageFull));
        assert_eq!(page.lines().len(), 11);
    }

    #[test]
    fn records_wait_in_bounded_memory() {
        let (gate, stalled) = sync_channel(1);
        let mut recorder = Recorder::start(vec![lines("pipe", Stalled(stalled))]).unwrap();
        let long = Record::Prompts(vec!["x".repeat(100_000).as_str().into()]);
        for _ in 0..WAITING {
            recorder.record(&long);
        }
        let [lane] = &recorder.lanes[..] else {
            panic!("one target")
        };
        let waiting = lane.waiting.load(Ordering::Acquire);
        assert!((900_000..=WAITING_BYTES).contains(&waiting), "{waiting}");
        // One more waits to be handed over.
        assert_eq!(recorder.lost(), WAITING as u64 - 11);
        assert_eq!(lane.tally.condition(), Condition::Losing);
        drop(gate);
        assert!(recorder.finish(PATIENCE).is_err());
    }

    #[test]
    fn recording_allocates_nothing_once_buffers_have_grown() {
        let (gate, stalled) = sync_channel(1);
        let mut recorder = Recorder::start(vec![
            lines("page", io::sink()),
            lines("pipe", Stalled(stalled)),
        ])
        .unwrap();
        let record = frame(0);
        let counted = allocation_counter::measure(|| {
            for _ in 0..4 * WAITING {
                recorder.frame(&record);
            }
        });
        assert_eq!(counted.count_total, 0);
        assert!(recorder.lost() > 0, "so losing one is covered");
        drop(gate);
        assert!(recorder.finish(PATIENCE).is_err());
    }
}
