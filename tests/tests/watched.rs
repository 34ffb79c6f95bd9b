//! tract on the CPU, counted: what it loads, and how often that runs.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::sync::{Arc, Mutex};

use bedside::engine::{
    Backend, Bytes, EngineError, LoadOptions, OpTime, Session, Signature, TractCpu, Value,
};

/// A backend of one's own.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) fingerprint: Option<&'static str>,
    /// The label of each graph, once for each load and each run.
    loads: Arc<Mutex<Vec<String>>>,
    runs: Arc<Mutex<Vec<String>>>,
}

impl Watched {
    pub(crate) fn new(fingerprint: Option<&'static str>) -> Self {
        Self {
            fingerprint,
            loads: Arc::default(),
            runs: Arc::default(),
        }
    }

    pub(crate) fn loaded(&self, graph: &str) -> usize {
        let loads = self.loads.lock().unwrap();
        loads.iter().filter(|l| l.starts_with(graph)).count()
    }

    /// Runs since the last call.
    pub(crate) fn ran(&self, graph: &str) -> usize {
        let runs = std::mem::take(&mut *self.runs.lock().unwrap());
        runs.iter().filter(|l| l.starts_with(graph)).count()
    }
}

impl Backend for Watched {
    fn name(&self) -> &'static str {
        "watched"
    }

    fn fingerprint(&self) -> Option<String> {
        self.fingerprint.map(str::to_owned)
    }

    fn load(&self, onnx: &Bytes, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        self.loads.lock().unwrap().push(options.label.clone());
        Ok(Box::new(WatchedSession {
            inner: TractCpu.load(onnx, options)?,
            label: options.label.clone(),
            runs: self.runs.clone(),
        }))
    }
}

struct WatchedSession {
    inner: Box<dyn Session>,
    label: String,
    runs: Arc<Mutex<Vec<String>>>,
}

impl Session for WatchedSession {
    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn run(&mut self, inputs: &[Value]) -> Result<Vec<Value>, EngineError> {
        self.runs.lock().unwrap().push(self.label.clone());
        self.inner.run(inputs)
    }

    fn share(&self) -> Result<Option<Box<dyn Session>>, EngineError> {
        let session = |inner| -> Box<dyn Session> {
            Box::new(Self {
                inner,
                label: self.label.clone(),
                runs: self.runs.clone(),
            })
        };
        Ok(self.inner.share()?.map(session))
    }

    fn profile(&mut self, inputs: &[Value]) -> Result<Vec<OpTime>, EngineError> {
        self.inner.profile(inputs)
    }
}
