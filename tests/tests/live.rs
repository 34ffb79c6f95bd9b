//! A bundle as live sessions load it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::sync::Arc;

use bedside::engine::{Backend, FaultyBackend, InjectedFault, TractCpu};
use bedside::{Bundle, Modality, Options, Prompt};
use bedside_live::{BundleLoader, ErrorKind, Loader};
use bedside_tests::workspace;

fn loader(backend: Arc<dyn Backend>) -> BundleLoader {
    let bundle = Bundle::open(workspace::root().join("models/edge/edge.bedside")).unwrap();
    let options = Options::default().with_cache(env!("CARGO_TARGET_TMPDIR"));
    BundleLoader::new(bundle, backend, options).unwrap()
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
