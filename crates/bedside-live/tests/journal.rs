//! What hosts share: the records of a session, and what a bundle's loader knows before it loads.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use bedside::engine::TractCpu;
use bedside::{Bundle, Options, Phi, Prompt};
use bedside_live::record::{Counts, FrameRecord, SessionRecord};
use bedside_live::{
    BundleLoader, Journal, Monitor, Record, Recorder, SessionConfig, Target, Watcher,
};
use serde_json::Value;

use crate::rig::{Bench, Scripted, wait_for};

const PATIENCE: Duration = Duration::from_secs(300);

fn opening() -> SessionRecord {
    SessionRecord {
        bedside: "0".to_owned(),
        model: "scripted 1".to_owned(),
        precision: "f32".to_owned(),
        backend: "none".to_owned(),
        source: "test".to_owned(),
        started_unix_ms: 0,
    }
}

/// Writes once its gate is gone.
struct Gated(Receiver<()>, File);

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn behind_a_stall_no_frame_is_taken_for_one_of_the_session_before() {
    let (gate, stalled) = sync_channel(1);
    let page = tempfile::NamedTempFile::new().unwrap();
    let read = || -> Vec<Value> {
        let text = fs::read_to_string(page.path()).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap()
    };
    let to = Box::new(Gated(stalled, page.reopen().unwrap()));
    let name = "pipe".to_owned();
    let mut recorder = Recorder::start(vec![Target::JsonLines { name, to }]).unwrap();
    let opening = |model: &str| {
        Record::Session(SessionRecord {
            model: model.to_owned(),
            ..opening()
        })
    };
    let frame = |frame| FrameRecord {
        frame,
        ..FrameRecord::default()
    };
    recorder.record(&opening("first"));
    // More than may wait.
    for number in 0..500 {
        recorder.frame(&frame(number));
    }
    // Patients change twice in the stall; of the one between nobody will know.
    for model in ["second", "third"] {
        recorder.record(&Record::End(Counts::default()));
        recorder.record(&opening(model));
        recorder.record(&Record::Prompts(vec!["tumor".into()]));
        recorder.frame(&frame(1000));
    }
    drop(gate);
    wait_for("room", || read().len() > 200);
    recorder.frame(&frame(2000));
    recorder.record(&Record::End(Counts::default()));
    // Frames were lost, and that is told.
    recorder.finish(PATIENCE).unwrap_err();

    let mut model = String::new();
    let mut ended = 0;
    for line in read() {
        if let Some(session) = line.get("session") {
            model = session["model"].as_str().unwrap().to_owned();
        } else if let Some(frame) = line.get("frame") {
            let number = frame["frame"].as_u64().unwrap();
            let expected = if number < 1000 { "first" } else { "third" };
            assert!(
                number != 1000 && model == expected,
                "{number} as of {model}"
            );
        }
        ended += u32::from(line.get("end").is_some());
    }
    assert_eq!((model.as_str(), ended), ("third", 2));
}

/// Tells when it is let go of.
struct Watched(SyncSender<()>);

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

#[test]
fn a_target_ends_while_another_takes_nothing() {
    let (gate, stalled) = sync_channel(1);
    let (gone, ended) = sync_channel(1);
    let page = tempfile::tempfile().unwrap();
    let target = |name: &str, to: Box<dyn Write + Send>| Target::JsonLines {
        name: name.to_owned(),
        to,
    };
    let targets = vec![
        target("pipe", Box::new(Gated(stalled, page))),
        target("page", Box::new(Watched(gone))),
    ];
    let mut recorder = Recorder::start(targets).unwrap();
    for _ in 0..500 {
        recorder.frame(&FrameRecord::default());
    }
    // The pipe has no room for it.
    recorder.record(&Record::End(Counts::default()));
    let finishing = thread::spawn(move || recorder.finish(PATIENCE));
    ended.recv_timeout(PATIENCE / 2).unwrap();
    assert!(!finishing.is_finished(), "the pipe is waited for");
    drop(gate);
    finishing.join().unwrap().unwrap_err();
}

#[test]
fn a_journal_holds_opening_prompts_frames_and_end_in_order() {
    let page = tempfile::NamedTempFile::new().unwrap();
    let recorder = Recorder::start(vec![Target::JsonLines {
        name: "page".to_owned(),
        to: Box::new(page.reopen().unwrap()),
    }]);
    let monitor = Arc::new(Monitor::default());
    let mut journal = Journal::begin(recorder.unwrap(), monitor.clone(), opening());
    let mut bench = Bench::new(&Scripted::sure(), SessionConfig::default());
    let mut show = |bench: &mut Bench| {
        bench.step_next();
        let counts = Counts {
            captured: bench.next,
            shown: bench.next,
            ..Counts::default()
        };
        journal.shown(&bench.session, bench.session.annotated(), counts);
        counts
    };
    show(&mut bench);
    // Neither the switch nor the same prompts again are other prompts.
    bench.control.switch(false);
    bench.control.switch(true);
    bench.control.set_prompts(&[Prompt::new("thing")]).unwrap();
    show(&mut bench);
    bench.control.set_prompts(&[Prompt::new("other")]).unwrap();
    let counts = show(&mut bench);
    let status = monitor.status();
    assert_eq!((status.counts, status.frame.frame), (counts, 2));
    bench.control.next_patient();
    bench.session.idle();
    journal.shown(&bench.session, None, counts);
    journal.source(Some("unplugged"));
    assert!(monitor.status().to_string().ends_with("  (unplugged)"));
    journal.ended(counts);
    journal.finish(PATIENCE).unwrap();

    let text = fs::read_to_string(page.path()).unwrap();
    let lines = text.lines().map(serde_json::from_str);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>().unwrap();
    let keys: Vec<&str> = lines
        .iter()
        .map(|line| line.as_object().unwrap().keys().next().unwrap().as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "session", "prompts", "frame", "frame", "prompts", "frame", "end", "session",
            "prompts", "end"
        ]
    );
    assert_eq!(lines[1]["prompts"][0], "thing");
    assert_eq!(lines[4]["prompts"][0], "other");
    let mask = &lines[3]["frame"]["masks"][0];
    assert!(mask["bounding_box"]["width"].as_u64() > Some(0), "{mask}");
    assert_eq!(lines[6]["end"]["shown"], 3);
    assert_eq!(lines[7]["session"]["model"], "scripted 1");
    assert!(lines[7]["session"]["started_unix_ms"].as_u64() > Some(0));
    assert_eq!(lines[8]["prompts"][0], "other");
    assert_eq!(lines[9]["end"]["shown"], 0);
}

#[test]
fn a_loader_knows_what_it_runs_and_leaves_a_core_to_the_video() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/edge/edge.bedside");
    let loader = |options| {
        let bundle = Bundle::open(&path).unwrap();
        BundleLoader::new(bundle, Arc::new(TractCpu), options).unwrap()
    };
    let usual = loader(Options::default());
    let cores = Options::default().threads();
    assert_eq!(usual.options().threads(), (cores - 1).max(1));
    let two = loader(Options::default().with_threads(2));
    assert_eq!(two.options().threads(), 2, "as told");

    let record = SessionRecord::of(&usual, &Phi::shown("camera".to_owned()));
    let manifest = usual.bundle().manifest();
    assert_eq!(
        (record.source.as_str(), record.backend.as_str()),
        ("camera", "tract-cpu")
    );
    assert!(record.model.starts_with(&manifest.name));
    assert_eq!(record.precision, manifest.default_precision.to_string());

    let prompts = usual.trained_prompts();
    let polyp = |p: &bedside_live::TrainedPrompt| p.text == "polyp in colon endoscope";
    assert_eq!(prompts.iter().filter(|p| polyp(p)).count(), 1);
    assert!(prompts.is_sorted());
}
