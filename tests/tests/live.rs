//! A bundle as live sessions load it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::fs;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bedside::engine::{Backend, FaultyBackend, InjectedFault, TractCpu};
use bedside::{Bundle, Finding, Frame, ManualClock, Modality, Options, PixelFormat, Prompt, State};
use bedside_live::{
    BundleLoader, Control, Error, ErrorKind, LiveSession, Loader, Metrics, Model, SessionConfig,
};
use bedside_phantom::{Phantom, PhantomConfig, PhantomKind};
use bedside_tests::{shared_data, workspace};

use crate::watched::Watched;

fn loader(backend: Arc<dyn Backend>) -> BundleLoader {
    let bundle = Bundle::open(workspace::root().join("models/edge/edge.bedside")).unwrap();
    let options = Options::default().with_cache(env!("CARGO_TARGET_TMPDIR"));
    BundleLoader::new(bundle, backend, options).unwrap()
}

/// A moving polyp.
fn polyp() -> Phantom {
    let config = PhantomConfig {
        kind: PhantomKind::Polyp,
        width: 320,
        height: 240,
        seed: 3,
        frame_rate: 30.0,
        target: true,
    };
    Phantom::new(config).unwrap()
}

#[test]
fn p_17_a_model_that_fails_its_self_test_is_not_loaded() {
    let negated = |graph: &str, _| {
        graph
            .starts_with("decoder")
            .then_some(InjectedFault::Negated)
    };
    let faulty = loader(Arc::new(FaultyBackend::new(Arc::new(TractCpu), negated)));
    let error = faulty.load().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::SelfTest, "{error}");
    loader(Arc::new(TractCpu)).load().unwrap();
}

/// Several sources on one device: the weights are loaded once, and restarts load none.
#[test]
fn sessions_of_a_shared_loader_have_the_weights_in_memory_once() {
    let backend = Watched::new(Some("watched"));
    let shared = loader(Arc::new(backend.clone())).shared().unwrap();
    let mut models: Vec<_> = (0..3).map(|_| shared.clone().load().unwrap()).collect();
    assert_eq!(
        (backend.loaded("encoder"), backend.loaded("decoder")),
        (1, 1)
    );
    // Each has prompts of its own.
    let prompts = ["polyp", "fetal head", "breast tumor"].map(Prompt::new);
    let frame = polyp().frame_at(0).frame;
    let mut alone = loader(Arc::new(TractCpu)).load().unwrap();
    for (model, prompt) in models.iter_mut().zip(&prompts) {
        model
            .set_prompts(std::slice::from_ref(prompt), None)
            .unwrap();
    }
    for (model, prompt) in models.iter_mut().zip(&prompts) {
        alone
            .set_prompts(std::slice::from_ref(prompt), None)
            .unwrap();
        let found = model.segment(&frame, 0..1).unwrap();
        assert_eq!(found, alone.segment(&frame, 0..1).unwrap());
        assert_eq!(found[0].present, prompt.text == "polyp");
    }
}

#[test]
fn p_07_a_session_is_asked_as_a_picture_is() {
    let loader = loader(Arc::new(TractCpu));
    let refused = loader.check(&[Prompt::new("tumor")]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Prompt);
    assert!(
        refused.to_string().contains("may mean 'tumor in breast"),
        "{refused}"
    );
    let tumor = Prompt::new("tumor").with_modality(Modality::Ultrasound);
    let modality = loader.check(std::slice::from_ref(&tumor)).unwrap();
    assert_eq!(modality, Some(Modality::Ultrasound));
    // What the legend and the records call it.
    assert_eq!(loader.label(&tumor), "tumor in breast ultrasound");
    assert_eq!(loader.label(&Prompt::new("polyp")), "polyp");
    let both = [tumor, Prompt::new("polyp")];
    assert_eq!(loader.check(&both).unwrap(), None);
}

/// Finds nothing, at once.
struct Nothing;

impl Loader for Nothing {
    fn load(&self) -> Result<Box<dyn Model>, Error> {
        Ok(Box::new(Self))
    }

    fn check(&self, _: &[Prompt]) -> Result<Option<Modality>, Error> {
        Ok(Some(Modality::Ultrasound))
    }
}

impl Model for Nothing {
    fn set_prompts(&mut self, _: &[Prompt], _: Option<u32>) -> Result<(), Error> {
        Ok(())
    }

    fn segment(&mut self, _: &Frame, places: Range<usize>) -> Result<Vec<Finding>, Error> {
        Ok(places.map(|_| Finding::absent("thing", 0.0)).collect())
    }
}

/// However dark they are, and however long they stand still.
#[test]
fn p_08_real_frames_are_not_taken_for_an_empty_screen() {
    let control = Arc::new(Control::new(Arc::new(Nothing), &[Prompt::new("thing")]).unwrap());
    let clock = Arc::new(ManualClock::default());
    let mut session = LiveSession::new(
        Arc::new(Nothing),
        control,
        Arc::new(Metrics::new()),
        clock.clone(),
        SessionConfig::default(),
    );
    let mut number = 0;
    for set in ["hc18", "camus", "busi", "nerve", "kvasir_seg", "polypgen"] {
        let Some(folder) = shared_data(&format!("datasets/{set}/images")) else {
            continue;
        };
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|f| f.unwrap().path())
            .collect();
        files.sort();
        // The frames of ultrasound are the dark ones, and those of heads the darkest.
        let every = if set == "hc18" { 2 } else { 20 };
        for file in files.iter().step_by(every) {
            let picture = image::open(file).unwrap().to_rgb8();
            let (width, height) = picture.dimensions();
            let frame = Frame::new(width, height, PixelFormat::Rgb8, picture.into_raw()).unwrap();
            for _ in 0..5 {
                clock.advance(Duration::from_millis(33));
                session.frame(frame.clone(), number).unwrap();
                number += 1;
            }
            let state = session.state();
            assert!(
                !matches!(state, State::Paused(_)),
                "{}: {state}",
                file.display()
            );
        }
    }
}

/// From the decoder's outputs to the session's count, through all that lies between.
#[test]
fn p_09_what_a_backend_says_beyond_any_answer_is_a_counted_fault() {
    /// Test frames of the bundle, which come out right.
    const SELF_TESTS: u64 = 3;
    let phantom = polyp();
    for value in [f32::NAN, f32::INFINITY, 1e30] {
        let faulty = FaultyBackend::new(Arc::new(TractCpu), move |graph, run| {
            let wrong = graph.starts_with("decoder") && run >= SELF_TESTS;
            wrong.then_some(InjectedFault::Filled(value))
        });
        let loader = Arc::new(loader(Arc::new(faulty)));
        let metrics = Arc::new(Metrics::new());
        let clock = Arc::new(ManualClock::default());
        let prompts = [Prompt::new("polyp")];
        let control = Arc::new(Control::new(loader.clone(), &prompts).unwrap());
        let config = SessionConfig::default();
        let mut session = LiveSession::new(loader, control, metrics.clone(), clock.clone(), config);
        let began = Instant::now();
        let wait = |session: &mut LiveSession, what: fn(&LiveSession) -> bool| {
            while !what(session) {
                assert!(began.elapsed() < Duration::from_secs(300), "{value}");
                std::thread::sleep(Duration::from_millis(1));
                session.idle();
            }
        };
        wait(&mut session, LiveSession::is_loaded);
        for number in 0..2 {
            let counted = format!("\nbedside_faults_total {number}\n");
            assert!(metrics.prometheus().contains(&counted), "{value}");
            clock.advance(Duration::from_millis(33));
            let frame = phantom.frame_at(number).frame;
            session.frame(frame, number).unwrap();
            wait(&mut session, |s| s.asked().is_none());
            assert!(session.record().masks.is_empty(), "{value}");
        }
        let counted = "\nbedside_faults_total 2\n";
        assert!(metrics.prometheus().contains(counted), "{value}");
        let message = session.message().unwrap_or_default();
        assert!(message.contains("absurd"), "{value}: {message}");
    }
}
