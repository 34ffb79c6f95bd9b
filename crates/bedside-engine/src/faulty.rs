//! A backend that fails on demand, for tests of everything above it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bedside_bundle::Bytes;

use crate::backend::{Backend, LoadOptions, OpTime, Placement, Session};
use crate::error::{EngineError, ErrorKind};
use crate::signature::Signature;
use crate::value::Value;

/// What goes wrong in one run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum InjectedFault {
    /// The run takes this much longer.
    Slow(Duration),
    /// The run does not return until it is released.
    Hang(Release),
    /// The engine panics, through the caller's stack.
    Panic,
    /// Every output has the other sign: a wrong answer that looks like a right one.
    Negated,
    /// Every output is filled with NaN.
    Nan,
    /// Every output is filled with this value.
    Filled(f32),
    /// Every output loses its last row.
    WrongShape,
    /// The device is gone, now and for all later runs.
    DeviceLost,
}

/// Lets hanging runs go on.
#[derive(Debug, Clone, Default)]
pub struct Release(Arc<(Mutex<bool>, Condvar)>);

impl Release {
    /// Let every run that hangs on this go on, now and later.
    pub fn release(&self) {
        let (open, changed) = &*self.0;
        *open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    fn wait(&self) {
        let (open, changed) = &*self.0;
        let guard = open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(
            changed
                .wait_while(guard, |open| !*open)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

/// Which fault, if any, befalls a graph's run: by the graph's label and the number of the run,
/// from 0.
type Script = Arc<dyn Fn(&str, u64) -> Option<InjectedFault> + Send + Sync>;

/// Another backend, with faults where a script says so. The same script gives the same faults.
#[derive(Clone)]
pub struct FaultyBackend {
    inner: Arc<dyn Backend>,
    script: Script,
}

impl FaultyBackend {
    /// `script` is asked with the graph's label and the number of the run, from 0.
    pub fn new(
        inner: Arc<dyn Backend>,
        script: impl Fn(&str, u64) -> Option<InjectedFault> + Send + Sync + 'static,
    ) -> Self {
        Self {
            inner,
            script: Arc::new(script),
        }
    }
}

impl Backend for FaultyBackend {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn available(&self) -> Result<(), EngineError> {
        self.inner.available()
    }

    fn load(&self, onnx: &Bytes, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(FaultySession {
            inner: self.inner.load(onnx, options)?,
            script: self.script.clone(),
            label: options.label.clone(),
            runs: 0,
            lost: false,
        }))
    }
}

struct FaultySession {
    inner: Box<dyn Session>,
    script: Script,
    label: String,
    runs: u64,
    lost: bool,
}

impl FaultySession {
    fn next_fault(&mut self) -> Result<Option<InjectedFault>, EngineError> {
        let fault = (self.script)(&self.label, self.runs);
        self.runs += 1;
        self.lost |= matches!(fault, Some(InjectedFault::DeviceLost));
        if self.lost {
            let message = "the device is lost; hint: load the bundle again";
            return Err(EngineError::new(
                ErrorKind::DeviceLost,
                &self.label,
                message,
            ));
        }
        Ok(fault)
    }
}

impl Session for FaultySession {
    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    #[allow(clippy::panic, reason = "the fault that is asked for")]
    fn run(&mut self, inputs: &[Value]) -> Result<Vec<Value>, EngineError> {
        let fault = self.next_fault()?;
        match &fault {
            Some(InjectedFault::Slow(time)) => std::thread::sleep(*time),
            Some(InjectedFault::Hang(release)) => release.wait(),
            Some(InjectedFault::Panic) => panic!("fault injected into {}", self.label),
            _ => {}
        }
        let outputs = self.inner.run(inputs)?;
        match fault {
            Some(InjectedFault::Negated) => outputs.iter().map(negated).collect(),
            Some(InjectedFault::Nan) => outputs.iter().map(|v| filled(v, f32::NAN)).collect(),
            Some(InjectedFault::Filled(with)) => outputs.iter().map(|v| filled(v, with)).collect(),
            Some(InjectedFault::WrongShape) => outputs.iter().map(without_last_row).collect(),
            _ => Ok(outputs),
        }
    }

    fn placement(&self) -> Option<&Placement> {
        self.inner.placement()
    }

    fn profile(&mut self, inputs: &[Value]) -> Result<Vec<OpTime>, EngineError> {
        self.inner.profile(inputs)
    }
}

fn negated(value: &Value) -> Result<Value, EngineError> {
    let data: Vec<f32> = value.to_f32()?.iter().map(|v| -v).collect();
    Value::f32(value.shape(), &data)
}

fn filled(value: &Value, with: f32) -> Result<Value, EngineError> {
    let shape = value.shape();
    Value::f32(shape, &vec![with; shape.iter().product()])
}

fn without_last_row(value: &Value) -> Result<Value, EngineError> {
    let mut shape = value.shape().to_vec();
    if let Some(last) = shape.last_mut() {
        *last -= 1;
    }
    Value::f32(&shape, &vec![0.0; shape.iter().product()])
}
