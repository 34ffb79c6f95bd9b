//! A backend of one's own: here one that counts the runs of another. An accelerator's would load
//! and run the graphs by its own means.
//!
//! ```sh
//! cargo run --release -p bedside --example backend
//! ```

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bedside::engine::{
    Backend, Bytes, EngineError, LoadOptions, OpTime, Session, Signature, TractCpu, Value,
    conformance,
};
use bedside::{Bundle, Frame, Options, PixelFormat, Prompt, Segmenter};

/// tract on the CPU, counted.
struct Counted {
    runs: Arc<AtomicU64>,
}

impl Backend for Counted {
    /// In errors, records and the cache.
    fn name(&self) -> &'static str {
        "counted"
    }

    /// What decides the numbers, so that a passed self-test is remembered. Name what matters: the
    /// version of the accelerator's library, of its driver. Without it each start runs the tests.
    fn fingerprint(&self) -> Option<String> {
        TractCpu.fingerprint()
    }

    /// An ONNX graph, to be refused unless it has the expected names, types and shapes.
    fn load(&self, onnx: &Bytes, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(CountedSession {
            inner: TractCpu.load(onnx, options)?,
            runs: self.runs.clone(),
        }))
    }
}

struct CountedSession {
    inner: Box<dyn Session>,
    runs: Arc<AtomicU64>,
}

impl Session for CountedSession {
    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn run(&mut self, inputs: &[Value]) -> Result<Vec<Value>, EngineError> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.inner.run(inputs)
    }

    fn profile(&mut self, inputs: &[Value]) -> Result<Vec<OpTime>, EngineError> {
        self.inner.profile(inputs)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let bundle = "models/edge/edge.bedside";
    run(bundle, &Options::default(), &mut io::stdout())
}

pub(crate) fn run(
    bundle: &str,
    options: &Options,
    out: &mut dyn Write,
) -> Result<(), Box<dyn Error>> {
    let runs = Arc::new(AtomicU64::new(0));
    let backend = Counted { runs: runs.clone() };

    // What every backend has to do. In your tests, not on the device.
    if let Some(failure) = conformance::check(&backend).first() {
        return Err(failure.to_string().into());
    }
    writeln!(out, "{} conforms", backend.name())?;

    // The bundle's own test frames run on it before there is a segmenter.
    let mut segmenter = Segmenter::new(Bundle::open(bundle)?, backend, options)?;
    let prompts = segmenter.prompts(&[Prompt::new("polyp")])?;
    let frame = Frame::new(64, 48, PixelFormat::Gray8, vec![90; 64 * 48])?;
    runs.store(0, Ordering::Relaxed);
    segmenter.segment(&frame, &prompts)?;
    let runs = runs.load(Ordering::Relaxed);
    writeln!(out, "{runs} runs for a frame")?;
    Ok(())
}
